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

    function report(Report calldata r) internal pure returns (bytes32) {
        bytes memory head = abi.encode(
            REPORT_TYPEHASH, r.configDigest, r.epoch, r.attempt, r.prevRoot, r.root, r.sum, r.depth, r.epochCredits, r.creditsHash
        );
        bytes memory tail = abi.encode(
            keccak256(bytes(r.evidenceCid)),
            r.evidenceSha256,
            r.checkpoint,
            keccak256(bytes(r.checkpointCid)),
            r.round,
            r.lossMicro,
            r.blockNumber,
            r.blockHash
        );
        return keccak256(bytes.concat(head, tail));
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
