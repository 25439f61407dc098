"""Every fault in every phase of a round, between real processes: what `tests/crowd` tries in simulated time.

The member strikes itself (tests.trainer.struck), so it is hit in that phase and no other. What a fault may cost is
measured by the simulation, where time is exact; here it is that survivors finish the round, nobody forks, nobody is
banned, and who was hit is counted again.
"""

import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.trainer.island import HERE, THERE, Island, forwarded, island
from tests.trainer.world import Provider, World

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(5400)]

PHASES = ("train", "commit", "anchor", "exchange", "record")
OVERLAPS = (0, 20)


class Victim:
    """A member that is struck by a signal in a phase."""

    def __init__(self, world: World, number: int, **more: object) -> None:
        self.world, self.file = world, world.folder / "phase"
        self.file.write_text("")
        runner = ["-m", "tests.trainer.struck", str(int(number)), str(self.file)]
        self.member: Provider = world.add("cid", runner=runner, **more)  # type: ignore[arg-type]

    def struck_in(self, phase: str) -> int:
        """Arm, and wait until it has happened; the round."""
        hit = self.file.with_suffix(".hit")
        hit.unlink(missing_ok=True)
        self.file.write_text(phase)
        self.world.wait(f"cid is hit in {phase}", hit.exists)
        return int(hit.read_text())

    def back_after(self, number: int) -> int:
        """The first round after that one in which it is counted."""
        return self.world.wait("cid is counted again", lambda: [r for r in self.member.counted() if r > number])[0]


def every_phase(world: World, victim: Victim, strike: Callable[[], None], mend: Callable[[], None]) -> None:
    """Hit in each phase of some round, and back when the others have finished that round."""
    ada, bob, cid = world.providers["ada"], world.providers["bob"], victim.member
    world.wait_round(1, ada, bob, cid)
    for phase in PHASES:
        number = victim.struck_in(phase)
        strike()
        world.wait_round(number, ada, bob)
        mend()
        back = victim.back_after(number)
        print(f"hit in {phase} of round {number}, counted again in round {back}")
    world.same_checkpoints(ada, bob, cid)
    assert not any(world.run.registry.is_banned(world.index(one)) for one in (ada, bob, cid))


@contextmanager
def three(tmp_path: Path, data_dir: Path, number: int, overlap: int) -> Iterator[tuple[World, Victim]]:
    """A run with ada, bob, and cid, who strikes itself; rounds overlap by some of their 40 steps."""
    with World(tmp_path, data_dir, training={"overlap": overlap}) as world:
        world.start_signers()
        world.add("ada")
        world.add("bob")
        yield world, Victim(world, number)


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_killed(tmp_path: Path, data_dir: Path, overlap: int) -> None:
    with three(tmp_path, data_dir, signal.SIGKILL, overlap) as (world, victim):
        every_phase(world, victim, victim.member.kill, lambda: victim.member.start() and None)


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_frozen(tmp_path: Path, data_dir: Path, overlap: int) -> None:
    with three(tmp_path, data_dir, signal.SIGSTOP, overlap) as (world, victim):
        every_phase(world, victim, lambda: None, lambda: victim.member.send(signal.SIGCONT))


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_asked_to_leave(tmp_path: Path, data_dir: Path, overlap: int) -> None:
    with three(tmp_path, data_dir, signal.SIGTERM, overlap) as (world, victim):

        def leaves() -> None:
            world.wait("cid ends", lambda: not victim.member.alive)
            assert victim.member.process is not None
            assert victim.member.process.returncode == 0

        every_phase(world, victim, leaves, lambda: victim.member.start() and None)


def test_cut_off(tmp_path: Path, data_dir: Path) -> None:
    """The cable is pulled while the member stands still in the phase, and plugged in when the round is over."""
    with ExitStack() as stack:
        cable: Island = stack.enter_context(island())
        world = stack.enter_context(World(tmp_path, data_dir, host=HERE))
        rpc = stack.enter_context(forwarded(int(world.local.url.rpartition(":")[2])))
        world.start_signers()
        world.add("ada")
        world.add("bob")
        victim = Victim(world, signal.SIGSTOP, host=THERE, prefix=cable.prefix, rpc=f"http://{rpc}")

        def cut() -> None:
            cable.pull()
            victim.member.send(signal.SIGCONT)

        every_phase(world, victim, cut, cable.plug)


def test_joining(tmp_path: Path, data_dir: Path) -> None:
    """A member that has nothing starts in each phase of the others' round, and leaves again."""
    with World(tmp_path, data_dir) as world:
        world.start_signers()
        ada, bob = world.add("ada"), world.add("bob")
        world.wait_round(1, ada, bob)
        cid = world.add("cid")
        world.wait("cid is counted", cid.counted)
        for phase in PHASES:
            assert cid.end(300) == 0
            shutil.rmtree(cid.folder)
            number = world.wait(f"ada is in {phase}", lambda p=phase: ada.phase()[1] == p and ada.phase()[0])
            cid.start()
            back = world.wait("cid is counted", lambda n=number: [r for r in cid.counted() if r >= n])[0]
            print(f"started in {phase} of round {number}, counted in round {back}")
        world.same_checkpoints(ada, bob, cid)
        assert not world.run.registry.is_banned(world.index(cid))
