// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title IDues
/// @notice Slashed stakes and bonds wait here for whom they belong to, so that no receiver and no paused token holds up a verdict.
interface IDues {
    error NothingOwed();

    event Owed(address indexed account, uint256 amount);
    event OwedPaid(address indexed account, uint256 amount);

    /// @notice Pays what is owed to `account`; what is owed to the distributor enters the capital pool. Anyone.
    function payOwed(address account) external;
    function owedTo(address account) external view returns (uint256);
}
