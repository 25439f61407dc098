"""Replays: drawn states are fetched at once and kept, lies fail, silence is unavailable, dead signers are replaced."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from commonweight.errors import OracleError, PeerRefused
from commonweight.exact.arrays import to_bytes
from commonweight.exact.trace import ARRAYS, TraceBuilder
from commonweight.net import Caller, Identity, Method, Reply, Request, Server
from commonweight.protocol.fields import hex32
from commonweight.protocol.records import Commitment, Plan
from oracle import states
from oracle.db import Draw
from oracle.phases import Finish
from oracle.replaying import Replaying
from oracle.standings import Standings
from oracle.worker import ReplayResult, WorkerError
from tests.oracle.office import DOMAIN, RUN, Chain, Crew, Office, member_key
from tests.oracle.test_coordinator import play, until

pytestmark = pytest.mark.unit


@dataclass
class Served:
    """A member's `state` and `array` methods; `forge` shows other weights, `silent` nothing, `halts` nothing of a
    second state; `stumbles` refuses so many pieces, every other one that is asked for; `short` sends less than a piece;
    one that `hangs` never answers the first call for a piece.
    """

    crew: Crew
    forge: bool = False
    silent: bool = False
    halts: bool = False
    short: bool = False
    hangs: bool = False
    stumbles: int = 0
    asked: list[int] = field(default_factory=list)
    sent: list[tuple[int, str, int]] = field(default_factory=list)
    _refuse: bool = False

    def __post_init__(self) -> None:
        self.hook = self.array

    @property
    def methods(self) -> dict[str, Method]:
        return {"state": Method(self.state), "array": Method(lambda request: self.hook(request))}

    def _leaf(self, request: Request) -> int:
        leaf = int(str(request.params["leaf"]))
        self.asked.append(leaf)
        if self.silent or (self.halts and leaf != self.asked[0]):
            raise PeerRefused("no-such-state", "it is gone")
        return leaf

    async def state(self, request: Request) -> Reply:
        leaf = self._leaf(request)
        assert self.crew.payload is not None
        builder = TraceBuilder(None)
        for state in self.crew.states:
            builder.add(state.digests)
        builder.finish(self.crew.payload.digests, self.crew.payload.new_residual_digest)
        params: dict[str, Any] = {
            "digests": self.crew.states[leaf].digests.to_json(), "proof": list(builder.proof(leaf)),
            "leaf": hex32(builder.leaves()[leaf]), "leaves": len(self.crew.states),
        }  # fmt: skip
        return Reply(params)

    async def array(self, request: Request) -> Reply:
        leaf, name, start = self._leaf(request), str(request.params["array"]), int(str(request.params["from"]))
        if self.hangs:
            self.hangs = False
            await asyncio.sleep(3600)
        self._refuse = not self._refuse
        if self.stumbles and self._refuse:
            self.stumbles -= 1
            raise PeerRefused("too-slow", "The request took too long here")
        shown = getattr(self.crew.states[leaf], name)
        shown = shown + 1 if self.forge and name == "weights" else shown
        self.sent.append((leaf, name, start))
        data = to_bytes(shown)[start : start + states.STATE_PIECE]
        return Reply({}, data[:-1] if self.short else data)


class Worker:
    """Leads to the committed leaf when `exact`, elsewhere when not; then the claimed state decides."""

    def __init__(self, office: Office, *, exact: bool = True, near: bool = True, broken: int = 0) -> None:
        self.office, self.exact, self.near, self.broken = office, exact, near, broken
        self.calls: list[bool] = []

    async def replay(self, **request: Any) -> ReplayResult:
        self.calls.append(request["claimed"] is not None)
        if self.broken:
            self.broken -= 1
            raise WorkerError("the worker died")
        (done,) = self.office.desk.rounds.commitments(self.office.planned(1), member=request["index"]).values()
        trace = done.body.trace
        last = request["segment"] + 2 == trace.leaves
        assert request["residual"] == (trace.new_residual if last else None)
        assert (request["parts"] is not None) == last
        assert request["state"].exists()
        assert request["plan"].exists()
        assert request["base"].exists()
        shown = self.office.seat.db.shown(Draw(1, request["index"], request["segment"], 0, 0, b"", ""))
        assert shown is not None
        if request["claimed"] is None:
            return ReplayResult(True, True, 0.0, 0.0, "", shown.leaf if self.exact else "0x" + "00" * 32)
        reason = "" if self.near else "it is other"
        return ReplayResult(self.near, self.exact, 0.0 if self.exact else 1e-6, 0.0, reason, None)


@dataclass
class Scene:
    office: Office
    served: dict[int, Served]

    def replaying(self, worker: Worker) -> Replaying:
        return Replaying(self.office.desk, worker, Standings(self.office.desk))  # type: ignore[arg-type]

    async def finish(self, replaying: Replaying) -> list[tuple[int, str, bool]]:
        """Work until no draw is wanted; returns (member, outcome, exact) of the verdicts."""
        for _ in range(200):
            self.office.look()
            await replaying.draw()
            while await replaying.step():
                pass
            if self.office.seat.db.get_meta("drawn") == "1" and not self.office.seat.db.open_draws("wanted"):
                break
            if replaying._fetching:
                await asyncio.wait(replaying._fetching.values(), timeout=0.5)
            if replaying._resting or any(served.silent or served.halts for served in self.served.values()):
                self.office.chain.now_ms += 2000
        verdicts = [v.body for v in self.office.desk.rounds.verdicts(1)]
        return sorted((v.index, v.outcome, v.exact) for v in verdicts)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """One signer, one round of three members whose `state` methods really listen; every draw is this signer's."""
    async with staged(Office(tmp_path, Chain(), max_rounds=1), {i: Crew(i) for i in range(3)}) as scene:
        yield scene


@asynccontextmanager
async def staged(office: Office, crew: dict[int, Crew]) -> AsyncIterator[Scene]:
    """The same with an office and members of the test's own."""
    served, servers = {i: Served(member) for i, member in crew.items()}, []

    async def anybody(_: Caller) -> None:
        return None

    await play(office, crew)
    for index, member in served.items():
        identity = Identity(member_key(index), RUN, DOMAIN, "member", index)
        server = Server(identity, member.methods, anybody)
        host, port = await server.start("127.0.0.1", 0)
        office.seat.db.member_seen(index, f"{host}:{port}", None, office.chain.now_ms)
        servers.append(server)
    await until(office, Finish)
    office.chain.now_ms += 90_000  # the other signers are silent: their draws are taken over
    yield Scene(office, served)
    for server in servers:
        await server.close()


async def test_every_member_is_replayed_also_for_signers_that_are_dead(scene: Scene) -> None:
    worker = Worker(scene.office)
    assert await scene.finish(scene.replaying(worker)) == [(i, "pass", True) for i in range(3)]
    assert list((scene.office.seat.folder("states")).iterdir()) == []


async def test_a_root_that_is_explained_late_is_drawn_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    replaying, rounds = scene.replaying(Worker(scene.office)), scene.office.desk.rounds
    with monkeypatch.context() as down:  # it comes back when the wait is over, and has asked nobody yet
        down.setattr(type(rounds), "explained", lambda *_: [])
        scene.office.look()
        await replaying.draw()
        assert scene.office.seat.db.get_meta("drawn") == "1"
        assert scene.office.seat.db.draws(1) == []
    again = scene.replaying(Worker(scene.office))
    assert await scene.finish(again) == [(i, "pass", True) for i in range(3)]
    drawn = scene.office.seat.db.draws(1)
    await again.draw()
    assert scene.office.seat.db.draws(1) == drawn


async def test_after_an_exact_replay_the_end_state_is_not_fetched(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaying = scene.replaying(Worker(scene.office))
    scene.office.look()
    monkeypatch.setattr(replaying, "_start_fetch", lambda _: None)
    await replaying.draw()
    draw = scene.office.seat.db.draws(1)[0]
    commitment = replaying._commitment(draw)
    assert commitment is not None
    plan = scene.office.desk.rounds.plan(1)
    assert plan is not None
    first = await replaying._show(draw, commitment.body, {}, replaying._until(), {})
    assert first.claimed
    verdict = replaying._verdict(
        draw,
        commitment,
        plan,
        "pass",
        ReplayResult(True, True, 0.0, 0.0, "", None),
        "",
    )
    replaying._sign(draw, verdict)
    again = await replaying._show(draw, commitment.body, {}, replaying._until(), {})
    assert again == replace(first, claimed="")


async def test_pieces_come_once_though_the_member_refuses_now_and_then(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 4 * scene.office.seat.numel
    monkeypatch.setattr(states, "STATE_PIECE", size // 2 - 10)
    for served in scene.served.values():
        served.stumbles = 2
    assert await scene.finish(scene.replaying(Worker(scene.office))) == [(i, "pass", True) for i in range(3)]
    for served in scene.served.values():
        assert served.stumbles == 0
        assert len(set(served.sent)) == len(served.sent)
        leaf, name, _ = served.sent[0]
        starts = [start for *at, start in served.sent if at == [leaf, name]]
        assert starts == [0, size // 2 - 10, size - 20]
    assert list(scene.office.seat.folder("pieces").iterdir()) == []


async def test_what_is_known_does_not_come(scene: Scene) -> None:
    """A newcomer's first state is the base and zeros, and all states of a round have one residual."""
    scene.office.look()
    replaying = scene.replaying(Worker(scene.office))
    assert await scene.finish(replaying) == [(i, "pass", True) for i in range(3)]
    for draw in scene.office.seat.db.draws(1):
        served = scene.served[draw.member]
        digests = [served.crew.states[leaf].digests for leaf in range(draw.segment, draw.segment + 2)]
        came = [getattr(served.crew.states[leaf].digests, name) for leaf, name, _ in served.sent]
        first = served.crew.states[0].digests
        assert len(set(came)) == len(came)
        assert set(came) == {getattr(d, name) for d in digests for name in ARRAYS} - {first.weights, first.m}


@pytest.mark.parametrize("damaged", [False, True], ids=["killed", "power lost"])
async def test_a_killed_signer_goes_on_with_the_piece_that_is_missing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    size = 4 * scene.office.seat.numel
    monkeypatch.setattr(states, "STATE_PIECE", size // 2)
    replaying = scene.replaying(Worker(scene.office))
    scene.office.look()
    monkeypatch.setattr(replaying, "_start_fetch", lambda _: None)
    await replaying.draw()
    draw = scene.office.seat.db.draws(1)[0]
    commitment, plan = replaying._commitment(draw), scene.office.desk.rounds.plan(1)
    assert commitment is not None
    assert plan is not None
    served = scene.served[draw.member]
    served._refuse, served.stumbles = True, 9
    with pytest.raises(PeerRefused):
        await replaying._states.state(draw, commitment.body, draw.segment + 1, {}, replaying._until())
    leaf, name, _ = served.sent[0]
    assert served.sent == [(leaf, name, 0)]
    served.stumbles = 0
    if damaged:
        (piece,) = scene.office.seat.folder("pieces").iterdir()
        piece.write_bytes(bytes(piece.stat().st_size))
    scene.office.crash()
    assert await scene.finish(scene.replaying(Worker(scene.office))) == [(i, "pass", True) for i in range(3)]
    again = [0, size // 2] if damaged else []
    assert [start for *at, start in served.sent if at == [leaf, name]] == [0, size // 2, *again]


@pytest.mark.parametrize(
    "trouble", [OracleError("a piece could not be written", "no space"), OSError("no space"), RuntimeError("a bug")]
)
async def test_a_disk_that_refuses_for_a_while_costs_nobody_the_draw(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    append, refused = states._append, []

    def full(path: Path, data: bytes) -> None:
        refused.append(path)
        if len(refused) < 4:
            raise trouble
        append(path, data)

    monkeypatch.setattr(states, "_append", full)
    assert await scene.finish(scene.replaying(Worker(scene.office))) == [(i, "pass", True) for i in range(3)]
    assert len(refused) > 4


async def test_a_member_whose_address_nobody_can_resolve_keeps_no_round_open(scene: Scene) -> None:
    for index, address in enumerate(("a..b:1", "x" * 70 + ".org:1", "\0x:1")):
        scene.office.seat.db.member_seen(index, address, None, scene.office.chain.now_ms)
        scene.served[index].silent = True  # so that the test's clock goes on
    found = await scene.finish(scene.replaying(Worker(scene.office)))
    assert found == [(i, "unavailable", False) for i in range(3)]


async def test_the_time_that_the_base_takes_here_is_not_the_members(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = states.States._known

    def slow(self: states.States, plan: Plan) -> states.Known:
        scene.office.chain.now_ms += 60_000
        return known(self, plan)

    monkeypatch.setattr(states.States, "_known", slow)
    replaying = scene.replaying(Worker(scene.office))
    scene.office.look()
    monkeypatch.setattr(replaying, "_start_fetch", lambda _: None)
    await replaying.draw()
    draw = replace(scene.office.seat.db.draws(1)[0], segment=0)
    before_ms = scene.office.chain.now_ms
    assert await replaying._fetch(draw) == ""
    assert scene.office.chain.now_ms == before_ms + 60_000


async def test_what_nobody_foresaw_keeps_no_round_open(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path, data: bytes) -> None:
        raise RuntimeError(path)

    monkeypatch.setattr(states, "_append", broken)
    found = await scene.finish(scene.replaying(Worker(scene.office)))
    assert [(index, outcome) for index, outcome, _ in found] == [(i, "unavailable") for i in range(3)]


async def test_a_sweep_spares_what_is_being_fetched(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for a draw that is not this signer's, and two fetches of one draw take turns."""
    monkeypatch.setattr(states, "STATE_PIECE", scene.office.seat.numel)
    replaying = scene.replaying(Worker(scene.office))
    scene.office.look()
    monkeypatch.setattr(replaying, "_start_fetch", lambda _: None)
    await replaying.draw()
    draw = scene.office.seat.db.draws(1)[0]
    commitment, plan = replaying._commitment(draw), scene.office.desk.rounds.plan(1)
    assert commitment is not None
    assert plan is not None
    served = scene.served[draw.member]
    array = served.array

    async def swept(request: Request) -> Reply:
        replaying._states.keep_only(set(), [])
        return await array(request)

    monkeypatch.setattr(served, "hook", swept)
    ends = await asyncio.gather(*(replaying._claimed_end(draw, commitment.body, plan.body) for _ in range(2)))
    assert ends[0] == ends[1] != ""
    assert len(served.sent) == 2 * len(set(served.sent))
    assert replaying._states._active == {}


async def test_a_call_that_never_ends_does_not_take_all_the_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "_PIECE_S", 0.5)
    for served in scene.served.values():
        served.hangs = True

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.1)
            scene.office.chain.now_ms += 100

    ticking = asyncio.create_task(tick())
    assert await scene.finish(scene.replaying(Worker(scene.office))) == [(i, "pass", True) for i in range(3)]
    ticking.cancel()


async def test_a_piece_of_another_length_is_a_forgery(scene: Scene) -> None:
    scene.served[1].short = True
    assert await scene.finish(scene.replaying(Worker(scene.office))) == [
        (0, "pass", True), (1, "fail", False), (2, "pass", True),
    ]  # fmt: skip


async def test_another_machine_passes_within_the_tolerance_by_its_claimed_state(scene: Scene) -> None:
    worker = Worker(scene.office, exact=False)
    assert await scene.finish(scene.replaying(worker)) == [(i, "pass", False) for i in range(3)]
    assert True in worker.calls


async def test_work_that_was_not_done_fails(scene: Scene) -> None:
    worker = Worker(scene.office, exact=False, near=False)
    assert await scene.finish(scene.replaying(worker)) == [(i, "fail", False) for i in range(3)]


async def test_a_forged_state_fails_and_a_missing_one_is_unavailable(scene: Scene) -> None:
    scene.served[1].forge = True
    scene.served[2].silent = True
    found = await scene.finish(scene.replaying(Worker(scene.office)))
    assert found == [(0, "pass", True), (1, "fail", False), (2, "unavailable", False)]


async def test_states_that_no_draw_needs_do_not_stay(scene: Scene) -> None:
    for served in scene.served.values():
        served.halts = True
    replaying, folder = scene.replaying(Worker(scene.office)), scene.office.seat.folder("states")
    assert await scene.finish(replaying) == [(i, "unavailable", False) for i in range(3)]
    assert list(folder.iterdir()), "the first state was shown"
    scene.office.chain.now_ms += 60_000
    await replaying.draw()
    assert list(folder.iterdir()) == []


async def test_states_of_a_closed_round_do_not_stay(scene: Scene) -> None:
    replaying, folder = scene.replaying(Worker(scene.office)), scene.office.seat.folder("states")
    scene.office.look()
    await replaying.draw()
    await asyncio.wait(replaying._fetching.values())
    scene.office.chain.now_ms += 60_000
    await replaying.draw()
    assert list(folder.iterdir()), "they are to be replayed"
    scene.office.seat.db.close_draws([1])
    scene.office.chain.now_ms += 60_000
    await replaying.draw()
    assert list(folder.iterdir()) == []
    assert replaying._fetching == {}


async def test_what_was_fetched_before_a_crash_is_replayed_though_the_member_is_gone(scene: Scene) -> None:
    replaying = scene.replaying(Worker(scene.office))
    scene.office.look()
    await replaying.draw()
    await asyncio.wait(replaying._fetching.values())
    for served in scene.served.values():
        served.silent = True
    scene.office.crash()
    worker = Worker(scene.office)
    assert await scene.finish(scene.replaying(worker)) == [(i, "pass", True) for i in range(3)]


async def test_a_worker_that_dies_is_no_members_fault(scene: Scene) -> None:
    worker = Worker(scene.office, broken=2)
    assert await scene.finish(scene.replaying(worker)) == [(i, "pass", True) for i in range(3)]


async def test_the_verdict_names_the_drawing_block_and_the_commitment(scene: Scene) -> None:
    await scene.finish(scene.replaying(Worker(scene.office)))
    plan = scene.office.desk.rounds.plan(1)
    assert plan is not None
    expected = scene.office.chain.first_block_after(plan.body.anchor_by_ms // 1000)
    assert expected is not None
    for verdict in scene.office.desk.rounds.verdicts(1):
        assert (verdict.body.seed_block, verdict.body.seed_hash) == (expected.number, hex32(expected.hash))
        commitment = scene.office.desk.rounds.by_digest(Commitment, verdict.body.commitment)
        assert commitment is not None
        assert commitment.body.index == verdict.body.index
