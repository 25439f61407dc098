"""The watcher's loop: look, compare every report with its true tree, make the moves that are due, look again.

All that it knows is on chain, but for the journal of reports that it has seen signed: killed at any moment, it goes on
from the next look. Without a key it says what should be done, and how.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from commonweight.audit.watcher.cases import Case, State
from commonweight.audit.watcher.equivocation import Vows, named
from commonweight.audit.watcher.metrics import Metrics
from commonweight.audit.watcher.moves import AnswerNode, Missed, Move, ProveEquivocation, TakeDue, moves_for
from commonweight.audit.watcher.published import Published
from commonweight.audit.watcher.reading import Reader, Seen
from commonweight.audit.watcher.sending import Refused, hurried, perform
from commonweight.chain.run import Run
from commonweight.errors import CommonweightError
from commonweight.protocol.fields import hex32
from commonweight.store import ContentStore

Tell = Callable[..., None]
"""Told (level, event, fields...) of everything that happens."""

ANSWERS = ("always", "paid", "never")
_ANSWER_GAS = 180_000
_TAKE_GAS = 70_000
_MOST_ANSWERS = 4


@dataclass(frozen=True)
class WatchSettings:
    """`answers` says whether doubted honest reports are defended: always, if the reward covers the gas, or never.

    `journal` keeps the reports seen signed, `released` are files of signatures that signers let out. `command` is what
    to run with a key, for alerts.
    """

    answers: str = "always"
    poll_s: float = 2.0
    journal: Path | None = None
    released: Sequence[Path] = ()
    command: str = ""


class Watcher:
    """Watches one run; with a key in the run's chain it acts, without one it alerts. Used from one thread."""

    def __init__(
        self, run: Run, store: ContentStore | None, settings: WatchSettings, tell: Tell, metrics: Metrics
    ) -> None:
        self._run = Run.at(run.chain.with_fees(hurried(run.params, run.chain.fees)), run.address)
        self._me = None if run.chain.key is None else run.chain.address
        self._settings = settings
        self._tell = tell
        self._metrics = metrics
        self._reader = Reader(self._run, self._me, Published(store, min(10.0, run.params.answer_time / 10)))
        self._vows = Vows(run.oracle.domain(), settings.journal)
        for path in settings.released:
            self._vows.read(path)
        self._said: set[tuple[object, ...]] = set()
        self._settled_proofs: set[ProveEquivocation] = set()
        self._last_head = b""
        self.alarmed = False

    def watch(self, stop: threading.Event) -> None:
        """Watch until `stop` is set. Whatever the chain or the node does is logged, and tried again."""
        while not stop.is_set():
            try:
                again = self.step()
            except CommonweightError as trouble:
                again = False
                self._metrics.failed()
                self._tell("warning", "failed", error=str(trouble))
            if not again:
                stop.wait(self._settings.poll_s)

    def step(self) -> bool:
        """One look and at most one move; whether something was done, so that there may be more to do at once.

        Raises ChainError when the node does not answer, contradicts itself, or a transaction is not mined.
        """
        if self._me is not None:
            self._run.chain.settle()
        seen = self._reader.look()
        self._metrics.looked(seen)
        if seen.head.hash != self._last_head:
            self._tell("debug", "looked", block=seen.head.number, cases=len(seen.cases))
        self._last_head = seen.head.hash
        self._take_note(seen)
        return any(self._try(move, seen) for move in self._plan(seen))

    # --- what is wrong -----------------------------------------------------------------------------------------------

    def _take_note(self, seen: Seen) -> None:
        """Keep what was signed; say once of each report whether it is true, and of each equivocator that it is one."""
        for event in seen.reports:
            self._vows.saw(event)
        for case in seen.cases:
            alive = case.state in (State.PENDING, State.UNANSWERED)
            if not alive or not self._once("report", case.digest, case.genuine):
                continue
            about = {"epoch": case.report.epoch, "attempt": case.report.attempt, "digest": hex32(case.digest)}
            self._metrics.judged(case.genuine)
            if not case.sound:
                self.alarmed = True
                self._tell("error", "last final root is false", **about)
            if case.genuine:
                self._tell("info", "report is true", **about)
                continue
            self.alarmed = True
            why = "its list is malformed" if case.bad is not None else "its root does not follow from its list"
            self._tell("error", "report is false", **about, why=why, open_until=case.window_end)
        for found in self._vows.found:
            if self._once("equivocation", found.signer, found.first.report.epoch, found.first.report.attempt):
                self.alarmed = True
                self._tell("error", "equivocation", **named(found))

    # --- what to do --------------------------------------------------------------------------------------------------

    def _plan(self, seen: Seen) -> Iterator[Move]:
        for case in seen.cases:
            moves, missed = moves_for(case, self._me or "", answers=self._answers(case, seen))
            for late in missed:
                self._miss(case, late)
            yield from moves
        for found in self._vows.found:
            proof = ProveEquivocation(None, found)
            if proof not in self._settled_proofs and self._costs(found.signer, seen):
                yield proof
        for contract, amount in seen.dues.items():
            if amount and self._worth(amount, seen):
                yield TakeDue(None, contract)

    def _answers(self, case: Case, seen: Seen) -> bool:
        """Whether to defend an honest report. The reward is three times the gas, out of at most half the bond."""
        if self._settings.answers != "paid" or not self._run.asset.native:
            return self._settings.answers != "never"
        base, tip = seen.head.base_fee_wei, self._run.chain.fees.tip_wei
        reward = min(3 * _ANSWER_GAS * base, case.params.challenge_bond // 2 // _MOST_ANSWERS)
        return reward >= _ANSWER_GAS * (base + tip)

    def _worth(self, amount: int, seen: Seen) -> bool:
        """Whether taking an amount pays for its gas; a token's worth in gas is not known, so that it is taken."""
        price = seen.head.base_fee_wei + self._run.chain.fees.tip_wei
        return not self._run.asset.native or amount > _TAKE_GAS * price

    def _costs(self, signer: str, seen: Seen) -> bool:
        """Whether a proof takes a bond that is full, or one that pays for the gas.

        Less can sign nothing and settles nothing, and who pays it in by the unit would have us prove without end.
        """
        bond = self._run.oracle.bond_of(signer, block=seen.head.number)
        worth = self._run.asset.native and self._worth(bond // 10, seen)
        return worth or bond >= self._run.params.signer_bond

    def _miss(self, case: Case, late: Missed) -> None:
        if self._once("missed", case.digest, late.what):
            self._metrics.missed()
            self._tell("error", "missed", epoch=case.report.epoch, what=late.what)

    def _try(self, move: Move, seen: Seen) -> bool:
        if self._me is None:
            self._ask_for(move)
            return False
        outcome = perform(self._run, move, seen)
        if isinstance(outcome, Refused):
            if isinstance(move, ProveEquivocation) and outcome.name == "AlreadyProved":
                self._settled_proofs.add(move)
            if self._once("refused", move, outcome.name):
                level = "error" if outcome.name == "InsufficientFunds" else "info"
                self._tell(level, "not made", move=move.name, error=outcome.name, why=outcome.why)
            return False
        if outcome is None:
            return True
        if outcome.receipt is not None:
            self._metrics.moved(move)
            self._tell(
                "warning", "done", move=move.name, block=outcome.receipt.block_number,
                tx=hex32(outcome.receipt.tx_hash), **_shown(move),
            )  # fmt: skip
        return True

    def _ask_for(self, move: Move) -> None:
        if self._once("needed", move.name, *_shown(move).items()):
            self.alarmed = True
            self._tell(
                "error", "a key is needed", move=move.name, deadline=move.deadline, command=self._settings.command,
                **_shown(move),
            )  # fmt: skip

    def _once(self, *what: object) -> bool:
        if what in self._said:
            return False
        self._said.add(what)
        return True


def _shown(move: Move) -> dict[str, object]:
    """The small fields of a move, for logs."""
    if isinstance(move, ProveEquivocation):
        return dict(named(move.found))
    if isinstance(move, AnswerNode):
        return {"digest": hex32(move.digest), "node": f"{move.level}/{move.position}"}
    names = ("index", "position", "game", "child", "contract")
    return {name: getattr(move, name) for name in names if hasattr(move, name)}
