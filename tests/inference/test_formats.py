"""Vouchers, x402 headers and receipts: golden vectors, an independent signer, and whatever else may be sent instead."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import cast

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from commonweight.errors import CommonweightError, FormatError, PaymentError, SignatureError
from commonweight.protocol.canonical import dumps
from commonweight.protocol.documents import sign
from commonweight.protocol.vouchers import channel_id, voucher_signer
from commonweight.protocol.x402 import MAX_HEADER_BYTES, Payment, PaymentRequired, PaymentResponse
from inference.chainview import ZERO
from inference.receipts import Served, read_receipt, sign_receipt
from tests.inference import golden
from tests.inference.parts import (
    CHAIN_ID,
    CHANNEL,
    DELAY_S,
    DOCUMENTS,
    OTHER,
    PAYER,
    PAYER_KEY,
    PAYMENTS,
    SERVER,
    SERVER_KEY,
    VOUCHERS,
    payment,
    voucher,
)

pytestmark = pytest.mark.unit


def test_the_code_makes_exactly_the_committed_vector() -> None:
    assert golden.PATH.read_bytes() == dumps(golden.vector())


def test_another_implementation_of_eip_712_signs_the_same_voucher() -> None:
    typed = {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "Voucher": [{"name": "channelId", "type": "bytes32"}, {"name": "cumulative", "type": "uint256"}],
        },
        "primaryType": "Voucher",
        "domain": {"name": "Commonweight", "version": "1", "chainId": CHAIN_ID, "verifyingContract": PAYMENTS},
        "message": {"channelId": CHANNEL, "cumulative": 12345},
    }
    theirs = Account.sign_message(encode_typed_data(full_message=typed), PAYER_KEY)
    assert bytes(theirs.signature) == voucher(12345).signature
    assert voucher_signer(voucher(12345), VOUCHERS) == PAYER


def test_a_channel_is_named_by_payer_server_asset_and_delay() -> None:
    names = {
        channel_id(PAYER, SERVER, ZERO, DELAY_S),
        channel_id(OTHER, SERVER, ZERO, DELAY_S),
        channel_id(PAYER, OTHER, ZERO, DELAY_S),
        channel_id(PAYER, SERVER, OTHER, DELAY_S),
        channel_id(PAYER, SERVER, ZERO, DELAY_S + 1),
    }
    assert len(names) == 5 and CHANNEL in names
    assert channel_id(PAYER.upper().replace("0X", "0x"), SERVER, ZERO, DELAY_S) == CHANNEL, "case does not matter"
    with pytest.raises(FormatError):
        channel_id(PAYER, SERVER, ZERO, 2**64)


def test_headers_are_read_as_they_were_written() -> None:
    vector = json.loads(golden.PATH.read_text())
    required = PaymentRequired.from_header(vector["payment_required"]["header"])
    assert required.to_json() == vector["payment_required"]["object"]
    (offer,) = required.accepts
    paid = Payment.from_header(vector["payment_signature"])
    assert paid.to_header(offer) == vector["payment_signature"]
    assert (paid.payer, paid.voucher.channel_id, paid.voucher.cumulative) == (PAYER, CHANNEL, 10**14)
    for name in ("payment_response", "payment_refused"):
        assert PaymentResponse.from_header(vector[name]["header"]).to_json() == vector[name]["object"]


def decoded(header: str) -> dict[str, object]:
    value = json.loads(base64.b64decode(header))
    assert isinstance(value, dict)
    return value


def encoded(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def test_fields_that_x402_may_add_are_let_through() -> None:
    required = PaymentRequired.from_header(json.loads(golden.PATH.read_text())["payment_required"]["header"])
    value = decoded(payment(5).to_header(required.accepts[0]))
    value["extensions"] = {"more": 1}
    value["payload"]["channelConfig"]["salt"] = "0x00"  # type: ignore[index]
    offer = required.accepts[0]
    assert Payment.from_header(encoded(value)) == payment(5, amount=offer.amount, checkpoint=offer.checkpoint)


@pytest.mark.parametrize("lacks", ["checkpoint", "extra"])
def test_terms_without_a_checkpoint_are_accepted_for_any(lacks: str) -> None:
    value = decoded(json.loads(golden.PATH.read_text())["payment_signature"])
    accepted = cast("dict[str, dict[str, object]]", value["accepted"])
    del (accepted if lacks == "extra" else accepted["extra"])[lacks]
    assert Payment.from_header(encoded(value)).checkpoint is None


def test_offers_of_other_schemes_are_left_out() -> None:
    vector = json.loads(golden.PATH.read_text())["payment_required"]["object"]
    both = {**vector, "accepts": [{"scheme": "exact", "network": "solana:5"}, *vector["accepts"]]}
    assert len(PaymentRequired.from_header(encoded(both)).accepts) == 1


MUTATIONS: list[tuple[tuple[str, ...], object]] = [
    (("x402Version",), 1),
    (("accepted", "scheme"), "exact"),
    (("accepted", "network"), "solana:101"),
    (("accepted", "network"), "eip155:0"),
    (("accepted", "amount"), 100),
    (("accepted", "amount"), "-1"),
    (("accepted", "amount"), "01"),
    (("accepted", "amount"), str(2**256)),
    (("accepted", "payTo"), "0x12"),
    (("accepted", "extra", "checkpoint"), "0x12"),
    (("accepted", "extra", "checkpoint"), 7),
    (("payload", "type"), "deposit"),
    (("payload", "channelConfig", "payer"), None),
    (("payload", "channelConfig", "receiver"), "0x" + "9" * 40),
    (("payload", "channelConfig", "token"), "0x" + "9" * 40),
    (("payload", "channelConfig", "withdrawDelay"), -1),
    (("payload", "channelConfig", "withdrawDelay"), True),
    (("payload", "voucher", "channelId"), "0x1234"),
    (("payload", "voucher", "maxClaimableAmount"), "1e18"),
    (("payload", "voucher", "signature"), "0x" + "11" * 64),
    (("payload", "voucher", "signature"), "0x" + "zz" * 65),
    (("payload",), []),
]


@pytest.mark.parametrize(("path", "value"), MUTATIONS)
def test_a_payment_with_one_wrong_field_is_refused(path: tuple[str, ...], value: object) -> None:
    whole = decoded(json.loads(golden.PATH.read_text())["payment_signature"])
    Payment.from_header(encoded(whole))
    place = whole
    for step in path[:-1]:
        place = place[step]  # type: ignore[assignment]
    place[path[-1]] = value
    with pytest.raises(FormatError):
        Payment.from_header(encoded(whole))


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: base64.b64encode(data).decode()))
def test_no_header_does_worse_than_a_format_error(header: str) -> None:
    for kind in (Payment, PaymentRequired, PaymentResponse):
        with pytest.raises(CommonweightError):
            kind.from_header(header)


def test_a_header_has_a_longest_size() -> None:
    with pytest.raises(FormatError, match="too long"):
        Payment.from_header("A" * (MAX_HEADER_BYTES + 1))


def test_a_receipt_is_read_as_it_was_signed() -> None:
    data = sign_receipt(golden.served(), SERVER_KEY, DOCUMENTS)
    served, digest = read_receipt(data, DOCUMENTS, SERVER)
    assert served == golden.served() and digest == json.loads(golden.PATH.read_text())["receipt_digest"]
    with pytest.raises(SignatureError):
        read_receipt(data, DOCUMENTS, OTHER)
    with pytest.raises(SignatureError):
        read_receipt(data, replace(DOCUMENTS, chain_id=1), SERVER)


@pytest.mark.parametrize(
    "change",
    [
        {"amount": "1"},
        {"completion_tokens": 7},
        {"price_per_token": "0"},
        {"cumulative": "5"},
    ],
)
def test_a_receipt_must_add_up(change: dict[str, object]) -> None:
    body = {**golden.served().to_body(), **change}
    with pytest.raises(PaymentError, match="does not add up"):
        Served.from_body(body)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(golden.served().to_body()))
def test_a_receipt_lacks_nothing(name: str) -> None:
    body = golden.served().to_body()
    del body[name]
    with pytest.raises(FormatError):
        Served.from_body(body)


def test_a_receipt_of_another_kind_is_refused() -> None:
    signed = sign("receipt", golden.served().to_body(), SERVER_KEY, DOCUMENTS).to_bytes()
    with pytest.raises(SignatureError):
        read_receipt(signed, DOCUMENTS, SERVER)
