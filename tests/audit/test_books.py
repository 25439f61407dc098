"""The books against a node that lies: whatever field of an event is altered, or event left out, a check is refuted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from commonweight.audit.findings import REFUTED, Findings
from commonweight.audit.index import EventIndex, fields_of
from commonweight.audit.replay import Replay
from commonweight.audit.verify import Opened
from commonweight.chain.client import Chain
from commonweight.chain.events import ChainEvent
from commonweight.chain.types import Log
from commonweight.errors import RpcUnavailable
from tests.audit.staging import Staged

pytestmark = [pytest.mark.chain, pytest.mark.timeout(600)]

PLACE = {field.name for field in fields(ChainEvent)}
# What the books do not depend on, and why nothing is lost by it.
FREE = {
    ("Initialized", "version"): "a clone's code fixes it",
    ("ProviderRegistered", "peer"): "an address to talk to, not money or credit",
    ("RoundAnchored", "anchorer"): "any signer or transmitter may anchor; the contract admits nobody else",
    ("RoundAnchored", "commitments_root"): "compared with the evidence, not with other events",
    ("RoundAnchored", "round"): "compared with the evidence, not with other events",
    ("RoundAnchored", "deadline"): "only its epoch is compared here; the evidence compares the rest",
    ("BondSlashed", "prover"): "what was booked for the prover is compared instead",
    ("WithdrawalRequested", "at"): "moves no money",
    ("WithdrawalRequested", "amount"): "moves no money",
    ("WithdrawalRequested", "channel_id"): "moves no money",
}


def play(opened: Opened, events: list[ChainEvent]) -> bool:
    """Whether the books refute these events."""
    findings = Findings()
    replay = Replay(opened.run, findings, opened.time)
    replay.play(events)
    replay.compare(opened.block.number)
    return any(check.verdict == REFUTED for check in findings.checks())


def other(value: object) -> object:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, bytes):
        return value[:-1] + bytes([value[-1] ^ 1]) if value else b"\x01"
    if isinstance(value, str):
        return "0x" + "5" * 40 if value.startswith("0x") else value + "x"
    if isinstance(value, tuple):
        return (*value[:-1], other(value[-1])) if value else (value,)
    if is_dataclass(value) and not isinstance(value, type):
        name = fields(value)[1].name
        return replace(value, **{name: other(getattr(value, name))})
    raise AssertionError(f"no other value for {value!r}")


def alterations(events: list[ChainEvent]) -> Iterator[tuple[str, str, list[ChainEvent]]]:
    """For each kind of event, its last one with each field altered in turn, and without it."""
    last = {type(event).__name__: place for place, event in enumerate(events)}
    for name, place in last.items():
        yield name, "", events[:place] + events[place + 1 :]
        for field in fields(events[place]):
            if field.name not in PLACE:
                changed = replace(events[place], **{field.name: other(getattr(events[place], field.name))})
                yield name, field.name, [*events[:place], changed, *events[place + 1 :]]


def answered_once(monkeypatch: pytest.MonkeyPatch, chain: Chain) -> None:
    """Ask the node each question only once: answers about a block cannot change, and the books are kept 200 times."""
    ask, known = chain._endpoints.request, {}

    def request(method: str, params: Sequence[object], **asked: Any) -> object:
        question = json.dumps([method, params])
        if question not in known:
            known[question] = ask(method, params, **asked)
        return known[question]

    monkeypatch.setattr(chain._endpoints, "request", request)


def test_every_field_of_every_event_counts(run: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = run.run.chain
    answered_once(monkeypatch, chain)
    index = EventIndex(run.run)
    index.advance(chain.block())
    opened = Opened(run.run, chain.block(), index)
    events = list(index.events())
    assert not play(opened, events)
    assert len({type(event) for event in events}) >= 22
    unnoticed = [(n, f) for n, f, altered in alterations(events) if (n, f) not in FREE and not play(opened, altered)]
    free = {("Initialized", ""), ("RoundAnchored", "")}  # an anchor left out is missed by the evidence
    assert set(unnoticed) - free == set()


def test_the_index_keeps_events_with_their_place(run: Staged) -> None:
    chain = run.run.chain
    index = EventIndex(run.run)
    index.advance(chain.block())
    kept, read = list(index.events()), list(run.run.events(to_block=chain.block_number()))
    assert kept == read
    assert [event.block for event in kept] == sorted(event.block for event in kept)
    texts = fields_of(kept[-1])
    assert all(isinstance(value, str | list | dict | bool) for value in texts.values())


def test_a_reading_that_broke_off_is_repeated(run: Staged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = run.run.chain
    head, logs = chain.block(), chain.logs
    monkeypatch.setattr("commonweight.audit.index.LOG_PAGE_BLOCKS", 2)
    index = EventIndex(run.run, tmp_path / "index.sqlite")
    index.advance(chain.block(run.run.first_block))
    begun = len(list(index.events()))

    def failing(addresses: list[str], topics: tuple[()], first: int, last: int) -> Iterator[Log]:
        if last == head.number:
            raise RpcUnavailable("The chain cannot be reached.", "", "")
        return logs(addresses, topics, first, last)

    with monkeypatch.context() as broken:
        broken.setattr(chain, "logs", failing)
        with pytest.raises(RpcUnavailable):
            index.advance(head)
    assert len(list(index.events())) > begun
    index.close()
    again = EventIndex(run.run, tmp_path / "index.sqlite")
    again.advance(head)
    assert list(again.events()) == list(run.run.events(to_block=head.number))
