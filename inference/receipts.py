"""Receipts: the server's signed statement of what it answered from which checkpoint and what it charged for it.

A receipt is a signed document of kind `served`. The receipts of a channel are numbered without gaps, each adding its
amount to the total before it, so that a payer who has all of them can account for every unit that the server may
settle.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from commonweight.errors import Dishonest
from commonweight.protocol.canonical import Json, JsonObject
from commonweight.protocol.documents import Signed, sign, verify
from commonweight.protocol.fields import U64, Fields, digest_bytes, hex32
from commonweight.protocol.typed import Domain
from inference.answers import Finish

KIND = "served"
SCHEMA = "commonweight.served.v1"
HEADER_RECEIPT = "COMMONWEIGHT-RECEIPT"
MAX_RECEIPT_BYTES = 16 * 1024
_FINISHES: dict[str, Finish] = {"stop": "stop", "length": "length", "interrupted": "interrupted"}


@dataclass(frozen=True)
class Served:
    """A receipt's body. Digests are 32 bytes; amounts are in the asset's smallest units.

    `cumulative` is the channel's total with this charge, `ceiling` what the request's voucher allowed; `sequence`
    counts the channel's charges from 1. `request_sha256` is of the HTTP body, `answer_sha256` of the answer's UTF-8
    text.
    """

    run: str
    checkpoint: bytes
    channel: bytes
    sequence: int
    request_sha256: bytes
    answer_sha256: bytes
    prompt_tokens: int
    completion_tokens: int
    price_per_token: int
    amount: int
    cumulative: int
    ceiling: int
    seed: int
    finish: Finish
    time_ms: int

    def to_body(self) -> JsonObject:
        """The document's body."""
        return {
            "schema": SCHEMA,
            "run": self.run,
            "checkpoint": hex32(self.checkpoint),
            "channel": hex32(self.channel),
            "sequence": self.sequence,
            "request_sha256": hex32(self.request_sha256),
            "answer_sha256": hex32(self.answer_sha256),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "price_per_token": str(self.price_per_token),
            "amount": str(self.amount),
            "cumulative": str(self.cumulative),
            "ceiling": str(self.ceiling),
            "seed": str(self.seed),
            "finish": self.finish,
            "time_ms": self.time_ms,
        }

    @classmethod
    def from_body(cls, body: Json) -> Served:
        """Checked reading; FormatError, or Dishonest when its amounts do not add up."""
        f = Fields(body, KIND)
        f.choice("schema", (SCHEMA,))
        served = cls(
            run=f.address("run"),
            checkpoint=digest_bytes(f.digest("checkpoint")),
            channel=digest_bytes(f.digest("channel")),
            sequence=f.integer("sequence", 1),
            request_sha256=digest_bytes(f.digest("request_sha256")),
            answer_sha256=digest_bytes(f.digest("answer_sha256")),
            prompt_tokens=f.integer("prompt_tokens"),
            completion_tokens=f.integer("completion_tokens"),
            price_per_token=f.decimal("price_per_token"),
            amount=f.decimal("amount"),
            cumulative=f.decimal("cumulative"),
            ceiling=f.decimal("ceiling"),
            seed=f.decimal("seed", U64),
            finish=_FINISHES[f.choice("finish", tuple(_FINISHES))],
            time_ms=f.integer("time_ms"),
        )
        f.done()
        price = (served.prompt_tokens + served.completion_tokens) * served.price_per_token
        if served.amount != price or served.amount > served.cumulative:
            raise Dishonest(
                "A receipt does not add up",
                f"its tokens cost {price}, it charges {served.amount} of {served.cumulative} in all",
                "pay this server no more, and withdraw what is left in the channel",
            )
        return served


def sign_receipt(served: Served, key: bytes, domain: Domain) -> bytes:
    """The signed document's canonical bytes; the domain's contract is the run's CreditOracle."""
    return sign(KIND, served.to_body(), key, domain).to_bytes()


def read_receipt(data: bytes, domain: Domain, server: str) -> tuple[Served, str]:
    """A receipt and its digest, after checking that `server` signed it. FormatError, SignatureError or Dishonest."""
    signed = Signed.from_bytes(data, MAX_RECEIPT_BYTES)
    verify(signed, domain, KIND, server)
    return Served.from_body(signed.body), signed.digest


def to_header(receipt: bytes) -> str:
    """The value of COMMONWEIGHT-RECEIPT."""
    return base64.b64encode(receipt).decode()
