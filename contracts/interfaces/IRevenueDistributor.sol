// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Leaf, Sibling} from "./Types.sol";

/// @title IRevenueDistributor
/// @notice Two pools that never touch but for debts of convicted providers: the capital pool of the funders and the compute
/// pool of the providers. Each pays at most what it received, whatever the oracle does.
/// Assumptions:
/// - the asset neither rebases nor charges on transfer; a payment that brings in less than its amount is refused;
/// - receipts of each pool stay below 2^127 units.
interface IRevenueDistributor {
    error NotOracle();
    error NotCampaign();
    error NotDisputes();
    error ZeroAmount();
    error PoolFull();
    error InvalidProof();
    error LeafOutOfRange();
    error RootTooOld(uint64 epoch);
    error NothingDue();
    error WagesMissing();

    event RevenueReceived(address indexed payer, uint256 amount, uint256 toCapital, uint256 toCompute);
    event CapitalReceived(address indexed from, uint256 amount);
    event WagesReceived(uint256 amount);
    event Distributed(uint256 accCompute, uint256 carry);
    event CapitalClaimed(address indexed funder, uint256 amount);
    event ComputeClaimed(uint32 indexed index, address indexed payout, uint256 amount, uint64 epoch);
    event DebtAdded(uint32 indexed index, uint256 amount);
    event DebtPaid(uint32 indexed index, uint256 amount);

    /*//////////////////////////////////////////////////////////////
                                REVENUE
    //////////////////////////////////////////////////////////////*/

    /// @notice Splits `amount` between the pools. Anyone; refused before the campaign has succeeded and deposits are closed.
    function payRevenue(uint256 amount) external payable;

    /// @notice Adds `amount` to the capital pool alone: slashed stakes and bonds. Anyone.
    function payCapital(uint256 amount) external payable;

    /// @notice Takes the wages of final epochs; the leaves carry `amount * 2^64 - excess` of them. Only the campaign.
    function receiveWages(uint256 amount, uint256 excess) external payable;

    /*//////////////////////////////////////////////////////////////
                                 CLAIMS
    //////////////////////////////////////////////////////////////*/

    /// @notice Pays a funder its share of the capital pool so far. Anyone may call; the funder is paid.
    function claimCapital(address funder) external;

    /// @notice Pays a provider what its leaf in the final tree of `epoch` has earned so far. Anyone may call; the payout address
    /// of the registry is paid. Refused when the root is older than the index's last revoked epoch, and while wages of a final epoch have
    /// not arrived (`payWages` of the campaign brings them): the leaves count them already.
    function claimCompute(uint64 epoch, Leaf calldata leaf, Sibling[] calldata proof) external;

    /*//////////////////////////////////////////////////////////////
                            ORACLE, DISPUTES
    //////////////////////////////////////////////////////////////*/

    /// @notice Pays what is pending to live credits and returns the accumulator that the epoch's own credits enter at. Only the oracle.
    function closeEpoch() external returns (uint256 acc);
    /// @notice Distributes what is pending, or gives it to the capital pool if no credits live; from now on revenue is distributed on
    /// arrival. Only the oracle.
    function finish() external;
    /// @notice Stops claims of providers until the wages of the last final epoch have arrived. Only the oracle.
    function awaitWages() external;
    /// @notice Adds a debt of `index` to the capital pool, which its claims pay first. It stops at 2^127, more than any pool can pay.
    /// Only the disputes contract.
    function addDebt(uint32 index, uint256 amount) external;

    /*//////////////////////////////////////////////////////////////
                                 VIEWS
    //////////////////////////////////////////////////////////////*/

    function claimableCapital(address funder) external view returns (uint256);
    /// @notice What `claimCompute` would pay out for a leaf that is in the final tree of `epoch`; the proof is not checked.
    function claimableCompute(uint64 epoch, Leaf calldata leaf) external view returns (uint256);
    function capitalReceived() external view returns (uint256);
    function capitalPaid() external view returns (uint256);
    function computeReceived() external view returns (uint256);
    function computePaid() external view returns (uint256);
    function pendingCompute() external view returns (uint256);
    function accCapital() external view returns (uint256);
    function accCompute() external view returns (uint256);
    /// @notice The scaled remainder, below 2^64, that the next distribution takes up.
    function computeCarry() external view returns (uint256);
    function capitalClaimedBy(address funder) external view returns (uint256);
    /// @notice Units that an index has claimed, debts that it paid from them included.
    function claimedBy(uint32 index) external view returns (uint256);
    function debtOf(uint32 index) external view returns (uint256);
    function finished() external view returns (bool);
}
