"""`commonweight audit lineage`: every attested checkpoint recomputed, bit for bit, from genesis and the published
payloads.

Genesis weights follow from the run's seed. From then on each round's record, which is anchored on chain, names its
base, the members that count and the digests of their payloads; the exact arithmetic makes the next checkpoint of
these, and its manifest has to be the one that was attested. A payload that cannot be had makes its round "not
available", never verified; the rounds after it are still recomputed from the published checkpoint.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO

from commonweight.audit.epochs import CHECKPOINTS, Reported
from commonweight.audit.evidence import read_config, read_directory
from commonweight.audit.findings import AuditReport, Findings
from commonweight.audit.payloads import PublishedPayload
from commonweight.audit.replay import Replay
from commonweight.audit.settings import AuditSettings, Progress, quiet
from commonweight.audit.verify import CONFIGURATION, opened
from commonweight.chain.run import Run
from commonweight.errors import ContentUnavailable, FormatError, Incomplete, Refuted, StoreError
from commonweight.exact.arrays import F32
from commonweight.exact.checkpoint import OUTER_FILE, WEIGHTS_FILE, Checkpoint, genesis_checkpoint, make_manifest
from commonweight.exact.copies import COPY_OF, Shown, coordinates, copies, samples
from commonweight.exact.layout import Layout
from commonweight.exact.round import recompute_round
from commonweight.protocol.attested import Attested, attests
from commonweight.protocol.evidence import Evidence, RoundFiles
from commonweight.protocol.fields import hex32
from commonweight.protocol.outcome_documents import Manifest
from commonweight.protocol.records import Commitment, Counted, Plan, Receipt, Record, Verdict
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.structure import Previous, check_trace, receipt_in_time
from commonweight.store import ContentStore, open_store, parse_cid
from commonweight.store.unixfs import add_file

EVIDENCE, ROUNDS, TRACES, ATTESTED = "evidence-files", "rounds-recomputed", "trace-starts", "attested-checkpoints"
COPIES = "copied-work"
_AHEAD = 8  # rounds for which payloads are sampled when they are decoded; for later ones they are read again


def lineage(settings: AuditSettings, progress: Progress = quiet) -> AuditReport:
    """Recompute the run's checkpoints. Raises ChainError when no node answers at all."""
    store = open_store(settings.store, make=False)
    try:
        with opened(settings, progress) as audit:
            findings, books = Findings(), Findings()
            replay = audit.replay(books)
            findings.adopt(books, CHECKPOINTS)  # of what the books find, this much belongs to this audit
            with findings.checking(CONFIGURATION):
                config = read_config(audit.run, store)
                findings.expect(CONFIGURATION, True, "")
                walk = _Walk(audit.run, store, config, replay, findings)
                walk.run_through(progress)
            return audit.report("lineage", findings)
    finally:
        store.close()


@dataclass(frozen=True)
class _Counted:
    """A counted member's work; `first_ms` is the first receipt in time that the evidence holds, `samples` are of its
    payload, at the coordinates of a round by the digest of its record.
    """

    plan: Plan
    entry: Counted
    commitment: Commitment
    first_ms: int
    samples: dict[str, F32] = field(default_factory=dict)


def _first_ms(receipts: Iterable[Receipt], commitment: str, plan: Plan) -> int:
    found = (r.received_ms for r in receipts if r.commitment == commitment and receipt_in_time(r, plan))
    return min(found, default=2**53)


@dataclass
class _Walk:
    """The way from genesis to the last attested checkpoint. `at` names the checkpoint that `held` holds, if it is
    here.
    """

    run: Run
    store: ContentStore
    config: RunConfig
    replay: Replay
    findings: Findings
    layout: Layout = field(init=False)
    at: str = field(init=False)
    held: Checkpoint | None = field(init=False)
    recomputed: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    previous: dict[int, Previous] = field(default_factory=dict)
    recent: dict[int, list[_Counted]] = field(default_factory=dict)
    uncompared: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.layout = Layout.from_model(self.config.model)
        self.held = genesis_checkpoint(self.config)
        self.at = self._manifest(self.held, 0, None, None).sha256
        self.recomputed.add(self.at)

    def run_through(self, progress: Progress) -> None:
        """All rounds of all reports that are not void, then the attested checkpoints."""
        reports = self.replay.final_reports()
        for done, reported in enumerate(reports):
            evidence = self._evidence(reported)
            if evidence is not None:
                self._check_report(reported, evidence)
            for number in sorted(evidence.rounds) if evidence else ():
                progress(f"recomputing round {number}", done, len(reports))
                if evidence is not None:
                    self._round(number, evidence.rounds[number])
        progress("recomputing rounds", len(reports), len(reports))
        self._attested()

    def _evidence(self, reported: Reported) -> Evidence | None:
        subject, report = f"epoch {reported.event.epoch}", reported.event.report
        evidence: Evidence | None = None
        with self.findings.checking(EVIDENCE, subject):
            found = Evidence.load(read_directory(self.store, report.evidence_cid))
            same = found.sha256 == hex32(report.evidence_sha256)
            if self.findings.expect(EVIDENCE, same, "it is not the evidence that the report names", subject):
                evidence = found
        if evidence is None:
            self.missing.append(f"the evidence of {subject}")
        return evidence

    def _check_report(self, reported: Reported, evidence: Evidence) -> None:
        """A report attests what its rounds lead to, and nothing behind what was attested before."""
        records = (Record.from_body(files.record.body) for files in evidence.rounds.values())
        event, found = reported.event, Attested.of(reported.event.report)
        right = attests(records, self.replay.epochs.attested_before(event.epoch)) or replace(found, round=0)
        self.findings.equal(ATTESTED, "what the report attests", found, right, f"epoch {event.epoch}")

    def _round(self, number: int, files: RoundFiles) -> None:
        subject = f"round {number}"
        with self.findings.checking(ROUNDS, subject):
            plan, record = Plan.from_body(files.plan.body), Record.from_body(files.record.body)
            anchored = {hex32(event.record_hash) for event in self.replay.records.get(number, ())}
            if files.record.digest not in anchored:
                raise Refuted(f"The record of {subject} is not the one that was anchored")
            if record.plan != files.plan.digest:
                raise Refuted(f"The record of {subject} belongs to another plan")
            try:
                self._step(number, plan, files, record)
            except (ContentUnavailable, Incomplete) as gone:
                self.missing.append(f"{subject}: {gone.what}")
                self.uncompared.add(number)
                self.at, self.held = record.checkpoint, self._published(record)
                raise

    def _step(self, number: int, plan: Plan, files: RoundFiles, record: Record) -> None:
        subject = f"round {number}"
        if self.held is None or self.at != record.base:
            if self.held is not None and not self.missing:
                raise Refuted(f"{subject} starts from {record.base}", f"the checkpoint before it is {self.at}")
            raise Incomplete(f"The base of {subject}, checkpoint {record.base}, is not available")
        self._check_traces(subject, files, record, self.held.weights_digest)
        payloads = {}
        for entry in record.counted:
            payloads[entry.index] = self._payload(plan, entry)
            payloads[entry.index].check()
        after = recompute_round(self.config, plan, record, self.held, payloads).checkpoint
        name = self.at
        if record.counted:
            name = self._manifest(after, number, record.base, record.plan).sha256
        if not self.findings.equal(ROUNDS, "the checkpoint", record.checkpoint, name, subject):
            raise Refuted(f"{subject} does not make the checkpoint that its record names")
        if record.base in self.recomputed:
            self.recomputed.add(name)
        self.at, self.held = name, after
        self._check_copies(number, plan, files, record)

    def _payload(self, plan: Plan, entry: Counted) -> PublishedPayload:
        return PublishedPayload(self.store, self.layout, plan, entry.index, entry.payload_cid)

    def _check_traces(self, subject: str, files: RoundFiles, record: Record, base_weights: str) -> None:
        """Each counted member's trace starts from the base with the optimizer state and residual that it last had."""
        bodies = {signed.digest: Commitment.from_body(signed.body) for signed in files.commitments}
        for entry in record.counted:
            body = bodies.get(entry.commitment)
            if body is None:
                self.findings.expect(TRACES, False, f"the commitment of provider {entry.index} is missing", subject)
                continue
            previous = None if self.missing else self.previous.get(entry.index)
            with self.findings.checking(TRACES, subject):
                if self.missing and body.trace.previous is not None:
                    raise Incomplete(f"The commitment before that of provider {entry.index} is not available")
                check_trace(body, base_weights, self.config, previous)
                self.findings.expect(TRACES, True, "", subject)
            self.previous[entry.index] = (entry.commitment, body)

    def _check_copies(self, number: int, plan: Plan, files: RoundFiles, record: Record) -> None:
        """Whose payload is like another, by the rule over the published payloads, is who was looked at for it.

        Where work is replayed, the signers' replay says whether it is a copy; on private shards each such payload is
        refused. A trace that does not continue the member's last is the other reason to refuse; `_check_traces` judges
        that.
        """
        subject, rule = f"round {number}", self.config.verification
        bodies = {signed.digest: Commitment.from_body(signed.body) for signed in files.commitments}
        receipts = [Receipt.from_body(signed.body) for _, signed in files.receipts]
        self.recent[number] = [
            _Counted(plan, entry, bodies[entry.commitment], _first_ms(receipts, entry.commitment, plan))
            for entry in record.counted
        ]
        self.recent = {n: works for n, works in self.recent.items() if n >= number - rule.copy_window}
        with self.findings.checking(COPIES, subject):
            self._sample(self.recent[number], [files.record.digest, *self._next_records(number)])
            new = [self._shown(work, files.record.digest) for work in self.recent[number]]
            before = [work for n, works in self.recent.items() if n < number for work in works]
            old = [self._shown(work, files.record.digest) for work in before]
            found = copies(new, old, self.config)
            self.findings.expect(COPIES, True, "", subject)
            for gone in sorted(n for n in self.uncompared if number - rule.copy_window <= n < number):
                what = f"the payloads of round {gone} are not there to compare with"
                self.findings.unavailable(COPIES, what, subject)
            verdicts = [Verdict.from_body(signed.body) for signed in files.verdicts]
            for entry in record.counted:
                said = {v.signer: v.outcome for v in verdicts if (v.index, v.check) == (entry.index, "structure")}
                passed = sum(outcome == "pass" for outcome in said.values())
                refused = bool(said) and 2 * passed <= len(said)
                copy = found.get(entry.index)
                if copy is not None:
                    what = f"provider {entry.index} was credited for {copy.reason}"
                    looked = refused if self.config.private else bool(said)
                    self.findings.expect(COPIES, looked, what, subject)
                elif refused and any(COPY_OF in v.reason for v in verdicts if v.index == entry.index):
                    what = f"provider {entry.index} was refused for a copy that its payload is not"
                    self.findings.expect(COPIES, False, what, subject)

    def _next_records(self, number: int) -> list[str]:
        """The records of the rounds in which a round's payloads are compared next, as far as the chain tells them."""
        ahead = range(number + 1, number + 1 + min(self.config.verification.copy_window, _AHEAD))
        return [hex32(self.replay.records[n][0].record_hash) for n in ahead if n in self.replay.records]

    def _sample(self, works: Iterable[_Counted], records: Sequence[str]) -> None:
        places = [coordinates(record, self.layout.numel) for record in records]
        for work in works:
            found = samples(self._payload(work.plan, work.entry), work.plan, self.layout.numel, places)
            work.samples.update(zip(records, found, strict=True))

    def _shown(self, work: _Counted, record: str) -> Shown:
        if record not in work.samples:
            self._sample([work], [record])
        return Shown(work.commitment, work.entry.commitment, work.first_ms, work.samples.pop(record))

    def _published(self, record: Record) -> Checkpoint | None:
        """The checkpoint that a record names, from the store, verified by its manifest; None when it is not there."""
        try:
            return load_checkpoint(self.store, self.layout, record.checkpoint, record.checkpoint_cid)
        except (StoreError, FormatError):
            return None

    def _manifest(self, checkpoint: Checkpoint, number: int, parent: str | None, plan: str | None) -> Manifest:
        files = checkpoint.to_files(self.layout)
        cids = {name: str(add_file(BytesIO(data), lambda _: None).cid) for name, data in files.items()}
        return make_manifest(self.run.address.lower(), number, parent, plan, self.config.sha256, files, cids)

    def _attested(self) -> None:
        if not self.replay.epochs.checkpoints:
            self.findings.seen(ATTESTED)
        for event in self.replay.epochs.checkpoints:
            subject, name = f"checkpoint {event.position}", hex32(event.manifest_sha256)
            if name in self.recomputed:
                self.findings.expect(ATTESTED, True, "", subject)
            elif self.missing:
                why = f"not available: {self.missing[0]}"
                self.findings.unavailable(ATTESTED, f"{name} could not be recomputed ({why})", subject)
            else:
                self.findings.expect(ATTESTED, False, f"{name} does not follow from the records and payloads", subject)


def load_checkpoint(store: ContentStore, layout: Layout, manifest_sha256: str, cid: str) -> Checkpoint:
    """A published checkpoint by its manifest's digest and its directory's CID; StoreError or FormatError if it is
    wrong.
    """
    directory = parse_cid(cid)
    manifest = Manifest.load(store.get_file(directory, "manifest.json", 1 << 16, manifest_sha256))
    entries: Mapping[str, tuple[str, int]] = {
        WEIGHTS_FILE: (manifest.weights.sha256, manifest.weights.size),
        OUTER_FILE: (manifest.outer.sha256, manifest.outer.size),
    }
    files = {name: store.get_file(directory, name, size, sha256) for name, (sha256, size) in entries.items()}
    return Checkpoint.from_files(layout, files)
