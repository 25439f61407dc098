"""What actors try: each step is a name, a wait and three numbers, and means the same call wherever the run stands.

The numbers choose among what there is (a funder, an index, a lie, an amount at the edge of a rule), so a printed
sequence can be played again and stays meaningful when steps are taken out of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from tests.ledger_model import typed
from tests.ledger_model.actors import Actors, payout_of, signing_key_of
from tests.ledger_model.calls import Call
from tests.ledger_model.disputes import Game, Node, Standing
from tests.ledger_model.epochs import Epoch, State, wage_for
from tests.ledger_model.lies import LIES, Draft
from tests.ledger_model.payments import VoucherClaim
from tests.ledger_model.rules import ZERO
from tests.ledger_model.run import Run
from tests.ledger_model.tree import (
    ANSWER_LEVELS,
    Leaf,
    Sibling,
    Tree,
    depth_for,
    keccak,
    pack_list,
    unpack_list,
    well_formed,
)

T = TypeVar("T")
Signed = tuple[typed.Report, bytes, tuple[bytes, ...]]


@dataclass
class Scene:
    """A run with what its actors know."""

    run: Run
    actors: Actors
    signed: list[Signed] = field(default_factory=list)  # reports that were signed, in their order
    dishonest: set[bytes] = field(default_factory=set)  # digests of those that lie

    def amount(self, contract_amount: int) -> int:
        """The ETH to send with a call that pays an amount."""
        return contract_amount if self.run.native else 0


Step = Callable[[Scene, int, int, int], Call | None]


def one(values: list[T] | tuple[T, ...], number: int) -> T:
    """The number's choice."""
    return values[number % len(values)]


# ----------------------------------------------------------------------------------------------- funders


def deposit(s: Scene, a: int, b: int, c: int) -> Call:
    room = s.run.p.cap - s.run.campaign.raised
    amount = one((b % 1_500 + 1, b % 1_500 + 1, b % 1_500 + 1, 1, room, room + 1, 0), c)
    value = s.amount(amount) + (1 if b % 23 == 0 else 0)
    return Call("campaign", "deposit", one(s.actors.funders, a), (amount,), value)


def refund(s: Scene, a: int, b: int, c: int) -> Call:
    return Call("campaign", "refund", one(s.actors.funders, a))


def claim_unspent(s: Scene, a: int, b: int, c: int) -> Call:
    return Call("campaign", "claimUnspent", one(s.actors.funders, a))


def claim_fee(s: Scene, a: int, b: int, c: int) -> Call:
    return Call("campaign", "claimFee", s.actors.crank, (one(s.actors.signers, a),))


def pay_wages(s: Scene, a: int, b: int, c: int) -> Call:
    return Call("campaign", "payWages", s.actors.crank)


# ----------------------------------------------------------------------------------------------- providers


def register(s: Scene, a: int, b: int, c: int) -> Call:
    registry = s.run.registry
    free = [k for k, account in enumerate(s.actors.providers) if account not in registry.index_of]
    k = free[0] if free and c % 8 != 1 else a % 6
    stake = s.run.p.provider_stake + (-1 if c % 8 == 2 else b % 50)
    key = signing_key_of(0 if c % 8 == 3 else k)
    payout = ZERO if c % 8 == 4 else payout_of(k)
    peer = "x" * 513 if c % 16 == 6 else "peer"
    return Call("registry", "register", s.actors.providers[k], (key, payout, peer, stake), s.amount(stake))


def rotate_key(s: Scene, a: int, b: int, c: int) -> Call:
    key = one((ZERO, signing_key_of(b % 6), signing_key_of(1_000 + b)), c)
    return Call("registry", "rotateKey", one(s.actors.providers[:6], a), (key,))


def set_payout(s: Scene, a: int, b: int, c: int) -> Call:
    payout = ZERO if c % 6 == 0 else payout_of(b % 6)
    return Call("registry", "setPayout", one(s.actors.providers[:6], a), (payout,))


def add_stake(s: Scene, a: int, b: int, c: int) -> Call:
    amount = 0 if c % 6 == 0 else b % 100 + 1
    return Call("registry", "addStake", one(s.actors.providers[:6], a), (amount,), s.amount(amount))


def leave(s: Scene, a: int, b: int, c: int) -> Call:
    return Call("registry", "exit", one(s.actors.providers[:6], a))


def withdraw_stake(s: Scene, a: int, b: int, c: int) -> Call:
    gone = [p.account for p in s.run.registry.providers if p.exit_at] or list(s.actors.providers[:6])
    account = one(gone, a) if b % 8 else one(s.actors.providers[:6], a)
    return Call("registry", "withdrawStake", account, (one(list(s.run.ledger.finals) or [0], c) if b % 5 else c % 7,))


def ban(s: Scene, a: int, b: int, c: int) -> Call:
    index = a % (len(s.run.registry.providers) + 1)
    wanted = typed.Ban(index, keccak(bytes([a % 256])), s.run.now + b % 1_000 - 50)
    return Call(
        "oracle", "banProvider", s.actors.crank, (wanted, sign(s, wanted.struct_hash(s.run.signers.config_digest), c))
    )


# ----------------------------------------------------------------------------------------------- signers


def sign(s: Scene, struct_hash: bytes, how: int) -> tuple[bytes, ...]:
    """Signatures by a quorum in office; at times too few, doubled, unordered, a stranger's, broken, or by all."""
    office, keys = s.run.signers.office, s.actors.keys
    message = s.run.signers.digest(struct_hash)
    signers = list(office.signers)
    chosen = signers
    if how % 16 < 10:
        chosen = signers[: office.quorum] if how % 16 < 6 else signers[-office.quorum :]
    made = [keys[x].sign(message) for x in chosen]
    match how % 32:
        case 11:
            made = made[: office.quorum - 1]
        case 12:
            made = [made[0], *made[:-1]]
        case 13:
            made = made[::-1]
        case 14:
            stranger = typed.Key(b"\7" * 32)
            made[-1] = stranger.sign(message)
        case 15:
            made[0] = made[0][:64]
    return tuple(made)


def post_bond(s: Scene, a: int, b: int, c: int) -> Call:
    short = [x for x in s.run.signers.office.signers if s.run.signers.bonds[x] < s.run.p.signer_bond]
    signer = one(short or list(s.actors.signers), a)
    amount = max(s.run.p.signer_bond - s.run.signers.bonds[signer], 1) if c % 8 else b % 3
    return Call("oracle", "postBond", s.actors.crank, (signer, amount), s.amount(amount))


def withdraw_bond(s: Scene, a: int, b: int, c: int) -> Call:
    left = [x for x in s.run.signers.liable_for if s.run.signers.bonds[x]]
    signer = one(left or list(s.actors.signers), a)
    sender = s.run.signers.transmitter_of.get(signer, s.actors.crank) if c % 8 else s.actors.crank
    return Call("oracle", "withdrawBond", sender, (signer,))


def rotation(s: Scene, c: int) -> typed.Rotation:
    """The other set."""
    first = s.run.signers.rotation % 2 == 1
    keys, transmitters = (
        (s.actors.first, s.actors.first_transmitters) if first else (s.actors.second, s.actors.second_transmitters)
    )
    quorum = (3 if first else 2) - (1 if c % 8 == 1 else 0)
    return typed.Rotation(quorum, tuple(k.address for k in keys), transmitters)


def propose(s: Scene, a: int, b: int, c: int) -> Call:
    wanted = rotation(s, b)
    return Call(
        "oracle",
        "proposeRotation",
        s.actors.crank,
        (wanted, sign(s, wanted.struct_hash(s.run.signers.config_digest), c)),
    )


def apply(s: Scene, a: int, b: int, c: int) -> Call:
    return Call("oracle", "applyRotation", s.actors.crank, (rotation(s, c),))


def equivocate(s: Scene, a: int, b: int, c: int) -> Call | None:
    if not s.signed:
        return None
    first = one(s.signed, a)[0]
    second = (
        first if c % 5 == 1 else replace(first, loss_micro=first.loss_micro + 1, attempt=first.attempt + (c % 5 == 2))
    )
    key = one(list(s.actors.keys.values()), b)
    other = one(list(s.actors.keys.values()), b + (c % 5 == 3))
    signatures = (
        key.sign(s.run.signers.digest(first.struct_hash())),
        other.sign(s.run.signers.digest(second.struct_hash())),
    )
    return Call("oracle", "proveEquivocation", s.actors.watcher, (first, signatures[0], second, signatures[1]))


# ----------------------------------------------------------------------------------------------- epochs


def close(s: Scene, a: int, b: int, c: int) -> Call:
    return Call("oracle", "closeEpoch", s.actors.crank, (s.run.epochs.next + (1 if c % 16 == 1 else 0),))


def draw_list(s: Scene, epoch: Epoch, seed: int) -> list[tuple[int, int]]:
    """Which providers are credited, and how much: at most what the cap allows together, at times all of it."""
    tree, limit = s.run.ledger.tree, s.run.epochs.credits_limit
    entries: list[tuple[int, int]] = []
    for index in range(epoch.provider_count):
        share = keccak(b"%d/%d" % (seed, index))[0]
        if share >= 90 and index not in tree.fixed and (credits := min(limit, share if seed % 3 else limit // 3)):
            entries.append((index, credits))
            limit -= credits
    return entries


def report(s: Scene, a: int, b: int, c: int) -> Call | None:
    """Signers report: `a` draws the list, `b` the lie or the mistake (below 100: none), `c` who signs."""
    epoch = s.run.epochs.all[-1] if s.run.epochs.all else None
    if epoch is None or epoch.state in (State.FINAL, State.VOID):
        if not s.signed:
            return None
        return Call("oracle", "submitReport", s.actors.crank, one(s.signed, a))  # an old one once more
    entries = draw_list(s, epoch, a)
    packed = pack_list(entries)
    accounts = s.run.registry.account
    leaves = {
        i: replace(leaf, provider=accounts(i)) if leaf.C else leaf for i, leaf in s.run.ledger.tree.leaves.items()
    }
    total = sum(credits for _, credits in entries)
    wage = wage_for(epoch.escrow, total, s.run.p.wage_per_credit, s.run.p.oracle_bps)
    depth = depth_for(epoch.provider_count, s.run.ledger.depth)
    for index, credits in entries:
        leaves[index] = leaves.get(index, Leaf(index)).credited(accounts(index), credits, epoch.acc, wage)
    draft = Draft(epoch, depth, s.run.epochs.credits_limit, leaves, dict(s.run.ledger.tree.fixed), packed, total)
    lie = LIES[b % len(LIES)] if b >= 100 else None
    if lie is not None:
        lie(draft, s.actors.rival, accounts)
    packed, tree = draft.packed, Tree(leaves, depth, draft.fixed)
    made = _report_on(s, epoch, tree, packed, draft.total, a)
    if 50 <= b < 100:
        made, packed = _mistake(s, made, packed, b)
    s.run.epochs.trees.setdefault(made.root, tree)
    signed = (made, packed, sign(s, made.struct_hash(), c))
    s.signed.append(signed)
    if lie is not None:
        s.dishonest.add(s.run.signers.digest(made.struct_hash()))
    return Call("oracle", "submitReport", s.actors.crank, signed)


def _report_on(s: Scene, epoch: Epoch, tree: Tree, packed: bytes, total: int, seed: int) -> typed.Report:
    number = max(s.run.blocks)
    return typed.Report(
        config_digest=s.run.signers.config_digest,
        epoch=epoch.number,
        attempt=min(s.run.now - epoch.closed_at, s.run.p.report_span - 1) // s.run.p.attempt_length,
        prev_root=s.run.ledger.root,
        root=tree.root.hash,
        sum=s.run.ledger.sum + total,
        depth=tree.depth,
        epoch_credits=total,
        credits_hash=keccak(packed),
        evidence_cid="bafybeievidence",
        evidence_sha256=keccak(b"evidence%d" % epoch.number),
        checkpoint=bytes(32) if seed % 7 == 1 else keccak(b"checkpoint%d" % (epoch.number // 2)),
        checkpoint_cid="bafybeicheckpoint",
        round=epoch.number * 3,
        loss_micro=3_000_000 + (seed % 2),
        block_number=number,
        block_hash=s.run.blocks[number],
    )


def _mistake(s: Scene, r: typed.Report, packed: bytes, b: int) -> tuple[typed.Report, bytes]:
    """One field that the contract itself refuses."""
    over = s.run.epochs.credits_limit + 1
    match b % 11:
        case 0:
            r = replace(r, attempt=r.attempt + 1)
        case 1:
            r = replace(r, prev_root=keccak(b"other"))
        case 2:
            r = replace(r, sum=r.sum + 1)
        case 3:
            r = replace(r, depth=r.depth + 1)
        case 4:
            r = replace(r, epoch_credits=over, sum=s.run.ledger.sum + over)
        case 5:
            packed += bytes(12)
        case 6:
            r = replace(r, block_hash=keccak(b"other"))
        case 7:
            r = replace(r, config_digest=keccak(b"other"))
        case 8:
            r = replace(r, epoch=r.epoch + 1)
        case 9:
            r = replace(r, block_number=r.block_number + 1)
        case 10:
            r = replace(r, checkpoint_cid="b" * 129)
    return r, packed


def finalize(s: Scene, a: int, b: int, c: int) -> Call | None:
    reports = [e.report for e in s.run.epochs.all if e.report]
    if not reports:
        return None
    wanted = reports[-1] if c % 10 else one(reports, a)
    assert wanted is not None
    return Call("oracle", "finalizeEpoch", s.actors.crank, (wanted,))


def void(s: Scene, a: int, b: int, c: int) -> Call:
    return Call("oracle", "voidEpoch", s.actors.crank, (max(0, s.run.epochs.next - 1) + (1 if c % 16 == 1 else 0),))


# ----------------------------------------------------------------------------------------------- revenue and claims


def pay_revenue(s: Scene, a: int, b: int, c: int) -> Call:
    amount = one((b % 2_000 + 1, 1, b % 10 + 1, b + 1, 0), c)
    return Call("distributor", "payRevenue", s.actors.payer, (amount,), s.amount(amount))


def pay_capital(s: Scene, a: int, b: int, c: int) -> Call:
    amount = 0 if c % 8 == 0 else b % 500 + 1
    return Call("distributor", "payCapital", s.actors.rival, (amount,), s.amount(amount))


def claim_capital(s: Scene, a: int, b: int, c: int) -> Call:
    return Call("distributor", "claimCapital", s.actors.crank, (one(s.actors.funders, a),))


def claim_compute(s: Scene, a: int, b: int, c: int) -> Call | None:
    """Any provider on any final root, the last one most often; at times with a false leaf or proof."""
    finals = list(s.run.ledger.finals.values())
    if not finals:
        return None
    final = finals[-1] if b % 2 else one(finals, b // 2)
    index = one([i for i, leaf in final.tree.leaves.items() if leaf.C] or [0], a) if c % 12 else a % 9
    leaf, proof, epoch = final.tree.leaf(index), final.tree.proof(index), final.number
    match c % 24:
        case 1:
            leaf = replace(leaf, W=leaf.W + 2**64)
        case 2:
            leaf = replace(leaf, C=leaf.C + 1)
        case 3:
            proof = proof[1:]
        case 4:
            epoch += 1
    return Call("distributor", "claimCompute", s.actors.crank, (epoch, leaf, proof))


def pay_owed(s: Scene, a: int, b: int, c: int) -> Call:
    dues = one((s.run.registry.dues, s.run.signers.dues, s.run.disputes.dues), b)
    waiting = [
        (d.contract, account)
        for d in (s.run.registry.dues, s.run.signers.dues, s.run.disputes.dues)
        for account, amount in d.owed.items()
        if amount
    ]
    contract, account = one(waiting, a) if waiting and c % 8 else (dues.contract, s.actors.watcher)
    return Call(contract, "payOwed", s.actors.crank, (account,))


# ----------------------------------------------------------------------------------------------- payments


def fund_channel(s: Scene, a: int, b: int, c: int) -> Call:
    amount = 0 if c % 10 == 1 else b % 900 + 1
    delay = s.run.p.withdrawal_delay + one((0, 0, 7, 0, 0, -1, 2**40), c // 2)
    payer = ZERO if c % 20 == 3 else s.actors.payer
    return Call(
        "payments", "deposit", s.actors.rival, (payer, one(s.actors.servers, a), delay, amount), s.amount(amount)
    )


def settle(s: Scene, a: int, b: int, c: int) -> Call:
    """One or two vouchers of a server's channels."""
    funded, claims = [ch.server for ch in s.run.payments.channels.values()], []
    server = one(funded, a) if funded and c % 8 != 2 else one(s.actors.servers, a)
    channels = [(k, ch) for k, ch in s.run.payments.channels.items() if ch.server == server or c % 8 == 1]
    for number, (key, channel) in enumerate(channels[: 1 + b % 2]):
        amount = channel.settled + one(
            (b % 300 + 1, max(1, channel.deposited - channel.settled), 1, 0, channel.deposited + 1), c
        )
        ceiling = amount + one((0, 0, 100, -1), b // 2)
        digest = typed.digest(s.run.payments.domain, typed.voucher_hash(key, max(ceiling, 0)))
        signer = s.actors.first[0] if c % 16 == 9 and number == 0 else s.actors.payer_key
        claims.append(VoucherClaim(key, max(ceiling, 0), amount, signer.sign(digest)))
    if claims and c % 16 == 7:
        claims.append(claims[0])
    return Call("payments", "settle", server, (tuple(claims),))


def claim_server(s: Scene, a: int, b: int, c: int) -> Call:
    return Call("payments", "claimServer", s.actors.crank, (one(s.actors.servers, a),))


def _channel(s: Scene, a: int) -> bytes:
    return one(list(s.run.payments.channels) or [bytes(32)], a)


def request_withdrawal(s: Scene, a: int, b: int, c: int) -> Call:
    sender = s.actors.rival if c % 8 == 1 else s.actors.payer
    return Call("payments", "requestWithdrawal", sender, (_channel(s, a), 0 if c % 8 == 2 else b % 1_000 + 1))


def cancel_withdrawal(s: Scene, a: int, b: int, c: int) -> Call:
    return Call("payments", "cancelWithdrawal", s.actors.payer, (_channel(s, a),))


def withdraw(s: Scene, a: int, b: int, c: int) -> Call:
    return Call("payments", "withdraw", s.actors.rival if c % 8 == 1 else s.actors.payer, (_channel(s, a),))


# ----------------------------------------------------------------------------------------------- disputes


def _accused(s: Scene, a: int) -> Epoch | None:
    """A report to fight over: the pending one, else one that a default voided, else any."""
    reported = list(s.run.epochs.reports.values())
    hot = [e for e in reported if s.run.disputes.standing(e) in (Standing.PENDING, Standing.DEFAULTED)]
    return one(hot or reported, a) if reported else None


def prove_leaf(s: Scene, a: int, b: int, c: int) -> Call | None:
    """A proof at the leaf that is wrong, if there is one, or at any; at times against a false list, report or proof."""
    epoch = _accused(s, a)
    if epoch is None or epoch.report is None or epoch.tree is None or not well_formed(epoch.packed):
        return None
    tree, wrong = epoch.tree, []
    for i in range(2**tree.depth):
        right = s.run.disputes.right_leaf(epoch, i)
        if right is None or Tree({i: right}, tree.depth).node(i) != tree.node(i):
            wrong.append(i)
    index = one(wrong, b) if wrong and c % 4 else b % (2**tree.depth + 1)
    node = tree.node(index) if index >> tree.depth == 0 else Sibling(bytes(32), 0)
    packed, made, proof = epoch.packed, epoch.report, tree.proof(index)
    last, last_proof = epoch.before.leaf(index), epoch.before.proof(index)
    match c % 24:
        case 4:
            packed += b"\0"
        case 13:
            made = replace(made, loss_micro=made.loss_micro + 1)
        case 6:
            proof = proof[:-1]
        case 7:
            last = replace(last, C=last.C + 1)
        case 9:
            node = Sibling(keccak(node.hash), node.sum)
    return Call(
        "disputes",
        "proveWrongLeaf",
        s.actors.watcher,
        (made, packed, index, node.hash, node.sum, proof, last, last_proof),
    )


def prove_list(s: Scene, a: int, b: int, c: int) -> Call | None:
    epoch = _accused(s, a)
    if epoch is None:
        return None
    entries = max(1, -(-len(epoch.packed) // 12))
    packed = epoch.packed + (b"\0" if c % 12 == 1 else b"")
    return Call(
        "disputes",
        "proveBadList",
        s.actors.watcher,
        (epoch.report, packed, entries - 1 if c % 3 else b % (entries + 1)),
    )


def open_game(s: Scene, a: int, b: int, c: int) -> Call | None:
    epoch = _accused(s, a)
    if epoch is None:
        return None
    value = s.amount(s.run.p.challenge_bond) - (1 if c % 16 == 1 and s.run.native else 0)
    return Call("disputes", "openGame", one((s.actors.watcher, s.actors.rival), b), (epoch.report,), value)


def _open_nodes(s: Scene) -> list[tuple[tuple[bytes, int, int], Node]]:
    return [(place, node) for place, node in s.run.disputes.nodes.items() if not node.answered_at]


def answer(s: Scene, a: int, b: int, c: int) -> Call | None:
    nodes = _open_nodes(s) or list(s.run.disputes.nodes.items())
    if not nodes:
        return None
    (digest, level, position), _ = one(nodes, a)
    epoch = s.run.epochs.reports[digest]
    assert epoch.tree is not None
    found = epoch.tree.descendants(level, position)
    if c % 12 == 1:
        found = found[:-1]
    if c % 12 == 2:
        found = (replace(found[0], sum=found[0].sum + 1), *found[1:])
    if c % 12 == 3:
        level += 1
    return Call("disputes", "answerNode", s.actors.keeper, (digest, level, position, found))


def _game(s: Scene, a: int) -> tuple[int, Game] | None:
    games = [(k, g) for k, g in enumerate(s.run.disputes.games, 1) if not g.closed]
    games = games or list(enumerate(s.run.disputes.games, 1))
    return one(games, a) if games else None


def descend(s: Scene, a: int, b: int, c: int) -> Call | None:
    found = _game(s, a)
    if found is None:
        return None
    number, game = found
    epoch = s.run.epochs.reports[game.digest]
    assert epoch.tree is not None
    row = epoch.tree.descendants(game.level, game.position)
    low = max(0, game.level - ANSWER_LEVELS)
    child = b % (len(row) + 1) if c % 4 == 0 else 0
    if c % 12 == 1:
        row = row[:-1]
    return Call(
        "disputes", "descend", s.actors.keeper if c % 12 == 2 else game.challenger, (number, row, child if low else 0)
    )


def timeout(s: Scene, a: int, b: int, c: int) -> Call:
    found = _game(s, a)
    return Call("disputes", "timeoutAnswer", s.actors.crank, (found[0] if found else 1,))


def close_game(s: Scene, a: int, b: int, c: int) -> Call:
    found = _game(s, a)
    return Call(
        "disputes", "closeGame", s.actors.crank, (found[0] if found and c % 16 else len(s.run.disputes.games) + 1,)
    )


def doubt(s: Scene, a: int, b: int, c: int) -> Call:
    reported = [e.number for e in s.run.epochs.all if e.report]
    live = [n for n in reported if s.run.epochs.all[n].state != State.VOID]
    number = one(live or reported, -1 - a % 2) if reported and c % 8 else a % 7
    listed = [i for i, _ in unpack_list(s.run.epochs.all[number].packed)] if number < s.run.epochs.next else []
    index = one(listed, b) if listed and c % 8 else b % 5
    value = s.amount(s.run.p.dispute_bond) + (1 if c % 16 == 1 else 0)
    return Call("disputes", "challengeCredits", s.actors.watcher, (number, index, keccak(b"why")), value)


def _doubted(s: Scene, a: int) -> tuple[int, int]:
    undecided = [k for k, ch in s.run.disputes.challenges.items() if not ch.over]
    return one(undecided or list(s.run.disputes.challenges) or [(0, 0)], a)


def defend(s: Scene, a: int, b: int, c: int) -> Call:
    number, index = _doubted(s, a)
    account = s.run.registry.account(index) if c % 4 and index < len(s.run.registry.providers) else s.actors.rival
    return Call("disputes", "answerChallenge", account, (number, index, keccak(b"mine")))


def judge(s: Scene, a: int, b: int, c: int) -> Call:
    number, index = _doubted(s, a)
    verdict = typed.Verdict(number, index, b % 3 != 0, keccak(b"verdict"))
    return Call(
        "disputes",
        "submitVerdict",
        s.actors.crank,
        (verdict, sign(s, verdict.struct_hash(s.run.signers.config_digest), c)),
    )


def enforce(s: Scene, a: int, b: int, c: int) -> Call | None:
    number, index = _doubted(s, a)
    epoch = s.run.epochs.all[number] if number < s.run.epochs.next else None
    if epoch is None or epoch.report is None or not well_formed(epoch.packed):
        return None
    made = replace(epoch.report, round=99) if c % 16 == 1 else epoch.report
    packed = epoch.packed + (b"\0" if c % 16 == 2 else b"")
    return Call("disputes", "enforceVerdict", s.actors.crank, (made, packed, index))


def close_challenge(s: Scene, a: int, b: int, c: int) -> Call:
    return Call("disputes", "closeChallenge", s.actors.crank, _doubted(s, a))


STEPS: dict[str, Step] = {
    f.__name__: f
    for f in (
        deposit, refund, claim_unspent, claim_fee, pay_wages, register, rotate_key, set_payout, add_stake, leave,
        withdraw_stake, ban, post_bond, withdraw_bond, propose, apply, equivocate, close, report, finalize, void,
        pay_revenue, pay_capital, claim_capital, claim_compute, pay_owed, fund_channel, settle, claim_server,
        request_withdrawal, cancel_withdrawal, withdraw, prove_leaf, prove_list, open_game, answer, descend, timeout,
        close_game, doubt, defend, judge, enforce, close_challenge,
    )
}  # fmt: skip
