// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Leaf, Report, Sibling} from "./Types.sol";

/// @title IDisputes
/// @notice Proofs against a pending report, the root game, and disputes over credits. A contract of its own because the oracle
/// with them would exceed the code-size limit; it holds only the bonds of open games and challenges.
interface IDisputes {
    error NotPending();
    error WrongReport();
    error WrongList();
    error InvalidProof();
    error NotFraud();

    event WrongLeafProved(uint64 indexed epoch, uint32 indexed index, address indexed prover);
    event BadListProved(uint64 indexed epoch, uint256 position, address indexed prover);

    /// @notice Proves that the pending report's tree has a wrong leaf at `index`: the report is void by fraud.
    /// @param leafHash hash that the new root commits to at `index`; no preimage is needed
    /// @param leafSum sum that the new root commits to at `index`
    /// @param proof siblings of that position in the new root
    /// @param last last final leaf of the index, with C 0 if it is empty
    /// @param lastProof siblings of `last` in the last final root, none if the index is beyond its tree
    function proveWrongLeaf(
        Report calldata report,
        bytes calldata credits,
        uint32 index,
        bytes32 leafHash,
        uint256 leafSum,
        Sibling[] calldata proof,
        Leaf calldata last,
        Sibling[] calldata lastProof
    ) external;

    /// @notice Proves that the pending report's list is malformed at entry `position`: a wrong length (any position), zero credits, or an
    /// index that is not above the one before it.
    function proveBadList(Report calldata report, bytes calldata credits, uint256 position) external;
}
