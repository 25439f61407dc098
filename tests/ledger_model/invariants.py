"""Section 4.6, line by line, on the chain's own figures: nothing here asks the model what a figure should be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.ledger_model.actors import Actors
from tests.ledger_model.rules import SCALE
from tests.ledger_model.run import Run
from tests.ledger_model.views import HELD, Figures


def check(figures: Figures, run: Run, actors: Actors, total: int, honest: bool) -> None:
    """All invariants. `total` is what all accounts held at first, less gas; `honest` whether every final report was."""

    def said(contract: str, name: str, *args: object) -> Any:
        values = figures[contract, name, args]
        return values[0] if len(values) == 1 else values

    def owed(contract: str) -> int:
        return sum(values[0] for (c, name, _), values in figures.items() if (c, name) == (contract, "owedTo"))

    _money(said, owed, run, actors, total)
    _escrow(said, run, actors)
    _pools(said, run, actors, honest)
    _credits(said, run)


Said = Callable[..., Any]


def _money(said: Said, owed: Callable[[str], int], run: Run, actors: Actors, total: int) -> None:
    balance = {c: said("", "balance", run.at(c)) for c in HELD}
    outside = sum(said("", "balance", a) for a in (*actors.everyone, *actors.payouts))
    outside += sum(run.bank.balances[a] for a in actors.accounts[24:])  # the crowd's, which only pay stakes once
    assert outside + sum(balance.values()) == total, "in == out + held"

    fees = sum(said("campaign", "feeOf", s) for s in actors.signers)
    if said("campaign", "ended"):
        escrow = sum(said("campaign", "unspentOf", f) for f in actors.funders)
    elif said("campaign", "failed"):
        escrow = sum(said("campaign", "contributionOf", f) for f in actors.funders)
    else:
        escrow = said("campaign", "raised") - said("campaign", "released")
    assert balance["campaign"] >= escrow + fees + said("campaign", "wagesDue")
    stakes = sum(
        p.stake for k, p in enumerate(run.registry.providers) if k not in actors.watched(len(run.registry.providers))
    )
    stakes += sum(said("registry", "providerAt", i)[6] for i in actors.watched(len(run.registry.providers)))
    assert balance["registry"] >= stakes + owed("registry")
    assert balance["oracle"] >= sum(said("oracle", "bondOf", s) for s in actors.signers) + owed("oracle")
    open_bonds = said("disputes", "openGames") * run.p.challenge_bond
    open_bonds += sum(not c.over for c in run.disputes.challenges.values()) * run.p.dispute_bond
    assert balance["disputes"] >= open_bonds + owed("disputes")
    channels = sum((c := said("payments", "channel", k))[4] - c[5] for k in run.payments.channels)
    servers = {c.server for c in run.payments.channels.values()}
    assert balance["payments"] >= channels + sum(said("payments", "serverOwed", s) for s in servers)
    held = said("distributor", "capitalReceived") - said("distributor", "capitalPaid")
    held += said("distributor", "computeReceived") - said("distributor", "computePaid")
    assert balance["distributor"] >= held
    assert balance["ledger"] == balance["checkpoints"] == 0


def _escrow(said: Said, run: Run, actors: Actors) -> None:
    raised, released = said("campaign", "raised"), said("campaign", "released")
    contributions = sum(said("campaign", "contributionOf", f) for f in actors.funders)
    assert raised <= run.p.cap
    assert contributions + run.campaign.refunded == raised, "contributions == raised; failed: refunds take exactly that"
    assert released + said("campaign", "reserved") <= raised
    unspent = sum(said("campaign", "unspentOf", f) for f in actors.funders)
    assert released + unspent + sum(run.campaign.unspent_paid.values()) <= raised


def _pools(said: Said, run: Run, actors: Actors, honest: bool) -> None:
    received, paid = said("distributor", "capitalReceived"), said("distributor", "capitalPaid")
    assert paid <= received
    claimable = sum(said("distributor", "claimableCapital", f) for f in actors.funders)
    assert 0 <= received - paid - claimable <= len(actors.funders), "dust is below one unit a funder"
    received, paid = said("distributor", "computeReceived"), said("distributor", "computePaid")
    pending = said("distributor", "pendingCompute")
    assert paid + pending <= received
    if not honest or not run.ledger.latest:
        return
    tree, acc = run.ledger.tree, said("distributor", "accCompute")
    scaled, claims, dust = 0, 0, 0
    for index in range(len(run.registry.providers)):
        leaf = tree.leaf(index)
        if index in actors.watched(len(run.registry.providers)):
            credits, _, _, weighted = said("ledger", "revoked", index)
            claimed = said("distributor", "claimedBy", index)
        else:
            r = run.ledger.revocations[index]
            credits, weighted, claimed = r.credits, r.acc_weighted, run.distributor.claimed[index]
        exact = (leaf.C - credits) * acc + weighted + leaf.W - leaf.D
        assert exact >= 0
        scaled += exact
        claims += claimed
        dust += exact // SCALE
    to_capital = paid - claims  # what left the pool because no credits lived at the run's end
    given = received - pending - to_capital
    assert scaled == given * SCALE - said("distributor", "computeCarry"), "sum(C acc + W - D) == allocated, exactly"
    assert claims <= dust <= given, "claims never exceed receipts"
    # What no leaf has yet is the carried remainder; what flooring keeps back is below one unit a provider.
    assert given - dust - said("distributor", "computeCarry") // SCALE <= len(run.registry.providers) + 1


def _credits(said: Said, run: Run) -> None:
    sum_ = said("ledger", "latest")[3]
    assert sum_ <= said("oracle", "nextEpoch") * run.p.max_credits_per_epoch, "no quorum mints beyond the caps"
    assert said("ledger", "liveCredits") <= sum_
    before = 0
    for final in run.ledger.finals.values():
        said_sum = said("ledger", "finalEpoch", final.number)[1]
        assert said_sum == before + said("ledger", "finalEpoch", final.number)[3]
        before = said_sum
