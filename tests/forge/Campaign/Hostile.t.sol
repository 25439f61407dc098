// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {HostileSuite} from "../support/HostileSuite.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {Actor} from "../../../contracts/mocks/Receivers.sol";

/// @notice Campaign against hostile tokens and receivers: deposit and refund.
contract CampaignHostileTest is HostileSuite {
    function target() internal view override returns (address) {
        return address(campaign);
    }

    function payInCall(Actor) internal pure override returns (bytes memory) {
        return abi.encodeCall(ICampaign.deposit, (AMOUNT));
    }

    function ripen() internal override {
        vm.warp(T0 + 100);
    }

    function payOutCall(Actor) internal pure override returns (bytes memory) {
        return abi.encodeCall(ICampaign.refund, ());
    }
}
