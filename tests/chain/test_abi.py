"""Encoding by name, and revert data wherever a node puts it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from eth_abi.abi import encode

from commonweight.chain.abi import build, decode_values, interface, parse_interface, snake
from commonweight.chain.reverts import explain, explain_revert, revert_data
from commonweight.chain.rpc import RpcReplyError
from commonweight.chain.urls import mask_url
from commonweight.errors import ChainError, ContractError, InsufficientFunds, NodeFailed
from commonweight.protocol.typed import keccak256, struct_hash

pytestmark = pytest.mark.unit


@dataclass(frozen=True)
class Inner:
    config_sha256: bytes
    C: int


@dataclass(frozen=True)
class Outer:
    names: tuple[str, ...]
    inner: tuple[Inner, ...]
    from_: str


_INNER = [{"name": "C", "type": "uint256"}, {"name": "configSha256", "type": "bytes32"}]
_OUTER = [
    {"name": "from", "type": "address"},
    {"name": "inner", "type": "tuple[]", "components": _INNER},
    {"name": "names", "type": "string[]"},
    {"name": "later", "type": "bool"},
]
_ABI = [
    {
        "type": "function",
        "name": "echo",
        "inputs": [{"name": "value", "type": "tuple", "components": _OUTER[:3]}],
        "outputs": [{"name": "", "type": "tuple", "components": _OUTER}],
    }
]
_ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


def test_structs_are_matched_by_name_in_both_directions() -> None:
    function = parse_interface("T", _ABI).function("echo", 1)
    value = Outer(("a", "b"), (Inner(b"\x01" * 32, 7), Inner(b"\x02" * 32, 8)), _ADDRESS)
    encoded = function.encode([value])
    inner = [(7, b"\x01" * 32), (8, b"\x02" * 32)]
    assert encoded[4:] == encode(["(address,(uint256,bytes32)[],string[])"], [(_ADDRESS, inner, ["a", "b"])])
    answer = encode(["(address,(uint256,bytes32)[],string[],bool)"], [(_ADDRESS, inner, ["a", "b"], True)])
    assert build(Outer, function.decode(answer)[0]) == value


def test_a_field_that_the_struct_lacks_is_an_error_by_name() -> None:
    with pytest.raises(ChainError, match="no field config_sha256"):
        build(Inner, {"C": 1})


def test_an_argument_out_of_range_is_an_error_by_name() -> None:
    function = interface("Campaign").function("deposit", 1)
    with pytest.raises(ChainError, match=r"Campaign\.deposit is out of range"):
        function.encode([-1])
    with pytest.raises(ChainError, match="takes 1 arguments, not 0"):
        function.encode([])
    with pytest.raises(ChainError, match="0 functions nothing"):
        interface("Campaign").function("nothing", 0)


def test_no_interface_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ChainError, match="make abi"):
        interface("NoSuchContract")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("configSha256", "config_sha256"),
        ("dataLicence", "data_licence"),
        ("C", "C"),
        ("lastEpoch", "last_epoch"),
        ("from", "from_"),
        ("_minimumDelay", "minimum_delay"),
    ],
)
def test_names_are_turned_into_python(name: str, expected: str) -> None:
    assert snake(name) == expected


_CAP = interface("Campaign").errors
_CAP_EXCEEDED = next(e for e in _CAP if e.name == "CapExceeded").selector + (5).to_bytes(32, "big")


@pytest.mark.parametrize(
    ("message", "data"),
    [
        ("execution reverted", "0x" + _CAP_EXCEEDED.hex()),
        ("execution reverted: custom error 0x" + _CAP_EXCEEDED.hex(), None),
        ("VM Exception while processing transaction: revert", {"result": "0x" + _CAP_EXCEEDED.hex()}),
        ("VM Exception", {"0xabc": {"error": "revert", "return": "0x", "data": "0x" + _CAP_EXCEEDED.hex()}}),
        ("VM execution error.", "Reverted 0x" + _CAP_EXCEEDED.hex()),
    ],
)
def test_revert_data_is_found_wherever_a_node_puts_it(message: str, data: object) -> None:
    reply = RpcReplyError(-32000, message, data)
    assert revert_data(reply) == _CAP_EXCEEDED
    error = explain(reply, "Campaign.deposit")
    assert isinstance(error, ContractError)
    assert error.name == "CapExceeded"
    assert "room 5" in error.why


def test_strings_and_panics_are_put_into_words() -> None:
    text = explain_revert(bytes.fromhex("08c379a0") + encode(["string"], ["not today"]), "It")
    assert (text.name, text.why) == ("Error", "not today")
    panic = explain_revert(bytes.fromhex("4e487b71") + encode(["uint256"], [0x11]), "It")
    assert panic.name == "Panic"
    assert "overflow" in panic.why


def test_times_and_amounts_are_shown_as_what_they_are() -> None:
    until = explain_revert(keccak256(b"StillOpen(uint64)")[:4] + encode(["uint64"], [1_764_600_000]), "It")
    assert until.why.startswith("StillOpen (until 2025-12-01 14:40:00 UTC): ")
    assert "(room 5 smallest units)" in explain_revert(_CAP_EXCEEDED, "It").why


@pytest.mark.parametrize(
    "data", [b"", b"\x01\x02\x03\x04", _CAP_EXCEEDED[:10], bytes.fromhex("08c379a0") + b"\xff" * 7]
)
def test_what_cannot_be_decoded_is_still_an_error_in_words(data: bytes) -> None:
    error = explain_revert(data, "It")
    assert error.name in ("NoReason", "Unknown")
    assert error.fix


def test_errors_that_are_no_reverts_stay_apart() -> None:
    assert isinstance(
        explain(RpcReplyError(-32000, "insufficient funds for gas * price + value", None), "It"), InsufficientFunds
    )
    plain = explain(RpcReplyError(-32601, "the method does not exist", None), "It")
    assert type(plain) is NodeFailed
    assert revert_data(RpcReplyError(-32601, "the method does not exist", None)) is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pass@rpc.example.org/v3/TOKEN?key=1", "https://rpc.example.org"),
        ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
        ("http://[::1]:8545/x", "http://[::1]:8545"),
    ],
)
def test_urls_are_shown_without_their_secrets(url: str, shown: str) -> None:
    assert mask_url(url) == shown


def test_a_string_that_is_no_utf_8_is_read_and_written_again_as_it_is() -> None:
    function = interface("ProviderRegistry").function("register", 4)
    args = ("0x" + "11" * 20, "0x" + "22" * 20, b"\xff:\x80".decode("utf-8", "surrogateescape"), 5)
    data = function.encode(args)
    assert b"\xff:\x80" in data
    assert decode_values(function.inputs, data[4:])[2] == args[2]
    assert struct_hash("S(string a)", (args[2],)) == keccak256(keccak256(b"S(string a)") + keccak256(b"\xff:\x80"))
