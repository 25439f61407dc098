"""What a member serves, over real sockets: to whom, how much, and what happens to those who send rubbish."""

import asyncio
import os
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import pytest

from commonweight.errors import (
    AuthenticationError,
    ContentUnavailable,
    FrameTooLarge,
    PeerError,
    PeerRefused,
    PeerUnreachable,
)
from commonweight.exact.arrays import F32, from_bytes
from commonweight.exact.payload import check_part
from commonweight.exact.trace import ARRAYS, State
from commonweight.net import (
    DEFAULT_MAX_REPLY,
    Caller,
    Dialer,
    Identity,
    Limits,
    Method,
    Peer,
    Reply,
    Request,
    Server,
    connect,
)
from commonweight.protocol import merkle
from commonweight.protocol.canonical import sha256_hex
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import Fields, digest_bytes
from commonweight.protocol.keys import address_of
from commonweight.protocol.offences import Offence
from commonweight.protocol.parts import part_range
from commonweight.protocol.records import PartMessage, StateDigests, sign_body
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.typed import Domain
from tests.trainer.conftest import KEYS
from tests.trainer.exchange_rig import Rig
from tests.trainer.test_round import Bench
from trainer import peers
from trainer.checkpoint import Checkpoints, PeerBlocks
from trainer.data import Corpus
from trainer.peers import PeerBook, PeerServer, largest_reply, told_at
from trainer.registry import Provider

pytestmark = pytest.mark.unit
SIGNER, STRANGER = KEYS[70], KEYS[71]
RUN = "0x" + "aa" * 20


class FakeChain:
    """A chain with providers 0..3 and one signer; provider 3 is banned."""

    def signers(self) -> tuple[str, ...]:
        return (address_of(SIGNER),)

    def provider(self, index: int) -> Provider | None:
        return Provider(index, address_of(KEYS[index]), "", 2000 if index == 3 else 0, False) if index < 4 else None

    def index_of_key(self, key: str) -> int:
        return next(i for i in range(4) if address_of(KEYS[i]) == key)

    def successor(self, index: int, key: str) -> str | None:
        return None

    def anchored(self, round_: int, deadline_s: int, root: bytes) -> bool:
        return True

    def record_anchored(self, round_: int, digest: bytes) -> bool:
        return True

    def attested(self) -> tuple[int, str] | None:
        return None

    def time_s(self) -> int:
        return 1000

    def unsettled_epoch(self) -> int:
        return 0

    def record_named(self, round_: int) -> bool:
        return False

    def training_end_s(self) -> int:
        return 2000

    def ended(self) -> str:
        return ""


class Serving:
    """Member 1 with a trained and committed round, behind its server."""

    def __init__(self, bench: Bench, folder: Path, domain: Domain) -> None:
        self.bench, self.domain = bench, domain
        self.accusations: list[tuple[int, Offence, dict[str, bytes]]] = []
        work = bench.train()
        self.commitment = work.commitment
        bench.folder.save_commitment(sign_body(work.commitment, KEYS[1], domain))
        self.checkpoints = Checkpoints(folder / "checkpoints", bench.config, RUN)
        self.server = PeerServer(
            Identity(KEYS[1], RUN, domain, "member", 1), bench.config, FakeChain(), bench.journal, self.checkpoints,
            lambda folder: lambda part: (self.message(part), folder.payload_part(part)), self.told,
        )  # fmt: skip

    async def told(self, sender: int, offence: Offence, blobs: dict[str, bytes]) -> None:
        self.accusations.append((sender, offence, blobs))

    def message(self, part: int) -> Signed:
        digest = sha256_hex(self.bench.folder.payload_part(part))
        plan = self.bench.plan
        body = PartMessage(RUN, plan.round, self.bench.signed.digest, plan.base, part, 1, digest)
        return sign_body(body, KEYS[1], self.domain)

    def identity(self, key: bytes, role: str, index: int | None = None) -> Identity:
        return Identity(key, RUN, self.domain, role, index)

    @asynccontextmanager
    async def open(self, key: bytes, role: str, index: int | None = None) -> AsyncIterator[Peer]:
        peer = await connect(self.address, address_of(KEYS[1]), self.identity(key, role, index))
        try:
            yield peer
        finally:
            await peer.close()

    async def __aenter__(self) -> Self:
        self.address = await self.server.start("127.0.0.1:0")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.close()


@pytest.fixture
def serving(config: RunConfig, corpus: Corpus, tmp_path: Path, domain: Domain) -> Serving:
    return Serving(Bench(config, corpus, tmp_path / "member", domain), tmp_path, domain)


def step_of(reply: Reply) -> int:
    return Fields({**reply.params}, "state").child("digests", StateDigests.read).step


async def array_of(peer: Peer, leaf: int, name: str, size: int) -> F32:
    """All pieces of an array, the last one shorter."""
    pieces, start = [], 0
    while start < size:
        reply = await peer.call("array", {"round": 1, "leaf": leaf, "array": name, "from": start})
        pieces.append(reply.body)
        start += max(1, len(reply.body))
    assert [len(piece) for piece in pieces[:-1]] == [peers.STATE_PIECE] * (len(pieces) - 1)
    return from_bytes(b"".join(pieces))


async def test_signers_get_any_trace_state_with_its_proof(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "STATE_PIECE", 1000)
    async with serving, serving.open(SIGNER, "signer") as peer:
        for leaf in range(4):
            reply = await peer.call("state", {"round": 1, "leaf": leaf}, max_reply=0)
            arrays = {name: await array_of(peer, leaf, name, 4 * serving.bench.base.size) for name in ARRAYS}
            state = State(step_of(reply), **arrays)
            assert state.digests.to_json() == reply.params["digests"]
            proof = [digest_bytes(str(node)) for node in reply.params["proof"]]  # type: ignore[union-attr]
            data = digest_bytes(str(reply.params["leaf"]))
            merkle.require(digest_bytes(serving.commitment.trace.root), data, leaf, 4, proof)
            assert leaf == 3 or data == state.digests.leaf()
        with pytest.raises(PeerRefused, match="no leaf 4"):
            await peer.call("state", {"round": 1, "leaf": 4})
        for wrong in ({"array": "gradient"}, {"leaf": 4}, {"from": 4 * serving.bench.base.size}, {"round": 9}):
            with pytest.raises(PeerRefused):
                await peer.call("array", {"round": 1, "leaf": 1, "array": "m", "from": 0} | wrong)
        with pytest.raises(PeerRefused, match="nothing of round 9"):
            await peer.call("state", {"round": 9, "leaf": 0})


async def test_no_payload_leaves_before_its_release(serving: Serving) -> None:
    async with serving, serving.open(SIGNER, "signer") as signer, serving.open(KEYS[0], "member", 0) as member:
        for peer in (signer, member):
            with pytest.raises(PeerRefused) as refused:
                await peer.call("payload", {"round": 1, "part": 0})
            assert refused.value.code == "too-early"
        serving.bench.folder.release()
        for peer in (signer, member):
            reply = await peer.call("payload", {"round": 1, "part": 1})
            span = part_range(serving.bench.base.size, 64, 2, 1)
            check_part(reply.body, span.size, "int1", 64, serving.commitment.parts[1])
        with pytest.raises(PeerRefused) as refused:
            await member.call("state", {"round": 1, "leaf": 0})
        assert refused.value.code == "signers-only"


@pytest.mark.parametrize(
    ("key", "role", "index"),
    [(STRANGER, "signer", None), (STRANGER, "member", 0), (KEYS[0], "member", 2), (KEYS[0], "observer", None),
     (KEYS[3], "member", 3), (KEYS[0], "member", 99)],
    ids=["no signer", "no member", "another index", "observer", "banned", "unknown index"],
)  # fmt: skip
async def test_who_has_no_place_in_the_run_gets_no_word_in(
    serving: Serving, key: bytes, role: str, index: int | None
) -> None:
    async with serving:
        with pytest.raises((PeerRefused, AuthenticationError)):
            async with serving.open(key, role, index) as peer:
                await peer.ping()


async def test_who_is_banned_is_told_until_when_by_the_calendar(serving: Serving) -> None:
    async with serving:
        with pytest.raises(PeerRefused) as refused:
            async with serving.open(KEYS[3], "member", 3) as peer:
                await peer.ping()
        assert refused.value.why == "until 1970-01-01 00:33:20 UTC"


async def test_blocks_of_checkpoints_are_served_and_fetched_by_the_book(serving: Serving, tmp_path: Path) -> None:
    held = serving.checkpoints.genesis()
    async with serving:
        dialer = Dialer(serving.identity(KEYS[0], "member", 0))
        book = PeerBook(dialer, 0, largest_reply(serving.bench.config))
        book.know(2, address_of(KEYS[2]), "127.0.0.1:1")
        book.know(1, address_of(KEYS[1]), serving.address)
        joiner = Checkpoints(tmp_path / "joiner", serving.bench.config, RUN)
        source = PeerBlocks(book.block_from_thread(asyncio.get_running_loop()))
        got = await asyncio.to_thread(joiner.get, held.sha256, source)
        assert got.checkpoint.equals(held.checkpoint)
        with pytest.raises(ContentUnavailable):
            await book.block(joiner.make(1, held.sha256, "0x" + "bb" * 32, held.checkpoint).cid)
        await dialer.close()


async def test_parts_of_large_models_fit_into_replies_and_nothing_larger_does(
    serving: Serving, config: RunConfig
) -> None:
    """A part of a 1B model is hundreds of megabytes; what a reply may be follows from the model."""
    large = RunConfig.parse({**config.to_json(), "model": {"preset": "1B", "vocab_size": 256}})
    assert largest_reply(large) > 2 * 10**8
    sent = bytes(DEFAULT_MAX_REPLY + 1)

    async def part(_: Request) -> Reply:
        return Reply({}, sent)

    async def anybody(_: Caller) -> None:
        return None

    server = Server(serving.identity(KEYS[1], "member", 1), {"part": Method(part)}, anybody)
    host, port = await server.start("127.0.0.1", 0)
    for largest, fits in ((len(sent), True), (len(sent) - 1, False)):
        dialer = Dialer(serving.identity(KEYS[0], "member", 0))
        book = PeerBook(dialer, 0, largest)
        book.know(1, address_of(KEYS[1]), f"{host}:{port}")
        if fits:
            assert len((await book.call(1, "part", {}, b"", 60)).body) == len(sent)
        else:
            with pytest.raises(FrameTooLarge):
                await book.call(1, "part", {}, b"", 60)
        await dialer.close()
    await server.close()


async def test_who_sends_early_is_kept_until_the_exchange_is_over_however_long_that_takes(
    serving: Serving, config: RunConfig, domain: Domain
) -> None:
    rig = Rig(config, domain, 2, span_s=0.5)
    rig.make_exchanges({0: None, 1: None})  # nobody calls anybody
    server = PeerServer(
        serving.identity(KEYS[1], "member", 1), config, FakeChain(), serving.bench.journal, serving.checkpoints,
        lambda folder: lambda part: (serving.message(part), b""), serving.told, Limits(handler_s=0.05, idle_s=0.05),
    )  # fmt: skip
    server.serve(rig.exchanges[1])
    address = await server.start("127.0.0.1:0")
    peer = await connect(address, address_of(KEYS[1]), serving.identity(KEYS[0], "member", 0))
    with pytest.raises(PeerRefused, match="has not begun the exchange") as refused:
        await peer.call("part", {"message": rig.message(0, 1).to_json()}, rig.payloads[0].parts[1], timeout_s=30)
    assert refused.value.code == "no-result"
    await peer.close()
    await server.close()


async def test_a_huge_frame_is_refused_before_it_is_read(serving: Serving) -> None:
    async with serving:
        async with serving.open(KEYS[0], "member", 0) as peer:
            with pytest.raises(PeerError):
                await peer.call("part", {"message": serving.message(0).to_json()}, bytes(64 << 20))
        async with serving.open(KEYS[0], "member", 0) as peer:
            assert await peer.ping() > 0


@pytest.mark.parametrize("rubbish", ["random", "lengths", "silence"])
async def test_garbage_on_the_wire_ends_its_connection_and_nothing_else(serving: Serving, rubbish: str) -> None:
    async with serving, serving.open(KEYS[0], "member", 0) as honest:
        host, port = serving.address.rsplit(":", 1)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["commonweight/1"])
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
        if rubbish == "random":
            writer.write(os.urandom(100_000))
        elif rubbish == "lengths":
            writer.write(struct.pack(">IQ", 2**31, 2**62))
        if rubbish != "silence":
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                while True:
                    await reader.readexactly(1 << 16)
        assert await honest.ping() > 0
        writer.transport.abort()


async def test_parts_for_an_unknown_round_are_stale(serving: Serving) -> None:
    async with serving, serving.open(KEYS[0], "member", 0) as peer:
        message = {"kind": "part", "body": {"round": 5}, "signature": "0x" + "00" * 65}
        with pytest.raises(PeerRefused) as refused:
            await peer.call("part", {"message": message}, b"x")  # type: ignore[dict-item]
        assert refused.value.code in {"stale", "FormatError"}


@pytest.mark.parametrize("bound", ["0.0.0.0:7700", "[::]:7700"])
def test_others_are_never_told_to_connect_to_all_addresses(bound: str) -> None:
    assert told_at("192.0.2.1:7700", "203.0.113.7:7700") == "192.0.2.1:7700"
    assert told_at(bound, "203.0.113.7:7700") == "203.0.113.7:7700", "the router or container has the address"
    for registered in ("", "0.0.0.0:7700"):
        with pytest.raises(PeerUnreachable, match="Nobody can connect"):
            told_at(bound, registered)
