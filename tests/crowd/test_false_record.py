"""A coordinator that signs results which do not follow from the payloads: members find it, prove it and step back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from commonweight.exact.offences import Context, check
from commonweight.protocol.canonical import sha256_hex
from commonweight.protocol.documents import Signed
from commonweight.protocol.keys import address_of
from commonweight.protocol.offences import Offence
from commonweight.store import parse_cid
from commonweight.store.cid import cid_of
from oracle.uploads import Uploads
from tests.crowd.clock import VirtualLoop, simulate
from tests.crowd.crowd import Crowd
from tests.crowd.test_takeover import counted_by_all, take_over
from tests.oracle.office import DOMAIN, RUN, member_key
from trainer.recheck import ONE_IN, Recheck, drawn_part

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
            assert [offence.signer for offence in proven] == [crowd.lead.address], "told by many, kept once"
            store = signer.desk.seat.store
            blobs = {blob.name: store.get(parse_cid(blob.cid), sha256=blob.sha256) for blob in proven[0].blobs}
            check(proven[0], blobs, context)
        assert not crowd.ledger.bans, "no member is banned for it"
        crowd.close()

    simulate(work)


async def look_at_nothing(_: Recheck) -> None:
    return None


@pytest.mark.parametrize("found", ["by members too", "by signers alone"])
def test_another_coordinator_goes_on_from_the_last_right_record(
    disk: Path, monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 4, signers=3)
        corrupt(crowd, 2)
        if found == "by signers alone":
            monkeypatch.setattr(Recheck, "run", look_at_nothing)
        crowd.start()
        await crowd.recorded(2)
        false, honest = crowd.record_doc(2), crowd.record(1)
        assert false is not None
        assert honest is not None
        await crowd.until(
            "the others know it", lambda: all(one.recount.result(2) == "wrong" for one in crowd.signers[1:])
        )  # fmt: skip
        lead, last = await take_over(crowd), max(2, *(r for one in crowd.members for r in one.lines.counted))
        await crowd.until("all are counted again", lambda: counted_by_all(crowd, last), 600)
        rounds = lead.desk.rounds
        number = next(n for n in range(3, 20) if (plan := rounds.plan(n)) is not None and plan.signer == lead.address)
        first = rounds.plan(number)
        assert first is not None
        assert first.body.base == honest.checkpoint
        await crowd.until("others find it right", lambda: crowd.signers[2].recount.result(number + 1) == "ok", 300)
        for other in crowd.signers[1:]:
            assert other.recount.result(number) == "ok"
            assert other.recount.findings(number) == {}
        crowd.close()

    simulate(work)


@pytest.mark.parametrize("named", ["nothing", "a folder"])
def test_another_coordinator_gives_up_a_round_whose_payload_nobody_shows(
    disk: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """The coordinator and a member keep one to themselves: the round could never be recomputed by anybody else."""

    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 4, signers=3)
        hidden = crowd.members[0].index
        payloads: Any = crowd.lead.desk.payloads
        publish, pull = payloads.publish, Uploads.pull

        def keep(parts: tuple[bytes, ...]) -> str:
            known = payloads.read(tuple(map(sha256_hex, parts)))
            of = crowd.lead.desk.seat.db.payload(2, hidden)
            mine = known is not None and {bytes.fromhex(sha256_hex(part)[2:]) for part in parts} == set(of.values())
            if not mine:
                return str(publish(parts))
            store = crowd.lead.desk.seat.store
            return str(cid_of(b"!") if named == "nothing" else store.put_directory({"payload": b"".join(parts)}))

        async def nothing(uploads: Uploads, commitment: Any) -> None:
            if commitment.index != hidden:
                await pull(uploads, commitment)

        payloads.publish = keep
        monkeypatch.setattr(Uploads, "pull", nothing)
        crowd.start()
        await crowd.recorded(4)
        assert [one.recount.result(2) for one in crowd.signers[1:]] == [None, None], "the round is waited for"
        last = max(r for one in crowd.members for r in one.lines.counted)
        await take_over(crowd)
        await crowd.until("all are counted again", lambda: counted_by_all(crowd, last), 600)
        await crowd.until("the round is given up", lambda: crowd.signers[2].recount.result(last) == "lost", 300)
        assert [crowd.signers[2].recount.result(number) for number in range(1, 4)] == ["ok", "lost", "lost"]
        later = last + 2
        await crowd.until("later rounds are right", lambda: crowd.signers[2].recount.result(later) == "ok", 300)
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
