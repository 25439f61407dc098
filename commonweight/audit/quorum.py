"""What else a quorum signed: bans, rotations, verdicts. Their signatures stand in the transactions' data.

They are checked there when a transaction calls the contract directly. One that came by way of another contract is
named; the run's own contract has checked it in any case, and its code is checked elsewhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from commonweight.audit.findings import Findings
from commonweight.audit.signers import SignerSet
from commonweight.chain.abi import decode_values
from commonweight.chain.events import Banned, ChainEvent, RotationProposed, VerdictGiven
from commonweight.chain.run import Run
from commonweight.chain.types import unhex
from commonweight.errors import FormatError
from commonweight.protocol.documents import Ban
from commonweight.protocol.keys import recover_address
from commonweight.protocol.structs import DisputeVerdict, Rotation
from commonweight.protocol.typed import Domain

QUORUM = "quorum-signatures"
Digest = Callable[[Domain], bytes]


@dataclass(frozen=True)
class Decided:
    """A decision that a quorum signed, with the set that was in office."""

    event: Banned | RotationProposed | VerdictGiven
    office: SignerSet


class Decisions:
    """Gathers the decisions and checks their signatures."""

    def __init__(self, run: Run, findings: Findings) -> None:
        self._run = run
        self._findings = findings
        self._decided: list[Decided] = []

    def take(self, event: ChainEvent, sets: Sequence[SignerSet]) -> None:
        """Take note of a decision, if the event is one."""
        if isinstance(event, Banned | RotationProposed | VerdictGiven):
            self._decided.append(Decided(event, sets[-1]))

    def check(self) -> None:
        """Read each decision's transaction and check its signatures."""
        self._findings.seen(QUORUM)
        for decided in self._decided:
            with self._findings.checking(QUORUM):
                self._check(decided)

    def _check(self, decided: Decided) -> None:
        event = decided.event
        what = f"{type(event).__name__} in block {event.block}"
        name, signed = _signed(event, decided.office.digest)
        contract = self._run.disputes if isinstance(event, VerdictGiven) else self._run.oracle
        function = contract.interface().function(name, 2)
        body = self._run.chain.rpc("eth_getTransactionByHash", "0x" + event.tx.hex())
        data = unhex(body["input"])
        if str(body["to"]).lower() != contract.address.lower() or data[:4] != function.selector:
            self._findings.note(QUORUM, f"{what} came by way of another contract")
            return
        hashed = signed(self._run.oracle.domain())
        signers = [recover_address(hashed, signature) for signature in decode_values(function.inputs, data[4:])[1]]
        office = {signer.lower() for signer in decided.office.signers}
        if signers != sorted(set(signers)) or len(signers) < decided.office.quorum or set(signers) - office:
            raise FormatError(f"{what} was not signed by a quorum", f"signers {signers}")
        self._findings.expect(QUORUM, True, "")


def _signed(event: Banned | RotationProposed | VerdictGiven, config: bytes) -> tuple[str, Digest]:
    """The function that takes a decision, and what its signers sign."""
    if isinstance(event, Banned):
        return "banProvider", Ban(config, event.index, event.evidence_sha256, event.until).digest
    if isinstance(event, RotationProposed):
        return "proposeRotation", Rotation(config, event.quorum, event.signers, event.transmitters).digest
    verdict = DisputeVerdict(config, event.epoch, event.index, event.convicted, event.evidence_sha256)
    return "submitVerdict", verdict.digest
