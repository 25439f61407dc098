"""This project's all-reduce: the trainer's own exchange over TLS, commitments and signatures and all."""

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
from commonweight.net import PROCESS_TRAFFIC, Dialer, Identity, Method, Reply, Request, Server
from commonweight.protocol.documents import Signed
from commonweight.protocol.keys import address_of
from commonweight.protocol.offences import Offence
from commonweight.protocol.parts import part_ranges
from commonweight.protocol.records import Commitment, PartMessage, Plan, PlanMember, StateDigests, Trace, sign_body
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.typed import Domain
from trainer.allreduce import Exchange, Reduced, Seat
from trainer.peers import PeerBook

_ZERO = "0x" + "00" * 32
_RUN = "0x" + "aa" * 20
_STATE = StateDigests(0, _ZERO, _ZERO, _ZERO, _ZERO)
_DOMAIN = Domain(31337, "0x" + "0c" * 20)


def _key(index: int) -> bytes:
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
        training = {"codec": hello["codec"], "result_codec": hello["codec"]}
        self.config = RunConfig.parse({
            "name": "bench", "model": {"preset": hello["preset"]}, "genesis_seed": _ZERO,
            "data": {"manifest_cid": "", "manifest_sha256": _ZERO}, "training": training,
        })  # fmt: skip
        self.numel = self.config.model.parameters()
        self.exchange: Exchange | None = None
        identity = Identity(_key(self.index), _RUN, _DOMAIN, "member", self.index)
        self.book = PeerBook(Dialer(identity), self.index)
        self.server = Server(
            identity, {"part": Method(self._part, 4 * self.numel), "result": Method(self._result)}, _all
        )

    async def _part(self, request: Request) -> Reply:
        assert self.exchange is not None
        assert request.caller.index is not None
        message = Signed.from_json(request.params["message"])
        return _reply(await self.exchange.take_part(request.caller.index, message, request.body, request.transfer_us))

    async def _result(self, request: Request) -> Reply:
        assert self.exchange is not None
        return _reply(await self.exchange.result(int(str(request.params["part"]))))

    def plan(self, round_: int, now_ms: int, span_ms: int) -> Plan:
        """The round's plan, the same at every member: each reduces a part, the next one is its backup."""
        training, n = self.config.training, self.workers
        return Plan(
            run=_RUN, round=round_, epoch=0, base=_ZERO, base_cid="", config=self.config.sha256, data_seed=_ZERO,
            members=tuple(PlanMember(i, training.h, i * training.h * training.batch) for i in range(n)), h=training.h,
            codec=training.codec, codec_version=1, block=training.block, parts=n, reducers=tuple(range(n)),
            backups=tuple((i + 1) % n for i in range(n)), min_members=1, commit_by_ms=(now_ms - 2000) // 1000 * 1000,
            anchor_by_ms=now_ms - 1000, exchange_by_ms=now_ms + span_ms, record_by_ms=now_ms + span_ms + 1000,
            previous_record=None,
        )  # fmt: skip

    def commit(self, plan: Plan, signed: Signed, payload: Payload) -> Signed:
        """This member's commitment to a payload."""
        steps, trace = plan.members[self.index].steps, Trace(_ZERO, 2, None, _STATE, (), _STATE, (), _ZERO)
        body = Commitment(
            plan.run, plan.round, signed.digest, self.index, plan.base, steps, self.config.tokens(steps),
            payload.committed, payload.size, trace,
        )  # fmt: skip
        return sign_body(body, _key(self.index), _DOMAIN)


async def serve(line: Line, hello: Message) -> None:
    """Rounds until the benchmark ends."""
    worker = Worker(hello)
    host, port = await worker.server.start("127.0.0.1", 0)
    line.say(here=f"{host}:{port}", numel=worker.numel)
    everyone = (await asyncio.to_thread(line.hear))["everyone"]
    for index, address in enumerate(everyone):
        worker.book.know(index, address_of(_key(index)), address)
    for index in range(worker.workers):
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
    plan = worker.plan(round_, int(order["now_ms"]), int(order["span_ms"]))
    signed = sign_body(plan, _key(200), _DOMAIN)
    keys = [address_of(_key(index)) for index in range(worker.workers)]
    seat = Seat(worker.index, _key(worker.index), _DOMAIN, lambda index: keys[index] if index < len(keys) else None)

    def own_part(part: int) -> tuple[Signed, bytes]:
        body = PartMessage(
            run=plan.run, round=round_, plan=signed.digest, base=plan.base, part=part, sender=worker.index,
            digest=payload.committed[part].digest,
        )  # fmt: skip
        return sign_body(body, seat.key, _DOMAIN), payload.parts[part]

    worker.exchange = Exchange(worker.config, signed, seat, worker.book, Unheard())
    line.say(ready=worker.commit(plan, signed, payload).to_json())
    order = await asyncio.to_thread(line.hear)
    commitments = {index: Signed.from_json(value) for index, value in enumerate(order["go"])}
    sent = PROCESS_TRAFFIC.totals().bytes_sent
    began = time.perf_counter()
    await worker.exchange.run(commitments, own_part)
    spans = part_ranges(worker.numel, plan.block, plan.parts)
    results = dict(worker.exchange.results)
    pieces = [
        decode(results[part].data, span.size, training.result_codec, plan.block)
        if part in results
        else payload.decoded[span.start : span.stop]
        for part, span in enumerate(spans)
    ]
    whole = np.concatenate(pieces)
    seconds = time.perf_counter() - began
    line.say(seconds=seconds, whole=len(results) == plan.parts, sent=PROCESS_TRAFFIC.totals().bytes_sent - sent)
    await asyncio.to_thread(line.hear)
    line.say(**outcome(whole, worker.workers, round_))


def _reply(reduced: Reduced) -> Reply:
    return Reply({"result": reduced.result.to_json()}, reduced.data)


async def _all(_: object) -> None:
    return None


if __name__ == "__main__":
    _line = Line()
    asyncio.run(serve(_line, _line.hear()))
