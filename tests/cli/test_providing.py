"""A provider's commands where the run has ended, the provider has left, or another's process runs on this computer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.cli.conftest import Crowd, User
from tests.trainer.world import free_port

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
