"""The signer's methods over real connections: who may ask what, and what garbage costs."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonweight.errors import AuthenticationError, CommonweightError, PeerError, PeerRefused
from commonweight.net import Caller, Identity, Peer, Request, Server, connect, offences
from commonweight.net.limits import Limits
from commonweight.protocol.canonical import Json, JsonObject, loads
from commonweight.protocol.documents import Signed, sign
from commonweight.protocol.keys import address_of
from commonweight.protocol.offences import Offence
from commonweight.protocol.records import Plan, Receipt
from oracle import offending
from oracle.packing import pack
from oracle.phases import SendAnchor
from tests.oracle.office import DOMAIN, RUN, SIGNER_KEYS, SIGNERS, Chain, Crew, Office, commit, join, member_key
from tests.oracle.test_coordinator import gather, until

pytestmark = pytest.mark.unit


@dataclass
class Desk:
    office: Office
    server: Server
    address: str

    async def as_member(self, index: int, key: bytes | None = None) -> Peer:
        return await connect(self.address, SIGNERS[0], Identity(key or member_key(index), RUN, DOMAIN, "member", index))

    async def as_signer(self, position: int) -> Peer:
        return await connect(self.address, SIGNERS[0], Identity(SIGNER_KEYS[position], RUN, DOMAIN, "signer"))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    office = Office(tmp_path, Chain())
    server = office.api.server()
    host, port = await server.start("127.0.0.1", 0)
    yield Desk(office, server, f"{host}:{port}")
    await server.close()


async def test_a_member_joins_gets_the_plan_commits_and_gets_its_receipt(desk: Desk) -> None:
    crew = {i: Crew(i) for i in range(3)}
    peer = await desk.as_member(0)
    waiting = asyncio.create_task(peer.call("plan", {"after": 0, "wait_ms": 9000}))
    await gather(desk.office, crew)
    signed = Signed.from_bytes((await waiting).body)
    plan = Plan.from_body(signed.body)
    held = desk.office.desk.checkpoints.get(plan.base, plan.base_cid)
    commitment = crew[0].work(desk.office.config, signed, plan, held.checkpoint)
    reply = await peer.call("commit", {"commitment": commitment.to_json()})
    receipt = Receipt.from_body(Signed.from_json(reply.params["receipt"]).body)
    assert (receipt.commitment, receipt.index) == (commitment.digest, 0)
    await commit(desk.office, crew[1])
    await until(desk.office, SendAnchor)
    roster = loads((await peer.call("roster", {"round": 1, "wait_ms": 100})).body)
    assert isinstance(roster, dict)
    assert [m["index"] for m in roster["members"]] == [0, 1, 2]  # type: ignore[index, call-overload, union-attr]
    assert len(roster["commitments"]) == 2  # type: ignore[arg-type]
    watcher = await connect(desk.address, SIGNERS[0], Identity(os.urandom(32), RUN, DOMAIN, "observer"))
    told = (await watcher.call("status")).params["members"]
    assert told == [{"index": i, "state": "committed" if i < 2 else "training"} for i in range(3)]
    for method in ("plan", "roster", "record", "part", "offence", "sync"):
        with pytest.raises(PeerRefused, match="observer"):
            await watcher.call(method, {"round": 1, "after": 0, "wait_ms": 10_000})
    await watcher.close()
    assert (await peer.call("record", {"round": 1, "wait_ms": 10})).body == b""
    await peer.close()


@pytest.mark.parametrize(
    ("role", "index", "key", "code"),
    [
        ("member", 0, member_key(1), "unknown-member"),
        ("member", 7, member_key(7), "unknown-member"),
        ("signer", None, member_key(0), "unknown-signer"),
    ],
)
async def test_strangers_are_turned_away(desk: Desk, role: str, index: int | None, key: bytes, code: str) -> None:
    with pytest.raises(PeerRefused) as refused:
        await connect(desk.address, SIGNERS[0], Identity(key, RUN, DOMAIN, role, index))
    assert refused.value.code == code


async def test_a_key_that_was_replaced_is_told_so(desk: Desk) -> None:
    desk.office.new_keys[0] = b"\x77" * 32
    desk.office.look()
    with pytest.raises(PeerRefused) as refused:
        await connect(desk.address, SIGNERS[0], Identity(member_key(0), RUN, DOMAIN, "member", 0))
    assert (refused.value.code, address_of(b"\x77" * 32) in refused.value.why.lower()) == ("replaced-key", True)
    for key, index in ((b"\x77" * 32, 1), (member_key(0), 1)):
        with pytest.raises(PeerRefused) as refused:
            await connect(desk.address, SIGNERS[0], Identity(key, RUN, DOMAIN, "member", index))
        assert refused.value.code == "unknown-member"


async def test_a_server_with_another_key_is_not_believed(desk: Desk) -> None:
    with pytest.raises(AuthenticationError):
        await connect(desk.address, SIGNERS[1], Identity(member_key(0), RUN, DOMAIN, "member", 0))


async def test_nobody_speaks_for_another_member_or_as_a_signer(desk: Desk) -> None:
    crew = {i: Crew(i) for i in range(3)}
    await gather(desk.office, crew)
    peer = await desk.as_member(1)
    signed, plan = desk.office.plan()
    held = desk.office.desk.checkpoints.get(plan.base, plan.base_cid)
    stolen = crew[0].work(desk.office.config, signed, plan, held.checkpoint)
    for method, params in [
        ("join", {"index": 0, "have": None, "peer": "x:1"}),
        ("commit", {"commitment": stolen.to_json()}),
        ("sync", {"after": 0, "wait_ms": 0}),
        ("propose", {"report": {}, "files": [{"name": "a", "size": 0}]}),
        ("ban", {"ban": {}, "index_size": 0}),
    ]:
        with pytest.raises(PeerRefused) as refused:
            await peer.call(method, params)
        assert refused.value.code == "not-yours", method
    await peer.close()


async def test_a_member_learns_whether_it_is_reached_and_nothing_about_anybody_else(desk: Desk) -> None:
    async def let_in(_: Caller) -> None:
        """Whoever proves a key."""

    own, other = (Server(Identity(member_key(i), RUN, DOMAIN, "member", i), {}, let_in) for i in (0, 1))
    places = [f"127.0.0.1:{(await server.start('127.0.0.1', 0))[1]}" for server in (own, other)]
    told = []
    for place in (places[0], places[1], "127.0.0.1:1", "no address"):
        desk.office.api._asked.clear()  # as if time had passed
        peer = await desk.as_member(0)
        told.append((await peer.call("reach", {"peer": place})).params)
        with pytest.raises(PeerRefused) as refused:
            await peer.call("reach", {"peer": place})
        assert refused.value.code == "too-often"
        await peer.close()
    assert told == [{"reachable": True}, *[{"reachable": False}] * 3]
    for stranger in (
        await desk.as_signer(1),
        await connect(desk.address, SIGNERS[0], Identity(os.urandom(32), RUN, DOMAIN, "observer")),
    ):
        with pytest.raises(PeerRefused):
            await stranger.call("reach", {"peer": places[0]})
        await stranger.close()
    await own.close()
    await other.close()


async def test_work_for_another_base_is_refused_and_an_offence(desk: Desk) -> None:
    crew = {i: Crew(i) for i in range(3)}
    await gather(desk.office, crew)
    signed, plan = desk.office.plan()
    held = desk.office.desk.checkpoints.get(plan.base, plan.base_cid)
    honest = crew[2].work(desk.office.config, signed, plan, held.checkpoint)
    wrong = sign("commitment", {**honest.body, "base": "0x" + "0e" * 32}, member_key(2), DOMAIN)
    peer = await desk.as_member(2)
    with pytest.raises(PeerRefused) as refused:
        await peer.call("commit", {"commitment": wrong.to_json()})
    assert refused.value.code == "wrong-base"
    assert [(o.member, o.rule) for o in desk.office.seat.db.offences()] == [(2, "wrong-target")]
    stale = sign("commitment", {**honest.body, "plan": "0x" + "0f" * 32}, member_key(1), DOMAIN)
    other = await desk.as_member(1)
    with pytest.raises(PeerRefused):
        await other.call("commit", {"commitment": stale.to_json()})
    assert len(desk.office.seat.db.offences()) == 1  # stale work is dropped, never punished
    await peer.close()
    await other.close()


async def test_two_commitments_of_one_member_are_an_offence(desk: Desk) -> None:
    crew = {i: Crew(i) for i in range(3)}
    await gather(desk.office, crew)
    await commit(desk.office, crew[0])
    signed, plan = desk.office.plan()
    held = desk.office.desk.checkpoints.get(plan.base, plan.base_cid)
    other = crew[1].work(desk.office.config, signed, plan, held.checkpoint)
    second = sign("commitment", {**other.body, "index": 0}, member_key(0), DOMAIN)
    caller = Caller(address_of(member_key(0)), "member", 0)
    with pytest.raises(PeerRefused) as refused:
        await desk.office.api.commit(Request(caller, "commit", {"commitment": second.to_json()}, b"", 1))
    assert refused.value.code == "equivocation"
    assert [(o.member, o.rule) for o in desk.office.seat.db.offences()] == [(0, "equivocation")]


async def test_the_log_is_copied_page_by_page_and_again_after_a_restart(desk: Desk, tmp_path: Path) -> None:
    crew = {i: Crew(i) for i in range(3)}
    await gather(desk.office, crew)
    for member in crew.values():
        await commit(desk.office, member)
    other = Office(tmp_path, desk.office.chain, position=1)
    other.seat.settings.peers[SIGNERS[0]] = desk.address  # type: ignore[index]
    assert await other.collecting._page(SIGNERS[0], False)
    assert await other.collecting._page(SIGNERS[0], False)
    assert len(other.desk.rounds.receipted(other.planned(1))) == 3
    other.seat.db.close()
    again = Office(tmp_path, desk.office.chain, position=1)
    again.seat.settings.peers[SIGNERS[0]] = desk.address  # type: ignore[index]
    assert len(again.desk.rounds.receipted(again.planned(1))) == 3
    await again.collecting._page(SIGNERS[0], False)
    await join(desk.office, crew[0])


async def test_a_page_of_the_log_is_short_enough_to_be_read(desk: Desk) -> None:
    """Evidence about many members is as long as a document may be."""
    for number in range(3):
        signed = Signed("offence", {"number": number, "text": "x" * (15 << 20)}, "0x" + "11" * 65)
        desk.office.seat.keep(signed, SIGNERS[1])
    peer, after, pages = await desk.as_signer(1), 0, []
    while len(pages) < 2:
        page = loads((await peer.call("sync", {"after": after, "wait_ms": 0})).body, 64 << 20)
        assert isinstance(page, dict)
        assert isinstance(page["documents"], list)
        pages.append(len(page["documents"]))
        after = page["last"]
    assert pages == [2, 1]
    await peer.close()


async def test_offences_in_rounds_that_nobody_planned_are_not_kept(desk: Desk) -> None:
    """A member can prove itself guilty in as many rounds as there are numbers, and every signer would keep it all."""
    crew = {i: Crew(i) for i in range(3)}
    await gather(desk.office, crew)
    signed, plan = desk.office.plan()
    held = desk.office.desk.checkpoints.get(plan.base, plan.base_cid)
    body = crew[0].work(desk.office.config, signed, plan, held.checkpoint).body
    peer = await desk.as_member(1)
    for round_ in (1000, 1001, 1):
        own = {**body, "round": round_}
        bases = (plan.base, "0x" + "0e" * 32)
        pair = tuple(sign("commitment", {**own, "base": base}, member_key(0), DOMAIN) for base in bases)
        offence = Offence(RUN, "equivocation", round_, 0, None, None, pair, ())
        index_size, packed = offences.pack(offence, {})
        with contextlib.nullcontext() if round_ == 1 else pytest.raises(PeerRefused):
            await peer.call("offence", {"index_size": index_size}, packed)
    assert [(row.member, row.round) for row in desk.office.seat.db.offences()] == [(0, 1)]
    await peer.close()


async def test_a_signers_lie_that_many_prove_is_kept_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every reducer of a false record has its own part of it to show, with all commitments."""
    await gather(desk.office, {i: Crew(i) for i in range(3)})
    monkeypatch.setattr(offending, "check", lambda *_: None)
    document = sign("plan", {"round": 1}, SIGNER_KEYS[1], DOMAIN)
    for part in range(3):
        offence = Offence(RUN, "wrong-record", 1, None, SIGNERS[1], part, (document,), ())
        index_size, body = offences.pack(offence, {})
        peer = await desk.as_member(part)
        await peer.call("offence", {"index_size": index_size}, body)
        await peer.close()
    (kept,) = desk.office.seat.db.documents("offence")
    assert Offence.from_body(Signed.from_bytes(kept.signed).body).part == 0


JUNK: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**53 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([
    "index", "have", "peer", "after", "wait_ms", "round", "part", "commitment", "message", "result", "index_size",
    "report", "files", "ban", "junk",
])  # fmt: skip
METHODS = (
    "status", "join", "leave", "plan", "commit", "roster", "payload", "result", "record", "part", "offence", "sync",
    "propose", "ban",
)  # fmt: skip


def test_garbage_is_refused_by_name_and_the_service_goes_on(tmp_path_factory: pytest.TempPathFactory) -> None:
    loop = asyncio.new_event_loop()
    office = Office(tmp_path_factory.mktemp("office"), Chain())
    methods = {n: getattr(office.api.signers if n in ("sync", "propose", "ban") else office.api, n) for n in METHODS}

    @settings(max_examples=300, deadline=None)
    @given(st.sampled_from(METHODS), st.dictionaries(NAMES, JUNK, max_size=5), st.binary(max_size=40), st.booleans())
    def throw(method: str, params: dict[str, Json], body: bytes, signer: bool) -> None:
        if isinstance(params.get("wait_ms"), int):
            params["wait_ms"] = 0
        caller = Caller(SIGNERS[1], "signer", None) if signer else Caller(address_of(member_key(0)), "member", 0)
        with contextlib.suppress(CommonweightError):
            loop.run_until_complete(methods[method](Request(caller, method, params, body, 1)))

    throw()
    loop.close()
    assert office.seat.db.offences() == []


async def test_oversized_bodies_cost_the_connection_and_nothing_else(desk: Desk) -> None:
    peer = await desk.as_member(0)
    with pytest.raises(PeerError):
        await peer.call("join", {"index": 0, "have": None, "peer": "x:1"}, os.urandom(100))
    fresh = await desk.as_member(0)
    assert (await fresh.call("status")).params["signer"] == SIGNERS[0]
    await fresh.close()


async def test_a_vote_may_take_as_long_as_its_evidence_does(
    tmp_path: Path, golden_files: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than any other request: that of a hundred rounds of a hundred members takes minutes to verify."""
    office = Office(tmp_path, Chain())

    async def slow(caller: str, report: JsonObject, files: Mapping[str, bytes]) -> bytes:
        assert (caller, report, dict(files)) == (SIGNERS[1], {"epoch": 0}, dict(golden_files))
        await asyncio.sleep(0.5)
        return b"\x11" * 65

    monkeypatch.setattr(office.api.signers, "_voting", replace(office.api.signers._voting, report=slow))
    server = office.api.server(Limits(handler_s=0.1))
    host, port = await server.start("127.0.0.1", 0)
    peer = await connect(f"{host}:{port}", SIGNERS[0], Identity(SIGNER_KEYS[1], RUN, DOMAIN, "signer"))
    index_size, body = pack(golden_files)
    params: JsonObject = {"report": {"epoch": 0}, "index_size": index_size}
    first = asyncio.create_task(peer.call("propose", params, body))
    await asyncio.sleep(0.2)
    with pytest.raises(PeerRefused, match="being verified"):
        await peer.call("propose", params, body)
    assert (await first).params == {"signature": "0x" + "11" * 65}
    monkeypatch.setattr("oracle.signers_api.vote_patience_s", lambda files: 0.001 * files)
    with pytest.raises(PeerRefused, match="too long"):
        await peer.call("propose", params, body)
    await peer.close()
    await server.close()


@pytest.fixture
def golden_files() -> Mapping[str, bytes]:
    folder = Path(__file__).resolve().parents[1] / "golden" / "evidence"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
