"""The butterfly all-reduce: part j of every payload goes to reducer j, which answers each sender with the reduced part.

A reducer takes only what a registered key has signed for this very plan, checks digest and norm against the anchored
commitment, decodes while further parts arrive, and reduces when all are in or when its time is over. Whoever has no
result by then, or cannot reach the reducer, turns to the part's backup. What is missing in the end is left to the
signers' canonical parts. The transport is anything that carries a call to a member by its index.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from commonweight.errors import (
    CommonweightError,
    FormatError,
    PayloadError,
    PeerError,
    PeerRefused,
    PeerTimeout,
    PeerUnreachable,
    RuleBroken,
    TrainingError,
)
from commonweight.exact.arrays import F32
from commonweight.exact.payload import check_part, open_part
from commonweight.exact.round import ReducedPart, reduce_part
from commonweight.net import Reply
from commonweight.protocol.canonical import JsonObject, sha256_hex
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import digest_over
from commonweight.protocol.offences import Blob, Offence, part_blob
from commonweight.protocol.parts import part_range
from commonweight.protocol.records import (
    Commitment,
    Link,
    PartMessage,
    Plan,
    Result,
    open_signed,
    sign_body,
)
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.structure import check_part_message, check_result, counted_tokens
from commonweight.protocol.typed import Domain
from commonweight.store.cid import cid_of

_log = logging.getLogger("commonweight.trainer")

REDUCE_BY, BACKUP_FROM, BACKUP_BY = 0.4, 0.55, 0.8
"""When a reducer stops waiting, senders turn to the backup, and the backup stops waiting: shares of the exchange."""
_PAUSE_S = (0.25, 4.0)
"""Before a reducer is tried again: the first pause and the longest; each is twice the one before."""
_WRONG_TARGET = ("wrong-run", "wrong-round", "wrong-base", "wrong-layout")


class Transport(Protocol):
    """Calls to other members by index."""

    async def call(self, index: int, method: str, params: JsonObject, body: bytes, timeout_s: float) -> Reply:
        """A call and its reply; raises PeerError."""

    async def rtt_us(self, index: int) -> int:
        """A round-trip time in microseconds; raises PeerError."""


class Reports(Protocol):
    """Where an exchange tells what the signers have to know. Neither call raises."""

    async def reduced(self, result: Signed, data: bytes) -> None:
        """This member has reduced a part."""

    async def offence(self, offence: Offence, blobs: Mapping[str, bytes]) -> None:
        """A member has signed something that proves it wrong."""


@dataclass(frozen=True)
class Seat:
    """Who this member is: index, signing key and domain, and the keys of all others by index (lower case)."""

    index: int
    key: bytes = field(repr=False)
    domain: Domain
    keys: Callable[[int], str | None]


OwnPart = Callable[[int], tuple[Signed, bytes]]
"""This member's own payload: a part's signed message and bytes."""


@dataclass(frozen=True)
class Reduced:
    """A reduced part: the signed result and its encoded bytes."""

    result: Signed
    data: bytes


@dataclass
class _Arrivals:
    """What has come in for one part that this member may reduce, and the links that it measured, by sender."""

    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    decoded: dict[int, F32] = field(default_factory=dict)
    encoded: dict[int, bytes] = field(default_factory=dict)
    links: dict[int, Link] = field(default_factory=dict)
    closed: bool = False

    def close(self) -> dict[int, F32]:
        """Take no more; what was decoded so far, which stays here no longer."""
        self.closed = True
        decoded, self.decoded = self.decoded, {}
        return decoded


class Exchange:
    """One round's all-reduce at one member.

    Made as soon as the plan is known, so that early senders can wait here. `run` begins when the anchor window is over
    and this member has seen the commitments anchored; afterwards the results stay here for whoever still asks.
    """

    def __init__(
        self, config: RunConfig, plan: Signed, seat: Seat, transport: Transport, reports: Reports,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self.plan = Plan.from_body(plan.body)
        self.signed_plan = plan
        self.results: dict[int, Reduced] = {}
        self.refused: dict[int, str] = {}
        self._config = config
        self._numel = config.model.parameters()
        self._seat = seat
        self._transport = transport
        self._reports = reports
        self._clock = clock
        self._commitments: dict[int, tuple[Signed, Commitment]] = {}
        self._begun = asyncio.Event()
        self._changed = asyncio.Condition()
        self._arrivals = {
            part: _Arrivals() for part in range(self.plan.parts) if seat.index in self.plan.reducers_of(part)
        }

    # --- the round ---------------------------------------------------------------------------------------------------

    async def run(self, commitments: Mapping[int, Signed], own_part: OwnPart | None) -> None:
        """Exchange with the members whose anchored commitments these are; `results` holds what came of it.

        `own_part` gives this member's signed message and bytes of a part, None when it has committed to nothing.
        Returns when every part has a result, or at the plan's `exchange_by`; at once in a star, whose members give
        nothing to each other.
        """
        self._commitments = {i: (signed, Commitment.from_body(signed.body)) for i, signed in commitments.items()}
        if not self.plan.reducers:
            self._begun.set()
            return
        start = self._clock()
        span_s = max(0.1, self.plan.exchange_by_ms / 1000 - start)
        self._begun.set()
        try:
            async with asyncio.timeout(span_s), asyncio.TaskGroup() as group:
                group.create_task(self._finish())
                for part in range(self.plan.parts):
                    group.create_task(self._obtain(part, own_part, span_s))
                    if part in self._arrivals:
                        group.create_task(self._reduce(part, span_s))
        except TimeoutError:
            missing = [part for part in range(self.plan.parts) if part not in self.results]
            _log.info("round %d ends without results for parts %s", self.plan.round, missing)
        finally:
            for arrivals in self._arrivals.values():
                arrivals.close()

    def abandon(self) -> None:
        """This member will not exchange in this round: whoever waits here is refused."""
        self._begun.set()

    def forget(self) -> None:
        """Let go of what has come in: no record is checked against it any more. The results stay."""
        for arrivals in self._arrivals.values():
            arrivals.encoded = {}

    # --- what a record is checked against ----------------------------------------------------------------------------

    def commitment(self, index: int) -> Signed:
        """A member's anchored commitment; PayloadError when this member has seen none on chain."""
        if index not in self._commitments:
            raise PayloadError(f"Member {index} has no commitment that was seen anchored here")
        return self._commitments[index][0]

    def received(self, part: int) -> Mapping[int, bytes]:
        """What has come in here for a part, encoded, by sender; each is what it committed to."""
        return self._arrivals[part].encoded if part in self._arrivals else {}

    def agrees(self, part: int, members: Sequence[int], digest: str) -> bool:
        """Whether this member itself has reduced a part of exactly these members to this digest."""
        made = self.results.get(part)
        body = None if made is None else Result.from_body(made.result.body)
        own = body is not None and body.reducer == self._seat.index
        return own and body is not None and (body.members, body.digest) == (tuple(members), digest)

    async def _finish(self) -> None:
        """Once every part has a result nobody waits for a backup any more."""
        await self._until(lambda: len(self.results) == self.plan.parts, float("inf"))
        for arrivals in self._arrivals.values():
            arrivals.wanted.set()

    async def _obtain(self, part: int, own_part: OwnPart | None, span_s: float) -> None:
        """Give this member's part to its reducer, or else to the backup, and take the result.

        The backup is asked as soon as the reducer has failed once, and the reducer is tried again meanwhile: in a crowd
        it may not have come to this member yet.
        """
        loop, me = asyncio.get_running_loop(), self._seat.index
        started_s, reducer, backup = loop.time(), self.plan.reducers[part], self.plan.backups[part]
        if reducer == me:
            await self._take_own(part, own_part)
            return
        failed = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(self._ask(reducer, part, own_part, BACKUP_FROM * span_s, failed))
            await failed.wait()
            if part not in self.results and backup == me:
                await self._take_own(part, own_part)
            elif part not in self.results:
                await self._ask(backup, part, own_part, max(0.05, started_s + span_s - loop.time()))
            if part in self.results:
                asking.cancel()

    async def _take_own(self, part: int, own_part: OwnPart | None) -> None:
        """This member's own part, when it is the part's reducer or has to be its backup."""
        arrivals = self._arrivals[part]
        if own_part is not None and self._seat.index not in arrivals.decoded and not arrivals.closed:
            commitment = self._commitments[self._seat.index][1]
            try:
                data = (await asyncio.to_thread(own_part, part))[1]
                decoded = await asyncio.to_thread(self._decoded, part, data, commitment, True)
                if not arrivals.closed:
                    arrivals.decoded[self._seat.index] = decoded
                    arrivals.encoded[self._seat.index] = data
            except (PayloadError, TrainingError) as problem:
                _log.error("round %d: the own part %d is left out: %s", self.plan.round, part, problem)
        arrivals.wanted.set()
        await self._notify()

    async def _ask(
        self, place: int, part: int, own_part: OwnPart | None, timeout_s: float, failed: asyncio.Event | None = None,
    ) -> None:  # fmt: skip
        """Send this member's part to a reducer, or just ask, and keep the result if it answers with a right one.

        Whoever cannot be reached, or has no room, is tried again until the time is over; `failed` says that it was not
        the first time, or that this has ended.
        """
        ends_s, pause_s = asyncio.get_running_loop().time() + timeout_s, _PAUSE_S[0]
        try:
            while (left_s := ends_s - asyncio.get_running_loop().time()) > 0:
                try:
                    await self._ask_once(place, part, own_part, left_s)
                    return
                except (PeerError, FormatError, TrainingError) as problem:
                    _log.info("round %d part %d: member %d gives no result: %s", self.plan.round, part, place, problem)
                    if not _passing(problem):
                        return
                if failed is not None:
                    failed.set()
                pause_ends_s = min(ends_s, asyncio.get_running_loop().time() + pause_s)
                if await self._until(lambda: part in self.results, pause_ends_s):
                    return
                pause_s = min(2 * pause_s, _PAUSE_S[1])
        finally:
            if failed is not None:
                failed.set()

    async def _ask_once(self, place: int, part: int, own_part: OwnPart | None, timeout_s: float) -> None:
        if own_part is None:
            params: JsonObject = {"round": self.plan.round, "part": part}
            reply = await self._transport.call(place, "result", params, b"", timeout_s)
        else:
            message, data = await asyncio.to_thread(own_part, part)
            params = {"message": message.to_json()}
            reply = await self._transport.call(place, "part", params, data, timeout_s)
        await self._keep(part, Signed.from_json(reply.params.get("result")), reply.body, place)

    async def _keep(self, part: int, result: Signed, data: bytes, reducer: int) -> None:
        """Take over a result; FormatError when it is not signed by the reducer, for this part, over these bytes."""
        body = open_signed(Result, result, self._seat.domain, self._key(reducer))
        check_result(body, self.plan, self.signed_plan.digest)
        digest = await asyncio.to_thread(sha256_hex, data)  # a large part takes seconds, in which others call here
        if (body.part, body.reducer, body.digest) != (part, reducer, digest):
            raise PayloadError("A result is not what its reducer signed", f"part {part} of reducer {reducer}")
        if not set(body.members) <= set(self._commitments) or self._reduced_from(body.members) != body.commitments:
            raise PayloadError("A result is of other commitments than were seen anchored", f"reducer {reducer}")
        self.results.setdefault(part, Reduced(result, data))
        await self._notify()

    # --- reducing ----------------------------------------------------------------------------------------------------

    async def _reduce(self, part: int, span_s: float) -> None:
        """Reduce a part: as its reducer at once, as its backup when somebody wants it."""
        arrivals, first = self._arrivals[part], self.plan.reducers[part] == self._seat.index
        by_s = asyncio.get_running_loop().time() + (REDUCE_BY if first else BACKUP_BY) * span_s
        if not first:
            await arrivals.wanted.wait()
        await self._until(lambda: part in self.results or self._expected() <= set(arrivals.decoded), by_s)
        decoded = arrivals.close()
        if part in self.results or not decoded:
            return
        members = sorted(decoded)
        try:
            reduced = await asyncio.to_thread(self._aggregate, part, decoded)
        except PayloadError as problem:
            _log.warning("round %d part %d cannot be reduced: %s", self.plan.round, part, problem)
            return
        del decoded  # four times what was sent, and reporting may take long
        result = Result(
            run=self.plan.run,
            round=self.plan.round,
            plan=self.signed_plan.digest,
            part=part,
            reducer=self._seat.index,
            members=tuple(members),
            commitments=self._reduced_from(members),
            digest=reduced.digest,
            links=tuple(link for _, link in sorted(arrivals.links.items())),
        )
        signed = sign_body(result, self._seat.key, self._seat.domain)
        self.results[part] = Reduced(signed, reduced.encoded)
        await self._notify()
        await self._reports.reduced(signed, reduced.encoded)

    def _aggregate(self, part: int, decoded: Mapping[int, F32]) -> ReducedPart:
        bodies = {index: self._commitments[index][1] for index in decoded}
        weights = {index: counted_tokens(body, self.plan, self._config) for index, body in bodies.items()}
        norms = {index: body.parts[part].norm2 for index, body in bodies.items()}
        return reduce_part(self._config, self.plan, self._numel, part, dict(decoded), weights, norms)

    def _reduced_from(self, members: Iterable[int]) -> str:
        return digest_over(self._commitments[index][0].digest for index in members)

    def _expected(self) -> set[int]:
        return set(self._commitments) - set(self.refused)

    # --- what others ask ---------------------------------------------------------------------------------------------

    async def take_part(self, sender: int, message: Signed, data: bytes, transfer_us: int) -> Reduced:
        """A sender's part for this member to reduce; answers with the result as soon as there is one.

        Raises PeerRefused: what is stale, relayed or not for this member is dropped; what its sender has signed and
        cannot be right is reported as an offence.
        """
        body = self._open(sender, message)
        arrivals = self._arrivals[body.part]
        await self._has_begun()
        commitment = self._committed(sender)
        await self._judge(sender, message, body, commitment)
        if sender not in arrivals.decoded and not arrivals.closed and body.part not in self.results:
            decoded, link = await asyncio.gather(
                self._decode(sender, message, body.part, data), self._measure(sender, len(data), transfer_us)
            )
            if not arrivals.closed:
                arrivals.decoded[sender] = decoded
                arrivals.encoded[sender] = data
                if link is not None:
                    arrivals.links[sender] = link
        arrivals.wanted.set()
        await self._notify()
        return await self.result(body.part)

    async def result(self, part: int) -> Reduced:
        """The result of a part, as soon as there is one; PeerRefused when there will be none here."""
        if not 0 <= part < self.plan.parts:
            raise PeerRefused("no-such-part", "This part does not exist", f"the plan has {self.plan.parts}")
        if not self.plan.reducers or not await self._result_within(part, self._left_s()):
            raise PeerRefused("no-result", f"There is no result of part {part} of round {self.plan.round} here")
        return self.results[part]

    def _open(self, sender: int, message: Signed) -> PartMessage:
        """What can be checked before the commitments are known: it is by its sender, for this plan, and for us."""
        body = open_signed(PartMessage, message, self._seat.domain, self._key(sender))
        if body.sender != sender:
            raise PeerRefused("relayed", "This part is by somebody else", f"member {body.sender}, not {sender}")
        if body.plan != self.signed_plan.digest:
            raise PeerRefused("stale", "This part is for another plan", f"round {self.plan.round} is under way here")
        if body.part not in self._arrivals:
            raise PeerRefused("not-a-reducer", f"Member {self._seat.index} does not reduce part {body.part}")
        return body

    def _committed(self, sender: int) -> tuple[Signed, Commitment]:
        if sender in self.refused or sender not in self._commitments:
            why = self.refused.get(sender, "it has no anchored commitment")
            raise PeerRefused("refused", f"Member {sender} is not counted in round {self.plan.round}", why)
        return self._commitments[sender]

    async def _judge(
        self, sender: int, message: Signed, body: PartMessage, commitment: tuple[Signed, Commitment]
    ) -> None:
        """Rules 2 and 4, as far as the message alone shows."""
        try:
            check_part_message(body, self.plan, self.signed_plan.digest, commitment[1])
        except RuleBroken as broken:
            rule = "wrong-target" if broken.rule in _WRONG_TARGET else "payload-mismatch"
            await self._refuse(sender, rule, body.part, (self.signed_plan, commitment[0], message), {})
            raise PeerRefused(broken.rule, broken.what, broken.why) from None

    async def _decode(self, sender: int, message: Signed, part: int, data: bytes) -> F32:
        """The decoded part; rule 4 when its bytes are what the sender signed, but not what it committed to."""
        signed, commitment = self._committed(sender)
        try:
            return await asyncio.to_thread(self._decoded, part, data, commitment, False)
        except PayloadError as problem:
            if sha256_hex(data) != commitment.parts[part].digest:
                raise PeerRefused("damaged", "The bytes are not those of the message", problem.why) from None
            documents = (self.signed_plan, signed, message)
            await self._refuse(sender, "payload-mismatch", part, documents, {part_blob(sender): data})
            raise PeerRefused("payload-mismatch", problem.what, problem.why) from None

    def _decoded(self, part: int, data: bytes, commitment: Commitment, own: bool) -> F32:
        span = part_range(self._numel, self.plan.block, self.plan.parts, part)
        right = open_part if own else check_part
        return right(data, span.size, self.plan.codec, self.plan.block, commitment.parts[part])

    async def _refuse(
        self, sender: int, rule: str, part: int, documents: tuple[Signed, ...], blobs: Mapping[str, bytes]
    ) -> None:
        """Leave a member out and report why, once."""
        if sender in self.refused:
            return
        self.refused[sender] = rule
        entries = tuple(Blob(name, sha256_hex(data), cid_of(data)) for name, data in blobs.items())
        offence = Offence(self.plan.run, rule, self.plan.round, sender, None, part, documents, entries)
        _log.warning("round %d: member %d is refused: %s", self.plan.round, sender, rule)
        await self._notify()
        await self._reports.offence(offence, blobs)

    async def _measure(self, sender: int, size: int, transfer_us: int) -> Link | None:
        try:
            rtt_us = await self._transport.rtt_us(sender)
        except PeerError as problem:
            _log.info("member %d answers no ping: %s", sender, problem)
            return None
        return Link(sender, size, max(1, transfer_us), max(1, rtt_us))

    def _key(self, index: int) -> str:
        key = self._seat.keys(index)
        if key is None:
            raise PeerRefused("not-a-member", f"There is no provider {index}", "the registry does not know it")
        return key

    # --- waiting -----------------------------------------------------------------------------------------------------

    def _left_s(self) -> float:
        """Seconds to the end of the exchange."""
        return max(0.0, self.plan.exchange_by_ms / 1000 - self._clock())

    async def _has_begun(self) -> None:
        """Wait until this member takes part; PeerRefused when it does not before the end."""
        try:
            async with asyncio.timeout(self._left_s()):
                await self._begun.wait()
        except TimeoutError:
            if not self._begun.is_set():
                why = f"round {self.plan.round}"
                raise PeerRefused("no-result", "This member has not begun the exchange", why) from None

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _until(self, ready: Callable[[], bool], by_s: float) -> bool:
        """Wait for a condition, until the event loop's time `by_s`; whether it came."""
        try:
            async with asyncio.timeout_at(by_s), self._changed:
                await self._changed.wait_for(ready)
        except TimeoutError:
            return ready()
        return True

    async def _result_within(self, part: int, seconds: float) -> bool:
        return await self._until(lambda: part in self.results, asyncio.get_running_loop().time() + seconds)


def _passing(problem: CommonweightError) -> bool:
    """Whether a call that failed may succeed a moment later."""
    return isinstance(problem, PeerUnreachable | PeerTimeout) or getattr(problem, "code", None) == "busy"
