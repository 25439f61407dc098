"""The round machine: from what is on disk, on chain and on the clock to the coordinator's next step. Pure.

There is no stored phase. `decide` is a function of facts that survive a crash (the plan, the receipts, the anchor that
was decided, the record), so a coordinator that is killed at any moment goes on where the facts say it is.

    no plan open -> wait for members -> OPEN (sign the plan)
    plan         -> wait for the deadline -> DECIDE (choose the commitments to anchor) -> ANCHOR (send the root)
    window over  -> wait for payloads and results -> CLOSE (recompute, sign the record) -> no plan open
"""

from dataclasses import dataclass

from commonweight.protocol.records import Anchor, Plan

SETTLE_MS = 1000
_LATE_BLOCK_MS = 3000
_IDLE_MS = 500


@dataclass(frozen=True)
class Bounds:
    """What does not change during a run, in Unix milliseconds: the first and the last possible commit deadline."""

    first_deadline_ms: int
    last_deadline_ms: int
    min_members: int
    max_rounds: int | None
    gather_ms: int


@dataclass(frozen=True)
class Facts:
    """What the coordinator knows at `now_ms`.

    `ready` are the members that can be planned, `newest_join_ms` when the last of them came; `train_ms` the budget for
    the next round; `made` the rounds that made a checkpoint. The rest is about the open round, if `plan` is not None:
    whether anything is receipted, which root was decided on, whether a root of this round is on chain, whether the
    anchor window is over on the chain, and whether all payloads and results are in.
    """

    now_ms: int
    bounds: Bounds
    ready: tuple[int, ...]
    newest_join_ms: int
    train_ms: int
    made: int
    any_round: bool
    record_pending: bool
    plan: Plan | None = None
    receipted: bool = False
    anchor: Anchor | None = None
    anchored: bool = False
    window_over: bool = False
    complete: bool = False


@dataclass(frozen=True)
class Wait:
    """Nothing to do before `until_ms`, unless something arrives."""

    until_ms: int
    phase: str


@dataclass(frozen=True)
class Open:
    """Sign a plan for these members."""

    members: tuple[int, ...]
    phase: str = "planning"


@dataclass(frozen=True)
class Decide:
    """Fix the set of commitments to anchor."""

    phase: str = "anchoring"


@dataclass(frozen=True)
class SendAnchor:
    """Send the root that was decided on, with the previous record if that is not anchored yet."""

    phase: str = "anchoring"


@dataclass(frozen=True)
class Close:
    """Recompute the round from what is here and sign its record."""

    phase: str = "closing"


@dataclass(frozen=True)
class AnchorRecord:
    """Anchor the last record on its own."""

    phase: str = "anchoring-record"


@dataclass(frozen=True)
class Finish:
    """The training is over and everything is anchored."""

    phase: str = "finished"


Step = Wait | Open | Decide | SendAnchor | Close | AnchorRecord | Finish


def decide(facts: Facts) -> Step:
    """The next step."""
    if facts.plan is None:
        return _between(facts)
    plan, now = facts.plan, facts.now_ms
    if now < plan.commit_by_ms + SETTLE_MS:
        return Wait(plan.commit_by_ms + SETTLE_MS, "training")
    if not facts.window_over:
        return _in_window(facts, plan)
    if not facts.anchored:
        settled_ms = plan.anchor_by_ms + _LATE_BLOCK_MS
        return Close() if now >= settled_ms or not facts.receipted else Wait(settled_ms, "window")
    if facts.complete or now >= plan.exchange_by_ms:
        return Close()
    return Wait(plan.exchange_by_ms, "exchange")


def training_over(facts: Facts) -> bool:
    """Whether no further round can be planned: enough were made, or a deadline would fall after the last epoch."""
    enough = facts.bounds.max_rounds is not None and facts.made >= facts.bounds.max_rounds
    return enough or facts.now_ms + facts.train_ms > facts.bounds.last_deadline_ms


def _between(facts: Facts) -> Step:
    now, bounds = facts.now_ms, facts.bounds
    if training_over(facts):
        return AnchorRecord() if facts.record_pending else Finish()
    if now + facts.train_ms < bounds.first_deadline_ms:
        return Wait(bounds.first_deadline_ms - facts.train_ms, "waiting")
    if len(facts.ready) < bounds.min_members:
        return AnchorRecord() if facts.record_pending else Wait(now + _IDLE_MS, "waiting")
    gathered_ms = facts.newest_join_ms + bounds.gather_ms
    if not facts.any_round and now < gathered_ms:
        return Wait(gathered_ms, "waiting")
    return Open(facts.ready)


def _in_window(facts: Facts, plan: Plan) -> Step:
    now = facts.now_ms
    if facts.anchored:
        return Wait(max(plan.anchor_by_ms, now + _IDLE_MS), "window")
    if facts.anchor is not None:
        return SendAnchor()
    if facts.receipted and now < plan.anchor_by_ms:
        return Decide()
    return Wait(max(plan.anchor_by_ms, now + _IDLE_MS), "window")  # another signer may have receipted and anchor
