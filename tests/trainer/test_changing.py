"""A provider that takes another key between rounds, as real processes: the old one ends by itself, nobody is harmed."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from commonweight.chain.keys import Key
from tests.trainer.world import World, command

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]


def change(world: World, name: str, *words: str) -> dict[str, Any]:
    account = ["--keystore", str(world.folder / f"{name}.json"), "--password-file", str(world.password_file)]
    where = ["--run", world.run.addresses.campaign, "--rpc", world.local.url]
    done = subprocess.run(
        [*command(), "provider", "change", *words, *where, *account, "--yes", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_member_goes_on_under_another_key_and_the_old_one_is_told_so(tmp_path: Path, data_dir: Path) -> None:
    with World(tmp_path, data_dir, training={"min_members": 2}) as world:
        world.start_signers()
        ada, bob, cid = (world.add(name) for name in ("ada", "bob", "cid"))
        world.wait("all are counted", lambda: ada.counted() and bob.counted() and cid.counted())

        fresh = Key.new()
        told = change(world, "ada", "--signing-key", fresh.address)
        assert (told["account"], told["signing_key"]) == (ada.key.address, fresh.address)
        world.wait("the old key's process ends", lambda: not ada.alive)
        assert "instead. What to do: start with the keystore" in " ".join(ada.log_text().split())
        assert ada.lines()[-1]["refused"] == "replaced"
        before = ada.counted()

        keystore = world._keystore("ada-2", fresh)
        ada.argv[ada.argv.index("--keystore") + 1] = str(keystore)
        ada.start()
        later = world.wait("ada is counted under the new key", lambda: [r for r in ada.counted() if r > before[-1]])
        world.wait_round(later[0], bob, cid)
        world.same_checkpoints(ada, bob, cid)
        between = [[r for r in one.counted() if r <= later[0]] for one in (bob, cid)]
        assert between[0] == between[1]
        assert len(between[0]) > len(before), "the others went on meanwhile"
        assert not any(world.run.registry.is_banned(world.index(one)) for one in (ada, bob, cid))
