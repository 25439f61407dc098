"""Training states that members show: fetched array by array, checked against the trace, kept as files for a replay.

A state takes 16 bytes a parameter, minutes over a thin link. Its arrays come in pieces, so that a link that breaks or a
signer that is killed costs a piece, and what is known here does not come at all: the base, zeros, and an array that
two states of a draw share.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from commonweight.errors import CommonweightError, FormatError, OracleError, PeerError, PeerRefused
from commonweight.exact.arrays import F32, array_digest, to_bytes
from commonweight.exact.trace import ARRAYS, State
from commonweight.net import Reply
from commonweight.protocol import merkle
from commonweight.protocol.canonical import JsonObject, sha256_hex
from commonweight.protocol.fields import Fields, digest_bytes
from commonweight.protocol.records import Commitment, Plan, StateDigests
from commonweight.protocol.safetensors import Tensor, write
from commonweight.protocol.trace import STATE_PIECE, final_leaf
from oracle.blobs import Blobs
from oracle.db import Draw
from oracle.desk import Desk
from oracle.seat import in_thread

_PIECE_S = 60.0
"""An answer may take half of the time that is left, and this at least: a dead link does not take all of it."""
Known = Mapping[str, F32]
"""Arrays that are here, by digest."""


class States:
    """The states that draws wait for, at one signer."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._seat = desk.seat
        self._files = Blobs(desk.seat.folder("states"))
        self._pieces = desk.seat.folder("pieces")
        self._begun: set[Path] = set()
        self._active: dict[str, tuple[asyncio.Lock, int]] = {}

    # --- files of whole states ---------------------------------------------------------------------------------------

    def path(self, digest: str) -> Path:
        """Where the file of a state lies, or would lie."""
        return self._files.path(digest)

    def drop(self, digest: str) -> None:
        """Forget a state's file."""
        self._files.drop(digest)

    def keep_only(self, digests: set[str], draws: Iterable[Draw]) -> None:
        """Forget all files but these, and pieces for other draws than these and those that are being fetched."""
        self._files.keep_only(digests)
        kept = (*map(_prefix, draws), *self._active)
        for path in self._pieces.iterdir():
            if not path.name.startswith(kept):
                path.unlink(missing_ok=True)
                self._begun.discard(path)

    # --- from a member -----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def fetching(self, draw: Draw, plan: Plan) -> AsyncIterator[Known]:
        """Fetch for a draw within this block, which waits for its turn; gives what need not come. Pieces that have come
        stay until its end, and beyond it where something else than the member ends it: this process, or a disk.
        """
        prefix = _prefix(draw)
        turn, others = self._active.get(prefix, (asyncio.Lock(), 0))
        self._active[prefix] = turn, others + 1
        try:
            async with turn:
                yield await in_thread(lambda: self._known(plan)) if draw.segment == 0 else {}
                for path in self._pieces.glob(f"{prefix}*"):
                    path.unlink(missing_ok=True)
                    self._begun.discard(path)
        finally:
            turn, users = self._active.pop(prefix)
            if users > 1:
                self._active[prefix] = turn, users - 1

    async def leaf(self, draw: Draw, commitment: Commitment, leaf: int, until: float) -> tuple[StateDigests, bytes]:
        """The digests of the state at a leaf of a member's trace, and the leaf's data. Raises PeerError, or FormatError
        for what its commitment does not hold.
        """
        reply = await self._ask(draw, "state", {"round": draw.round, "leaf": leaf}, 0, until)
        f = Fields({**reply.params}, "state")
        digests = f.child("digests", StateDigests.read)
        return digests, require_leaf(commitment, leaf, digests, f.digests("proof", 0, 32))

    async def state(self, draw: Draw, commitment: Commitment, leaf: int, known: Known, until: float) -> str:
        """Fetch the state at a leaf and keep it; returns the digest of its file. `until` is on the seat's clock.

        Raises PeerError, or FormatError for what is not what was committed to.
        """
        digests, _ = await self.leaf(draw, commitment, leaf, until)
        zeros, arrays = await in_thread(lambda: self._zeros), {}
        for name in ARRAYS:
            digest = getattr(digests, name)
            where: JsonObject = {"round": draw.round, "leaf": leaf, "array": name}
            if digest == zeros:
                arrays[name] = bytes(4 * self._seat.numel)
            elif digest in known:
                arrays[name] = to_bytes(known[digest])
            else:
                arrays[name] = await self._array(draw, digest, where, until)
        return await in_thread(lambda: self._keep(digests.step, arrays))

    def _known(self, plan: Plan) -> Known:
        """The base, with which a trace may begin, by its digest; nothing where it cannot be had here."""
        try:
            weights = self._desk.checkpoints.get(plan.base, plan.base_cid).checkpoint.weights
        except CommonweightError:
            return {}
        return {array_digest(weights): weights}

    @cached_property
    def _zeros(self) -> str:
        return array_digest(np.zeros(self._seat.numel, np.float32))

    def _keep(self, step: int, arrays: Mapping[str, bytes]) -> str:
        tensors = {name: Tensor("F32", (self._seat.numel,), data) for name, data in arrays.items()}
        data = write(tensors | {"step": Tensor("I64", (), step.to_bytes(8, "little", signed=True))})
        State.from_bytes(data, self._seat.numel)
        return self._files.put(data)

    async def _array(self, draw: Draw, digest: str, where: JsonObject, until: float) -> bytes:
        """The bytes of an array, from where an earlier try has ended. What lay here before this process began may have
        lost bytes with the power: if it does not fit, all comes anew before the member is to blame.
        """
        path, size = self._pieces / f"{_prefix(draw)}{digest[2:]}", 4 * self._seat.numel
        while (have := _size(path)) < size:
            if have == 0:
                self._begun.add(path)
            reply = await self._ask(draw, "array", {**where, "from": have}, STATE_PIECE, until)
            if len(reply.body) != min(STATE_PIECE, size - have):
                raise FormatError("A piece of an array has another length", f"{len(reply.body)} bytes at {have}")
            await in_thread(partial(_append, path, reply.body))
        data = await in_thread(path.read_bytes)
        if await in_thread(partial(sha256_hex, data)) == digest:
            return data
        path.unlink(missing_ok=True)
        if path in self._begun:
            raise FormatError("An array is not the one that was committed to", f"{where['array']} of {digest}")
        return await self._array(draw, digest, where, until)

    async def _ask(self, draw: Draw, method: str, params: JsonObject, most: int, until: float) -> Reply:
        """Ask the member. Raises PeerError."""
        member = self._seat.db.members().get(draw.member)
        provider = self._desk.view.provider(draw.member)
        if provider is None:
            raise PeerRefused("unknown-member", f"Provider {draw.member} is not registered")
        address = member.peer if member is not None else provider.peer
        if (left_s := until - self._seat.clock()) <= 0:
            raise PeerError("The state did not come in time", f"{method} of round {draw.round}")
        timeout_s = min(left_s, max(_PIECE_S, left_s / 2))
        return await self._desk.dialer.call(
            address, provider.signing_key, method, params, timeout_s=timeout_s, max_reply=most
        )


def require_leaf(commitment: Commitment, leaf: int, state: StateDigests, proof: Sequence[str]) -> bytes:
    """The data of a leaf of a committed trace, at which this state stands; FormatError when another one does."""
    trace, parts = commitment.trace, [part.digest for part in commitment.parts]
    data = final_leaf(state, parts, trace.new_residual) if leaf == trace.leaves - 1 else state.leaf()
    merkle.require(digest_bytes(trace.root), data, leaf, trace.leaves, [digest_bytes(node) for node in proof])
    return data


def _prefix(draw: Draw) -> str:
    """No two members share an array under way: one that stalls holds up nobody else."""
    return f"{draw.round}-{draw.member}-{draw.segment}-"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _append(path: Path, data: bytes) -> None:
    """Raises OracleError when the disk refuses; what it took stays."""
    try:
        with path.open("ab") as stream:
            stream.write(data)
    except OSError as error:
        raise OracleError(f"{path.name} could not be written", str(error), "free space on that disk") from error
