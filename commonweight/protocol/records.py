"""All documents of a round in one place, and the one way to open a signed one.

`open_signed(Plan, signed, domain, expect=address)` checks kind and signature and reads the body.
"""

from typing import TypeVar

from commonweight.protocol.documents import Signed, sign, verify
from commonweight.protocol.exchange_documents import Link, PartMessage, Receipt, Result
from commonweight.protocol.outcome_documents import CHECKS, OUTCOMES, Manifest, ManifestFile, Segment, Verdict
from commonweight.protocol.record_documents import Anchor, Counted, LeftOut, MeasuredLink, Record
from commonweight.protocol.round_documents import MAX_MEMBERS, Commitment, CommittedPart, Plan, PlanMember
from commonweight.protocol.trace import StateDigests, Trace
from commonweight.protocol.typed import Domain

__all__ = [
    "CHECKS",
    "MAX_MEMBERS",
    "OUTCOMES",
    "Anchor",
    "Commitment",
    "CommittedPart",
    "Counted",
    "LeftOut",
    "Link",
    "Manifest",
    "ManifestFile",
    "MeasuredLink",
    "PartMessage",
    "Plan",
    "PlanMember",
    "Receipt",
    "Record",
    "Result",
    "Segment",
    "StateDigests",
    "Trace",
    "Verdict",
    "open_signed",
    "sign_body",
]


B = TypeVar("B", Plan, Commitment, Receipt, PartMessage, Result, Anchor, Record, Verdict)


def sign_body(
    body: Plan | Commitment | Receipt | PartMessage | Result | Anchor | Record | Verdict, key: bytes, domain: Domain
) -> Signed:
    """Signs a body under its kind with a 32-byte private key."""
    return sign(body.KIND, body.to_body(), key, domain)


def open_signed(kind: type[B], signed: Signed, domain: Domain, expect: str | None = None) -> B:
    """Checks kind and signature (by `expect`, when given) and reads the body. SignatureError or FormatError."""
    verify(signed, domain, kind.KIND, expect)
    return kind.from_body(signed.body)
