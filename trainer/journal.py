"""A member's own state on disk: what it has promised, and everything that is needed to keep the promise after a crash.

Arrays lie in `arrays/` under the SHA-256 of their bytes, so an array that many trace states share is kept once. A
round has a folder with its plan, its trace as far as it got, its payload and its commitment. Small files are replaced
whole (written aside, synced, renamed); a commitment is on disk before anybody sees it, so a restarted member sends the
same one again and never signs a second. What the next round begins with is there before the commitment; another array
that a power failure has damaged no longer has its name and counts as lost.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

from commonweight.errors import TrainingError
from commonweight.exact.arrays import F32, array_digest, as_f32, from_bytes
from commonweight.exact.trace import ARRAYS, State, TraceBuilder
from commonweight.protocol.canonical import JsonObject, dumps, loads_object
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import Fields, digest_bytes
from commonweight.protocol.records import Commitment, Plan, StateDigests
from commonweight.protocol.trace import MAX_LEAVES, Trace

_log = logging.getLogger("commonweight.trainer")
_AT_ONCE, _AGAIN, _HASHED = 8, 4, 64
Each = Callable[[Callable[[str], str], Iterable[str]], Iterable[str]]
"""The built-in `map`, or one that takes several at once."""
GONE = ".gone-"
"""How the names of folders begin that are being deleted."""


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file by `data`: after a crash it is either the old one or the new one, after a return the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_whole(folder: Path, beside: Path) -> None:
    """Delete a folder, if it is there. It is out of its place at once, in the folder `beside`, so that no kill leaves
    half of it; what cannot be deleted there, `sweep_removed` tries again.
    """
    gone = beside / f"{GONE}{folder.name}"
    shutil.rmtree(gone, ignore_errors=True)
    try:
        folder.rename(gone)
    except FileNotFoundError:
        return
    shutil.rmtree(gone, ignore_errors=True)


def sweep_removed(beside: Path) -> None:
    """Delete what is left of folders that were being deleted."""
    for gone in beside.glob(f"{GONE}*"):
        shutil.rmtree(gone, ignore_errors=True)


class Arrays:
    """float32 arrays by the SHA-256 of their little-endian bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._hashed: dict[str, tuple[int, int, int]] = {}

    def put(self, array: F32, digest: str | None = None) -> str:
        """Store an array; returns its digest, 0x-hex (computed when the caller does not know it). What is there is
        left alone, unless a power failure has cut it short.
        """
        digest = digest or array_digest(array)
        path = self._path(digest)
        if not path.exists() or path.stat().st_size != 4 * array.size:
            aside = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
            try:
                aside.write_bytes(as_f32(array).astype("<f4", copy=False).data.cast("B"))
                aside.replace(path)
            except OSError:
                aside.unlink(missing_ok=True)
                raise
        return digest

    def get(self, digest: str) -> F32:
        """The array of a digest; TrainingError when it is not here or damaged."""
        path = self._path(digest)
        if not path.exists():
            raise TrainingError(f"The array {digest} is not here any more", "its epoch is settled, or it was lost")
        raw = path.read_bytes()
        if "0x" + hashlib.sha256(raw).hexdigest() != digest:
            path.unlink()
            raise TrainingError(f"The array {digest} is damaged", "the disk holds other bytes under its name")
        return from_bytes(raw)

    def piece(self, digest: str, start: int, most: int) -> bytes | None:
        """Up to `most` bytes of an array from byte `start` on; None when it is not here or damaged. Each process hashes
        it once, and again when its file has changed.
        """
        try:
            with self._path(digest).open("rb") as stream:
                held = os.fstat(stream.fileno())
                file = (held.st_ino, held.st_mtime_ns, held.st_size)
                if self._hashed.get(digest) != file:
                    if "0x" + hashlib.file_digest(stream, "sha256").hexdigest() != digest:
                        return None
                    if len(self._hashed) >= _HASHED:
                        self._hashed.clear()
                    self._hashed[digest] = file
                stream.seek(start)
                return stream.read(most)
        except FileNotFoundError:
            return None

    def sync(self, digests: set[str]) -> None:
        """Bring these arrays to the disk."""
        for digest in digests:
            with self._path(digest).open("rb+") as stream:
                os.fsync(stream.fileno())
        _sync_folder(self.folder)

    def drop(self, digests: set[str]) -> None:
        """Delete these arrays."""
        for digest in digests:
            self._path(digest).unlink(missing_ok=True)

    def keep_only(self, digests: set[str]) -> None:
        """Delete every other array."""
        names = {self._path(digest).name for digest in digests}
        for path in self.folder.iterdir():
            if path.name not in names:
                path.unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest[2:]}.f32"


class RoundFolder:
    """What a member keeps of one round; `plan` is the signed plan that it works by."""

    def __init__(self, folder: Path, plan: Signed) -> None:
        self.folder = folder
        self.plan = plan
        self.body = Plan.from_body(plan.body)

    @property
    def commitment(self) -> Signed | None:
        """The commitment, when one was signed."""
        path = self.folder / "commitment.json"
        return Signed.from_bytes(path.read_bytes()) if path.exists() else None

    @property
    def trace(self) -> TraceBuilder | None:
        """The trace so far, one state per leaf; None before the first state was kept."""
        path = self.folder / "trace.json"
        if not path.exists():
            return None
        f = Fields(loads_object(path.read_bytes()), "trace")
        return TraceBuilder(f.optional_digest("previous"), list(f.objects("states", StateDigests.read, 1, MAX_LEAVES)))

    def save_trace(self, trace: TraceBuilder) -> None:
        """Replace the trace."""
        value: JsonObject = {"previous": trace.previous, "states": [state.to_json() for state in trace.states]}
        write_whole(self.folder / "trace.json", dumps(value))

    @property
    def base_weights(self) -> str | None:
        """The digest of the base's weights, where the member went ahead of it: its first state does not name them."""
        path = self.folder / "base.txt"
        return path.read_text() if path.exists() else None

    def save_base(self, digest: str) -> None:
        """Note the base's weights."""
        write_whole(self.folder / "base.txt", digest.encode())

    def save_payload(self, parts: Sequence[bytes]) -> None:
        """Store the encoded parts, several at once: each waits for the disk."""
        with ThreadPoolExecutor(min(len(parts), _AT_ONCE), "parts") as pool:
            paths = [self.folder / f"part-{number:05d}.bin" for number in range(len(parts))]
            list(pool.map(write_whole, paths, parts))

    def payload_part(self, part: int) -> bytes:
        """One encoded part; TrainingError when there is none."""
        path = self.folder / f"part-{part:05d}.bin"
        if not path.exists():
            raise TrainingError(f"Part {part} of round {self.body.round} is not here", "it was not made, or is dropped")
        return path.read_bytes()

    @property
    def released(self) -> bool:
        """Whether the payload may leave: the window is over and the commitment was seen on chain."""
        return (self.folder / "released").exists()

    def release(self) -> None:
        """Note that the payload may leave."""
        (self.folder / "released").touch()

    @property
    def settled(self) -> bool:
        """Whether the round's record was seen here."""
        return (self.folder / "settled").exists()

    def settle(self) -> None:
        """Note that the round's record was seen, and what follows from it was done."""
        (self.folder / "settled").touch()

    def save_commitment(self, commitment: Signed) -> None:
        """Store the one commitment of this plan; TrainingError when another one is already there."""
        known = self.commitment
        if known is not None and known.digest != commitment.digest:
            raise TrainingError(f"Round {self.body.round} has a commitment", "a second one would be equivocation")
        write_whole(self.folder / "commitment.json", commitment.to_bytes())


@dataclass(frozen=True)
class Start:
    """The state that a round starts from, the commitment that it continues (None: from zeros), and what is known.

    `known` are the digests of arrays that need no hashing, by their names in a state.
    """

    state: State
    previous: str | None
    known: Mapping[str, str]


@dataclass(frozen=True)
class Position:
    """Where a member stands: the commitment that was counted last, its last state, and the residual after it."""

    round: int
    commitment: str
    last: StateDigests
    new_residual: str

    def to_json(self) -> JsonObject:
        """The position as it is stored."""
        return {
            "round": self.round,
            "commitment": self.commitment,
            "last": self.last.to_json(),
            "new_residual": self.new_residual,
        }

    @classmethod
    def read(cls, f: Fields) -> Position:
        """Reads what `to_json` writes."""
        return cls(
            f.integer("round", 1), f.digest("commitment"), f.child("last", StateDigests.read), f.digest("new_residual")
        )


class Journal:
    """The state folder of one member of one run; `recompute` is the trainer's way to states that are not kept.

    `unbound` is a trace that belongs to no round yet: its arrays stay. Hold `storing` from an array's storing until
    something names it: what nothing names may go at any time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rounds_folder = folder / "rounds"
        self.rounds_folder.mkdir(parents=True, exist_ok=True)
        self.arrays = Arrays(folder / "arrays")
        self._again = Arrays(folder / "again")  # of states that were computed again and are asked for in pieces
        self._again.keep_only(set())
        self._asked: deque[StateDigests] = deque(maxlen=_AGAIN)
        self._asking = threading.Lock()
        self.recompute: Callable[[RoundFolder, int], State] | None = None
        self.unbound: TraceBuilder | None = None
        self.storing = threading.Lock()
        self._forgotten = (-1, -1)

    # --- rounds ------------------------------------------------------------------------------------------------------

    def open_round(self, plan: Signed) -> RoundFolder:
        """The folder of a plan, made when it is not there yet."""
        number = Plan.from_body(plan.body).round
        folder = self.rounds_folder / f"{number:08d}-{plan.digest[2:18]}"
        folder.mkdir(exist_ok=True)
        if not (folder / "plan.json").exists():
            write_whole(folder / "plan.json", plan.to_bytes())
        return RoundFolder(folder, plan)

    def rounds(self, after: int = 0) -> Iterator[RoundFolder]:
        """Every round with a higher number that is kept, oldest first."""
        return self._opened(lambda number: number > after)

    def committed_round(self, number: int) -> RoundFolder | None:
        """The round of that number for which a commitment was signed, if there is one."""
        matches = [r for r in self._opened(number.__eq__) if r.commitment is not None]
        return matches[-1] if matches else None

    def _opened(self, wanted: Callable[[int], bool]) -> Iterator[RoundFolder]:
        folders = self.rounds_folder.iterdir()
        for folder in sorted(folder for folder in folders if wanted(int(folder.name.partition("-")[0]))):
            if (folder / "plan.json").exists():
                yield RoundFolder(folder, Signed.from_bytes((folder / "plan.json").read_bytes()))

    def sweep(self) -> None:
        """Delete what a kill has left of rounds that were being begun or forgotten. For whoever writes here alone."""
        sweep_removed(self.folder)
        for folder in [f for f in self.rounds_folder.iterdir() if not (f / "plan.json").exists()]:
            shutil.rmtree(folder)

    def forget_before(self, epoch: int, reported: int) -> None:
        """Drop rounds up to `reported` of epochs before `epoch`, and every array that nothing names any more.

        Later rounds of those epochs were carried over to a later report; signers may still ask for their states. Once
        for each pair.
        """
        if (epoch, reported) == self._forgotten:
            return
        with self.storing:
            self._forget_before(epoch, reported)
        self._forgotten = epoch, reported

    def _forget_before(self, epoch: int, reported: int) -> None:
        for entry in list(self.rounds()):
            if entry.body.epoch < epoch and entry.body.round <= reported:
                remove_whole(entry.folder, self.folder)
        self.arrays.keep_only(self._named(self.rounds(), lambda *_: True))
        self._keep_none_again()

    def thin(self, every: int, enough: Callable[[], bool]) -> None:
        """Drop states of all rounds but the newest until `enough`, oldest first: of a round with a commitment those
        between its first and each `every`-th one, which `recompute` gives again; of one without, all.
        """
        with self.storing:
            self._keep_none_again()
            rounds = list(self.rounds())
            newest = max((entry.body.round for entry in rounds), default=0)
            thinned: set[Path] = set()

            def stays(entry: RoundFolder, leaf: int) -> bool:
                return entry.folder not in thinned or (entry.commitment is not None and leaf % every == 0)

            for entry in rounds:
                if entry.body.round == newest or enough():
                    return
                thinned.add(entry.folder)
                self.arrays.drop(self._named([entry], lambda *_: True) - self._named(rounds, stays))

    def _named(self, rounds: Iterable[RoundFolder], stays: Callable[[RoundFolder, int], bool]) -> set[str]:
        """The digests of arrays that the next round begins with, or these rounds name outside states that go."""
        named: set[str] = set()
        for entry in rounds:
            if (trace := entry.trace) is not None:
                named.update(*(_arrays(state) for leaf, state in enumerate(trace.states) if stays(entry, leaf)))
            if (commitment := entry.commitment) is not None:
                named.add(Commitment.from_body(commitment.body).trace.new_residual)
            if (base := entry.base_weights) is not None:
                named.add(base)
        if self.unbound is not None:
            named.update(*map(_arrays, self.unbound.states))
        if (position := self.position) is not None:
            named |= {position.last.m, position.last.v, position.new_residual}
        return named

    # --- the member's own state --------------------------------------------------------------------------------------

    @property
    def position(self) -> Position | None:
        """The last counted commitment; None for a member that has none yet."""
        path = self.folder / "position.json"
        if not path.exists():
            return None
        return Position.read(Fields(loads_object(path.read_bytes()), "position"))

    def counted(self, commitment: Signed) -> None:
        """Move on: this commitment of ours was counted, the next round continues from its last state."""
        body = Commitment.from_body(commitment.body)
        self.move(Position(body.round, commitment.digest, body.trace.last, body.trace.new_residual))

    def secure(self, trace: Trace) -> None:
        """Bring to the disk where a trace has ended, which the next round begins with once this one is counted."""
        self.arrays.sync({*_arrays(trace.last), trace.new_residual})

    def move(self, position: Position | None) -> None:
        """Stand there; None: have no history."""
        if position is None:
            (self.folder / "position.json").unlink(missing_ok=True)
        else:
            write_whole(self.folder / "position.json", dumps(position.to_json()))

    def refuse(self, record: str, why: str) -> None:
        """Note that a record, by its digest, was found wrong: nothing is to go on from it."""
        folder = self.folder / "refused"
        folder.mkdir(exist_ok=True)
        write_whole(folder / digest_bytes(record).hex(), why.encode())

    def refused(self, record: str) -> str | None:
        """Why a record was found wrong here; None when it was not."""
        path = self.folder / "refused" / digest_bytes(record).hex()
        return path.read_text() if path.exists() else None

    def first_state(self, base_weights: F32) -> Start:
        """The state that the next round starts from: after the last counted commitment, or fresh."""
        position = self.position
        if position is None:
            return self._fresh(base_weights)
        known = {"m": position.last.m, "v": position.last.v, "residual": position.new_residual}
        try:
            arrays = {name: self.arrays.get(digest) for name, digest in known.items()}
        except TrainingError:
            return self._fresh(base_weights)
        return Start(State(position.last.step, base_weights, **arrays), position.commitment, known)

    def _fresh(self, base_weights: F32) -> Start:
        zeros = _zeros_digest(base_weights.size)
        return Start(State.fresh(base_weights), None, dict.fromkeys(("m", "v", "residual"), zeros))

    def load_state(self, digests: StateDigests) -> State:
        """The arrays of a trace state; TrainingError when one is gone."""
        get = self.arrays.get
        return State(digests.step, get(digests.weights), get(digests.m), get(digests.v), get(digests.residual))

    def state(self, folder: RoundFolder, leaf: int) -> State:
        """The state at a leaf of a round, computed again if it was not kept; TrainingError when it cannot be had."""
        trace = folder.trace
        if trace is None or not 0 <= leaf < len(trace.states):
            raise TrainingError(f"There is no leaf {leaf} of round {folder.body.round} here", "it was not reached")
        try:
            return self.load_state(trace.states[leaf])
        except TrainingError:
            if self.recompute is None:
                raise
            return self.recompute(folder, leaf)

    def piece(self, folder: RoundFolder, leaf: int, name: str, start: int, most: int) -> bytes:
        """Up to `most` bytes, from byte `start` on, of the array `name` of the state at a leaf of a round.

        TrainingError as for `state`.
        """
        trace = folder.trace
        if trace is not None and 0 <= leaf < len(trace.states):
            digest: str = getattr(trace.states[leaf], name)
            for arrays in (self.arrays, self._again):
                if (found := arrays.piece(digest, start, most)) is not None:
                    self._ask_again(trace.states[leaf])
                    return found
        state = self.state(folder, leaf)
        self._keep_again(state)
        return _bytes_of(getattr(state, name), start, most)

    def _ask_again(self, digests: StateDigests) -> None:
        """A state that was computed again, if this is one, was asked for just now."""
        with self._asking:
            if digests in self._asked:
                self._asked.remove(digests)
                self._asked.append(digests)

    def _keep_none_again(self) -> None:
        with self._asking:
            self._asked.clear()
            self._again.keep_only(set())

    def _keep_again(self, state: State) -> None:
        """Keep a state that was computed again for its other pieces, instead of the one asked for longest ago."""
        digests = state.digests
        with self._asking:
            if digests not in self._asked:
                self._asked.append(digests)
            self._again.keep_only(set().union(*map(_arrays, self._asked)))
            try:
                for name in ARRAYS:
                    self._again.put(getattr(state, name), getattr(digests, name))
            except OSError as error:  # each piece costs the steps again, then
                _log.warning("a state that was computed again cannot be kept: %s", error)

    def drop_state(self, trace: TraceBuilder, leaf: int) -> None:
        """Delete the arrays of a leaf that no other state of its trace and not the position names."""
        named = {digest for at, other in enumerate(trace.states) if at != leaf for digest in _arrays(other)}
        if (position := self.position) is not None:
            named |= {*_arrays(position.last), position.new_residual}
        self.arrays.drop(_arrays(trace.states[leaf]) - named)

    def store_state(
        self, state: State, known: Mapping[str, str] = MappingProxyType({}), each: Each = map
    ) -> StateDigests:  # fmt: skip
        """Store the arrays of a state; returns its digests. `known` are those that need no hashing, by array; `each`
        may take several at once, as an executor's `map` does.
        """

        def put(name: str) -> str:
            return self.arrays.put(getattr(state, name), known.get(name))

        return StateDigests(state.step, *each(put, ARRAYS))


def _bytes_of(array: F32, start: int, most: int) -> bytes:
    return as_f32(array).astype("<f4", copy=False).data.cast("B")[start : start + most].tobytes()


@cache
def _zeros_digest(numel: int) -> str:
    return array_digest(np.zeros(numel, np.float32))


def _arrays(state: StateDigests) -> set[str]:
    return {state.weights, state.m, state.v, state.residual}
