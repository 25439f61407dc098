"""Members as real processes, over real sockets, with the real signers and chain: what happens to them and to others."""

import signal
import time
from pathlib import Path

import pytest

from tests.trainer.world import Provider, World
from trainer.pausing import pause

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


def in_phase(member: Provider, *phases: str, after: int = 0):
    """The round of a member that is now in one of these phases, of a round later than `after`."""

    def check() -> int:
        number, phase, _ = member.phase()
        return number if number > after and phase in phases else 0

    return check


@pytest.mark.slow
def test_death_return_and_late_joining_cost_no_survivor_its_place(tmp_path: Path, data_dir: Path) -> None:
    with World(tmp_path, data_dir) as world:
        world.start_signers()
        ada, bob, cid = (world.add(name) for name in ("ada", "bob", "cid"))
        world.wait_round(1, ada, bob, cid)

        # Killed while it trains: the others go on, it comes back with its state and continues its own trace.
        died = world.wait("cid trains", in_phase(cid, "train", after=1))
        cid.kill()
        world.wait_round(died, ada, bob)
        assert died not in cid.counted()
        cid.start()
        newcomer = world.add("dot")
        back = world.wait("cid is counted again", lambda: [r for r in cid.counted() if r > died])[0]
        first = world.wait("dot is counted", newcomer.counted)[0]
        assert 1 not in newcomer.counted()

        # Killed when its commitment is anchored: its work is included if the parts had arrived, and nobody waits long.
        lost = world.wait("bob exchanges", in_phase(bob, "anchor", "exchange", after=max(back, first)))
        bob.kill()
        world.wait_round(lost + 1, ada, cid, newcomer)
        bob.start()
        world.wait("bob is counted again", lambda: [r for r in bob.counted() if r > lost])
        checkpoints = world.same_checkpoints(ada, bob, cid, newcomer)
        # On a busy machine a round may find too few in time; it is done again from the same base, and makes nothing.
        made = [sha256 for number, sha256 in checkpoints.items() if number not in world.empty_rounds()]
        assert len(set(made)) == len(made), "every round that counted somebody made progress"
        assert {died, back, first, lost + 1} <= set(checkpoints)


def test_a_frozen_member_delays_nobody_and_catches_up_and_a_leaving_one_finishes(
    tmp_path: Path, data_dir: Path
) -> None:
    with World(tmp_path, data_dir) as world:
        world.start_signers()
        ada, bob, cid = (world.add(name) for name in ("ada", "bob", "cid"))
        world.wait_round(1, ada, bob, cid)
        frozen = world.wait("cid waits for the anchor", in_phase(cid, "anchor", after=1))
        cid.send(signal.SIGSTOP)
        world.wait_round(frozen, ada, bob)
        cid.send(signal.SIGCONT)
        world.wait("cid is counted again", lambda: [r for r in cid.counted() if r > frozen])

        leaving = world.wait("bob trains", in_phase(bob, "train", after=frozen + 1))
        assert bob.end(timeout_s=120) == 0, "it ends the round and waits for its draws"
        assert leaving in bob.counted()
        world.wait_round(leaving + 1, ada, cid)
        world.same_checkpoints(ada, bob, cid)


@pytest.mark.slow
def test_liars_are_banned_and_the_others_do_not_notice(tmp_path: Path, data_dir: Path) -> None:
    with World(tmp_path, data_dir) as world:
        world.start_signers()
        ada, bob = world.add("ada"), world.add("bob")
        liar, base = world.add("liar", "liar"), world.add("base", "wrong-base")
        false = world.add("false", "false-reducer")
        for offender in (liar, base, false):
            world.wait(f"{offender.name} is banned", lambda o=offender: world.run.registry.is_banned(world.index(o)))
            world.wait(f"{offender.name} ends", lambda o=offender: not o.alive)
            assert offender.process is not None
            assert offender.process.returncode == 1
            assert "is banned until" in offender.log_text()
        rounds = len(ada.checkpoints())
        world.wait_round(rounds + 2, ada, bob)
        assert not any(provider.counted() for provider in (liar, base))
        assert world.same_checkpoints(ada, bob, false)
        assert set(ada.counted()) >= {rounds + 1, rounds + 2}


@pytest.mark.slow
def test_a_member_of_two_ranks_is_a_member_like_any_other(tmp_path: Path, data_dir: Path) -> None:
    with World(tmp_path, data_dir) as world:
        world.start_signers()
        ada, two = world.add("ada"), world.add("two", ranks=2)
        first = world.wait("it is counted", two.counted, 240)[0]
        world.wait("and again", lambda: [r for r in two.counted() if r > first], 240)
        world.same_checkpoints(ada, two)
        two.end(60)
        assert two.phase()[1] == "stopped", "it was let finish; torchrun itself ends by the signal"


@pytest.mark.slow
def test_a_pause_hands_the_round_over_and_ends_by_itself(tmp_path: Path, data_dir: Path) -> None:
    with World(tmp_path, data_dir) as world:
        world.start_signers()
        ada, bob, cid = (world.add(name) for name in ("ada", "bob", "cid"))
        world.wait_round(1, ada, bob, cid)
        open_ = world.wait("cid trains", in_phase(cid, "train", after=1))
        pause(cid.folder, None)
        world.wait("cid rests", in_phase(cid, "paused"))
        assert open_ in cid.counted(), "the round that was open is handed over, not lost"
        rested = max(cid.checkpoints())
        world.wait_round(rested + 2, ada, bob)
        assert max(cid.counted()) <= rested, "nothing is asked of who rests"
        assert cid.alive
        assert not world.run.registry.is_banned(world.index(cid))

        pause(cid.folder, int(time.time()) + 2)  # from now on it has an end
        back = world.wait("cid is counted again", lambda: [r for r in cid.counted() if r > rested])[0]
        world.wait_round(back, ada, bob, cid)
        world.same_checkpoints(ada, bob, cid)

        pause(cid.folder, None)
        world.wait("cid rests again", in_phase(cid, "paused", after=back - 1))
        assert cid.end() == 0, "who rests can still be stopped"
