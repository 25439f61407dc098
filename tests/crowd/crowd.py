"""Signers and members in one process, over simulated links, in simulated time: everything else is the real code.

A member is `trainer.train.live` with its journal, checkpoints, all-reduce and server; a signer is its API, coordinator,
collecting, recounting and banning over its database. Only the inner steps are random numbers that take simulated time.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from commonweight.errors import CommonweightError, TrainingError
from commonweight.exact.arrays import F32
from commonweight.exact.trace import State
from commonweight.net import Identity
from commonweight.protocol.keys import address_of
from commonweight.protocol.records import Plan, Record
from commonweight.protocol.runconfig import RunConfig
from commonweight.store import FolderStore
from oracle.api import Api
from oracle.banning import Banning
from oracle.blobs import Blobs
from oracle.checkpoints import Checkpoints as SignersCheckpoints
from oracle.collect import Collecting
from oracle.coordinator import Coordinator
from oracle.db import Database
from oracle.desk import Desk
from oracle.intake import Intake
from oracle.offending import Offending
from oracle.payloads import Payloads
from oracle.recount import Recount
from oracle.rounds import Doc, Rounds
from oracle.seat import Seat
from oracle.settings import OracleSettings
from oracle.signers_api import Voting
from oracle.uploads import Uploads
from tests.chain.scenario import make_params
from tests.crowd.clock import START_S, Process, VirtualLoop
from tests.crowd.ledger import Ledger, MemberView, crowd_params
from tests.crowd.links import Line, Links, SimDialer, listener
from tests.oracle.office import DOMAIN, RUN, SIGNER_KEYS, make_config, member_key
from trainer.checkpoint import Checkpoints
from trainer.diloco import Enough, Progress, Work, commitment_of, payload_of
from trainer.journal import Journal, RoundFolder
from trainer.member import Member
from trainer.peers import PeerBook, largest_reply
from trainer.room import Room
from trainer.signers import Signers
from trainer.stopping import Stop
from trainer.train import live

_ATTESTED_AFTER = 6


class SimTrainer:
    """Inner steps that take `step_s` of simulated time each and move the weights at random, kept as real ones are."""

    def __init__(self, loop: VirtualLoop, config: RunConfig, journal: Journal, index: int, step_s: float) -> None:
        self.loop, self.config, self.journal, self.index, self.step_s = loop, config, journal, index, step_s

    def warm_up(self) -> None:
        return None

    def train(self, folder: RoundFolder, base: F32, enough: Enough, progress: Progress) -> Work:
        from commonweight.exact.trace import TraceBuilder

        plan, every = folder.body, self.config.training.trace_every
        start = self.journal.first_state(base)
        state = start.state
        trace = folder.trace
        if trace is None:
            trace = TraceBuilder(start.previous, [self.journal.store_state(state, start.known)])
            folder.save_trace(trace)
        else:
            state = self.journal.load_state(trace.states[-1])
        residual = self.journal.arrays.get(trace.states[0].residual)
        done, planned = state.step - trace.states[0].step, plan.member(self.index).steps
        seed = hashlib.sha256(f"{plan.round} {self.index}".encode()).digest()
        moved = np.random.default_rng(int.from_bytes(seed[:8], "big")).normal(0.0, 1e-3, base.size).astype(np.float32)
        shared = np.random.default_rng(plan.round).normal(0.0, 1e-3, base.size).astype(np.float32)
        while done < planned:
            stop = min(done + every, planned)
            began = self.loop.time()
            self.loop.sleep((stop - done) * self.step_s)
            progress(stop, 1.0)
            share = np.float32(stop / planned)
            weights = base - (moved + shared) * share
            state = State(trace.states[0].step + stop, weights, moved * share, moved**2, residual)
            trace.add(self.journal.store_state(state, {"residual": trace.states[0].residual}))
            folder.save_trace(trace)
            done = stop
            if enough(done, self.loop.time() - began):
                break
        payload = payload_of(self.config, plan, base, state.weights, residual)
        self.journal.arrays.put(payload.new_residual, payload.new_residual_digest)
        folder.save_payload(payload.parts)
        body = commitment_of(self.config, folder, self.index, done, trace, payload)
        return Work(body, payload, done, 1.0, 0.1, 0.0)


class AtOnce(Executor):
    """What goes on behind the round is done here before anything else: the simulation has one thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


class SimBook(PeerBook):
    """Its threads are the loop's."""

    def block_from_thread(self, loop: Any) -> Callable[[Any], bytes]:
        return lambda cid: loop.wait_for(loop.create_task(self.block(cid)))


@dataclass
class Lines:
    """What a member said it did: its checkpoint by round, where it was counted, and its phase now."""

    checkpoints: dict[int, str] = field(default_factory=dict)
    counted: list[int] = field(default_factory=list)
    phase: tuple[int, str] = (0, "")
    on_phase: list[Callable[[int, str], None]] = field(default_factory=list)

    def say(self, phase: str, round_: int, **more: Any) -> None:
        if "checkpoint" in more:
            assert self.checkpoints.setdefault(round_, more["checkpoint"]) == more["checkpoint"]
            if more["counted"]:
                self.counted.append(round_)
        if (round_, phase) != self.phase:
            self.phase = (round_, phase)
            for told in list(self.on_phase):
                told(round_, phase)


@dataclass
class One:
    """A provider: what it is, over all its processes."""

    index: int
    kind: type[Member]
    step_s: float
    line: Line
    home: Path
    lines: Lines = field(default_factory=Lines)
    process: Process | None = None
    member: Member = field(init=False)
    stop: Stop | None = None
    ended: str | None = None
    up_since: float = 0.0
    name: str = ""

    def __post_init__(self) -> None:
        self.name = self.name or f"member-{self.index}"

    @property
    def honest(self) -> bool:
        return self.kind is Member

    def folder(self, name: str = "") -> Path:
        """Where it keeps its files."""
        return self.home / self.name / name

    def journal(self) -> Journal:
        """Its journal, as its files have it."""
        return Journal(self.folder("state"))


class Signer:
    """A signer's process, but for reports and replays."""

    def __init__(self, crowd: Crowd, position: int) -> None:
        self.crowd, self.position = crowd, position
        self.key, self.address = SIGNER_KEYS[position], address_of(SIGNER_KEYS[position])
        self.process = Process(f"signer-{position}")
        self.party = crowd.links.join(f"signer-{position}", self.process, Line(0.02, 125_000_000.0))
        folder = crowd.folder / f"signer-{position}"
        settings = OracleSettings(
            RUN, ("http://nowhere",), str(crowd.folder / "store"), Path("k"), Path("t"), folder,
            f"signer-{position}:1", coordinators=(crowd.ledger.in_office[0],),
            peers={address: f"signer-{place}:1" for place, address in enumerate(crowd.ledger.in_office)},
        )  # fmt: skip
        seat = Seat(
            settings, crowd.ledger.run(), crowd.config, crowd.config.to_bytes(), DOMAIN,
            Database(folder, run=RUN, signer=self.address), FolderStore(crowd.folder / "store"), self.address,
            self.key, crowd.loop.unix,
        )  # fmt: skip
        identity = Identity(self.key, RUN, DOMAIN, "signer")
        self.desk = Desk(
            seat, Rounds(seat.db, crowd.ledger.in_office[0]), Payloads(seat), SignersCheckpoints(seat),
            Blobs(seat.folder("files")), SimDialer(crowd.links, self.party, identity),  # type: ignore[arg-type]
        )  # fmt: skip
        self.desk.seen = crowd.ledger.view()
        self.intake, self.offending = Intake(self.desk), Offending(self.desk)
        uploads = Uploads(self.desk, self.offending)
        self.recount = Recount(self.desk, uploads)
        self.collecting = Collecting(self.desk, self.intake, self.offending)
        self.coordinator = Coordinator(self.desk, self.offending, uploads, self.recount)
        self.banning = Banning(self.desk, self.offending)

        async def no_vote(*_: object) -> bytes:
            raise AssertionError("reports are not simulated")

        self.api = Api(
            self.desk, self.intake, self.offending, uploads, Voting(no_vote, self.banning.vote, no_vote),
            lambda: self.coordinator.phase,
        )  # fmt: skip
        self._seen_block = 0

    def start(self) -> None:
        self.crowd.loop.start(self.process, self._run())

    async def _run(self) -> None:
        server = self.api.server(listener=listener(self.crowd.links, self.party))
        await server.start(f"signer-{self.position}", 1)
        work = [self._cycle()]
        work += [self.collecting.follow(peer) for peer in self.desk.view.signers if peer != self.address]
        if self.position == 0:
            work.append(self.coordinator.run())
        await asyncio.gather(*work)

    async def _cycle(self) -> None:
        while True:
            self.desk.seen = self.crowd.ledger.view()
            rows = self.crowd.ledger.final_anchors(self._seen_block)
            self._seen_block = self.desk.seen.finalized.number
            self.desk.seat.db.add_anchors(rows, self._seen_block)
            try:
                while await self.recount.step():
                    pass
                await self.collecting.anchor_own()
                await self.banning.step()
            except CommonweightError as problem:
                self.crowd.troubles.append(str(problem))
            await asyncio.sleep(1.0)


class Crowd:
    """A run. `slow` gives seconds a step of members that are not as fast as the others."""

    def __init__(
        self, loop: VirtualLoop, folder: Path, members: int, *, seed: int = 0, signers: int = 1, step_s: float = 0.05,
        slow: dict[int, float] | None = None, cheats: dict[int, type[Member]] | None = None,
        lines: Callable[[int], Line] = lambda _: Line(), last_epoch: int = 10_000, **config: Any,
    ) -> None:  # fmt: skip
        self.loop, self.folder, self.random = loop, folder, random.Random(seed)
        self.config = make_config(**({"batch": 2, "h": 40, "trace_every": 10, "block": 64} | config))
        params = crowd_params(make_params(int(START_S) - 4000))
        params = replace(params, last_epoch=last_epoch)
        self.ledger = Ledger(loop, params, members, signers, signers // 2 + 1)
        self.links = Links(loop, seed)
        self.troubles: list[str] = []
        self.signers = [Signer(self, position) for position in range(signers)]
        self.ledger.attested = self._attested
        slow, cheats = slow or {}, cheats or {}
        self.members = [One(i, cheats.get(i, Member), slow.get(i, step_s), lines(i), folder) for i in range(members)]

    @property
    def lead(self) -> Signer:
        return self.signers[0]

    def _attested(self) -> tuple[int, str] | None:
        """Reports are not simulated: what has stood for some rounds counts as attested."""
        rounds = self.lead.desk.rounds
        for number in range(self.lead.desk.seat.db.last_round(Record.KIND) - _ATTESTED_AFTER, 0, -1):
            if (record := rounds.anchored_record(number)) is not None:
                return number, record.body.checkpoint
        return None

    def start(self) -> None:
        for signer in self.signers:
            signer.start()
        for one in self.members:
            self.begin(one)

    # --- members -----------------------------------------------------------------------------------------------------

    def begin(self, one: One) -> None:
        """Start a member's process, on what its folder remembers."""
        one.process, one.stop, one.up_since = Process(one.name), Stop(), self.loop.time()
        one.member = self._member(one)
        self.loop.start(one.process, self._live(one, one.member, one.stop))

    async def _live(self, one: One, member: Member, stop: Stop) -> None:
        try:
            await live(member, f"{one.name}:1", stop)
            one.ended = "left"
        except TrainingError as problem:
            one.ended = str(problem)

    def _member(self, one: One) -> Member:
        assert one.process is not None
        party = self.links.join(one.name, one.process, one.line)
        folder = one.folder()
        folder.mkdir(exist_ok=True)
        identity = Identity(member_key(one.index), RUN, DOMAIN, "member", one.index)
        dialer: Any = SimDialer(self.links, party, identity)
        journal = Journal(folder / "state")
        trainer: Any = SimTrainer(self.loop, self.config, journal, one.index, one.step_s)
        status: Any = one.lines
        lock = (folder / "lock").open("ab")
        one.process.on_kill.append(lock.close)
        return one.kind(
            config=self.config, identity=identity, chain=MemberView(self.ledger),
            store=FolderStore(self.folder / "store"),
            signers=Signers(dialer, DOMAIN, {s.address: s.party.name + ":1" for s in self.signers}),
            book=SimBook(dialer, one.index, largest_reply(self.config)), dialer=dialer, journal=journal,
            checkpoints=Checkpoints(folder / "checkpoints", self.config, RUN, AtOnce(), AtOnce()),
            trainer=trainer, status=status, room=Room(folder, journal, self.config),
            poll_s=0.5, lock=lock, clock=self.loop.unix,
            listener=listener(self.links, party),
        )  # fmt: skip

    def kill(self, one: One) -> None:
        """kill -9."""
        assert one.process is not None
        one.process.kill()

    # --- what happened -----------------------------------------------------------------------------------------------

    def plan(self, round_: int) -> Doc[Plan] | None:
        return self.lead.desk.rounds.plan(round_)

    def record(self, round_: int) -> Record | None:
        found = self.lead.desk.rounds.record(round_)
        return None if found is None else found.body

    def record_doc(self, round_: int) -> Doc[Record] | None:
        return self.lead.desk.rounds.record(round_)

    async def recorded(self, round_: int, within_s: float = 300.0) -> Record:
        """Wait for a round's record."""
        until = self.loop.time() + within_s
        while (record := self.record(round_)) is None:
            assert self.loop.time() < until, f"no record of round {round_}: {self.troubles[-3:]}"
            await self.lead.desk.bell.wait(1.0)
        return record

    async def until(self, what: str, condition: Callable[[], Any], within_s: float = 120.0) -> Any:
        until = self.loop.time() + within_s
        while not (value := condition()):
            assert self.loop.time() < until, f"waited in vain: {what}"
            await asyncio.sleep(0.1)
        return value

    def close(self) -> None:
        for signer in self.signers:
            signer.desk.seat.db.close()


def quiet() -> None:
    """The members' log of a thousand rounds helps nobody."""
    logging.getLogger("commonweight").setLevel(logging.CRITICAL)
