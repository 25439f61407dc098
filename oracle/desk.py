"""What lives as long as the process: the seat, the documents, the payloads, the last view of the chain, the bell."""

from dataclasses import dataclass, field

from commonweight.errors import OracleError, PeerRefused
from commonweight.net import Dialer, Identity
from commonweight.protocol.fields import lower_address
from oracle.bell import Bell
from oracle.blobs import Blobs
from oracle.checkpoints import Checkpoints
from oracle.metrics import Metrics
from oracle.payloads import Payloads
from oracle.rounds import Rounds
from oracle.seat import Seat
from oracle.watch import View


@dataclass
class Desk:
    """The working parts of one signer, for one event loop. `view` is replaced as a whole by the watching step.

    `may_send` is false as long as something that the transmitter sent before this start may still be under way;
    `heard` are the signers whose log was read to its end since, or that did not answer. `settled` are final epochs
    whose books are known to be closed.
    """

    seat: Seat
    rounds: Rounds
    payloads: Payloads
    checkpoints: Checkpoints
    files: Blobs
    dialer: Dialer
    metrics: Metrics = field(default_factory=Metrics)
    bell: Bell = field(default_factory=Bell)
    seen: View | None = None
    may_send: bool = True
    heard: set[str] = field(default_factory=set)
    settled: set[int] = field(default_factory=set)

    @property
    def view(self) -> View:
        """The chain as last seen."""
        if self.seen is None:
            raise PeerRefused("starting", "This signer has not read the chain yet", "", "try again in a moment")
        return self.seen

    @property
    def coordinates(self) -> bool:
        """Whether this signer plans the rounds."""
        return self.rounds.coordinator == self.seat.address

    @property
    def peers(self) -> dict[str, str]:
        """The other signers' addresses (lower case) and where they listen, from the settings or run.json."""
        known = {**self.seat.config.signers_peers, **self.seat.settings.peers}
        return {a: p for a, p in known.items() if a != self.seat.address and a in self.view.signers}


def open_desk(seat: Seat) -> Desk:
    """The desk of a seat. Raises OracleError when the coordinator in charge is not a signer."""
    signers = [lower_address(s) for s in seat.run.oracle.signers()]
    coordinators = seat.settings.coordinators or (signers[0],)
    if coordinators[-1] not in signers:
        raise OracleError(
            f"The coordinator {coordinators[-1]} is not a signer of this run",
            f"the signers are {', '.join(signers)}",
            "name one of them by --coordinator, the same at every signer",
        )
    identity = Identity(seat.key, seat.campaign, seat.domain, "signer")
    return Desk(
        seat, Rounds(seat.db, *coordinators), Payloads(seat), Checkpoints(seat), Blobs(seat.folder("files")),
        Dialer(identity),
    )  # fmt: skip
