"""Transactions that are written on one machine, signed on another that has no network, and sent from the first.

A `Drafter` takes the place of the sender: it simulates, prices and numbers each transaction and keeps it. The unsigned
file says in words what each one does, but the words are for people: who signs is shown what the bytes themselves say,
decoded by the contracts' interfaces, and a file whose words and bytes differ is refused. Sending twice is harmless: a
transaction has one nonce, and one that is mined is only looked up.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from commonweight.chain.abi import decode_call
from commonweight.chain.keys import Key
from commonweight.errors import CanonicalJsonError, FormatError, UsageError
from commonweight.protocol.canonical import JsonObject, dumps, loads_object, sha256_hex

UNSIGNED = "commonweight.unsigned.v1"
SIGNED = "commonweight.signed.v1"
_LIMIT = 8 << 20
_FOLLOWING_GAS = 500_000  # for one that cannot be simulated before the one before it is mined
_FIELDS = ("contract", "to", "nonce", "value", "gas", "max_fee", "tip", "data")


@dataclass(frozen=True)
class Draft:
    """One transaction, not signed. `contract` names the interface that `data` is decoded by; amounts in wei."""

    contract: str
    to: str
    nonce: int
    value: int
    gas: int
    max_fee: int
    tip: int
    data: bytes

    @property
    def calls(self) -> str:
        """What the bytes say: Contract.function(name=value, ...). Raises FormatError for what nobody knows."""
        if not self.data:
            return "a plain transfer"
        name, arguments = decode_call(self.contract, self.data)
        return f"{self.contract}.{name}({', '.join(f'{n}={_shown(v)}' for n, v in arguments)})"

    def to_json(self) -> JsonObject:
        """The file's form; integers as text."""
        return {
            "contract": self.contract,
            "to": self.to,
            "calls": self.calls,
            "nonce": str(self.nonce),
            "value": str(self.value),
            "gas": str(self.gas),
            "max_fee": str(self.max_fee),
            "tip": str(self.tip),
            "data": "0x" + self.data.hex(),
        }

    @classmethod
    def from_json(cls, value: object) -> Draft:
        """Read the file's form. Raises FormatError, also when the words do not say what the bytes do."""
        if not isinstance(value, dict) or set(value) != {*_FIELDS, "calls"}:
            raise FormatError("A transaction of the file is malformed", "fields are missing or unknown")
        try:
            numbers = {name: int(value[name]) for name in ("nonce", "value", "gas", "max_fee", "tip")}
            made = cls(value["contract"], value["to"], data=bytes.fromhex(value["data"][2:]), **numbers)
        except (ValueError, TypeError) as error:
            raise FormatError("A transaction of the file is malformed", str(error)) from None
        if made.calls != value["calls"] or min(numbers.values()) < 0:
            raise FormatError(
                "The file says something else than its transactions do",
                f"it says {value['calls']}; the bytes say {made.calls}",
                "Do not sign it. Write it again, and find out who changed it.",
            )
        return made


@dataclass(frozen=True)
class Unsigned:
    """What one command would send: for which chain, from whom, what for, and the transactions in order."""

    chain_id: int
    sender: str
    what: str
    drafts: tuple[Draft, ...]

    def save(self, path: Path) -> str:
        """Write the file, which must not exist; returns its SHA-256. Raises UsageError."""
        body: JsonObject = {
            "schema": UNSIGNED,
            "chain_id": self.chain_id,
            "from": self.sender,
            "what": self.what,
            "transactions": [draft.to_json() for draft in self.drafts],
        }
        return _save(path, body)

    @classmethod
    def load(cls, path: Path) -> Unsigned:
        """Read a file. Raises UsageError if it cannot be read, FormatError if it was changed or is malformed."""
        body = _load(path, UNSIGNED, {"chain_id", "from", "what", "transactions"})
        return cls(body["chain_id"], body["from"], body["what"], tuple(map(Draft.from_json, body["transactions"])))


@dataclass(frozen=True)
class Signed:
    """Signed transactions: `raw` in order, each with the draft that it was made from."""

    unsigned: Unsigned
    raw: tuple[bytes, ...]

    def save(self, path: Path) -> str:
        """Write the file, which must not exist; returns its SHA-256. Raises UsageError."""
        plan = self.unsigned
        body: JsonObject = {
            "schema": SIGNED,
            "chain_id": plan.chain_id,
            "from": plan.sender,
            "what": plan.what,
            "transactions": [
                {**draft.to_json(), "raw": "0x" + raw.hex()} for draft, raw in zip(plan.drafts, self.raw, strict=True)
            ],
        }
        return _save(path, body)

    @classmethod
    def load(cls, path: Path) -> Signed:
        """Read a file and check that each signature is the sender's over exactly what is described. Raises as
        `Unsigned.load`.
        """
        body = _load(path, SIGNED, {"chain_id", "from", "what", "transactions"})
        drafts, raws = [], []
        for entry in body["transactions"]:
            if not isinstance(entry, dict) or not isinstance(entry.get("raw"), str):
                raise FormatError("A transaction of the file is malformed", "it is not signed")
            drafts.append(Draft.from_json({n: v for n, v in entry.items() if n != "raw"}))
            raws.append(bytes.fromhex(entry["raw"][2:]))
        plan = Unsigned(body["chain_id"], body["from"], body["what"], tuple(drafts))
        for draft, raw in zip(drafts, raws, strict=True):
            _check(plan, draft, raw)
        return cls(plan, tuple(raws))

    def hashes(self) -> tuple[bytes, ...]:
        """The transactions' hashes."""
        from eth_utils.crypto import keccak

        return tuple(keccak(raw) for raw in self.raw)


def sign(plan: Unsigned, key: Key) -> Signed:
    """Sign every transaction; needs no network. Raises UsageError for another key than the sender's."""
    from eth_account import Account

    if key.address != plan.sender:
        raise UsageError(
            f"This key is {key.address}, the transactions are from {plan.sender}.", "", "Use that account's keystore."
        )
    signed = (Account.sign_transaction(_fields(plan, draft), key.private_key) for draft in plan.drafts)
    return Signed(plan, tuple(bytes(s.raw_transaction) for s in signed))


@dataclass
class Drafter:
    """Keeps what would be sent. `estimate` gives the gas of a transaction, or None when it cannot be simulated yet."""

    sender: str
    first_nonce: int
    max_fee: int
    tip: int
    drafts: list[Draft] = field(default_factory=list)

    def add(self, contract: str, to: str, data: bytes, value: int, estimate: Callable[[], int]) -> None:
        """Keep one more. The first is simulated; a later one may depend on those before it and gets ample gas."""
        gas = estimate() if not self.drafts else _FOLLOWING_GAS
        nonce = self.first_nonce + len(self.drafts)
        self.drafts.append(Draft(contract, to, nonce, value, gas, self.max_fee, self.tip, data))


def _shown(value: object) -> str:
    """A value so that a terminal cannot be led astray: text quoted and in ASCII, bytes in hex."""
    if isinstance(value, str):
        return value if value.isascii() and value.isalnum() else json.dumps(value)
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_shown(v)}" for name, v in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_shown(v) for v in value) + "]"
    return str(value)


def _fields(plan: Unsigned, draft: Draft) -> dict[str, Any]:
    return {
        "type": 2,
        "chainId": plan.chain_id,
        "nonce": draft.nonce,
        "to": bytes.fromhex(draft.to[2:]),
        "value": draft.value,
        "gas": draft.gas,
        "maxFeePerGas": draft.max_fee,
        "maxPriorityFeePerGas": draft.tip,
        "data": draft.data,
    }


def _check(plan: Unsigned, draft: Draft, raw: bytes) -> None:
    """That `raw` is the described transaction under the sender's signature. Raises FormatError."""
    from eth_account import Account
    from eth_account.typed_transactions.typed_transaction import TypedTransaction
    from hexbytes import HexBytes

    try:
        signer = str(Account.recover_transaction(raw))
        found = {**TypedTransaction.from_bytes(HexBytes(raw)).as_dict()}
    except Exception as error:  # noqa: BLE001 - whatever a library says of bytes that are no transaction
        raise FormatError("A transaction of the file is malformed", str(error)) from None
    wanted = {**_fields(plan, draft), "accessList": ()}
    if signer != plan.sender or {n: v for n, v in found.items() if n not in ("v", "r", "s")} != wanted:
        raise FormatError(
            "A signed transaction is not the one that the file describes",
            "its signature or its fields differ",
            "Do not send it. Sign the unsigned file again.",
        )


def _save(path: Path, body: JsonObject) -> str:
    digest = sha256_hex(dumps(body))
    text = json.dumps({**body, "sha256": digest}, indent=2, ensure_ascii=False) + "\n"
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(
            f"The file {path} was not written.", error.strerror or "", "Choose another name; none is overwritten."
        ) from None
    return digest


def _load(path: Path, schema: str, names: set[str]) -> Mapping[str, Any]:
    try:
        text = path.read_bytes()[:_LIMIT]
    except OSError as error:
        raise UsageError(f"The file {path} cannot be read.", error.strerror or "", "Check its name.") from None
    try:
        body = json.loads(text)
        canonical = loads_object(dumps(body), _LIMIT)
    except (ValueError, CanonicalJsonError, TypeError):
        raise FormatError(f"{path} is not a file of transactions.", "It is not JSON", "Write it again.") from None
    digest = canonical.pop("sha256", None)
    if canonical.get("schema") != schema or set(canonical) != {*names, "schema"}:
        raise FormatError(
            f"{path} is not a file of this kind.", f"It must be {schema}", "`commonweight tx --help` shows the way."
        )
    if digest != sha256_hex(dumps(canonical)):
        raise FormatError(f"{path} was changed.", "Its digest is not of what it holds", "Write it again.")
    if not isinstance(canonical["transactions"], list) or not isinstance(canonical["chain_id"], int):
        raise FormatError(f"{path} is malformed.", "", "Write it again.")
    return canonical
