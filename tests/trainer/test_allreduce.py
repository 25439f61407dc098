"""The all-reduce, over every transport: exact results, rules 1, 2 and 4, and what is stale or relayed."""

import asyncio
from dataclasses import replace

import pytest

from commonweight.errors import OffenceError, PeerRefused
from commonweight.exact.offences import Context, check
from commonweight.protocol.canonical import sha256_hex
from commonweight.protocol.keys import address_of
from commonweight.protocol.records import Commitment, sign_body
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.typed import Domain
from tests.trainer.conftest import KEYS
from tests.trainer.exchange_rig import Network, Rig

pytestmark = pytest.mark.unit
TRANSPORTS = pytest.mark.parametrize("kind", ["memory", "tls"])


def context(rig: Rig) -> Context:
    return Context(
        rig.domain, rig.plan.run, rig.config, rig.numel, lambda i: {address_of(KEYS[i])}, {address_of(KEYS[-1])}
    )


@TRANSPORTS
@pytest.mark.parametrize("members", [1, 2, 4])
async def test_every_member_gets_the_exact_result_of_every_part(
    config: RunConfig, domain: Domain, kind: str, members: int
) -> None:
    rig = Rig(config, domain, members)
    async with Network(rig, kind):
        await rig.run()
        for part in range(rig.plan.parts):
            expected = rig.expected(part)
            for i in range(members):
                assert rig.exchanges[i].results[part].data == expected.encoded
                result = rig.opened(i, part)
                assert (result.reducer, result.digest) == (part, expected.digest)
                assert result.members == tuple(range(members))
                assert [link.index for link in result.links] == [j for j in range(members) if j != part]
                assert all(link.bytes == len(rig.payloads[0].parts[part]) for link in result.links)
            assert rig.reported[part].results[part][1] == expected.encoded
        assert not any(reported.offences for reported in rig.reported.values())


@TRANSPORTS
@pytest.mark.parametrize("how", ["dead", "frozen"])
async def test_the_backup_takes_over_for_a_lost_reducer(config: RunConfig, domain: Domain, kind: str, how: str) -> None:
    rig = Rig(config, domain, 4, span_s=2.0)
    getattr(rig, how).add(1)
    async with Network(rig, kind):
        await rig.run()
        for part in range(4):
            reducer = 2 if part == 1 else part
            expected = rig.expected(part, {0, 2, 3})
            for i in (0, 2, 3):
                assert rig.opened(i, part).reducer == reducer
                assert rig.exchanges[i].results[part].data == expected.encoded
        assert set(rig.reported[2].results) == {1, 2}


async def test_a_reducer_that_cannot_be_reached_at_first_is_tried_again(config: RunConfig, domain: Domain) -> None:
    """In a crowd some connections fail: every part still comes in, while its backup is of no use."""
    rig = Rig(config, domain, 4, span_s=4.0)
    rig.crowded[1] = 6  # by three members, twice each
    rig.frozen.add(2)
    async with Network(rig, "memory"):
        await rig.run()
        for i in (0, 1, 3):
            result = rig.opened(i, 1)
            assert (result.reducer, result.members) == (1, (0, 1, 3))


@TRANSPORTS
async def test_without_reducer_and_backup_a_part_has_no_result_at_the_deadline(
    config: RunConfig, domain: Domain, kind: str
) -> None:
    rig = Rig(config, domain, 4, span_s=1.5)
    rig.dead |= {1, 2}
    async with Network(rig, kind):
        await rig.run()
        assert set(rig.exchanges[0].results) == {0, 2, 3}
        assert rig.opened(0, 2).reducer == 3
        with pytest.raises(PeerRefused, match="no result of part 1"):
            await rig.exchanges[0].result(1)


@TRANSPORTS
async def test_a_member_without_a_commitment_gets_all_results_and_is_in_none(
    config: RunConfig, domain: Domain, kind: str
) -> None:
    rig = Rig(config, domain, 4)
    async with Network(rig, kind):
        await rig.run(silent={3})
        for part in range(4):
            assert rig.exchanges[3].results[part].data == rig.expected(part, {0, 1, 2}).encoded


async def test_results_stay_for_latecomers(config: RunConfig, domain: Domain) -> None:
    rig = Rig(config, domain, 3)
    rig.frozen.add(2)
    async with Network(rig, "memory"):
        await rig.run()
        late = await rig.exchanges[0].take_part(2, rig.message(2, 0), rig.payloads[2].parts[0], 1)
        assert late.data == rig.expected(0, {0, 1}).encoded


@pytest.mark.parametrize("ended", ["with all results", "by its time"])
async def test_what_came_in_is_held_no_longer_than_it_is_used(config: RunConfig, domain: Domain, ended: str) -> None:
    rig = Rig(config, domain, 4, span_s=1.0)
    if ended == "by its time":
        rig.frozen |= {2, 3}
    async with Network(rig, "memory"):
        await rig.run()
        exchange = rig.exchanges[0]
        assert not any(arrivals.decoded for arrivals in exchange._arrivals.values())
        assert dict(exchange.received(0)) == {i: rig.payloads[i].parts[0] for i in range(4) if i not in rig.frozen}
        exchange.forget()
        assert not exchange.received(0)
        late = await exchange.take_part(1, rig.message(1, 0), rig.payloads[1].parts[0], 1)
        assert late == exchange.results[0]
        assert not exchange.received(0), "what comes after that is not needed"


# --- rules 2 and 4 ---------------------------------------------------------------------------------------------------


async def lie(rig: Rig, liar: int, message, data: bytes) -> None:
    """Everyone but the liar exchanges; the liar sends this to reducer 0 for part 0."""
    rig.frozen.add(liar)
    honest = asyncio.create_task(rig.run())
    with pytest.raises(PeerRefused):
        await rig.exchanges[0].take_part(liar, message, data, 1)
    await honest


@pytest.mark.parametrize("lie_about", ["payload", "undecodable", "base", "round", "run"])
async def test_a_signed_lie_is_refused_left_out_and_proven(config: RunConfig, domain: Domain, lie_about: str) -> None:
    rig = Rig(config, domain, 4, span_s=2.0)
    good = rig.payloads[3].parts[0]
    data, changes = good, dict[str, object]()
    if lie_about == "payload":
        data = good[:-1] + bytes([good[-1] ^ 1])
        changes = {"digest": sha256_hex(data)}
    elif lie_about == "undecodable":
        data = b"\xff" * len(good)
        changes = {"digest": sha256_hex(data)}
    else:
        changes = {lie_about: {"base": "0x" + "ee" * 32, "round": 7, "run": "0x" + "ee" * 20}[lie_about]}
    async with Network(rig, "memory"):
        await lie(rig, 3, rig.message(3, 0, **changes), data)
        assert rig.exchanges[0].results[0].data == rig.expected(0, {0, 1, 2}).encoded
    ((offence, blobs),) = rig.reported[0].offences
    rule = "payload-mismatch" if lie_about in ("payload", "undecodable") else "wrong-target"
    assert (offence.index, offence.rule) == (3, rule)
    check(offence, blobs, context(rig))


async def test_a_payload_whose_norm_is_not_the_committed_one_is_proven_by_its_bytes(
    config: RunConfig, domain: Domain
) -> None:
    rig = Rig(config, domain, 3, span_s=2.0)
    body = Commitment.from_body(rig.commitments[2].body)
    parts = tuple(replace(part, norm2=part.norm2 * 0.25) for part in body.parts)
    rig.commitments[2] = sign_body(replace(body, parts=parts), KEYS[2], domain)
    async with Network(rig, "memory"):
        await lie(rig, 2, rig.message(2, 0), rig.payloads[2].parts[0])
    ((offence, blobs),) = rig.reported[0].offences
    assert set(blobs) == {"part-2"}
    check(offence, blobs, context(rig))
    with pytest.raises(OffenceError, match="lacks a blob"):
        check(offence, {}, context(rig))


async def test_damaged_bytes_are_refused_without_blame(config: RunConfig, domain: Domain) -> None:
    rig = Rig(config, domain, 3)
    async with Network(rig, "memory"):
        running = asyncio.create_task(rig.run())
        with pytest.raises(PeerRefused, match="bytes"):
            await rig.exchanges[0].take_part(2, rig.message(2, 0), b"\0" * len(rig.payloads[2].parts[0]), 1)
        await running
        assert rig.exchanges[0].results[0].data == rig.expected(0).encoded
        assert not rig.reported[0].offences


@pytest.mark.parametrize("what", ["relayed", "stale", "stranger", "not-a-reducer"])
async def test_what_is_not_for_this_exchange_is_dropped_without_blame(
    config: RunConfig, domain: Domain, what: str
) -> None:
    rig = Rig(config, domain, 4)
    async with Network(rig, "memory"):
        running = asyncio.create_task(rig.run())
        sender, message = {
            "relayed": (2, rig.message(1, 0)),
            "stale": (1, rig.message(1, 0, plan="0x" + "dd" * 32, round=9, base="0x" + "dd" * 32)),
            "stranger": (9, rig.message(1, 0)),
            "not-a-reducer": (1, rig.message(1, 2)),
        }[what]
        with pytest.raises(Exception) as refused:
            await rig.exchanges[0].take_part(sender, message, rig.payloads[1].parts[0], 1)
        assert getattr(refused.value, "code", "signature") in {what, "not-a-member", "signature"}
        await running
        assert not rig.reported[0].offences
        assert rig.exchanges[0].results[0].data == rig.expected(0).encoded


async def test_parts_that_come_before_the_anchor_wait_for_it(config: RunConfig, domain: Domain) -> None:
    rig = Rig(config, domain, 2)
    async with Network(rig, "memory"):
        early = asyncio.create_task(rig.exchanges[0].take_part(1, rig.message(1, 0), rig.payloads[1].parts[0], 1))
        await asyncio.sleep(0)
        assert not early.done()
        await rig.run()
        assert (await early).data == rig.expected(0).encoded


async def test_a_member_that_gives_a_round_up_refuses_those_who_wait(config: RunConfig, domain: Domain) -> None:
    rig = Rig(config, domain, 2)
    async with Network(rig, "memory"):
        waiting = asyncio.create_task(rig.exchanges[0].take_part(1, rig.message(1, 0), rig.payloads[1].parts[0], 1))
        await asyncio.sleep(0)
        rig.exchanges[0].abandon()
        with pytest.raises(PeerRefused, match="not counted"):
            await waiting


async def test_an_own_part_that_was_damaged_on_disk_is_left_out(config: RunConfig, domain: Domain) -> None:
    rig = Rig(config, domain, 3, span_s=1.5)
    message, data = rig.own_part(1)(1)
    rig.own_part = lambda i: lambda part: (message, data[:-1]) if (i, part) == (1, 1) else Rig.own_part(rig, i)(part)  # type: ignore[method-assign]
    async with Network(rig, "memory"):
        await rig.run()
        assert rig.exchanges[0].results[1].data == rig.expected(1, {0, 2}).encoded


async def test_a_false_result_is_not_taken(config: RunConfig, domain: Domain) -> None:
    rig = Rig(config, domain, 3, span_s=1.5)
    async with Network(rig, "memory"):
        honest = rig.exchanges[1].result

        async def forged(part: int):
            reduced = await honest(part)
            return type(reduced)(reduced.result, reduced.data[:-1] + bytes([reduced.data[-1] ^ 1]))

        rig.exchanges[1].result = forged  # type: ignore[method-assign]
        await rig.run()
        assert rig.opened(0, 1).reducer == 2, "its backup's result is taken instead"
        assert rig.exchanges[0].results[1].data == rig.expected(1, {0, 2}).encoded
