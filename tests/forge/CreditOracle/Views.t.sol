// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {EpochInfo, EpochState} from "../../../contracts/interfaces/Types.sol";

/// @notice CreditOracle: what its views tell.
contract OracleViewsTest is Base {
    function test_configDigestIsAsDocumented() public view {
        eq(
            oracle.configDigest(),
            keccak256(abi.encode(keccak256("commonweight.config.v1"), keccak256("config"), uint32(0), uint16(3), signerAddresses())),
            "digest"
        );
        eq(oracle.signers().length, 4, "signers");
        eq(oracle.signersAt(0).length, 4, "signers of rotation 0");
        eq(oracle.transmitterOf(signerAddresses()[1]), address(0x7001), "transmitter");
        ok(oracle.domainSeparator() != bytes32(0), "domain");
    }

    function test_requireQuorum() public {
        launch(1);
        bytes32 hash = keccak256("anything");
        oracle.requireQuorum(hash, signAll(typed(address(oracle), hash), 3));
        bytes[] memory sigs = signAll(typed(address(oracle), hash), 2);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.TooFewSignatures.selector, 3));
        oracle.requireQuorum(hash, sigs);
    }

    function test_voidEpochShowsNothing() public {
        launch(1);
        list(0, 7);
        runEpoch(0);
        pay(1_000);
        lapseEpoch(1);
        EpochInfo memory info = oracle.epochInfo(1);
        eq(uint256(info.state), uint256(EpochState.Void), "void");
        eq(info.acc, 0, "no accumulator");
        eq(info.unlockedEscrow, 0, "no escrow");
        eq(oracle.epochInfo(2).acc, 0, "nor has one that is not closed yet");
    }

    /// The slots of the open epoch are used again, so that the last report must not show through.
    function test_closedEpochShowsNothingOfTheReportBefore() public {
        launch(1);
        list(0, 7);
        runEpoch(0);
        pay(1_000);
        close(1);
        EpochInfo memory info = oracle.epochInfo(1);
        eq(uint256(info.state), uint256(EpochState.Closed), "closed");
        eq(info.epochCredits, 0, "credits");
        eq(info.wage, 0, "wage");
        eq(info.reportDigest, 0, "digest");
        eq(info.acc, (uint256(600) << 64) / 7, "its own accumulator");
        eq(info.unlockedEscrow, 1_500_001 - 70 - 3, "its own escrow");
    }
}
