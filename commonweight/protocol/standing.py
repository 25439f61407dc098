"""What a provider's past means for its next epoch: how often it is replayed, what its stake covers, what waits for it.

Pure integers. The standing after an epoch is part of its evidence, so that the next one needs no older file, and
follows from the standing before, the epoch's verdicts, the credits list and the chain: anyone recomputes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from commonweight.errors import FormatError
from commonweight.protocol.canonical import Json, JsonObject, dumps, loads
from commonweight.protocol.fields import U32, U64, Fields
from commonweight.protocol.runconfig import Verification

__all__ = [
    "NEWCOMER",
    "Exposure",
    "Final",
    "Member",
    "Outcome",
    "Standing",
    "advance",
    "exposure",
    "repeaters",
    "replay_rate",
    "stake_limit",
]

BPS = 10_000
HALF_AFTER = 8
"""So many honest draws in a row halve a provider's replay rate."""
MAX_COUNT = 2**31 - 1


@dataclass(frozen=True)
class Member:
    """A provider's history: draws passed since the last that failed, draws failed ever, and what is carried over.

    `carried` credits are verified and not listed yet; the oldest of them are from epoch `since` (-1 without any).
    `rate_bps` is the share of its rounds that are replayed from now on.
    """

    passed: int
    failed: int
    rate_bps: int
    carried: int = 0
    since: int = -1


NEWCOMER = Member(0, 0, BPS)


@dataclass(frozen=True)
class Outcome:
    """What an epoch's checks said about one provider: draws passed and failed, and whether anything else was wrong."""

    passed: int = 0
    failed: int = 0
    wrong: bool = False


@dataclass(frozen=True)
class Standing:
    """All providers with a history after `epoch` (-1: none is final yet). `next` is where the next list begins."""

    SCHEMA = "commonweight.standing.v1"

    epoch: int = -1
    next: int = 0
    members: Mapping[int, Member] = field(default_factory=dict)

    def rate_bps(self, index: int, rule: Verification) -> int:
        """The replay rate of a provider; the run's own, the highest, for one without history."""
        member = self.members.get(index)
        return rule.replay_rate_bps if member is None else member.rate_bps

    @property
    def carried(self) -> dict[int, int]:
        """Credits that wait for a list, by index."""
        return {index: member.carried for index, member in sorted(self.members.items()) if member.carried}

    def to_bytes(self) -> bytes:
        """standing.json, canonical; providers ascend by index."""
        providers: list[Json] = [
            {
                "index": index, "passed": m.passed, "failed": m.failed, "rate_bps": m.rate_bps,
                "carried": str(m.carried), "since": None if m.since < 0 else m.since,
            }
            for index, m in sorted(self.members.items())
        ]  # fmt: skip
        value: JsonObject = {
            "schema": self.SCHEMA, "epoch": self.epoch, "next": self.next, "providers": providers,
        }  # fmt: skip
        return dumps(value)

    @classmethod
    def load(cls, data: bytes) -> "Standing":
        """Reads standing.json; FormatError when it is not canonical or not in order."""
        f = Fields(loads(data, 2**28), "standing")
        f.choice("schema", (cls.SCHEMA,))
        epoch, start = f.integer("epoch"), f.integer("next", 0, U32)
        listed = f.objects("providers", _read_member, 0, 2**22)
        f.done()
        indices = [index for index, _ in listed]
        if indices != sorted(set(indices)):
            raise FormatError("The providers of a standing are not in order", f"{indices[:5]}")
        return cls(epoch, start, dict(listed))


def _read_member(f: Fields) -> tuple[int, Member]:
    index, passed, failed = (
        f.integer("index", 0, U32),
        f.integer("passed", 0, MAX_COUNT),
        f.integer("failed", 0, MAX_COUNT),
    )
    rate, carried = f.integer("rate_bps", 1, BPS), f.decimal("carried", U64)
    raw = f.take("since")
    since = -1 if raw is None else Fields({"since": raw}, f.where).integer("since")
    if (carried > 0) != (since >= 0):
        raise f.wrong("since", "an epoch when credits are carried, else null", raw)
    return index, Member(passed, failed, rate, carried, since)


@dataclass(frozen=True)
class Final:
    """A final epoch on chain: its list, and the scaled wage of each credit."""

    credited: Mapping[int, int]
    wage: int


@dataclass(frozen=True)
class Exposure:
    """What can still be revoked when an epoch is closed: credits by index, and the scaled value (times 2^64) of one."""

    value: int
    revocable: Mapping[int, int]


def exposure(
    epoch: int, closings: Mapping[int, tuple[int, int]], finals: Mapping[int, Final], period_s: int, floor: int
) -> Exposure:
    """The exposure at the closing of `epoch`; `closings` holds (time in seconds, accumulator) of every closing so far.

    Credits of a final epoch f count as revocable until a dispute period after the closing of f + 1, before which f
    was settled. The value of a credit is the highest wage among these epochs plus what the accumulator has grown since
    the last closing that is a dispute period old, and no less than `floor` smallest units.
    """
    now, acc = closings[epoch]
    open_ = {e: f for e, f in finals.items() if e < epoch and closings[e + 1][0] + period_s > now}
    revocable: dict[int, int] = {}
    for final in open_.values():
        for index, amount in final.credited.items():
            revocable[index] = revocable.get(index, 0) + amount
    before = [a for e, (at, a) in closings.items() if e <= epoch and at + period_s <= now]
    earned = acc - max(before, default=0)
    wage = max((final.wage for final in open_.values()), default=0)
    return Exposure(max(floor << 64, wage + earned), dict(sorted(revocable.items())))


def stake_limit(stake: int, exposed: Exposure, index: int) -> int | None:
    """How many more credits a provider's stake covers; None without a limit, as long as a credit has no value."""
    if exposed.value == 0:
        return None
    return max(0, (stake << 64) // exposed.value - exposed.revocable.get(index, 0))


def replay_rate(rule: Verification, passed: int, at_risk: int, value: int, stake: int) -> int:
    """The replay rate in basis points after `passed` honest draws in a row.

    It halves after 8 draws, is a third after 16, and so on; it never falls below the run's lowest rate, nor below the
    value of `at_risk` revocable credits (`value` each, scaled) as a share of the stake, rounded up.
    """
    worth = at_risk * value
    share = BPS if worth and not stake else -(-worth * BPS // (stake << 64)) if worth else 0
    falling = rule.replay_rate_bps * HALF_AFTER // (HALF_AFTER + passed)
    return min(BPS, max(1, falling, min(rule.replay_rate_min_bps, rule.replay_rate_bps), share))


def advance(
    before: Standing, epoch: int, rule: Verification, outcomes: Mapping[int, Outcome], carried: Mapping[int, int],
    start: int, credited: Mapping[int, int], exposed: Exposure, stakes: Mapping[int, int],
) -> Standing:  # fmt: skip
    """The standing after an epoch. `carried` and `start` (where the next list begins) are those of its credits list."""
    members: dict[int, Member] = {}
    for index in sorted({*before.members, *outcomes, *carried, *credited}):
        old, said = before.members.get(index, NEWCOMER), outcomes.get(index, Outcome())
        clean = not said.failed and not said.wrong
        passed = min(MAX_COUNT, old.passed + said.passed) if clean else 0
        failed = min(MAX_COUNT, old.failed + said.failed)
        at_risk = exposed.revocable.get(index, 0) + credited.get(index, 0)
        rate = replay_rate(rule, passed, at_risk, exposed.value, stakes.get(index, 0))
        waiting = carried.get(index, 0)
        since = -1 if not waiting else old.since if old.since >= 0 else epoch
        members[index] = Member(passed, failed, rate, waiting, since)
    return Standing(epoch, start, members)


def repeaters(before: Standing, outcomes: Mapping[int, Outcome]) -> tuple[int, ...]:
    """Providers that failed a draw in this epoch and not for the first time, ascending: their stakes may be slashed."""
    return tuple(
        index
        for index, said in sorted(outcomes.items())
        if said.failed and before.members.get(index, NEWCOMER).failed + said.failed > 1
    )
