"""A member's process ends by itself when training is over, and not because somebody says so."""

import asyncio
from pathlib import Path

import pytest

from tests.crowd.clock import VirtualLoop, simulate
from tests.crowd.crowd import Crowd
from trainer.member import Member

pytestmark = pytest.mark.unit
_ROUNDS = 3


def all_left(crowd: Crowd) -> bool:
    return all(one.ended == "left" for one in crowd.members)


def test_members_leave_after_the_last_round_that_run_json_allows(disk: Path) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 3, signers=3, max_rounds=_ROUNDS)
        crowd.start()
        await crowd.recorded(_ROUNDS)
        await crowd.until("all are gone", lambda: all_left(crowd), 300.0)
        for one in crowd.members:
            assert one.lines.counted == [1, 2, 3]
            assert one.stop is not None
            assert one.stop.over.startswith("training is over after round 3;")
        assert crowd.plan(_ROUNDS + 1) is None
        crowd.close()

    simulate(work)


def test_they_show_states_until_the_last_draws_are_over(disk: Path) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 2, signers=1, max_rounds=_ROUNDS)
        crowd.ledger.attested = lambda: None
        crowd.start()
        await crowd.recorded(_ROUNDS)
        await crowd.until("all are gone", lambda: all_left(crowd), 300.0)
        plan = crowd.plan(_ROUNDS)
        assert plan is not None
        wait_s = crowd.config.verification.state_wait_ms / 1000
        assert loop.unix() >= plan.body.anchor_by_ms / 1000 + wait_s
        crowd.close()

    simulate(work)


def test_one_that_comes_when_training_is_over_leaves_too(disk: Path) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 3, signers=1, max_rounds=_ROUNDS)
        late, back = crowd.members[2], crowd.members[1]
        crowd.lead.start()
        for one in crowd.members[:2]:
            crowd.begin(one)
        await crowd.recorded(_ROUNDS - 1)
        crowd.kill(back)
        await crowd.recorded(_ROUNDS)
        crowd.begin(back)
        crowd.begin(late)
        await crowd.until("all are gone", lambda: all_left(crowd), 300.0)
        crowd.close()

    simulate(work)


def test_members_leave_when_the_last_epoch_is_over(disk: Path) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 2, signers=1, last_epoch=0)
        crowd.start()
        await crowd.recorded(1)
        await crowd.until("all are gone", lambda: all_left(crowd), 600.0)
        assert loop.unix() >= crowd.ledger.params.epoch_end(0)
        crowd.close()

    simulate(work)


def test_a_coordinator_that_only_says_that_it_is_over_is_not_believed(disk: Path) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 2, signers=1, max_rounds=50)
        crowd.lead.api._phase = lambda: "finished"
        crowd.lead.start()
        crowd.begin(crowd.members[0])
        await asyncio.sleep(60.0)  # alone it is planned in no round, and asks whether any will follow
        assert crowd.members[0].member.signers.last_round == 0
        crowd.begin(crowd.members[1])
        await crowd.recorded(2)
        assert [one.ended for one in crowd.members] == [None, None]
        crowd.close()

    simulate(work)


def test_another_signer_than_the_coordinator_is_not_asked(disk: Path) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 2, signers=3, max_rounds=50)
        for liar in crowd.signers[1:]:
            liar.api._phase = lambda: "finished"
        crowd.start()
        await crowd.recorded(3)
        assert crowd.members[0].member.signers.last_round is None
        crowd.close()

    simulate(work)


def test_a_provider_that_leaves_the_run_ends(disk: Path) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 3, signers=1)
        one = crowd.members[0]
        crowd.start()
        await crowd.recorded(2)
        crowd.ledger.exits.add(0)
        await crowd.until("it is gone", lambda: one.ended == "left", 300.0)
        assert one.stop is not None
        assert one.stop.over == "provider 0 has left the run"
        assert [other.ended for other in crowd.members[1:]] == [None, None]
        crowd.close()

    simulate(work)


def test_the_state_of_the_run_ends_members_whose_signers_are_gone(disk: Path) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 2, signers=1)
        crowd.start()
        await crowd.recorded(2)
        crowd.lead.process.kill()
        crowd.ledger.ended = "training is over: the run's last epoch is settled"
        await crowd.until("all are gone", lambda: all_left(crowd), 600.0)
        crowd.close()

    simulate(work)


def test_signers_that_do_not_answer_are_asked_less_and_less_often(disk: Path) -> None:
    asked: list[float] = []

    class Counting(Member):
        async def join(self) -> bool:
            asked.append(self.clock())
            return await super().join()

    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 2, signers=1, cheats={0: Counting})
        crowd.begin(crowd.members[0])
        await asyncio.sleep(60.0)
        assert 5 <= len(asked) <= 16
        crowd.lead.start()
        crowd.begin(crowd.members[1])
        await crowd.recorded(1)
        crowd.close()

    simulate(work)
