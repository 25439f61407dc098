"""Members as real processes, over real sockets, with the real signers and chain: what happens to them and to the others."""

from pathlib import Path

import pytest

from tests.trainer.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def test_four_members_come_to_the_same_checkpoints(tmp_path: Path, data_dir: Path) -> None:
    with World(tmp_path, data_dir) as world:
        world.start_signers()
        members = [world.add(name) for name in ("ada", "bob", "cid", "dot")]
        world.wait_round(3, *members)
        checkpoints = world.same_checkpoints(*members)
        assert len(set(checkpoints.values())) == len(checkpoints)
        assert all({1, 2, 3} <= set(member.counted()) for member in members)
        first, last = ([line["loss_micro"] for line in members[0].lines() if line["round"] == r and line["loss_micro"]]
                       for r in (1, 3))  # fmt: skip
        assert last[-1] < first[0]
