"""A run on private shards: nothing is replayed, every payload is scored on held-out text, and credits have a share."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commonweight.errors import RuleBroken
from commonweight.protocol.canonical import loads_object
from commonweight.protocol.contribution import PrivateScores, Scores
from commonweight.protocol.records import Segment, Verdict, sign_body
from oracle.phases import Finish
from tests.oracle.office import DOMAIN, SIGNER_KEYS, SIGNERS, Chain, Crew, Office
from tests.oracle.test_agree import proposed, votes
from tests.oracle.test_coordinator import play, until
from tests.oracle.test_scoring import Scorer

pytestmark = pytest.mark.unit

SHARE_BPS = 2_500
GOOD, USELESS = PrivateScores(30_000, 5_000), PrivateScores(0, 0)
PUBLIC = Scores(60_000, 5_000, 30_000, 5_000, 14_000, 5_000, 52_000, 4_500)


@pytest.fixture
async def scorers(tmp_path: Path) -> list[Scorer]:
    """Three signers after one round of three members, the last of which sent something useless."""
    chain, crew = Chain(), {i: Crew(i) for i in range(3)}
    offices = [
        Office(
            tmp_path, chain, n, max_rounds=1, private_credit_bps=SHARE_BPS,
            verification={"contribution_rate_bps": 10_000},
        )
        for n in range(3)
    ]  # fmt: skip
    await play(offices[0], crew)
    await until(offices[0], Finish)
    chain.now_ms += 100_000
    made = [Scorer(office, GOOD) for office in offices]  # type: ignore[arg-type]
    for scorer in made:
        scorer.office.look()
    for scorer in made[1:]:
        scorer.copy_from(offices[0])
    for scorer in made:
        await scorer.verify(rounds=1)
        measure(scorer)
        await scorer.score()
    for _ in range(2):
        for scorer in made:
            for other in made:
                scorer.copy_from(other.office)
            await scorer.score()
    chain.now_ms = max(chain.now_ms, offices[0].params.epoch_end(0) * 1000 + 5000)
    for scorer in made:
        scorer.office.look()
    return made


def measure(scorer: Scorer) -> None:
    """Its worker finds member 2's payload useless, and is asked for what it can see only."""
    honest = scorer.meter.contribution

    async def contribution(*, index: int, private: bool, **more: Any) -> Any:
        assert private
        await honest(index=index, **more)
        return USELESS if index == 2 else GOOD

    scorer.meter.contribution = contribution  # type: ignore[method-assign]


async def test_an_epoch_is_credited_by_share_with_scores_alone(scorers: list[Scorer]) -> None:
    first = scorers[0]
    assert first.office.seat.db.draws(1) == [], "nobody can be asked to show a state"
    made = await proposed(first)
    said = [Verdict.from_body(v.body) for v in made.evidence.rounds[1].verdicts]
    assert {(v.check, v.index, v.outcome) for v in said} == {
        ("contribution", 0, "pass"), ("contribution", 1, "pass"), ("contribution", 2, "fail"),
    }  # fmt: skip
    assert await votes(scorers[1], SIGNERS[0], made.report, made.evidence)
    lines: Any = loads_object(made.evidence.credits)["lines"]
    for line in lines:
        weight = 800 + line["bandwidth"] + line["latency"]
        whole = int(line["flops"]) * weight * SHARE_BPS // 10**16
        assert int(line["credits"]) == (0 if line["index"] == 2 else whole)
    assert any(int(line["credits"]) for line in lines)

    # Nobody can claim to have seen the shards: neither by replaying a segment, nor by scores on the member's batches.
    files = made.evidence.rounds[1]
    mine = next(v for v in files.verdicts if v.body["index"] == 0)
    key = SIGNER_KEYS[SIGNERS.index(mine.body["signer"])]
    replayed: dict[str, Any] = {"check": "replay", "segment": Segment(0, 1), "scores": (), "exact": True}
    for claim, rule in ((replayed, "not-drawn"), ({"scores": PUBLIC.named()}, "wrong-verdict")):
        forged = sign_body(replace(Verdict.from_body(mine.body), **claim), key, DOMAIN)
        verdicts = (*(v for v in files.verdicts if v is not mine or claim is replayed), forged)
        false = replace(made.evidence, rounds={1: replace(files, verdicts=verdicts)})
        with pytest.raises(RuleBroken) as caught:
            await votes(scorers[1], SIGNERS[0], made.report, false)
        assert caught.value.rule == rule
