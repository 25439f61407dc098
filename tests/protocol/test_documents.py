"""Typed data and signed documents, against eth_account as the second implementation."""

import dataclasses
from hashlib import sha256

import pytest
from eth_abi.abi import encode as abi_encode
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from commonweight.errors import FormatError, SignatureError
from commonweight.protocol import typed
from commonweight.protocol.canonical import dumps
from commonweight.protocol.documents import (
    Signed,
    document_digest,
    recover,
    sign,
    verify,
)
from commonweight.protocol.keys import address_of, recover_address, sign_digest
from commonweight.protocol.structs import (
    BAN_TYPE,
    REPORT_TYPE,
    ROTATION_TYPE,
    VERDICT_TYPE,
    VOUCHER_TYPE,
    Ban,
    DisputeVerdict,
    Report,
    Rotation,
    Voucher,
    config_digest,
)
from commonweight.protocol.typed import Domain

pytestmark = pytest.mark.unit

DOMAIN = Domain(31337, "0xAbABABABABABABABABABABABABABABABABABABAB")
KEY = b"\x11" * 32
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
B32, U64 = st.binary(min_size=32, max_size=32), st.integers(0, 2**64 - 1)
CID = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=8, max_size=60)
REPORTS = st.builds(
    Report,
    B32,
    U64,
    st.integers(0, 2**32 - 1),
    B32,
    B32,
    st.integers(0, 2**256 - 1),
    st.integers(0, 32),
    U64,
    B32,
    CID,
    B32,
    B32,
    CID,
    U64,
    U64,
    U64,
    B32,
)


def account_digest(kind: str, values: tuple, domain: Domain) -> bytes:
    """The digest as eth_account computes it."""
    name, fields = kind[:-1].split("(")
    types = [dict(zip(("type", "name"), field.split(" "), strict=True)) for field in fields.split(",")]
    message = dict(zip([field["name"] for field in types], values, strict=True))
    data = {"name": "Commonweight", "version": "1", "chainId": domain.chain_id, "verifyingContract": domain.contract}
    encoded = encode_typed_data(data, {name: types}, message)
    return typed.keccak256(b"\x19" + encoded.version + encoded.header + encoded.body)


@given(REPORTS)
@settings(max_examples=30, deadline=None)
def test_a_report_hashes_as_eth_account_hashes_it_and_survives_json(report: Report) -> None:
    assert report.digest(DOMAIN) == account_digest(REPORT_TYPE, report.as_tuple(), DOMAIN)
    assert Report.from_body(report.to_body()) == report


@given(B32, st.integers(0, 2**32 - 1), B32, U64)
@settings(max_examples=20, deadline=None)
def test_a_ban_hashes_as_eth_account_hashes_it(config: bytes, index: int, evidence: bytes, until: int) -> None:
    ban = Ban(config, index, evidence, until)
    assert ban.digest(DOMAIN) == account_digest(BAN_TYPE, (config, index, evidence, until), DOMAIN)
    assert Ban.from_body(ban.to_body()) == ban


@given(B32, st.integers(0, 2**256 - 1))
@settings(max_examples=20, deadline=None)
def test_a_voucher_hashes_as_eth_account_hashes_it(channel: bytes, cumulative: int) -> None:
    assert Voucher(channel, cumulative).digest(DOMAIN) == account_digest(VOUCHER_TYPE, (channel, cumulative), DOMAIN)


ADDRESSES = st.lists(st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex()), max_size=4).map(tuple)


@given(B32, st.integers(0, 2**16 - 1), ADDRESSES, ADDRESSES)
@settings(max_examples=20, deadline=None)
def test_a_rotation_hashes_as_eth_account_hashes_it(config: bytes, quorum: int, signers, transmitters) -> None:
    values = (config, quorum, signers, transmitters)
    expected = account_digest(ROTATION_TYPE, (config, quorum, list(signers), list(transmitters)), DOMAIN)
    assert Rotation(*values).digest(DOMAIN) == expected


@given(B32, U64, st.integers(0, 2**32 - 1), st.booleans(), B32)
@settings(max_examples=20, deadline=None)
def test_a_dispute_verdict_hashes_as_eth_account_hashes_it(config, epoch, index, convicted, evidence) -> None:
    values = (config, epoch, index, convicted, evidence)
    assert DisputeVerdict(*values).digest(DOMAIN) == account_digest(VERDICT_TYPE, values, DOMAIN)


@given(B32, st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1), ADDRESSES)
@settings(max_examples=20, deadline=None)
def test_a_configuration_digest_is_the_abi_encoding_hashed(sha256: bytes, rotation: int, quorum: int, signers) -> None:
    types = ["bytes32", "bytes32", "uint32", "uint16", "address[]"]
    tag = typed.keccak256(b"commonweight.config.v1")
    expected = typed.keccak256(abi_encode(types, [tag, sha256, rotation, quorum, list(signers)]))
    assert config_digest(sha256, rotation, quorum, signers) == expected


def test_a_document_is_bound_to_kind_body_chain_and_contract() -> None:
    signed = sign("plan", {"round": 1}, KEY, DOMAIN)
    assert verify(signed, DOMAIN, "plan", Account.from_key(KEY).address) == address_of(KEY)
    assert Signed.from_bytes(signed.to_bytes()) == signed
    for other in (
        dataclasses.replace(signed, kind="record"),
        dataclasses.replace(signed, body={"round": 2}),
    ):
        assert recover(other, DOMAIN) != address_of(KEY)
    for domain in (Domain(1, DOMAIN.contract), Domain(31337, "0x" + "cd" * 20)):
        with pytest.raises(SignatureError):
            verify(signed, domain, "plan", address_of(KEY))
    with pytest.raises(SignatureError):
        verify(signed, DOMAIN, "record")


def test_malleable_and_malformed_signatures_are_refused() -> None:
    digest = b"\x22" * 32
    good = sign_digest(digest, KEY)
    assert recover_address(digest, good) == address_of(KEY)
    r, s, v = good[:32], int.from_bytes(good[32:64], "big"), good[64]
    high = r + (ORDER - s).to_bytes(32, "big") + bytes([55 - v])
    for bad in (
        high,
        good[:64],
        good + b"\x00",
        good[:64] + bytes([v - 27]),
        good[:64] + b"\x1d",
        bytes(64) + b"\x1b",
        b"\xff" * 32 + good[32:],
    ):
        with pytest.raises(SignatureError):
            recover_address(digest, bad)
    signed = sign("plan", {}, KEY, DOMAIN)
    for text in ("", "0x", signed.signature.upper(), signed.signature[:-1] + "g", signed.signature + "00"):
        with pytest.raises(SignatureError):
            recover(dataclasses.replace(signed, signature=text), DOMAIN)


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"kind": "plan", "body": [], "signature": "0x"},
        {"kind": "plan", "body": {}},
        {"kind": "plan", "body": {}, "signature": "0x", "more": 1},
        {"kind": "letter", "body": {}, "signature": "0x"},
    ],
)
def test_what_is_no_document_is_refused(value) -> None:
    with pytest.raises(FormatError):
        Signed.from_json(value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("uint8", 256),
        ("uint64", -1),
        ("bytes32", b"x"),
        ("address", "0x12"),
        ("bool", 1),
        ("uint256", True),
        ("string", b"x"),
        ("int8", 1),
    ],
)
def test_a_value_that_does_not_fit_its_type_is_refused(kind: str, value) -> None:
    with pytest.raises(FormatError):
        typed.struct_hash(f"Odd({kind} value)", (value,))


def test_types_that_are_not_flat_structs_are_refused() -> None:
    for kind in ("Odd", "Odd()", "Odd(uint8)", "Odd(Other x)Other(uint8 y)"):
        with pytest.raises(FormatError):
            typed.typehash(kind)
    with pytest.raises(FormatError):
        typed.struct_hash(BAN_TYPE, ())


@pytest.mark.parametrize(
    "body", [{}, {"a": 1}, {"kind": "x", "signature": "}"}, {"\u00e4": "\u00e4\n\"", "list": [1, [2, 3]]}]
)
def test_a_document_that_was_read_has_the_digest_of_its_body(body) -> None:
    made = sign("plan", body, b"\x07" * 32, Domain(1, "0x" + "12" * 20))
    read = Signed.from_bytes(made.to_bytes())
    assert (read, read.to_bytes()) == (made, dumps(made.to_json()))
    assert read.digest == dataclasses.replace(made).digest == document_digest(body)
    assert read.digest == "0x" + sha256(dumps(body)).hexdigest()
