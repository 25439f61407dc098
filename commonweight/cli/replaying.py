"""`commonweight audit replay`: a provider's work of a round executed again, from the published files alone.

A member's state at the start of a round follows from its earlier counted rounds, back to the one that it began with
zeros. All of them are replayed in order; where this machine is of the same kind as the member's, every state and
payload comes out bit for bit and the trace root is the committed one, which binds each segment. Where it is not, the
payload is compared with the published one within the run's tolerance for each segment.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from commonweight.audit.evidence import read_config, read_directory
from commonweight.audit.findings import OK, AuditReport, Findings
from commonweight.audit.lineage import load_checkpoint
from commonweight.audit.payloads import published_payload
from commonweight.audit.settings import AuditSettings, Progress, quiet
from commonweight.audit.verify import CONFIGURATION, Opened, opened
from commonweight.cli.provider import index_named
from commonweight.errors import Incomplete, TrainingError, UsageError
from commonweight.exact.arrays import F32
from commonweight.exact.codecs import decode
from commonweight.exact.layout import Layout
from commonweight.exact.norms import norm2
from commonweight.exact.trace import State, TraceBuilder
from commonweight.protocol.evidence import Evidence
from commonweight.protocol.fields import hex32
from commonweight.protocol.parts import part_ranges
from commonweight.protocol.records import Commitment, Plan, Record
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.structure import Previous, went_ahead
from commonweight.protocol.trace import leaf_steps
from commonweight.store import ContentStore, open_store
from trainer.data import Corpus, fetch
from trainer.diloco import payload_of, setting_out, weights_ahead
from trainer.engine import PLAIN, Engine
from trainer.inner import InnerOptimizer
from trainer.replay import replay_segment

PRIVATE = "this run trains on shards that never leave their owners: nobody else can take the steps again"
EVIDENCE, DATA, START, STEPS = "evidence-files", "training-data", "start-state", "steps-replayed"


@dataclass(frozen=True)
class Work:
    """A commitment with its plan, and the CID of its payload if it was counted."""

    digest: str
    body: Commitment
    plan: Plan
    payload_cid: str | None


def replay_work(
    settings: AuditSettings, provider: str, number: int | None = None, progress: Progress = quiet,
    engine: Engine = PLAIN,
) -> AuditReport:  # fmt: skip
    """Replay the work of a provider (index or account) in round `number`, by default its last counted one.

    Raises UsageError when the provider has no such work in final epochs, ChainError when no node answers.
    """
    store = open_store(settings.store, make=False)
    try:
        with opened(settings, progress) as audit:
            findings = Findings()
            index = index_named(audit.run, provider)
            config: RunConfig | None = None
            with findings.checking(CONFIGURATION):
                config = read_config(audit.run, store)
                findings.expect(CONFIGURATION, True, "")
            works = works_of(audit, store, index, findings) if config is not None else {}
            if config is not None and config.private:
                findings.unavailable(DATA, PRIVATE)
            elif config is not None and (works or _complete(findings)):
                chain = chain_to(works, index, number)
                with findings.checking(DATA), training_data(config, store, settings.data_dir) as corpus:
                    findings.expect(DATA, True, "")
                    Replayer(config, store, corpus, findings, engine).run_through(chain, progress)
            return audit.report("replay", findings)
    finally:
        store.close()


@contextmanager
def training_data(config: RunConfig, store: ContentStore, data_dir: Path | None) -> Iterator[Corpus]:
    """The run's data set out of the store, below `data_dir`, or in a folder that goes again. Raises StoreError."""
    with tempfile.TemporaryDirectory(prefix="commonweight-audit-") as scratch:
        folder = (data_dir or Path(scratch)) / f"data-{config.data.manifest_sha256[2:18]}"
        fetch(store, config.data.manifest_cid, config.data.manifest_sha256, folder)
        yield Corpus.open(folder, config.data.manifest_sha256)


def _complete(findings: Findings) -> bool:
    return all(check.verdict == OK for check in findings.checks())


def works_of(audit: Opened, store: ContentStore, index: int, findings: Findings) -> dict[str, Work]:
    """The provider's commitments in the evidence of all reports that are not void, by digest."""
    found: dict[str, Work] = {}
    for reported in audit.replay(Findings()).final_reports():
        subject, report = f"epoch {reported.event.epoch}", reported.event.report
        with findings.checking(EVIDENCE, subject):
            evidence = Evidence.load(read_directory(store, report.evidence_cid))
            same = evidence.sha256 == hex32(report.evidence_sha256)
            if not findings.expect(EVIDENCE, same, "it is not the evidence that the report names", subject):
                continue
            for files in evidence.rounds.values():
                plan, record = Plan.from_body(files.plan.body), Record.from_body(files.record.body)
                payloads = {entry.commitment: entry.payload_cid for entry in record.counted}
                for signed in files.commitments:
                    body = Commitment.from_body(signed.body)
                    if body.index == index:
                        found[signed.digest] = Work(signed.digest, body, plan, payloads.get(signed.digest))
    return found


def chain_to(works: dict[str, Work], index: int, number: int | None) -> list[Work]:
    """The works to replay in order: from the one that began with zeros to the one that is wanted."""
    wanted = [w for w in works.values() if (w.body.round == number if number is not None else w.payload_cid)]
    if not wanted:
        where = "any round" if number is None else f"round {number}"
        raise UsageError(
            f"Provider {index} has no published work in {where}.",
            "No report that is final or open to challenge has it in its evidence",
            "`commonweight provider credits` shows the epochs with credits.",
        )
    chain = [max(wanted, key=lambda w: (w.body.round, w.payload_cid is not None))]
    while (previous := chain[-1].body.trace.previous) is not None:
        if previous not in works:
            raise Incomplete(
                f"The state at the start of round {chain[-1].body.round} cannot be recomputed",
                f"the commitment {previous} before it is not published",
                "Replay an earlier round.",
            )
        chain.append(works[previous])
    return chain[::-1]


def decoded_payload(parts: Sequence[bytes], plan: Plan, layout: Layout) -> F32:
    """The float32 [N] that the encoded parts of a payload stand for. PayloadError when one does not decode."""
    places = part_ranges(layout.numel, plan.block, plan.parts)
    decoded = [decode(part, at.size, plan.codec, plan.block) for part, at in zip(parts, places, strict=True)]
    whole: F32 = np.concatenate(decoded)
    return whole


@dataclass
class Replayer:
    """Does works again; what it finds goes into `findings` under the round's name.

    `shown` has a round once arithmetic alone has shown that its work was done, or was not: no error of this machine,
    and nothing that could not be had, ever shows anything.
    """

    config: RunConfig
    store: ContentStore
    corpus: Corpus
    findings: Findings
    engine: Engine = PLAIN
    shown: dict[int, bool] = field(default_factory=dict)
    layout: Layout = field(init=False)
    optimizer: InnerOptimizer = field(init=False)

    def __post_init__(self) -> None:
        self.layout = Layout.from_model(self.config.model)
        self.optimizer = InnerOptimizer(self.config, self.engine)

    def run_through(self, chain: list[Work], progress: Progress) -> None:
        """Replay all works in order; what the last one is compared with decides."""
        total, done = sum(work.body.steps for work in chain), 0
        last: State | None = None
        residual: F32 | None = None
        before: Previous | None = None
        for work in chain:
            subject = f"round {work.body.round}"
            with self.findings.checking(STEPS, subject):
                base = load_checkpoint(self.store, self.layout, work.plan.base, work.plan.base_cid).weights
                start = State.fresh(base)
                if last is not None and residual is not None:
                    start = State(last.step, base, last.m, last.v, residual)
                    if went_ahead(work.body, before, self.config.training.overlap):
                        start = replace(start, weights=last.weights)
                before = (work.digest, work.body)
                known = start.digests == work.body.trace.first
                if last is None:
                    self.findings.expect(START, known, "it is neither the base nor zeros", subject)
                    if not known:
                        self.shown[work.body.round] = False
                elif not known:
                    self.findings.unavailable(START, "it does not come out bit for bit on this machine", subject)
                last, residual = self._one(work, base, start, known, progress, (done, total))
                done += work.body.steps

    def _one(
        self, work: Work, base: F32, start: State, known: bool, progress: Progress, place: tuple[int, int]
    ) -> tuple[State, F32]:
        """Replay one work; returns the state that it ends in and the new residual."""
        body, plan, every = work.body, work.plan, self.config.training.trace_every
        subject, (done, total) = f"round {body.round}", place
        builder, state = TraceBuilder(body.trace.previous, [start.digests]), start
        ahead_of = weights_ahead(base, start.weights)
        try:
            for segment in range(body.trace.leaves - 1):
                steps = range(leaf_steps(segment, body.steps, every), leaf_steps(segment + 1, body.steps, every))
                begun = setting_out(self.config, base, state, steps.start, ahead_of)
                state = replay_segment(self.optimizer, self.corpus, plan, body.index, begun, steps)
                builder.add(state.digests)
                progress("replaying steps", done + steps.stop, total)
        except TrainingError as diverged:
            self.findings.expect(STEPS, False, f"the steps cannot be done again: {diverged.what}", subject)
            raise
        payload = payload_of(self.config, plan, base, state.weights, state.residual)
        if builder.finish(payload.digests, payload.new_residual_digest).root == body.trace.root:
            self._show(body.round, True)
            self.findings.expect(STEPS, True, "", subject)
            self.findings.note(STEPS, f"{body.trace.leaves - 1} segments and the payload, bit for bit", subject)
        else:
            self._compare(work, payload.decoded, known, subject)
        return state, payload.new_residual

    def _compare(self, work: Work, ours: F32, known: bool, subject: str) -> None:
        """Judge a replay that is not exact by the published payload."""
        if work.payload_cid is None:
            raise Incomplete("the payload was not counted, so that it is not published")
        theirs = self._published(work)
        rules, segments = self.config.verification, work.body.trace.leaves - 1
        apart = math.sqrt(norm2(theirs - ours) / (norm2(ours) or 1.0))
        ratio = abs(math.sqrt(norm2(theirs) / (norm2(ours) or 1.0)) - 1.0)
        near = apart <= segments * float(rules.tolerance_rel_l2)
        near = near and ratio <= segments * float(rules.tolerance_norm_ratio)
        measured = f"relative L2 {apart:.3g}, norm ratio off by {ratio:.3g}, in {segments} segments"
        if near or known:
            self._show(work.body.round, near)
            self.findings.expect(STEPS, near, f"the payload is not what these steps lead to: {measured}", subject)
        else:
            self.findings.unavailable(STEPS, f"its start is not known exactly; {measured}", subject)
        if near:
            self.findings.note(STEPS, f"not bit for bit, within the tolerance: {measured}", subject)

    def _show(self, number: int, right: bool) -> None:
        self.shown[number] = self.shown.get(number, True) and right

    def _published(self, work: Work) -> F32:
        parts = published_payload(self.store, self.layout, work.plan, work.body.index, str(work.payload_cid))
        return decoded_payload(parts, work.plan, self.layout)
