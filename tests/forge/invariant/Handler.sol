// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import "../../../contracts/interfaces/Types.sol";
import {ForceEther} from "../../../contracts/mocks/Receivers.sol";
import {Base} from "../support/Base.sol";
import {TreeModel} from "../support/TreeModel.sol";

/// @notice Funders, providers, signers, watchers, payers and a server, who do what they like in any order, honest or not. The only thing
/// they keep to is the assumption of docs/threat-model.md: one watcher moves before time passes on a report that lies.
contract Handler is Base {
    uint32 internal constant MAX_PROVIDERS = 9;
    uint64 internal constant PERIOD = 600;
    uint256 internal constant PAYER_KEY = 0xFACE;
    uint256 internal constant DISPUTE_BOND = 1_000;
    uint256 internal constant CHALLENGE_BOND = 1_000;
    address internal constant SERVER = address(0x5E44E4);
    address internal constant PROVER = address(0x940F);
    address internal constant DAVE = address(0xDA7E);

    /// @dev A report that was sent: what it commits to, and what was final before it.
    struct Case {
        Report report;
        bytes credits;
        TreeModel shown;
        TreeModel base;
        uint8 baseDepth;
        uint32 wrong;
        Lie lie;
    }

    enum Lie {
        None,
        Leaf,
        List,
        Hidden
    }

    struct Doubt {
        uint64 epoch;
        uint32 index;
        bool over;
    }

    Case[] internal cases;
    mapping(uint64 => uint256) internal caseOf;
    uint256[] internal games;
    mapping(uint256 => uint256) internal caseOfGame;
    Doubt[] internal doubts;
    mapping(uint64 => bool) internal equivocated;
    mapping(uint64 => mapping(uint32 => bool)) internal wasJudged;
    TreeModel[] internal oldTrees;
    uint64[] internal oldEpochs;
    bytes32[] internal oldRoots;
    uint256[] internal otherKeys;
    address[] internal everSigner;
    Rotation internal proposed;
    uint256 internal proposedAt;
    bytes32 internal channelId;
    bytes[] internal replayed;
    address[] internal replayedAt;

    uint256 public totalIn;
    mapping(address => uint256) public forced;
    uint256 public refunded;
    uint256 public returned;
    mapping(string => uint256) public count;

    constructor(bool token, bool funded) {
        raise();
        if (token) asset = deployCode("Tokens.sol:PlainToken", "");
        RunParams memory p = defaultParams();
        p.milestones = new Milestone[](2);
        p.milestones[0] = Milestone(7, 0, type(uint64).max, 6_000);
        p.milestones[1] = Milestone(3, 50_000, type(uint64).max, 4_000);
        p.disputePeriod = PERIOD;
        createRun(p);
        _secondSet();
        if (!funded) return;
        launch(5);
        totalIn = 1_500_001 + 5 * STAKE + 4 * BOND;
    }

    function _secondSet() internal {
        uint256 candidate = 9_000;
        while (otherKeys.length < 3) {
            ++candidate;
            if (otherKeys.length == 0 || vm.addr(candidate) > vm.addr(otherKeys[otherKeys.length - 1])) otherKeys.push(candidate);
        }
        for (uint256 i = 0; i < 4; ++i) {
            everSigner.push(vm.addr(signerKeys[i]));
        }
        for (uint256 i = 0; i < 3; ++i) {
            everSigner.push(vm.addr(otherKeys[i]));
        }
    }

    function nextEpoch() external view returns (uint64) {
        return oracle.nextEpoch();
    }

    function _did(string memory what) internal {
        ++count[what];
    }

    /*//////////////////////////////////////////////////////////////
                                FUNDERS
    //////////////////////////////////////////////////////////////*/

    function _funder(uint256 seed) internal pure returns (address) {
        return [alice, bob, carol][seed % 3];
    }

    function deposit(uint256 seed, uint256 amount) external {
        uint256 room = CAP - campaign.raised();
        if (campaign.depositsClosed() || room == 0) return;
        uint256 value = ready(DAVE, address(campaign), room + 1);
        totalIn += room + 1;
        vm.prank(DAVE);
        (bool above,) = address(campaign).call{value: value}(abi.encodeCall(ICampaign.deposit, (room + 1)));
        ok(!above, "a deposit above the cap");
        amount = bound(amount, 1, room < 700_000 ? room : 700_000);
        fund(_funder(seed), amount);
        totalIn += amount;
        _did("deposit");
    }

    function refund(uint256 seed) external {
        address funder = _funder(seed);
        uint256 amount = campaign.contributionOf(funder);
        vm.prank(funder);
        (bool done,) = address(campaign).call(abi.encodeCall(ICampaign.refund, ()));
        ok(done == (campaign.failed() && amount != 0), "refunds below the goal, and only then");
        if (!done) return;
        refunded += amount;
        _did("refund");
    }

    function claimUnspent(uint256 seed) external {
        address funder = _funder(seed);
        uint256 amount = campaign.unspentOf(funder);
        vm.prank(funder);
        (bool done,) = address(campaign).call(abi.encodeCall(ICampaign.claimUnspent, ()));
        ok(done == (amount != 0), "what the view tells is paid");
        if (done) returned += amount;
    }

    function claimCapitalOf(uint256 seed) external {
        address funder = _funder(seed);
        if (distributor.claimableCapital(funder) != 0) distributor.claimCapital(funder);
    }

    /*//////////////////////////////////////////////////////////////
                                REVENUE
    //////////////////////////////////////////////////////////////*/

    function payRevenue(uint256 amount) external {
        if (!campaign.succeeded()) return;
        amount = bound(amount, 1, 1e12);
        totalIn += amount;
        pay(amount);
    }

    function payTiny(uint8 times) external {
        if (!campaign.succeeded()) return;
        for (uint256 i = 0; i < times % 20; ++i) {
            totalIn += 1;
            pay(1);
        }
    }

    function force(uint96 amount) external {
        if (asset != address(0)) return;
        vm.deal(address(this), amount);
        RunAddresses memory a = campaign.addresses();
        address to = [a.campaign, a.registry, a.oracle, a.distributor, a.payments, a.disputes][amount % 6];
        new ForceEther{value: amount}(payable(to));
        totalIn += amount;
        forced[to] += amount;
    }

    function fundChannel(uint256 amount) external {
        amount = bound(amount, 1, 1e9);
        totalIn += amount;
        uint256 value = ready(carol, address(payments), amount);
        vm.prank(carol);
        channelId = payments.deposit{value: value}(vm.addr(PAYER_KEY), SERVER, 50, amount);
    }

    function settle(uint256 amount) external {
        if (channelId == 0 || !campaign.succeeded()) return;
        Channel memory c = payments.channel(channelId);
        if (c.settled == c.deposited) return;
        amount = bound(amount, c.settled + 1, c.deposited);
        VoucherClaim[] memory claims = new VoucherClaim[](1);
        claims[0] = VoucherClaim(channelId, amount, amount, signWith(PAYER_KEY, payments.voucherHash(channelId, amount)));
        vm.startPrank(SERVER);
        payments.settle(claims);
        (bool again,) = address(payments).call(abi.encodeCall(payments.settle, (claims)));
        vm.stopPrank();
        ok(!again, "a voucher counts once");
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
            for (uint256 i = 0; i < everSigner.length; ++i) {
                if (campaign.feeOf(everSigner[i]) != 0) campaign.claimFee(everSigner[i]);
            }
        }
        if (what % 4 == 2) {
            _collectOwed(PROVER);
            _collectOwed(DAVE);
            if (campaign.succeeded()) _collectOwed(address(distributor));
        }
        if (what % 4 == 3) campaign.payWages();
    }

    function _collectOwed(address who) internal {
        if (oracle.owedTo(who) != 0) oracle.payOwed(who);
        if (registry.owedTo(who) != 0) registry.payOwed(who);
        if (disputes.owedTo(who) != 0) disputes.payOwed(who);
    }

    /*//////////////////////////////////////////////////////////////
                               PROVIDERS
    //////////////////////////////////////////////////////////////*/

    function join() external {
        uint32 i = registry.providerCount();
        if (i == MAX_PROVIDERS) return;
        ok(registerOne(i) == i, "the next index");
        totalIn += STAKE;
    }

    function leave(uint256 index) external {
        if (registry.providerCount() == 0) return;
        uint32 i = uint32(index % registry.providerCount());
        Provider memory p = registry.providerAt(i);
        vm.startPrank(p.account);
        if (p.exitAt == 0) registry.exit();
        else if (p.stake != 0) try registry.withdrawStake(latestEpoch()) {} catch {}
        vm.stopPrank();
    }

    /// @dev Any provider, on any final root.
    function claimComputeOf(uint256 index, uint256 which) external {
        if (oldEpochs.length == 0 || registry.providerCount() == 0) return;
        which = which % oldEpochs.length;
        uint32 i = uint32(index % registry.providerCount());
        TreeModel t = oldTrees[which];
        uint8 depth = ledger.finalEpoch(oldEpochs[which]).depth;
        Sibling[] memory proof = i >> depth == 0 ? t.proofOf(depth, i) : new Sibling[](0);
        uint256 had = distributor.claimedBy(i);
        try distributor.claimCompute(oldEpochs[which], t.leaf(i), proof) {
            ok(distributor.claimedBy(i) > had, "a claim claims");
            if (which + 1 != oldEpochs.length) _did("claim on an old root");
        } catch {}
    }

    /*//////////////////////////////////////////////////////////////
                                 EPOCHS
    //////////////////////////////////////////////////////////////*/

    function wait(uint16 time) external {
        _watch();
        vm.warp(block.timestamp + time % 400);
    }

    /// @dev The next step of the epoch machine: close, then report, truly or not, or lapse, then settle.
    function advance(uint256 seed) external {
        _watch();
        uint64 next = oracle.nextEpoch();
        if (next == 0) {
            if (campaign.succeeded()) _close(0);
            return;
        }
        EpochState state = oracle.epochInfo(next - 1).state;
        if (state == EpochState.Closed) {
            bool over = block.timestamp >= uint256(oracle.epochInfo(next - 1).closedAt) + 300;
            if (over || seed % 10 == 0) return _lapse(next - 1);
            return _report(next - 1, seed);
        }
        if (state == EpochState.Reported) return _settlePending(next - 1);
        if (next <= 7) _close(next);
    }

    function _close(uint64 e) internal {
        if (block.timestamp < epochEnd(e)) vm.warp(epochEnd(e));
        vm.roll(block.number + 1);
        oracle.closeEpoch(e);
    }

    function _lapse(uint64 e) internal {
        uint256 until = uint256(oracle.epochInfo(e).closedAt) + 300;
        if (block.timestamp < until) vm.warp(until);
        oracle.voidEpoch(e);
        _did("lapse");
    }

    function _settlePending(uint64 e) internal {
        Case storage c = cases[caseOf[e]];
        // A hidden lie whose game is going on; the watcher has moved already.
        if (c.lie != Lie.None) return;
        uint256 until = oracle.epochInfo(e).openUntil;
        if (block.timestamp < until) vm.warp(until);
        oracle.finalizeEpoch(c.report);
        TreeModel t = newTree();
        t.copyFrom(tree);
        oldTrees.push(t);
        oldEpochs.push(e);
        oldRoots.push(c.report.root);
        _did("final");
    }

    function _report(uint64 e, uint256 seed) internal {
        _refillBonds();
        Case storage c = cases.push();
        caseOf[e] = cases.length - 1;
        c.base = newTree();
        c.base.copyFrom(tree);
        c.baseDepth = lastDepth();
        c.lie = Lie(seed % 10 > 3 ? 0 : seed % 10);
        _drawList(seed);
        Report memory r = honestReport(e);
        if (c.lie != Lie.None && !_twist(c)) c.lie = Lie.None;
        if (c.lie != Lie.None) {
            r = reportOn(e, tree, r.epochCredits);
            _did("lie");
        }
        c.shown = newTree();
        c.shown.copyFrom(tree);
        c.credits = packedList();
        c.report = r;
        if (c.lie != Lie.None) tree.copyFrom(c.base);
        bytes[] memory sigs = _sign(digestOf(r));
        submitWith(r, c.credits, sigs);
        _keep(address(oracle), abi.encodeCall(ICreditOracle.submitReport, (r, c.credits, sigs)));
        if (c.lie == Lie.Hidden) _openGame(caseOf[e], PROVER);
    }

    /// @dev Makes the tree or the list false; not possible without credits.
    function _twist(Case storage c) internal returns (bool) {
        if (c.lie == Lie.List) {
            if (listIndices.length < 2) return false;
            (listIndices[0], listIndices[1]) = (listIndices[1], listIndices[0]);
            return true;
        }
        for (uint32 i = 0; i < tree.size(); ++i) {
            TreeModel.Account memory a = tree.account(i);
            if (a.C == 0) continue;
            c.wrong = i;
            tree.put(i, a.provider, a.C, a.D, a.W + 1);
            return true;
        }
        return false;
    }

    function _drawList(uint256 seed) internal {
        clearList();
        uint32 providers = oracle.epochInfo(oracle.nextEpoch() - 1).providerCount;
        for (uint32 i = 0; i < providers; ++i) {
            uint64 c = uint64(uint256(keccak256(abi.encode(seed, i))) % 40_000);
            if (c > 10_000) list(i, c);
        }
    }

    function _sign(bytes32 digest) internal view returns (bytes[] memory) {
        return signAll(digest, oracle.quorum());
    }

    function _refillBonds() internal {
        for (uint256 i = 0; i < oracle.quorum(); ++i) {
            address signer = vm.addr(signerKeys[i]);
            uint256 bond = oracle.bondOf(signer);
            if (bond >= BOND) continue;
            totalIn += BOND - bond;
            postBond(signer, BOND - bond);
        }
    }

    /*//////////////////////////////////////////////////////////////
                            PROOFS AND GAMES
    //////////////////////////////////////////////////////////////*/

    /// @dev The one honest watcher: it makes every move that is open to it against a pending lie.
    function _watch() internal {
        uint64 next = oracle.nextEpoch();
        if (next == 0 || oracle.epochInfo(next - 1).state != EpochState.Reported) return;
        Case storage c = cases[caseOf[next - 1]];
        if (c.lie == Lie.None) return;
        if (c.lie == Lie.List) {
            vm.prank(PROVER);
            disputes.proveBadList(c.report, c.credits, 1);
            return _did("bad list");
        }
        if (c.lie == Lie.Hidden) {
            (,, uint64 askedAt, uint64 answeredAt,,) = disputes.nodeAt(digestOf(c.report), c.report.depth, 0);
            if (answeredAt == 0) {
                if (block.timestamp >= uint256(askedAt) + 20) {
                    disputes.timeoutAnswer(_gameOn(caseOf[next - 1]));
                    _did("default of a lie");
                }
                return;
            }
        }
        _proveLeaf(c);
        _did("wrong leaf");
    }

    function _proveLeaf(Case storage c) internal {
        uint32 i = c.wrong;
        Sibling memory at = c.shown.leafNode(i);
        Sibling[] memory proof = c.shown.proofOf(c.report.depth, i);
        Leaf memory last = c.base.leaf(i);
        Sibling[] memory lastProof = c.baseDepth != 0 && i >> c.baseDepth == 0 ? c.base.proofOf(c.baseDepth, i) : new Sibling[](0);
        Report memory r = c.report;
        bytes memory credits = c.credits;
        vm.prank(PROVER);
        disputes.proveWrongLeaf(r, credits, i, at.hash, at.sum, proof, last, lastProof);
    }

    function _gameOn(uint256 which) internal view returns (uint256) {
        for (uint256 i = 0; i < games.length; ++i) {
            if (caseOfGame[games[i]] == which) return games[i];
        }
        revert NotTrue("no game on the hidden lie");
    }

    function _openGame(uint256 which, address who) internal {
        Report memory r = cases[which].report;
        uint256 value = ready(who, address(disputes), CHALLENGE_BOND);
        totalIn += CHALLENGE_BOND;
        vm.prank(who);
        uint256 game = disputes.openGame{value: value}(r);
        games.push(game);
        caseOfGame[game] = which;
        _did("game");
    }

    /// @dev A challenger without a reason, in the window of a true report or after a default.
    function challenge(uint256 seed) external {
        if (cases.length == 0 || games.length > 11) return;
        uint256 which = seed % 2 == 0 ? cases.length - 1 : (seed >> 1) % cases.length;
        Report memory r = cases[which].report;
        uint256 value = ready(DAVE, address(disputes), CHALLENGE_BOND);
        totalIn += CHALLENGE_BOND;
        vm.prank(DAVE);
        try disputes.openGame{value: value}(r) returns (uint256 game) {
            games.push(game);
            caseOfGame[game] = which;
            _did("game");
        } catch {}
    }

    /// @dev Someone answers the root of every report that was asked about, if there is still time.
    function answer() external {
        for (uint256 i = 0; i < games.length; ++i) {
            Case storage c = cases[caseOfGame[games[i]]];
            uint8 depth = c.report.depth;
            Sibling[] memory nodes = c.shown.descendants(depth, 0, depth);
            bytes32 digest = digestOf(c.report);
            vm.prank(DAVE);
            try disputes.answerNode(digest, depth, 0, nodes) {
                _did("answer");
                // After a default an answer shows a lie too: the watcher proves it.
                if (c.lie == Lie.Hidden && oracle.epochInfo(c.report.epoch).state == EpochState.Void) {
                    _proveLeaf(c);
                    _did("late wrong leaf");
                }
            } catch {}
        }
    }

    /// @dev Anyone calls defaults and settles bonds, as far as it is time.
    function endGames() external {
        _watch();
        for (uint256 i = 0; i < games.length; ++i) {
            uint256 which = caseOfGame[games[i]];
            uint64 e = cases[which].report.epoch;
            bool pending = caseOf[e] == which && oracle.epochInfo(e).state == EpochState.Reported;
            if (pending) {
                try disputes.timeoutAnswer(games[i]) {
                    // A true report that nobody stood up for is void like any other.
                    tree.copyFrom(cases[which].base);
                    _did("default of a true report");
                } catch {}
            }
            try disputes.closeGame(games[i]) {} catch {}
        }
    }

    /*//////////////////////////////////////////////////////////////
                        JUDGEMENTS, ROTATION, BANS
    //////////////////////////////////////////////////////////////*/

    function doubt(uint256 seed, uint256 index) external {
        uint64 next = oracle.nextEpoch();
        if (next == 0 || doubts.length > 8) return;
        uint64 e = uint64(seed % next);
        uint32 i = uint32(index % (oracle.epochInfo(e).providerCount + 1));
        // Now and then one that was judged already.
        if (seed % 3 == 0 && doubts.length != 0) {
            Doubt storage old = doubts[index % doubts.length];
            (e, i) = (old.epoch, old.index);
        }
        uint256 value = ready(PROVER, address(disputes), DISPUTE_BOND);
        totalIn += DISPUTE_BOND;
        vm.prank(PROVER);
        try disputes.challengeCredits{value: value}(e, i, 0) {
            ok(!wasJudged[e][i], "credits judged once are challenged again");
            doubts.push(Doubt(e, i, false));
            _did("doubt");
        } catch {}
    }

    function judge(uint256 seed, bool convict) external {
        if (doubts.length == 0) return;
        Doubt storage d = doubts[seed % doubts.length];
        (address challenger, uint64 until, bool judged,) = disputes.challengeOf(d.epoch, d.index);
        if (challenger == address(0) || judged || block.timestamp > until) return;
        Verdict memory v = Verdict(d.epoch, d.index, convict, 0);
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
        bytes[] memory sigs = _sign(typed(address(oracle), hash));
        disputes.submitVerdict(v, sigs);
        wasJudged[d.epoch][d.index] = true;
        _keep(address(disputes), abi.encodeCall(disputes.submitVerdict, (v, sigs)));
        _did(convict ? "conviction" : "acquittal");
    }

    function endDoubts() external {
        for (uint256 i = 0; i < doubts.length; ++i) {
            Doubt storage d = doubts[i];
            if (d.over) continue;
            Case storage c = cases[caseOf[d.epoch]];
            try disputes.enforceVerdict(c.report, c.credits, d.index) {
                _did("enforced");
            } catch {}
            try disputes.closeChallenge(d.epoch, d.index) {} catch {}
            (address challenger,,,) = disputes.challengeOf(d.epoch, d.index);
            d.over = challenger == address(0);
        }
    }

    /// @dev The two signer sets take turns.
    function rotate() external {
        if (proposedAt == 0) {
            Rotation memory n;
            n.quorum = uint16(otherKeys.length / 2 + 1);
            n.signers = new address[](otherKeys.length);
            n.transmitters = new address[](otherKeys.length);
            bytes memory packed;
            for (uint256 i = 0; i < otherKeys.length; ++i) {
                n.signers[i] = vm.addr(otherKeys[i]);
                n.transmitters[i] = n.signers[i];
                packed = abi.encodePacked(packed, abi.encode(n.signers[i]));
            }
            bytes32 hash = keccak256(
                abi.encode(
                    keccak256("Rotation(bytes32 configDigest,uint16 quorum,address[] signers,address[] transmitters)"),
                    oracle.configDigest(),
                    n.quorum,
                    keccak256(packed),
                    keccak256(packed)
                )
            );
            _refillBonds();
            bytes[] memory sigs = _sign(typed(address(oracle), hash));
            oracle.proposeRotation(n, sigs);
            proposed = n;
            proposedAt = block.timestamp;
            _keep(address(oracle), abi.encodeCall(ICreditOracle.proposeRotation, (n, sigs)));
        } else if (block.timestamp >= proposedAt + 200) {
            oracle.applyRotation(proposed);
            proposedAt = 0;
            // Through memory: a swap of storage arrays would copy the one over the other.
            uint256[] memory old = signerKeys;
            signerKeys = otherKeys;
            otherKeys = old;
            _did("rotation");
        }
    }

    function withdrawBond(uint256 seed) external {
        address signer = everSigner[seed % everSigner.length];
        vm.prank(signer);
        try oracle.withdrawBond(signer) {
            _did("bond withdrawn");
        } catch {}
    }

    /// @dev A signer of the pending report signs a second one.
    function equivocate(uint256 seed) external {
        uint64 next = oracle.nextEpoch();
        if (next == 0 || equivocated[next - 1] || oracle.epochInfo(next - 1).state != EpochState.Reported) return;
        Report memory a = cases[caseOf[next - 1]].report;
        uint256 key = signerKeys[seed % signerKeys.length];
        if (oracle.bondOf(vm.addr(key)) == 0) return;
        equivocated[next - 1] = true;
        bytes memory first = signWith(key, digestOf(a));
        Report memory b = a;
        b.lossMicro += 1;
        bytes memory second = signWith(key, digestOf(b));
        a = cases[caseOf[next - 1]].report;
        vm.prank(PROVER);
        oracle.proveEquivocation(a, first, b, second);
        ok(oracle.bondOf(vm.addr(key)) == 0, "the whole bond");
        _did("equivocation");
    }

    function ban(uint256 seed) external {
        if (registry.providerCount() == 0) return;
        uint32 i = uint32(seed % registry.providerCount());
        uint64 until = registry.providerAt(i).bannedUntil;
        if (until < block.timestamp) until = uint64(block.timestamp);
        Ban memory b = Ban(i, bytes32(seed), until + 1 + uint64(seed % 500));
        bytes32 hash = keccak256(
            abi.encode(
                keccak256("Ban(bytes32 configDigest,uint32 index,bytes32 evidenceSha256,uint64 until)"),
                oracle.configDigest(),
                b.index,
                b.evidenceSha256,
                b.until
            )
        );
        _refillBonds();
        bytes[] memory sigs = _sign(typed(address(oracle), hash));
        oracle.banProvider(b, sigs);
        _keep(address(oracle), abi.encodeCall(ICreditOracle.banProvider, (b, sigs)));
        _did("ban");
    }

    function _keep(address to, bytes memory call_) internal {
        replayed.push(call_);
        replayedAt.push(to);
    }

    /// @dev No signature can be used twice: whatever was accepted once is refused for ever.
    function replay(uint256 seed) external {
        if (replayed.length == 0) return;
        uint256 which = seed % replayed.length;
        (bool accepted,) = replayedAt[which].call(replayed[which]);
        ok(!accepted, "a signature used twice");
    }

    /*//////////////////////////////////////////////////////////////
                               INVARIANTS
    //////////////////////////////////////////////////////////////*/

    function _people() internal pure returns (address[6] memory) {
        return [alice, bob, carol, SERVER, PROVER, DAVE];
    }

    /// Over the whole run, what came in is what went out and what is held, to the unit.
    function checkConservation() external view {
        uint256 sum = balance(address(campaign)) + balance(address(registry)) + balance(address(oracle))
            + balance(address(distributor)) + balance(address(payments)) + balance(address(disputes)) + balance(vm.addr(PAYER_KEY));
        for (uint256 i = 0; i < 6; ++i) {
            sum += balance(_people()[i]);
        }
        for (uint32 i = 0; i < registry.providerCount(); ++i) {
            sum += balance(payoutAddress(i)) + balance(providerAccount(i));
        }
        for (uint256 i = 0; i < everSigner.length; ++i) {
            sum += balance(everSigner[i]);
        }
        eq(sum, totalIn, "in == out + held");
    }

    /// Each contract holds exactly what its books say it owes, and what was forced on it.
    function checkSolvency() external view {
        uint256 owes = campaign.wagesDue();
        uint256 bonds = 0;
        for (uint256 i = 0; i < everSigner.length; ++i) {
            owes += campaign.feeOf(everSigner[i]);
            bonds += oracle.bondOf(everSigner[i]);
        }
        owes += campaign.ended() ? campaign.returnable() - returned : campaign.raised() - campaign.released() - refunded;
        _holds(address(campaign), owes, "campaign");
        uint256 stakes = 0;
        uint256 open = 0;
        for (uint32 i = 0; i < registry.providerCount(); ++i) {
            stakes += registry.providerAt(i).stake;
            open += disputes.owedTo(payoutAddress(i));
        }
        for (uint256 i = 0; i < 7; ++i) {
            address who = i < 6 ? _people()[i] : address(distributor);
            stakes += registry.owedTo(who);
            bonds += oracle.owedTo(who);
            open += disputes.owedTo(who);
        }
        _holds(address(registry), stakes, "registry");
        _holds(address(oracle), bonds, "oracle");
        for (uint256 i = 0; i < doubts.length; ++i) {
            (address challenger,,,) = disputes.challengeOf(doubts[i].epoch, doubts[i].index);
            if (challenger != address(0) && !doubts[i].over) open += DISPUTE_BOND;
        }
        _holds(address(disputes), open + disputes.openGames() * CHALLENGE_BOND, "disputes");
        Channel memory c = payments.channel(channelId);
        _holds(address(payments), c.deposited - c.settled + payments.serverOwed(SERVER), "payments");
        uint256 pools = distributor.capitalReceived() - distributor.capitalPaid() + distributor.computeReceived() - distributor.computePaid();
        _holds(address(distributor), pools, "distributor");
    }

    function _holds(address who, uint256 owes, string memory what) internal view {
        eq(balance(who), owes + forced[who], what);
    }

    /// Neither pool pays more than it received, and everybody's claim is covered at the same time.
    function checkPools() external view {
        ok(distributor.capitalPaid() <= distributor.capitalReceived(), "capital pool");
        ok(distributor.computePaid() + distributor.pendingCompute() <= distributor.computeReceived(), "compute pool");
        if (!campaign.succeeded()) return;
        uint256 claimable = 0;
        uint256 acc = (distributor.capitalReceived() << 64) / campaign.raised();
        for (uint256 i = 0; i < 3; ++i) {
            uint256 mine = distributor.claimableCapital(_funder(i));
            claimable += mine;
            uint256 due = (campaign.contributionOf(_funder(i)) * acc) >> 64;
            eq(mine + distributor.capitalClaimedBy(_funder(i)), due, "a funder's share follows from receipts alone");
        }
        uint256 held = distributor.capitalReceived() - distributor.capitalPaid();
        ok(claimable <= held && held - claimable <= 3, "dust below one unit a funder");
    }

    /// The leaves and revocations add up to exactly what was allocated: nothing is lost or made.
    function checkEquality() external view {
        uint256 sum = 0;
        uint256 claimed = 0;
        uint256 entitled = 0;
        uint256 debts = 0;
        uint256 acc = distributor.accCompute();
        uint32 providers = registry.providerCount();
        for (uint32 i = 0; i < providers; ++i) {
            Revocation memory r = ledger.revoked(i);
            claimed += distributor.claimedBy(i);
            debts += distributor.debtOf(i);
            if (oldTrees.length == 0) continue;
            TreeModel.Account memory a = oldTrees[oldTrees.length - 1].account(i);
            uint256 earned = (a.C - r.credits) * acc + r.accWeighted + a.W - a.D;
            sum += earned;
            entitled += earned >> 64;
            ok(distributor.claimedBy(i) <= earned >> 64, "nobody claims more than it earned");
        }
        // What left the pool unclaimed went to the capital pool at the end of a run without credits.
        uint256 moved = distributor.computePaid() - claimed;
        uint256 given = distributor.computeReceived() - distributor.pendingCompute() - moved;
        eq(sum, (given << 64) - distributor.computeCarry(), "sum(C acc + W - D) == allocated");
        ok(entitled <= given && given - entitled <= providers + (distributor.computeCarry() >> 64) + 1, "dust below one unit a provider");
        if (ledger.liveCredits() == 0 && oldTrees.length == 0) eq(debts, 0, "no debts");
    }

    function checkEscrow() external view {
        uint256 sum = 0;
        for (uint256 i = 0; i < 3; ++i) {
            sum += campaign.contributionOf(_funder(i));
        }
        ok(campaign.raised() <= CAP, "raised <= cap");
        eq(sum + refunded, campaign.raised(), "contributions == raised");
        ok(refunded == 0 || campaign.failed(), "refunds only of a campaign that failed");
        ok(campaign.released() + returned <= campaign.raised(), "released + returned <= raised");
        ok(campaign.released() + campaign.reserved() <= campaign.raised(), "reserved is there");
        ok(!campaign.failed() || campaign.released() + distributor.capitalReceived() == 0, "a failed run spends nothing");
    }

    /// What is final stays, within its caps, and no epoch stays open beyond its bound.
    function checkLedger() external view {
        uint64 next = oracle.nextEpoch();
        (,,, uint256 sum,) = ledger.latest();
        ok(sum <= uint256(next) * 1_000_000, "credits within the caps");
        ok(ledger.liveCredits() <= sum, "live <= final");
        eq(checkpoints.count(), oldEpochs.length, "one checkpoint for each final report");
        for (uint256 i = 0; i < oldEpochs.length; ++i) {
            eq(ledger.rootOf(oldEpochs[i]), oldRoots[i], "a final root is for good, and true");
        }
        for (uint32 i = 0; i < registry.providerCount(); ++i) {
            eq(registry.accountOf(i), providerAccount(i), "an index is its account's for good");
        }
        if (next == 0) return;
        EpochInfo memory info = oracle.epochInfo(next - 1);
        ok(info.openUntil <= uint256(info.closedAt) + 300 + 100 + 8 * 20, "no report stays open beyond the longest game");
    }
}
