// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {RunParams} from "./Types.sol";

/// @title IRunPart
/// @notice What the factory asks of a clone that starts with something in storage. It can be called once, in the transaction that
/// creates the clone; the implementations themselves can never be initialised.
interface IRunPart {
    function initialize(RunParams calldata params) external;
}
