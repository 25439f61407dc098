// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {SignedDepositSteps} from "../support/SignedDepositSteps.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {PlainToken} from "../../../contracts/mocks/Tokens.sol";

/// @notice Campaign.depositWithPermit: ERC-2612 permits, used or not, and tokens without them.
contract CampaignDepositWithPermitTest is SignedDepositSteps {
    function test_depositWithPermit() public {
        (uint8 v, bytes32 r, bytes32 s) = _permit(700, block.timestamp);
        vm.prank(funder);
        campaign.depositWithPermit(700, block.timestamp, v, r, s);
        eq(campaign.contributionOf(funder), 700, "credited");
        eq(token.balanceOf(address(campaign)), 700, "held");
    }

    /// Someone uses the permit first: the allowance is there, and the deposit goes through.
    function test_permitSurvivesFrontRunning() public {
        (uint8 v, bytes32 r, bytes32 s) = _permit(700, block.timestamp);
        vm.prank(carol);
        token.permit(funder, address(campaign), 700, block.timestamp, v, r, s);
        vm.prank(funder);
        campaign.depositWithPermit(700, block.timestamp, v, r, s);
        eq(campaign.contributionOf(funder), 700, "credited");
    }

    function test_permitOfAnotherGivesNothing() public {
        (uint8 v, bytes32 r, bytes32 s) = _permit(700, block.timestamp);
        vm.prank(carol);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(campaign), 0, 700));
        campaign.depositWithPermit(700, block.timestamp, v, r, s);
    }

    function test_tokenWithoutPermitWorksByAllowance() public {
        asset = address(new PlainToken());
        createRun(defaultParams());
        ready(alice, address(campaign), 700);
        vm.prank(alice);
        campaign.depositWithPermit(700, 0, 27, 0, 0);
        eq(campaign.contributionOf(alice), 700, "credited");
    }

    function test_permitNeedsAToken() public {
        asset = address(0);
        createRun(defaultParams());
        vm.expectRevert(ICampaign.OnlyTokens.selector);
        campaign.depositWithPermit(1, 0, 27, 0, 0);
    }

    function test_permittedDepositsEndToo() public {
        vm.warp(T0 + 100);
        (uint8 v, bytes32 r, bytes32 s) = _permit(700, block.timestamp);
        vm.prank(funder);
        vm.expectRevert(ICampaign.DepositsClosed.selector);
        campaign.depositWithPermit(700, block.timestamp, v, r, s);
    }
}
