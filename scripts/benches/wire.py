"""What a round puts on a member's link, counted from the frames that the members really send each other.

The signed documents are made as a member makes them; only signatures and measured times, whose lengths are known, are
stand-ins. TLS records and the documents that go to and from the signers, which do not grow with the model, are not
counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from commonweight.net.wire import PREFIX
from commonweight.protocol.canonical import JsonObject, dumps
from commonweight.protocol.documents import Signed
from commonweight.protocol.records import Link, PartMessage, Plan, Result
from trainer.recheck import ONE_IN

Sizes = Sequence[Sequence[int]]
"""Bytes of each member's parts, in the order of the plan's members."""

_DIGEST, _SIGNATURE = "0x" + "00" * 32, "0x" + "00" * 65
_MICROSECONDS = 100_000
_CALL = 100


@dataclass(frozen=True)
class RoundBytes:
    """Bytes of one round, mean over its members: `sent` by a member and `received`, frames and all, and of both what is
    `encoded` parts and results alone.
    """

    sent: float
    received: float
    encoded: float

    @property
    def all(self) -> float:
        """Everything that a member's link carries."""
        return self.sent + self.received

    def times(self, number: int) -> RoundBytes:
        """Of so many like it."""
        return RoundBytes(self.sent * number, self.received * number, self.encoded * number)

    def plus(self, other: RoundBytes) -> RoundBytes:
        """Of both together."""
        return RoundBytes(self.sent + other.sent, self.received + other.received, self.encoded + other.encoded)


def round_bytes(plan: Plan, payloads: Sizes, results: Sequence[int]) -> RoundBytes:
    """A round of `plan` in which member i's part j has `payloads[i][j]` bytes and the reduced part j `results[j]`."""
    given, drawn = given_bytes(plan, payloads), drawn_bytes(plan, payloads)
    reduced = traded_bytes(plan, payloads, results) if plan.reducers else taken_bytes(plan, results)
    return given.plus(drawn).plus(reduced)


def given_bytes(plan: Plan, payloads: Sizes) -> RoundBytes:
    """Each member's payload to the coordinator."""
    sent = received = 0
    for member, part, size in _parts(plan, payloads):
        upload: JsonObject = {"round": plan.round, "part": part, "message": part_message(plan, part, member)}
        sent += frame_bytes(_call("payload", upload), size)
        received += frame_bytes(_ok({}), 0)
    return _mean(plan, sent, received, sum(map(sum, payloads)))


def traded_bytes(plan: Plan, payloads: Sizes, results: Sequence[int]) -> RoundBytes:
    """In a butterfly: each part to its reducer, which answers with the reduced part."""
    both = encoded = 0
    for member, part, size in _parts(plan, payloads):
        if plan.reducers[part] != member:
            asked = frame_bytes(_call("part", {"message": part_message(plan, part, member)}), size)
            both += asked + frame_bytes(_ok({"result": result_message(plan, part, size)}), results[part])
            encoded += 2 * (size + results[part])
    return _mean(plan, both, both, encoded)


def taken_bytes(plan: Plan, results: Sequence[int]) -> RoundBytes:
    """In a star: the reduced parts from the coordinator."""
    asked = sum(frame_bytes(_call("part", {"round": plan.round, "part": part}), 0) for part in range(plan.parts))
    answered = sum(frame_bytes(_ok({}), size) for size in results)
    return RoundBytes(asked, answered, sum(results))


def drawn_bytes(plan: Plan, payloads: Sizes) -> RoundBytes:
    """An equal share of what a member asks the others for in one round of `ONE_IN`: their payloads' bytes of one part,
    so that it can check that part of the record. Whoever reduces a part has them already.
    """
    asked = 0
    for member, part, size in _parts(plan, payloads):
        has_them = bool(plan.reducers) and plan.reducers[part] != member
        asked += size * (len(plan.members) - 1 - has_them)
    share = asked / plan.parts / ONE_IN
    return _mean(plan, share, share, 2 * share)


def _parts(plan: Plan, payloads: Sizes) -> Iterator[tuple[int, int, int]]:
    """(member, part, bytes) of all parts."""
    for member, sizes in zip(plan.indices, payloads, strict=True):
        for part, size in enumerate(sizes):
            yield member, part, size


def _mean(plan: Plan, sent: float, received: float, encoded: float) -> RoundBytes:
    members = len(plan.members)
    return RoundBytes(sent / members, received / members, encoded / members)


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
    body = Result(plan.run, plan.round, _DIGEST, part, reducer, plan.indices, _DIGEST, _DIGEST, links)
    return Signed(body.KIND, body.to_body(), _SIGNATURE).to_json()


def synchronous_bytes(parameters: int, members: int) -> RoundBytes:
    """The least that averaging fp32 gradients takes of a member and step, without any frame: a ring or a butterfly
    sends and receives (n - 1) / n of the vector twice.
    """
    each = 2 * 4 * parameters * (members - 1) / members
    return RoundBytes(each, each, 2 * each)


def gathered_bytes(encoded: int, members: int) -> RoundBytes:
    """An all-gather: the own bytes go to every other member, theirs come in. Without frames."""
    each = float(encoded * (members - 1))
    return RoundBytes(each, each, 2 * each)


def _call(method: str, params: JsonObject) -> JsonObject:
    return {"id": _CALL, "method": method, "params": params}


def _ok(params: JsonObject) -> JsonObject:
    return {"id": _CALL, "status": "ok", "params": params}
