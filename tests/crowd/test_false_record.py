"""A coordinator that signs results which do not follow from the payloads: members find it, prove it and step back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from commonweight.exact.offences import Context, check
from commonweight.protocol.documents import Signed
from commonweight.protocol.keys import address_of
from commonweight.protocol.offences import Offence
from commonweight.store import parse_cid
from tests.crowd.clock import VirtualLoop, simulate
from tests.crowd.crowd import Crowd
from tests.oracle.office import DOMAIN, RUN, member_key
from trainer.recheck import ONE_IN, drawn_part

pytestmark = pytest.mark.unit


def corrupt(crowd: Crowd, round_: int) -> None:
    """Part 0 of a round's record is that of its first member alone, and the checkpoint follows from it."""
    closing: Any = crowd.lead.coordinator._closing
    honest = closing._reduce

    def lie(plan, part, payloads, tokens, members):
        if (plan.round, part) == (round_, 0):
            members = members[:1]
            payloads = {c.body.index: payloads[c.body.index] for c in members}
        return honest(plan, part, payloads, tokens, members)

    closing._reduce = lie


def test_one_honest_reducer_is_enough_to_stop_everybody_from_following_a_false_record(disk: Path) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 4, signers=3)
        corrupt(crowd, 2)
        crowd.start()
        await crowd.recorded(2)
        false = crowd.record_doc(2)
        assert false is not None
        honest = crowd.record(1)
        assert honest is not None
        await crowd.until(
            "all refuse it", lambda: all(one.journal().refused(false.digest) for one in crowd.members)
        )  # fmt: skip
        await asyncio.sleep(30)  # simulated: a plan for round 3 is there by now, and nobody works by it
        assert crowd.record(3) is None or not crowd.record(3).counted  # type: ignore[union-attr]
        for one in crowd.members:
            position = one.journal().position
            assert position is None or position.round == 1, "work that only the false record counts leaves nothing"
            assert false.body.checkpoint not in {path.name for path in one.folder("checkpoints").iterdir()}
        context = Context(
            DOMAIN, RUN, crowd.config, crowd.config.model.parameters(), lambda i: {address_of(member_key(i))},
            crowd.ledger.in_office,
        )  # fmt: skip
        for signer in crowd.signers[1:]:
            kept = [Signed.from_bytes(row.signed) for row in signer.desk.seat.db.documents("offence")]
            offences = [Offence.from_body(signed.body) for signed in kept]
            proven = [offence for offence in offences if offence.rule == "wrong-record"]
            assert [offence.signer for offence in proven][:1] == [crowd.lead.address]
            store = signer.desk.seat.store
            blobs = {blob.name: store.get(parse_cid(blob.cid), sha256=blob.sha256) for blob in proven[0].blobs}
            check(proven[0], blobs, context)
        assert not crowd.ledger.bans, "no member is banned for it"
        crowd.close()

    simulate(work)


def test_a_drawn_part_is_known_to_its_drawer_alone() -> None:
    records = ["0x" + f"{n:064x}" for n in range(4000)]
    mine, theirs = ([drawn_part(key, record, 16) for record in records] for key in (bytes(31) + b"\x01", bytes(32)))
    assert mine == [drawn_part(bytes(31) + b"\x01", record, 16) for record in records]
    drawn = [part for part in mine if part is not None]
    assert abs(len(drawn) - 4000 / ONE_IN) < 100
    assert set(drawn) == set(range(16)), "every part can be drawn"
    both = sum(a is not None and a == b for a, b in zip(mine, theirs, strict=True))
    assert both < 20, "two members' draws have nothing to do with each other"
