"""What the chain client hands out: blocks, logs and receipts, as frozen dataclasses. Hashes are 32 bytes, addresses
checksummed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from eth_utils.address import to_checksum_address

BlockId = int | Literal["latest", "finalized", "safe", "earliest", "pending"]


@dataclass(frozen=True)
class Block:
    """A block's header as far as we use it; `timestamp` is in Unix seconds, `base_fee_wei` per gas."""

    number: int
    hash: bytes
    parent_hash: bytes
    timestamp: int
    base_fee_wei: int
    gas_limit: int


@dataclass(frozen=True)
class Log:
    """An event as the chain keeps it, not yet decoded."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes
    block: int
    block_hash: bytes
    tx: bytes
    log_index: int


class Position(NamedTuple):
    """Where an event stands: sorts in chain order."""

    block: int
    log_index: int


@dataclass(frozen=True)
class Receipt:
    """A mined transaction. It succeeded: one that reverted is raised as an error, never returned."""

    tx_hash: bytes
    block_number: int
    block_hash: bytes
    gas_used: int
    gas_price_wei: int
    contract_address: str | None
    logs: tuple[Log, ...]

    @property
    def fee_wei(self) -> int:
        """What the sender paid for gas."""
        return self.gas_used * self.gas_price_wei


def parse_log(body: Mapping[str, Any]) -> Log:
    """A log from its JSON-RPC form."""
    return Log(
        str(to_checksum_address(body["address"])),
        tuple(unhex(t) for t in body["topics"]),
        unhex(body["data"]),
        int(body["blockNumber"], 16),
        unhex(body["blockHash"]),
        unhex(body["transactionHash"]),
        int(body["logIndex"], 16),
    )


def parse_receipt(body: Mapping[str, Any]) -> Receipt:
    """A receipt from its JSON-RPC form."""
    created = body.get("contractAddress")
    return Receipt(
        unhex(body["transactionHash"]),
        int(body["blockNumber"], 16),
        unhex(body["blockHash"]),
        int(body["gasUsed"], 16),
        int(body.get("effectiveGasPrice") or "0x0", 16),
        str(to_checksum_address(created)) if created else None,
        tuple(parse_log(entry) for entry in body["logs"]),
    )


def not_mined() -> Receipt:
    """The receipt of a transaction that was only written down: no hash, no block, no logs."""
    return Receipt(b"", 0, b"", 0, 0, None, ())


def unhex(text: str) -> bytes:
    """Bytes from "0x..."; an odd number of digits is padded on the left."""
    digits = text.removeprefix("0x")
    return bytes.fromhex(digits if len(digits) % 2 == 0 else "0" + digits)


def block_id(block: BlockId) -> str:
    """A block number or tag as JSON-RPC wants it."""
    return hex(block) if isinstance(block, int) else block
