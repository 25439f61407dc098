// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {ICreditLedger} from "./interfaces/ICreditLedger.sol";
import {IRunPart} from "./interfaces/IRunPart.sol";
import {FinalEpoch, Leaf, Revocation, RunAddresses, RunParams, Sibling} from "./interfaces/Types.sol";
import {SumTree} from "./libraries/SumTree.sol";

/// @title CreditLedger
/// @notice Final epochs and revocations. Append-only.
contract CreditLedger is ICreditLedger, IRunPart, Initializable {
    struct Entry {
        bytes32 root;
        uint64 sum;
        uint64 epochCredits;
        uint40 finalAt;
        uint8 depth;
        uint192 acc;
        uint192 wage;
        bytes32 reportDigest;
    }

    address internal _oracle;
    address internal _disputes;
    uint64 internal _latestEpoch;
    uint64 internal _latestSum;
    bool internal _any;
    uint128 internal _revokedCredits;
    mapping(uint64 => Entry) internal _entries;
    mapping(uint32 => Revocation) internal _revoked;

    constructor() {
        _disableInitializers();
    }

    function initialize(RunParams calldata, RunAddresses calldata a) external initializer {
        _oracle = a.oracle;
        _disputes = a.disputes;
    }

    /*//////////////////////////////////////////////////////////////
                            ORACLE, DISPUTES
    //////////////////////////////////////////////////////////////*/

    function record(uint64 epoch, FinalEpoch calldata f) external {
        if (msg.sender != _oracle) revert NotOracle();
        _latestEpoch = epoch;
        _latestSum = uint64(f.sum);
        _any = true;
        _entries[epoch] = Entry({
            root: f.root,
            sum: uint64(f.sum),
            epochCredits: f.epochCredits,
            finalAt: uint40(f.finalAt),
            depth: f.depth,
            acc: uint192(f.acc),
            wage: uint192(f.wage),
            reportDigest: f.reportDigest
        });
        emit EpochRecorded(epoch, f.root, f.sum, f.depth);
    }

    function revoke(uint32 index, uint64 epoch, uint64 credits, uint256 acc) external {
        if (msg.sender != _disputes) revert NotDisputes();
        Revocation storage r = _revoked[index];
        if (!r.any || epoch > r.lastEpoch) r.lastEpoch = epoch;
        r.any = true;
        r.credits += credits;
        r.accWeighted += uint256(credits) * acc;
        _revokedCredits += credits;
        emit CreditsRevoked(index, epoch, credits, acc);
    }

    /*//////////////////////////////////////////////////////////////
                                 VIEWS
    //////////////////////////////////////////////////////////////*/

    function latest() external view returns (uint64 epoch, bool any, bytes32 root, uint256 sum, uint8 depth) {
        Entry storage entry = _entries[_latestEpoch];
        return (_latestEpoch, _any, entry.root, entry.sum, entry.depth);
    }

    function finalEpoch(uint64 epoch) external view returns (FinalEpoch memory) {
        Entry memory entry = _final(epoch);
        return FinalEpoch({
            root: entry.root,
            sum: entry.sum,
            depth: entry.depth,
            epochCredits: entry.epochCredits,
            finalAt: entry.finalAt,
            acc: entry.acc,
            wage: entry.wage,
            reportDigest: entry.reportDigest
        });
    }

    function rootOf(uint64 epoch) external view returns (bytes32) {
        return _final(epoch).root;
    }

    function finalAt(uint64 epoch) external view returns (uint64) {
        return _entries[epoch].finalAt;
    }

    function verifyLeaf(uint64 epoch, Leaf calldata leaf, Sibling[] calldata proof) external view returns (bool) {
        Entry storage entry = _final(epoch);
        return SumTree.containsLeaf(entry.root, entry.sum, entry.depth, leaf, proof);
    }

    function liveCredits() external view returns (uint256) {
        return Math.saturatingSub(_latestSum, _revokedCredits);
    }

    function revoked(uint32 index) external view returns (Revocation memory) {
        return _revoked[index];
    }

    function claimBasis(uint64 epoch, uint32 index)
        external
        view
        returns (bytes32 root, uint256 sum, uint8 depth, Revocation memory revocation)
    {
        Entry storage entry = _final(epoch);
        return (entry.root, entry.sum, entry.depth, _revoked[index]);
    }

    function _final(uint64 epoch) internal view returns (Entry storage entry) {
        entry = _entries[epoch];
        if (entry.finalAt == 0) revert NotFinal(epoch);
    }
}
