// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {HostileSuite} from "../support/HostileSuite.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {IRevenueDistributor} from "../../../contracts/interfaces/IRevenueDistributor.sol";
import {Actor} from "../../../contracts/mocks/Receivers.sol";

/// @notice RevenueDistributor against hostile tokens and receivers: revenue and the funders' claims.
contract DistributorHostileTest is HostileSuite {
    function target() internal view override returns (address) {
        return address(distributor);
    }

    /// @dev Both are funders with equal shares.
    function before_() internal override {
        _fund(hostile);
        _fund(other);
        vm.warp(T0 + 100);
    }

    function _fund(Actor who) private {
        give(address(who), GOAL);
        if (asset != address(0)) who.act(asset, 0, abi.encodeCall(IERC20.approve, (address(campaign), GOAL)));
        who.act(address(campaign), asset == address(0) ? GOAL : 0, abi.encodeCall(ICampaign.deposit, (GOAL)));
    }

    function payInCall(Actor) internal pure override returns (bytes memory) {
        return abi.encodeCall(IRevenueDistributor.payRevenue, (AMOUNT));
    }

    function ripen() internal override {}

    function payOutCall(Actor who) internal pure override returns (bytes memory) {
        return abi.encodeCall(IRevenueDistributor.claimCapital, (address(who)));
    }
}
