"""Members of one round without their training: real payloads, commitments and signatures over a chosen transport."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from commonweight.errors import PeerTimeout, PeerUnreachable
from commonweight.exact.payload import Payload, make_payload
from commonweight.exact.round import ReducedPart, reduce_part
from commonweight.net import Dialer, Identity, Method, Reply, Request, Server
from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.documents import Signed
from commonweight.protocol.keys import address_of
from commonweight.protocol.offences import Offence
from commonweight.protocol.records import Commitment, PartMessage, Plan, StateDigests, Trace, open_signed, sign_body
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.typed import Domain
from tests.trainer.conftest import KEYS, make_plan
from trainer.allreduce import Exchange, Reduced, Seat

ZERO = "0x" + "00" * 32
STATE = StateDigests(0, ZERO, ZERO, ZERO, ZERO)


@dataclass
class Reported:
    """What one member told the signers."""

    results: dict[int, tuple[Signed, bytes]] = field(default_factory=dict)
    offences: list[tuple[Offence, dict[str, bytes]]] = field(default_factory=list)

    async def reduced(self, result: Signed, data: bytes) -> None:
        self.results[int(str(result.body["part"]))] = (result, data)

    async def offence(self, offence: Offence, blobs: Mapping[str, bytes]) -> None:
        self.offences.append((offence, dict(blobs)))


class Rig:
    """`n` members with committed payloads. `frozen` members answer nothing, `dead` ones cannot be reached, and those in
    `crowded` cannot be reached so many times.
    """

    def __init__(self, config: RunConfig, domain: Domain, n: int, span_s: float = 3.0, **plan: object) -> None:
        self.config, self.domain, self.n = config, domain, n
        now_ms = int(time.time() * 1000)
        exchange_by_ms = now_ms + int(span_s * 1000)
        times = {"commit_by_ms": now_ms // 1000 * 1000 - 2000, "anchor_by_ms": now_ms - 500,
                 "exchange_by_ms": exchange_by_ms, "record_by_ms": exchange_by_ms + 1000}  # fmt: skip
        self.plan: Plan = make_plan(config, "0x" + "0b" * 32, n, **(times | plan))
        self.signed_plan = sign_body(self.plan, KEYS[-1], domain)
        self.numel = config.model.parameters()
        self.payloads: dict[int, Payload] = {i: self._payload(i) for i in range(n)}
        self.commitments: dict[int, Signed] = {i: self._commit(i) for i in range(n)}
        self.reported = {i: Reported() for i in range(n)}
        self.frozen: set[int] = set()
        self.dead: set[int] = set()
        self.crowded = Counter[int]()
        self.exchanges: dict[int, Exchange] = {}

    def _payload(self, index: int) -> Payload:
        random = np.random.default_rng(index)
        shared = np.random.default_rng(99).normal(0, 1e-3, self.numel)
        local = (shared + random.normal(0, 1e-3, self.numel)).astype(np.float32)
        zeros = np.zeros(self.numel, np.float32)
        return make_payload(zeros, local, zeros, self.plan.parts, self.plan.codec, self.plan.block, True)

    def _commit(self, index: int) -> Signed:
        payload, steps = self.payloads[index], self.plan.member(index).steps
        trace = Trace(ZERO, 2, None, STATE, (), STATE, (), ZERO)
        body = Commitment(
            self.plan.run, self.plan.round, self.signed_plan.digest, index, self.plan.base, steps,
            self.config.tokens(steps), payload.committed, payload.size, trace,
        )  # fmt: skip
        return sign_body(body, KEYS[index], self.domain)

    def message(self, index: int, part: int, **changes: object) -> Signed:
        fields: dict[str, object] = {
            "run": self.plan.run, "round": self.plan.round, "plan": self.signed_plan.digest, "base": self.plan.base,
            "part": part, "sender": index, "digest": self.payloads[index].committed[part].digest,
        }  # fmt: skip
        return sign_body(PartMessage(**(fields | changes)), KEYS[index], self.domain)  # type: ignore[arg-type]

    def own_part(self, index: int):
        return lambda part: (self.message(index, part), self.payloads[index].parts[part])

    def seat(self, index: int) -> Seat:
        return Seat(index, KEYS[index], self.domain, lambda i: address_of(KEYS[i]) if i < self.n else None)

    def expected(self, part: int, members: set[int] | None = None) -> ReducedPart:
        """What the part must reduce to over the given members, by the exact rules."""
        chosen = sorted(set(range(self.n)) if members is None else members)
        bodies = {i: Commitment.from_body(self.commitments[i].body) for i in chosen}
        encoded = {i: self.payloads[i].parts[part] for i in chosen}
        weights = {i: bodies[i].tokens for i in chosen}
        return reduce_part(self.config, self.plan, self.numel, part, encoded, weights)

    def make_exchanges(self, transports: Mapping[int, object]) -> None:
        for i in range(self.n):
            self.exchanges[i] = Exchange(
                self.config, self.signed_plan, self.seat(i), transports[i], self.reported[i],  # type: ignore[arg-type]
            )  # fmt: skip

    async def run(self, silent: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        """Run all members that are neither dead nor frozen; `silent` ones have committed to nothing."""
        commitments = {i: c for i, c in self.commitments.items() if i not in silent}
        alive = [i for i in range(self.n) if i not in self.frozen | self.dead]
        await asyncio.gather(
            *(self.exchanges[i].run(commitments, None if i in silent else self.own_part(i)) for i in alive)
        )

    def opened(self, index: int, part: int):
        """The result that a member holds, its signature checked."""
        from commonweight.protocol.records import Result

        return open_signed(Result, self.exchanges[index].results[part].result, self.domain)


async def answer(exchange: Exchange, sender: int, method: str, params: JsonObject, body: bytes, us: int) -> Reply:
    """What a member's server does with the two methods of the all-reduce."""
    if method == "part":
        reduced: Reduced = await exchange.take_part(sender, Signed.from_json(params["message"]), body, us)
    else:
        reduced = await exchange.result(int(str(params["part"])))
    return Reply({"result": reduced.result.to_json()}, reduced.data)


class MemoryTransport:
    """Calls within the process."""

    def __init__(self, rig: Rig, own: int) -> None:
        self.rig, self.own = rig, own

    async def call(self, index: int, method: str, params: JsonObject, body: bytes, timeout_s: float) -> Reply:
        self._reach(index)
        try:
            async with asyncio.timeout(timeout_s):
                if index in self.rig.frozen:
                    await asyncio.Event().wait()
                return await answer(self.rig.exchanges[index], self.own, method, params, body, 1000)
        except TimeoutError:
            raise PeerTimeout(f"member {index} is silent") from None

    async def rtt_us(self, index: int) -> int:
        self._reach(index)
        if index in self.rig.frozen:
            raise PeerTimeout(f"member {index} is silent")
        return 100

    def _reach(self, index: int) -> None:
        if index in self.rig.dead:
            raise PeerUnreachable(f"member {index} is dead")
        if self.rig.crowded[index]:
            self.rig.crowded[index] -= 1
            raise PeerUnreachable(f"member {index} has no place yet")


class TlsMember:
    """A member behind a real server; its transport is a `Dialer`."""

    def __init__(self, rig: Rig, index: int) -> None:
        self.rig, self.index = rig, index
        identity = Identity(KEYS[index], rig.plan.run, rig.domain, "member", index)
        largest = max(len(part) for part in rig.payloads[index].parts)
        methods = {"part": Method(self._handle, largest), "result": Method(self._handle)}
        self.server = Server(identity, methods, self._everyone)
        self.dialer = Dialer(identity)
        self.addresses: dict[int, str] = {}

    async def start(self) -> str:
        host, port = await self.server.start("127.0.0.1", 0)
        return f"{host}:{port}"

    async def _everyone(self, caller: object) -> None:
        return None

    async def _handle(self, request: Request) -> Reply:
        if self.index in self.rig.frozen:
            await asyncio.Event().wait()
        exchange, sender = self.rig.exchanges[self.index], request.caller.index
        assert sender is not None
        return await answer(exchange, sender, request.method, request.params, request.body, request.transfer_us)

    async def call(self, index: int, method: str, params: JsonObject, body: bytes, timeout_s: float) -> Reply:
        key = address_of(KEYS[index])
        return await self.dialer.call(self.addresses[index], key, method, params, body, timeout_s=timeout_s)

    async def rtt_us(self, index: int) -> int:
        peer = await self.dialer.peer(self.addresses[index], address_of(KEYS[index]), 2.0)
        return await peer.ping(2.0)

    async def close(self) -> None:
        await self.dialer.close()
        await self.server.close()


class Network:
    """Gives every member of a rig a transport; use as `async with Network(rig, "memory" | "tls")`."""

    def __init__(self, rig: Rig, kind: str) -> None:
        self.rig, self.kind = rig, kind
        self.members: list[TlsMember] = []

    async def __aenter__(self) -> Rig:
        if self.kind == "memory":
            self.rig.make_exchanges({i: MemoryTransport(self.rig, i) for i in range(self.rig.n)})
            return self.rig
        self.members = [TlsMember(self.rig, i) for i in range(self.rig.n)]
        addresses = {member.index: await member.start() for member in self.members}
        for member in self.members:
            member.addresses = addresses
            if member.index in self.rig.dead:
                await member.server.close()
        self.rig.make_exchanges({member.index: member for member in self.members})
        return self.rig

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(member.close() for member in self.members))
