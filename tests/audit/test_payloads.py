"""Published payloads part by part: what is read is what was published, and no more of it than was asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from commonweight.audit.payloads import PublishedPayload, published_payload
from commonweight.errors import ContentUnavailable, PayloadError
from commonweight.exact.codecs import decode, encode
from commonweight.exact.copies import coordinates, sampled, samples
from commonweight.exact.layout import Layout, TensorSpec
from commonweight.exact.round import recompute_round
from commonweight.protocol.parts import part_ranges
from commonweight.protocol.records import Plan
from commonweight.store import Cid, FolderStore
from tests.golden import golden_round as g

pytestmark = pytest.mark.unit

NUMEL, BLOCK, PARTS = 5_000_123, 512, 7
LAYOUT = Layout((TensorSpec("w", (NUMEL,), 0, NUMEL),))


class Counting(FolderStore):
    """A folder that counts how often each block is read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.loaded = Counter[str]()

    def load_block(self, cid: Cid) -> bytes:
        self.loaded[cid] += 1
        return super().load_block(cid)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return replace(g.build().plan_body, codec="int8", block=BLOCK, parts=PARTS)


@pytest.fixture(scope="module")
def parts(plan: Plan) -> tuple[bytes, ...]:
    x = np.random.default_rng(5).normal(size=NUMEL).astype(np.float32)
    spans = part_ranges(NUMEL, BLOCK, PARTS)
    return tuple(encode(x[span.start : span.stop], plan.codec, BLOCK) for span in spans)


def test_parts_are_those_that_were_published_in_whatever_order(
    plan: Plan, parts: tuple[bytes, ...], tmp_path: Path
) -> None:
    store = Counting(tmp_path)
    cid = store.put(b"".join(parts))
    payload = PublishedPayload(store, LAYOUT, plan, 3, cid)
    assert len(payload) == PARTS
    assert tuple(payload) == tuple(payload) == parts == published_payload(store, LAYOUT, plan, 3, cid)
    for place in (0, 1, 4, 4, 2, -1, 0):
        assert payload[place] == parts[place]
    assert list(payload[2:4]) == list(parts[2:4])
    with pytest.raises(IndexError):
        payload[PARTS]


def test_no_more_is_read_than_was_asked_for(plan: Plan, parts: tuple[bytes, ...], tmp_path: Path) -> None:
    store = Counting(tmp_path)
    cid = store.put(b"".join(parts))
    payload = PublishedPayload(store, LAYOUT, plan, 3, cid)
    leaves = len({block.cid for block in store.blocks(cid)} - {cid})
    store.loaded.clear()
    for place in range(PARTS):
        payload[place]
        taken = sum(map(len, parts[: place + 1]))
        assert len(set(store.loaded) - {cid}) <= taken // (1 << 20) + 1 <= leaves
    store.loaded.pop(cid)
    assert set(store.loaded.values()) == {1}, "in order, each block is read once"


def test_what_is_missing_or_too_long_or_short_is_said_before_a_part_is_used(
    plan: Plan, parts: tuple[bytes, ...], tmp_path: Path
) -> None:
    store = FolderStore(tmp_path)
    for data in (b"".join(parts)[:-1], b"".join(parts) + b"\0", b""):
        with pytest.raises(PayloadError, match=f"a wrong length.*{len(data)} bytes"):
            PublishedPayload(store, LAYOUT, plan, 3, store.put(data)).check()
    cid = store.put(b"".join(parts))
    whole = PublishedPayload(store, LAYOUT, plan, 3, cid)
    whole.check()
    *_, last = (block.cid for block in store.blocks(cid) if block.cid != cid)
    (tmp_path / "blocks" / last[-2:] / last).unlink()
    for read in (whole.check, lambda: tuple(whole), lambda: published_payload(store, LAYOUT, plan, 3, cid)):
        with pytest.raises(ContentUnavailable, match=f"payload of provider 3 .{cid}"):
            read()


@pytest.mark.parametrize("codec", ["fp32", "int8", "topk2"])
def test_a_round_recomputes_from_payloads_that_are_read_side_by_side(codec: str, tmp_path: Path) -> None:
    made, store = g.build(codec), FolderStore(tmp_path)
    payloads = {
        index: PublishedPayload(store, made.layout, made.plan_body, index, store.put(b"".join(payload.parts)))
        for index, payload in made.payloads.items()
    }
    outcome = recompute_round(made.config, made.plan_body, made.record_body, made.parent, payloads)
    assert outcome.checkpoint.equals(made.checkpoint)


def test_samples_are_those_of_the_whole_payload(plan: Plan, parts: tuple[bytes, ...]) -> None:
    spans = part_ranges(NUMEL, BLOCK, PARTS)
    decoded = [decode(data, span.size, plan.codec, BLOCK) for data, span in zip(parts, spans, strict=True)]
    places = [coordinates("0x" + digit * 64, NUMEL) for digit in "123"]
    for at, found in zip(places, samples(parts, plan, NUMEL, places), strict=True):
        assert np.array_equal(found, np.concatenate(decoded)[at])
        assert np.array_equal(found, sampled(parts, plan, NUMEL, at))
    with pytest.raises(PayloadError):
        sampled([*parts[:-1], parts[-1][:-1]], plan, NUMEL, places[0])
