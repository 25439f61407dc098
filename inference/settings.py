"""What an operator decides about a server; everything else is the run's."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from trainer.engine import Engine


@dataclass(frozen=True)
class ServeSettings:
    """Settings of `inference.server.run`. Amounts are in the run asset's smallest units, times in seconds.

    `checkpoint` is "latest", which is followed by newer ones that are looked for every `look_every_s`, or the sha256 of
    an attested manifest (0x-hex), which is served for good; `price_per_token` None takes the run's. A
    transaction settles what is owed every `settle_every_s`, at `settle_threshold` in all, when a payer asks to
    withdraw, and at the end; a channel that owes less than `settle_least` is left out. `confirmations` None trusts what
    the node calls final. `url` is the address that clients see, when it is not the one listened on. Any other chain
    than `chain_id` is refused; one that does not answer is tried again for `patience_s`; `max_fee_gwei` is the most to
    pay for gas. `locks` is this user's folder in which a process marks its key as in use, whatever its data directory.
    `state_dir` has what every program of this user knows of the key's transactions under way, None for the user's own.
    `engine` is what answers are computed on.
    """

    campaign: str
    rpc_urls: tuple[str, ...]
    store: str
    keystore: Path
    password_file: Path | None
    data_dir: Path
    confirmations: int | None = None
    listen: str = "127.0.0.1:8402"
    url: str = ""
    checkpoint: str = "latest"
    look_every_s: float = 30.0
    price_per_token: int | None = None
    max_completion_tokens: int | None = None
    max_body_bytes: int = 256 * 1024
    request_timeout_s: float = 15.0
    max_concurrent: int = 2
    max_waiting: int = 32
    threads: int = 1
    engine: Engine = field(default_factory=Engine)
    settle_every_s: float = 600.0
    settle_threshold: int = 10**16
    settle_least: int = 0
    refresh_s: float = 15.0
    keep_answers_s: float = 600.0
    shutdown_s: float = 60.0
    log_level: str = "info"
    chain_id: int | None = None
    patience_s: float = 20.0
    locks: Path | None = None
    state_dir: Path | None = None
    max_fee_gwei: int = 500
