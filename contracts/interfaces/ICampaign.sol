// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Milestone, RunAddresses, RunParams} from "./Types.sol";

/// @title ICampaign
/// @notice Holds the funders' money of one run: contributions, the escrow that pays wages, and the return of the unspent.
/// Assumptions:
/// - the asset neither rebases nor charges on transfer; a deposit that brings in less than its amount is refused;
/// - the asset may pause or refuse a receiver: no epoch waits for it, the money stays due until `payWages` goes through.
interface ICampaign {
    error NotOracle();
    error ZeroAmount();
    error DepositsClosed();
    error DepositsOpen();
    error CapExceeded(uint256 room);
    error NotFailed();
    error NotEnded();
    error NothingDue();
    error OnlyTokens();

    event Deposited(address indexed funder, uint256 amount, uint256 raised);
    event Refunded(address indexed funder, uint256 amount);
    event EscrowReserved(uint64 indexed epoch, uint256 amount);
    event MilestoneMet(uint256 indexed milestone, uint64 indexed epoch);
    event MilestoneMissed(uint256 indexed milestone, uint64 indexed epoch);
    /// @notice The epoch's wages and fee left the escrow for good.
    event WagesDue(uint64 indexed epoch, uint256 wages, uint256 fee);
    event WagesPaid(uint256 amount);
    event FeePaid(address indexed signer, uint256 amount);
    /// @notice Nothing more will be spent: `returnable` goes back to the funders pro rata.
    event EscrowEnded(uint64 indexed epoch, uint256 returnable);
    event UnspentReturned(address indexed funder, uint256 amount);

    /*//////////////////////////////////////////////////////////////
                                FUNDERS
    //////////////////////////////////////////////////////////////*/

    /// @notice Adds `amount` to the caller's contribution. With ETH `amount` must equal the value sent.
    function deposit(uint256 amount) external payable;

    /// @notice Deposits for the caller by an ERC-2612 permit; one that was used before (front-run) does no harm.
    function depositWithPermit(uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;

    /// @notice Deposits for `funder` by its ERC-3009 authorisation to this contract. Anyone may bring it.
    function depositWithAuthorization(
        address funder,
        uint256 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice Gives the caller's whole contribution back after the deadline has passed below the goal.
    function refund() external;

    /// @notice Pays the caller's share of what was not spent, once the escrow has ended.
    function claimUnspent() external;

    /*//////////////////////////////////////////////////////////////
                            WAGES AND FEES
    //////////////////////////////////////////////////////////////*/

    /// @notice Reserves the whole unlocked escrow for `epoch`, which the oracle keeps account of until it is settled. Only the oracle.
    function reserve(uint64 epoch) external returns (uint256 unlocked);

    /// @notice Settles an epoch: books wages and fees of a final one, judges milestones. Only the oracle.
    /// @param wages units that the epoch's credits earn, 0 if void
    /// @param excess what rounding up added to the wages that the leaves carry, scaled
    /// @param feeEach units for each of `signers`
    /// @param creditSum sum of all final credits after this epoch
    /// @param isFinal false if the epoch is void
    /// @param isLast true for the run's last settlement
    function settleEpoch(
        uint64 epoch,
        uint256 wages,
        uint256 excess,
        uint256 feeEach,
        address[] calldata signers,
        uint256 creditSum,
        uint64 lossMicro,
        bool isFinal,
        bool isLast
    ) external;

    /// @notice Moves the wages that are due to the distributor. Anyone; settling an epoch tries it too.
    function payWages() external;

    /// @notice Pays a signer's fees to its own address. Anyone.
    function claimFee(address signer) external;

    /*//////////////////////////////////////////////////////////////
                                 VIEWS
    //////////////////////////////////////////////////////////////*/

    /// @notice The block in which the run was created: none of its events is older.
    function createdBlock() external view returns (uint64);
    function addresses() external view returns (RunAddresses memory);
    function params() external view returns (RunParams memory);
    function milestones() external view returns (Milestone[] memory);
    /// @notice Bit i is set when milestone i has been met.
    function milestonesMet() external view returns (uint256 mask);
    function asset() external view returns (address);
    function raised() external view returns (uint256);
    function contributionOf(address funder) external view returns (uint256);
    function succeeded() external view returns (bool);
    function failed() external view returns (bool);
    function depositsClosed() external view returns (bool);
    /// @notice Total shares of the capital pool: `raised` once deposits are closed and the goal is met, else reverts `DepositsOpen`.
    function totalShares() external view returns (uint256);
    /// @notice Unlocked by milestones, neither spent nor reserved.
    function unlockedEscrow() external view returns (uint256);
    /// @notice What the open epoch holds: `reservedEscrow` of the oracle.
    function reserved() external view returns (uint256);
    /// @notice Wages and fees of final epochs, paid out or due.
    function released() external view returns (uint256);
    /// @notice Wages of final epochs that have not yet moved to the distributor.
    function wagesDue() external view returns (uint256);
    function ended() external view returns (bool);
    function returnable() external view returns (uint256);
    function unspentOf(address funder) external view returns (uint256);
    function feeOf(address signer) external view returns (uint256);
}
