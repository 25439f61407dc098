"""What a member remembers of the chain, on real chains: changes are noticed, and nothing else is asked again."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commonweight.chain.client import Chain
from commonweight.chain.keys import Key
from commonweight.chain.run import Run
from commonweight.protocol.structs import Ban
from tests.chain.scenario import KEYS, SIGNERS, World, first_world
from trainer import registry
from trainer.onchain import OnChain
from trainer.registry import Providers

pytestmark = pytest.mark.chain
CONFIRMATIONS = 4


@pytest.fixture
def world(chain_url: str, tmp_path: Path) -> World:
    """A run with three providers, on Anvil and on Ganache."""
    made = first_world(chain_url, tmp_path / "nonces")
    made.register(1, 2, 3)
    made.fund()
    return made


class Asked:
    """A member's view of a run, and how often it has asked for each entry since it was asked last."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run = Run.at(Chain([world.url], confirmations=CONFIRMATIONS), world.run.address)
        self.chain, self._counted = OnChain(self.run), Counter[int]()
        entry_at = self.run.registry.provider_at

        def provider_at(index: int) -> Any:
            self._counted[index] += 1
            return entry_at(index)

        monkeypatch.setattr(self.run.registry, "provider_at", provider_at)

    def asked(self) -> dict[int, int]:
        """The counts since the last call."""
        counted, self._counted = dict(self._counted), Counter()
        return counted


def final(world: World) -> None:
    """Make all that has happened final."""
    for _ in range(CONFIRMATIONS + 1):
        world.run.chain.rpc("evm_mine")


def rotate(world: World) -> None:
    world.by(2).registry.rotate_key(Key.from_hex("0x" + "77" * 32).address)


def move(world: World) -> None:
    world.by(2).registry.set_peer("127.0.0.1:9999")


def leave(world: World) -> None:
    world.by(2).registry.exit()


def ban(world: World) -> None:
    ban = Ban(world.run.oracle.config_digest(), 1, b"\x0b" * 32, world.run.chain.timestamp() + 10_000)
    world.run.oracle.ban_provider(ban, world.signatures(ban, SIGNERS[:2]))  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [rotate, move, leave, ban])
def test_an_entry_is_asked_for_again_when_it_has_changed(
    world: World, monkeypatch: pytest.MonkeyPatch, change: Callable[[World], None]
) -> None:
    member = Asked(world, monkeypatch)
    final(world)
    first = member.chain.providers(range(4))
    assert list(first) == [0, 1, 2]
    assert member.asked() == {0: 1, 1: 1, 2: 1, 3: 1}
    monkeypatch.setattr(registry, "FRESH_S", -1.0)
    assert member.chain.providers(range(3)) == first
    assert member.asked() == {}
    change(world)
    changed = member.chain.provider(1)
    assert changed != first[1]
    assert changed == OnChain(world.run).provider(1)
    assert member.chain.providers(range(3)) == {**first, 1: changed}
    assert member.asked() == {1: 2}, "the change is not final"
    final(world)
    for _ in range(3):
        assert member.chain.providers(range(3)) == {**first, 1: changed}
    assert member.asked() == {1: 1}


def test_a_change_that_is_taken_back_is_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    member = Asked(world, monkeypatch)
    final(world)
    first = member.chain.provider(1)
    monkeypatch.setattr(registry, "FRESH_S", -1.0)
    snapshot = world.run.chain.rpc("evm_snapshot")
    rotate(world)
    assert member.chain.provider(1) != first
    world.run.chain.rpc("evm_revert", snapshot)
    assert member.chain.provider(1) == first
    final(world)
    assert [member.chain.provider(1) for _ in range(3)] == [first] * 3


def test_within_ten_seconds_nothing_is_asked_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    member = Asked(world, monkeypatch)
    first = member.chain.providers(range(3))
    monkeypatch.setattr(member.run.chain, "rpc", lambda *_: pytest.fail("the chain was asked"))
    assert member.chain.providers(range(3)) == first
    assert member.asked() == {0: 1, 1: 1, 2: 1}


@pytest.mark.unit
def test_sixteen_entries_are_asked_for_at_once() -> None:
    together, guard, running, most = threading.Barrier(16), threading.Lock(), [0], [0]

    def provider_at(index: int) -> Any:
        with guard:
            running[0] += 1
            most[0] = max(most[0], running[0])
        together.wait(30)
        with guard:
            running[0] -= 1
        return SimpleNamespace(signing_key=KEYS[0].address, peer="", banned_until=0, exit_at=0)

    chain = SimpleNamespace(block_number=lambda: 7, finalized_block=lambda: SimpleNamespace(number=7))
    providers = Providers(SimpleNamespace(chain=chain, registry=SimpleNamespace(provider_at=provider_at)))  # type: ignore[arg-type]
    assert sorted(providers.at(range(64))) == list(range(64))
    assert most == [16]


def test_the_events_of_a_run_are_read_once_for_all_records(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    member, oracle = Asked(world, monkeypatch), world.by(5).oracle
    world.warp(world.run.params.epoch_start + 10)

    def name(round_: int, digest: bytes) -> None:
        oracle.anchor_round(round_, world.run.chain.timestamp() - 1, bytes(32), round_, digest)

    name(1, b"\x0f" * 32)
    name(1, b"\x01" * 32)
    final(world)
    name(2, b"\x0f" * 32)
    name(2, b"\x02" * 32)
    starts: list[int] = []
    logs = member.run.chain.logs

    def asked(addresses: list[str], topics: Any, first: int, last: int) -> Any:
        starts.append(first)
        return logs(addresses, topics, first, last)

    monkeypatch.setattr(member.run.chain, "logs", asked)
    assert member.chain.record_anchored(1, b"\x01" * 32)
    assert member.chain.record_anchored(1, b"\x01" * 32)
    assert starts == [member.run.first_block], "what is final is known by now"
    assert member.chain.record_anchored(2, b"\x02" * 32)
    assert not member.chain.record_anchored(2, b"\x03" * 32)
    assert not member.chain.record_anchored(2, b"\x01" * 32)
    assert min(starts[1:]) > world.run.chain.block_number() - CONFIRMATIONS - 2
