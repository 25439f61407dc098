// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {RotationSteps} from "../support/RotationSteps.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {Report} from "../../../contracts/interfaces/Types.sol";

/// @notice CreditOracle.withdrawBond: locked over rotation until each report signed has been settled for a dispute period.
contract OracleWithdrawBondTest is RotationSteps {
    /// The old set can sign no report of an epoch that the rotation finds without one: that epoch holds no bond of it.
    function test_epochWithoutAReportHoldsNoBondOfTheOldSet() public eachAsset {
        launch(1);
        list(0, 7);
        runEpoch(0);
        uint256 settled = block.timestamp;
        close(1);
        _rotate();
        address signer = vm.addr(signerKeys[0]);
        vm.prank(signer);
        oracle.withdrawBond(signer);
        eq(balance(signer), BOND, "free a dispute period after the last report that it can have signed");
        ok(block.timestamp >= settled + 500, "which is over");
    }

    function test_bondStaysLockedOverRotation() public eachAsset {
        launch(1);
        address signer = vm.addr(signerKeys[0]);
        vm.prank(signer);
        vm.expectRevert(ICreditOracle.BondLocked.selector);
        oracle.withdrawBond(signer);
        close(0);
        list(0, 7);
        Report memory r = honestReport(0);
        submit(r);
        _rotate();
        vm.prank(signer);
        vm.expectRevert(ICreditOracle.BondLocked.selector);
        oracle.withdrawBond(signer);
        oracle.finalizeEpoch(accepted);
        uint256 settled = block.timestamp;
        vm.prank(address(0x7000));
        vm.expectRevert(ICreditOracle.BondLocked.selector);
        oracle.withdrawBond(signer);
        vm.warp(settled + 499);
        vm.prank(signer);
        vm.expectRevert(ICreditOracle.BondLocked.selector);
        oracle.withdrawBond(signer);
        vm.warp(settled + 500);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.NotSigner.selector, alice));
        oracle.withdrawBond(signer);
        vm.prank(address(0x7000));
        oracle.withdrawBond(signer);
        eq(balance(signer), BOND, "paid to the signer");
        vm.prank(signer);
        vm.expectRevert(ICreditOracle.NothingDue.selector);
        oracle.withdrawBond(signer);
    }

    function test_bondIsFreeAfterAnEarlyRotation() public eachAsset {
        launch(1);
        _rotate();
        address signer = vm.addr(signerKeys[0]);
        vm.prank(signer);
        oracle.withdrawBond(signer);
        eq(balance(signer), BOND, "no report yet");
        signer = vm.addr(newKeys[0]);
        postBond(signer, BOND);
        for (uint64 e = 0; e < 8; ++e) {
            lapseEpoch(e);
        }
        vm.prank(signer);
        vm.expectRevert(ICreditOracle.BondLocked.selector);
        oracle.withdrawBond(signer);
        vm.warp(block.timestamp + 500);
        vm.prank(signer);
        oracle.withdrawBond(signer);
        eq(balance(signer), BOND, "a dispute period after the run");
    }

    function test_bondIsFreeWhenTheCampaignFails() public eachAsset {
        postBonds();
        vm.warp(T0 + 100);
        address signer = vm.addr(signerKeys[0]);
        vm.prank(signer);
        oracle.withdrawBond(signer);
        eq(balance(signer), BOND, "bond back");
    }
}
