// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ban, Report, Rotation, Verdict} from "../interfaces/Types.sol";

/// @title ReportHash
/// @notice EIP-712 struct hashes of what signers sign. Each carries the config digest of the signer set, so that it dies with it.
library ReportHash {
    bytes32 internal constant REPORT_TYPEHASH = keccak256(
        "Report(bytes32 configDigest,uint64 epoch,uint32 attempt,bytes32 prevRoot,bytes32 root,uint256 sum,uint8 depth,"
        "uint64 epochCredits,bytes32 creditsHash,string evidenceCid,bytes32 evidenceSha256,bytes32 checkpoint,"
        "string checkpointCid,uint64 round,uint64 lossMicro,uint64 blockNumber,bytes32 blockHash)"
    );
    bytes32 internal constant BAN_TYPEHASH = keccak256("Ban(bytes32 configDigest,uint32 index,bytes32 evidenceSha256,uint64 until)");
    bytes32 internal constant ROTATION_TYPEHASH =
        keccak256("Rotation(bytes32 configDigest,uint16 quorum,address[] signers,address[] transmitters)");
    bytes32 internal constant VERDICT_TYPEHASH =
        keccak256("Verdict(bytes32 configDigest,uint64 epoch,uint32 index,bool convicted,bytes32 evidenceSha256)");

    /// @dev The words of the struct as they lie in calldata, the two strings replaced by their hashes. Words that are no valid encoding
    /// give a digest that nobody signs.
    function report(Report calldata r) internal pure returns (bytes32 result) {
        bytes32 evidenceCid = keccak256(bytes(r.evidenceCid));
        bytes32 checkpointCid = keccak256(bytes(r.checkpointCid));
        bytes32 typeHash = REPORT_TYPEHASH;
        assembly ("memory-safe") {
            let p := mload(0x40)
            mstore(p, typeHash)
            calldatacopy(add(p, 0x20), r, 0x220)
            mstore(add(p, 0x140), evidenceCid)
            mstore(add(p, 0x1a0), checkpointCid)
            result := keccak256(p, 0x240)
        }
    }

    function ban(bytes32 configDigest, Ban calldata b) internal pure returns (bytes32) {
        return keccak256(abi.encode(BAN_TYPEHASH, configDigest, b.index, b.evidenceSha256, b.until));
    }

    function rotation(bytes32 configDigest, Rotation calldata r) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                ROTATION_TYPEHASH,
                configDigest,
                r.quorum,
                keccak256(abi.encodePacked(r.signers)),
                keccak256(abi.encodePacked(r.transmitters))
            )
        );
    }

    function verdict(bytes32 configDigest, Verdict calldata v) internal pure returns (bytes32) {
        return keccak256(abi.encode(VERDICT_TYPEHASH, configDigest, v.epoch, v.index, v.convicted, v.evidenceSha256));
    }
}
