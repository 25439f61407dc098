"""The books against a node that lies: whatever field of an event is altered, or event left out, a check is refuted."""

from __future__ import annotations

import json
import sqlite3
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
from commonweight.chain.types import Block, BlockId, Log
from commonweight.errors import NodeFailed, RpcUnavailable
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


def pages(chain: Chain, monkeypatch: pytest.MonkeyPatch, size: int = 2000) -> list[tuple[int, int]]:
    """The pages of logs that an index asks for from now on, by first and last block."""
    asked, logs = list[tuple[int, int]](), chain.logs

    def noting(addresses: list[str], topics: tuple[()], first: int, last: int) -> Iterator[Log]:
        asked.append((first, last))
        return logs(addresses, topics, first, last)

    monkeypatch.setattr(chain, "logs", noting)
    monkeypatch.setattr("commonweight.audit.index.LOG_PAGE_BLOCKS", size)
    return asked


def test_a_reading_that_broke_off_goes_on_where_it_did(
    run: Staged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = run.run.chain
    head, asked = chain.block(), pages(chain, monkeypatch, 2)
    index = EventIndex(run.run, tmp_path / "index.sqlite")
    logs = chain.logs

    def failing(addresses: list[str], topics: tuple[()], first: int, last: int) -> Iterator[Log]:
        if len(asked) == 9:
            raise RpcUnavailable("The chain cannot be reached.", "", "")
        return logs(addresses, topics, first, last)

    with monkeypatch.context() as broken:
        broken.setattr(chain, "logs", failing)
        with pytest.raises(RpcUnavailable):
            index.advance(head)
    index.close()
    again = EventIndex(run.run, tmp_path / "index.sqlite")
    again.advance(head)
    assert asked[9][0] == asked[8][1] + 1, "not from the first block"
    assert len(asked) == len(set(asked)), "no page twice"
    assert list(again.events()) == list(run.run.events(to_block=head.number))


def test_an_index_is_kept_when_a_node_does_not_answer_or_is_behind(
    run: Staged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = run.run.chain
    head, whole = chain.block(), list(run.run.events())
    before = chain.block(whole[-1].block - 1)
    EventIndex(run.run, tmp_path / "index.sqlite").advance(head)
    asked, block = pages(chain, monkeypatch), chain.block

    def behind(wanted: BlockId | bytes) -> Block:
        if wanted == head.number:
            raise NodeFailed(f"The node has no block {wanted}.", "It is behind.", "Wait, or use another RPC address.")
        return block(wanted)

    def unreachable(wanted: BlockId | bytes) -> Block:
        raise RpcUnavailable("The chain cannot be reached.", "", "")

    for answers, error, says in ((unreachable, RpcUnavailable, "reached"), (behind, NodeFailed, "delete .*sqlite")):
        with monkeypatch.context() as broken:
            broken.setattr(chain, "block", answers)
            with pytest.raises(error, match=says):
                EventIndex(run.run, tmp_path / "index.sqlite").advance(before)
    earlier = EventIndex(run.run, tmp_path / "index.sqlite")
    earlier.advance(before)
    assert list(earlier.events()) == [event for event in whole if event.block <= before.number]
    later = EventIndex(run.run, tmp_path / "index.sqlite")
    later.advance(head)
    assert list(later.events()) == whole
    assert asked == []


def test_an_index_of_a_chain_that_began_anew_is_made_anew(
    run: Staged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a development chain does, to which the run was deployed again: it is shorter than the old one."""
    chain = run.run.chain
    head, first = chain.block(), run.run.first_block
    EventIndex(run.run, tmp_path / "index.sqlite").advance(head)
    with sqlite3.connect(tmp_path / "index.sqlite") as db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'head'", (str(head.number + 100),))
        db.execute("UPDATE logs SET block_hash = ?", (bytes(32),))
    db.close()
    asked = pages(chain, monkeypatch)
    index = EventIndex(run.run, tmp_path / "index.sqlite")
    index.advance(head)
    assert asked[0] == (first, head.number)
    assert list(index.events()) == list(run.run.events(to_block=head.number))
