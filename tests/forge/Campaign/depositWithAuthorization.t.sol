// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {SignedDepositSteps} from "../support/SignedDepositSteps.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {Assets} from "../../../contracts/libraries/Assets.sol";
import {SigningToken} from "../../../contracts/mocks/Tokens.sol";

/// @notice Campaign.depositWithAuthorization: ERC-3009, brought by anyone, credited to who signed.
contract CampaignDepositWithAuthorizationTest is SignedDepositSteps {
    function test_depositWithAuthorization() public {
        (uint8 v, bytes32 r, bytes32 s) = _authorise(address(campaign), 900, bytes32(uint256(1)));
        vm.prank(carol);
        campaign.depositWithAuthorization(funder, 900, 0, type(uint256).max, bytes32(uint256(1)), v, r, s);
        eq(campaign.contributionOf(funder), 900, "credited to who signed");
        eq(campaign.contributionOf(carol), 0, "not to who brought it");
        vm.expectRevert(SigningToken.BadPermit.selector);
        campaign.depositWithAuthorization(funder, 900, 0, type(uint256).max, bytes32(uint256(1)), v, r, s);
    }

    /// What the campaign already holds counts for nobody's deposit.
    function test_authorisationsAddUp() public {
        for (uint256 i = 1; i <= 2; ++i) {
            (uint8 v, bytes32 r, bytes32 s) = _authorise(address(campaign), 900, bytes32(i));
            campaign.depositWithAuthorization(funder, 900, 0, type(uint256).max, bytes32(i), v, r, s);
        }
        eq(campaign.contributionOf(funder), 1_800, "both");
        eq(token.balanceOf(address(campaign)), 1_800, "held");
    }

    function test_authorizationThatBringsLessIsRefused() public {
        (uint8 v, bytes32 r, bytes32 s) = _authorise(address(campaign), 900, bytes32(uint256(1)));
        token.setFee(1);
        vm.expectRevert(abi.encodeWithSelector(Assets.ReceivedOther.selector, 900, 899));
        campaign.depositWithAuthorization(funder, 900, 0, type(uint256).max, bytes32(uint256(1)), v, r, s);
    }

    function test_authorizationNeedsAToken() public {
        asset = address(0);
        createRun(defaultParams());
        vm.expectRevert(ICampaign.OnlyTokens.selector);
        campaign.depositWithAuthorization(alice, 1, 0, 0, 0, 27, 0, 0);
    }

    /// An authorisation for one campaign brings nothing to another.
    function test_authorizationNamesItsReceiver() public {
        (uint8 v, bytes32 r, bytes32 s) = _authorise(address(campaign), 900, bytes32(uint256(1)));
        createRun(defaultParams());
        vm.expectRevert(SigningToken.BadPermit.selector);
        campaign.depositWithAuthorization(funder, 900, 0, type(uint256).max, bytes32(uint256(1)), v, r, s);
    }

    function test_signedDepositsEndToo() public {
        (uint8 v, bytes32 r, bytes32 s) = _authorise(address(campaign), 900, bytes32(uint256(1)));
        vm.warp(T0 + 100);
        vm.expectRevert(ICampaign.DepositsClosed.selector);
        campaign.depositWithAuthorization(funder, 900, 0, type(uint256).max, bytes32(uint256(1)), v, r, s);
    }
}
