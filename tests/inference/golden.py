"""Writes tests/golden/vouchers.json, or compares it with what the code makes.

Usage: python -m tests.inference.golden. A change of it is a change of protocol.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from commonweight.protocol.canonical import Json, JsonObject, dumps
from commonweight.protocol.documents import Signed, Voucher
from commonweight.protocol.fields import hex32
from commonweight.protocol.vouchers import CHANNEL_TAG
from commonweight.protocol.x402 import (
    ChannelState,
    Payment,
    PaymentRequired,
    PaymentResponse,
    Reason,
    Requirements,
    VoucherState,
)
from inference.chainview import ZERO
from inference.receipts import Served, sign_receipt
from tests.inference.parts import (
    CHAIN_ID,
    CHANNEL,
    DELAY_S,
    DOCUMENTS,
    PAYER,
    PAYER_KEY,
    PAYMENTS,
    RUN,
    SERVER,
    SERVER_KEY,
    VOUCHERS,
    voucher,
)

PATH = Path(__file__).resolve().parent.parent / "golden" / "vouchers.json"
PROMPT_TOKENS, MAX_TOKENS, PRICE = 6, 8, 10**12
BODY = b'{"model":"tiny","max_tokens":8,"temperature":0,"seed":7,"prompt":"def f("}'
ANSWER = "x):\n  "


def served() -> Served:
    """A receipt's body."""
    tokens = len(ANSWER.encode())
    amount = (PROMPT_TOKENS + tokens) * PRICE
    return Served(
        run=RUN, checkpoint=b"\x07" * 32, channel=CHANNEL, sequence=3,
        request_sha256=hashlib.sha256(BODY).digest(), answer_sha256=hashlib.sha256(ANSWER.encode()).digest(),
        prompt_tokens=PROMPT_TOKENS, completion_tokens=tokens, price_per_token=PRICE, amount=amount,
        cumulative=5 * 10**13 + amount, ceiling=10**14, seed=7, finish="stop", time_ms=1_800_000_000_000,
    )  # fmt: skip


def vector() -> JsonObject:
    """The whole vector."""
    cumulative = 10**14
    struct = Voucher(CHANNEL, cumulative)
    state = ChannelState(CHANNEL, 10**16, 2 * 10**13, 5 * 10**13, 14 * PRICE, 10**15, 1_800_000_000, 1_800_003_600, 2)
    offer = Requirements(
        CHAIN_ID, (PROMPT_TOKENS + MAX_TOKENS) * PRICE, ZERO, SERVER, 300, PAYMENTS, RUN, b"\x07" * 32, DELAY_S, PRICE,
        PROMPT_TOKENS, MAX_TOKENS, state, VoucherState(5 * 10**13, voucher(5 * 10**13).signature),
    )  # fmt: skip
    payment = Payment(CHAIN_ID, offer.amount, ZERO, SERVER, PAYER, DELAY_S, voucher(cumulative))
    receipt = Signed.from_bytes(sign_receipt(served(), SERVER_KEY, DOCUMENTS))
    url = "http://127.0.0.1:8402/v1/completions"
    amount = served().amount
    return {
        "payer_key": "0x" + PAYER_KEY.hex(), "payer": PAYER, "server_key": "0x" + SERVER_KEY.hex(), "server": SERVER,
        "asset": ZERO, "delay": DELAY_S, "chain_id": CHAIN_ID, "payments": PAYMENTS, "oracle": DOCUMENTS.contract,
        "channel_tag": hex32(CHANNEL_TAG), "channel_id": hex32(CHANNEL),
        "voucher": {
            "cumulative": str(cumulative), "domain_separator": hex32(VOUCHERS.separator),
            "struct_hash": hex32(struct.struct_hash()), "digest": hex32(struct.digest(VOUCHERS)),
            "signature": "0x" + voucher(cumulative).signature.hex(),
        },
        "payment_required": _both(PaymentRequired(Reason.AMOUNT_MISMATCH, url, (offer,))),
        "payment_signature": payment.to_header(offer),
        "payment_response": _both(PaymentResponse(True, CHAIN_ID, PAYER, "", amount, receipt.digest, state)),
        "payment_refused": _both(PaymentResponse(False, CHAIN_ID, PAYER, Reason.SIGNATURE)),
        "request": BODY.decode(), "answer": ANSWER, "receipt": receipt.to_json(), "receipt_digest": receipt.digest,
    }  # fmt: skip


def _both(made: PaymentRequired | PaymentResponse) -> dict[str, Json]:
    return {"object": made.to_json(), "header": made.to_header()}


if __name__ == "__main__":
    PATH.write_bytes(dumps(vector()))
