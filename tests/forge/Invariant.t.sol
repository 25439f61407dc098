// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base, TreeModel} from "./Base.sol";
import "../../contracts/interfaces/Types.sol";
import {ForceEther} from "../../contracts/mocks/Receivers.sol";
import {PlainToken} from "../../contracts/mocks/Tokens.sol";

/// @notice Actors who pay, report, lie, prove, doubt, claim, withdraw and leave in any order.
contract Handler is Base {
    uint32 internal constant PROVIDERS = 5;
    uint256 internal constant PAYER_KEY = 0xFACE;
    address internal constant SERVER = address(0x5E44E4);
    address internal constant PROVER = address(0x940F);

    uint256 public totalIn;
    uint256 public forced;
    uint256 public voids;
    uint256 public frauds;
    uint256 public convictions;
    uint256 public finals;
    bytes32 internal channelId;
    uint256 internal voucher;
    TreeModel internal before;
    TreeModel[] internal oldTrees;
    uint64[] internal oldEpochs;
    Report internal pendingReport;
    bytes internal pendingList;
    Report internal finalReport;
    bytes internal finalList;
    uint64 internal lastFinal;

    constructor(bool token) {
        vm.warp(T0);
        vm.roll(1000);
        if (token) asset = address(new PlainToken());
        deployFactory();
        RunParams memory p = defaultParams();
        p.milestones = new Milestone[](2);
        p.milestones[0] = Milestone(7, 0, type(uint64).max, 6_000);
        p.milestones[1] = Milestone(3, 50_000, type(uint64).max, 4_000);
        p.disputePeriod = 5_000;
        createRun(p);
        launch(PROVIDERS);
        totalIn = 1_500_001 + PROVIDERS * STAKE + 4 * BOND;
        before = new TreeModel();
    }

    /*//////////////////////////////////////////////////////////////
                                ACTIONS
    //////////////////////////////////////////////////////////////*/

    function payRevenue(uint256 amount) external {
        amount = bound(amount, 1, 1e12);
        totalIn += amount;
        pay(amount);
    }

    function payTiny(uint8 times) external {
        for (uint256 i = 0; i < times % 20; ++i) {
            totalIn += 1;
            pay(1);
        }
    }

    function force(uint96 amount) external {
        if (asset != address(0)) return;
        vm.deal(address(this), amount);
        RunAddresses memory a = campaign.addresses();
        address payable to = payable([a.campaign, a.registry, a.oracle, a.distributor, a.payments, a.disputes][amount % 6]);
        new ForceEther{value: amount}(to);
        totalIn += amount;
        forced += amount;
    }

    /// @dev The next step of the epoch machine: close, then report (mostly honestly) or lapse, then settle.
    function advance(uint256 seed) external {
        uint64 next = oracle.nextEpoch();
        if (next == 0) return _close(0);
        EpochState state = oracle.epochInfo(next - 1).state;
        if (state == EpochState.Closed) {
            if (block.timestamp >= uint256(oracle.epochInfo(next - 1).closedAt) + 300) return _lapse(next - 1);
            if (seed % 8 == 0) return _lapse(next - 1);
            if (seed % 8 == 1) return _lie(next - 1, seed);
            return _report(next - 1, seed);
        }
        if (state == EpochState.Reported) {
            vm.warp(oracle.epochInfo(next - 1).openUntil);
            oracle.finalizeEpoch(accepted);
            return _noteFinal(next - 1);
        }
        if (next <= 7) _close(next);
    }

    function claimCapitalOf(bool first) external {
        address funder = first ? alice : bob;
        if (distributor.claimableCapital(funder) != 0) distributor.claimCapital(funder);
    }

    /// @dev Any provider, on any final root.
    function claimComputeOf(uint256 index, uint256 which) external {
        if (oldEpochs.length == 0) return;
        which = which % oldEpochs.length;
        uint32 i = uint32(index % PROVIDERS);
        TreeModel t = oldTrees[which];
        Leaf memory leaf = t.leaf(i);
        try distributor.claimableCompute(oldEpochs[which], leaf) returns (uint256 amount) {
            if (amount == 0 && distributor.debtOf(i) == 0) return;
        } catch {
            return;
        }
        Sibling[] memory proof = t.proofOf(ledger.finalEpoch(oldEpochs[which]).depth, i);
        try distributor.claimCompute(oldEpochs[which], leaf, proof) {} catch {}
    }

    function fundChannel(uint256 amount) external {
        amount = bound(amount, 1, 1e9);
        totalIn += amount;
        uint256 value = ready(carol, address(payments), amount);
        vm.prank(carol);
        channelId = payments.deposit{value: value}(vm.addr(PAYER_KEY), SERVER, 50, amount);
    }

    function settle(uint256 amount) external {
        if (channelId == 0) return;
        Channel memory c = payments.channel(channelId);
        if (c.settled == c.deposited) return;
        amount = bound(amount, c.settled + 1, c.deposited);
        VoucherClaim[] memory claims = new VoucherClaim[](1);
        bytes32 digest = payments.voucherHash(channelId, amount);
        claims[0] = VoucherClaim(channelId, amount, amount, signWith(PAYER_KEY, digest));
        vm.prank(SERVER);
        payments.settle(claims);
    }

    function withdrawFromChannel(uint256 amount) external {
        if (channelId == 0) return;
        vm.startPrank(vm.addr(PAYER_KEY));
        Channel memory c = payments.channel(channelId);
        if (c.withdrawalAt == 0) payments.requestWithdrawal(channelId, bound(amount, 1, 1e9));
        else if (block.timestamp >= c.withdrawalAt) payments.withdraw(channelId);
        vm.stopPrank();
    }

    function collect(uint8 what) external {
        if (what % 4 == 0 && payments.serverOwed(SERVER) != 0) payments.claimServer(SERVER);
        if (what % 4 == 1) {
            for (uint256 i = 0; i < 4; ++i) {
                address signer = vm.addr(signerKeys[i]);
                if (campaign.feeOf(signer) != 0) campaign.claimFee(signer);
            }
        }
        if (what % 4 == 2) {
            _collectOwed(PROVER);
            _collectOwed(address(distributor));
        }
        if (what % 4 == 3 && campaign.ended()) {
            address funder = what & 4 == 0 ? alice : bob;
            vm.prank(funder);
            try campaign.claimUnspent() {} catch {}
        }
    }

    /// @dev Doubts credits of the last final epoch and lets the signers judge.
    function doubt(uint256 index, bool convict) external {
        if (finals == 0) return;
        uint32 i = uint32(index % PROVIDERS);
        (address challenger,, bool judged,) = disputes.challengeOf(lastFinal, i);
        if (challenger != address(0) || judged) return;
        if (block.timestamp > uint256(oracle.epochInfo(lastFinal).settledAt) + 5_000) return;
        totalIn += 1_000;
        uint256 value = ready(PROVER, address(disputes), 1_000);
        vm.prank(PROVER);
        disputes.challengeCredits{value: value}(lastFinal, i, 0);
        Verdict memory v = Verdict(lastFinal, i, convict, 0);
        bytes32 hash = keccak256(
            abi.encode(
                keccak256("Verdict(bytes32 configDigest,uint64 epoch,uint32 index,bool convicted,bytes32 evidenceSha256)"),
                oracle.configDigest(),
                v.epoch,
                v.index,
                v.convicted,
                v.evidenceSha256
            )
        );
        _refillBonds();
        disputes.submitVerdict(v, signAll(typed(address(oracle), hash), 3));
        if (convict) {
            disputes.enforceVerdict(finalReport, finalList, i);
            ++convictions;
        }
    }

    function leave(uint256 index) external {
        uint32 i = uint32(index % PROVIDERS);
        Provider memory p = registry.providerAt(i);
        vm.startPrank(p.account);
        if (p.exitAt == 0) registry.exit();
        else if (p.stake != 0) try registry.withdrawStake(lastFinal) {} catch {}
        vm.stopPrank();
    }

    function wait(uint16 time) external {
        vm.warp(block.timestamp + time % 400);
    }

    /*//////////////////////////////////////////////////////////////
                                 STEPS
    //////////////////////////////////////////////////////////////*/

    function _close(uint64 e) internal {
        if (block.timestamp < epochEnd(e)) vm.warp(epochEnd(e));
        vm.roll(block.number + 1);
        oracle.closeEpoch(e);
    }

    function _lapse(uint64 e) internal {
        uint256 until = uint256(oracle.epochInfo(e).closedAt) + 300;
        if (block.timestamp < until) vm.warp(until);
        oracle.voidEpoch(e);
        ++voids;
    }

    function _drawList(uint256 seed) internal {
        clearList();
        for (uint32 i = 0; i < PROVIDERS; ++i) {
            uint64 c = uint64(uint256(keccak256(abi.encode(seed, i))) % 40_000);
            if (c > 10_000) list(i, c);
        }
    }

    function _report(uint64 e, uint256 seed) internal {
        _refillBonds();
        before.copyFrom(tree);
        _drawList(seed);
        pendingReport = honestReport(e);
        pendingList = packedList();
        submitWith(pendingReport, pendingList, signAll(digestOf(pendingReport), 3));
    }

    /// @dev A quorum's lie in one leaf, which a watcher proves at once.
    function _lie(uint64 e, uint256 seed) internal {
        _refillBonds();
        before.copyFrom(tree);
        _drawList(seed);
        honestReport(e);
        TreeModel.Account memory a = tree.account(0);
        if (a.C == 0) {
            tree.copyFrom(before);
            return _lapse(e);
        }
        tree.put(0, a.provider, a.C, a.D, a.W + 1);
        uint64 credits = 0;
        for (uint256 i = 0; i < listCredits.length; ++i) {
            credits += listCredits[i];
        }
        Report memory r = reportOn(e, tree, credits);
        submitWith(r, packedList(), signAll(digestOf(r), 3));
        Sibling memory at = tree.leafNode(0);
        Sibling[] memory proof = tree.proofOf(r.depth, 0);
        Leaf memory last = before.leaf(0);
        uint8 depth = lastDepth();
        Sibling[] memory lastProof = depth == 0 ? new Sibling[](0) : before.proofOf(depth, 0);
        bytes memory packed = packedList();
        vm.prank(PROVER);
        disputes.proveWrongLeaf(r, packed, 0, at.hash, at.sum, proof, last, lastProof);
        tree.copyFrom(before);
        ++frauds;
        ++voids;
    }

    function _noteFinal(uint64 e) internal {
        TreeModel t = new TreeModel();
        t.copyFrom(tree);
        oldTrees.push(t);
        oldEpochs.push(e);
        lastFinal = e;
        finalReport = pendingReport;
        finalList = pendingList;
        ++finals;
    }

    function _refillBonds() internal {
        for (uint256 i = 0; i < 3; ++i) {
            address signer = vm.addr(signerKeys[i]);
            uint256 missing = BOND - oracle.bondOf(signer);
            if (missing != 0) {
                totalIn += missing;
                postBond(signer, missing);
            }
        }
    }

    function _collectOwed(address who) internal {
        if (oracle.owedTo(who) != 0) oracle.payOwed(who);
        if (registry.owedTo(who) != 0) registry.payOwed(who);
        if (disputes.owedTo(who) != 0) disputes.payOwed(who);
    }

    /*//////////////////////////////////////////////////////////////
                               INVARIANTS
    //////////////////////////////////////////////////////////////*/

    /// Over the whole run, what came in is what went out and what is held, to the unit.
    function checkConservation() external view {
        uint256 held = balance(address(campaign)) + balance(address(registry)) + balance(address(oracle))
            + balance(address(distributor)) + balance(address(payments)) + balance(address(disputes));
        uint256 out = balance(alice) + balance(bob) + balance(SERVER) + balance(PROVER) + balance(vm.addr(PAYER_KEY));
        for (uint32 i = 0; i < PROVIDERS; ++i) {
            out += balance(payoutAddress(i)) + balance(providerAccount(i));
        }
        for (uint256 i = 0; i < 4; ++i) {
            out += balance(vm.addr(signerKeys[i]));
        }
        eq(held + out, totalIn, "in == out + held");
    }

    /// Each contract holds at least what it owes.
    function checkSolvency() external view {
        uint256 owes = campaign.raised() - campaign.released() + campaign.wagesDue();
        uint256 unpaid = 0;
        uint256 stakes = 0;
        uint256 bonds = 0;
        for (uint256 i = 0; i < 4; ++i) {
            unpaid += campaign.feeOf(vm.addr(signerKeys[i]));
            bonds += oracle.bondOf(vm.addr(signerKeys[i]));
        }
        owes += unpaid;
        if (campaign.ended()) owes = campaign.wagesDue() + unpaid + campaign.unspentOf(alice) + campaign.unspentOf(bob);
        ok(balance(address(campaign)) >= owes, "campaign");
        for (uint32 i = 0; i < PROVIDERS; ++i) {
            stakes += registry.providerAt(i).stake;
        }
        address[4] memory owed = [PROVER, address(distributor), SERVER, address(0)];
        uint256 openBonds = 0;
        for (uint256 i = 0; i < 4; ++i) {
            stakes += registry.owedTo(owed[i]);
            bonds += oracle.owedTo(owed[i]);
            openBonds += disputes.owedTo(owed[i]);
        }
        for (uint32 i = 0; i < PROVIDERS; ++i) {
            openBonds += disputes.owedTo(payoutAddress(i));
        }
        ok(balance(address(registry)) >= stakes, "registry");
        ok(balance(address(oracle)) >= bonds, "oracle");
        ok(balance(address(disputes)) >= openBonds, "disputes");
        Channel memory c = payments.channel(channelId);
        ok(balance(address(payments)) >= c.deposited - c.settled + payments.serverOwed(SERVER), "payments");
        uint256 pools = distributor.capitalReceived() - distributor.capitalPaid() + distributor.computeReceived();
        ok(balance(address(distributor)) >= pools - distributor.computePaid(), "distributor");
    }

    /// Neither pool pays more than it received, and what is claimable is covered.
    function checkPools() external view {
        ok(distributor.capitalPaid() <= distributor.capitalReceived(), "capital pool");
        ok(distributor.computePaid() + distributor.pendingCompute() <= distributor.computeReceived(), "compute pool");
        uint256 claimable = distributor.claimableCapital(alice) + distributor.claimableCapital(bob);
        uint256 held = distributor.capitalReceived() - distributor.capitalPaid();
        ok(claimable <= held && held - claimable <= 2, "dust below one unit a funder");
    }

    /// The leaves and revocations add up to exactly what was allocated: nothing is lost or made.
    function checkEquality() external view {
        uint256 sum = 0;
        uint256 claimed = 0;
        uint256 acc = distributor.accCompute();
        TreeModel t = oldTrees.length == 0 ? tree : oldTrees[oldTrees.length - 1];
        for (uint32 i = 0; i < PROVIDERS; ++i) {
            Revocation memory r = ledger.revoked(i);
            claimed += distributor.claimedBy(i);
            if (oldTrees.length == 0) continue;
            TreeModel.Account memory a = t.account(i);
            sum += (a.C - r.credits) * acc + r.accWeighted + a.W - a.D;
        }
        uint256 moved = distributor.computePaid() - claimed;
        uint256 given = distributor.computeReceived() - distributor.pendingCompute() - moved;
        eq(sum, (given << 64) - distributor.computeCarry(), "sum(C acc + W - D) == allocated");
        ok(claimed <= sum >> 64, "claims");
    }

    function checkEscrow() external view {
        ok(campaign.raised() <= CAP, "raised <= cap");
        eq(campaign.contributionOf(alice) + campaign.contributionOf(bob), campaign.raised(), "contributions == raised");
        ok(campaign.released() + campaign.returnable() <= campaign.raised(), "released + returned <= raised");
        ok(campaign.released() + campaign.reserved() <= campaign.raised(), "reserved is there");
    }

    function checkLedger() external view {
        (,,, uint256 sum,) = ledger.latest();
        ok(sum <= uint256(oracle.nextEpoch()) * 1_000_000, "credits within the caps");
        ok(ledger.liveCredits() <= sum, "live <= final");
        eq(checkpoints.count(), finals, "one checkpoint for each final report");
    }

    function report() external view returns (uint256, uint256, uint256, uint256) {
        return (finals, voids, frauds, convictions);
    }
}

/// @notice Everything that section 4.6 says must always hold, after each step of any sequence.
contract InvariantTest is Base {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    Handler internal handler;

    function setUp() public virtual override {
        _start(false);
    }

    function _start(bool token) internal {
        bytes memory code = abi.encodePacked(vm.getCode("Invariant.t.sol:Handler"), abi.encode(token));
        address made;
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
        ok(made != address(0), "handler");
        handler = Handler(made);
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function targetSelectors() external view returns (FuzzSelector[] memory out) {
        out = new FuzzSelector[](1);
        bytes4[] memory s = new bytes4[](16);
        s[0] = Handler.payRevenue.selector;
        s[1] = Handler.payTiny.selector;
        s[2] = Handler.force.selector;
        s[3] = Handler.claimCapitalOf.selector;
        s[4] = Handler.claimComputeOf.selector;
        s[5] = Handler.fundChannel.selector;
        s[6] = Handler.settle.selector;
        s[7] = Handler.withdrawFromChannel.selector;
        s[8] = Handler.collect.selector;
        s[9] = Handler.doubt.selector;
        s[10] = Handler.leave.selector;
        s[11] = Handler.wait.selector;
        // The epoch machine more often, so that sequences reach late epochs.
        for (uint256 i = 12; i < 16; ++i) {
            s[i] = Handler.advance.selector;
        }
        out[0] = FuzzSelector(address(handler), s);
    }

    function invariant_always() external view {
        handler.checkConservation();
        handler.checkSolvency();
        handler.checkPools();
        handler.checkEquality();
        handler.checkEscrow();
        handler.checkLedger();
    }

    /// The whole life of a run in one fixed sequence, so that every kind of step is known to have been taken.
    function test_wholeLifeHoldsTheInvariants() public {
        uint256 finals;
        uint256 voids;
        uint256 frauds;
        uint256 convictions;
        for (uint256 i = 0; i < 64; ++i) {
            handler.payRevenue(i * 7_919);
            handler.advance(i < 3 ? 5 : uint256(keccak256(abi.encode(i))));
            handler.payTiny(uint8(i));
            handler.fundChannel(i * 1_000);
            handler.settle(i * 31);
            handler.claimComputeOf(i, i * 17);
            if (i % 5 == 4) handler.doubt(i, i % 2 == 0);
            handler.claimCapitalOf(i % 2 == 0);
            handler.collect(uint8(i));
            if (i % 6 == 5) handler.leave(i);
            handler.withdrawFromChannel(i);
            this.invariant_always();
        }
        (finals, voids, frauds, convictions) = handler.report();
        ok(finals >= 2 && voids >= 1 && convictions >= 1, "the sequence reaches what it should");
        frauds;
    }
}

contract InvariantTokenTest is InvariantTest {
    function setUp() public override {
        _start(true);
    }
}
