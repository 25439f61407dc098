"""A member that is asked to end stays until signers have drawn what it did last; asked twice, it goes at once."""

import asyncio
from pathlib import Path

import pytest

from commonweight.net import Identity
from commonweight.protocol.keys import address_of
from tests.crowd.clock import VirtualLoop, simulate
from tests.crowd.crowd import Crowd, One
from tests.crowd.links import SimDialer
from tests.oracle.office import DOMAIN, RUN, SIGNER_KEYS, member_key

pytestmark = pytest.mark.unit


def last_round(one: One) -> int:
    """The newest round of which the member's commitment was anchored."""
    return max((folder.body.round for folder in one.journal().rounds() if folder.released), default=0)


def asked_to_end(one: One) -> None:
    assert one.stop is not None
    one.stop.soon.set()


def test_it_shows_states_until_the_draws_are_over(disk: Path) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 4, signers=1)
        one, wait_s = crowd.members[0], crowd.config.verification.state_wait_ms / 1000
        crowd.start()
        await crowd.recorded(2)
        asked_to_end(one)
        await crowd.until("it leaves", lambda: one.lines.phase[1] == "show")
        number = last_round(one)
        plan = crowd.plan(number)
        assert plan is not None
        seed_s = plan.body.anchor_by_ms / 1000
        # A signer asks late: it is answered, and waited for once more.
        await asyncio.sleep(max(0.0, seed_s + wait_s - loop.unix()))
        party = crowd.links.join("signer-0-again", crowd.lead.process, crowd.lead.party.line)
        dialer = SimDialer(crowd.links, party, Identity(SIGNER_KEYS[0], RUN, DOMAIN, "signer"))
        asked_s, key = loop.unix(), address_of(member_key(0))
        params = {"round": number, "leaf": 0}
        reply = await dialer.call(f"{one.name}:1", key, "state", params, b"", timeout_s=20)
        assert reply.params["leaves"]
        attested = crowd.ledger.attested
        crowd.ledger.attested = lambda: None
        await crowd.until("it is gone", lambda: one.ended == "left")
        assert loop.unix() >= asked_s + wait_s
        assert loop.unix() < asked_s + wait_s + 15
        plans = [crowd.plan(round_) for round_ in range(number + 2, 99)]
        assert not any(plan is not None and 0 in plan.body.indices for plan in plans)
        crowd.ledger.attested = attested
        crowd.close()

    simulate(work)


def test_it_waits_for_nothing_that_a_report_has_come_to_or_that_was_never_anchored(disk: Path) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 4, signers=1)
        crowd.start()
        await crowd.recorded(1)
        crowd.ledger.attested = lambda: (99, "0x" + "00" * 32)
        for one in crowd.members:
            asked_to_end(one)
        began_s = loop.unix()
        await crowd.until("all are gone", lambda: all(one.ended == "left" for one in crowd.members))
        assert loop.unix() < began_s + 60
        crowd.close()

    simulate(work)


def test_a_second_process_with_the_same_key_does_not_begin(disk: Path) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 4, signers=1)
        crowd.start()
        await crowd.recorded(1)
        twin = One(0, crowd.members[0].kind, 0.05, crowd.members[0].line, disk / "elsewhere", name="twin-0")
        twin.home.mkdir()
        crowd.begin(twin)
        await crowd.until("it refuses", lambda: twin.ended is not None)
        assert "Another process with this provider's key" in (twin.ended or "")
        await crowd.recorded(4)
        assert crowd.ledger.bans == {}
        assert {1, 2, 3} <= set(crowd.members[0].lines.counted)
        crowd.close()

    simulate(work)
