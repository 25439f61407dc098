"""What a round puts on a member's link, counted from the frames that the members really send each other.

The signed documents are made as a member makes them; only signatures and measured times, whose lengths are known, are
stand-ins. TLS records and the documents that go to and from the signers, which do not grow with the model, are not
counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from commonweight.net.wire import PREFIX
from commonweight.protocol.canonical import JsonObject, dumps
from commonweight.protocol.documents import Signed
from commonweight.protocol.records import Link, PartMessage, Plan, Result

_DIGEST, _SIGNATURE = "0x" + "00" * 32, "0x" + "00" * 65
_MICROSECONDS = 100_000
_CALL = 100


@dataclass(frozen=True)
class RoundBytes:
    """Bytes of one round, mean over its members, sent and received together.

    `encoded` are parts and results alone, `exchanged` their frames, `copied` the frames of the copy of its payload that
    a member gives to the coordinator.
    """

    encoded: float
    exchanged: float
    copied: float

    @property
    def all(self) -> float:
        """Everything."""
        return self.exchanged + self.copied


def round_bytes(plan: Plan, payloads: Sequence[Sequence[int]], results: Sequence[int]) -> RoundBytes:
    """A round of `plan` in which member i's part j has `payloads[i][j]` bytes and the reduced part j `results[j]`."""
    encoded = exchanged = copied = 0
    for member, sizes in zip(plan.indices, payloads, strict=True):
        for part, size in enumerate(sizes):
            message = part_message(plan, part, member)
            upload: JsonObject = {"round": plan.round, "part": part, "message": message}
            copied += frame_bytes(_call("payload", upload), size) + frame_bytes(_ok({}), 0)
            if plan.reducers[part] != member:
                sent = _call("part", {"message": message})
                answer = _ok({"result": result_message(plan, part, sizes[part])})
                exchanged += frame_bytes(sent, size) + frame_bytes(answer, results[part])
                encoded += size + results[part]
    members = len(plan.members)
    return RoundBytes(2 * encoded / members, 2 * exchanged / members, copied / members)


def frame_bytes(header: JsonObject, body: int) -> int:
    """A frame with a body of `body` bytes, as `commonweight.net.wire` writes and counts it."""
    return PREFIX.size + len(dumps(header)) + body


def part_message(plan: Plan, part: int, sender: int) -> JsonObject:
    """The signed document that goes with a part."""
    body = PartMessage(plan.run, plan.round, _DIGEST, plan.base, part, sender, _DIGEST)
    return Signed(body.KIND, body.to_body(), _SIGNATURE).to_json()


def result_message(plan: Plan, part: int, part_bytes: int) -> JsonObject:
    """The signed document that goes with a reduced part of everybody's, with every link measured."""
    reducer = plan.reducers[part]
    links = tuple(Link(i, part_bytes, _MICROSECONDS, _MICROSECONDS) for i in plan.indices if i != reducer)
    body = Result(plan.run, plan.round, _DIGEST, part, reducer, plan.indices, _DIGEST, links)
    return Signed(body.KIND, body.to_body(), _SIGNATURE).to_json()


def synchronous_bytes(parameters: int, members: int) -> float:
    """The least that averaging fp32 gradients takes of a member and step, sent and received, without any frame: a ring
    or a butterfly sends and receives (n - 1) / n of the vector twice.
    """
    return 2 * 2 * 4 * parameters * (members - 1) / members


def gathered_bytes(encoded: int, members: int) -> float:
    """An all-gather: the own bytes go to every other member, theirs come in. Without frames."""
    return 2.0 * encoded * (members - 1)


def _call(method: str, params: JsonObject) -> JsonObject:
    return {"id": _CALL, "method": method, "params": params}


def _ok(params: JsonObject) -> JsonObject:
    return {"id": _CALL, "status": "ok", "params": params}
