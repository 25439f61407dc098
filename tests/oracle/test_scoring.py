"""Scores: each by its own signer, taken over from a silent one, measured again when it failed, and in the report."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commonweight.errors import RuleBroken
from commonweight.protocol.contribution import Scores
from commonweight.protocol.credits import RoundEvidence, itemise
from commonweight.protocol.fields import hex32
from commonweight.protocol.records import Verdict, sign_body
from oracle.phases import Finish
from oracle.scoring import Scoring, drawn_scores, scores_settled
from oracle.verdicts import kept_seed
from oracle.worker import WorkerError
from tests.oracle.office import DOMAIN, SIGNER_KEYS, SIGNERS, Chain, Crew, Office
from tests.oracle.test_agree import Clerk, proposed, votes
from tests.oracle.test_coordinator import play, until

pytestmark = pytest.mark.unit

HONEST = Scores(60_000, 5_000, 30_000, 5_000, 14_000, 5_000, 52_000, 4_500)
HARMFUL = replace(HONEST, heldout_gain=-900_000)
REASON = "the payload raises the loss on held-out text"


class Meter:
    """A worker that knows what it will measure, and checks that it gets the files that it needs."""

    def __init__(self, scores: Scores = HONEST) -> None:
        self.scores = scores
        self.measured: list[int] = []
        self.broken = False

    async def contribution(
        self, *, plan: Path, index: int, base: Path, parts: Sequence[Path], results: Sequence[Path], **_: Any
    ) -> Scores:
        if self.broken:
            raise WorkerError("the worker is away")
        assert all(path.exists() for path in (plan, base, *parts, *results))
        self.measured.append(index)
        return self.scores


class Scorer(Clerk):
    """A clerk who scores, too."""

    def __init__(self, office: Office, scores: Scores = HONEST) -> None:
        super().__init__(office)
        self.meter = Meter(scores)
        self.scoring = Scoring(office.desk, office.recount, self.meter)  # type: ignore[arg-type]

    async def score(self) -> list[int]:
        """Measure all that is due; the members measured."""
        before = len(self.meter.measured)
        self.office.look()
        while await self.scoring.step():
            pass
        return self.meter.measured[before:]

    def said(self) -> dict[int, str]:
        """What this signer has said about members, by index."""
        made = [v.body for v in self.office.desk.rounds.verdicts(1) if v.body.check == "contribution"]
        return {v.index: v.outcome for v in made if v.signer == self.office.seat.address}


@pytest.fixture
async def scorers(tmp_path: Path) -> list[Scorer]:
    """Three signers who have recomputed and replayed one round of three members, all drawn."""
    chain, crew = Chain(), {i: Crew(i) for i in range(3)}
    rule = {"contribution_rate_bps": 10_000}
    offices = [Office(tmp_path, chain, n, max_rounds=1, verification=rule) for n in range(3)]
    await play(offices[0], crew)
    await until(offices[0], Finish)
    chain.now_ms += 4000
    made = [Scorer(office) for office in offices]
    for scorer in made:
        scorer.office.look()
    for scorer in made[1:]:
        scorer.copy_from(offices[0])
    for scorer in made:
        await scorer.verify(rounds=1)
    return made


def positions(scorer: Scorer) -> dict[int, int]:
    """Member -> position of the signer that scores it."""
    plan = scorer.office.desk.rounds.plan(1)
    assert plan is not None
    seed = kept_seed(scorer.office.seat.db, plan.body)
    return {draw.index: draw.position for draw in drawn_scores(scorer.office.desk, 1, seed)}


async def test_each_payload_is_scored_by_its_own_signer_and_once(scorers: list[Scorer]) -> None:
    mine = positions(scorers[0])
    assert set(mine) == {0, 1, 2}
    for place, scorer in enumerate(scorers):
        assert sorted(await scorer.score()) == [index for index, position in mine.items() if position == place]
        assert await scorer.score() == []


async def test_another_takes_over_from_a_silent_signer_and_what_cannot_be_measured_is_tried_again(
    scorers: list[Scorer],
) -> None:
    first = scorers[0]
    first.meter.broken = True
    await first.score()
    assert first.said() == {}
    first.meter.broken = False
    first.office.chain.now_ms += 60_000
    assert sorted(await first.score()) == [0, 1, 2]


async def test_scores_that_do_not_say_what_a_verdict_says_are_none(scorers: list[Scorer]) -> None:
    mine, first = positions(scorers[0]), scorers[0].office
    entry, plan, seed = first.record(1).counted[0], first.desk.rounds.plan(1), kept_of(scorers[0])
    liar = mine[entry.index]
    assert plan is not None
    assert seed is not None
    for place, scorer in enumerate(scorers):
        false = Verdict(
            first.seat.campaign, plan.body.epoch, 1, entry.index, entry.commitment, SIGNERS[liar], "contribution",
            None, "fail", False, None, None, HONEST.named(), seed.block, hex32(seed.hash), REASON,
        )  # fmt: skip
        if place != liar:
            scorer.office.intake.accept(sign_body(false, SIGNER_KEYS[liar], DOMAIN))
            assert not scores_settled(scorer.office.desk, 1, seed)
            assert entry.index not in await scorer.score(), "no doubt is raised by it"
    first.chain.now_ms += 60_000
    other = scorers[(liar + 1) % 3]
    assert entry.index in await other.score(), "another takes it over"


async def test_a_failed_score_is_measured_by_the_others_and_a_lie_is_outvoted(scorers: list[Scorer]) -> None:
    mine = positions(scorers[0])
    liar = scorers[mine[0]]
    liar.meter.scores = HARMFUL
    await liar.score()
    refused = {index for index, outcome in liar.said().items() if outcome == "fail"}
    assert 0 in refused
    honest = [scorer for scorer in scorers if scorer is not liar]
    for scorer in honest:
        scorer.copy_from(liar.office)
        assert set(await scorer.score()) >= refused
    desks = [scorer.office.desk for scorer in scorers]
    verdicts = tuple(v.body for desk in desks for v in desk.rounds.verdicts(1) if v.signer == desk.seat.address)
    record = honest[0].office.record(1)
    lines = itemise([RoundEvidence(record, verdicts)], 10**6, honest[0].office.config.verification)
    assert all(line.credits for line in lines)


async def test_a_report_waits_for_its_scores_and_carries_them(scorers: list[Scorer]) -> None:
    chain = scorers[0].office.chain
    for scorer in scorers:
        for other in scorers:
            scorer.copy_from(other.office)
    assert scorers[0].reporting.waiting(0, [])[0] == []
    scorers[1].meter.scores = HARMFUL
    for scorer in scorers:
        await scorer.score()
        for other in scorers:
            other.copy_from(scorer.office)
    chain.now_ms += 100_000
    for _ in range(2):
        for scorer in scorers:
            await scorer.score()
            for other in scorers:
                other.copy_from(scorer.office)
    chain.now_ms = max(chain.now_ms, scorers[0].office.params.epoch_end(0) * 1000 + 5000)
    for scorer in scorers:
        scorer.office.look()
    assert scorers[0].reporting.waiting(0, [])[0] == [1]
    made = await proposed(scorers[0])
    kinds = {Verdict.from_body(v.body).check for v in made.evidence.rounds[1].verdicts}
    assert kinds == {"replay", "contribution"}
    assert await votes(scorers[1], SIGNERS[0], made.report, made.evidence)


async def test_evidence_whose_outcome_is_not_what_its_scores_decide_gets_no_vote(scorers: list[Scorer]) -> None:
    chain = scorers[0].office.chain
    chain.now_ms += 100_000
    for scorer in scorers:
        await scorer.score()
    for scorer in scorers:
        for other in scorers:
            scorer.copy_from(other.office)
    chain.now_ms = max(chain.now_ms, scorers[0].office.params.epoch_end(0) * 1000 + 5000)
    for scorer in scorers:
        scorer.office.look()
    made = await proposed(scorers[0])
    files = made.evidence.rounds[1]
    score = next(v for v in files.verdicts if v.body["check"] == "contribution")
    key = next(key for key, signer in zip(SIGNER_KEYS, SIGNERS, strict=True) if signer == score.body["signer"])
    forged = sign_body(replace(Verdict.from_body(score.body), scores=HARMFUL.named()), key, DOMAIN)
    verdicts = tuple(forged if v is score else v for v in files.verdicts)
    false = replace(made.evidence, rounds={1: replace(files, verdicts=verdicts)})
    with pytest.raises(RuleBroken) as caught:
        await votes(scorers[1], SIGNERS[0], made.report, false)
    assert caught.value.rule == "wrong-verdict"
    assert scores_settled(scorers[0].office.desk, 1, kept_of(scorers[0]))


def kept_of(scorer: Scorer) -> Any:
    """The seed of round 1."""
    plan = scorer.office.desk.rounds.plan(1)
    assert plan is not None
    return kept_seed(scorer.office.seat.db, plan.body)
