"""`commonweight audit verify`: everything about a run, from a read-only node and the published files, with one verdict.

Reads top to bottom: name a block, compare the code on chain with ours, read all events up to the block, keep every
contract's books a second time, rebuild every root, and regenerate every credit from the evidence.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from commonweight.audit.deployment import CODE, check_deployment
from commonweight.audit.evidence import FILES, EvidenceAudit, Found, ignored, read_config
from commonweight.audit.findings import AuditReport, Findings
from commonweight.audit.index import EventIndex
from commonweight.audit.replay import Replay
from commonweight.audit.settings import AuditSettings, Progress, quiet
from commonweight.chain.run import Run
from commonweight.chain.types import Block
from commonweight.errors import Incomplete
from commonweight.store import ContentStore, open_store

CHAIN, CONFIGURATION = "chain", "run-configuration"


@dataclass(frozen=True)
class Opened:
    """A run as an audit sees it: up to `block`, with its events; `time` gives a block's Unix time."""

    run: Run
    block: Block
    index: EventIndex
    _times: dict[int, int] = field(default_factory=dict)

    def time(self, number: int) -> int:
        """A block's Unix time."""
        if number not in self._times:
            self._times[number] = self.run.chain.block(number).timestamp
        return self._times[number]

    def replay(self, findings: Findings) -> Replay:
        """The books of all contracts after the events up to the block."""
        replay = Replay(self.run, findings, self.time)
        replay.play(self.index.events())
        return replay

    def report(self, audit: str, findings: Findings) -> AuditReport:
        """The result, after making sure that the block is still on the chain."""
        with findings.checking(CHAIN):
            found = self.run.chain.block(self.block.number).hash
            if findings.expect(
                CHAIN, found == self.block.hash, "the chain was reorganised during the audit: run it again"
            ):
                findings.note(CHAIN, f"holds up to block {self.block.number}")
        hashed = "0x" + self.block.hash.hex()
        return AuditReport(
            audit, self.run.address, self.run.chain.chain_id, self.block.number, hashed, findings.checks()
        )


@contextmanager
def opened(settings: AuditSettings, progress: Progress = quiet) -> Iterator[Opened]:
    """Connect, name the last final block, and read the events up to it. Raises ChainError or Incomplete."""
    run = Run.at(settings.connect(), settings.campaign)
    block = run.chain.finalized_block()
    if run.first_block > block.number:
        raise Incomplete(
            f"The run {run.address} is not final yet",
            f"it was created in block {run.first_block}, and the last final block is {block.number}",
            "wait a little, or name how many confirmations are enough",
        )
    path = None
    if settings.data_dir is not None:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        path = settings.data_dir / f"audit-{run.chain.chain_id}-{run.address.lower()}.sqlite"
    index = EventIndex(run, path)
    try:
        index.advance(block, progress)
        yield Opened(run, block, index)
    finally:
        index.close()


def verify(settings: AuditSettings, progress: Progress = quiet) -> AuditReport:
    """Check everything. Raises ChainError when no node answers at all, UsageError for a wrong address or store."""
    store = open_store(settings.store, make=False)
    try:
        with opened(settings, progress) as audit:
            findings = Findings()
            with findings.checking(CODE):
                check_deployment(audit.run, audit.block, findings)
            progress("keeping the books again", 0, 1)
            replay = audit.replay(findings)
            replay.compare(audit.block.number)
            progress("keeping the books again", 1, 1)
            check_evidence_of_run(audit, replay, store, findings, progress)
            return audit.report("verify", findings)
    finally:
        store.close()


def check_evidence_of_run(
    audit: Opened, replay: Replay, store: ContentStore, findings: Findings, progress: Progress = quiet,
    up_to: int | None = None, found: Found = ignored,
) -> EvidenceAudit | None:  # fmt: skip
    """Check configuration and evidence of every report that is not void, of those up to an epoch if one is given;
    None without the run's configuration. `found` gets the evidence of each epoch.
    """
    evidence: EvidenceAudit | None = None
    with findings.checking(CONFIGURATION):
        config = read_config(audit.run, store)
        findings.expect(CONFIGURATION, True, "")
        evidence = EvidenceAudit(audit.run, store, replay, audit.block, findings, config, found)
    reports = [r for r in replay.final_reports() if up_to is None or r.event.epoch <= up_to]
    for done, reported in enumerate(reports):
        progress("checking evidence", done, len(reports))
        if evidence is None:
            findings.unavailable(FILES, "the run's configuration is missing", f"epoch {reported.event.epoch}")
        else:
            evidence.check(reported)
    if evidence is not None and up_to is None:
        evidence.check_rounds(reports)
    progress("checking evidence", len(reports), len(reports))
    return evidence
