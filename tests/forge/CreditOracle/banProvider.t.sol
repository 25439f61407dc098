// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ReportSteps} from "../support/ReportSteps.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {IProviderRegistry} from "../../../contracts/interfaces/IProviderRegistry.sol";
import {Ban} from "../../../contracts/interfaces/Types.sol";

/// @notice CreditOracle.banProvider: a quorum bans, and the ban must grow.
contract OracleBanProviderTest is ReportSteps {
    function test_banByQuorumOnce() public {
        _prepare();
        Ban memory b = Ban(1, keccak256("why"), uint64(block.timestamp + 1_000));
        bytes32 digest = _banDigest(b);
        bytes[] memory sigs = signAll(digest, 2);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.TooFewSignatures.selector, 3));
        oracle.banProvider(b, sigs);
        sigs = signAll(digest, 3);
        oracle.banProvider(b, sigs);
        ok(registry.isBanned(1), "banned");
        eq(registry.providerAt(1).bannedUntil, b.until, "until");
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.BanNotLonger.selector, b.until));
        oracle.banProvider(b, sigs);
        vm.warp(b.until);
        ok(!registry.isBanned(1), "expired");
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.BanNotLonger.selector, b.until));
        oracle.banProvider(b, sigs);
        b.index = 2;
        b.until += 10;
        sigs = signAll(_banDigest(b), 3);
        vm.expectRevert(IProviderRegistry.UnknownProvider.selector);
        oracle.banProvider(b, sigs);
        b.index = 0;
        b.until = uint64(block.timestamp);
        sigs = signAll(_banDigest(b), 3);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.BanNotLonger.selector, 0));
        oracle.banProvider(b, sigs);
    }

    function _banDigest(Ban memory b) internal view returns (bytes32) {
        bytes32 hash = keccak256(
            abi.encode(
                keccak256("Ban(bytes32 configDigest,uint32 index,bytes32 evidenceSha256,uint64 until)"),
                oracle.configDigest(),
                b.index,
                b.evidenceSha256,
                b.until
            )
        );
        return typed(address(oracle), hash);
    }
}
