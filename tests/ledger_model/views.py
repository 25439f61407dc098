"""What every view must answer, by the model: compared with the chain after each step, balances to the wei."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from eth_abi.abi import decode

from commonweight.chain.abi import type_of
from tests.ledger_model.actors import Actors
from tests.ledger_model.chain import Contracts, decode_revert
from tests.ledger_model.epochs import State
from tests.ledger_model.rules import ZERO, Refused, refuse
from tests.ledger_model.run import Run

Read = tuple[str, str, tuple[object, ...]]
HELD = ("campaign", "registry", "oracle", "ledger", "checkpoints", "distributor", "payments", "disputes")


class AnyValue:
    """A figure that no rule fixes."""

    def __repr__(self) -> str:
        return "anything"


ANY = AnyValue()


def expected(run: Run, actors: Actors) -> Iterator[tuple[Read, object]]:
    """Every read with the value, the tuple of values, or the refusal that the model predicts."""
    yield from _campaign(run, actors)
    yield from _registry(run, actors)
    yield from _oracle(run, actors)
    yield from _ledger(run, actors)
    yield from _distributor(run, actors)
    yield from _payments(run)
    yield from _disputes(run)
    for account in (*actors.everyone, *actors.payouts, *(run.at(c) for c in HELD)):
        yield ("", "balance", (account,)), run.bank.balances[account]


def _campaign(run: Run, actors: Actors) -> Iterator[tuple[Read, object]]:
    c = run.campaign
    plain: dict[str, object] = {
        "raised": c.raised,
        "failed": c.failed,
        "depositsClosed": c.deposits_closed,
        "totalShares": c.raised if c.shares_fixed else refuse("DepositsOpen"),
        "reserved": c.reserved,
        "released": c.released,
        "wagesDue": 0,
        "ended": c.ended,
        "returnable": c.returnable,
        "milestonesMet": sum(1 << k for k in c.met),
    }
    if c.shares_fixed:
        plain |= {"unlockedEscrow": c.unlocked, "succeeded": True}
    for name, value in plain.items():
        yield ("campaign", name, ()), value
    for funder in actors.funders:
        yield ("campaign", "contributionOf", (funder,)), c.contributions[funder]
        yield ("campaign", "unspentOf", (funder,)), c.unspent_of(funder)
    for signer in actors.signers:
        yield ("campaign", "feeOf", (signer,)), c.fees[signer]


def _registry(run: Run, actors: Actors) -> Iterator[tuple[Read, object]]:
    r = run.registry
    yield ("registry", "providerCount", ()), len(r.providers)
    for index in actors.watched(len(r.providers)):
        p = r.providers[index]
        row = (p.account, p.signing_key, p.payout, p.registered_at, p.exit_at, p.banned_until, p.stake, p.peer)
        yield ("registry", "providerAt", (index,)), (row,)
        yield ("registry", "indexOf", (p.account,)), index
        yield ("registry", "indexOfKey", (p.signing_key,)), index
        yield ("registry", "isBanned", (index,)), run.now < p.banned_until
        yield ("registry", "openChallenges", (index,)), p.challenges
    yield ("registry", "providerAt", (len(r.providers),)), refuse("UnknownProvider")
    for dues in (r.dues, run.signers.dues, run.disputes.dues):
        for account in {*dues.owed, actors.watcher, run.at("distributor")}:
            yield (dues.contract, "owedTo", (account,)), dues.owed[account]


def _oracle(run: Run, actors: Actors) -> Iterator[tuple[Read, object]]:
    s, e = run.signers, run.epochs
    yield ("oracle", "nextEpoch", ()), e.next
    yield ("oracle", "finishedAt", ()), e.finished_at
    yield ("oracle", "creditsLimit", ()), e.credits_limit
    yield ("oracle", "rotation", ()), s.rotation
    yield ("oracle", "quorum", ()), s.office.quorum
    yield ("oracle", "signers", ()), (s.office.signers,)
    yield ("oracle", "signersAt", (0,)), (s.sets[0].signers,)
    yield ("oracle", "configDigest", ()), s.config_digest
    for signer in actors.signers:
        yield ("oracle", "bondOf", (signer,)), s.bonds[signer]
    for signer in s.office.signers:
        yield ("oracle", "transmitterOf", (signer,)), s.transmitter_of[signer]
    try:
        attempt: object = e.attempt(max(0, e.next - 1))
    except Refused as refused:
        attempt = refused
    yield ("oracle", "currentAttempt", (max(0, e.next - 1),)), attempt
    for epoch in e.all:
        kept = epoch.state != State.VOID
        row: list[object] = [
            int(epoch.state),
            epoch.closed_at,
            ANY,
            epoch.settled_at,
            epoch.provider_count,
            ANY,
            ANY,
            ANY,
        ]
        row += [epoch.credits if kept else 0, epoch.acc if kept else 0, epoch.wage if kept else 0]
        row += [
            epoch.escrow if epoch.state in (State.CLOSED, State.REPORTED) else ANY,
            epoch.digest.ljust(32, b"\0") if kept else bytes(32),
        ]
        if epoch.state == State.REPORTED:
            assert epoch.report is not None
            members = s.sets[epoch.rotation].signers
            row[2] = epoch.open_until
            row[5:8] = [epoch.report.attempt, epoch.rotation, sum(1 << members.index(x) for x in epoch.signed_by)]
        yield ("oracle", "epochInfo", (epoch.number,)), (tuple(row),)


def _ledger(run: Run, actors: Actors) -> Iterator[tuple[Read, object]]:
    led = run.ledger
    number = led.latest.number if led.latest else 0
    yield ("ledger", "latest", ()), (number, led.latest is not None, led.root, led.sum, led.depth)
    yield ("ledger", "liveCredits", ()), led.live
    for epoch in run.epochs.all:
        f = led.finals.get(epoch.number)
        if f is None:
            yield ("ledger", "rootOf", (epoch.number,)), refuse("NotFinal", epoch.number)
            yield ("ledger", "finalAt", (epoch.number,)), 0
            continue
        row = (f.root, f.sum, f.depth, f.epoch_credits, f.final_at, f.acc, f.wage, f.digest)
        yield ("ledger", "finalEpoch", (epoch.number,)), (row,)
    for index in actors.watched(len(run.registry.providers)):
        r = led.revocations[index]
        yield ("ledger", "revoked", (index,)), ((r.credits, r.last_epoch, r.any, r.acc_weighted),)
    yield ("checkpoints", "count", ()), len(led.checkpoints)
    if led.checkpoints:
        yield ("checkpoints", "checkpointAt", (len(led.checkpoints) - 1,)), (led.checkpoints[-1],)


def _distributor(run: Run, actors: Actors) -> Iterator[tuple[Read, object]]:
    d = run.distributor
    plain: dict[str, object] = {
        "capitalReceived": d.capital_received,
        "capitalPaid": d.capital_paid,
        "computeReceived": d.compute_received,
        "computePaid": d.compute_paid,
        "pendingCompute": d.pending,
        "accCapital": d.acc_capital,
        "accCompute": d.acc_compute,
        "computeCarry": d.carry,
        "finished": d.finished,
    }
    for name, value in plain.items():
        yield ("distributor", name, ()), value
    for funder in actors.funders:
        yield ("distributor", "claimableCapital", (funder,)), d.claimable_capital(funder)
        yield ("distributor", "capitalClaimedBy", (funder,)), d.capital_claimed[funder]
    for index in actors.watched(len(run.registry.providers)):
        yield ("distributor", "claimedBy", (index,)), d.claimed[index]
        yield ("distributor", "debtOf", (index,)), d.debts[index]
        for final in run.ledger.finals.values():
            leaf = final.tree.leaf(index)
            if leaf.C == 0:
                continue
            try:
                claimable: object = d.payable(final.number, leaf)[0]
            except Refused as refused:
                claimable = refused
            yield ("distributor", "claimableCompute", (final.number, leaf)), claimable


def _payments(run: Run) -> Iterator[tuple[Read, object]]:
    for key, c in run.payments.channels.items():
        row = (c.payer, c.server, c.delay, c.withdrawal_at, c.deposited, c.settled, c.withdrawal_amount)
        yield ("payments", "channel", (key,)), (row,)
        yield ("payments", "channelIdOf", (c.payer, c.server, c.delay)), key
        yield ("payments", "serverOwed", (c.server,)), run.payments.server_owed[c.server]


def _disputes(run: Run) -> Iterator[tuple[Read, object]]:
    d = run.disputes
    yield ("disputes", "openGames", ()), d.open_games
    for number, g in enumerate(d.games, 1):
        yield ("disputes", "gameAt", (number,)), (g.digest, g.challenger, g.level, g.position, g.moved_at, g.closed)
    for (digest, level, position), n in d.nodes.items():
        row = (n.hash, n.sum, n.asked_at, n.answered_at, ANY, n.answerer or ZERO)
        yield ("disputes", "nodeAt", (digest, level, position)), row
    for (epoch, index), c in d.challenges.items():
        who, convicted = (ANY, ANY) if c.over else (c.challenger, c.convicted)
        yield ("disputes", "challengeOf", (epoch, index)), (who, c.until, c.judged, convicted)


Figures = dict[Read, Any]


def compare(run: Run, actors: Actors, contracts: Contracts) -> Figures:
    """Read everything, fail at the figures that differ, and return what the chain says, decoded."""
    wanted = dict(expected(run, actors))
    answers = contracts.read(list(wanted))
    wrong, figures = [], {}
    for (read, value), (ok, data) in zip(wanted.items(), answers, strict=True):
        types = ("uint256",) if not read[0] else _types(contracts, read)
        if isinstance(value, Refused):
            got: object = decode_revert(data) if not ok else _decoded(types, data)
            fits = not ok and any(got[0] == b.error and b.args in (None, got[1]) for b in value.broken)  # type: ignore[index]
        elif not ok:
            got, fits = decode_revert(data), False
        else:
            values = value if isinstance(value, tuple) else (value,)
            got = _decoded(types, data)
            fits = _same(values, got)
        figures[read] = got
        if not fits:
            wrong.append(f"{_show(read)}: the chain says {_brief(got)}, the model {_brief(value)}")
    assert not wrong, "\n".join(wrong)
    return figures


def _types(contracts: Contracts, read: Read) -> tuple[str, ...]:
    return _output_types(contracts.output_of(read))


_TYPES: dict[tuple[str, str, int], tuple[str, ...]] = {}


def _output_types(function: Any) -> tuple[str, ...]:
    key = (function.contract, function.name, len(function.inputs))
    if key not in _TYPES:
        _TYPES[key] = tuple(type_of(o) for o in function.outputs)
    return _TYPES[key]


@lru_cache(maxsize=100_000)
def _decoded(types: tuple[str, ...], data: bytes) -> object:
    return decode(types, data)


def _same(wanted: object, got: object) -> bool:
    if isinstance(wanted, AnyValue):
        return True
    if isinstance(wanted, tuple) and isinstance(got, tuple):
        return len(wanted) == len(got) and all(map(_same, wanted, got))
    return wanted == got


def _show(read: Read) -> str:
    contract, name, args = read
    return f"{contract}.{name}({', '.join(map(_brief, args))})"


def _brief(value: object) -> str:
    if isinstance(value, bytes):
        return "0x" + value.hex()[:8] + ".."
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_brief, value)) + ")" if len(value) != 1 else _brief(value[0])
    return str(value)
