// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {DisputeSteps} from "./DisputeSteps.sol";
import {TreeModel} from "./TreeModel.sol";
import {Sibling} from "../../../contracts/interfaces/Types.sol";

/// @notice Steps of the root game's tests.
abstract contract RootGameSteps is DisputeSteps {
    uint256 internal constant CHALLENGE_BOND = 1_000;
    address internal dave = address(0xDA7E);

    /// @dev 40 providers: depth 6, so that a game takes two answers. The lie swaps credits between indices 0 and 33.
    function _hide() internal {
        _prepare(40);
        TreeModel.Account memory a = lie.account(0);
        lie.put(0, a.provider, a.C - 3, a.D, a.W);
        lie.put(33, providerAccount(33), 3, 0, 0);
        _submitLie(12);
    }

    function _honest() internal {
        _prepare(40);
        _submitLie(12);
    }

    function _open(address who) internal returns (uint256 game) {
        uint256 value = ready(who, address(disputes), CHALLENGE_BOND);
        vm.prank(who);
        game = disputes.openGame{value: value}(bad);
    }

    function _answer(uint8 level, uint32 position) internal {
        uint8 below = level < 5 ? level : 5;
        Sibling[] memory d = lie.descendants(level, position, below);
        bytes32 digest = digestOf(bad);
        vm.prank(dave);
        disputes.answerNode(digest, level, position, d);
    }

    function answerAgain() external {
        _answer(6, 0);
    }

    function _descend(uint256 game, uint8 level, uint32 position, uint32 child) internal {
        Sibling[] memory d = lie.descendants(level, position, 5);
        vm.prank(carol);
        disputes.descend(game, d, child);
    }

    function proveAgain() external {
        _proveCall(33);
    }
}
