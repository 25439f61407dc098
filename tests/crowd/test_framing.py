"""Whoever lies cannot make the honest look like liars: nothing that they sign proves anything against them."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from commonweight.errors import OffenceError, PeerRefused
from commonweight.exact.codecs import decode, encode
from commonweight.exact.norms import norm2
from commonweight.exact.payload import split_payload
from commonweight.net import Identity, Reply, Request, offences
from commonweight.protocol.canonical import sha256_hex
from commonweight.protocol.documents import Signed
from commonweight.protocol.keys import address_of
from commonweight.protocol.offences import Blob, Offence, part_blob
from commonweight.protocol.parts import part_range
from commonweight.protocol.records import Commitment, CommittedPart, LeftOut, Record, sign_body
from commonweight.store import parse_cid
from commonweight.store.cid import cid_of
from oracle.api import Api
from tests.crowd.clock import VirtualLoop, simulate
from tests.crowd.crowd import Crowd
from tests.crowd.links import SimDialer
from tests.oracle.office import DOMAIN, RUN, SIGNER_KEYS, member_key

pytestmark = pytest.mark.unit
EVIL, VICTIM, ROUND = 3, 0, 3


def second_commitment(crowd: Crowd, known: Commitment, part: int) -> tuple[Signed, bytes]:
    """Signed by the evil member when the round is over, seen by nobody: it commits to other bytes of one part."""
    plan = crowd.plan(ROUND)
    assert plan is not None
    span = part_range(crowd.config.model.parameters(), plan.body.block, plan.body.parts, part)
    data = encode(np.full(span.size, 0.5, np.float32), plan.body.codec, plan.body.block)
    parts = list(known.parts)
    parts[part] = CommittedPart(sha256_hex(data), norm2(decode(data, span.size, plan.body.codec, plan.body.block)))
    return sign_body(replace(known, parts=tuple(parts)), member_key(EVIL), DOMAIN), data


def evidence(crowd: Crowd, part: int, members: tuple[int, ...]) -> tuple[list[Signed], dict[str, bytes]]:
    """The commitments and payloads of a part: the honest ones as they were, the evil member's made up."""
    rounds, store, numel = crowd.lead.desk.rounds, crowd.lead.desk.seat.store, crowd.config.model.parameters()
    plan, record = rounds.plan(ROUND), rounds.record(ROUND)
    assert plan is not None
    assert record is not None
    documents, blobs = [], {}
    for entry in record.body.counted:
        commitment = rounds.by_digest(Commitment, entry.commitment)
        assert commitment is not None
        if entry.index not in members:
            continue
        signed, data = commitment.signed, b""
        if entry.index == EVIL:
            signed, data = second_commitment(crowd, commitment.body, part)
        else:
            payload = store.get(parse_cid(entry.payload_cid))
            data = split_payload(payload, numel, plan.body.parts, plan.body.codec, plan.body.block)[part]
        documents.append(signed)
        blobs[part_blob(entry.index)] = data
    return documents, blobs


def named(blobs: dict[str, bytes]) -> tuple[Blob, ...]:
    return tuple(Blob(name, sha256_hex(data), cid_of(data)) for name, data in blobs.items())


def test_no_member_can_frame_the_honest_reducers(disk: Path) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 4, signers=3)
        crowd.start()
        await crowd.recorded(ROUND)
        rounds, tried = crowd.lead.desk.rounds, 0
        plan = rounds.plan(ROUND)
        assert plan is not None
        for result in rounds.results(plan):
            if result.body.reducer == EVIL or EVIL not in result.body.members:
                continue
            documents, blobs = evidence(crowd, result.body.part, result.body.members)
            offence = Offence(
                RUN, "wrong-reduction", ROUND, result.body.reducer, None, result.body.part,
                (plan.signed, result.signed, *documents), named(blobs),
            )  # fmt: skip
            with pytest.raises(OffenceError, match="proves nothing"):
                await crowd.signers[1].offending.take(offence, blobs)
            tried += 1
        assert tried
        await asyncio.sleep(60)
        assert crowd.ledger.bans == {}
        crowd.close()

    simulate(work)


def test_no_member_can_frame_the_honest_coordinator(disk: Path) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 5, signers=3)
        crowd.start()
        record = await crowd.recorded(ROUND)
        await asyncio.sleep(0.3)
        plan, written = crowd.plan(ROUND), crowd.record_doc(ROUND)
        assert plan is not None
        assert written is not None
        documents, blobs = evidence(crowd, 0, tuple(entry.index for entry in record.counted))
        offence = Offence(
            RUN, "wrong-record", ROUND, None, crowd.lead.address, 0, (plan.signed, written.signed, *documents),
            named(blobs),
        )  # fmt: skip
        liar = crowd.members[EVIL]
        assert liar.process is not None
        identity = Identity(member_key(EVIL), RUN, DOMAIN, "member", EVIL)
        dialer = SimDialer(crowd.links, crowd.links.join("elsewhere", liar.process, liar.line), identity)
        index_size, body = offences.pack(offence, blobs)
        params = {"index_size": index_size}
        for one in crowd.members:
            if one.index != EVIL:
                with pytest.raises(PeerRefused, match=r"lacks a commitment|proves nothing"):
                    await dialer.call(
                        f"{one.name}:1", address_of(member_key(one.index)), "offence", params, body, timeout_s=20
                    )
        with pytest.raises(OffenceError):
            await crowd.signers[1].offending.take(offence, blobs)
        after = await crowd.recorded(ROUND + 2)
        assert len(after.counted) == len(crowd.members)
        crowd.close()

    simulate(work)


def test_a_coordinator_that_plans_a_round_twice_gets_one_commitment(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 4, signers=3)
        lead, got, forged = crowd.lead, list[Signed](), dict[str, Signed]()
        plan, record, commit = Api.plan, Api.record, Api.commit

        def mine(api: Api, request: Request) -> bool:
            return api is lead.api and request.caller.index == VICTIM

        async def evil_plan(api: Api, request: Request) -> Reply:
            if mine(api, request) and forged:
                return Reply({}, forged["plan"].to_bytes())
            return await plan(api, request)

        async def evil_record(api: Api, request: Request) -> Reply:
            if mine(api, request) and forged and request.params["round"] == ROUND:
                return Reply({}, forged["record"].to_bytes())
            return await record(api, request)

        async def evil_commit(api: Api, request: Request) -> Reply:
            if mine(api, request):
                signed = Signed.from_json(request.params["commitment"])
                if signed.body["round"] == ROUND and all(known.digest != signed.digest for known in got):
                    got.append(signed)
                if forged:
                    raise PeerRefused("late", "thank you")
            return await commit(api, request)

        monkeypatch.setattr(Api, "plan", evil_plan)
        monkeypatch.setattr(Api, "record", evil_record)
        monkeypatch.setattr(Api, "commit", evil_commit)
        crowd.start()
        await crowd.recorded(2)
        await crowd.until("a commitment", lambda: got)
        first = crowd.plan(ROUND)
        assert first is not None
        ends = ("commit_by_ms", "anchor_by_ms", "exchange_by_ms", "record_by_ms")
        body = replace(first.body, **{name: getattr(first.body, name) + 30_000 for name in ends})
        key = SIGNER_KEYS[lead.position]
        forged["plan"] = sign_body(body, key, DOMAIN)
        nobody = tuple(LeftOut(i, None, "no-commitment", None) for i in body.indices)
        forged["record"] = sign_body(
            Record(RUN, ROUND, body.epoch, forged["plan"].digest, body.base, (), (), nobody, (), body.base,
                   body.base_cid, ()), key, DOMAIN,
        )  # fmt: skip
        await asyncio.sleep(120)
        assert len(got) == 1
        assert crowd.ledger.bans == {}
        crowd.close()

    simulate(work)


def test_a_damaged_disk_costs_a_round_and_not_the_stake(disk: Path) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 4, signers=3)
        crowd.start()
        await crowd.recorded(2)
        victim = crowd.members[VICTIM]
        folder = await crowd.until("a commitment", lambda: victim.journal().committed_round(ROUND))
        for path in sorted(folder.folder.glob("part-*.bin")):
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        record = await crowd.recorded(ROUND)
        assert VICTIM not in {entry.index for entry in record.counted}
        assert all(signer.desk.seat.db.offences() == [] for signer in crowd.signers)
        await crowd.until("it is counted again", lambda: any(r > ROUND for r in victim.lines.counted), 300)
        assert crowd.ledger.bans == {}
        crowd.close()

    simulate(work)
