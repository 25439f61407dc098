"""The signers as a member sees them: any receipt will do, and nobody but the coordinator plans rounds."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from commonweight.errors import FormatError, PeerError, SignatureError
from commonweight.net import Caller, Dialer, Identity, Method, Reply, Request, Server
from commonweight.protocol.canonical import Json, JsonObject, dumps
from commonweight.protocol.capacity import MOST_RECEIPTS, most_members
from commonweight.protocol.documents import Signed
from commonweight.protocol.keys import address_of
from commonweight.protocol.records import Receipt, Record, sign_body
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.typed import Domain
from commonweight.store.cid import cid_of
from tests.trainer.conftest import KEYS, make_plan
from tests.trainer.exchange_rig import Network, Rig
from trainer.outcome import record_by_now
from trainer.signers import Roster, Signers

pytestmark = pytest.mark.unit
RUN = "0x" + "aa" * 20
ORDERED = sorted(KEYS[60:63], key=address_of)


class FakeSigner:
    """A signer that names `coordinator`, plans what it is given, tells a roster of `rows`, and receipts commitments
    unless it is deaf.
    """

    def __init__(
        self, key: bytes, domain: Domain, coordinator: bytes, plan: Signed | None, deaf: bool = False,
        record: Signed | None = None,
    ) -> None:  # fmt: skip
        self.key, self.domain, self.coordinator, self.known, self.deaf = key, domain, coordinator, plan, deaf
        self.shown = record
        self.answer: JsonObject = {"round": 4, "coordinator": address_of(coordinator)}
        self.told: list[Signed] = []
        self.rows = b""
        methods: dict[str, Callable[[Request], Awaitable[Reply]]] = {
            "join": self.join, "plan": self.plan, "commit": self.commit, "result": self.result,
            "roster": self.roster, "record": self.record,
        }  # fmt: skip
        identity = Identity(key, RUN, domain, "signer")
        self.server = Server(identity, {name: Method(handler) for name, handler in methods.items()}, self.anybody)

    async def anybody(self, caller: Caller) -> None:
        return None

    async def join(self, request: Request) -> Reply:
        return Reply(self.answer)

    async def plan(self, request: Request) -> Reply:
        return Reply({}, b"" if self.known is None else self.known.to_bytes())

    async def record(self, request: Request) -> Reply:
        return Reply({}, b"" if self.shown is None else self.shown.to_bytes())

    async def result(self, request: Request) -> Reply:
        self.told.append(Signed.from_json(request.params["result"]))
        return Reply()

    async def roster(self, request: Request) -> Reply:
        return Reply({}, self.rows)

    async def commit(self, request: Request) -> Reply:
        signed = Signed.from_json(request.params["commitment"])
        digest = "0x" + "00" * 32 if self.deaf else signed.digest
        return Reply({"receipt": sign_body(Receipt(RUN, 1, digest, 0, 5), self.key, self.domain).to_json()})


class Council:
    """Some fake signers behind sockets, and a member's client of them."""

    def __init__(self, domain: Domain, *signers: FakeSigner) -> None:
        self.domain, self.fakes = domain, signers

    async def __aenter__(self) -> Signers:
        peers = {}
        for fake in self.fakes:
            host, port = await fake.server.start("127.0.0.1", 0)
            peers[address_of(fake.key)] = f"{host}:{port}"
        self.dialer = Dialer(Identity(KEYS[0], RUN, self.domain, "member", 0))
        self.client = Signers(self.dialer, self.domain, peers)
        self.client.in_office([address_of(key) for key in ORDERED])
        return self.client

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
        await self.dialer.close()
        for fake in self.fakes:
            await fake.server.close()


def plans(config: RunConfig, domain: Domain) -> list[Signed]:
    """The same plan, signed by each signer."""
    return [sign_body(make_plan(config, "0x" + "0b" * 32, 2, round=5), key, domain) for key in ORDERED]


async def test_the_plan_of_whom_most_name_coordinator_is_followed(config: RunConfig, domain: Domain) -> None:
    own = plans(config, domain)
    corrupt, boss, third = ORDERED
    fakes = (
        FakeSigner(corrupt, domain, corrupt, own[0]), FakeSigner(boss, domain, boss, own[1]),
        FakeSigner(third, domain, boss, own[1]),
    )  # fmt: skip
    async with Council(domain, *fakes) as client:
        await client.join(0, None, "127.0.0.1:1")
        found = await client.plan(4)
        assert found is not None
        assert found[0].signature == own[1].signature


@pytest.mark.parametrize(
    "answer", [{}, {"round": "x"}, {"round": -1, "coordinator": 7}, {"round": 4, "coordinator": "0x12", "over": True}]
)
async def test_a_signer_that_answers_nonsense_keeps_nobody_from_joining(domain: Domain, answer: JsonObject) -> None:
    for others in (2, 0):
        fakes = tuple(FakeSigner(key, domain, ORDERED[1], None) for key in ORDERED[: 1 + others])
        fakes[0].answer = answer
        async with Council(domain, *fakes) as client:
            with contextlib.nullcontext() if others else pytest.raises(FormatError):
                await client.join(0, None, "127.0.0.1:1")
            assert client.last_round is None


@pytest.mark.parametrize("known", [5, 0])
async def test_a_round_is_planned_when_its_plan_is_shown(config: RunConfig, domain: Domain, known: int) -> None:
    """A newcomer begins after that round: one signer alone could have it wait for ever."""
    corrupt, boss, third = ORDERED
    plan = plans(config, domain)[1] if known else None
    fakes = (FakeSigner(corrupt, domain, boss, None), *(FakeSigner(key, domain, boss, plan) for key in (boss, third)))
    fakes[0].answer = {"round": 2**53 - 1, "coordinator": address_of(boss)}
    fakes[0].known = sign_body(make_plan(config, "0x" + "0b" * 32, 2, round=2**40), corrupt, domain)
    async with Council(domain, *fakes) as client:
        await client.join(0, None, "127.0.0.1:1")
        assert await client.planned() == known
    async with Council(domain) as client:
        with pytest.raises(PeerError):
            await client.planned()


async def test_an_older_plan_than_asked_for_is_none(config: RunConfig, domain: Domain) -> None:
    """The member has done that round: going through it again would cost it the state that it goes on from."""
    boss, corrupt = ORDERED[:2]
    older = plans(config, domain)[0]
    newer = sign_body(make_plan(config, "0x" + "0b" * 32, 2, round=9), boss, domain)
    liar = FakeSigner(corrupt, domain, boss, older)
    async with Council(domain, FakeSigner(boss, domain, boss, newer), liar) as client:
        await client.join(0, None, "127.0.0.1:1")
        client._order = [address_of(corrupt), address_of(boss)]  # as when the coordinator has failed a moment ago
        found = await client.plan(8)
        assert found is not None
        assert found[1].round == 9


async def test_nobody_elses_plan_is_taken(config: RunConfig, domain: Domain) -> None:
    own = plans(config, domain)
    fakes = tuple(FakeSigner(key, domain, ORDERED[1], own[0]) for key in ORDERED)
    async with Council(domain, *fakes) as client:
        await client.join(0, None, "127.0.0.1:1")
        with pytest.raises(SignatureError, match="wrong key"):
            await client.plan(4)


async def test_one_receipt_is_enough_and_a_false_one_is_none(config: RunConfig, domain: Domain) -> None:
    commitment = Rig(config, domain, 2).commitments[0]
    first, second = ORDERED[:2]
    honest = (FakeSigner(first, domain, first, None, deaf=True), FakeSigner(second, domain, first, None))
    async with Council(domain, *honest) as client:
        receipt = await client.commit(commitment)
        assert receipt.body["commitment"] == commitment.digest
    async with Council(domain, FakeSigner(first, domain, first, None, deaf=True)) as client:
        with pytest.raises(PeerError):
            await client.commit(commitment)


async def test_a_roster_has_as_many_receipts_as_there_are_members_and_signers(domain: Domain) -> None:
    """Of the most members and of 21 signers, and of as many members as make most with more."""
    only = FakeSigner(ORDERED[0], domain, ORDERED[0], None)
    strange: list[Json] = [Signed("receipt", {}, "0x").to_json()]
    empty: JsonObject = {"commitments": [], "anchors": [], "members": []}
    async with Council(domain, only) as client:
        client.in_office([address_of(ORDERED[0])])
        for signers in (1, 4, 21, 40):
            only.rows = dumps({**empty, "receipts": strange * (most_members(signers, "star") * signers)})
            assert await client.roster(1) == Roster((), (), ())
        only.rows = dumps({**empty, "receipts": strange * (MOST_RECEIPTS + 1)})
        with pytest.raises(FormatError, match="receipts"):
            await client.roster(1)


class Recorded:
    """A member in the round of a plan, for which all signers but one that is away show the same record."""

    poll_s, index = 0.0, 3

    def __init__(self, domain: Domain, plan: Signed, record: Signed, anchored: bool = False) -> None:
        fakes = (FakeSigner(key, domain, key, plan, record=record) for key in ORDERED[:2])
        self.domain, self.council, self.anchored = domain, Council(domain, *fakes), anchored
        self.identity, self.chain = Identity(KEYS[0], RUN, domain, "member", 3), self

    def record_anchored(self, round_: int, digest: bytes) -> bool:
        return self.anchored

    async def ask(self, plan: Signed) -> Signed | None:
        async with asyncio.timeout(30), self.council as self.signers:
            found = await record_by_now(self, plan)  # type: ignore[arg-type]
            return None if found is None else found[0]


async def test_the_record_of_who_is_out_of_office_counts_by_its_plan_or_by_the_chain(
    config: RunConfig, domain: Domain
) -> None:
    out, stranger = KEYS[70], KEYS[71]
    plan = sign_body(make_plan(config, "0x" + "0b" * 32, 2, round=5), out, domain)

    def by(key: bytes, round_: int = 5) -> Signed:
        digest, cid = "0x" + "ab" * 32, str(cid_of(b"x"))
        return sign_body(Record(RUN, round_, 0, digest, digest, (), (), (), (), digest, cid, ()), key, domain)

    assert await Recorded(domain, plan, by(out)).ask(plan) == by(out)
    assert await Recorded(domain, plan, by(stranger), anchored=True).ask(plan) == by(stranger)
    assert await Recorded(domain, plan, by(ORDERED[0])).ask(plan) == by(ORDERED[0])
    assert await Recorded(domain, plan, by(stranger)).ask(plan) is None, "no reason to wait for another one"
    with pytest.raises(FormatError, match="another round"):
        await Recorded(domain, plan, by(out, 4)).ask(plan)


async def test_a_result_is_reported_without_its_bytes(config: RunConfig, domain: Domain) -> None:
    rig = Rig(config, domain, 1)
    async with Network(rig, "memory"):
        await rig.run()
    result, fake = rig.exchanges[0].results[0].result, FakeSigner(ORDERED[0], domain, ORDERED[0], None)
    async with Council(domain, fake) as client:
        await client.result(result)  # the signer's server would refuse a body
    assert fake.told == [result]
