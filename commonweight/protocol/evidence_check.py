"""Whether an epoch's evidence holds: every document, every count, every draw, and the credits and leaves that follow.

One function for the signers, who run it before they sign, and the auditor, who runs it on what was published. It is
pure: what the chain says comes in as `Facts`; offences are proven by the caller's `prove`, as they need payload bytes.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

from commonweight.errors import RuleBroken
from commonweight.protocol.attested import Attested, attests
from commonweight.protocol.canonical import dumps
from commonweight.protocol.contribution import PrivateScores, judge, score_draws, scores_of
from commonweight.protocol.credits import EpochCredits, RoundEvidence, itemise, next_leaves, outcomes, total_by_index
from commonweight.protocol.documents import Signed, recover
from commonweight.protocol.draws import Draw, draw_round
from commonweight.protocol.evidence import Evidence, RoundFiles, measured_links
from commonweight.protocol.fields import hex32
from commonweight.protocol.listing import make_list
from commonweight.protocol.offences import Offence
from commonweight.protocol.offices import Offices
from commonweight.protocol.records import (
    Commitment,
    Manifest,
    Plan,
    Receipt,
    Record,
    Result,
    Verdict,
    open_signed,
)
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.standing import Exposure, Standing, advance, repeaters, stake_limit
from commonweight.protocol.structure import (
    check_commitment,
    check_deadline,
    check_plan,
    check_record,
    check_result,
    receipt_in_time,
)
from commonweight.protocol.sumtree import Leaf
from commonweight.protocol.typed import Domain

__all__ = [
    "Facts",
    "Seed",
    "check_evidence",
    "check_verdict",
    "credits_of",
    "draws_of",
    "leaves_of",
    "round_evidence",
    "standing_of",
]

S = TypeVar("S", Plan, Record)
M = TypeVar("M", Commitment, Result)


@dataclass(frozen=True)
class Seed:
    """The first finalised block after a round's anchor window: its number and hash (32 bytes)."""

    block: int
    hash: bytes


@dataclass(frozen=True)
class Facts:
    """What the chain says, up to a finalised block.

    `anchor_window` is in seconds; `offices` are all signer sets until then; `keys(index)` is every signing key that a
    provider had, `roots(round)` the anchored (deadline, root) pairs of a round, `records_of(round)` what was anchored
    as its record, `seed(anchor_by_s)` the block that draws, `credited` the rounds of earlier final reports, `attested`
    what the last of these attested, `leaves` the last final tree; `acc`, `wage_of(epochCredits)` and `cap` are those of
    the closed epoch, and so are `stakes` by index and `exposed`. `standing` is that of the last final report before
    this one, `standing_at(block)` that of the last one that was final in a block.
    """

    domain: Domain
    run: str
    config: RunConfig
    epoch_of: Callable[[int], int]
    anchor_window: int
    offices: Offices
    keys: Callable[[int], Collection[str]]
    roots: Callable[[int], Collection[tuple[int, str]]]
    records_of: Callable[[int], Collection[str]]
    seed: Callable[[int], Seed | None]
    credited: Collection[int]
    attested: Attested | None
    leaves: tuple[Leaf, ...]
    accounts: Mapping[int, str]
    acc: int
    wage_of: Callable[[int], int]
    cap: int
    standing: Standing
    standing_at: Callable[[int], Standing]
    stakes: Mapping[int, int]
    exposed: Exposure


def check_evidence(evidence: Evidence, facts: Facts, prove: Callable[[Offence], None]) -> EpochCredits:
    """The epoch's credits when all of the evidence holds; RuleBroken or another FormatError says what does not."""
    _same("wrong-run", "run", evidence.run, facts.run)
    _same("wrong-config", "config.json", evidence.config, facts.config.to_bytes())
    offenders = _offenders(evidence, prove)
    for number, files in evidence.rounds.items():
        _check_round(evidence, number, files, facts)
    _check_evaluation(evidence, facts)
    earned = credits_of(evidence, facts, offenders)
    _same("wrong-credits", "credits.json", evidence.credits, dumps(earned.to_json()))
    _same("wrong-leaves", "leaves.jsonl", evidence.leaves, leaves_of(earned, facts))
    _same("wrong-standing", "standing.json", evidence.standing, standing_of(earned, facts).to_bytes())
    return earned


def leaves_of(earned: EpochCredits, facts: Facts) -> tuple[Leaf, ...]:
    """The tree's leaves after the epoch."""
    amount = sum(earned.credited.values())
    return next_leaves(facts.leaves, earned.credited, facts.acc, facts.wage_of(amount), facts.accounts)


def standing_of(earned: EpochCredits, facts: Facts) -> Standing:
    """What each provider brings into the next epoch."""
    listing = earned.listing
    return advance(
        facts.standing, earned.epoch, facts.config.verification, earned.outcomes, listing.carried, listing.start,
        listing.credited, facts.exposed, facts.stakes,
    )  # fmt: skip


def credits_of(evidence: Evidence, facts: Facts, offenders: Mapping[int, frozenset[int]]) -> EpochCredits:
    """What the rule gives for the evidence's records and verdicts; `offenders` by round."""
    found = [round_evidence(files, offenders.get(number, frozenset())) for number, files in evidence.rounds.items()]
    parameters = facts.config.model.parameters()
    lines = itemise(found, parameters, facts.config.verification, facts.config.credit_bps)
    carried, said, totals = facts.standing.carried, outcomes(found), total_by_index(lines)
    limits = {i: stake_limit(facts.stakes.get(i, 0), facts.exposed, i) for i in sorted({*totals, *carried})}
    listing = make_list(totals, carried, facts.standing.next, limits.__getitem__, facts.cap)
    again = repeaters(facts.standing, said)
    return EpochCredits(
        evidence.epoch, parameters, facts.cap, lines, carried, listing, facts.exposed.value, limits, again, said
    )  # fmt: skip


def round_evidence(files: RoundFiles, offenders: frozenset[int]) -> RoundEvidence:
    """A round as the credit rule sees it."""
    verdicts = tuple(Verdict.from_body(signed.body) for signed in files.verdicts)
    return RoundEvidence(Record.from_body(files.record.body), verdicts, offenders)


def draws_of(
    plan: Plan, commitments: Mapping[str, Commitment], seed: Seed, config: RunConfig, offices: Offices,
    standing: Standing,
) -> tuple[Draw, ...]:  # fmt: skip
    """The replays that a round's seed asks for, over its anchored commitments by digest, at each member's own rate.

    They are dealt to the signers in office in the block of the seed. `standing` is that of the last report that was
    final in it. On private shards nothing is drawn: nobody but the member could take the steps again.
    """
    if config.private:
        return ()
    segments = {c.index: c.trace.leaves - 1 for _, c in sorted(commitments.items())}
    rates = {index: standing.rate_bps(index, config.verification) for index in segments}
    return draw_round(seed.hash, plan.round, segments, rates, len(offices.at(seed.block)))


def _check_round(evidence: Evidence, number: int, files: RoundFiles, facts: Facts) -> None:
    plan = _by_signer(Plan, files.plan, facts)
    check_plan(plan, facts.config, facts.run)
    check_deadline(plan, facts.epoch_of(plan.deadline_s), facts.anchor_window)
    if plan.epoch > evidence.epoch or number in facts.credited:
        raise RuleBroken("wrong-round", f"Round {number} cannot be credited in epoch {evidence.epoch}")
    anchored = _check_anchors(evidence, plan, facts)
    commitments = {}
    for signed in files.commitments:
        commitment = _by_member(Commitment, signed, Commitment.from_body(signed.body).index, facts)
        check_commitment(commitment, plan, files.plan.digest, facts.config)
        commitments[signed.digest] = commitment
    _same("omission", f"anchored commitments of round {number}", set(commitments), anchored)
    record = _by_signer(Record, files.record, facts)
    if files.record.digest not in facts.records_of(number):
        raise RuleBroken("wrong-record", f"The record of round {number} is not anchored")
    if recover(files.record, facts.domain) != recover(files.plan, facts.domain):
        raise RuleBroken("wrong-record", f"The record of round {number} is not signed by whoever planned it")
    check_record(record, plan, files.plan.digest, facts.config, commitments, anchored)
    _check_receipts(files, plan, record, facts)
    _check_links(files, plan, record, facts)
    _check_manifest(files, plan, record, facts)
    _check_verdicts(files, plan, record, commitments, facts)


def _check_evaluation(evidence: Evidence, facts: Facts) -> None:
    right = attests((Record.from_body(files.record.body) for files in evidence.rounds.values()), facts.attested)
    e = evidence.evaluation
    if right is None:  # genesis, which has no record that names it
        _same("wrong-evaluation", "round of the evaluation", e.round, 0)
        return
    _same("wrong-evaluation", "evaluation", Attested(e.round, e.checkpoint, e.checkpoint_cid), right)


def _check_anchors(evidence: Evidence, plan: Plan, facts: Facts) -> set[str]:
    anchored: set[str] = set()
    for anchor in evidence.anchors:
        if anchor.round == plan.round:
            if (anchor.deadline, anchor.root) not in facts.roots(plan.round) or anchor.deadline != plan.deadline_s:
                raise RuleBroken("not-anchored", f"A root of round {plan.round} is not on chain", anchor.root)
            anchored.update(anchor.commitments)
    return anchored


def _check_receipts(files: RoundFiles, plan: Plan, record: Record, facts: Facts) -> None:
    receipted = set()
    for signer, signed in files.receipts:
        receipt = open_signed(Receipt, signed, facts.domain, signer)
        if signer in facts.offices.ever and receipt.round == plan.round and receipt_in_time(receipt, plan):
            receipted.add(receipt.commitment)
    for entry in record.counted:
        if entry.commitment not in receipted:
            why = f"round {plan.round}"
            raise RuleBroken("no-receipt", f"Provider {entry.index} is counted without a receipt", why)


def _check_links(files: RoundFiles, plan: Plan, record: Record, facts: Facts) -> None:
    results = []
    for signed in files.results:
        result = _by_member(Result, signed, Result.from_body(signed.body).reducer, facts)
        check_result(result, plan, files.plan.digest)
        results.append(result)
    links = measured_links(results, {entry.index for entry in record.counted})
    _same("wrong-links", f"links of round {plan.round}", record.links, links)


def _check_manifest(files: RoundFiles, plan: Plan, record: Record, facts: Facts) -> None:
    if not record.counted:
        _same("wrong-manifest", "manifest", files.manifest, None)
        return
    manifest = Manifest.load(files.manifest or b"")
    found = (manifest.sha256, manifest.run, manifest.round, manifest.parent, manifest.plan, manifest.config)
    right = (record.checkpoint, facts.run, plan.round, plan.base, files.plan.digest, facts.config.sha256)
    _same("wrong-manifest", f"manifest of round {plan.round}", found, right)


def _check_verdicts(
    files: RoundFiles, plan: Plan, record: Record, commitments: Mapping[str, Commitment], facts: Facts
) -> None:
    seed = facts.seed(plan.anchor_by_ms // 1000)
    if seed is None:
        raise RuleBroken("no-seed", f"The block that draws the checks of round {plan.round} is not final yet")
    replayed: set[tuple[int, int]] = set()
    for signed in files.verdicts:
        verdict = Verdict.from_body(signed.body)
        open_signed(Verdict, signed, facts.domain, verdict.signer)
        check_verdict(verdict, plan, record, commitments, seed, facts.config, facts.offices)
        if verdict.segment is not None:
            replayed.add((verdict.index, verdict.segment.start))
    standing = facts.standing_at(seed.block)
    _check_scores(files, record, seed, facts)
    drawn = draws_of(plan, commitments, seed, facts.config, facts.offices, standing)
    wanted = {(draw.index, draw.segment) for draw in drawn}
    if wanted != replayed:
        rule = "draw-not-done" if wanted - replayed else "not-drawn"
        raise RuleBroken(rule, f"The replays of round {plan.round} are not those drawn", f"{sorted(wanted ^ replayed)}")


def check_verdict(
    verdict: Verdict, plan: Plan, record: Record | None, commitments: Mapping[str, Commitment], seed: Seed,
    config: RunConfig, offices: Offices,
) -> None:  # fmt: skip
    """Whether a verdict can be in the evidence of a round: wrong-verdict, or another FormatError, when it cannot.

    It is by a signer in office in the block of the seed or later, about an anchored commitment (`commitments` by
    digest), names this round and its seed, and the outcome of scores is what they decide; without a record there are
    none.
    """
    if verdict.signer not in offices.since(seed.block):
        raise RuleBroken("wrong-verdict", f"A verdict of round {plan.round} is by nobody")
    commitment = commitments.get(verdict.commitment)
    if commitment is None or commitment.index != verdict.index:
        raise RuleBroken("wrong-verdict", f"A verdict of round {plan.round} is about nothing")
    found = (verdict.run, verdict.round, verdict.epoch, verdict.seed_block, verdict.seed_hash)
    _same("wrong-verdict", "verdict", found, (plan.run, plan.round, plan.epoch, seed.block, hex32(seed.hash)))
    if verdict.check != "contribution":
        return
    scores = scores_of(verdict.scores)
    entry = None if record is None else record.counted_member(verdict.index)
    _same("wrong-verdict", "kind of scores", isinstance(scores, PrivateScores), config.private)
    reason, counted = judge(scores, config.verification), None if entry is None else entry.commitment
    said = (verdict.commitment, verdict.outcome, verdict.reason)
    _same("wrong-verdict", "score", said, (counted, "fail" if reason else "pass", reason))


def _check_scores(files: RoundFiles, record: Record, seed: Seed, facts: Facts) -> None:
    """Exactly the drawn contributions are scored; `check_verdict` sees to what their scores decide."""
    rule = facts.config.verification
    signers = len(facts.offices.at(seed.block))
    said = [Verdict.from_body(signed.body) for signed in files.verdicts]
    scored = {verdict.index for verdict in said if verdict.check == "contribution"}
    wanted = {draw.index for draw in score_draws(seed.hash, record, rule, signers)}
    if wanted != scored:
        slug = "draw-not-done" if wanted - scored else "not-drawn"
        raise RuleBroken(slug, f"The scores of round {record.round} are not those drawn", f"{sorted(wanted ^ scored)}")


def _offenders(evidence: Evidence, prove: Callable[[Offence], None]) -> dict[int, frozenset[int]]:
    found: dict[int, frozenset[int]] = {}
    for signed in evidence.offences:
        offence = Offence.from_body(signed.body)
        prove(offence)
        if offence.index is not None and offence.round in evidence.rounds:
            found[offence.round] = found.get(offence.round, frozenset()) | {offence.index}
    return found


def _by_signer(kind: type[S], signed: Signed, facts: Facts) -> S:
    if recover(signed, facts.domain) not in facts.offices.ever:
        raise RuleBroken("stranger", f"A {signed.kind} is not signed by a signer", signed.digest)
    return open_signed(kind, signed, facts.domain)


def _by_member(kind: type[M], signed: Signed, index: int, facts: Facts) -> M:
    if recover(signed, facts.domain) not in facts.keys(index):
        raise RuleBroken("stranger", f"A {signed.kind} is not signed by provider {index}", signed.digest)
    return open_signed(kind, signed, facts.domain)


def _same(rule: str, name: str, found: object, expected: object) -> None:
    if found != expected:
        raise RuleBroken(rule, f"{name} is not what it must be", f"{found!s:.100}, not {expected!s:.100}")
