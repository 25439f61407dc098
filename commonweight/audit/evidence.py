"""An epoch's published evidence against its report: files, documents, anchors, draws, and the credits that follow.

The directory is read from the content store (every block hashed), has to be what the report's `evidenceSha256` names,
and goes through the same pure check that signers run before they sign; here the facts come from the chain alone.
"""

from bisect import bisect
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from commonweight.audit.epochs import Reported
from commonweight.audit.findings import Findings
from commonweight.audit.replay import Replay
from commonweight.audit.times import BlockTimes
from commonweight.chain.events import RoundAnchored
from commonweight.chain.run import Run
from commonweight.chain.types import Block
from commonweight.errors import ContentUnavailable, FormatError, RuleBroken, StoreError
from commonweight.exact import offences
from commonweight.exact.layout import Layout
from commonweight.protocol.credits import wage_scaled
from commonweight.protocol.documents import recover
from commonweight.protocol.evidence import INDEX, Evidence
from commonweight.protocol.evidence import MAX_FILES as MOST_FILES
from commonweight.protocol.evidence_check import Facts, Seed, check_evidence
from commonweight.protocol.fields import hex32, lower_address
from commonweight.protocol.offences import Offence
from commonweight.protocol.offices import Offices
from commonweight.protocol.outcome_documents import Manifest
from commonweight.protocol.records import Plan
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.standing import Exposure, Final, Standing, exposure
from commonweight.store import ContentStore, parse_cid

FILES, DOCUMENTS, WORK, DRAWS = "evidence-files", "evidence-documents", "anchored-work", "replay-draws"
CREDITS, LEAVES, EVALUATION = "credits-regenerated", "leaves-regenerated", "evaluation"
STANDINGS, ROUNDS = "standings-regenerated", "anchored-rounds"
MANIFEST, OFFENCES = "checkpoint-manifest", "offences"
_CHECK_OF_RULE = {
    "wrong-credits": CREDITS,
    "wrong-leaves": LEAVES,
    "wrong-standing": STANDINGS,
    "not-anchored": WORK,
    "omission": WORK,
    "no-receipt": WORK,
    "wrong-record": WORK,
    "draw-not-done": DRAWS,
    "not-drawn": DRAWS,
    "no-seed": DRAWS,
    "wrong-deadline": DRAWS,
    "wrong-verdict": DRAWS,
    "wrong-evaluation": EVALUATION,
}
MAX_FILE_BYTES = 1 << 26
MAX_TOTAL_BYTES = 1 << 31
MAX_FILES = MOST_FILES + 1  # with the index
MAX_BLOB_BYTES = 1 << 30
MAX_CONFIG_BYTES = 1 << 20
Found = Callable[[int, Evidence], None]
"""Told the evidence of each epoch that could be read, before it is checked."""


def ignored(_epoch: int, _evidence: Evidence) -> None:
    """Takes evidence that nobody looks at again."""


@dataclass(frozen=True)
class Kept:
    """What later checks need of an epoch's evidence, which is itself too large to keep for a run's whole life."""

    sha256: str
    rounds: tuple[int, ...]
    standing: bytes


@dataclass
class EvidenceAudit:
    """Checks the evidence of one report after the other, oldest first.

    By epoch, `kept` is of what it could read, and `credited` of what holds: the credits list. `found` gets the evidence
    itself.
    """

    run: Run
    store: ContentStore
    replay: Replay
    block: Block
    findings: Findings
    config: RunConfig
    found: Found = ignored
    kept: dict[int, Kept] = field(default_factory=dict)
    credited: dict[int, Mapping[int, int]] = field(default_factory=dict)
    leaders: dict[int, str] = field(default_factory=dict)
    times: BlockTimes = field(init=False)

    def __post_init__(self) -> None:
        self.times = BlockTimes(self.run.chain, self.run.first_block, self.block)

    def check(self, reported: Reported) -> None:
        """Check one report's evidence under the names above."""
        epoch = reported.event.epoch
        subject = f"epoch {epoch}"
        evidence: Evidence | None = None
        with self.findings.checking(FILES, subject):
            evidence = self._load(reported, subject)
        if evidence is None:
            return
        self.kept[epoch] = Kept(evidence.sha256, tuple(evidence.rounds), evidence.standing)
        self.found(epoch, evidence)
        with self.findings.checking(MANIFEST, subject):
            self._check_manifest(reported, subject)
        report = reported.event.report
        named = (report.checkpoint, report.checkpoint_cid, report.loss_micro, report.round)
        e = evidence.evaluation
        evaluated = (bytes.fromhex(e.checkpoint[2:]), e.checkpoint_cid, e.loss_micro, e.round)
        self.findings.equal(EVALUATION, "checkpoint, CID, loss and round of the report", named, evaluated, subject)
        self._check_rules(reported, evidence, subject)

    def _load(self, reported: Reported, subject: str) -> Evidence:
        report = reported.event.report
        files = read_directory(self.store, report.evidence_cid)
        evidence = Evidence.load(files)
        self.findings.equal(FILES, f"the digest of {INDEX}", evidence.sha256, hex32(report.evidence_sha256), subject)
        found = (evidence.epoch, evidence.attempt, evidence.run)
        expected = (report.epoch, report.attempt, self.run.address.lower())
        self.findings.equal(FILES, "the epoch, attempt and run that it names", found, expected, subject)
        return evidence

    def _check_rules(self, reported: Reported, evidence: Evidence, subject: str) -> None:
        passed = list(dict.fromkeys([DOCUMENTS, OFFENCES, *_CHECK_OF_RULE.values()]))
        try:
            facts = self._facts(reported)
        except ContentUnavailable as missing:
            self.findings.failed(STANDINGS, missing, subject)
            return
        try:
            earned = check_evidence(evidence, facts, self._prover(facts))
        except ContentUnavailable as missing:
            self.findings.failed(OFFENCES, missing, subject)
            return
        except RuleBroken as broken:
            name = _CHECK_OF_RULE.get(broken.rule, DOCUMENTS)
            self.findings.expect(name, False, f"{broken} [{broken.rule}]", subject)
            return
        except StoreError as problem:
            self.findings.failed(OFFENCES, problem, subject)
            return
        except FormatError as problem:
            self.findings.failed(DOCUMENTS, problem, subject)
            return
        credited = self.credited[reported.event.epoch] = dict(earned.credited)
        self.leaders.update((n, recover(files.plan, facts.domain)) for n, files in evidence.rounds.items())
        for name in passed:
            self.findings.expect(name, True, "", subject)
        self.findings.equal(CREDITS, "the credits list", dict(reported.listed or {}), credited, subject)
        if reported.tree is not None:
            root = {leaf.index: leaf for leaf in evidence.leaves if leaf.C}
            tree = {leaf.index: leaf for leaf in reported.tree.leaves}
            self.findings.equal(LEAVES, "the tree's leaves", tree, root, subject)
        self._check_unpublished(reported, evidence, subject)

    def _check_unpublished(self, reported: Reported, evidence: Evidence, subject: str) -> None:
        """Roots on chain for a credited round whose leaves were not published: work may have been left out. A record
        that was anchored before the one in evidence is named: it is anybody's word, or the round's true record.
        """
        published = {(anchor.round, anchor.deadline, anchor.root) for anchor in evidence.anchors}
        deadlines = {(number, Plan.from_body(f.plan.body).deadline_s) for number, f in evidence.rounds.items()}
        for event in self.replay.anchors:
            root = hex32(event.commitments_root)
            late = event.block > reported.event.block or event.commitments_root == bytes(32)
            if (
                late
                or (event.round, event.deadline) not in deadlines
                or (event.round, event.deadline, root) in published
            ):
                continue
            what = f"the commitments under root {root} of round {event.round}, anchored by {event.anchorer}"
            self.findings.unavailable(WORK, f"{what}, were not published", subject)
        for number, files in evidence.rounds.items():
            first = self.replay.records[number][0]
            if hex32(first.record_hash) != files.record.digest:
                what = f"{hex32(first.record_hash)}, anchored before the record of round {number} by {first.anchorer}"
                self.findings.note(WORK, f"{what}, is not published", subject)

    def check_rounds(self, reports: Collection[Reported]) -> None:
        """Every round with anchored commitments is in the evidence of one of all reports, or may still come to be.

        A round is passed over rightly when another coordinator took over before it had a record: the plans before and
        after it are by different signers.
        """
        self.findings.seen(ROUNDS)
        if len(self.credited) < len(reports):
            self.findings.note(ROUNDS, "not all of the evidence holds, or can be had")
            return
        leaders = self.leaders
        anchorers = {a.round: a.anchorer for a in self.replay.anchors if any(a.commitments_root)}
        order, waiting = sorted(leaders), []
        for number, anchorer in sorted(anchorers.items()):
            place = bisect(order, number)
            around = {leaders[n] for n in order[max(0, place - 1) : place + 1]}
            if number in leaders:
                self.findings.expect(ROUNDS, True, "")
            elif place == len(order) and not self.replay.pools.finished:
                waiting.append(number)
            elif len(around) == 2 and number not in self.replay.records:
                self.findings.note(ROUNDS, f"round {number} was given up by a change of coordinator")
            else:
                what = f"round {number}, with commitments that {anchorer} anchored, is in no report"
                self.findings.unavailable(ROUNDS, what)
        if waiting:
            self.findings.note(ROUNDS, f"in no report yet: {', '.join(map(str, waiting))}")

    def _check_manifest(self, reported: Reported, subject: str) -> None:
        report = reported.event.report
        if report.checkpoint == bytes(32):
            return
        directory = parse_cid(report.checkpoint_cid)
        manifest = Manifest.load(self.store.get_file(directory, "manifest.json", 1 << 16))
        self.findings.equal(MANIFEST, "the manifest's digest", manifest.sha256, hex32(report.checkpoint), subject)
        found = (manifest.run, manifest.round, manifest.config)
        expected = (self.run.address.lower(), report.round, self.config.sha256)
        self.findings.equal(MANIFEST, "run, round and configuration of the manifest", found, expected, subject)
        names = {item.name: str(item.cid) for item in self.store.list(directory)}
        listed = {"weights.safetensors": manifest.weights.cid, "outer.safetensors": manifest.outer.cid}
        held = {name: names.get(name) for name in listed}
        self.findings.equal(MANIFEST, "the files of the checkpoint", held, listed, subject)

    # --- what the chain says -----------------------------------------------------------------------------------------

    def _facts(self, reported: Reported) -> Facts:
        params, at = self.run.params, reported.event.block
        anchors = [event for event in self.replay.anchors if event.block <= at]
        sets = ((office.since, tuple(map(lower_address, office.signers))) for office in reported.signer_sets)
        earlier = [self.kept[e] for e in self.replay.epochs.finals if e < reported.event.epoch and e in self.kept]
        return Facts(
            domain=self.run.oracle.domain(),
            run=self.run.address.lower(),
            config=self.config,
            epoch_of=params.epoch_of,
            anchor_window=params.anchor_window,
            offices=Offices(tuple(sets)),
            keys=lambda index: self.replay.providers.keys_by(index, at),
            roots=lambda number: _roots(anchors, number),
            records_of=lambda number: _records(anchors, number),
            seed=self._seed,
            credited={number for kept in earlier for number in kept.rounds},
            attested=self.replay.epochs.attested_before(reported.event.epoch),
            leaves=reported.leaves,
            accounts={index: account.lower() for index, account in reported.accounts.items()},
            acc=reported.acc,
            wage_of=lambda amount: wage_scaled(params.wage_per_credit, reported.unlocked, params.oracle_bps, amount),
            cap=reported.cap,
            standing=self._standing([e for e in self.replay.epochs.finals if e < reported.event.epoch]),
            standing_at=lambda block: self._standing(
                [e for e, final in self.replay.epochs.finals.items() if final.block <= block]
            ),
            stakes=reported.stakes,
            exposed=self._exposed(reported.event.epoch),
        )

    def _standing(self, epochs: Collection[int]) -> Standing:
        """What the newest of these epochs' evidence says; ContentUnavailable when that was not to be had."""
        if not epochs:
            return Standing()
        newest = self.kept.get(max(epochs))
        if newest is None:
            raise ContentUnavailable(
                f"The evidence of epoch {max(epochs)} is not available",
                "replay rates and carried credits of later epochs follow from it",
                "look for it in another store",
            )
        return Standing.load(newest.standing)

    def _exposed(self, epoch: int) -> Exposure:
        """What could still be revoked when an epoch was closed."""
        epochs = self.replay.epochs
        closings = {e: (closed.closed_at, closed.acc) for e, closed in epochs.closings.items() if e <= epoch}
        finals = {e: Final(epochs.reports[e].listed or {}, final.wage) for e, final in epochs.finals.items()}
        floor = int(self.config.verification.credit_value_floor)
        return exposure(epoch, closings, finals, self.run.params.dispute_period, floor)

    def _seed(self, anchor_by_s: int) -> Seed | None:
        block = self.times.first_after(anchor_by_s)
        return None if block is None else Seed(block.number, block.hash)

    def _prover(self, facts: Facts) -> Callable[[Offence], None]:
        numel = Layout.from_model(self.config.model).numel
        context = offences.Context(facts.domain, facts.run, self.config, numel, facts.keys, facts.offices.ever)

        def prove(offence: Offence) -> None:
            blobs = {
                blob.name: self.store.get(parse_cid(blob.cid), MAX_BLOB_BYTES, blob.sha256) for blob in offence.blobs
            }
            offences.check(offence, blobs, context)

        return prove


def read_directory(store: ContentStore, cid: str) -> Mapping[str, bytes]:
    """Every file below a directory by its path, verified, within bounds; raises StoreError's subclasses."""
    files: dict[str, bytes] = {}
    total = 0
    for item in store.walk(parse_cid(cid)):
        data = store.get(item.cid, MAX_FILE_BYTES)
        total += len(data)
        if len(files) >= MAX_FILES or total > MAX_TOTAL_BYTES or item.name in files:
            raise StoreError(
                f"The evidence {cid} is too large", f"over {MAX_FILES - 1} files or {MAX_TOTAL_BYTES} bytes"
            )
        files[item.name] = data
    return files


def read_config(run: Run, store: ContentStore) -> RunConfig:
    """The run's configuration out of the content store, checked against its digest on chain."""
    data = store.get(parse_cid(run.params.config_cid), MAX_CONFIG_BYTES, hex32(run.params.config_sha256))
    return RunConfig.load(data)


def _roots(anchors: Iterable[RoundAnchored], number: int) -> set[tuple[int, str]]:
    return {
        (event.deadline, hex32(event.commitments_root))
        for event in anchors
        if event.round == number and event.commitments_root != bytes(32)
    }


def _records(anchors: Iterable[RoundAnchored], number: int) -> set[str]:
    named = (event.record_hash for event in anchors if event.record_round == number)
    return {hex32(digest) for digest in named if digest != bytes(32)}
