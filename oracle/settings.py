"""The one settings object of an oracle process. Whoever starts the service fills it in; nothing is read at import."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from commonweight.errors import UsageError
from commonweight.protocol.fields import lower_address

NO_CARD: Mapping[str, str] = {"CUDA_VISIBLE_DEVICES": ""}
"""In the environment of a process, it has torch see no card."""


@dataclass(frozen=True)
class OracleSettings:
    """Where an oracle signer finds its run, its keys and its peers.

    `campaign` names the run; `store` is a folder or the address of an IPFS node; `keystore` signs and `transmitter`
    pays for gas, both encrypted under the password in `password_file` (None: COMMONWEIGHT_PASSWORD_FILE or a prompt).
    `listen` and `metrics` are host:port. `peers` maps signers' addresses to host:port and overrides run.json.
    `coordinators` are who has planned the rounds, oldest first; the last one does now (none: the first of the set), and
    those that this signer has followed need no name. `confirmations` None trusts the node's `finalized` block.
    `pin_service` is the address of a pinning service, `pin_token_file` holds its token (None: the environment).
    `collect_garbage` lets the service delete from a folder store what the run no longer needs. With `p2p` (libp2p
    addresses of relays) or `p2p_listen` (where to be one, such as /ip4/0.0.0.0/tcp/4001) members are reached through
    libp2p too. Replays run on `device` (cpu, cuda or cuda:N), `compiled` or not. Any other chain than `chain_id` is
    refused; one that does not answer is tried again for `patience_s`.
    """

    campaign: str
    rpc_urls: tuple[str, ...]
    store: str
    keystore: Path
    transmitter: Path
    data_dir: Path
    listen: str
    password_file: Path | None = None
    transmitter_password_file: Path | None = None
    peers: Mapping[str, str] = field(default_factory=dict)
    coordinators: tuple[str, ...] = ()
    metrics: str | None = None
    log_level: str = "info"
    confirmations: int | None = None
    poll_s: float = 0.5
    max_fee_gwei: int = 500
    pin_service: str | None = None
    pin_token_file: Path | None = None
    collect_garbage: bool = False
    p2p: tuple[str, ...] = ()
    p2p_listen: str | None = None
    device: str = "cpu"
    compiled: bool = False
    chain_id: int | None = None
    patience_s: float = 20.0

    @property
    def replays_on(self) -> tuple[str, ...]:
        """The options that have commands replay on this signer's device; none for one that is as everybody's."""
        device = () if self.device == "cpu" else ("--device", self.device)
        return (*device, *(("--compile",) if self.compiled else ()))

    @property
    def visible_cards(self) -> Mapping[str, str]:
        """What a process that replays has in its environment: no card unless it is to use one."""
        return NO_CARD if self.device == "cpu" else {}

    def __post_init__(self) -> None:
        if not self.rpc_urls:
            raise UsageError("No RPC address was given", "", "name one by --rpc")
        object.__setattr__(self, "campaign", lower_address(self.campaign))
        object.__setattr__(self, "peers", {lower_address(a): p for a, p in self.peers.items()})
        object.__setattr__(self, "coordinators", tuple(map(lower_address, self.coordinators)))
