"""One signer's seat in one run: its keys, the run as the chain fixed it, the configuration, the database and the store.

Everything that the parts of the service share, and nothing that changes: what the chain says now is in `oracle.watch`.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from commonweight.chain.client import Chain
from commonweight.chain.keys import Key, load_key, read_password
from commonweight.chain.run import Run
from commonweight.chain.sending import Fees
from commonweight.chain.structs import RunParams
from commonweight.errors import ConfigError, OracleError
from commonweight.protocol.canonical import MAX_BYTES, JsonObject
from commonweight.protocol.documents import Signed, sign
from commonweight.protocol.fields import digest_bytes, hex32, lower_address
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.typed import Domain
from commonweight.store import ContentStore, open_store, parse_cid
from oracle.db import Database, Slot
from oracle.settings import OracleSettings

T = TypeVar("T")


@dataclass(frozen=True)
class Seat:
    """What one signer process works with. `run` sends with the transmitter's key; `key` signs and never sends."""

    settings: OracleSettings
    run: Run
    config: RunConfig
    config_bytes: bytes
    domain: Domain
    db: Database
    store: ContentStore
    address: str
    key: bytes = field(repr=False)
    clock: Callable[[], float] = time.time

    @property
    def campaign(self) -> str:
        """The run's name: its campaign's address, lower case."""
        return lower_address(self.run.address)

    @property
    def params(self) -> RunParams:
        """What is fixed on chain."""
        return self.run.params

    @property
    def numel(self) -> int:
        """Elements of the flat vector: the model's distinct parameters."""
        return self.config.model.parameters()

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return int(self.clock() * 1000)

    def epoch_of_ms(self, time_ms: int) -> int:
        """The epoch that a deadline falls in."""
        return self.params.epoch_of(time_ms // 1000)

    def folder(self, name: str) -> Path:
        """A folder of this signer's data directory, made when it is not there."""
        path = self.settings.data_dir / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def sign(self, kind: str, body: JsonObject) -> Signed:
        """A signed document that may exist in any number: receipts of equal content, verdicts, results."""
        return sign(kind, body, self.key, self.domain)

    def promise(self, slot: str, signed_kind: str, body: JsonObject) -> Signed:
        """A signed document of which this signer makes at most one per slot: it is on disk before it is returned.

        When the slot is taken the document that is stored there is returned, whatever `body` says now: after a crash
        the first word stands.
        """
        known = self.db.promised(Slot(slot))
        if known is not None:
            return Signed.from_bytes(known[1])
        fresh = self.sign(signed_kind, body)
        if (size := len(fresh.to_bytes())) > MAX_BYTES:
            raise OracleError(f"The {signed_kind} for {slot} is not signed", f"nobody could read its {size} bytes")
        return Signed.from_bytes(self.db.promise(Slot(slot), digest_bytes(fresh.digest), fresh.to_bytes))

    def promised(self, slot: str) -> Signed | None:
        """The document that was promised for a slot, or None."""
        known = self.db.promised(Slot(slot))
        return None if known is None else Signed.from_bytes(known[1])

    def keep(self, signed: Signed, signer: str, *, round_: int = 0, member: int = -1) -> bool:
        """Add a verified document to the log that the other signers copy; returns whether it was new."""
        return self.db.add_document(
            digest=digest_bytes(signed.digest), kind=signed.kind, round_=round_, member=member, signer=signer,
            signed=signed.to_bytes(), now_ms=self.now_ms(),
        )  # fmt: skip


async def in_thread(work: Callable[[], T]) -> T:
    """Run blocking work (the chain, the store, arithmetic) away from the event loop."""
    return await asyncio.to_thread(work)


def open_keys(settings: OracleSettings, environment: Mapping[str, str]) -> tuple[Key, Key]:
    """(signer's key, transmitter's key). Raises KeystoreError."""
    password = read_password(settings.password_file, environment, prompt="Password of the signer's keystore: ")
    other = settings.transmitter_password_file
    sending = password if other is None else read_password(other, environment)
    return load_key(settings.keystore, password), load_key(settings.transmitter, sending)


def connect_chain(settings: OracleSettings, key: Key | None) -> Chain:
    """The chain with this key as sender; its nonce records live in the data directory."""
    return Chain(
        settings.rpc_urls, key, chain_id=settings.chain_id, confirmations=settings.confirmations,
        fees=Fees(cap_wei=settings.max_fee_gwei * 10**9), patience_s=settings.patience_s,
        state_dir=settings.data_dir / "nonces",
    )  # fmt: skip


def load_config(run: Run, store: ContentStore) -> bytes:
    """run.json of a run, fetched by the CID and checked against the SHA-256 that the chain names.

    Raises ConfigError too when the run cannot be served by this program.
    """
    run.params.require_own_anchors()
    data = store.get(parse_cid(run.params.config_cid), max_bytes=2**20, sha256=hex32(run.params.config_sha256))
    if digest_bytes(RunConfig.load(data).sha256) != run.params.config_sha256:
        raise ConfigError("run.json is not the one that the chain names", f"CID {run.params.config_cid}")
    return data


def take_seat(settings: OracleSettings, environment: Mapping[str, str] | None = None) -> Seat:
    """Open everything that a signer needs. Raises the error of whatever is not right, by name."""
    key, transmitter = open_keys(settings, os.environ if environment is None else environment)
    run = Run.at(connect_chain(settings, transmitter), settings.campaign)
    address = lower_address(key.address)
    store = open_store(settings.store)
    config_bytes = load_config(run, store)
    if address not in {lower_address(s) for s in run.oracle.signers()}:
        raise OracleError(
            f"{key.address} is not a signer of this run",
            "its set of signers does not name it",
            "use the keystore of a signer, or have the signers rotate it in",
        )
    return Seat(
        settings, run, RunConfig.load(config_bytes), config_bytes, run.oracle.domain(),
        Database(settings.data_dir, run=run.address, signer=address), store, address, key.private_key,
    )  # fmt: skip
