"""A payload that is like another is doubted: a replayed segment clears it or shows it up as a copy."""

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commonweight.protocol.credits import RoundEvidence, itemise
from commonweight.protocol.fields import hex32
from commonweight.protocol.records import Verdict, sign_body
from oracle.judging import Judging
from oracle.watch import View
from oracle.worker import WorkerError
from tests.oracle.office import DOMAIN, RUN, SIGNER_KEYS, SIGNERS, Chain, Crew, Office
from tests.oracle.test_replaying import Scene, Worker, staged

pytestmark = pytest.mark.unit

LIKE = "provider 0's payload of round 1"
"""Member 0 commits first, so that member 1's payload is the doubtful one of the two."""


def alike() -> dict[int, Crew]:
    """Members of whom the first two have much in common; which of them has copied, or none, is the worker's to tell."""
    return {0: Crew(0), 1: Crew(1, copied=(1, 0)), 2: Crew(2)}


def office_of(tmp_path: Path, **more: Any) -> Office:
    return Office(tmp_path, Chain(), max_rounds=1, verification={"replay_rate_bps": 1, **more.pop("rule", {})}, **more)


async def judged(scene: Scene, worker: Worker) -> list[Verdict]:
    """What the signer says about the structure of the round's work."""
    office, replaying = scene.office, scene.replaying(worker)
    judging = Judging(office.desk, office.recount, replaying)
    office.look()
    await replaying.draw()
    assert await office.recount.step()
    for _ in range(200):
        try:
            if await judging.step():
                break
        except WorkerError:
            continue
        assert office.seat.db.get_meta("judged") is None
        await asyncio.wait(replaying._fetching.values(), timeout=0.5)
        if scene.served[1].silent:
            office.chain.now_ms += 2000
    assert office.seat.db.get_meta("judged") == "1"
    return [v.body for v in office.desk.rounds.verdicts(1)]


def credited(office: Office, verdicts: list[Verdict]) -> dict[int, str]:
    """Why each line is refused."""
    evidence = RoundEvidence(office.record(1), tuple(verdicts))
    lines = itemise([evidence], office.config.model.parameters(), office.config.verification)
    return {line.index: line.refused for line in lines}


async def test_work_of_its_own_steps_is_credited_however_alike_it_is(tmp_path: Path) -> None:
    async with staged(office_of(tmp_path), alike()) as scene:
        first, said = await judged(scene, Worker(scene.office, broken=1))
        assert [(v.index, v.check, v.outcome) for v in (first, said)] == [(i, "structure", "pass") for i in (0, 1)]
        assert said.reason == f"like {LIKE}, but made by its own steps"
        assert first.reason == "like provider 1's payload of round 1, but made by its own steps"
        assert credited(scene.office, [first, said]) == {0: "", 1: "", 2: ""}
        assert list(scene.office.seat.folder("states").iterdir()) == []
        assert not scene.served[2].asked, "nobody else is asked for anything"


async def test_a_copy_is_refused(tmp_path: Path) -> None:
    async with staged(office_of(tmp_path), alike()) as scene:
        _, said = await judged(scene, Worker(scene.office, exact=False, near=False))
        assert (said.index, said.check, said.outcome) == (1, "structure", "fail")
        assert said.reason == f"a copy of {LIKE}: it is other"
        assert credited(scene.office, [said]) == {0: "", 1: "structure not passed", 2: ""}


async def test_who_shows_nothing_is_not_cleared(tmp_path: Path) -> None:
    async with staged(office_of(tmp_path), alike()) as scene:
        scene.served[1].silent = True
        original, said = await judged(scene, Worker(scene.office))
        assert (original.index, original.outcome) == (0, "pass")
        assert (said.index, said.outcome) == (1, "fail")
        assert said.reason.startswith(f"a copy of {LIKE}: ")


async def test_a_draw_of_the_same_segment_is_replayed_once(tmp_path: Path) -> None:
    async with staged(office_of(tmp_path, rule={"replay_rate_bps": 10_000}), alike()) as scene:
        office, worker = scene.office, Worker(scene.office)
        replaying = scene.replaying(worker)
        office.look()
        await replaying.draw()
        drawn = next(draw for draw in office.seat.db.draws(1) if draw.member == 1)
        await asyncio.wait(replaying._fetching.values())
        assert await replaying.aside(drawn) is None, "the draw comes first"
        await scene.finish(replaying)
        calls = len(worker.calls)
        found = await replaying.aside(drawn)
        assert found is not None
        assert (found.check, found.outcome, len(worker.calls)) == ("replay", "pass", calls)


def after_a_final_report(view: View, round_: int) -> View:
    """Epoch 0 is final, by a report that leads to a round."""
    said: Any = SimpleNamespace(report=SimpleNamespace(round=round_))
    return replace(view, final={0: True}, reports={0: said})


async def test_a_round_that_was_carried_over_is_judged_though_its_epoch_is_final(tmp_path: Path) -> None:
    async with staged(office_of(tmp_path), alike()) as scene:
        office, replaying = scene.office, scene.replaying(Worker(scene.office))
        judging = Judging(office.desk, office.recount, replaying)
        office.look()
        office.desk.seen = after_a_final_report(office.desk.view, 0)
        assert await office.recount.step()
        for _ in range(100):
            if await judging.step():
                break
            await asyncio.wait(replaying._fetching.values(), timeout=0.5)
        assert {v.body.index: v.body.outcome for v in office.desk.rounds.verdicts(1)} == {0: "pass", 1: "pass"}


async def test_a_signer_that_catches_up_blames_nobody_for_states_of_reported_rounds(tmp_path: Path) -> None:
    async with staged(office_of(tmp_path), alike()) as scene:
        office, replaying = scene.office, scene.replaying(Worker(scene.office))
        judging = Judging(office.desk, office.recount, replaying)
        office.look()
        office.desk.seen = after_a_final_report(office.desk.view, 1)
        assert await office.recount.step()
        assert await judging.step()
        assert office.recount.alike(1)
        assert not any(served.asked for served in scene.served.values())
        plan, seed = office.desk.rounds.plan(1), await replaying.seed(office.plan()[1])
        assert plan is not None
        assert seed is not None
        theirs = Verdict(
            RUN, 0, 1, 1, office.record(1).counted[1].commitment, SIGNERS[1], "structure", None, "fail", False, None,
            None, (), seed.block, hex32(seed.hash), f"a copy of {LIKE}",
        )  # fmt: skip
        office.intake.accept(sign_body(theirs, SIGNER_KEYS[1], DOMAIN))
        assert not await judging.step()
        said = [v.body for v in office.desk.rounds.verdicts(1)]
        assert [(v.signer, v.outcome) for v in said] == [(SIGNERS[1], "fail")], "nor does it outvote who has looked"


async def test_on_private_shards_nobody_is_asked_and_likeness_decides(tmp_path: Path) -> None:
    async with staged(office_of(tmp_path, private_credit_bps=1000), alike()) as scene:
        (said,) = await judged(scene, Worker(scene.office))
        assert (said.index, said.outcome, said.reason) == (1, "fail", f"a copy of {LIKE}")
        assert not any(served.asked for served in scene.served.values())
