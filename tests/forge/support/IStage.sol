// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Report, RunParams} from "../../../contracts/interfaces/Types.sol";
import {TreeModel} from "./TreeModel.sol";

/// @notice The steps of `Stage`, which tests know by this interface alone.
interface IStage {
    function deployFactory() external;
    function defaultParams() external returns (RunParams memory p);
    function createDefault() external;
    function createRun(RunParams memory p) external;
    function bindRun(address c) external;
    function ready(address who, address to, uint256 amount) external returns (uint256 value);
    function fund(address who, uint256 amount) external;
    function pay(uint256 amount) external;
    function postBond(address signer, uint256 amount) external;
    function registerOne(uint32 i) external returns (uint32);
    function registerMany(uint32 n) external;
    function postBonds() external;
    function launch(uint32 n) external;
    function close(uint64 e) external;
    function honestReport(uint64 e) external returns (Report memory r);
    function reportOn(uint64 e, TreeModel t, uint64 credits) external view returns (Report memory r);
    function digestOf(Report memory r) external view returns (bytes32);
    function structHashModel(Report memory r) external view returns (bytes32);
    function signAll(bytes32 digest, uint256 count) external view returns (bytes[] memory sigs);
    function submit(Report memory r) external;
    function submitWith(Report memory r, bytes memory credits, bytes[] memory sigs) external;
    function finalizeNow(uint64 e) external;
    function runEpoch(uint64 e) external;
    function lapseEpoch(uint64 e) external;
    function claimCompute(uint32 index) external;
}
