// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {EventLog} from "../support/EventLog.sol";
import {RootGameSteps} from "../support/RootGameSteps.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";
import {IDues} from "../../../contracts/interfaces/IDues.sol";
import {Sibling} from "../../../contracts/interfaces/Types.sol";

/// @notice What games and proofs of fraud log. The games are numbered from two, so that no epoch is taken for a game.
contract RootGameEventsTest is RootGameSteps, EventLog {
    bytes32 internal digest;

    function arrange() internal override {
        super.arrange();
        vm.fee(0);
        _hide();
        digest = digestOf(bad);
    }

    function test_firstGameAsksForTheRoot() public {
        _listen();
        _open(alice);
        _logged();
        _by(address(disputes));
        emit IDisputes.GameOpened(1, digest, 1, alice);
        _by(address(disputes));
        emit IDisputes.NodeAsked(digest, 6, 0, bad.root, 72);
        _same();
    }

    function test_gameToTheProof() public {
        _open(alice);
        Sibling[] memory top = lie.descendants(6, 0, 5);
        _listen();
        _open(carol);
        _logged();
        _by(address(disputes));
        emit IDisputes.GameOpened(2, digest, 1, carol);
        _same();

        _answer(6, 0);
        _logged();
        _by(address(disputes));
        emit IDisputes.NodeAnswered(digest, 6, 0, dave, top);
        _same();

        _descend(2, 6, 0, 16);
        _logged();
        _by(address(disputes));
        emit IDisputes.NodeAsked(digest, 1, 16, top[16].hash, top[16].sum);
        _same();

        _answer(1, 16);
        _logged();
        _by(address(disputes));
        emit IDisputes.NodeAnswered(digest, 1, 16, dave, lie.descendants(1, 16, 1));
        _same();

        _prove(33);
        _logged();
        _by(address(disputes));
        emit IDisputes.WrongLeafProved(digest, 33, carol);
        _slashedThree(carol);
        _by(address(oracle));
        emit ICreditOracle.EpochVoided(1, true);
        _same();

        disputes.closeGame(2);
        _logged();
        _by(address(disputes));
        emit IDisputes.GameClosed(2, false);
        _by(address(disputes));
        emit IDues.Owed(carol, CHALLENGE_BOND);
        _same();
    }

    function test_lostGame() public {
        _open(alice);
        vm.fee(1);
        _open(carol);
        _answer(6, 0);
        vm.warp(block.timestamp + 20);
        _listen();
        disputes.closeGame(2);
        _logged();
        _by(address(disputes));
        emit IDisputes.GameClosed(2, true);
        _by(address(disputes));
        emit IDues.Owed(dave, 500);
        _by(address(disputes));
        emit IDues.Owed(address(distributor), 500);
        _same();
    }

    function test_default() public {
        _open(alice);
        _open(carol);
        vm.warp(block.timestamp + 20);
        _listen();
        disputes.timeoutAnswer(2);
        _logged();
        _by(address(disputes));
        emit IDisputes.ReportUnanswered(digest, 1, 2);
        _by(address(oracle));
        emit ICreditOracle.EpochVoided(1, false);
        _same();

        vm.warp(block.timestamp + 500);
        disputes.closeGame(2);
        _logged();
        _by(address(disputes));
        emit IDisputes.FraudByDefault(digest, 2);
        _slashedThree(carol);
        _by(address(disputes));
        emit IDisputes.GameClosed(2, false);
        _by(address(disputes));
        emit IDues.Owed(carol, CHALLENGE_BOND);
        _same();
    }

    /// After a void the same proof only slashes.
    function test_lateProof() public {
        _open(carol);
        vm.warp(block.timestamp + 20);
        disputes.timeoutAnswer(1);
        _listen();
        _prove(33);
        _logged();
        _by(address(disputes));
        emit IDisputes.WrongLeafProved(digest, 33, carol);
        _slashedThree(carol);
        _same();
    }
}
