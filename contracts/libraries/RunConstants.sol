// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {RunAddresses, RunParams} from "../interfaces/Types.sol";

/// @title RunConstants
/// @notice What is fixed for ever when a run is created, carried by each of its clones in its own code: the EIP-1167 proxy's 45
/// bytes, these 442, and in the campaign's code the ABI encoding of all parameters.
/// @dev To read a constant costs about 130 gas where a storage slot costs 2,100, and no transaction can write it. The widths are
/// those that the factory checks. On an implementation, which has no such code, the values are meaningless and nothing depends on them.
library RunConstants {
    uint256 internal constant SIZE = 442;
    uint256 private constant PROXY_SIZE = 45;

    /// @notice The constants of a run in the order of the getters below.
    function pack(RunParams calldata p, RunAddresses memory a) internal pure returns (bytes memory) {
        bytes memory parts =
            abi.encodePacked(p.asset, a.campaign, a.registry, a.oracle, a.ledger, a.checkpoints, a.distributor, a.payments, a.disputes);
        bytes memory money = abi.encodePacked(
            uint128(p.goal),
            uint128(p.cap),
            uint128(p.wagePerCredit),
            uint128(p.providerStake),
            uint128(p.signerBond),
            uint128(p.challengeBond),
            uint128(p.disputeBond),
            p.capitalBps,
            p.oracleBps,
            p.serverBps
        );
        bytes memory times = abi.encodePacked(
            p.depositDeadline,
            p.epochStart,
            p.epochLength,
            p.lastEpoch,
            p.tailEpochs,
            p.reportSpan,
            p.attemptLength,
            p.challengeWindow,
            p.answerTime,
            p.disputePeriod
        );
        bytes memory rest =
            abi.encodePacked(p.anchorWindow, p.rotationDelay, p.withdrawalDelay, p.maxCreditsPerEpoch, p.configSha256);
        return bytes.concat(parts, money, times, rest);
    }

    function asset() internal view returns (address) {
        return _address(0);
    }

    function campaign() internal view returns (address) {
        return _address(20);
    }

    function registry() internal view returns (address) {
        return _address(40);
    }

    function oracle() internal view returns (address) {
        return _address(60);
    }

    function ledger() internal view returns (address) {
        return _address(80);
    }

    function checkpoints() internal view returns (address) {
        return _address(100);
    }

    function distributor() internal view returns (address) {
        return _address(120);
    }

    function payments() internal view returns (address) {
        return _address(140);
    }

    function disputes() internal view returns (address) {
        return _address(160);
    }

    function goal() internal view returns (uint128) {
        return _uint128(180);
    }

    function cap() internal view returns (uint128) {
        return _uint128(196);
    }

    function wagePerCredit() internal view returns (uint128) {
        return _uint128(212);
    }

    function providerStake() internal view returns (uint128) {
        return _uint128(228);
    }

    function signerBond() internal view returns (uint128) {
        return _uint128(244);
    }

    function challengeBond() internal view returns (uint128) {
        return _uint128(260);
    }

    function disputeBond() internal view returns (uint128) {
        return _uint128(276);
    }

    function capitalBps() internal view returns (uint16) {
        return uint16(_word(292) >> 240);
    }

    function oracleBps() internal view returns (uint16) {
        return uint16(_word(294) >> 240);
    }

    function serverBps() internal view returns (uint16) {
        return uint16(_word(296) >> 240);
    }

    function depositDeadline() internal view returns (uint64) {
        return _uint64(298);
    }

    function epochStart() internal view returns (uint64) {
        return _uint64(306);
    }

    function epochLength() internal view returns (uint64) {
        return _uint64(314);
    }

    function lastEpoch() internal view returns (uint64) {
        return _uint64(322);
    }

    function tailEpochs() internal view returns (uint64) {
        return _uint64(330);
    }

    function reportSpan() internal view returns (uint64) {
        return _uint64(338);
    }

    function attemptLength() internal view returns (uint64) {
        return _uint64(346);
    }

    function challengeWindow() internal view returns (uint64) {
        return _uint64(354);
    }

    function answerTime() internal view returns (uint64) {
        return _uint64(362);
    }

    function disputePeriod() internal view returns (uint64) {
        return _uint64(370);
    }

    function anchorWindow() internal view returns (uint64) {
        return _uint64(378);
    }

    function rotationDelay() internal view returns (uint64) {
        return _uint64(386);
    }

    function withdrawalDelay() internal view returns (uint64) {
        return _uint64(394);
    }

    function maxCreditsPerEpoch() internal view returns (uint64) {
        return _uint64(402);
    }

    function configSha256() internal view returns (bytes32) {
        return bytes32(_word(410));
    }

    /// @notice The ABI encoding of all parameters, which the campaign's code carries behind the constants.
    function params() internal view returns (RunParams memory) {
        uint256 start = PROXY_SIZE + SIZE;
        bytes memory encoded = new bytes(address(this).code.length - start);
        assembly ("memory-safe") {
            extcodecopy(address(), add(encoded, 0x20), start, mload(encoded))
        }
        return abi.decode(encoded, (RunParams));
    }

    function _address(uint256 offset) private view returns (address) {
        return address(uint160(_word(offset) >> 96));
    }

    function _uint128(uint256 offset) private view returns (uint128) {
        return uint128(_word(offset) >> 128);
    }

    function _uint64(uint256 offset) private view returns (uint64) {
        return uint64(_word(offset) >> 192);
    }

    /// @dev The clone's own code, which `codecopy` would not give: the code that runs is the implementation's.
    function _word(uint256 offset) private view returns (uint256 word) {
        assembly ("memory-safe") {
            extcodecopy(address(), 0, add(PROXY_SIZE, offset), 0x20)
            word := mload(0)
        }
    }
}
