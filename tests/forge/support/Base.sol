// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {Report, RunParams} from "../../../contracts/interfaces/Types.sol";
import {IStage} from "./IStage.sol";
import {TreeModel} from "./TreeModel.sol";
import {World} from "./World.sol";

/// @notice A run with four signers (quorum three), made anew for each test.
abstract contract Base is World {
    function setUp() public virtual {
        raise();
        fresh = vm.snapshotState();
        arrange();
    }

    /// @dev The stage and a factory, before any run.
    function raise() internal {
        vm.warp(T0);
        vm.roll(1000);
        stage = deployCode("Stage", "");
        deployFactory();
    }

    /// @dev What a test starts from; once for each asset it runs with.
    function arrange() internal virtual {
        _perform(abi.encodeCall(IStage.createDefault, ()));
    }

    /// @dev Runs a test with ETH and then, from the same state, with a token. A contract of its own for each asset would be compiled twice.
    modifier eachAsset() {
        if (inner) {
            _;
        } else {
            _runForEach();
        }
    }

    function _runForEach() private {
        uint256 start = fresh;
        inner = true;
        _runAgain();
        vm.revertToState(start);
        inner = true;
        asset = deployCode("Tokens.sol:PlainToken", "");
        arrange();
        _runAgain();
    }

    function _runAgain() private {
        (bool passed, bytes memory why) = address(this).call(msg.data);
        if (!passed) _bubble(why);
    }

    function _bubble(bytes memory why) private pure {
        assembly ("memory-safe") {
            revert(add(why, 0x20), mload(why))
        }
    }

    /*//////////////////////////////////////////////////////////////
                                 STEPS
    //////////////////////////////////////////////////////////////*/

    function _perform(bytes memory step) private returns (bytes memory) {
        (bool done, bytes memory out) = stage.delegatecall(step);
        if (!done) _bubble(out);
        return out;
    }

    /// @dev The same for steps that change nothing, which the compiler cannot see through a delegatecall.
    function _look(bytes memory step) private view returns (bytes memory) {
        function(bytes memory) internal returns (bytes memory) changing = _perform;
        function(bytes memory) internal view returns (bytes memory) looking;
        assembly ("memory-safe") {
            looking := changing
        }
        return looking(step);
    }

    function deployFactory() internal {
        _perform(abi.encodeCall(IStage.deployFactory, ()));
    }

    function defaultParams() internal returns (RunParams memory p) {
        return abi.decode(_perform(abi.encodeCall(IStage.defaultParams, ())), (RunParams));
    }

    function createRun(RunParams memory p) internal {
        _perform(abi.encodeCall(IStage.createRun, (p)));
    }

    function bindRun(address c) internal {
        _perform(abi.encodeCall(IStage.bindRun, (c)));
    }

    function ready(address who, address to, uint256 amount) internal returns (uint256 value) {
        return abi.decode(_perform(abi.encodeCall(IStage.ready, (who, to, amount))), (uint256));
    }

    function fund(address who, uint256 amount) internal {
        _perform(abi.encodeCall(IStage.fund, (who, amount)));
    }

    function pay(uint256 amount) internal {
        _perform(abi.encodeCall(IStage.pay, (amount)));
    }

    function postBond(address signer, uint256 amount) internal {
        _perform(abi.encodeCall(IStage.postBond, (signer, amount)));
    }

    function registerOne(uint32 i) internal returns (uint32) {
        return abi.decode(_perform(abi.encodeCall(IStage.registerOne, (i))), (uint32));
    }

    function registerMany(uint32 n) internal {
        _perform(abi.encodeCall(IStage.registerMany, (n)));
    }

    function postBonds() internal {
        _perform(abi.encodeCall(IStage.postBonds, ()));
    }

    function launch(uint32 n) internal {
        _perform(abi.encodeCall(IStage.launch, (n)));
    }

    function close(uint64 e) internal {
        _perform(abi.encodeCall(IStage.close, (e)));
    }

    function honestReport(uint64 e) internal returns (Report memory r) {
        return abi.decode(_perform(abi.encodeCall(IStage.honestReport, (e))), (Report));
    }

    function reportOn(uint64 e, TreeModel t, uint64 credits) internal view returns (Report memory r) {
        return abi.decode(_look(abi.encodeCall(IStage.reportOn, (e, t, credits))), (Report));
    }

    function digestOf(Report memory r) internal view returns (bytes32) {
        return abi.decode(_look(abi.encodeCall(IStage.digestOf, (r))), (bytes32));
    }

    function structHashModel(Report memory r) internal view returns (bytes32) {
        return abi.decode(_look(abi.encodeCall(IStage.structHashModel, (r))), (bytes32));
    }

    function signAll(bytes32 digest, uint256 count) internal view returns (bytes[] memory sigs) {
        return abi.decode(_look(abi.encodeCall(IStage.signAll, (digest, count))), (bytes[]));
    }

    function submit(Report memory r) internal {
        _look(abi.encodeCall(IStage.submit, (r)));
    }

    function submitWith(Report memory r, bytes memory credits, bytes[] memory sigs) internal {
        _perform(abi.encodeCall(IStage.submitWith, (r, credits, sigs)));
    }

    function finalizeNow(uint64 e) internal {
        _perform(abi.encodeCall(IStage.finalizeNow, (e)));
    }

    function runEpoch(uint64 e) internal {
        _perform(abi.encodeCall(IStage.runEpoch, (e)));
    }

    function lapseEpoch(uint64 e) internal {
        _perform(abi.encodeCall(IStage.lapseEpoch, (e)));
    }

    function claimCompute(uint32 index) internal {
        _perform(abi.encodeCall(IStage.claimCompute, (index)));
    }
}
