"""Who may sign: the signer sets in the order in which they took office, and what binds a report to one of them."""

from collections.abc import Callable
from dataclasses import dataclass

from commonweight.audit.findings import Findings
from commonweight.chain.events import RotationProposed, SignerSetChanged
from commonweight.chain.run import Run
from commonweight.chain.structs import RunParams
from commonweight.protocol.structs import config_digest

SIGNERS = "signer-sets"


@dataclass(frozen=True)
class SignerSet:
    """A set of signers that took office in block `since`, ascending, with its transmitters."""

    since: int
    rotation: int
    quorum: int
    signers: tuple[str, ...]
    transmitters: tuple[str, ...]
    digest: bytes


class Signers:
    """The signer sets of a run. `time` gives a block's Unix time."""

    def __init__(self, params: RunParams, findings: Findings, time: Callable[[int], int]) -> None:
        self._params = params
        self._findings = findings
        self._time = time
        self.sets: list[SignerSet] = []
        self._proposal: RotationProposed | None = None

    def proposed(self, event: RotationProposed) -> None:
        """A rotation was announced."""
        due = self._time(event.block) + self._params.rotation_delay
        self._findings.equal(SIGNERS, f"when rotation {event.rotation} is due", event.at, due)
        self._findings.equal(SIGNERS, "the number of a proposed set", event.rotation, len(self.sets))
        self._proposal = event

    def set_changed(self, event: SignerSetChanged) -> None:
        """A signer set took office: the first with the run's parameters, others as proposed and after the delay."""
        where = f"signer set {event.rotation}"
        self._findings.equal(SIGNERS, "the number of a signer set", event.rotation, len(self.sets))
        found: tuple[object, ...] = (event.quorum, event.signers, event.transmitters)
        if not self.sets:
            expected: tuple[object, ...] = (self._params.quorum, self._params.signers, self._params.transmitters)
        elif self._proposal is not None:
            expected = (self._proposal.quorum, self._proposal.signers, self._proposal.transmitters)
            late = self._time(event.block) >= self._proposal.at
            self._findings.expect(SIGNERS, late, f"{where} took office before its delay was over")
        else:
            expected = ()
        self._findings.equal(SIGNERS, where, found, expected)
        digest = config_digest(self._params.config_sha256, event.rotation, event.quorum, event.signers)
        self._findings.equal(SIGNERS, f"the configuration digest of {where}", event.config_digest, digest)
        majority = event.quorum * 2 > len(event.signers) >= event.quorum
        self._findings.expect(SIGNERS, majority, f"the quorum of {where} is no majority")
        self._proposal = None
        signers, transmitters = event.signers, event.transmitters
        self.sets.append(SignerSet(event.block, event.rotation, event.quorum, signers, transmitters, digest))

    def compare(self, run: Run, block: int) -> None:
        """Compare with the oracle's figures at a block."""
        equal = self._findings.equal
        if not self._findings.expect(SIGNERS, bool(self.sets), "no signer set ever took office"):
            return
        equal(SIGNERS, "the signers in office", run.oracle.signers(block=block), self.sets[-1].signers)
        equal(SIGNERS, "the quorum", run.oracle.quorum(block=block), self.sets[-1].quorum)
        equal(SIGNERS, "the configuration digest", run.oracle.config_digest(block=block), self.sets[-1].digest)
