"""Signers and members in one process, on a chain that is a list: for tests of what signers decide, not of the chain.

Time is a number that tests move. Members do honest work on random numbers; documents, payloads, stores and databases
are the real ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from commonweight.chain.events import EpochClosed, RoundAnchored
from commonweight.chain.structs import EpochInfo, EpochState, LatestRoot, Provider
from commonweight.chain.types import Block
from commonweight.exact.arrays import F32
from commonweight.exact.checkpoint import Checkpoint
from commonweight.exact.payload import Payload, make_payload
from commonweight.exact.round import reduce_part
from commonweight.exact.trace import State, TraceBuilder
from commonweight.net import Caller, Dialer, Identity, Request
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import digest_over
from commonweight.protocol.keys import address_of
from commonweight.protocol.offices import Offices
from commonweight.protocol.records import (
    Commitment,
    Link,
    PartMessage,
    Plan,
    Record,
    Result,
    sign_body,
)
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.typed import Domain
from commonweight.store import FolderStore
from oracle.api import Api
from oracle.blobs import Blobs
from oracle.checkpoints import Checkpoints
from oracle.collect import Collecting
from oracle.coordinator import Coordinator
from oracle.db import AnchorRow, Database
from oracle.desk import Desk
from oracle.intake import Intake
from oracle.offending import Offending
from oracle.payloads import Payloads
from oracle.phases import Finish, Step, Wait, decide
from oracle.recount import Recount
from oracle.rounds import Doc, Rounds
from oracle.seat import Seat
from oracle.settings import OracleSettings
from oracle.signers_api import Voting
from oracle.uploads import Uploads
from oracle.watch import View
from tests.chain.scenario import make_params

RUN = "0x" + "c0" * 20
DOMAIN = Domain(31337, "0x" + "0c" * 20)
START_S = 1_800_000_000
MODEL = {
    "preset": "custom", "vocab_size": 32, "hidden_size": 8, "intermediate_size": 16, "num_layers": 1, "num_heads": 2,
    "num_kv_heads": 1, "head_dim": 4, "max_seq_len": 16,
}  # fmt: skip
SIGNER_KEYS = tuple(
    sorted((hashlib.sha256(b"signer %d" % n).digest() for n in range(3)), key=lambda key: address_of(key))
)
SIGNERS = tuple(address_of(key) for key in SIGNER_KEYS)


def member_key(index: int) -> bytes:
    return hashlib.sha256(b"member %d" % index).digest()


def make_config(
    verification: dict[str, int] | None = None, private_credit_bps: int | None = None, **training: object
) -> RunConfig:
    return RunConfig.parse({
        "name": "office",
        "model": MODEL,
        "genesis_seed": "0x" + "5e" * 32,
        "data": {
            "manifest_cid": "", "manifest_sha256": "0x" + "da" * 32, "private_credit_bps": private_credit_bps,
        },
        "training": {
            "h": 8, "batch": 60_000, "seq_len": 16, "trace_every": 4, "block": 8, "min_members": 2, "codec": "int8",
            "result_codec": "int8", "carry_residual": False, **training,
        },
        "timing_ms": {"train": 8000, "exchange": 3000, "record": 2000, "slow_ban": 30_000},
        "verification": {"contribution_rate_bps": 0, **(verification or {})},
    })  # fmt: skip


class Chain:
    """Blocks of one second, and the anchors that were sent."""

    def __init__(self) -> None:
        self.now_ms = START_S * 1000
        self.anchors: list[AnchorRow] = []
        self.refuse = 0

    def block_at(self, number: int) -> Block:
        hash_ = hashlib.sha256(b"block %d" % number).digest()
        return Block(number, hash_, bytes(32), START_S - 100 + number, 0, 30_000_000)

    @property
    def number(self) -> int:
        return self.now_ms // 1000 - START_S + 100

    def timestamp(self) -> int:
        return self.block_at(self.number).timestamp

    def block(self, block: Any = "latest") -> Block:
        return self.block_at(self.number if block == "latest" else block)

    def finalized_block(self) -> Block:
        return self.block_at(self.number - 2)

    def first_block_after(self, timestamp_s: int) -> Block | None:
        found = self.block_at(timestamp_s + 1 - START_S + 100)
        return found if found.number <= self.number - 2 else None

    def send(self, call: tuple[Any, ...], *, gas: int) -> Any:
        if self.refuse:
            self.refuse -= 1
            from commonweight.errors import ContractError

            raise ContractError("OutsideAnchorWindow", "refused")
        _, round_, deadline, root, record_round, record_hash = call
        self.now_ms += 1000  # sending waits until it is mined
        mined = self.number
        row = AnchorRow(mined, 0, round_, 0, deadline, root, record_round, record_hash, bytes(32))
        self.anchors.append(row)
        return SimpleNamespace(block_number=mined, tx_hash=bytes(32))

    def record_of(self, round_: int) -> bytes:
        found = [a.record_hash for a in self.anchors if a.record_round == round_ and a.record_hash != bytes(32)]
        return found[0] if found else bytes(32)

    def events_of(self, kind: type[RoundAnchored], *, from_block: int, to_block: int) -> list[RoundAnchored]:
        return [
            kind(
                round=a.round, epoch=a.epoch, deadline=a.deadline, commitments_root=a.root,
                record_round=a.record_round, record_hash=a.record_hash, anchorer="", address=RUN, block=a.block,
                block_hash=bytes(32), tx=a.tx, log_index=a.log,
            )
            for a in self.anchors
            if from_block <= a.block <= to_block
        ]  # fmt: skip

    def is_anchored(self, round_: int, deadline: int, root: bytes) -> bool:
        found = [(a.round, a.deadline, a.root) for a in self.anchors if a.block <= self.number]
        return (round_, deadline, root) in found


class Office:
    """One signer's desk over a directory; `reopen` is what a crash leaves."""

    def __init__(
        self, folder: Path, chain: Chain, position: int = 0, members: int = 3, coordinator: int = 0, **config: Any
    ) -> None:
        self.folder, self.chain, self.position, self.member_count = folder, chain, position, members
        self.leader, self.offices = SIGNERS[coordinator], Offices(((0, SIGNERS),))
        self.earlier: tuple[str, ...] = ()
        self.new_keys: dict[int, bytes] = {}
        self.config = make_config(**config)
        self.params = replace(
            make_params(START_S - 4000), epoch_start=START_S, epoch_length=120, last_epoch=3, anchor_window=4,
            report_span=60, attempt_length=20, challenge_window=4,
        )  # fmt: skip
        self.open()

    def open(self) -> None:
        key = SIGNER_KEYS[self.position]
        oracle = SimpleNamespace(
            make_call=lambda *call: call, is_anchored=self.chain.is_anchored, domain=lambda: DOMAIN,
            record_of=self.chain.record_of,
        )  # fmt: skip
        run: Any = SimpleNamespace(
            address=RUN, params=self.params, chain=self.chain, oracle=oracle, events_of=self.chain.events_of
        )
        settings = OracleSettings(
            RUN, ("http://nowhere",), str(self.folder / "store"), Path("k"), Path("t"),
            self.folder / str(self.position), "127.0.0.1:1",
        )  # fmt: skip
        seat = Seat(
            settings, run, self.config, self.config.to_bytes(), DOMAIN,
            Database(settings.data_dir, run=RUN, signer=address_of(key)), FolderStore(self.folder / "store"),
            address_of(key), key, lambda: self.chain.now_ms / 1000,
        )  # fmt: skip
        rounds = Rounds(seat.db, *self.earlier, self.leader)
        self.desk = Desk(
            seat, rounds, Payloads(seat), Checkpoints(seat), Blobs(seat.folder("files")),
            Dialer(Identity(key, RUN, DOMAIN, "signer")),
        )  # fmt: skip
        self.desk.seen = self.view()
        self.intake, self.offending = Intake(self.desk), Offending(self.desk)
        uploads = Uploads(self.desk, self.offending)
        self.recount = Recount(self.desk, uploads)
        self.collecting = Collecting(self.desk, self.intake, self.offending)
        self.coordinator = Coordinator(self.desk, self.offending, uploads, self.recount)

        async def no_vote(*_: object) -> bytes:
            raise AssertionError("nobody votes here")

        voting = Voting(no_vote, no_vote, no_vote)
        self.api = Api(self.desk, self.intake, self.offending, uploads, voting, lambda: "test")

    def crash(self) -> None:
        """Lose everything that is not on disk."""
        self.desk.seat.db.close()
        self.open()

    @property
    def seat(self) -> Seat:
        return self.desk.seat

    def view(self) -> View:
        first = [address_of(member_key(i)) for i in range(self.member_count)]
        keys = [address_of(self.new_keys.get(i, member_key(i))) for i in range(self.member_count)]
        held = list(zip(first, keys, strict=True))
        providers = tuple(Provider(a, key, a, 1, 0, 0, 1, f"127.0.0.1:{9000 + i}") for i, (a, key) in enumerate(held))
        closed = EpochClosed(
            epoch=0, acc=7 << 64, unlocked_escrow=10**18, provider_count=self.member_count, closed_at=START_S + 120,
            address=RUN, block=220, block_hash=bytes(32), tx=bytes(32), log_index=0,
        )  # fmt: skip
        info = EpochInfo(
            EpochState.CLOSED, START_S + 120, 0, 0, self.member_count, 0, 0, 0, 0, 7 << 64, 0, 10**18, bytes(32)
        )
        return View(
            self.chain.block(), self.chain.finalized_block(), providers,
            {i: frozenset(both) for i, both in enumerate(held)}, self.offices.sets[-1][1], self.offices, 2,
            b"\xcd" * 32, 0, info, 0, info, LatestRoot(0, False, bytes(32), 0, 0), 10**9, False, (), 0, {0: closed},
            {}, {}, staked=dict.fromkeys(range(self.member_count), 10**30),
        )  # fmt: skip

    def rotate(self, *signers: str) -> None:
        """Another signer set takes office, in the chain's newest block as this signer sees it."""
        self.offices = Offices((*self.offices.sets, (self.chain.number, tuple(sorted(signers)))))
        self.look()

    def look(self) -> None:
        """Take in what the chain has: the view, and anchors that are final."""
        self.desk.seen = self.view()
        final = self.chain.finalized_block().number
        self.seat.db.add_anchors([a for a in self.chain.anchors if a.block <= final], final)

    # --- driving the coordinator ---------------------------------------------------------------------------------

    async def step(self) -> Step:
        """One look, one decision, one deed of the coordinator; a wait moves the clock to its end."""
        self.look()
        await self.coordinator.take_over()
        facts = await self.coordinator.facts()
        step = decide(facts)
        if isinstance(step, Wait):
            self.chain.now_ms = max(self.chain.now_ms + 50, min(step.until_ms, self.chain.now_ms + 1000))
        elif not isinstance(step, Finish):
            await self.coordinator._do(step, facts)
            for task in list(self.coordinator._sending.values()):
                await task
        return step

    def plan(self) -> tuple[Signed, Plan]:
        last = self.desk.rounds.last_plan()
        assert last is not None
        return last.signed, last.body

    def planned(self, round_: int) -> Doc[Plan]:
        found = self.desk.rounds.plan(round_)
        assert found is not None
        return found

    def record(self, round_: int) -> Record:
        found = self.desk.rounds.record(round_)
        assert found is not None
        return found.body


@dataclass
class Crew:
    """A member: honest work on random numbers, continued from round to round."""

    index: int
    previous: str | None = None
    last: State | None = None
    residual: F32 | None = None
    payload: Payload | None = None
    states: list[State] = field(default_factory=list)
    copied: tuple[int, int] | None = None
    """Round and index of the work that this member copies, with a little noise."""

    @property
    def key(self) -> bytes:
        return member_key(self.index)

    def work(self, config: RunConfig, signed: Signed, plan: Plan, base: Checkpoint) -> Signed:
        """The signed commitment of a round."""
        weights, steps, every = base.weights, plan.member(self.index).steps, config.training.trace_every
        first = State.fresh(weights)
        if self.last is not None and self.residual is not None:
            first = State(self.last.step, weights, self.last.m, self.last.v, self.residual)
        moved = _moved(plan.round, self.index, weights.size)
        if self.copied is not None:
            moved = _moved(*self.copied, weights.size) + np.float32(0.1) * moved
        self.states = [first]
        for done in [*range(every, steps, every), steps]:
            share = np.float32(done / steps)
            there = weights - moved * share
            self.states.append(State(first.step + done, there, moved * share, moved**2, first.residual))
        last = self.states[-1]
        self.payload = make_payload(weights, last.weights, last.residual, plan.parts, plan.codec, plan.block, True)
        builder = TraceBuilder(self.previous)
        for state in self.states:
            builder.add(state.digests)
        trace = builder.finish(self.payload.digests, self.payload.new_residual_digest)
        body = Commitment(
            RUN, plan.round, signed.digest, self.index, plan.base, steps, config.tokens(steps), self.payload.committed,
            self.payload.size, trace,
        )  # fmt: skip
        commitment = sign_body(body, self.key, DOMAIN)
        self.previous, self.last, self.residual = commitment.digest, last, self.payload.new_residual
        return commitment

    def part(self, signed: Signed, plan: Plan, part: int, data: bytes | None = None) -> tuple[Signed, bytes]:
        """A part with its message; other `data` makes it a lie."""
        assert self.payload is not None
        sent = self.payload.parts[part] if data is None else data
        digest = "0x" + hashlib.sha256(sent).hexdigest()
        body = PartMessage(RUN, plan.round, signed.digest, plan.base, part, self.index, digest)
        return sign_body(body, self.key, DOMAIN), sent

    def result(
        self, signed: Signed, plan: Plan, part: int, members: tuple[int, ...], digest: str,
        commitments: Iterable[str | None],
    ) -> Signed:  # fmt: skip
        """A reducer's word about a part of these members' commitments, by their digests."""
        links = tuple(Link(i, 100_000, 10_000, 1_000 + i) for i in members if i != self.index)
        used = digest_over(commitment for commitment in commitments if commitment is not None)
        body = Result(RUN, plan.round, signed.digest, part, self.index, members, used, digest, links)
        return sign_body(body, self.key, DOMAIN)

    def request(self, method: str, params: dict[str, Any], body: bytes = b"") -> Request:
        return Request(Caller(address_of(self.key), "member", self.index), method, params, body, 1000)


def _moved(round_: int, index: int, size: int) -> F32:
    seed = int.from_bytes(hashlib.sha256(b"%d %d" % (round_, index)).digest()[:4], "big")
    return np.random.default_rng(seed).normal(0.0, 1e-2, size).astype(np.float32)


async def join(office: Office, *crew: Crew) -> None:
    for member in crew:
        await office.api.join(member.request("join", {"index": member.index, "have": None, "peer": "127.0.0.1:9"}))


async def commit(office: Office, member: Crew) -> Signed:
    """Do the open round's work and get a receipt."""
    signed, plan = office.plan()
    held = office.desk.checkpoints.get(plan.base, plan.base_cid)
    commitment = member.work(office.config, signed, plan, held.checkpoint)
    reply = await office.api.commit(member.request("commit", {"commitment": commitment.to_json()}))
    office.chain.now_ms += 1  # nobody commits at the same moment as another
    return Signed.from_json(reply.params["receipt"])


async def upload(office: Office, member: Crew) -> None:
    """Give all parts of the payload."""
    signed, plan = office.plan()
    for part in range(plan.parts):
        message, data = member.part(signed, plan, part)
        params = {"round": plan.round, "part": part, "message": message.to_json()}
        await office.api.payload(member.request("payload", params, data))


async def reduce(office: Office, crew: dict[int, Crew], members: tuple[int, ...], liar: int | None = None) -> None:
    """All reducers' results; the liar's is wrong."""
    signed, plan = office.plan()
    tokens = {i: office.config.tokens(plan.member(i).steps) for i in members}
    for part, reducer in enumerate(plan.reducers):
        payloads = {i: crew[i].payload for i in members}
        encoded = {i: payload.parts[part] for i, payload in payloads.items() if payload is not None}
        digest = reduce_part(office.config, plan, office.seat.numel, part, encoded, tokens).digest
        digest = "0x" + "ab" * 32 if reducer == liar else digest
        result = crew[reducer].result(signed, plan, part, members, digest, [crew[i].previous for i in members])
        await office.api.result(crew[reducer].request("result", {"result": result.to_json()}))
