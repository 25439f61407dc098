"""The signers as a member sees them: their methods as calls, the coordinator first and the others when it is silent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from commonweight.errors import (
    CommonweightError,
    FormatError,
    PeerError,
    PeerRefused,
    PeerUnreachable,
    SignatureError,
)
from commonweight.net import DEFAULT_MAX_REPLY, MAX_ADDRESS, Dialer, Reply, offences
from commonweight.protocol.canonical import JsonObject, loads
from commonweight.protocol.capacity import MOST_RECEIPTS
from commonweight.protocol.documents import Signed, recover, verify
from commonweight.protocol.fields import U32, Fields
from commonweight.protocol.offences import Offence
from commonweight.protocol.records import MAX_MEMBERS, Anchor, Plan, Receipt, Record, open_signed
from commonweight.protocol.typed import Domain

T = TypeVar("T")
D = TypeVar("D", Plan, Record, Receipt, Anchor)

Fits = Callable[[Signed, Record], Awaitable[bool]]
"""Whether a record is the one that is looked for."""

_log = logging.getLogger("commonweight.trainer")
_CALL_S = 10.0
_SLOWEST_BPS = 1 << 16  # bytes per second of the slowest link that a part is given time for
_JOIN_S = 4.0
_POLL_MS = 8000
_MAX_DOCUMENT = 16 << 20


@dataclass(frozen=True)
class Peer:
    """Where the signers say that a member listens, and with which key."""

    index: int
    key: str
    address: str


@dataclass(frozen=True)
class Roster:
    """Who committed in time: commitments with at least one receipt, the anchors decided on, and the members' addresses.

    Signatures of signers are checked; a member's own are checked against the registry by who uses them.
    """

    commitments: tuple[Signed, ...]
    anchors: tuple[Anchor, ...]
    peers: tuple[Peer, ...]


class Signers:
    """Calls to the signers of a run. `peers` maps their addresses (lower case) to host:port."""

    def __init__(self, dialer: Dialer, domain: Domain, peers: Mapping[str, str]) -> None:
        self._dialer = dialer
        self._domain = domain
        self._peers = dict(peers)
        self._order = sorted(self._peers)
        self._coordinator: str | None = None
        self.last_round: int | None = None  # after which training is over, while the coordinator says that it is
        self._telling: set[asyncio.Task[Signed]] = set()

    def in_office(self, signers: Sequence[str]) -> None:
        """Follow a rotation: only these signers' documents count."""
        self._order = [a for a in self._order if a in signers] + [a for a in signers if a not in self._order]

    # --- one call ----------------------------------------------------------------------------------------------------

    async def _call(
        self, signer: str, method: str, params: JsonObject, body: bytes = b"", timeout_s: float = _CALL_S,
        max_reply: int = DEFAULT_MAX_REPLY,
    ) -> Reply:  # fmt: skip
        address = self._peers.get(signer)
        if address is None:
            raise PeerUnreachable(
                f"Nobody says where signer {signer} listens", "run.json does not name it", "use --signer-peers"
            )
        return await self._dialer.call(address, signer, method, params, body, timeout_s=timeout_s, max_reply=max_reply)

    async def _first(self, ask: Callable[[str], Awaitable[T]]) -> T:
        """The first signer's answer, in order; who fails is asked last the next time. Raises the last problem, of those
        with an answer if there are such.
        """
        problem: CommonweightError = PeerUnreachable("No signer is known", "", "name them by --signer-peers")
        for signer in list(self._order):
            try:
                return await ask(signer)
            except (PeerError, FormatError) as failed:
                problem = failed if isinstance(failed, FormatError) or isinstance(problem, PeerError) else problem
                _log.info("signer %s: %s", signer, failed)
                self._order = [*(other for other in self._order if other != signer), signer]
        raise problem

    async def _each(self, method: str, params: JsonObject) -> dict[str, Reply | CommonweightError]:
        """Everybody's answer or problem, within a few seconds."""

        async def one(signer: str) -> Reply | CommonweightError:
            try:
                return await self._call(signer, method, params, timeout_s=_JOIN_S)
            except PeerError as problem:
                return problem

        answers = await asyncio.gather(*(one(signer) for signer in self._order))
        return dict(zip(self._order, answers, strict=True))

    # --- membership --------------------------------------------------------------------------------------------------

    async def join(self, index: int, have: str | None, peer: str) -> None:
        """Say that this member is ready. Raises PeerError or FormatError when no signer gives an answer.

        Whom most signers name as the coordinator is whose plans are followed, and whose word that training is over is
        kept in `last_round`.
        """
        self._hear(await self._each("join", {"index": index, "have": have, "peer": peer}))

    def _hear(self, answers: dict[str, Reply | CommonweightError]) -> None:
        """What signers say of the run to members that come or go."""
        rounds, named = dict[str, int](), Counter[str]()
        for signer, answer in answers.items():
            if isinstance(answer, Reply):
                try:
                    f = Fields(answer.params, "answer")
                    rounds[signer] = f.integer("round")
                    named[f.address("coordinator")] += 1
                except FormatError as wrong:  # what one of them says wrong is no reason to hear none
                    _log.info("signer %s: %s", signer, wrong)
                    answers[signer] = wrong
        if not named:
            raise _problem(answers)
        self._coordinator = min(named, key=lambda signer: (-named[signer], signer))
        said, self.last_round = answers.get(self._coordinator), None
        if isinstance(said, Reply):  # it may be back: ask it first again
            if said.params.get("over") is True:
                self.last_round = rounds[self._coordinator]
            self._order = [self._coordinator, *(other for other in self._order if other != self._coordinator)]

    async def planned(self) -> int:
        """The newest round that the coordinator has planned, 0 for none: of the plans that signers have to show, as a
        number alone may be any. Raises PeerError when nobody answers.
        """
        answers = await self._each("plan", {"after": 0, "wait_ms": 0})
        if not any(isinstance(answer, Reply) for answer in answers.values()):
            raise _problem(answers)
        found = 0
        for signer, answer in answers.items():
            if isinstance(answer, Reply) and answer.body:
                try:
                    found = max(found, self._plan(answer.body)[1].round)
                except FormatError as wrong:
                    _log.info("signer %s: %s", signer, wrong)
        return found

    async def reach(self, peer: str) -> bool:
        """Whether a signer gets an answer from us at an address of ours; False too when none of them says anything."""
        answers = await self._each("reach", {"peer": peer})
        return any(isinstance(answer, Reply) and answer.params.get("reachable") is True for answer in answers.values())

    async def close(self) -> None:
        """Stop telling those who have not answered yet."""
        for call in self._telling:
            call.cancel()
        await asyncio.gather(*self._telling, return_exceptions=True)

    async def leave(self, index: int) -> None:
        """Say that this member goes, or is still away, and hear as by `join` whether training is over; a signer that
        cannot be told finds out by its silence.
        """
        answers = await self._each("leave", {"index": index})
        with contextlib.suppress(PeerError, FormatError):
            self._hear(answers)

    # --- a round -----------------------------------------------------------------------------------------------------

    async def plan(self, after: int) -> tuple[Signed, Plan] | None:
        """The coordinator's newest plan after a round; None when there is none within some seconds."""

        async def ask(signer: str) -> tuple[Signed, Plan] | None:
            reply = await self._poll(signer, "plan", {"after": after})
            found = None if reply is None else self._plan(reply.body)
            if found is not None and found[1].round <= after:
                raise FormatError("A signer shows an older plan than was asked for", f"{found[1].round}, not {after}")
            return found

        return await self._first(ask)

    def _plan(self, data: bytes) -> tuple[Signed, Plan]:
        """A plan that the coordinator signed; FormatError otherwise."""
        signed = Signed.from_bytes(data, _MAX_DOCUMENT)
        verify(signed, self._domain, Plan.KIND, self._coordinator)
        return signed, self.open(Plan, signed)

    async def commit(self, commitment: Signed) -> Signed:
        """Send a commitment to every signer; returns the first receipt, while the others are still being told.

        Raises PeerError when nobody gives one.
        """

        async def one(signer: str) -> Signed:
            reply = await self._call(signer, "commit", {"commitment": commitment.to_json()})
            receipt = Signed.from_json(reply.params.get("receipt"))
            if open_signed(Receipt, receipt, self._domain, signer).commitment != commitment.digest:
                raise PeerRefused("no-receipt", f"Signer {signer} gave a receipt for something else")
            return receipt

        calls = [asyncio.create_task(one(signer)) for signer in self._order]
        self._telling.update(calls)
        for call in calls:
            call.add_done_callback(self._told)
        problem: CommonweightError = PeerUnreachable("No signer is known", "", "name them by --signer-peers")
        for answer in asyncio.as_completed(calls):
            try:
                return await answer
            except (PeerError, FormatError) as failed:
                problem = failed
        raise problem

    def _told(self, call: asyncio.Task[Signed]) -> None:
        self._telling.discard(call)
        if not call.cancelled() and (problem := call.exception()) is not None:
            _log.info("no receipt: %s", problem)

    async def roster(self, round_: int) -> Roster | None:
        """Who committed, as soon as an anchor is decided on; None when it is not within some seconds."""

        async def ask(signer: str) -> Roster | None:
            reply = await self._poll(signer, "roster", {"round": round_})
            return None if reply is None else self._read_roster(reply.body)

        return await self._first(ask)

    async def record(self, round_: int, fits: Fits, wait_ms: int = _POLL_MS) -> tuple[Signed, Record] | None:
        """The record of a round; None when there is none within some seconds, or `wait_ms`.

        What somebody out of office has signed has to fit. Raises SignatureError when those who answer have but others.
        """

        async def ask(signer: str) -> tuple[Signed, Record] | None:
            reply = await self._poll(signer, "record", {"round": round_}, wait_ms)
            signed = None if reply is None else Signed.from_bytes(reply.body, _MAX_DOCUMENT)
            if signed is None:
                return None
            try:
                record = self.open(Record, signed)
            except SignatureError:
                record = open_signed(Record, signed, self._domain)
                if not await fits(signed, record):
                    raise
            if record.round != round_:
                raise FormatError(f"A signer shows the record of another round than {round_}", f"{record.round}")
            return signed, record

        return await self._first(ask)

    async def past_record(self, round_: int, fits: Fits) -> tuple[Signed, Record] | None:
        """A record of a round that fits, from whichever signer has one; None when nobody who answers has.

        Whoever signed it may be out of office by now: what it is worth, another document or the chain must say.
        Raises PeerError when nobody answers.
        """
        answered = False
        problem: PeerError = PeerUnreachable("No signer is known", "", "name them by --signer-peers")
        for signer in list(self._order):
            try:
                reply = await self._call(signer, "record", {"round": round_, "wait_ms": 0})
                answered = True
                if not reply.body:
                    continue
                signed = Signed.from_bytes(reply.body, _MAX_DOCUMENT)
                record = open_signed(Record, signed, self._domain)
                if record.round == round_ and await fits(signed, record):
                    return signed, record
            except FormatError as wrong:
                _log.info("signer %s: %s", signer, wrong)
            except PeerError as failed:
                problem = failed
                _log.info("signer %s: %s", signer, failed)
                self._order = [*(other for other in self._order if other != signer), signer]
        if not answered:
            raise problem
        return None

    async def upload(self, round_: int, part: int, message: Signed, data: bytes) -> None:
        """Give a part of the own payload to the coordinator, or to whichever signer takes it."""
        params: JsonObject = {"round": round_, "part": part, "message": message.to_json()}
        patience_s = 3 * _CALL_S + len(data) / _SLOWEST_BPS
        await self._first(lambda signer: self._call(signer, "payload", params, data, patience_s))

    async def result(self, result: Signed) -> None:
        """Report a reduced part; its bytes follow from the payloads, which the signers have."""
        await self._first(lambda signer: self._call(signer, "result", {"result": result.to_json()}))

    async def part(self, round_: int, part: int, size: int) -> bytes:
        """The canonical part, encoded, of at most `size` bytes; not verified here."""
        params: JsonObject = {"round": round_, "part": part}
        patience_s = _CALL_S + size / _SLOWEST_BPS
        reply = await self._first(
            lambda signer: self._call(signer, "part", params, timeout_s=patience_s, max_reply=size)
        )
        return reply.body

    async def offence(self, offence: Offence, blobs: Mapping[str, bytes]) -> None:
        """Report an offence, with its blobs, to every signer."""
        index_size, body = await asyncio.to_thread(offences.pack, offence, blobs)
        params: JsonObject = {"index_size": index_size}
        patience_s = 3 * _CALL_S + len(body) / _SLOWEST_BPS
        answers = await asyncio.gather(
            *(self._call(signer, "offence", params, body, patience_s) for signer in self._order), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                _log.info("an offence could not be reported: %s", answer)

    # --- reading answers ---------------------------------------------------------------------------------------------

    async def _poll(self, signer: str, method: str, params: JsonObject, wait_ms: int = _POLL_MS) -> Reply | None:
        """A long poll; None for "not yet"."""
        reply = await self._call(signer, method, params | {"wait_ms": wait_ms}, timeout_s=wait_ms / 1000 + _CALL_S)
        return reply if reply.body else None

    def _read_roster(self, data: bytes) -> Roster:
        """A roster whose commitments have a receipt by a signer in office; anchors by others are left out."""
        f = Fields(loads(data, _MAX_DOCUMENT), "roster")
        commitments, receipts, anchors = (
            [Signed.from_json(item) for item in f.items(name, 0, most)]
            for name, most in (
                ("commitments", 4 * MAX_MEMBERS),
                ("receipts", MOST_RECEIPTS),
                ("anchors", 4 * MAX_MEMBERS),
            )
        )
        peers = f.objects("members", _read_peer, 0, MAX_MEMBERS)
        receipted = {receipt.commitment for receipt in self._genuine(Receipt, receipts)}
        return Roster(
            tuple(signed for signed in commitments if signed.digest in receipted),
            tuple(self._genuine(Anchor, anchors)),
            peers,
        )

    def _genuine(self, kind: type[D], documents: Sequence[Signed]) -> list[D]:
        """The bodies of those documents that signers in office signed."""
        found = []
        for signed in documents:
            try:
                found.append(self.open(kind, signed))
            except FormatError as problem:
                _log.info("a %s is passed over: %s", kind.KIND, problem)
        return found

    def open(self, kind: type[D], signed: Signed) -> D:
        """The body of a document that a signer in office signed; FormatError otherwise."""
        if (signer := recover(signed, self._domain)) not in self._order:
            raise SignatureError(f"A {signed.kind} is signed by a stranger", f"{signer} is not a signer of this run")
        return open_signed(kind, signed, self._domain)


def _problem(answers: Mapping[str, Reply | CommonweightError]) -> CommonweightError:
    """Why nobody gave what was asked for."""
    problems = [answer for answer in answers.values() if isinstance(answer, CommonweightError)]
    return problems[0] if problems else PeerRefused("no-answer", "No signer gave a usable answer")


def _read_peer(f: Fields) -> Peer:
    return Peer(f.integer("index", 0, U32), f.address("key"), f.text("peer", MAX_ADDRESS))
