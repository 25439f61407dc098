"""A provider's commands where the run has ended, the provider has left, or another's process runs on this computer."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.chain.scenario import KEYS
from tests.cli.conftest import Crowd, User
from tests.trainer.world import free_port
from trainer.alone import lock_key
from trainer.status import Status

pytestmark = pytest.mark.chain


def findings(crowd: Crowd, number: int, *more: str) -> dict[str, dict[str, Any]]:
    """What `provider doctor` found, by what it looked at."""
    done = crowd.run(number, "provider", "doctor", "--listen", f"127.0.0.1:{free_port()}", *more, "--json")
    return {found["what"]: found for found in json.loads(done.out)["findings"]}


def separate(crowd: Crowd) -> Crowd:
    """The same with each command in a process of its own."""
    return replace(crowd, user=User(crowd.user.home, crowd.user.environment))


def test_nobody_registers_with_a_failed_run_nor_starts_there(crowd_with: Callable[..., Crowd]) -> None:
    crowd = crowd_with()
    crowd.ok(1, "provider", "register", "--peer", "127.0.0.1:7001", "--yes")
    assert findings(crowd, 1)["The run still trains"]["ok"]
    crowd.world.warp(crowd.world.run.params.deposit_deadline + 1)
    done = crowd.run(2, "provider", "register", "--peer", "127.0.0.1:7002", "--yes")
    assert done.code == 2
    assert "has failed" in done.err
    assert crowd.world.run.registry.provider_count() == 1
    wrong = findings(crowd, 1)["The run still trains"]
    assert not wrong["ok"]
    assert "has failed" in wrong["why"]
    started = separate(crowd).run(1, "provider", "start", "--listen", "127.0.0.1:0")
    assert started.code == 1
    assert "Nothing is trained in" in started.err


def test_nobody_registers_after_the_last_epoch_nor_starts_after_leaving(crowd_with: Callable[..., Crowd]) -> None:
    crowd = crowd_with()
    crowd.ok(1, "provider", "register", "--peer", "127.0.0.1:7001", "--yes")
    crowd.ok(0, "fund", "deposit", "6", "--yes")
    crowd.ok(1, "provider", "exit", "--yes")
    started = separate(crowd).run(1, "provider", "start", "--listen", "127.0.0.1:0")
    assert started.code == 1
    assert "Provider 0 has left the run" in started.err
    params = crowd.world.run.params
    crowd.world.warp(params.epoch_end(params.last_epoch) + 1)
    done = crowd.run(2, "provider", "register", "--peer", "127.0.0.1:7002", "--yes")
    assert done.code == 2
    assert "last epoch of training ended" in done.err


@pytest.mark.parametrize("peer", ["foo bar:7700", "\u00fcn\u00efcode:7700", ""])
def test_an_address_that_cannot_exist_is_not_put_on_chain(crowd_with: Callable[..., Crowd], peer: str) -> None:
    crowd = crowd_with()
    listening = {"COMMONWEIGHT_LISTEN": "127.0.0.1:7009"}
    words = ("--keystore", crowd.keystore(1), "--yes", "--peer", peer)
    assert crowd.user.run("provider", "register", *words, **listening).code == 2
    assert crowd.world.run.registry.provider_count() == 0
    crowd.ok(1, "provider", "register", "--peer", "127.0.0.1:7001", "--yes")
    assert crowd.user.run("provider", "change", *words, **listening).code == 2
    assert crowd.world.run.registry.provider_at(0).peer == "127.0.0.1:7001"


def test_the_status_of_one_provider_shows_nothing_of_anothers_process(crowd_with: Callable[..., Crowd]) -> None:
    crowd = crowd_with()
    for number in (1, 2):
        crowd.ok(number, "provider", "register", "--peer", f"127.0.0.1:700{number}", "--yes")
    run, place = crowd.world.run.address.lower(), crowd.user.home / "data"
    Status(place / "status.jsonl", run, 0).say("train", 7, step=3, steps=4, loss=2.5)
    own = crowd.ok(1, "provider", "status", "--data-dir", place)
    assert (own["process"]["round"], [each["round"] for each in own["rounds"]]) == (7, [7])
    other = crowd.ok(2, "provider", "status", "--data-dir", place)
    assert (other["process"], other["rounds"]) == (None, [])
    said = crowd.run(2, "provider", "status", "--data-dir", place)
    assert "is of provider 0" in " ".join((said.out + said.err).split())
    Status(place / "status.jsonl", run, 1).say("train", 8, step=1, steps=4)
    own = crowd.ok(1, "provider", "status", "--data-dir", place)
    assert (own["process"], [each["round"] for each in own["rounds"]]) == (None, [7])


def test_a_key_has_one_process_on_a_computer_whatever_its_data_directory(crowd_with: Callable[..., Crowd]) -> None:
    crowd = crowd_with()
    crowd.ok(1, "provider", "register", "--peer", "127.0.0.1:7001", "--yes")
    run = crowd.world.run
    start = ("provider", "start", "--listen", "127.0.0.1:0", "--data-dir", crowd.user.home / "second")
    assert "this provider's key" not in separate(crowd).run(1, *start).err, "only one began"
    held = lock_key(crowd.world.state_dir.parent / "keys", run, KEYS[1].address, crowd.user.home / "first")
    assert held is not None
    done = separate(crowd).run(1, *start)
    assert done.code == 1
    said = " ".join(done.err.split())
    assert f"process {os.getpid()}, in {crowd.user.home / 'first'}" in said
    assert "stop that one first" in said
    held.close()
    assert "this provider's key" not in separate(crowd).run(1, *start).err


def test_the_doctor_takes_what_start_is_given(crowd_with: Callable[..., Crowd]) -> None:
    crowd = crowd_with()
    crowd.ok(1, "provider", "register", "--peer", "127.0.0.1:7001", "--yes")
    more = ("--max-upload", "10Mbit", "--schedule", "22:00-07:00", "--threads", "2", "--log-level", "debug")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        wrong = findings(crowd, 1, *more, "--metrics", place, "--tensorboard", "curves")
        assert wrong["Curves for TensorBoard can be written"]
        assert not wrong[f"{place} is free to listen on"]["ok"]
        assert "--metrics" in wrong[f"{place} is free to listen on"]["fix"]
    assert findings(crowd, 1, "--metrics", place)[f"{place} is free to listen on"]["ok"]
    for option, value in (("--max-upload", "100kbit"), ("--schedule", "25:00-26:00"), ("--threads", "0")):
        done = crowd.run(1, "provider", "doctor", "--listen", "127.0.0.1:0", option, value)
        assert done.code == 2, done.err
        assert any(named in done.err for named in ("too little", "window of a schedule", "0 threads")), done.err


def test_doctor_and_start_have_the_same_options(user: User) -> None:
    def options(command: str) -> set[str]:
        return set(re.findall(r"--[a-z0-9-]+", user.run("provider", command, "--help").out))

    assert options("start") <= options("doctor")
