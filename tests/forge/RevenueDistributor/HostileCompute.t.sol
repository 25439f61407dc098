// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {HostileSuite} from "../support/HostileSuite.sol";
import {IRevenueDistributor} from "../../../contracts/interfaces/IRevenueDistributor.sol";
import {RunParams} from "../../../contracts/interfaces/Types.sol";
import {Actor} from "../../../contracts/mocks/Receivers.sol";

/// @notice RevenueDistributor against hostile tokens and receivers: revenue and the providers' claims.
contract DistributorHostileComputeTest is HostileSuite {
    function target() internal view override returns (address) {
        return address(distributor);
    }

    /// @dev Both have a provider paid to them, with equal credits.
    function before_() internal override {
        RunParams memory p = defaultParams();
        p.capitalBps = 0;
        p.wagePerCredit = 0;
        createRun(p);
        launch(2);
        vm.prank(providerAccount(0));
        registry.setPayout(address(hostile));
        vm.prank(providerAccount(1));
        registry.setPayout(address(other));
        close(0);
        list(0, 100);
        list(1, 100);
        _report();
        finalizeNow(0);
    }

    /// @dev There are no wages in this run.
    function _report() private {
        tree.add(0, providerAccount(0), 100, 0, 0);
        tree.add(1, providerAccount(1), 100, 0, 0);
        submit(reportOn(0, tree, 200));
    }

    function payInCall(Actor) internal pure override returns (bytes memory) {
        return abi.encodeCall(IRevenueDistributor.payRevenue, (AMOUNT));
    }

    function ripen() internal override {
        close(1);
    }

    function payOutCall(Actor who) internal view override returns (bytes memory) {
        uint32 index = who == hostile ? 0 : 1;
        return abi.encodeCall(IRevenueDistributor.claimCompute, (0, tree.leaf(index), tree.proofOf(1, index)));
    }
}
