"""`commonweight audit scores`: the contribution scores that evidence holds, measured again from the published files.

A score is what one signer's machine made of a payload, and the others sign it unmeasured when it passes: numbers that
fit their outcome can be false. Whoever has the base, the round's payloads and the data can measure them, and does here
what the signer says it did. A loss is float32 arithmetic of a model, which machines of different kinds do in different
orders, so the figures are compared within a tolerance: `loss_tolerance_micro` of the run, and a thousandth of what was
measured, as a payload that ruins the model has losses of thousands of nats. On the same kind of machine they are equal.
The held-out loss that the report attests is measured again, too, unless only one round or provider is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from commonweight.audit.evidence import EvidenceAudit
from commonweight.audit.findings import AuditReport, Findings
from commonweight.audit.lineage import load_checkpoint
from commonweight.audit.payloads import PublishedPayload
from commonweight.audit.replay import Replay
from commonweight.audit.settings import AuditSettings, Progress, quiet
from commonweight.audit.verify import check_evidence_of_run, opened
from commonweight.cli.provider import index_named
from commonweight.cli.replaying import DATA, decoded_payload, training_data
from commonweight.errors import UsageError
from commonweight.exact.layout import Layout
from commonweight.exact.round import recompute_round
from commonweight.protocol.contribution import PrivateScores, Scores, judge, tolerances
from commonweight.protocol.evidence import Evidence, RoundFiles
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.records import Plan, Record, Verdict
from commonweight.protocol.runconfig import RunConfig
from commonweight.store import ContentStore, open_store
from trainer.data import Corpus
from trainer.engine import PLAIN, Engine
from trainer.evaluate import heldout_loss_micro
from trainer.inner import InnerOptimizer, configure_torch
from trainer.scoring import Update, score

SCORES, LOSS = "scores-measured", "loss-measured"
CHECK = "contribution"


@dataclass(frozen=True)
class Measured:
    """A published score beside the one that was measured here."""

    verdict: Verdict
    scores: Scores | PrivateScores
    agrees: bool

    def to_json(self) -> dict[str, object]:
        """The entry of `scores` that `--json` prints."""
        said = self.verdict
        return {
            "round": said.round, "index": said.index, "signer": said.signer, "outcome": said.outcome,
            "agrees": self.agrees, "published": dict(said.scores), "measured": dict(self.scores.named()),
        }  # fmt: skip


def rescore(
    settings: AuditSettings, epoch: int | None = None, number: int | None = None, provider: str | None = None,
    progress: Progress = quiet, engine: Engine = PLAIN,
) -> tuple[AuditReport, list[Measured]]:  # fmt: skip
    """Measure the scores of an epoch's report again, by default the last one's; of one round and provider if named. If
    none is, the loss that it attests, too.

    Raises UsageError for an epoch or a round that no report that counts has, ChainError when no node answers.
    """
    store = open_store(settings.store, make=False)
    try:
        with opened(settings, progress) as audit:
            findings, made = Findings(), list[Measured]()
            index = None
            if provider is not None:
                index = index_named(audit.run, provider)
            replay = audit.replay(Findings())
            last = _last(replay, epoch)
            found = dict[int, Evidence]()

            def choose(e: int, of_it: Evidence) -> None:
                if e == last or (epoch is None and number in of_it.rounds):
                    found[e] = of_it

            evidence = check_evidence_of_run(audit, replay, store, findings, progress, last, choose)
            rounds = {} if evidence is None else _rounds(evidence, found, replay, epoch, number, findings)
            attested = evidence is not None and number is None and index is None and last in evidence.credited
            if evidence is not None and (attested or any(_scored(files, index) for files in rounds.values())):
                with findings.checking(DATA), training_data(evidence.config, store, settings.data_dir) as corpus:
                    findings.expect(DATA, True, "")
                    scorer = Rescorer(evidence.config, store, corpus, findings, engine)
                    for done, files in enumerate(rounds.values()):
                        progress("measuring scores", done, len(rounds))
                        made += scorer.round(files, index)
                    if attested:
                        scorer.loss(found[last])
            return audit.report("scores", findings), made
    finally:
        store.close()


def _last(replay: Replay, epoch: int | None) -> int:
    """The epoch up to which evidence is needed."""
    epochs = [reported.event.epoch for reported in replay.final_reports()]
    if not epochs or (epoch is not None and epoch not in epochs):
        which = "The run" if epoch is None else f"Epoch {epoch}"
        raise UsageError(
            f"{which} has no report that counts.", "It is not reported, or void.", "`commonweight run show`"
        )
    return epochs[-1] if epoch is None else epoch


def _rounds(
    evidence: EvidenceAudit, found: Mapping[int, Evidence], replay: Replay, epoch: int | None, number: int | None,
    findings: Findings,
) -> dict[int, RoundFiles]:  # fmt: skip
    """The rounds to look at, ascending, in evidence that holds: its draws and documents are right."""
    epochs = [reported.event.epoch for reported in replay.final_reports()]
    if epoch is not None or number is None:
        epochs = [epochs[-1] if epoch is None else epoch]
    for e in epochs:
        if e not in evidence.credited:
            findings.unavailable(SCORES, "its evidence does not hold, or cannot be had", f"epoch {e}")
    holding = [found[e] for e in epochs if e in evidence.credited and e in found]
    rounds = {n: files for each in holding for n, files in each.rounds.items()}
    if number is not None and number not in rounds and all(e in evidence.credited for e in epochs):
        where = "any report that counts" if epoch is None else f"the evidence of epoch {epoch}"
        raise UsageError(f"Round {number} is not in {where}.", "", "`commonweight run show` tells the epochs.")
    chosen = {n: rounds[n] for n in sorted(rounds) if number in (None, n)}
    for n in chosen:
        findings.seen(SCORES, f"round {n}")
    return chosen


def _scored(files: RoundFiles, index: int | None) -> list[Verdict]:
    verdicts = [Verdict.from_body(signed.body) for signed in files.verdicts]
    return [v for v in verdicts if v.check == CHECK and index in (None, v.index)]


@dataclass
class Rescorer:
    """Measures rounds' scores; what it finds goes into `findings` under the round's name."""

    config: RunConfig
    store: ContentStore
    corpus: Corpus
    findings: Findings
    engine: Engine = PLAIN
    layout: Layout = field(init=False)
    optimizer: InnerOptimizer = field(init=False)

    def __post_init__(self) -> None:
        self.layout = Layout.from_model(self.config.model)
        self.optimizer = InnerOptimizer(self.config, self.engine)

    def round(self, files: RoundFiles, index: int | None) -> list[Measured]:
        """All scores of a round, or one member's, measured again."""
        verdicts, subject = _scored(files, index), f"round {Record.from_body(files.record.body).round}"
        made: list[Measured] = []
        if verdicts:
            with self.findings.checking(SCORES, subject):
                found = self._measure(files, {v.index: digest_bytes(v.seed_hash) for v in verdicts})
                made = [self._compare(verdict, found[verdict.index], subject) for verdict in verdicts]
        return made

    def loss(self, evidence: Evidence) -> None:
        """The held-out loss of the checkpoint that an epoch's report attests, measured again."""
        said, subject = evidence.evaluation, f"epoch {evidence.epoch}"
        with self.findings.checking(LOSS, subject):
            checkpoint = load_checkpoint(self.store, self.layout, said.checkpoint, said.checkpoint_cid)
            configure_torch(self.config.training.threads)
            with self.engine.watched():
                self.optimizer.model.load_flat(checkpoint.weights)
                loss, tokens = heldout_loss_micro(self.optimizer.model, self.corpus, self.config)
            self.findings.equal(LOSS, "the tokens that it is measured on", said.tokens, tokens, subject)
            near = abs(said.loss_micro - loss) <= max(self.config.verification.loss_tolerance_micro, loss // 1000)
            self.findings.expect(LOSS, near, f"loss_micro is {said.loss_micro}, measured {loss}", subject)

    def _measure(self, files: RoundFiles, seeds: Mapping[int, bytes]) -> dict[int, Scores | PrivateScores]:
        plan, record = Plan.from_body(files.plan.body), Record.from_body(files.record.body)
        base = load_checkpoint(self.store, self.layout, plan.base, plan.base_cid)
        payloads = {
            entry.index: PublishedPayload(self.store, self.layout, plan, entry.index, entry.payload_cid)
            for entry in record.counted
        }
        parts = recompute_round(self.config, plan, record, base, payloads).parts
        reference = np.concatenate([part.x for part in parts])
        configure_torch(self.config.training.threads)
        steps = {entry.index: entry.steps for entry in record.counted}
        with self.engine.watched():
            return {
                index: score(
                    self.optimizer.model, self.corpus, self.config, plan, index, steps[index], seed,
                    Update(base.weights, decoded_payload(payloads[index], plan, self.layout), reference),
                )
                for index, seed in sorted(seeds.items())
            }  # fmt: skip

    def _compare(self, verdict: Verdict, measured: Scores | PrivateScores, subject: str) -> Measured:
        rule = self.config.verification
        ours, allowed = dict(measured.named()), dict(tolerances(measured, rule))
        apart = {name: abs(value - ours[name]) for name, value in verdict.scores}
        beyond = [
            f"{name} is {value}, measured {ours[name]}" for name, value in verdict.scores if apart[name] > allowed[name]
        ]
        who, reason = f"provider {verdict.index} by signer {verdict.signer}", judge(measured, rule)
        agrees = self.findings.expect(
            SCORES, not beyond, f"{who}: {', '.join(beyond)}{_turned(verdict, reason)}", subject
        )
        if agrees:
            worst = max(apart.values())
            self.findings.note(SCORES, f"{who}: {'equal' if worst == 0 else f'within {worst} micro-nats'}", subject)
        return Measured(verdict, measured, agrees)


def _turned(verdict: Verdict, reason: str) -> str:
    """What else the outcome would be."""
    ours = "fail" if reason else "pass"
    return "" if ours == verdict.outcome else f", so that it is a {ours}{f' ({reason})' if reason else ''}"
