// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {RootGameSteps} from "../support/RootGameSteps.sol";
import {RotationSteps} from "../support/RotationSteps.sol";
import {TreeModel} from "../support/TreeModel.sol";

/// @notice Disputes.closeGame: a default that becomes fraud takes the bonds of the set that signed, whichever is in office.
contract DisputesCloseGameAfterRotationTest is RootGameSteps, RotationSteps {
    function test_bondsOfTheSetThatSigned() public eachAsset {
        launch(40);
        _rotate();
        signerKeys = newKeys;
        postBonds();
        eq(oracle.rotation(), 1, "the second set");
        _history();
        TreeModel.Account memory a = lie.account(0);
        lie.put(0, a.provider, a.C - 3, a.D, a.W);
        lie.put(33, providerAccount(33), 3, 0, 0);
        _submitLie(12);
        eq(oracle.epochInfo(1).rotation, 1, "signed by it");
        uint256 game = _open(carol);
        vm.warp(block.timestamp + 20);
        disputes.timeoutAnswer(game);
        vm.warp(block.timestamp + 500);
        disputes.closeGame(game);
        for (uint256 i = 0; i < 3; ++i) {
            eq(oracle.bondOf(vm.addr(newKeys[i])), 0, "slashed");
        }
    }
}
