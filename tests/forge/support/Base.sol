// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {Report, RunParams} from "../../../contracts/interfaces/Types.sol";
import {Stage} from "./Stage.sol";
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
        _perform(abi.encodeCall(Stage.createDefault, ()));
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
        _perform(abi.encodeCall(Stage.deployFactory, ()));
    }

    function defaultParams() internal returns (RunParams memory p) {
        return abi.decode(_perform(abi.encodeCall(Stage.defaultParams, ())), (RunParams));
    }

    function createRun(RunParams memory p) internal {
        _perform(abi.encodeCall(Stage.createRun, (p)));
    }

    function bindRun(address c) internal {
        _perform(abi.encodeCall(Stage.bindRun, (c)));
    }

    function ready(address who, address to, uint256 amount) internal returns (uint256 value) {
        return abi.decode(_perform(abi.encodeCall(Stage.ready, (who, to, amount))), (uint256));
    }

    function fund(address who, uint256 amount) internal {
        _perform(abi.encodeCall(Stage.fund, (who, amount)));
    }

    function pay(uint256 amount) internal {
        _perform(abi.encodeCall(Stage.pay, (amount)));
    }

    function postBond(address signer, uint256 amount) internal {
        _perform(abi.encodeCall(Stage.postBond, (signer, amount)));
    }

    function registerOne(uint32 i) internal returns (uint32) {
        return abi.decode(_perform(abi.encodeCall(Stage.registerOne, (i))), (uint32));
    }

    function registerMany(uint32 n) internal {
        _perform(abi.encodeCall(Stage.registerMany, (n)));
    }

    function postBonds() internal {
        _perform(abi.encodeCall(Stage.postBonds, ()));
    }

    function launch(uint32 n) internal {
        _perform(abi.encodeCall(Stage.launch, (n)));
    }

    function close(uint64 e) internal {
        _perform(abi.encodeCall(Stage.close, (e)));
    }

    function honestReport(uint64 e) internal returns (Report memory r) {
        return abi.decode(_perform(abi.encodeCall(Stage.honestReport, (e))), (Report));
    }

    function reportOn(uint64 e, TreeModel t, uint64 credits) internal view returns (Report memory r) {
        return abi.decode(_look(abi.encodeCall(Stage.reportOn, (e, t, credits))), (Report));
    }

    function digestOf(Report memory r) internal view returns (bytes32) {
        return abi.decode(_look(abi.encodeCall(Stage.digestOf, (r))), (bytes32));
    }

    function structHashModel(Report memory r) internal view returns (bytes32) {
        return abi.decode(_look(abi.encodeCall(Stage.structHashModel, (r))), (bytes32));
    }

    function signAll(bytes32 digest, uint256 count) internal view returns (bytes[] memory sigs) {
        return abi.decode(_look(abi.encodeCall(Stage.signAll, (digest, count))), (bytes[]));
    }

    function submit(Report memory r) internal {
        _look(abi.encodeCall(Stage.submit, (r)));
    }

    function submitWith(Report memory r, bytes memory credits, bytes[] memory sigs) internal {
        _perform(abi.encodeCall(Stage.submitWith, (r, credits, sigs)));
    }

    function finalizeNow(uint64 e) internal {
        _perform(abi.encodeCall(Stage.finalizeNow, (e)));
    }

    function runEpoch(uint64 e) internal {
        _perform(abi.encodeCall(Stage.runEpoch, (e)));
    }

    function lapseEpoch(uint64 e) internal {
        _perform(abi.encodeCall(Stage.lapseEpoch, (e)));
    }

    function claimCompute(uint32 index) internal {
        _perform(abi.encodeCall(Stage.claimCompute, (index)));
    }
}
