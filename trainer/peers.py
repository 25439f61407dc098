"""A member among its peers: what it serves to members and signers, and its calls to other members.

Served: `part` and `result` (the all-reduce), `state` and `array` (a trace state, and pieces of its arrays, to signers
who replay; to nobody where the run trains on private shards), `payload` (an own part, to signers and members, once
payloads may leave), `block` (content of checkpoints, by CID), `offence` (evidence against a record). Callers are known
by their registered key; sizes and numbers are bounded before anything is read.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Awaitable, Callable

from commonweight.errors import ContentUnavailable, PeerError, PeerRefused, PeerUnreachable
from commonweight.exact.codecs import encoded_size
from commonweight.exact.trace import ARRAYS, TraceBuilder
from commonweight.net import (
    Caller,
    Dialer,
    Identity,
    Limits,
    Method,
    Reply,
    Request,
    Server,
    UploadCap,
    check_address,
    offences,
    split_address,
)
from commonweight.net.blobs import BODY_LIMIT
from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import Fields, hex32
from commonweight.protocol.offences import Offence
from commonweight.protocol.records import Commitment
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.trace import STATE_PIECE
from commonweight.quantities import when
from commonweight.store.base import MAX_BLOCK_BYTES
from commonweight.store.cid import Cid, parse_cid
from trainer.allreduce import Exchange, OwnPart, Reduced
from trainer.checkpoint import Checkpoints
from trainer.journal import Journal, RoundFolder
from trainer.onchain import ChainView

_log = logging.getLogger("commonweight.trainer")
_PING_S = 2.0
_BLOCK_S = 20.0
_SILENT_S = 1.0
_REMEMBERED = 3
_LEAST_ROOM = 32 << 20


def largest_reply(config: RunConfig) -> int:
    """Bytes of all canonical parts of a round together; each is as long where a round has a single part."""
    return encoded_size(config.model.parameters(), config.training.result_codec, config.training.block)


class PeerBook:
    """Where the other members are, and calls to them; a `Transport` of the all-reduce over TLS.

    `largest` is the longest reply to a call, in bytes: what all canonical parts of a round are together.
    """

    def __init__(self, dialer: Dialer, own: int, largest: int) -> None:
        self._dialer = dialer
        self._own = own
        self._largest = largest
        self._known: dict[int, tuple[str, str]] = {}

    def know(self, index: int, key: str, address: str) -> None:
        """Remember a member's registered key and its host:port."""
        if index != self._own and ":" in address:
            self._known[index] = (address, key)

    def forget(self, index: int) -> None:
        """Forget a member, for example one that was banned."""
        self._known.pop(index, None)

    async def call(self, index: int, method: str, params: JsonObject, body: bytes, timeout_s: float) -> Reply:
        """A call to a member. Raises PeerError."""
        address, key = self._place(index)
        return await self._dialer.call(
            address, key, method, params, body, timeout_s=timeout_s, max_reply=self._largest
        )  # fmt: skip

    async def rtt_us(self, index: int) -> int:
        """A round-trip time on a connection that is made before, in microseconds; of an epoch's the smallest counts."""
        address, key = self._place(index)
        peer = await self._dialer.peer(address, key, _PING_S)
        return await peer.ping(_PING_S)

    async def block(self, cid: Cid) -> bytes:
        """A block from whichever member has it; not verified. Raises ContentUnavailable.

        One is asked first; when it fails, or keeps silent for a moment, the next is asked too: a frozen member or a
        dead link must not hold up a joiner. Whoever was of no use is asked last from then on.
        """
        asked: dict[asyncio.Task[bytes], int] = {}
        waiting = list(self._known)
        try:
            async with asyncio.timeout(_BLOCK_S):
                while waiting or asked:
                    if waiting:
                        index = waiting.pop(0)
                        asked[asyncio.create_task(self._block_of(index, cid))] = index
                    done, _ = await asyncio.wait(
                        asked, timeout=_SILENT_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
                    )
                    for task in done:
                        index = asked.pop(task)
                        if task.exception() is None:
                            return task.result()
                        self._ask_last(index)
        except TimeoutError:
            pass
        finally:
            for task, index in asked.items():
                self._ask_last(index)
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        raise ContentUnavailable(f"No member has {cid}", f"{len(self._known)} were asked")

    async def _block_of(self, index: int, cid: Cid) -> bytes:
        address, key = self._place(index)
        try:
            reply = await self._dialer.call(
                address, key, "block", {"cid": str(cid)}, timeout_s=_BLOCK_S, max_reply=MAX_BLOCK_BYTES
            )
        except PeerError as problem:
            _log.debug("member %d has no block %s: %s", index, cid, problem)
            raise
        return reply.body

    def _ask_last(self, index: int) -> None:
        if index in self._known:
            self._known[index] = self._known.pop(index)

    def block_from_thread(self, loop: asyncio.AbstractEventLoop) -> Callable[[Cid], bytes]:
        """`block` for a thread other than the event loop's."""

        def fetch(cid: Cid) -> bytes:
            return asyncio.run_coroutine_threadsafe(self.block(cid), loop).result()

        return fetch

    def _place(self, index: int) -> tuple[str, str]:
        if index not in self._known:
            raise PeerUnreachable(f"Nobody knows where member {index} listens", "no signer named its address")
        return self._known[index]


class PeerServer:
    """What a member serves. Exchanges are handed in round by round; the last few stay for latecomers.

    `state_asked_s` is the event loop's time at which a signer asked for a state last.
    """

    def __init__(
        self,
        identity: Identity,
        config: RunConfig,
        chain: ChainView,
        journal: Journal,
        checkpoints: Checkpoints,
        own_part: Callable[[RoundFolder], OwnPart],
        accuse: Callable[[int, Offence, dict[str, bytes]], Awaitable[None]],
        limits: Limits | None = None,
        listener: type[Server] = Server,
        upload: UploadCap | None = None,
    ) -> None:
        self._identity = identity
        self._chain = chain
        self._journal = journal
        self._checkpoints = checkpoints
        self._own_part = own_part
        self._accuse = accuse
        self._private = config.private
        self._array_bytes = 4 * config.model.parameters()
        self._exchanges: dict[int, Exchange] = {}
        self.state_asked_s = -math.inf
        part_bytes = encoded_size(config.model.parameters(), config.training.codec, config.training.block)
        # What all send of one part is a payload's size; a member reduces one and is another's backup. As much again is
        # for an offence, whose evidence is what all have sent of a part; one that is longer gives way to all others.
        room = max(4 * part_bytes, _LEAST_ROOM)
        methods = {
            "part": Method(self._part, part_bytes, ends_itself=True),  # with the exchange, which may take long
            "result": Method(self._result, ends_itself=True),
            "state": Method(self._state),
            "array": Method(self._array),
            "payload": Method(self._payload),
            "block": Method(self._block),
            "offence": Method(self._offence, BODY_LIMIT),
        }
        self._server = listener(
            identity, methods, self._authorise, limits or Limits(max_body_memory=room, upload=upload)
        )

    async def start(self, listen: str) -> str:
        """Listen at host:port; returns the address with the port that was taken."""
        host, port = await self._server.start(*_listening(listen))
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def admit(self, connection: socket.socket, where: str) -> None:
        """Serve a connection that came by another way than the listening address."""
        self._server.admit(connection, where)

    async def close(self) -> None:
        """Stop serving."""
        await self._server.close()

    def serve(self, exchange: Exchange) -> None:
        """Let others take part in this exchange; the oldest one is given up."""
        self._exchanges[exchange.plan.round] = exchange
        while len(self._exchanges) > _REMEMBERED:
            self._exchanges.pop(min(self._exchanges)).abandon()

    # --- who may speak -----------------------------------------------------------------------------------------------

    async def _authorise(self, caller: Caller) -> None:
        if caller.role == "signer":
            known = caller.address in await asyncio.to_thread(self._chain.signers)
        elif caller.role == "member" and caller.index is not None:
            provider = await asyncio.to_thread(self._chain.provider, caller.index)
            known = provider is not None and provider.key == caller.address
            if known and provider is not None and provider.banned_until > await asyncio.to_thread(self._chain.time_s):
                until = when(provider.banned_until)
                raise PeerRefused("banned", f"Provider {caller.index} is banned", f"until {until}")
        else:
            known = False
        if not known:
            raise PeerRefused("not-registered", "This key has no place in the run", f"{caller.role} {caller.address}")

    # --- the all-reduce ----------------------------------------------------------------------------------------------

    async def _part(self, request: Request) -> Reply:
        sender = request.caller.index
        if sender is None:
            raise PeerRefused("members-only", "Only members send parts")
        message = Signed.from_json(request.params.get("message"))
        exchange = self._exchange(Fields(message.body, "part").integer("round", 1))
        return _reply(await exchange.take_part(sender, message, request.body, request.transfer_us))

    async def _result(self, request: Request) -> Reply:
        f = Fields(request.params, "result")
        exchange, part = self._exchange(f.integer("round", 1)), f.integer("part")
        f.done()
        return _reply(await exchange.result(part))

    def _exchange(self, round_: int) -> Exchange:
        if round_ not in self._exchanges:
            raise PeerRefused("stale", f"Round {round_} is not under way here")
        return self._exchanges[round_]

    # --- what signers ask --------------------------------------------------------------------------------------------

    async def _state(self, request: Request) -> Reply:
        f = self._drawn(request)
        round_, leaf = f.integer("round", 1), f.integer("leaf")
        f.done()
        return await asyncio.to_thread(self._state_of, round_, leaf)

    async def _array(self, request: Request) -> Reply:
        f = self._drawn(request)
        round_, leaf, name = f.integer("round", 1), f.integer("leaf"), f.choice("array", ARRAYS)
        start = f.integer("from", 0, self._array_bytes - 1)
        f.done()
        return Reply({}, await asyncio.to_thread(self._piece_of, round_, leaf, name, start))

    def _drawn(self, request: Request) -> Fields:
        """What a signer asks of a state that it has drawn."""
        self._signers_only(request)
        if self._private:
            why = "it was made of shards that do not leave this member"
            raise PeerRefused("private", "The states of a run on private shards are shown to nobody", why)
        self.state_asked_s = asyncio.get_running_loop().time()
        return Fields(request.params, request.method)

    def _state_of(self, round_: int, leaf: int) -> Reply:
        folder, trace = self._traced(round_, leaf)
        signed = folder.commitment
        assert signed is not None
        commitment = Commitment.from_body(signed.body)
        trace.finish([part.digest for part in commitment.parts], commitment.trace.new_residual)
        return Reply({
            "digests": trace.states[leaf].to_json(), "proof": list(trace.proof(leaf)),
            "leaf": hex32(trace.leaves()[leaf]), "leaves": len(trace.states),
        })  # fmt: skip

    def _piece_of(self, round_: int, leaf: int, name: str, start: int) -> bytes:
        folder, _ = self._traced(round_, leaf)
        return self._journal.piece(folder, leaf, name, start, STATE_PIECE)

    def _traced(self, round_: int, leaf: int) -> tuple[RoundFolder, TraceBuilder]:
        folder = self._committed(round_)
        trace = folder.trace
        if trace is None or leaf >= len(trace.states):
            raise PeerRefused("no-such-state", f"There is no leaf {leaf} of round {folder.body.round} here")
        return folder, trace

    async def _payload(self, request: Request) -> Reply:
        f = Fields(request.params, "payload")
        round_, part = f.integer("round", 1), f.integer("part")
        f.done()
        return await asyncio.to_thread(self._payload_of, round_, part)

    def _payload_of(self, round_: int, part: int) -> Reply:
        folder = self._committed(round_)
        if not folder.released:
            raise PeerRefused("too-early", "No payload leaves before its commitment is anchored", f"round {round_}")
        message, data = self._own_part(folder)(part)
        return Reply({"message": message.to_json()}, data)

    def _committed(self, round_: int) -> RoundFolder:
        folder = self._journal.committed_round(round_)
        if folder is None:
            raise PeerRefused("no-such-round", f"There is nothing of round {round_} here", "it is settled, or was idle")
        return folder

    async def _block(self, request: Request) -> Reply:
        f = Fields(request.params, "block")
        cid = parse_cid(f.text("cid", 100))
        f.done()
        return Reply({}, await asyncio.to_thread(self._checkpoints.block, cid))

    # --- what members tell each other --------------------------------------------------------------------------------

    async def _offence(self, request: Request) -> Reply:
        if request.caller.index is None:
            raise PeerRefused("members-only", "Signers are told of offences, they tell none here")
        f = Fields(request.params, "offence")
        index_size = f.integer("index_size", 0, len(request.body))
        f.done()
        offence, blobs = await asyncio.to_thread(offences.unpack, request.body, index_size)
        await self._accuse(request.caller.index, offence, blobs)
        return Reply()

    def _signers_only(self, request: Request) -> None:
        if request.caller.role != "signer":
            raise PeerRefused("signers-only", f"Only signers may ask for a {request.method}")


def _reply(reduced: Reduced) -> Reply:
    return Reply({"result": reduced.result.to_json()}, reduced.data)


def _listening(listen: str) -> tuple[str, int]:
    """host:port to listen on, where port 0 takes a free one."""
    host, _, port = listen.rpartition(":")
    return (host.removeprefix("[").removesuffix("]"), 0) if port == "0" else split_address(listen)


def told_at(bound: str, registered: str) -> str:
    """Where others are told to connect: where this process listens or, if that is all of its machine's addresses, where
    it is registered. Raises PeerUnreachable when nobody could connect there.
    """
    try:
        check_address(bound)
    except PeerUnreachable:
        check_address(registered or bound)
        return registered
    return bound
