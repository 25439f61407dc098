// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {ICreditLedger} from "./interfaces/ICreditLedger.sol";
import {FinalEpoch, Leaf, Revocation, Sibling} from "./interfaces/Types.sol";
import {RunConstants} from "./libraries/RunConstants.sol";
import {SumTree} from "./libraries/SumTree.sol";

/// @title CreditLedger
/// @notice Final epochs and revocations. Append-only.
contract CreditLedger is ICreditLedger {
    /// @dev Two of the four slots serve claims, root first. A wage is below 2^144 since the factory keeps `wagePerCredit` below 2^80.
    struct Entry {
        bytes32 root;
        uint64 sum;
        uint8 depth;
        uint40 finalAt;
        uint144 wage;
        uint192 acc;
        uint64 epochCredits;
        bytes32 reportDigest;
    }

    uint64 internal _latestEpoch;
    uint64 internal _latestSum;
    /// @dev Stops at its maximum, where no credits are left alive whatever the sum.
    uint64 internal _revokedCredits;
    mapping(uint64 => Entry) internal _entries;
    mapping(uint32 => Revocation) internal _revoked;

    /*//////////////////////////////////////////////////////////////
                            ORACLE, DISPUTES
    //////////////////////////////////////////////////////////////*/

    function record(uint64 epoch, FinalEpoch calldata f) external {
        if (msg.sender != RunConstants.oracle()) revert NotOracle();
        _latestEpoch = epoch;
        _latestSum = uint64(f.sum);
        _entries[epoch] = Entry({
            root: f.root,
            sum: uint64(f.sum),
            depth: f.depth,
            finalAt: uint40(f.finalAt),
            wage: uint144(f.wage),
            acc: uint192(f.acc),
            epochCredits: f.epochCredits,
            reportDigest: f.reportDigest
        });
        emit EpochRecorded(epoch, f.root, f.sum, f.depth);
    }

    function revoke(uint32 index, uint64 epoch, uint64 credits, uint256 acc) external {
        if (msg.sender != RunConstants.disputes()) revert NotDisputes();
        Revocation storage r = _revoked[index];
        if (!r.any || epoch > r.lastEpoch) r.lastEpoch = epoch;
        r.any = true;
        r.credits += credits;
        r.accWeighted += uint256(credits) * acc;
        _revokedCredits = uint64(Math.min(uint256(_revokedCredits) + credits, type(uint64).max));
        emit CreditsRevoked(index, epoch, credits, acc);
    }

    /*//////////////////////////////////////////////////////////////
                                 VIEWS
    //////////////////////////////////////////////////////////////*/

    function latest() external view returns (uint64 epoch, bool any, bytes32 root, uint256 sum, uint8 depth) {
        epoch = _latestEpoch;
        Entry storage entry = _entries[epoch];
        return (epoch, entry.finalAt != 0, entry.root, entry.sum, entry.depth);
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
        Revocation storage r = _revoked[index];
        (root, sum, depth) = (entry.root, entry.sum, entry.depth);
        // Most indices have nothing revoked, and then the second slot is not worth reading.
        if (r.any) revocation = r;
    }

    function _final(uint64 epoch) internal view returns (Entry storage entry) {
        entry = _entries[epoch];
        if (entry.finalAt == 0) revert NotFinal(epoch);
    }
}
