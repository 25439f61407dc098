// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "./Base.sol";
import {ICampaign} from "../../contracts/interfaces/ICampaign.sol";
import {IRevenueDistributor} from "../../contracts/interfaces/IRevenueDistributor.sol";
import {EpochInfo, Milestone, Report, RunParams} from "../../contracts/interfaces/Types.sol";
import {Assets} from "../../contracts/libraries/Assets.sol";
import {Actor} from "../../contracts/mocks/Receivers.sol";
import {FalseToken, FeeToken, HookToken, PausableToken, PlainToken, SigningToken, SilentToken} from "../../contracts/mocks/Tokens.sol";

/// @notice Campaign: deposit and refund, with ETH.
contract CampaignDepositTest is Base {
    function test_depositCredits() public {
        fund(alice, 700);
        fund(alice, 300);
        fund(bob, 5);
        eq(campaign.contributionOf(alice), 1_000, "alice");
        eq(campaign.contributionOf(bob), 5, "bob");
        eq(campaign.raised(), 1_005, "raised");
        eq(balance(address(campaign)), 1_005, "held");
    }

    function test_depositRefusesZero() public {
        vm.expectRevert(ICampaign.ZeroAmount.selector);
        campaign.deposit(0);
    }

    function test_depositRefusesOtherValue() public {
        if (asset != address(0)) return;
        vm.deal(alice, 10);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(Assets.WrongValue.selector, 9));
        campaign.deposit{value: 10}(9);
    }

    function test_depositFillsCapAndCloses() public {
        fund(alice, CAP - 1);
        ok(!campaign.depositsClosed(), "open");
        uint256 value = ready(bob, address(campaign), 2);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(ICampaign.CapExceeded.selector, 1));
        campaign.deposit{value: value}(2);
        fund(bob, 1);
        ok(campaign.depositsClosed() && campaign.succeeded(), "closed at the cap");
        value = ready(carol, address(campaign), 1);
        vm.prank(carol);
        vm.expectRevert(ICampaign.DepositsClosed.selector);
        campaign.deposit{value: value}(1);
    }

    function test_depositEndsAtDeadline() public {
        vm.warp(T0 + 99);
        fund(alice, 1);
        vm.warp(T0 + 100);
        uint256 value = ready(bob, address(campaign), 1);
        vm.prank(bob);
        vm.expectRevert(ICampaign.DepositsClosed.selector);
        campaign.deposit{value: value}(1);
    }

    function test_refundOnlyBelowGoalAfterDeadline() public {
        fund(alice, GOAL - 1);
        vm.prank(alice);
        vm.expectRevert(ICampaign.NotFailed.selector);
        campaign.refund();
        vm.warp(T0 + 100);
        vm.prank(alice);
        campaign.refund();
        eq(balance(alice), GOAL - 1, "whole contribution");
        eq(balance(address(campaign)), 0, "nothing left");
        vm.prank(alice);
        vm.expectRevert(ICampaign.NothingDue.selector);
        campaign.refund();
    }

    function test_noRefundAtGoal() public {
        fund(alice, GOAL);
        vm.warp(T0 + 100);
        vm.prank(alice);
        vm.expectRevert(ICampaign.NotFailed.selector);
        campaign.refund();
    }

    /// Failed: the sum of refunds is what was raised, whatever the amounts.
    function test_refundsSumToRaised(uint256[5] memory amounts) public {
        uint256 total = 0;
        for (uint160 i = 0; i < 5; ++i) {
            uint256 amount = bound(amounts[i], 1, (GOAL - 1) / 5);
            fund(address(0x5000 + i), amount);
            total += amount;
        }
        eq(campaign.raised(), total, "raised");
        vm.warp(T0 + 100);
        uint256 paid = 0;
        for (uint160 i = 0; i < 5; ++i) {
            vm.prank(address(0x5000 + i));
            campaign.refund();
            paid += balance(address(0x5000 + i));
        }
        eq(paid, total, "refunds");
        eq(balance(address(campaign)), 0, "held");
    }

    function test_onlyOracle() public {
        vm.expectRevert(ICampaign.NotOracle.selector);
        campaign.reserve(0);
        vm.expectRevert(ICampaign.NotOracle.selector);
        campaign.settleEpoch(0, 1, 1, 0, new address[](0), 0, 0, true, false);
    }
}

/// @notice The same with an ERC-20.
contract CampaignTokenDepositTest is CampaignDepositTest {
    function setUp() public override {
        asset = address(new PlainToken());
        super.setUp();
    }

    function test_ethIsRefused() public {
        vm.deal(alice, 1);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(Assets.WrongValue.selector, 0));
        campaign.deposit{value: 1}(1);
    }
}

/// @notice Campaign with tokens and receivers that misbehave.
contract CampaignHostileTest is Base {
    function _with(address token) internal {
        asset = token;
        createRun(defaultParams());
    }

    function test_feeOnTransferIsRefused() public {
        FeeToken token = new FeeToken();
        _with(address(token));
        token.charge(true);
        ready(alice, address(campaign), 1_000);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(Assets.ReceivedOther.selector, 1_000, 990));
        campaign.deposit(1_000);
    }

    function test_falseReturnIsRefused() public {
        FalseToken token = new FalseToken();
        _with(address(token));
        token.fail(true);
        ready(alice, address(campaign), 1_000);
        vm.prank(alice);
        vm.expectRevert();
        campaign.deposit(1_000);
        eq(campaign.raised(), 0, "raised");
    }

    function test_silentTokenWorks() public {
        SilentToken token = new SilentToken();
        _with(address(token));
        fund(alice, 1_000);
        vm.warp(T0 + 100);
        vm.prank(alice);
        campaign.refund();
        eq(token.balanceOf(alice), 1_000, "refund");
    }

    /// A nested deposit from a token's hook makes the outer one measure more than its amount: refused.
    function test_hookReentryIsRefused() public {
        HookToken token = new HookToken();
        _with(address(token));
        Actor actor = new Actor();
        token.mint(address(actor), 2_000);
        actor.act(address(token), 0, abi.encodeCall(token.approve, (address(campaign), type(uint256).max)));
        bytes memory nested = abi.encodeCall(ICampaign.deposit, (500));
        actor.onCallback(address(actor), abi.encodeCall(Actor.act, (address(campaign), 0, nested)));
        vm.expectRevert(abi.encodeWithSelector(Assets.ReceivedOther.selector, 1_000, 1_500));
        actor.act(address(campaign), 0, abi.encodeCall(ICampaign.deposit, (1_000)));
    }

    function test_refusingReceiverBlocksOnlyItself() public {
        Actor actor = new Actor();
        vm.deal(address(this), 100);
        actor.act{value: 100}(address(campaign), 100, abi.encodeCall(ICampaign.deposit, (100)));
        fund(bob, 50);
        vm.warp(T0 + 100);
        actor.set(Actor.Mood.Refuse);
        vm.expectRevert(abi.encodeWithSelector(Assets.PaymentRefused.selector, address(actor)));
        actor.act(address(campaign), 0, abi.encodeCall(ICampaign.refund, ()));
        vm.prank(bob);
        campaign.refund();
        eq(bob.balance, 50, "bob");
        actor.set(Actor.Mood.Accept);
        actor.act(address(campaign), 0, abi.encodeCall(ICampaign.refund, ()));
        eq(address(actor).balance, 100, "later");
    }

    function test_refundReentryGainsNothing() public {
        Actor actor = new Actor();
        vm.deal(address(this), 100);
        actor.act{value: 100}(address(campaign), 100, abi.encodeCall(ICampaign.deposit, (100)));
        fund(bob, 50);
        vm.warp(T0 + 100);
        bytes memory again = abi.encodeCall(ICampaign.refund, ());
        actor.onCallback(address(actor), abi.encodeCall(Actor.act, (address(campaign), 0, again)));
        actor.act(address(campaign), 0, again);
        eq(actor.hooks(), 1, "called back");
        ok(!actor.callbackSucceeded(), "second refund");
        eq(address(campaign).balance, 50, "bob's money stays");
    }

    /// A token that pauses holds up no epoch: the wages stay due and move later.
    function test_pausedTokenHoldsNoEpoch() public {
        PausableToken token = new PausableToken();
        _with(address(token));
        launch(2);
        list(0, 100);
        close(0);
        submit(honestReport(0));
        token.pause(true);
        finalizeNow(0);
        eq(campaign.wagesDue(), 1_000, "due");
        eq(distributor.computeReceived(), 0, "not yet");
        token.pause(false);
        campaign.payWages();
        eq(campaign.wagesDue(), 0, "paid");
        eq(distributor.computeReceived(), 1_000, "received");
        claimCompute(0);
        eq(balance(payoutAddress(0)), 1_000, "wages");
    }
}

/// @notice Campaign: wages, fees, milestones and the return of the unspent.
contract CampaignEscrowTest is Base {
    event EscrowEnded(uint64 indexed epoch, uint256 returnable);

    function _withMilestones() internal {
        RunParams memory p = defaultParams();
        p.milestones = new Milestone[](3);
        p.milestones[0] = Milestone(7, 0, type(uint64).max, 2_000);
        p.milestones[1] = Milestone(1, 300, 2_999_999, 3_000);
        p.milestones[2] = Milestone(4, 1_000, type(uint64).max, 5_000);
        createRun(p);
    }

    function test_wholeEscrowIsReservedAtClose() public {
        launch(1);
        eq(campaign.unlockedEscrow(), 1_500_001, "unlocked");
        close(0);
        eq(campaign.reserved(), 1_500_001, "reserved whole");
        eq(campaign.unlockedEscrow(), 0, "nothing left to reserve");
        list(0, 100);
        submit(honestReport(0));
        // 1000 wages, 5 % fee of 50 among three signers: 16 each.
        eq(campaign.reserved(), 1_048, "reduced to wages plus fee");
        finalizeNow(0);
        eq(campaign.reserved(), 0, "released");
        eq(campaign.released(), 1_048, "spent");
        eq(campaign.unlockedEscrow(), 1_500_001 - 1_048, "rest");
        eq(balance(address(distributor)), 1_000, "wages moved");
        campaign.payWages();
        eq(distributor.computeReceived(), 1_000, "nothing more is due");
    }

    function test_voidReleasesReservation() public {
        launch(1);
        lapseEpoch(0);
        eq(campaign.reserved(), 0, "released");
        eq(campaign.unlockedEscrow(), 1_500_001, "whole again");
        eq(campaign.released(), 0, "nothing spent");
    }

    function test_feePaysSignersOfTheReport() public {
        launch(1);
        list(0, 100);
        runEpoch(0);
        address[] memory set = signerAddresses();
        for (uint256 i = 0; i < 3; ++i) {
            campaign.claimFee(set[i]);
            eq(balance(set[i]), 16, "share");
        }
        vm.expectRevert(ICampaign.NothingDue.selector);
        campaign.claimFee(set[3]);
        vm.expectRevert(ICampaign.NothingDue.selector);
        campaign.claimFee(set[0]);
    }

    function test_milestonesUnlockTranches() public {
        _withMilestones();
        launch(1);
        eq(campaign.milestonesMet(), 1, "the first from the start");
        eq(campaign.unlockedEscrow(), 300_000, "20 %");
        // Enough credits, but the loss is too high for the second.
        list(0, 300);
        runEpoch(0);
        eq(campaign.milestonesMet(), 1, "loss too high");
        close(1);
        list(0, 1);
        Report memory r = honestReport(1);
        r.lossMicro = 2_999_999;
        submit(r);
        finalizeNow(1);
        clearList();
        eq(campaign.milestonesMet(), 3, "second met at its deadline");
        eq(campaign.unlockedEscrow(), 750_000 - campaign.released(), "50 %");
        list(0, 699);
        runEpoch(2);
        eq(campaign.milestonesMet(), 7, "third met");
        ok(!campaign.ended(), "goes on");
    }

    function test_missedMilestoneReturnsUnspent() public {
        _withMilestones();
        launch(1);
        list(0, 300);
        runEpoch(0);
        uint256 spent = campaign.released();
        ok(!campaign.ended(), "deadline not reached");
        vm.prank(alice);
        vm.expectRevert(ICampaign.NotEnded.selector);
        campaign.claimUnspent();
        lapseEpoch(1);
        ok(campaign.ended(), "missed");
        uint256 rest = 1_500_001 - spent;
        eq(campaign.returnable(), rest, "rest");
        vm.prank(alice);
        campaign.claimUnspent();
        vm.prank(bob);
        campaign.claimUnspent();
        eq(balance(alice), rest * 1_000_000 / 1_500_001, "alice pro rata");
        eq(balance(bob), rest * 500_001 / 1_500_001, "bob pro rata");
        ok(balance(alice) + balance(bob) + spent <= 1_500_001, "never above raised");
        vm.prank(alice);
        vm.expectRevert(ICampaign.NothingDue.selector);
        campaign.claimUnspent();
        // Later epochs earn no wages, but credits still count.
        eq(campaign.unlockedEscrow(), 0, "nothing unlocked any more");
        list(0, 50);
        runEpoch(2);
        eq(campaign.released(), spent, "no wages");
        eq(ledger.liveCredits(), 350, "credits");
    }

    function test_lateMilestoneIsMissed() public {
        _withMilestones();
        launch(1);
        lapseEpoch(0);
        list(0, 1_000);
        runEpoch(1);
        ok(campaign.ended(), "loss stayed too high up to epoch 1");
        eq(campaign.milestonesMet() & 2, 0, "not met");
    }

    function test_lastSettlementReturnsUnspent() public {
        launch(1);
        for (uint64 e = 0; e < 8; ++e) {
            ok(!campaign.ended(), "not before the last");
            list(0, 10);
            runEpoch(e);
        }
        ok(campaign.ended() && oracle.finishedAt() != 0, "ended with the last epoch");
        eq(campaign.returnable(), 1_500_001 - campaign.released(), "rest");
    }

    function test_wagesFitTheEscrow() public {
        RunParams memory p = defaultParams();
        p.wagePerCredit = (1 << 80) - 1;
        createRun(p);
        launch(1);
        close(0);
        list(0, 7);
        EpochInfo memory info = oracle.epochInfo(0);
        uint256 b = info.unlockedEscrow * 10_000 / 10_500;
        uint256 wage = (b << 64) / 7;
        tree.add(0, providerAccount(0), 7, info.acc, wage);
        submit(reportOn(0, tree, 7));
        eq(oracle.epochInfo(0).wage, wage, "wage bounded by the escrow");
        finalizeNow(0);
        ok(campaign.released() <= 1_500_001, "never above raised");
        eq(distributor.computeReceived(), (7 * wage + (1 << 64) - 1) >> 64, "rounded up");
        eq(distributor.computeCarry(), (distributor.computeReceived() << 64) - 7 * wage, "excess is carried");
    }

    function test_noRevenueSharesBeforeSuccess() public {
        fund(alice, GOAL);
        vm.expectRevert(ICampaign.DepositsOpen.selector);
        campaign.totalShares();
        vm.warp(T0 + 100);
        eq(campaign.totalShares(), GOAL, "shares");
    }

    function test_viewsTellTheParameters() public view {
        RunParams memory p = campaign.params();
        eq(p.cap, CAP, "cap");
        eq(campaign.createdBlock(), 1000, "block");
        eq(p.signers.length, 4, "signers");
        eq(keccak256(bytes(p.name)), keccak256("test run"), "name");
        eq(campaign.milestones().length, 1, "milestones");
        eq(campaign.milestones()[0].trancheBps, 10_000, "tranche");
        eq(campaign.unspentOf(alice), 0, "nothing unspent yet");
    }
}

/// @notice Campaign: deposits by ERC-2612 permit and by ERC-3009 authorisation.
contract CampaignSignedDepositTest is Base {
    uint256 internal constant KEY = 0xF00D;
    SigningToken internal token;
    address internal funder;

    function setUp() public override {
        token = new SigningToken();
        asset = address(token);
        super.setUp();
        funder = vm.addr(KEY);
        token.mint(funder, 10_000);
    }

    function _permit(uint256 amount, uint256 deadline) internal view returns (uint8 v, bytes32 r, bytes32 s) {
        bytes32 hash = keccak256(
            abi.encode(
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"),
                funder,
                address(campaign),
                amount,
                token.nonces(funder),
                deadline
            )
        );
        return vm.sign(KEY, keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), hash)));
    }

    function _authorise(address to, uint256 amount, bytes32 nonce) internal view returns (uint8 v, bytes32 r, bytes32 s) {
        bytes32 hash = keccak256(
            abi.encode(
                keccak256(
                    "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
                ),
                funder,
                to,
                amount,
                0,
                type(uint256).max,
                nonce
            )
        );
        return vm.sign(KEY, keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), hash)));
    }

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
        vm.expectRevert();
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

    function test_depositWithAuthorization() public {
        (uint8 v, bytes32 r, bytes32 s) = _authorise(address(campaign), 900, bytes32(uint256(1)));
        vm.prank(carol);
        campaign.depositWithAuthorization(funder, 900, 0, type(uint256).max, bytes32(uint256(1)), v, r, s);
        eq(campaign.contributionOf(funder), 900, "credited to who signed");
        eq(campaign.contributionOf(carol), 0, "not to who brought it");
        vm.expectRevert(SigningToken.BadPermit.selector);
        campaign.depositWithAuthorization(funder, 900, 0, type(uint256).max, bytes32(uint256(1)), v, r, s);
    }

    function test_authorizationThatBringsLessIsRefused() public {
        (uint8 v, bytes32 r, bytes32 s) = _authorise(address(campaign), 900, bytes32(uint256(1)));
        token.setFee(1);
        vm.expectRevert(abi.encodeWithSelector(Assets.ReceivedOther.selector, 900, 899));
        campaign.depositWithAuthorization(funder, 900, 0, type(uint256).max, bytes32(uint256(1)), v, r, s);
    }

    function test_signedDepositsNeedAToken() public {
        asset = address(0);
        createRun(defaultParams());
        vm.expectRevert(ICampaign.OnlyTokens.selector);
        campaign.depositWithPermit(1, 0, 27, 0, 0);
        vm.expectRevert(ICampaign.OnlyTokens.selector);
        campaign.depositWithAuthorization(alice, 1, 0, 0, 0, 27, 0, 0);
    }

    function test_signedDepositsEndToo() public {
        (uint8 v, bytes32 r, bytes32 s) = _authorise(address(campaign), 900, bytes32(uint256(1)));
        vm.warp(T0 + 100);
        vm.expectRevert(ICampaign.DepositsClosed.selector);
        campaign.depositWithAuthorization(funder, 900, 0, type(uint256).max, bytes32(uint256(1)), v, r, s);
    }
}
