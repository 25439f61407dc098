"""The credit rule `commonweight.credits.v2`: from round records, verdicts and link measurements to credits, in
integers.

Pure: the oracle and the auditor run this code on the same documents and must get the same lines. The order of its
inputs does not matter. One credit is 10^9 training FLOPs (6 x parameters x tokens), weighted by the link scores.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from commonweight.errors import FormatError
from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.contribution import Scores, leads, scores_of
from commonweight.protocol.listing import Listing
from commonweight.protocol.outcome_documents import Verdict
from commonweight.protocol.record_documents import MeasuredLink, Record
from commonweight.protocol.runconfig import Verification
from commonweight.protocol.standing import Outcome
from commonweight.protocol.sumtree import Leaf

__all__ = [
    "RULESET",
    "CheckMade",
    "CreditLine",
    "EpochCredits",
    "RoundEvidence",
    "bandwidth_score",
    "credit",
    "itemise",
    "latency_score",
    "link_medians",
    "next_leaves",
    "outcomes",
    "total_by_index",
    "wage_scaled",
]

RULESET = "commonweight.credits.v2"


@dataclass(frozen=True)
class RoundEvidence:
    """What the rule sees of a round: record, verdicts, and who committed a proven offence in it."""

    record: Record
    verdicts: tuple[Verdict, ...] = ()
    offenders: frozenset[int] = frozenset()


@dataclass(frozen=True)
class CheckMade:
    """One signer's finding as a credit line tells it; `segment` is the leaf a replay started from."""

    check: str
    signer: str
    segment: int | None
    outcome: str


@dataclass(frozen=True)
class CreditLine:
    """A member's line for a round. `refused` is empty when credits were given, else the reason."""

    round: int
    index: int
    tokens: int
    flops: int
    bandwidth_bps: int | None
    latency_us: int | None
    bandwidth: int
    latency: int
    credits: int
    checks: tuple[CheckMade, ...]
    refused: str

    def to_json(self) -> JsonObject:
        """The line as JSON; what may pass 2^53 as decimal strings."""
        return {
            "round": self.round,
            "index": self.index,
            "tokens": self.tokens,
            "flops": str(self.flops),
            "bandwidth_bps": None if self.bandwidth_bps is None else str(self.bandwidth_bps),
            "latency_us": None if self.latency_us is None else str(self.latency_us),
            "bandwidth": self.bandwidth,
            "latency": self.latency,
            "credits": str(self.credits),
            "checks": [
                {"check": made.check, "signer": made.signer, "segment": made.segment, "outcome": made.outcome}
                for made in self.checks
            ],
            "refused": self.refused,
        }


@dataclass(frozen=True)
class EpochCredits:
    """credits.json of an epoch: lines, the credits list with what is carried out, what was carried in, and the stakes.

    `repeaters` failed a replay in this epoch and not for the first time. `value` is the scaled value of a credit and
    `limits` what the stakes of those with credits still cover, None without a limit. `outcomes` are the checks' word on
    each provider, for the standing; they are not in the file.
    """

    epoch: int
    parameters: int
    cap: int
    lines: tuple[CreditLine, ...]
    carried_in: Mapping[int, int]
    listing: Listing
    value: int
    limits: Mapping[int, int | None]
    repeaters: tuple[int, ...]
    outcomes: Mapping[int, Outcome]

    @property
    def credited(self) -> Mapping[int, int]:
        """The credits list."""
        return self.listing.credited

    @property
    def carried(self) -> Mapping[int, int]:
        """What waits for the next list."""
        return self.listing.carried

    def to_json(self) -> JsonObject:
        """The object of credits.json."""
        return {
            "schema": "commonweight.itemised.v2",
            "ruleset": RULESET,
            "epoch": self.epoch,
            "parameters": str(self.parameters),
            "cap": str(self.cap),
            "value": str(self.value),
            "lines": [line.to_json() for line in self.lines],
            "carried_in": _amounts(self.carried_in),
            "stake_limits": {str(i): None if limit is None else str(limit) for i, limit in self.limits.items()},
            "over_stake": _amounts(self.listing.over_stake),
            "credited": _amounts(self.credited),
            "carried": _amounts(self.carried),
            "repeaters": list(self.repeaters),
        }


def credit(parameters: int, tokens: int, bandwidth: int, latency: int, share_bps: int = 10_000) -> int:
    """6 * P * tokens * (800 + bandwidth + latency) * share // 10^16, for scores from 0 to 100 and a share in bps."""
    if parameters < 0 or tokens < 0 or not 0 <= bandwidth <= 100 or not 0 <= latency <= 100:
        raise FormatError("A credit cannot be computed", f"P {parameters}, {tokens} tokens, {bandwidth}, {latency}")
    return 6 * parameters * tokens * (800 + bandwidth + latency) * share_bps // 10**16


def bandwidth_score(bps: int, reference_bps: int) -> int:
    """100 at the reference bandwidth or more, else in proportion, rounded down."""
    return min(100, 100 * bps // reference_bps)


def latency_score(rtt_us: int, reference_us: int) -> int:
    """100 at the reference round-trip time or less, else in inverse proportion, rounded down."""
    return min(100, 100 * reference_us // max(1, rtt_us))


def link_medians(links: Iterable[MeasuredLink], index: int) -> tuple[int, int] | None:
    """Median bandwidth (bits per second) and round-trip time (microseconds) of a member, measured by others.

    The median of an even number of values is the rounded-down mean of the middle two. None without measurements.
    """
    own = [link for link in links if link.index == index and link.by != index]
    if not own:
        return None
    return (
        _median([link.bytes * 8_000_000 // link.transfer_us for link in own]),
        _median([link.rtt_us for link in own]),
    )


def itemise(
    rounds: Iterable[RoundEvidence], parameters: int, rule: Verification, share_bps: int = 10_000
) -> tuple[CreditLine, ...]:
    """A line for every member of every round of the epoch, ascending by round and index. `share_bps` is the run's
    share of a credit that work earns (`RunConfig.credit_bps`).

    A counted member's line is refused for: a proven offence by it in any of these rounds; replays of its work of any of
    these rounds, counted there or not, for which the signers that found them failed or unavailable outnumber those that
    found them passed; or, in this very round, a check of any kind that did not pass with more signers than it failed. A
    signer has one vote for each kind of check on a member and round, the worst of its findings. Checks nobody made
    refuse nothing.
    """
    ordered = sorted(rounds, key=lambda evidence: evidence.record.round)
    numbers = [evidence.record.round for evidence in ordered]
    if len(set(numbers)) != len(numbers):
        raise FormatError("An epoch's credits count a round twice", f"rounds {numbers}"[:200])
    shut_out: dict[int, str] = {}
    for evidence in ordered:
        for index in sorted({verdict.index for verdict in evidence.verdicts}):
            passed, failed = _votes(evidence, index, "replay")
            if failed > passed:
                shut_out.setdefault(index, f"replay failed in round {evidence.record.round}")
    for evidence in ordered:
        for index in evidence.offenders:
            shut_out[index] = f"offence in round {evidence.record.round}"
    lines = [line for evidence in ordered for line in _round_lines(evidence, parameters, rule, share_bps, shut_out)]
    return tuple(sorted(lines, key=lambda line: (line.round, line.index)))


def outcomes(rounds: Iterable[RoundEvidence]) -> dict[int, Outcome]:
    """What an epoch's checks say about each provider's history, by index: for the replay rates of the next epochs.

    A round's replays count once for each member, as passed or as failed, by more votes than against. `wrong` is a
    proven offence, a check of another kind that did not pass with more votes than it failed, or scores that show no
    lead over the epoch.
    """
    found: dict[int, Outcome] = {}
    scored: dict[int, list[Scores]] = {}
    for evidence in rounds:
        for verdict in evidence.verdicts:
            if verdict.check == "contribution" and isinstance(scores := scores_of(verdict.scores), Scores):
                scored.setdefault(verdict.index, []).append(scores)
        for index in sorted({verdict.index for verdict in evidence.verdicts} | evidence.offenders):
            passed, failed = _votes(evidence, index, "replay")
            others = [_votes(evidence, index, check) for check in ("structure", "contribution")]
            wrong = index in evidence.offenders or any(yes + no and yes <= no for yes, no in others)
            old = found.get(index, Outcome())
            found[index] = Outcome(old.passed + (passed > failed), old.failed + (failed > passed), old.wrong or wrong)
    for index in leads(scored):
        found[index] = replace(found[index], wrong=True)
    return dict(sorted(found.items()))


def total_by_index(lines: Iterable[CreditLine]) -> dict[int, int]:
    """Credits by provider, ascending by index, without zeros."""
    totals: dict[int, int] = {}
    for line in lines:
        if line.credits:
            totals[line.index] = totals.get(line.index, 0) + line.credits
    return dict(sorted(totals.items()))


def wage_scaled(wage_per_credit: int, unlocked_escrow: int, oracle_bps: int, epoch_credits: int) -> int:
    """wage_e: the wage per credit times 2^64, bounded by what the unlocked escrow can pay; 0 without credits."""
    if epoch_credits == 0:
        return 0
    payable = unlocked_escrow * 10_000 // (10_000 + oracle_bps)
    return min(wage_per_credit << 64, (payable << 64) // epoch_credits)


def next_leaves(
    leaves: Iterable[Leaf], credited: Mapping[int, int], acc: int, wage: int, accounts: Mapping[int, str]
) -> tuple[Leaf, ...]:
    """The leaves after an epoch: C + c, D + c * acc, W + c * wage for the credited, ascending; `accounts` by index."""
    by_index = {leaf.index: leaf for leaf in leaves if leaf.C}
    for index, amount in credited.items():
        if amount <= 0:
            raise FormatError("A credit is not positive", f"index {index}: {amount}")
        if index not in by_index and index not in accounts:
            raise FormatError("Credits for an index that is not registered", f"index {index}")
        old = by_index.get(index) or Leaf(index, accounts[index], 0, 0, 0)
        by_index[index] = Leaf(index, old.provider, old.C + amount, old.D + amount * acc, old.W + amount * wage)
    return tuple(by_index[index] for index in sorted(by_index))


def _round_lines(
    evidence: RoundEvidence, parameters: int, rule: Verification, share_bps: int, shut_out: Mapping[int, str]
) -> list[CreditLine]:
    record = evidence.record
    lines = []
    for entry in record.counted:
        reason = shut_out.get(entry.index, "")
        for check in ("structure", "replay", "contribution"):
            passed, failed = _votes(evidence, entry.index, check)
            if not reason and passed + failed and passed <= failed:
                reason = f"{check} not passed"
        medians = link_medians(record.links, entry.index)
        bandwidth = bandwidth_score(medians[0], rule.bandwidth_ref_bps) if medians else 0
        latency = latency_score(medians[1], rule.latency_ref_us) if medians else 0
        lines.append(
            CreditLine(
                round=record.round,
                index=entry.index,
                tokens=entry.tokens,
                flops=6 * parameters * entry.tokens,
                bandwidth_bps=medians[0] if medians else None,
                latency_us=medians[1] if medians else None,
                bandwidth=bandwidth,
                latency=latency,
                credits=0 if reason else credit(parameters, entry.tokens, bandwidth, latency, share_bps),
                checks=_checks(evidence.verdicts, entry.index),
                refused=reason,
            )
        )
    for left_out, word in [(item, "refused") for item in record.refused] + [
        (item, "missing") for item in record.missing
    ]:
        checks = _checks(evidence.verdicts, left_out.index)
        refused = f"{word}: {left_out.reason}"
        lines.append(CreditLine(record.round, left_out.index, 0, 0, None, None, 0, 0, 0, checks, refused))
    return lines


def _votes(evidence: RoundEvidence, index: int, check: str) -> tuple[int, int]:
    """Signers for and against a member in a round, by each signer's worst finding for this kind of check."""
    outcomes: dict[str, bool] = {}
    for verdict in evidence.verdicts:
        if verdict.round == evidence.record.round and verdict.index == index and verdict.check == check:
            outcomes[verdict.signer] = outcomes.get(verdict.signer, True) and verdict.outcome == "pass"
    passed = sum(outcomes.values())
    return passed, len(outcomes) - passed


def _checks(verdicts: Sequence[Verdict], index: int) -> tuple[CheckMade, ...]:
    made = {
        CheckMade(v.check, v.signer, v.segment.start if v.segment else None, v.outcome)
        for v in verdicts
        if v.index == index
    }
    return tuple(sorted(made, key=lambda m: (m.check, m.signer, -1 if m.segment is None else m.segment, m.outcome)))


def _median(values: list[int]) -> int:
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) // 2


def _amounts(amounts: Mapping[int, int]) -> JsonObject:
    return {str(index): str(amount) for index, amount in amounts.items()}
