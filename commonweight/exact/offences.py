"""Whether an offence document proves what it says: the check that signers make before a ban and strangers make
after it.

Everything needed lies in the offence, its blobs, the run's configuration and the registry: documents are verified under
the keys that the accused had, and bytes are decoded and aggregated again.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from commonweight.errors import OffenceError, PayloadError, RuleBroken, SignatureError
from commonweight.exact.payload import check_part
from commonweight.exact.round import reduce_part
from commonweight.protocol.canonical import sha256_hex
from commonweight.protocol.documents import Signed, recover
from commonweight.protocol.fields import digest_over
from commonweight.protocol.offences import Offence, part_blob
from commonweight.protocol.parts import part_range
from commonweight.protocol.records import (
    Commitment,
    Counted,
    LeftOut,
    PartMessage,
    Plan,
    Receipt,
    Record,
    Result,
    Verdict,
    open_signed,
)
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.structure import check_commitment, check_part_message, counted_tokens, receipt_in_time
from commonweight.protocol.typed import Domain

__all__ = ["Context", "check"]

B = TypeVar("B", Plan, Commitment, Receipt, PartMessage, Result, Record, Verdict)
_INVALID = ("wrong-steps", "wrong-tokens", "norm-out-of-bounds", "forged-trace")
_TARGET = ("wrong-run", "wrong-round", "wrong-base", "not-a-member", "wrong-layout")


@dataclass(frozen=True)
class Context:
    """What the chain and the run say: domain, campaign, configuration, P, members' and signers' keys (lower case).

    `keys(index)` gives every signing key that a provider had registered by the round in question.
    """

    domain: Domain
    run: str
    config: RunConfig
    numel: int
    keys: Callable[[int], Collection[str]]
    signers: Collection[str]


@dataclass(frozen=True)
class _Case:
    """An offence with its blobs, opened under a context; `read` are the kinds and names of what its rule looked at."""

    offence: Offence
    blobs: Mapping[str, bytes]
    context: Context
    read: set[str] = field(default_factory=set)

    def of(self, kind: type[B], most: int | None = None) -> list[tuple[Signed, B]]:
        """The documents of a kind, their signatures checked against whoever must have signed them."""
        self.read.add(kind.KIND)
        found = []
        for signed in self.offence.documents:
            if signed.kind == kind.KIND:
                body = open_signed(kind, signed, self.context.domain)
                self.author(signed, body)
                found.append((signed, body))
        if most is not None and len(found) > most:
            raise OffenceError("An offence holds more than its proof", f"{len(found)} documents of kind {kind.KIND}")
        return found

    def one(self, kind: type[B]) -> tuple[Signed, B]:
        """The only document of a kind."""
        found = self.of(kind)
        if len(found) != 1:
            raise OffenceError("An offence lacks a document", f"it has {len(found)} of kind {kind.KIND}, not 1")
        return found[0]

    def blob(self, index: int) -> bytes:
        """The encoded part of a member, as the offence names it by content."""
        name = part_blob(index)
        self.read.add(name)
        entry = next((blob for blob in self.offence.blobs if blob.name == name), None)
        if entry is None or name not in self.blobs:
            raise OffenceError("An offence lacks a blob", f"{name} is not there")
        if sha256_hex(self.blobs[name]) != entry.sha256:
            raise OffenceError("A blob of an offence has other content than it names", name)
        return self.blobs[name]

    def accuses(self, index: int) -> None:
        """OffenceError unless this member is the accused."""
        if self.offence.index != index:
            raise OffenceError("An offence accuses someone else than its documents do", f"member {index}")

    def author(self, signed: Signed, body: object) -> str:
        """The address that signed; SignatureError unless it is a key of whoever must sign such a body."""
        address = recover(signed, self.context.domain)
        index = _author(body)
        allowed = self.context.signers if index is None else self.context.keys(index)
        if address not in allowed:
            raise SignatureError("A document of an offence is signed by a stranger", f"{signed.kind} by {address}")
        return address


def check(offence: Offence, blobs: Mapping[str, bytes], context: Context) -> None:
    """Returns when the offence is proven, and holds nothing else; OffenceError (or another FormatError) says why it is
    not, or does.
    """
    if offence.run != context.run:
        raise OffenceError("An offence is about another run", f"{offence.run}, not {context.run}")
    case = _Case(offence, blobs, context)
    _RULES[offence.rule](case)
    names = [blob.name for blob in offence.blobs]
    more = {document.kind for document in offence.documents} | set(names)
    if not more <= case.read or len(set(names)) != len(names):
        raise OffenceError("An offence holds more than its proof", f"{sorted(more - case.read)}"[:200])


def _author(body: object) -> int | None:
    """The member that must have signed a body; None for what signers sign."""
    if isinstance(body, Commitment):
        return body.index
    if isinstance(body, PartMessage):
        return body.sender
    return body.reducer if isinstance(body, Result) else None


def _plan(case: _Case) -> tuple[str, Plan]:
    signed, plan = case.one(Plan)
    if plan.round != case.offence.round or plan.run != case.context.run:
        raise OffenceError("An offence is about another round than its plan", f"round {plan.round}")
    return signed.digest, plan


def _wrong_target(case: _Case) -> None:
    """Rule 2: the accused signed work that names this plan, but another run, round, base or layout."""
    digest, plan = _plan(case)
    commitments, messages = case.of(Commitment, 1), case.of(PartMessage, 1)
    for _, commitment in commitments:
        case.accuses(commitment.index)
        if _broken(partial(check_commitment, commitment, plan, digest, case.context.config)) in _TARGET:
            return
    for _, message in messages:
        case.accuses(message.sender)
        wrong = (message.run, message.round, message.base) != (plan.run, plan.round, plan.base)
        outside = message.part >= plan.parts or message.sender not in plan.indices
        if message.plan == digest and (wrong or outside):
            return
    raise OffenceError("An offence proves nothing", "its documents fit their plan")


def _payload_mismatch(case: _Case) -> None:
    """Rule 4: the accused signed a part whose bytes are not what it committed to."""
    digest, plan = _plan(case)
    commitment = case.one(Commitment)[1]
    message = case.one(PartMessage)[1]
    case.accuses(commitment.index)
    case.accuses(message.sender)
    case.read.add(part_blob(commitment.index))  # it may come where the digests alone prove it, too
    if commitment.plan != digest or message.plan != digest:
        raise OffenceError("An offence proves nothing", "its documents are about another plan")
    rule = _broken(lambda: check_part_message(message, plan, digest, commitment))
    if rule == "payload-mismatch":
        return
    if rule is not None or message.part >= len(commitment.parts):
        raise OffenceError("An offence proves nothing of the kind", f"its part is {rule}")
    data = case.blob(commitment.index)
    if sha256_hex(data) != message.digest:
        raise OffenceError("An offence proves nothing", "the accused did not sign these bytes")
    span = part_range(case.context.numel, plan.block, plan.parts, message.part)
    try:
        check_part(data, span.size, plan.codec, plan.block, commitment.parts[message.part])
    except PayloadError:
        return
    raise OffenceError("An offence proves nothing", "the payload is what was committed to")


def _invalid_commitment(case: _Case) -> None:
    """A commitment that contradicts itself or the run: steps, tokens, norms or trace."""
    digest, plan = _plan(case)
    commitment = case.one(Commitment)[1]
    case.accuses(commitment.index)
    if _broken(lambda: check_commitment(commitment, plan, digest, case.context.config)) not in _INVALID:
        raise OffenceError("An offence proves nothing", "the commitment is consistent")


def _equivocation(case: _Case) -> None:
    """Two different documents where only one may be: commitments, parts or results of a plan, plans of a round."""
    keys: list[tuple[str, tuple[object, ...]]] = []
    for signed, commitment in case.of(Commitment):
        case.accuses(commitment.index)
        keys.append((signed.digest, ("commitment", commitment.round, commitment.plan)))
    for signed, message in case.of(PartMessage):
        case.accuses(message.sender)
        keys.append((signed.digest, ("part", message.round, message.plan, message.part)))
    for _, result in case.of(Result):
        case.accuses(result.reducer)
        place = ("result", result.round, result.plan, result.part, result.members, result.commitments)
        keys.append((result.digest, place))
    for signed, plan in case.of(Plan):
        if case.author(signed, plan) != case.offence.signer:
            raise OffenceError("An offence accuses someone else than its documents do")
        keys.append((signed.digest, ("plan", plan.round)))
    same_place = len(keys) == 2 and keys[0][1] == keys[1][1] and keys[0][1][1] == case.offence.round
    if not same_place or keys[0][0] == keys[1][0]:
        raise OffenceError("An offence proves nothing", "it needs two different documents for one place")


def _reduction(case: _Case, digest: str, plan: Plan, part: int, commitments: Mapping[int, Commitment]) -> str:
    """The digest that a part of these commitments aggregates to."""
    if part >= plan.parts or any(body.plan != digest for body in commitments.values()):
        raise OffenceError("An offence proves nothing", "its commitments are about another plan or part")
    span = part_range(case.context.numel, plan.block, plan.parts, part)
    decoded = {
        i: check_part(case.blob(i), span.size, plan.codec, plan.block, body.parts[part])
        for i, body in commitments.items()
    }
    weights = {i: counted_tokens(body, plan, case.context.config) for i, body in commitments.items()}
    return reduce_part(case.context.config, plan, case.context.numel, part, decoded, weights).digest


def _wrong_reduction(case: _Case) -> None:
    """A reducer signed a part that its members' committed payloads do not aggregate to."""
    digest, plan = _plan(case)
    result = case.one(Result)[1]
    case.accuses(result.reducer)
    if result.plan != digest or result.part != case.offence.part:
        raise OffenceError("An offence proves nothing", "its result is about another plan or part")
    shown = {body.index: (signed.digest, body) for signed, body in case.of(Commitment, len(result.members))}
    if not set(result.members) <= set(shown):
        raise OffenceError("An offence lacks a commitment", f"members {list(result.members)}"[:200])
    used = {index: shown[index] for index in result.members}
    if digest_over(digest for digest, _ in used.values()) != result.commitments:
        raise OffenceError("An offence proves nothing", "its commitments are not those that were reduced")
    if _reduction(case, digest, plan, result.part, {i: body for i, (_, body) in used.items()}) == result.digest:
        raise OffenceError("An offence proves nothing", "the result is right")


def _wrong_record(case: _Case) -> None:
    """A coordinator signed a record whose part its counted payloads do not aggregate to."""
    digest, plan = _plan(case)
    signed, record = case.one(Record)
    _accuses_signer(case, signed, record)
    part = case.offence.part
    if record.plan != digest or part is None or part >= len(record.results):
        raise OffenceError("An offence proves nothing", "its record is about another plan or part")
    shown = {signed.digest: body for signed, body in case.of(Commitment, len(record.counted))}
    if not {entry.commitment for entry in record.counted} <= set(shown):
        raise OffenceError("An offence lacks a commitment", "that of a member which its record counts")
    counted = {entry.index: shown[entry.commitment] for entry in record.counted}
    if any(body.index != index for index, body in counted.items()):
        raise OffenceError("An offence proves nothing", "its record counts one member's commitment for another")
    if _reduction(case, digest, plan, part, counted) == record.results[part]:
        raise OffenceError("An offence proves nothing", "the record's result is right")


def _omission(case: _Case) -> None:
    """A coordinator signed a record that leaves out a member's commitment, though it had receipted it itself in time.

    The receipt of another signer proves nothing: it may have been signed, or shown, when the record was out.
    """
    digest, plan = _plan(case)
    signed, record = case.one(Record)
    _accuses_signer(case, signed, record)
    signed_commitment, commitment = case.one(Commitment)
    signed_receipt, receipt = case.one(Receipt)
    if record.plan != digest or commitment.plan != digest or commitment.index not in plan.indices:
        raise OffenceError("An offence proves nothing", "its documents are about different plans")
    if receipt.commitment != signed_commitment.digest or not receipt_in_time(receipt, plan):
        raise OffenceError("An offence proves nothing", "the receipt is for another commitment, or late")
    if case.author(signed_receipt, receipt) != case.offence.signer:
        raise OffenceError("An offence proves nothing", "the receipt is another signer's than the record")
    entries: list[Counted | LeftOut] = [*record.counted, *record.refused, *record.missing]
    named = [entry.commitment for entry in entries if entry.index == commitment.index]
    if named and named[0] is not None:
        raise OffenceError("An offence proves nothing", "the record names the member's commitment")


def _accuses_signer(case: _Case, signed: Signed, body: object) -> None:
    if case.author(signed, body) != case.offence.signer:
        raise OffenceError("An offence accuses someone else than its documents do")


def _broken(checked: Callable[[], None]) -> str | None:
    """The slug of the rule that a check finds broken."""
    try:
        checked()
    except RuleBroken as error:
        return error.rule
    return None


_RULES: Mapping[str, Callable[[_Case], None]] = {
    "equivocation": _equivocation,
    "invalid-commitment": _invalid_commitment,
    "omission": _omission,
    "payload-mismatch": _payload_mismatch,
    "wrong-record": _wrong_record,
    "wrong-reduction": _wrong_reduction,
    "wrong-target": _wrong_target,
}
