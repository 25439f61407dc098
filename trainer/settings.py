"""The one settings object of a provider's process. Whoever starts it fills it in; nothing is read at import."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from commonweight.chain.client import Chain
from commonweight.errors import UsageError
from commonweight.net import UploadCap
from commonweight.protocol.fields import lower_address
from commonweight.schedule import Schedule
from trainer.engine import Engine


@dataclass(frozen=True)
class ProviderSettings:
    """Where a provider finds its run, its key and its peers.

    `campaign` names the run; `store` is a folder or the address of an IPFS node; `keystore` is the registered signing
    key, encrypted under the password in `password_file` (None: COMMONWEIGHT_PASSWORD_FILE or a prompt). `listen` is
    host:port (port 0 takes a free one) and `advertise` what others are told to connect to (None: what is listened on).
    `signer_peers` maps signers' addresses to host:port and overrides run.json. `threads` None takes the run's own
    number, which is what bit-exact replay expects; `engine` is what the steps run on. Every `keep_states`-th trace
    state stays on disk, the others are computed again when a signer asks for one. `confirmations` None trusts the
    node's `finalized` block. `max_upload` (bytes/s) caps what is sent, `max_memory` (bytes) what the training may need
    by its estimate, `max_disk` (bytes) what the files in `data_dir` take; outside the windows of `schedule` the member
    rests, `p2p` are libp2p addresses of relays at which others reach this process instead of `listen`; `metrics` is the
    host:port at which Prometheus is answered, and `tensorboard` the folder for TensorBoard's curves. `private_data` is
    the folder of the member's own shards, in a run on private shards; `locks` is this user's folder in which a process
    marks its key as in use, whatever its data directory. Any other chain than `chain_id` is refused; one
    that does not answer is tried again for `patience_s`.
    """

    campaign: str
    rpc_urls: tuple[str, ...]
    store: str
    keystore: Path
    data_dir: Path
    listen: str
    password_file: Path | None = None
    advertise: str | None = None
    signer_peers: Mapping[str, str] = field(default_factory=dict)
    engine: Engine = field(default_factory=Engine)
    threads: int | None = None
    keep_states: int = 1
    log_level: str = "info"
    confirmations: int | None = None
    poll_s: float = 0.5
    max_upload: int | None = None
    max_memory: int | None = None
    max_disk: int | None = None
    schedule: Schedule | None = None
    p2p: tuple[str, ...] = ()
    private_data: Path | None = None
    chain_id: int | None = None
    patience_s: float = 20.0
    metrics: str | None = None
    tensorboard: Path | None = None
    locks: Path | None = None

    def __post_init__(self) -> None:
        if not self.rpc_urls:
            raise UsageError("No RPC address was given", "", "name one by --rpc")
        if self.keep_states < 1:
            raise UsageError(
                f"Not every {self.keep_states}. state can be kept", "it is a count", "give --keep-states 1 or more"
            )
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"There cannot be {self.threads} threads", "", "give --threads 1 or more, or leave it out")
        if not self.engine.exact and self.keep_states != 1:
            raise UsageError(
                "A member with another engine than the plain CPU keeps every trace state",
                "a state that is computed again on it is not sure to come out the same to the last bit",
                "leave --keep-states out, or --device and --compile",
            )
        if self.max_upload is not None:
            UploadCap(self.max_upload)  # says what is too little, before anything is opened
        object.__setattr__(self, "campaign", lower_address(self.campaign))
        object.__setattr__(self, "signer_peers", {lower_address(a): p for a, p in self.signer_peers.items()})

    def connect(self) -> Chain:
        """The chain, for reading: a member sends no transactions."""
        return Chain(
            self.rpc_urls, chain_id=self.chain_id, confirmations=self.confirmations, patience_s=self.patience_s,
            state_dir=self.data_dir / "nonces",
        )  # fmt: skip


def world_size() -> int:
    """How many processes torchrun has started for this member; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_follower() -> bool:
    """Whether this is a process other than the one that speaks for the member."""
    return world_size() > 1 and int(os.environ.get("RANK", "0")) > 0
