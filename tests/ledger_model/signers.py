"""Signers: quorum signatures that die with their set, bonds that outlive it, rotation with a delay, equivocation."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.ledger_model import typed
from tests.ledger_model.money import Dues, wrong_value
from tests.ledger_model.rules import ZERO, Broken, Refused, Rules, need, refuse

if TYPE_CHECKING:
    from tests.ledger_model.run import Run


@dataclass(frozen=True)
class SignerSet:
    """Who is in office, ascending, each with its transmitter."""

    quorum: int
    signers: tuple[str, ...]
    transmitters: tuple[str, ...]


class Signers:
    """Sections 4.2 (what a signature binds), 4.4 (bonds) and 7 (quorum) of the specification."""

    def __init__(self, run: Run) -> None:
        self.run, self.p = run, run.p
        self.sets = [SignerSet(self.p.quorum, self.p.signers, self.p.transmitters)]
        self.transmitter_of = dict(zip(self.p.signers, self.p.transmitters, strict=True))
        self.bonds: defaultdict[str, int] = defaultdict(int)
        self.equivocations: set[tuple[str, int, int]] = set()
        # Signers that left: the last epoch whose report they can have signed, -1 for none.
        self.liable_for: dict[str, int] = {}
        self.proposed: typed.Rotation | None = None
        self.proposed_at = 0
        self.dues = Dues(run, "oracle")
        self.domain = typed.domain(run.chain_id, run.at("oracle"))

    @property
    def rotation(self) -> int:
        """How often the set has changed."""
        return len(self.sets) - 1

    @property
    def office(self) -> SignerSet:
        """The set in office."""
        return self.sets[-1]

    @property
    def config_digest(self) -> bytes:
        """What every signature of the set in office binds."""
        return typed.config_digest(self.p.config_sha256, self.rotation, self.office.quorum, self.office.signers)

    def digest(self, struct_hash: bytes) -> bytes:
        """The EIP-712 digest under the oracle's domain."""
        return typed.digest(self.domain, struct_hash)

    def quorum_of(self, struct_hash: bytes, signatures: tuple[bytes, ...]) -> tuple[str, ...]:
        """Who signed: distinct fully bonded signers in office, ascending, at least the quorum."""
        message = self.digest(struct_hash)
        rules, found, before = Rules(), [], ""
        rules.need(len(signatures) >= self.office.quorum, "TooFewSignatures", self.office.quorum)
        for position, signature in enumerate(signatures):
            signer = typed.recover(message, signature)
            if signer is None:
                rules.broken.append(Broken("ECDSAInvalidSignature", None))
                break
            rules.need(signer > before, "WrongSignatureOrder", position)
            if rules.need(signer in self.office.signers, "NotSigner", signer):
                rules.need(self.bonds[signer] >= self.p.signer_bond, "BondNotFull", signer)
            before = signer
            found.append(signer)
        rules.hold()
        return tuple(found)

    # ------------------------------------------------------------------------------------------- bonds

    def post_bond(self, sender: str, signer: str, amount: int, value: int) -> None:
        """Anyone adds to anyone's bond."""
        rules = Rules()
        rules.need(amount > 0, "ZeroAmount")
        rules.need(not wrong_value(self.run, amount, value), "WrongValue", amount if self.run.native else 0)
        rules.hold()
        self.bonds[signer] += amount
        self.run.bank.move(sender, self.run.at("oracle"), amount)

    def withdraw_bond(self, sender: str, signer: str) -> None:
        """Back to a signer that left, when every report it can have signed has been settled for a dispute period."""
        rules = Rules()
        rules.need(sender in (signer, self.transmitter_of.get(signer, ZERO)), "NotSigner", sender)
        rules.need(self._free(signer), "BondLocked")
        rules.need(self.bonds[signer] > 0, "NothingDue")
        rules.hold()
        amount, self.bonds[signer] = self.bonds[signer], 0
        self.run.bank.move(self.run.at("oracle"), signer, amount)

    def _free(self, signer: str) -> bool:
        if self.run.disputes.open_games:
            return False
        if self.run.campaign.failed or self.run.finished_for_a_dispute_period:
            return True
        if signer in self.office.signers:
            return False
        last = self.liable_for.get(signer, -1)
        if last < 0:
            return True
        settled_at = self.run.epochs.all[last].settled_at
        return settled_at > 0 and self.run.now >= settled_at + self.p.dispute_period

    def slash(self, signers: tuple[str, ...], prover: str) -> None:
        """Every signer of a fraud loses its whole bond."""
        for signer in signers:
            amount, self.bonds[signer] = self.bonds[signer], 0
            self.dues.slash(amount, prover)

    def prove_equivocation(
        self, sender: str, a: typed.Report, signature_a: bytes, b: typed.Report, signature_b: bytes
    ) -> None:
        """Two different reports signed by one signer for one epoch and attempt cost its bond and void nothing."""
        first, second = self.digest(a.struct_hash()), self.digest(b.struct_hash())
        signer = typed.recover(first, signature_a)
        same = signer is not None and signer == typed.recover(second, signature_b)
        need(first != second and same and (a.epoch, a.attempt) == (b.epoch, b.attempt), "NotEquivocation")
        assert signer is not None
        rules, case = Rules(), (signer, a.epoch, a.attempt)
        rules.need(case not in self.equivocations, "AlreadyProved")
        rules.need(self.bonds[signer] > 0, "NothingDue")
        rules.hold()
        if self.bonds[signer] >= self.p.signer_bond:
            self.equivocations.add(case)
        self.slash((signer,), sender)

    def ban_provider(self, ban: typed.Ban, signatures: tuple[bytes, ...]) -> None:
        """A quorum's ban."""
        self.quorum_of(ban.struct_hash(self.config_digest), signatures)
        self.run.registry.ban(ban.index, ban.until)

    # ------------------------------------------------------------------------------------------- rotation

    def propose_rotation(self, rotation: typed.Rotation, signatures: tuple[bytes, ...]) -> None:
        """A quorum announces the next set."""
        rules = Rules()
        n = len(rotation.signers)
        ascending = list(rotation.signers) == sorted(set(rotation.signers)) and ZERO not in rotation.signers
        valid = ascending and len(rotation.transmitters) == n and n // 2 < rotation.quorum <= n
        rules.need(valid, "BadSignerSet")
        rules.need(self.proposed is None, "RotationPending")
        try:
            self.quorum_of(rotation.struct_hash(self.config_digest), signatures)
        except Refused as refused:
            rules.broken += refused.broken
        rules.hold()
        self.proposed, self.proposed_at = rotation, self.run.now + self.p.rotation_delay

    def apply_rotation(self, rotation: typed.Rotation) -> None:
        """The announced set takes office after the delay; signatures of the old one are worth nothing from now on."""
        need(self.proposed == rotation, "NotProposed")
        if self.run.now < self.proposed_at:
            raise refuse("RotationNotDue", self.proposed_at)
        epochs = self.run.epochs
        pending = epochs.open
        can_have_signed = pending is None or pending.report is not None
        last = len(epochs.all) - (1 if can_have_signed else 2)
        for signer in self.office.signers:
            if signer not in rotation.signers:
                self.liable_for[signer] = last
        self.sets.append(SignerSet(rotation.quorum, rotation.signers, rotation.transmitters))
        self.transmitter_of.update(zip(rotation.signers, rotation.transmitters, strict=True))
        self.proposed = None
