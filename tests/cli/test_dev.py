"""`dev up` gives a chain to work on, which stays until `dev down` and keeps its state until `dev reset`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from commonweight.chain.local import pid_runs
from tests.cli.conftest import User

pytestmark = pytest.mark.chain


@pytest.fixture(params=["anvil", "ganache"])
def dev(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[User, str]]:
    home = tmp_path / "home"
    home.mkdir()
    user = User(home, {})
    yield user, request.param
    assert user.run("dev", "down").code == 0


def test_a_chain_with_accounts_and_factory_that_stays_and_resumes(dev: tuple[User, str]) -> None:
    user, kind = dev
    up = user.ok("dev", "up", "--chain", kind)
    assert pid_runs(up["pid"])
    again = user.run("dev", "up", "--chain", kind)
    assert again.code == 2
    assert "runs already" in again.err
    assert user.ok("dev", "status")["rpc"] == up["rpc"]
    settings = {"COMMONWEIGHT_CONFIG": up["config"]}
    assert user.ok("run", "list", **settings) == {"factory": up["factory"], "runs": []}
    assert user.ok("key", "show", f"{up['keystores']}/funder1.json")["address"] == up["accounts"]["funder1"]

    assert user.ok("dev", "down") == {"stopped": True}
    assert not pid_runs(up["pid"])
    assert user.ok("dev", "down") == {"stopped": False}
    assert user.run("dev", "status").code == 1

    resumed = user.ok("dev", "up", "--chain", kind)
    assert resumed["factory"] == up["factory"]
    assert user.run("dev", "reset").code == 2
    user.ok("dev", "down")
    user.ok("dev", "reset")
    assert not list((user.home / ".local/share/commonweight/dev").glob("*-state*"))


def test_a_stale_record_is_not_taken_for_a_running_chain(dev: tuple[User, str]) -> None:
    user, kind = dev
    up = user.ok("dev", "up", "--chain", kind)
    record = user.home / ".local/share/commonweight/dev/dev.json"
    kept = record.read_text()
    user.ok("dev", "down")
    record.write_text(kept)
    assert user.run("dev", "status").code == 1
    assert up["rpc"]
