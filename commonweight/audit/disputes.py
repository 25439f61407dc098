"""Games over hidden trees and disputes over credits: their bonds kept a second time, and what a conviction takes.

A game's bond goes back to its challenger, or is forfeited, at least half of it to the capital pool. A dispute's bond
goes back to the challenger, or to the provider on acquittal. A conviction revokes exactly the credits that the
epoch's list gave the provider, and its debt is what these have earned until then.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from commonweight.audit.epochs import Reported
from commonweight.audit.findings import Findings
from commonweight.audit.pools import Pools
from commonweight.audit.stakes import Dues
from commonweight.chain.events import (
    BadListProved,
    ChainEvent,
    ChallengeClosed,
    Convicted,
    CreditsChallenged,
    CreditsRevoked,
    DebtAdded,
    EpochFinal,
    GameClosed,
    GameOpened,
    Owed,
    OwedPaid,
    ReportUnanswered,
    Slashed,
    VerdictGiven,
    WrongLeafProved,
)
from commonweight.chain.run import Run

DISPUTES = "disputes"


@dataclass
class _Expected:
    """A bond that was just closed: what is still to be booked of it, and for whom it has to be."""

    left: int
    receivers: frozenset[str]
    least_for_pool: int


class Disputes:
    """The money and the judgements of the disputes contract."""

    def __init__(self, run: Run, findings: Findings, pools: Pools) -> None:
        self._params = run.params
        self._pool = run.addresses.distributor
        self._findings = findings
        self._pools = pools
        self.dues = Dues("the disputes contract", self._pool, findings)
        self.proofs: set[bytes] = set()
        self.unanswered: set[bytes] = set()
        self.slashes: dict[tuple[bytes, int], int] = {}
        self._games: dict[int, str] = {}
        self._challenges: dict[tuple[int, int], str] = {}
        self._acquitted: set[tuple[int, int]] = set()
        self._revoked: dict[tuple[bytes, int], CreditsRevoked] = {}
        self._debts: dict[tuple[bytes, int], int] = {}
        self._closing: _Expected | None = None
        self._booked: list[Owed] = []

    @property
    def held(self) -> int:
        """What the contract has to hold."""
        return self.dues.money_in - self.dues.money_out

    def seen(self, event: CreditsRevoked | DebtAdded | Slashed) -> None:
        """Take note of what a conviction has other contracts do; it comes before the conviction itself."""
        if isinstance(event, CreditsRevoked):
            self._revoked[event.tx, event.index] = event
        elif isinstance(event, DebtAdded):
            self._debts[event.tx, event.index] = event.amount
        else:
            self.slashes[event.tx, event.index] = event.amount

    def take(
        self,
        event: ChainEvent,
        payouts: Mapping[int, str],
        reports: Mapping[int, Reported],
        finals: Mapping[int, EpochFinal],
    ) -> None:
        """Book one event of the disputes contract."""
        match event:
            case WrongLeafProved() | BadListProved():
                self.proofs.add(event.tx)
            case ReportUnanswered():
                self.unanswered.add(event.tx)
            case GameOpened():
                self._games[event.game] = event.challenger
                self.dues.money_in += self._params.challenge_bond
            case GameClosed():
                self._game_closed(event)
            case CreditsChallenged():
                self._challenges[event.epoch, event.index] = event.challenger
                self.dues.money_in += self._params.dispute_bond
            case VerdictGiven():
                if not event.convicted:
                    self._acquitted.add((event.epoch, event.index))
            case Convicted():
                self._convicted(event, reports, finals)
            case ChallengeClosed():
                self._challenge_closed(event, payouts)
            case Owed():
                self._owed(event)
            case OwedPaid():
                self.dues.take(event)

    def _game_closed(self, event: GameClosed) -> None:
        challenger, bond = self._games.pop(event.game), self._params.challenge_bond
        if event.challenger_lost:
            self._closing = _Expected(bond, frozenset(), bond - bond // 2)
        else:
            self._closing = _Expected(bond, frozenset((challenger,)), 0)

    def _owed(self, event: Owed) -> None:
        self.dues.owed[event.account] += event.amount
        closing = self._closing
        if closing is None or closing.left == 0:
            self._booked.append(event)
            return
        closing.left -= event.amount
        if event.account == self._pool:
            closing.least_for_pool -= event.amount
        right = closing.left >= 0 and (not closing.receivers or event.account in closing.receivers)
        self._findings.expect(DISPUTES, right, f"a game's bond went astray in block {event.block}")

    def _challenge_closed(self, event: ChallengeClosed, payouts: Mapping[int, str]) -> None:
        key = (event.epoch, event.index)
        challenger = self._challenges.pop(key)
        receiver = payouts[event.index] if key in self._acquitted else challenger
        found = [(owed.account, owed.amount) for owed in self._booked]
        bond = self._params.dispute_bond
        expected = [(receiver, bond)] if bond else []
        self._findings.equal(DISPUTES, f"the bond of the dispute over {key}", found, expected)
        self._booked.clear()

    def _convicted(self, event: Convicted, reports: Mapping[int, Reported], finals: Mapping[int, EpochFinal]) -> None:
        reported, final = reports[event.epoch], finals[event.epoch]
        listed = min((reported.listed or {}).get(event.index, 0), final.epoch_credits)
        debt = listed * (self._pools.acc - final.acc + final.wage) >> 64
        key = (event.tx, event.index)
        revoked = self._revoked.get(key)
        taken = (revoked.epoch, revoked.credits) if revoked else (event.epoch, 0)
        found = (event.credits, event.debt, *taken, self._debts.get(key, 0))
        expected = (listed, debt, event.epoch, listed, debt)
        self._findings.equal(DISPUTES, f"credits and debt of {event.index}", found, expected)
        slashed = self.slashes.get(key, 0)
        self._findings.equal(DISPUTES, f"the stake taken from {event.index}", event.slashed, slashed)

    def compare(self, run: Run, block: int) -> None:
        """Compare with the contract's figures at a block."""
        closing = self._closing
        done = closing is None or (closing.left == 0 and closing.least_for_pool <= 0)
        self._findings.expect(DISPUTES, done and not self._booked, "a bond was not booked as it must be")
        owed = {account: run.disputes.owed_to(account, block=block) for account in self.dues.owed}
        self._findings.equal(DISPUTES, "what the disputes contract owes", owed, dict(self.dues.owed))
        games = run.disputes.open_games(block=block)
        self._findings.equal(DISPUTES, "the number of open games", games, len(self._games))
        for (epoch, index), challenger in self._challenges.items():
            challenge = run.disputes.challenge_of(epoch, index, block=block)
            self._findings.equal(DISPUTES, f"the dispute over {(epoch, index)}", challenge.challenger, challenger)
