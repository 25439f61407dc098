// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {RunAddresses, RunParams} from "./Types.sol";

/// @title IRunFactory
/// @notice Deploys and wires all contracts of a run in one transaction, as EIP-1167 clones of fixed implementations.
/// Nobody owns the factory or a run.
interface IRunFactory {
    /// @notice A parameter is outside what the contracts can keep their promises with. `name` says which.
    error BadParameter(bytes32 name);
    /// @notice An implementation address without code was given to the constructor.
    error NoImplementation(uint256 position);

    event RunCreated(address indexed campaign, address indexed creator, RunAddresses addresses, RunParams params);

    /// @notice Creates a run.
    /// @dev Refuses parameters that break a bound of the specification, among them an epoch shorter than report span,
    /// challenge window and the longest game together, so that the settling of epochs never lags further and further behind.
    function createRun(RunParams calldata params) external returns (address campaign);

    /// @notice The addresses that every clone delegates to.
    function implementations() external view returns (RunAddresses memory);

    /// @notice Whether this factory created the run whose campaign is `campaign`.
    function isRun(address campaign) external view returns (bool);
}
