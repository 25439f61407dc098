"""This project's exchange: the trainer's own, over TLS, commitments, signatures and all; a star needs the office."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import numpy as np

from benches.engines.lockstep import Line, Message
from benches.engines.vectors import outcome, vector
from commonweight.errors import PeerError
from commonweight.exact.codecs import decode
from commonweight.exact.payload import Payload, make_payload
from commonweight.memory import keep_freed_memory
from commonweight.net import PROCESS_TRAFFIC, Dialer, Identity, Method, Reply, Request, Server
from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.documents import Signed
from commonweight.protocol.keys import address_of
from commonweight.protocol.offences import Offence
from commonweight.protocol.parts import part_ranges
from commonweight.protocol.records import Commitment, PartMessage, Plan, PlanMember, StateDigests, Trace, sign_body
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.typed import Domain
from trainer.allreduce import Exchange, OwnPart, Reduced, Seat
from trainer.peers import PeerBook, largest_reply

_ZERO = "0x" + "00" * 32
_PATIENCE_S = 60.0
RUN = "0x" + "aa" * 20
_STATE = StateDigests(0, _ZERO, _ZERO, _ZERO, _ZERO)
DOMAIN = Domain(31337, "0x" + "0c" * 20)


def key_of(index: int) -> bytes:
    """The key of a worker, or of who else takes part."""
    return bytes([7] * 31 + [index + 1])


class Unheard:
    """Nobody is told of results and offences: no signer takes part in the benchmark."""

    async def reduced(self, result: Signed, data: bytes) -> None:
        """A part was reduced."""

    async def offence(self, offence: Offence, _: Mapping[str, bytes]) -> None:
        """A member lied."""
        raise AssertionError(f"nobody lies here: {offence.rule}")


class Worker:
    """One member with its server."""

    def __init__(self, hello: Message) -> None:
        self.index, self.workers = int(hello["index"]), int(hello["workers"])
        self.config = config_of(hello)
        self.numel = self.config.model.parameters()
        self.exchange: Exchange | None = None
        self.office: int | None = None
        identity = Identity(key_of(self.index), RUN, DOMAIN, "member", self.index)
        self.book = PeerBook(Dialer(identity), self.index, largest_reply(self.config))
        self.server = Server(
            identity, {"part": Method(self._part, 4 * self.numel), "result": Method(self._result)}, admit_all
        )

    async def _part(self, request: Request) -> Reply:
        assert self.exchange is not None
        assert request.caller.index is not None
        message = Signed.from_json(request.params["message"])
        return _reply(await self.exchange.take_part(request.caller.index, message, request.body, request.transfer_us))

    async def _result(self, request: Request) -> Reply:
        assert self.exchange is not None
        return _reply(await self.exchange.result(int(str(request.params["part"]))))

    async def copy(self, plan: Plan, own_part: OwnPart) -> None:
        """Give the whole payload to the office, where there is one, as a member gives it to the coordinator."""
        office = self.office
        if office is None:
            return

        async def one(part: int) -> None:
            message, data = own_part(part)
            params: JsonObject = {"round": plan.round, "part": part, "message": message.to_json()}
            await self.book.call(office, "payload", params, data, _PATIENCE_S)

        await asyncio.gather(*(one(part) for part in range(plan.parts)))

    async def results(self, plan: Plan) -> dict[int, bytes]:
        """The encoded results that this member has: of the exchange, or in a star of the office."""
        assert self.exchange is not None
        if plan.reducers:
            return {part: reduced.data for part, reduced in self.exchange.results.items()}
        office = self.office
        assert office is not None

        async def one(part: int) -> bytes:
            params: JsonObject = {"round": plan.round, "part": part}
            return (await self.book.call(office, "reduced", params, b"", _PATIENCE_S)).body

        return dict(enumerate(await asyncio.gather(*(one(part) for part in range(plan.parts)))))

    def commit(self, plan: Plan, signed: Signed, payload: Payload) -> Signed:
        """This member's commitment to a payload."""
        steps, trace = plan.members[self.index].steps, Trace(_ZERO, 2, None, _STATE, (), _STATE, (), _ZERO)
        body = Commitment(
            plan.run, plan.round, signed.digest, self.index, plan.base, steps, self.config.tokens(steps),
            payload.committed, payload.size, trace,
        )  # fmt: skip
        return sign_body(body, key_of(self.index), DOMAIN)


def config_of(hello: Message) -> RunConfig:
    """The run that the benchmark stands for."""
    return RunConfig.parse({
        "name": "bench", "model": hello["model"], "genesis_seed": _ZERO,
        "data": {"manifest_cid": "", "manifest_sha256": _ZERO}, "training": hello["training"],
    })  # fmt: skip


def make_plan(config: RunConfig, n: int, round_: int, now_ms: int, span_ms: int) -> Plan:
    """The round's plan, the same everywhere: each member reduces a part, the next one is its backup; or nobody does."""
    training = config.training
    turn = range(n) if training.topology == "butterfly" else ()
    return Plan(
        run=RUN, round=round_, epoch=0, base=_ZERO, base_cid="", config=config.sha256, data_seed=_ZERO,
        members=tuple(PlanMember(i, training.h, i * training.h * training.batch) for i in range(n)), h=training.h,
        overlap=0, codec=training.codec, codec_version=1, block=training.block, parts=n, reducers=tuple(turn),
        backups=tuple((i + 1) % n for i in turn), min_members=1, commit_by_ms=(now_ms - 2000) // 1000 * 1000,
        anchor_by_ms=now_ms - 1000, exchange_by_ms=now_ms + span_ms, record_by_ms=now_ms + span_ms + 1000,
        previous_record=None,
    )  # fmt: skip


async def serve(line: Line, hello: Message) -> None:
    """Rounds until the benchmark ends."""
    worker = Worker(hello)
    host, port = await worker.server.start(str(hello["address"]), 0)
    line.say(here=f"{host}:{port}", numel=worker.numel)
    everyone = (await asyncio.to_thread(line.hear))["everyone"]
    worker.office = len(everyone) - 1 if len(everyone) > worker.workers else None
    for index, address in enumerate(everyone):
        worker.book.know(index, address_of(key_of(index)), address)
    for index in range(len(everyone)):
        if index != worker.index:
            await _reach(worker.book, index)
    while True:
        await _round(line, worker, int((await asyncio.to_thread(line.hear))["round"]))


async def _reach(book: PeerBook, index: int) -> None:
    """Connect, however long the others take to start."""
    while True:
        try:
            await book.rtt_us(index)
        except PeerError:
            continue
        return


async def _round(line: Line, worker: Worker, round_: int) -> None:
    zeros, training = np.zeros(worker.numel, np.float32), worker.config.training
    local = -vector(worker.numel, worker.index, round_)
    payload = make_payload(zeros, local, zeros, worker.workers, training.codec, training.block, True)
    line.say(made=True)
    order = await asyncio.to_thread(line.hear)
    plan = make_plan(worker.config, worker.workers, round_, int(order["now_ms"]), int(order["span_ms"]))
    signed = sign_body(plan, key_of(200), DOMAIN)
    keys = [address_of(key_of(index)) for index in range(worker.workers)]
    seat = Seat(worker.index, key_of(worker.index), DOMAIN, lambda index: keys[index] if index < len(keys) else None)

    def own_part(part: int) -> tuple[Signed, bytes]:
        body = PartMessage(
            run=plan.run, round=round_, plan=signed.digest, base=plan.base, part=part, sender=worker.index,
            digest=payload.committed[part].digest,
        )  # fmt: skip
        return sign_body(body, seat.key, DOMAIN), payload.parts[part]

    worker.exchange = Exchange(worker.config, signed, seat, worker.book, Unheard())
    line.say(ready=worker.commit(plan, signed, payload).to_json())
    order = await asyncio.to_thread(line.hear)
    commitments = {index: Signed.from_json(value) for index, value in enumerate(order["go"])}
    sent = PROCESS_TRAFFIC.totals().bytes_sent
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(worker.exchange.run(commitments, own_part), worker.copy(plan, own_part))
    spans = part_ranges(worker.numel, plan.block, plan.parts)
    results = await worker.results(plan)
    whole = np.empty_like(payload.decoded)
    for part, span in enumerate(spans):
        at, data = slice(span.start, span.stop), results.get(part)
        found = payload.decoded[at] if data is None else decode(data, span.size, training.result_codec, plan.block)
        whole[at] = found
    seconds = time.perf_counter() - began
    line.say(
        seconds=seconds, cpu_seconds=time.process_time() - cpu, whole=len(results) == plan.parts,
        sent=PROCESS_TRAFFIC.totals().bytes_sent - sent,
    )  # fmt: skip
    await asyncio.to_thread(line.hear)
    line.say(**outcome(whole, worker.workers, round_))


def _reply(reduced: Reduced) -> Reply:
    return Reply({"result": reduced.result.to_json()}, reduced.data)


async def admit_all(_: object) -> None:
    """Whoever calls is heard."""


if __name__ == "__main__":
    keep_freed_memory()  # as a member does
    _line = Line()
    asyncio.run(serve(_line, _line.hear()))
