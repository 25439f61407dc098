"""Whoever takes part is struck at any moment, in turn: the run goes on, and an outsider finds it in order."""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.trainer.test_private_run import asked, final_with_credits
from tests.trainer.world import WORTH, Process, Provider, World

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(2400)]

STRIKES = 14


@dataclass
class Storm:
    """Strikes members and signers; two members and two signers are well at any time."""

    world: World
    dice: random.Random
    struck: list[str] = field(default_factory=list)

    def strike(self) -> None:
        """One fault, and its end: killed, asked to leave, or frozen, for a moment or for longer than a round."""
        members: list[Process] = [*self.world.providers.values()]
        victim = self.dice.choice([*members, *self.world.signers])
        fault = self.dice.choice([self._killed, self._left, self._frozen])
        self.struck.append(f"{victim.name} {fault.__name__.strip('_')}")
        fault(victim, self.dice.choice([0.0, 1.0, 3.0, 12.0]))

    def _killed(self, victim: Process, away_s: float) -> None:
        victim.kill()
        time.sleep(away_s)
        victim.start()

    def _left(self, victim: Process, away_s: float) -> None:
        assert victim.end(300) in (0, -signal.SIGTERM)  # the latter when it has hardly begun
        time.sleep(away_s)
        victim.start()

    def _frozen(self, victim: Process, away_s: float) -> None:
        victim.send(signal.SIGSTOP)
        time.sleep(away_s)
        victim.send(signal.SIGCONT)


def counted_together(members: list[Provider], after: int) -> Callable[[], list[int]]:
    """The rounds after that one in which all of these members were counted."""
    return lambda: sorted(set.intersection(*({n for n in member.counted() if n > after} for member in members)))


def test_a_storm_stops_nothing_and_leaves_nothing_wrong(tmp_path: Path, data_dir: Path) -> None:
    seed = int(os.environ.get("STORM", random.SystemRandom().randrange(2**32)))
    with World(tmp_path, data_dir, signers=3, epoch_s=120, training=WORTH) as world:
        world.start_signers()
        members = [world.add(name) for name in ("ada", "bob", "cid", "dot")]
        world.wait("all are counted", counted_together(members, 0))
        storm = Storm(world, random.Random(seed))
        for _ in range(STRIKES):
            storm.strike()
            time.sleep(storm.dice.uniform(0.0, 6.0))
        print(f"\nSTORM={seed}: {', '.join(storm.struck)}")
        last = max(max(member.checkpoints(), default=0) for member in members)
        world.wait("all are counted again", counted_together(members, last))
        world.wait("an epoch is final with credits", lambda: final_with_credits(world), 900)
        checkpoints = world.same_checkpoints(*members)
        made = [sha256 for number, sha256 in checkpoints.items() if number not in world.empty_rounds()]
        assert len(set(made)) == len(made), "every round that counted somebody made progress"
        assert not any(world.run.registry.is_banned(world.index(member)) for member in members)
        for member in members:
            assert member.end(300) == 0
        for words in (["verify"], ["lineage"]):
            code, told = asked(world, *words)
            assert (code, told["verdict"]) == (0, "verified"), told
