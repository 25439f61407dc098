"""`dev up` gives a chain to work on, which stays until `dev down` and keeps its state until `dev reset`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from commonweight.chain.local import pid_runs
from tests.cli.conftest import Done, InProcess, User

pytestmark = pytest.mark.chain


class QuickUser(InProcess):
    """All in this process but for `dev up`: what it starts outlives it."""

    def run(self, *arguments: object, **environment: str) -> Done:
        return (User if "up" in arguments else InProcess).run(self, *arguments, **environment)


@pytest.fixture(params=["anvil", "ganache"])
def dev(request: pytest.FixtureRequest, user: User) -> Iterator[tuple[User, str]]:
    """A user and a kind of chain; on one kind each command is a process of its own."""
    found = user if request.param == "anvil" else QuickUser(user.home, {})
    yield found, request.param
    assert found.run("dev", "down").code == 0


def test_a_chain_with_accounts_and_factory_that_stays_and_resumes(dev: tuple[User, str]) -> None:
    user, kind = dev
    up = user.ok("dev", "up", "--bare", "--chain", kind)
    assert pid_runs(up["pid"])
    again = user.run("dev", "up", "--bare", "--chain", kind)
    assert again.code == 2
    assert "runs already" in again.err
    assert "`commonweight dev down`" in again.err
    assert user.ok("dev", "status")["rpc"] == up["rpc"]
    settings = {"COMMONWEIGHT_CONFIG": up["config"]}
    assert user.ok("run", "list", **settings) == {"factory": up["factory"], "runs": []}
    assert user.ok("key", "show", f"{up['keystores']}/funder1.json")["address"] == up["accounts"]["funder1"]

    assert user.ok("dev", "down") == {"stopped": True, "processes": ["chain"]}
    assert not pid_runs(up["pid"])
    assert user.ok("dev", "down") == {"stopped": False, "processes": []}
    assert user.run("dev", "status").code == 1

    resumed = user.ok("dev", "up", "--bare", "--chain", kind)
    assert (resumed["factory"], resumed["rpc"]) == (up["factory"], up["rpc"]), "a wallet has the address"
    assert user.run("dev", "reset").code == 2
    user.ok("dev", "down")
    with socket.create_server(("127.0.0.1", int(up["rpc"].rsplit(":", 1)[1]))):
        assert user.ok("dev", "up", "--bare", "--chain", kind)["rpc"] != up["rpc"], "another program has the port"
        user.ok("dev", "down")
    unasked = user.run("dev", "reset")
    assert (unasked.code, "Repeat it with --yes" in unasked.err) == (2, True)
    assert list((user.home / ".local/share/commonweight/dev").glob("*-state*"))
    assert "must forget" in user.ok("dev", "reset", "--yes")["wallets"]
    assert not list((user.home / ".local/share/commonweight/dev").glob("*-state*"))


@pytest.mark.parametrize("ours", [False, True])
def test_only_a_folder_that_up_made_is_reset(quick_user: InProcess, ours: bool) -> None:
    work = quick_user.home / "work"
    (work / "data").mkdir(parents=True)
    (work / "dev.json").write_text('{"port": 80}')
    (work / "config.toml").write_text("# Written by `commonweight dev up`.\n" if ours else "# mine\n")
    done = quick_user.run("dev", "reset", "--dir", "work", "--yes")
    assert (done.code, (work / "data").exists()) == ((0, False) if ours else (2, True))
    assert ours or sorted(path.name for path in work.iterdir()) == ["config.toml", "data", "dev.json"]


@pytest.mark.parametrize("command", ["up --bare", "reset --yes"])
def test_the_cure_for_a_running_chain_names_its_folder(
    quick_user: InProcess, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("commonweight.cli.dev._answers", lambda _: True)
    (quick_user.home / "my chain").mkdir()
    (quick_user.home / "my chain" / "config.toml").write_text("# Written by `commonweight dev up`.\n")
    done = quick_user.run("dev", *command.split(), "--dir", "my chain")
    assert (done.code, "`commonweight dev down --dir 'my chain'`" in done.err) == (2, True)


def test_another_programs_process_id_is_left_alone(quick_user: InProcess) -> None:
    place = quick_user.home / ".local/share/commonweight/dev"
    place.mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        processes = {"chain": {"pid": stranger.pid, "began": "1"}}  # the number was ours once
        (place / "dev.json").write_text(json.dumps({"rpc": "http://127.0.0.1:1", "processes": processes}))
        assert quick_user.ok("dev", "down")["processes"] == []
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_whole_run_two_at_once_and_what_kills_leave_behind(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    user, ups = User(home, {}), {}
    try:
        for name in ("a", "b"):
            started = time.monotonic()
            ups[name] = user.ok("dev", "up", "--dir", name)
            print(f"dev up took {time.monotonic() - started:.1f} s")
        assert len({up[key] for up in ups.values() for key in ("rpc", "page", "pid", "config")}) == 8
        for name, up in ups.items():
            status = user.ok("dev", "status", "--dir", name)
            assert status["processes"] == {"chain": True, "oracle-signer1": True, "page": True}
            shown = user.ok("run", "show", COMMONWEIGHT_CONFIG=up["config"])
            assert (shown["run"], shown["state"]) == (up["run"], "funding")
            with urllib.request.urlopen(up["page"] + "config.json") as page:
                assert json.load(page)["run"] == up["run"]

        # The chain is killed: what it leaves is seen, and the next `up` ends it and goes on with the same run.
        processes = json.loads((home / "a" / "dev.json").read_text())["processes"]
        os.kill(processes["chain"]["pid"], signal.SIGTERM)  # it writes its state
        while pid_runs(processes["chain"]["pid"]):
            time.sleep(0.05)
        gone = user.run("dev", "status", "--dir", "a", "--json")
        assert (gone.code, sorted(gone.json["left_over"])) == (1, ["oracle-signer1", "page"])
        again = user.ok("dev", "up", "--dir", "a")
        assert again["run"] == ups["a"]["run"]
        assert not any(pid_runs(entry["pid"]) for entry in processes.values())

        # `up` itself is killed in the middle: `down` finds what it had started.
        user.ok("dev", "down", "--dir", "a")
        starting = subprocess.Popen(
            user.command("dev", "up", "--dir", "a"), env=user.environment, cwd=home, stderr=subprocess.DEVNULL
        )
        while not (home / "a" / "dev.json").exists():
            time.sleep(0.01)
        starting.kill()
        starting.wait()
        assert "chain" in user.ok("dev", "down", "--dir", "a")["processes"]
        assert not (home / "a" / "dev.json").exists()
    finally:
        for name in ("a", "b"):
            assert user.run("dev", "down", "--dir", name).code == 0
    everything = [p for up in ups.values() for p in [up["pid"]]]
    assert not any(pid_runs(pid) for pid in everything)


def test_a_stale_record_is_not_taken_for_a_running_chain(user: User) -> None:
    quick = QuickUser(user.home, {})
    up = quick.ok("dev", "up", "--bare")
    record = user.home / ".local/share/commonweight/dev/dev.json"
    kept = record.read_text()
    quick.ok("dev", "down")
    record.write_text(kept)
    assert quick.run("dev", "status").code == 1
    assert up["rpc"]
    again = user.run("dev", "up", "--bare")  # it looks as after a kill, which may cost the chain's end
    assert (again.code, "was not ended by `dev down`" in again.err) == (0, True)
    quick.ok("dev", "down")
    assert "was not ended" not in quick.run("dev", "up", "--bare").err
    quick.ok("dev", "down")
