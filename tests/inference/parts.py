"""What several tests of serving share: keys, terms, channels as a chain would tell them, and payments on them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from commonweight.protocol.keys import address_of
from commonweight.protocol.typed import Domain
from commonweight.protocol.vouchers import SignedVoucher, channel_id, sign_voucher
from commonweight.protocol.x402 import Payment, Requirements
from inference.chainview import ZERO
from inference.metering import ChannelFacts, Ledger
from inference.till import Terms, Till

PAYER_KEY, OTHER_KEY, SERVER_KEY = (bytes([n]) * 32 for n in (1, 2, 3))
PAYER, OTHER, SERVER = (address_of(key) for key in (PAYER_KEY, OTHER_KEY, SERVER_KEY))
PAYMENTS, RUN, ORACLE = ("0x" + digit * 40 for digit in "abc")
CHAIN_ID, DELAY_S, PRICE = 31337, 3600, 10
VOUCHERS = Domain(CHAIN_ID, PAYMENTS)
DOCUMENTS = Domain(CHAIN_ID, ORACLE)
REQUEST = "0x" + "aa" * 32
CHECKPOINT = b"\x07" * 32
TERMS = Terms(CHAIN_ID, RUN, PAYMENTS, ZERO, SERVER, PRICE, DELAY_S, 60)
CHANNEL = channel_id(PAYER, SERVER, ZERO, DELAY_S)


def facts(deposited: int = 10_000, channel: bytes = CHANNEL, **changes: object) -> ChannelFacts:
    """A channel of the payer, read just now; what is settled on it is final."""
    made = ChannelFacts(channel, PAYER, DELAY_S, deposited, 0, 0, 0, 0, 1_000_000, time.time())
    return replace(made, **{"settled_final": changes.get("settled", 0), **changes})  # type: ignore[arg-type]


def voucher(cumulative: int, *, key: bytes = PAYER_KEY, domain: Domain = VOUCHERS) -> SignedVoucher:
    """A voucher on the payer's channel."""
    return sign_voucher(CHANNEL, cumulative, domain, key)


def payment(cumulative: int, **changes: object) -> Payment:
    """A payment that accepts any price, with a voucher on the payer's channel."""
    made = Payment(CHAIN_ID, 2**100, ZERO, SERVER, PAYER, DELAY_S, voucher(cumulative))
    return replace(made, **changes)  # type: ignore[arg-type]


@dataclass
class StubChain:
    """Channels as a test sets them, and how often they were read."""

    channels: dict[bytes, ChannelFacts] = field(default_factory=dict)
    reads: int = 0
    failure: Exception | None = None

    def read(self, channel: bytes) -> ChannelFacts | None:
        self.reads += 1
        if self.failure is not None:
            raise self.failure
        found = self.channels.get(channel)
        return None if found is None else replace(found, read_at=time.time())


def make_till(folder: Path, chain: StubChain, refresh_s: float = 1000.0) -> Till:
    """A till with a new ledger in `folder`."""
    return Till(TERMS, VOUCHERS, Ledger(folder / "ledger.sqlite"), chain.read, refresh_s)


def offer(till: Till, prompt_tokens: int = 5, max_tokens: int = 5) -> Requirements:
    """The terms of a request: 100 units by default."""
    return till.requirements(CHECKPOINT, prompt_tokens, max_tokens)


def query_only(ledger: Ledger, on: int) -> None:
    """Whether the file takes no change, as on a disk that is full."""
    with ledger._db.reading() as db:
        db.execute(f"PRAGMA query_only = {on}")
