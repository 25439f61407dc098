"""What a member trains from: a coordinator, a signer or a peer that lies about the run's past gets nobody to follow."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from commonweight.errors import ContentUnavailable, FormatError, RuleBroken, TrainingError
from commonweight.exact.codecs import decode, encode
from commonweight.exact.round import apply_parts
from commonweight.net import Caller, Dialer, Identity, Method, Reply, Request, Server
from commonweight.protocol.canonical import sha256_hex
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.keys import address_of
from commonweight.protocol.records import Counted, Plan, Record, sign_body
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.typed import Domain
from tests.trainer.conftest import KEYS, make_plan
from trainer.checkpoint import Checkpoints, Held, PeerBlocks
from trainer.journal import Journal
from trainer.lineage import ready_base
from trainer.signers import Signers

pytestmark = pytest.mark.unit
RUN = "0x" + "aa" * 20
COORDINATOR, OTHER = KEYS[60], KEYS[61]
ROUNDS = 5


@dataclass
class Archive:
    """A signer that shows records and parts; what it is made of may be a lie."""

    key: bytes
    domain: Domain
    records: dict[int, Signed]
    parts: dict[int, bytes]

    def __post_init__(self) -> None:
        methods: dict[str, Callable[[Request], Awaitable[Reply]]] = {"record": self.record, "part": self.part}
        identity = Identity(self.key, RUN, self.domain, "signer")
        self.asked: list[int] = []
        self.server = Server(identity, {name: Method(handler) for name, handler in methods.items()}, self.anybody)

    async def anybody(self, caller: Caller) -> None:
        return None

    async def record(self, request: Request) -> Reply:
        number = int(str(request.params["round"]))
        self.asked.append(number)
        return Reply({}, self.records[number].to_bytes() if number in self.records else b"")

    async def part(self, request: Request) -> Reply:
        return Reply({}, self.parts[int(str(request.params["round"]))])


class ChainOf:
    """What the chain says: which records are anchored, and what was attested last."""

    def __init__(self, anchored: dict[int, Signed]) -> None:
        self.hashes = {(number, digest_bytes(signed.digest)) for number, signed in anchored.items()}
        self.last: tuple[int, str] | None = None

    def record_anchored(self, round_: int, digest: bytes) -> bool:
        return (round_, digest) in self.hashes

    def attested(self) -> tuple[int, str] | None:
        return self.last


class History:
    """Five rounds of a run as they were; all records but the newest are anchored. The others hold every checkpoint."""

    def __init__(self, folder: Path, config: RunConfig, domain: Domain) -> None:
        self.folder, self.config, self.domain = folder, config, domain
        self.holder = Checkpoints(folder / "holder", config, RUN)
        self.held: list[Held] = [self.holder.genesis()]
        self.holder.settle()
        self.records: dict[int, Signed] = {}
        self.parts: dict[int, bytes] = {}
        for number in range(1, ROUNDS + 1):
            self.add(number, 1e-3 * number)
        self.chain = ChainOf({number: self.records[number] for number in range(1, ROUNDS)})
        self.served: list[object] = []

    def add(self, number: int, move: float, **lies: Any) -> Signed:
        base, training = self.held[-1], self.config.training
        vector = np.full(self.config.model.parameters(), move, np.float32)
        data = encode(vector, training.result_codec, training.block)
        part = decode(data, vector.size, training.result_codec, training.block)
        after = apply_parts(self.config, base.checkpoint, [part])
        plan = "0x" + f"{number:064x}"
        box = Checkpoints(self.folder / f"at-{number}-{move}", self.config, RUN)
        made = box.make(number, base.sha256, plan, after)
        box.close()
        counted = Counted(0, "0x" + "cc" * 32, 1, self.config.tokens(1), "0x" + "dd" * 32, "")
        fields: dict[str, Any] = {
            "run": RUN, "round": number, "epoch": 0, "plan": plan, "base": base.sha256, "counted": (counted,),
            "refused": (), "missing": (), "results": (sha256_hex(data),), "checkpoint": made.sha256,
            "checkpoint_cid": "", "links": (),
        }  # fmt: skip
        signed = sign_body(Record(**(fields | lies)), COORDINATOR, self.domain)
        self.held.append(made)
        self.records[number], self.parts[number] = signed, data
        return signed

    def plan(self, **changes: Any) -> Plan:
        fields: dict[str, Any] = {"round": ROUNDS + 1, "previous_record": self.records[ROUNDS].digest}
        fields |= {"base": self.held[ROUNDS].sha256} | changes
        return make_plan(self.config, fields.pop("base"), **fields)

    def block(self, cid: Any) -> bytes:
        self.served.append(cid)
        for path in self.folder.glob(f"*/*/blocks/*/{cid}"):
            return path.read_bytes()
        raise ContentUnavailable(f"{cid} is nowhere")

    async def base(self, plan: Plan, *archives: Archive, kept: Checkpoints | None = None) -> Held:
        """What a member takes as the base of a plan, when these are the signers."""
        archives = archives or (Archive(COORDINATOR, self.domain, self.records, self.parts),)
        dialer = Dialer(Identity(KEYS[0], RUN, self.domain, "member", 0))
        signers = Signers(dialer, self.domain, {})
        box = kept or Checkpoints(self.folder / "joiner", self.config, RUN)

        async def checkpoint(sha256: str) -> Held:
            return await asyncio.to_thread(box.get, sha256, PeerBlocks(self.block))

        member: Any = SimpleNamespace(
            config=self.config, chain=self.chain, checkpoints=box, signers=signers, checkpoint=checkpoint,
            followed=None, have=None, journal=Journal(self.folder / "journal"),
        )  # fmt: skip
        try:
            for archive in archives:
                host, port = await archive.server.start("127.0.0.1", 0)
                signers._peers[address_of(archive.key)] = f"{host}:{port}"
            signers.in_office([address_of(archive.key) for archive in archives])
            held = await ready_base(member, plan)
            assert member.have == held.sha256
            return held
        finally:
            if kept is None:  # else what it still saves would tidy away what the next one fetches
                await asyncio.to_thread(box.close)
            await signers.close()
            await dialer.close()
            for archive in archives:
                await archive.server.close()


@pytest.fixture
def history(tmp_path: Path, config: RunConfig, domain: Domain) -> History:
    return History(tmp_path, config, domain)


async def test_before_the_first_attestation_a_joiner_comes_from_genesis(history: History) -> None:
    archive = Archive(COORDINATOR, history.domain, history.records, history.parts)
    held = await history.base(history.plan(), archive)
    assert held.sha256 == history.held[ROUNDS].sha256
    assert held.checkpoint.equals(history.held[ROUNDS].checkpoint)
    assert archive.asked == [5, 4, 3, 2, 1], "down to the first round, each record once"


async def test_a_joiner_looks_no_further_down_than_the_last_attested_one(history: History) -> None:
    history.chain.last = (3, history.held[3].sha256)
    archive = Archive(COORDINATOR, history.domain, history.records, history.parts)
    assert (await history.base(history.plan(), archive)).sha256 == history.held[ROUNDS].sha256
    assert archive.asked == [5, 4]
    history.chain.last = (5, history.held[5].sha256)
    assert (await history.base(history.plan())).sha256 == history.held[ROUNDS].sha256


async def test_rounds_that_were_given_up_are_passed_over(history: History) -> None:
    for number in (6, 7):
        history.records.pop(number, None)
    plan = history.plan(round=8)
    assert (await history.base(plan)).sha256 == history.held[ROUNDS].sha256


async def test_a_restarted_member_goes_on_from_what_it_has_made(history: History) -> None:
    kept = Checkpoints(history.folder / "mine", history.config, RUN)
    kept.get(history.held[4].sha256, PeerBlocks(history.block))
    history.chain.hashes.clear()
    archive = Archive(COORDINATOR, history.domain, history.records, history.parts)
    assert (await history.base(history.plan(), archive, kept=kept)).sha256 == history.held[ROUNDS].sha256
    assert archive.asked == [5]


async def test_a_plan_that_names_a_base_of_its_own_is_refused(history: History) -> None:
    """The checkpoint is well-formed and its peer serves it; only that no record made it gives the lie away."""
    history.add(6, 7.0)
    with pytest.raises(RuleBroken, match="base of round 6") as lie:
        await history.base(history.plan(base=history.held[6].sha256))
    assert lie.value.rule == "wrong-base"
    assert not history.served, "nothing of it is even fetched"


async def test_a_plan_that_names_no_record_does_not_make_members_flood_the_signers(history: History) -> None:
    archive = Archive(COORDINATOR, history.domain, history.records, history.parts)
    nowhere = history.plan(round=5000, previous_record="0x" + "ff" * 32)
    with pytest.raises(RuleBroken, match="base of round 5000"):
        await history.base(nowhere, archive)
    assert len(archive.asked) == 256
    history.chain.last = (4, history.held[4].sha256)
    archive = Archive(COORDINATOR, history.domain, history.records, history.parts)
    with pytest.raises(RuleBroken, match="base of round 6"):
        await history.base(history.plan(previous_record="0x" + "ff" * 32), archive)
    assert archive.asked == [5, 4]


async def test_a_plan_that_begins_anew_is_refused_once_something_is_attested(history: History) -> None:
    anew = history.plan(base=history.held[0].sha256, previous_record=None)
    assert (await history.base(anew)).sha256 == history.held[0].sha256
    with pytest.raises(RuleBroken, match="base of round 6"):
        await history.base(history.plan(previous_record=None))
    history.chain.last = (3, history.held[3].sha256)
    with pytest.raises(RuleBroken, match="base of round 6"):
        await history.base(anew)


async def test_a_plan_that_goes_back_behind_what_is_attested_is_refused(history: History) -> None:
    history.chain.last = (4, history.held[4].sha256)
    back = history.plan(base=history.held[2].sha256, previous_record=history.records[2].digest)
    kept = Checkpoints(history.folder / "mine", history.config, RUN)
    kept.get(history.held[2].sha256, PeerBlocks(history.block))
    with pytest.raises(RuleBroken, match="attested"):
        await history.base(back, kept=kept)


async def test_an_earlier_record_that_is_not_on_chain_makes_no_base(history: History) -> None:
    history.chain.hashes.discard((3, digest_bytes(history.records[3].digest)))
    with pytest.raises(RuleBroken, match="attested"):
        await history.base(history.plan())
    assert not history.served
    history.chain.hashes.add((3, digest_bytes(history.records[3].digest)))
    assert (await history.base(history.plan())).sha256 == history.held[ROUNDS].sha256, "it only had to wait"


async def test_one_signer_who_shows_false_records_or_none_stops_no_joiner(history: History) -> None:
    false = {n: sign_body(replace(Record.from_body(s.body), plan="0x" + "ee" * 32), OTHER, history.domain)
             for n, s in history.records.items()}  # fmt: skip
    liars = Archive(OTHER, history.domain, false, {}), Archive(OTHER, history.domain, {}, history.parts)
    for liar in liars:
        honest = Archive(COORDINATOR, history.domain, history.records, history.parts)
        history.chain.last = (4, history.held[4].sha256)
        newest = history.records[ROUNDS].digest
        history.chain.hashes.add((ROUNDS, digest_bytes(newest)))
        held = await history.base(history.plan(), liar, honest)
        assert held.sha256 == history.held[ROUNDS].sha256
        assert liar.asked


async def test_the_newest_record_is_not_believed_but_stepped(history: History) -> None:
    """It names a checkpoint that exists and follows from the same base, but not from the parts that it lists."""
    said, parts = history.records[ROUNDS], dict(history.parts)
    history.held.pop()
    history.add(ROUNDS, 9.0)
    body = replace(Record.from_body(said.body), checkpoint=history.held[ROUNDS].sha256)
    lie = sign_body(body, COORDINATOR, history.domain)
    archive = Archive(COORDINATOR, history.domain, history.records | {ROUNDS: lie}, parts)
    with pytest.raises(RuleBroken, match="base of round 6") as problem:
        await history.base(history.plan(previous_record=lie.digest), archive)
    assert "parts do not make" in problem.value.why
    assert isinstance(problem.value.__cause__, TrainingError)


async def test_a_step_along_a_false_part_is_not_taken(history: History) -> None:
    parts = history.parts | {ROUNDS: history.parts[ROUNDS - 1]}
    archive = Archive(COORDINATOR, history.domain, history.records, parts)
    with pytest.raises(FormatError, match="wrong part 0 of round 5"):
        await history.base(history.plan(), archive)
