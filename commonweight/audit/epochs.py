"""The epoch machine kept a second time: signer sets, reports, roots, checkpoints, settlements.

Each report is checked as a contract and a watcher would together: its place and time, its signatures, its sums, the
wage, and above all its root, which is rebuilt from the last final tree and the credits list (sections 4.2 to 4.4 of
the specification).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from commonweight.audit.findings import Findings
from commonweight.audit.signers import Signers, SignerSet
from commonweight.chain.events import (
    CheckpointAttested,
    EpochClosed,
    EpochFinal,
    EpochRecorded,
    EpochVoided,
    ReportSubmitted,
)
from commonweight.chain.run import Run
from commonweight.chain.structs import RunParams
from commonweight.errors import ChainError, FormatError, SignatureError
from commonweight.protocol import creditslist
from commonweight.protocol.attested import Attested
from commonweight.protocol.credits import next_leaves, wage_scaled
from commonweight.protocol.keys import recover_address
from commonweight.protocol.sumtree import Leaf, SumTree, depth_for
from commonweight.protocol.typed import Domain

CLOSINGS, SIGNATURES, SUMS, ROOTS, CHECKPOINTS = (
    "epoch-closings", "report-signatures", "report-sums", "roots", "checkpoints",
)  # fmt: skip
MAX_BLOCK_AGE = 256
BPS = 10_000


@dataclass(frozen=True)
class Reported:
    """A report that the contract accepted, with all that it has to be judged by.

    `listed` is its credits list and `tree` what follows from it, both None for a malformed list. `leaves` and
    `accounts` are those before it, `signer_sets` all sets until then, the last one in office; `stakes` are the
    providers' by index when the epoch was closed.
    """

    event: ReportSubmitted
    acc: int
    unlocked: int
    provider_count: int
    cap: int
    leaves: tuple[Leaf, ...]
    accounts: Mapping[int, str]
    signer_sets: tuple[SignerSet, ...]
    listed: Mapping[int, int] | None
    tree: SumTree | None
    stakes: Mapping[int, int]

    @property
    def genuine(self) -> bool:
        """Whether the signed root is the one that the list gives."""
        report = self.event.report
        return self.tree is not None and (self.tree.root, self.tree.sum) == (report.root, report.sum)


class Epochs:
    """Epochs of a run. `time` gives a block's Unix time; `bond_of` what a signer has bonded at the moment."""

    def __init__(
        self,
        run: Run,
        findings: Findings,
        time: Callable[[int], int],
        accounts: Mapping[int, str],
        bond_of: Callable[[str], int],
    ) -> None:
        self._run = run
        self._params: RunParams = run.params
        self._findings = findings
        self._time = time
        self._accounts = accounts
        self._bond_of = bond_of
        self.domain: Domain = run.oracle.domain()
        self.signers = Signers(run.params, findings, time)
        self.reports: dict[int, Reported] = {}
        self.finals: dict[int, EpochFinal] = {}
        self.voids: set[int] = set()
        self.checkpoints: list[CheckpointAttested] = []
        self.next_epoch = 0
        self.depth = self.next_depth = 0
        self.closings: dict[int, EpochClosed] = {}
        self._closed: EpochClosed | None = None
        self._stakes: Mapping[int, int] = {}
        self._leaves: tuple[Leaf, ...] = ()
        self._history: dict[int, list[tuple[int, Leaf]]] = {}
        self._root, self.sum = bytes(32), 0
        self._voids_in_row = 0
        self._recorded: EpochRecorded | None = None

    # --- the life of an epoch ----------------------------------------------------------------------------------------

    def closed(self, event: EpochClosed, acc: int, reserved: int, stakes: Mapping[int, int]) -> None:
        """An epoch was closed with the distributor's accumulator, the campaign's reservation and the providers' stakes
        at that moment.
        """
        where = f"epoch {event.epoch}"
        settled = event.epoch == 0 or event.epoch - 1 in self.finals or event.epoch - 1 in self.voids
        self._findings.equal(CLOSINGS, "the next epoch to close", event.epoch, self.next_epoch)
        self._findings.expect(CLOSINGS, settled, f"{where} was closed before the one before it was settled")
        over = event.closed_at >= self._params.epoch_end(event.epoch)
        self._findings.expect(CLOSINGS, over, f"{where} was closed before its end")
        self._findings.equal(CLOSINGS, f"when {where} was closed", event.closed_at, self._time(event.block))
        self._findings.equal(CLOSINGS, f"the providers of {where}", event.provider_count, len(self._accounts))
        self._findings.equal(CLOSINGS, f"the accumulator of {where}", event.acc, acc)
        self._findings.equal(CLOSINGS, f"the unlocked escrow of {where}", event.unlocked_escrow, reserved)
        self.next_epoch = event.epoch + 1
        self.next_depth = max(self.next_depth, depth_for(event.provider_count))
        self._closed, self._stakes = event, stakes
        self.closings[event.epoch] = event

    def submitted(self, event: ReportSubmitted) -> None:
        """A report was accepted."""
        subject = f"epoch {event.epoch}"
        closed = self._closed
        if closed is None or closed.epoch != event.epoch or event.epoch in self.reports:
            self._findings.expect(SUMS, False, "it was reported while it was not closed", subject)
            return
        reported = self._reported(event, closed)
        self.reports[event.epoch] = reported
        self._check_sums(reported, closed, subject)
        self._check_signatures(reported, subject)

    def _reported(self, event: ReportSubmitted, closed: EpochClosed) -> Reported:
        listed: Mapping[int, int] | None = None
        tree: SumTree | None = None
        try:
            listed = creditslist.decode(event.credits)
            if any(index >= closed.provider_count for index in listed):
                raise FormatError("The list names an index that was not registered when the epoch was closed")
            leaves = next_leaves(self._leaves, listed, closed.acc, event.wage, self._accounts)
            tree = SumTree(leaves, event.report.depth)
        except FormatError:  # a malformed list has no tree, so the report is never genuine
            tree = None
        cap = min((self._voids_in_row + 1) * self._params.max_credits_per_epoch, 2**64 - 1 - self.sum)
        sets, accounts = tuple(self.signers.sets), dict(self._accounts)
        return Reported(
            event,
            closed.acc,
            closed.unlocked_escrow,
            closed.provider_count,
            cap,
            self._leaves,
            accounts,
            sets,
            listed,
            tree,
            self._stakes,
        )

    def _check_sums(self, reported: Reported, closed: EpochClosed, subject: str) -> None:
        event, report, equal = reported.event, reported.event.report, self._findings.equal
        place = (report.epoch, report.attempt)
        equal(SUMS, "epoch and attempt", place, (event.epoch, event.attempt), subject)
        since = self._time(event.block) - closed.closed_at
        right = 0 <= since < self._params.report_span and event.attempt == since // self._params.attempt_length
        self._findings.expect(SUMS, right, f"it came {since} s after the closing, as attempt {event.attempt}", subject)
        equal(SUMS, "the configuration digest", report.config_digest, self.signers.sets[-1].digest, subject)
        equal(SUMS, "the previous root", report.prev_root, self._root, subject)
        equal(SUMS, "the sum", report.sum, self.sum + report.epoch_credits, subject)
        equal(SUMS, "the depth", report.depth, self.next_depth, subject)
        equal(SUMS, "the list's hash", creditslist.list_hash(event.credits), report.credits_hash, subject)
        within = report.epoch_credits <= reported.cap
        self._findings.expect(SUMS, within, f"its credits exceed the cap of {reported.cap}", subject)
        wage = wage_scaled(
            self._params.wage_per_credit, closed.unlocked_escrow, self._params.oracle_bps, report.epoch_credits
        )
        equal(SUMS, "the wage", event.wage, wage, subject)
        self._check_block(reported, subject)

    def _check_block(self, reported: Reported, subject: str) -> None:
        report = reported.event.report
        young = report.block_number < reported.event.block <= report.block_number + MAX_BLOCK_AGE
        self._findings.expect(SUMS, young, "the block that it names is too old", subject)
        try:
            found = self._run.chain.block(report.block_number).hash
        except ChainError as problem:
            self._findings.unavailable(SUMS, str(problem), subject)
            return
        self._findings.equal(SUMS, "the hash of the block that it names", report.block_hash, found, subject)

    def _check_signatures(self, reported: Reported, subject: str) -> None:
        event, office = reported.event, reported.signer_sets[-1]
        digest = event.report.digest(self.domain)
        self._findings.equal(SIGNATURES, "the report's digest", event.digest, digest, subject)
        try:
            signers = [recover_address(digest, signature) for signature in event.signatures]
        except SignatureError as problem:
            self._findings.expect(SIGNATURES, False, str(problem), subject)
            return
        named = [signer.lower() for signer in event.signers]
        self._findings.equal(SIGNATURES, "those who signed", signers, named, subject)
        apart = signers == sorted(set(signers)) and len(signers) >= office.quorum
        self._findings.expect(SIGNATURES, apart, f"{len(signers)} signatures are no quorum of {office.quorum}", subject)
        strangers = sorted(set(signers) - {signer.lower() for signer in office.signers})
        self._findings.equal(SIGNATURES, "signers out of office", strangers, [], subject)
        poor = [s for s in event.signers if self._bond_of(s) < self._params.signer_bond]
        self._findings.equal(SIGNATURES, "signers without a full bond", poor, [], subject)

    def recorded(self, event: EpochRecorded) -> None:
        """The ledger recorded a final tree."""
        self._recorded = event

    def attested(self, event: CheckpointAttested) -> None:
        """A checkpoint was appended: it has to be the one that the final report names, after the last."""
        report = self.reports[event.epoch].event.report if event.epoch in self.reports else None
        parent = self.checkpoints[-1].manifest_sha256 if self.checkpoints else bytes(32)
        found = (event.position, event.parent)
        self._findings.equal(CHECKPOINTS, "a checkpoint's place", found, (len(self.checkpoints), parent))
        named = (report.checkpoint, report.round, report.loss_micro) if report else None
        attested = (event.manifest_sha256, event.round, event.loss_micro)
        self._findings.equal(CHECKPOINTS, f"the checkpoint of epoch {event.epoch}", attested, named)
        self.checkpoints.append(event)

    def final(self, event: EpochFinal) -> Reported | None:
        """An epoch became final; its report, None when there is none."""
        subject = f"epoch {event.epoch}"
        reported = self.reports.get(event.epoch)
        if reported is None or event.epoch in self.finals:
            self._findings.expect(SUMS, False, "it became final without a report", subject)
            return None
        report = reported.event.report
        waited = self._time(event.block) - self._time(reported.event.block)
        self._findings.expect(SUMS, waited >= self._params.challenge_window, "it became final in its window", subject)
        found = (event.root, event.sum, event.epoch_credits, event.acc, event.wage)
        signed = (report.root, report.sum, report.epoch_credits, reported.acc, reported.event.wage)
        self._findings.equal(SUMS, "what became final", found, signed, subject)
        recorded = self._recorded
        booked = (recorded.epoch, recorded.root, recorded.sum, recorded.depth) if recorded else None
        self._findings.equal(
            SUMS, "the ledger's entry", booked, (event.epoch, report.root, report.sum, report.depth), subject
        )
        last = self.checkpoints[-1].manifest_sha256 if self.checkpoints else bytes(32)
        named = report.checkpoint if report.checkpoint != bytes(32) else last
        self._findings.equal(CHECKPOINTS, f"the last checkpoint after {subject}", last, named)
        self.finals[event.epoch] = event
        self._root, self.sum, self.depth = event.root, event.sum, report.depth
        self._voids_in_row = 0
        self._grow(reported)
        return reported

    def _grow(self, reported: Reported) -> None:
        if reported.listed is None or reported.tree is None:
            return
        epoch, wage = reported.event.epoch, reported.event.wage
        self._leaves = next_leaves(self._leaves, reported.listed, reported.acc, wage, self._accounts)
        for leaf in self._leaves:
            if leaf.index in reported.listed:
                self._history.setdefault(leaf.index, []).append((epoch, leaf))

    def voided(self, event: EpochVoided, proved: bool, unanswered: bool) -> None:
        """An epoch became void: by a proof of fraud or an unanswered game in the same transaction, or for want of a
        report.
        """
        subject = f"epoch {event.epoch}"
        self._findings.equal(CLOSINGS, f"whether {subject} is void by fraud", event.fraud, proved)
        closed, reported = self._closed, event.epoch in self.reports
        right = reported
        if not event.fraud and not unanswered and closed is not None:
            right = not reported and self._time(event.block) >= closed.closed_at + self._params.report_span
        right = right and event.epoch not in self.finals and event.epoch == self.next_epoch - 1
        self._findings.expect(CLOSINGS, right, f"{subject} was voided out of order")
        guilty = not event.fraud or (reported and not self.reports[event.epoch].genuine)
        self._findings.expect(CLOSINGS, guilty, f"{subject} was voided by fraud though its report was right")
        if reported:
            self._findings.note(ROOTS, "its report was voided and counts for nothing", subject)
        self.voids.add(event.epoch)
        self._voids_in_row += 1

    def attested_before(self, epoch: int) -> Attested | None:
        """What the last final report before an epoch attested."""
        final = [number for number in self.finals if number < epoch]
        return Attested.of(self.reports[max(final)].event.report) if final else None

    def leaf_at(self, epoch: int, index: int) -> Leaf | None:
        """The leaf of an index in the final tree of an epoch."""
        if epoch not in self.finals:
            return None
        known = [leaf for since, leaf in self._history.get(index, []) if since <= epoch]
        return known[-1] if known else None

    # --- at the end --------------------------------------------------------------------------------------------------

    def compare(self, block: int) -> None:
        """Compare with the contracts' figures at a block."""
        run, equal = self._run, self._findings.equal
        equal(CLOSINGS, "the next epoch", run.oracle.next_epoch(block=block), self.next_epoch)
        for epoch, reported in self.reports.items():
            if epoch not in self.voids:
                problem = "its root is not the one that its credits list gives"
                self._findings.expect(ROOTS, reported.genuine, problem, f"epoch {epoch}")
        for epoch, event in self.finals.items():
            found = run.ledger.final_epoch(epoch, block=block)
            mine = (event.root, event.sum, event.epoch_credits, event.acc, event.wage)
            theirs = (found.root, found.sum, found.epoch_credits, found.acc, found.wage)
            equal(ROOTS, "the stored root, sum, credits, accumulator and wage", theirs, mine, f"epoch {epoch}")
            digest = self.reports[epoch].event.digest if epoch in self.reports else b""
            equal(ROOTS, "the stored digest of the report", found.report_digest, digest, f"epoch {epoch}")
        latest = run.ledger.latest(block=block)
        equal(ROOTS, "the latest root, sum and depth", (latest.root, latest.sum, latest.depth), self._latest())
        self._compare_checkpoints(block)

    def _latest(self) -> tuple[bytes, int, int]:
        return self._root, self.sum, self.depth

    def _compare_checkpoints(self, block: int) -> None:
        registry, equal = self._run.checkpoints, self._findings.equal
        equal(CHECKPOINTS, "the number of checkpoints", registry.count(block=block), len(self.checkpoints))
        for event in self.checkpoints:
            found = registry.checkpoint_at(event.position, block=block)
            theirs = (found.epoch, found.round, found.manifest_sha256, found.parent, found.loss_micro)
            mine = (event.epoch, event.round, event.manifest_sha256, event.parent, event.loss_micro)
            equal(CHECKPOINTS, f"checkpoint {event.position}", theirs, mine)
