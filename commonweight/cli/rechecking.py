"""`commonweight audit recheck`: what a provider was credited for in an epoch, verified again from the published files.

This is what signers do when somebody doubts credits, and the same command for everybody: the evidence is checked, the
credits that follow from it are compared with the listed ones, and every step of every round is executed again.
"""

from __future__ import annotations

from collections.abc import Sequence

from commonweight.audit.epochs import Reported
from commonweight.audit.evidence import CREDITS, EvidenceAudit, read_config
from commonweight.audit.findings import AuditReport, Findings
from commonweight.audit.settings import AuditSettings, Progress, quiet
from commonweight.audit.verify import Opened, check_evidence_of_run, opened
from commonweight.cli.provider import index_named
from commonweight.cli.replaying import DATA, PRIVATE, STEPS, Replayer, chain_to, training_data, works_of
from commonweight.errors import UsageError
from commonweight.protocol.dispute_documents import INCOMPLETE, REFUTED, VERIFIED, JudgedRound, Judgement
from commonweight.protocol.evidence import Evidence
from commonweight.protocol.fields import hex32
from commonweight.protocol.records import Record
from commonweight.protocol.standing import Standing
from commonweight.store import ContentStore, open_store
from trainer.engine import PLAIN, Engine


def recheck_credits(
    settings: AuditSettings, provider: str, epoch: int, progress: Progress = quiet, engine: Engine = PLAIN
) -> tuple[AuditReport, Judgement]:
    """Verify a provider's (index or account) credits of an epoch again.

    Raises UsageError when the epoch has no report that counts, ChainError when no node answers.
    """
    store = open_store(settings.store, make=False)
    try:
        with opened(settings, progress) as audit:
            index = index_named(audit.run, provider)
            findings = Findings()
            listed, earned, rounds = _evidence(audit, store, index, epoch, findings, progress)
            judged: tuple[JudgedRound, ...] = ()
            if rounds and listed:
                judged = _replay(audit, settings, store, index, rounds, findings, progress, engine)
            judgement = Judgement.of(audit.run.address, epoch, index, listed, earned, judged)
            if earned is not None:
                findings.expect(
                    CREDITS, listed <= earned, f"{listed} are listed, the evidence gives {earned}", "credits"
                )
            return audit.report("recheck", findings), judgement
    finally:
        store.close()


def _evidence(
    audit: Opened, store: ContentStore, index: int, epoch: int, findings: Findings, progress: Progress
) -> tuple[int, int | None, list[int]]:
    """(listed credits, credits by the evidence, rounds in which the provider was counted)."""
    replay = audit.replay(Findings())
    reports = [reported for reported in replay.final_reports() if reported.event.epoch <= epoch]
    if not reports or reports[-1].event.epoch != epoch or reports[-1].listed is None:
        raise UsageError(
            f"Epoch {epoch} has no report that counts.", "It is not reported, or void.", "`commonweight run show`"
        )
    listed = reports[-1].listed.get(index, 0)
    counted = dict[int, bool]()  # by round, of the latest evidence that has it
    epochs = dict[int, int]()

    def look(e: int, of_it: Evidence) -> None:
        for number, files in of_it.rounds.items():
            counted[number] = Record.from_body(files.record.body).counted_member(index) is not None
            epochs[number] = e

    evidence = check_evidence_of_run(audit, replay, store, findings, progress, epoch, look)
    if evidence is None:
        return listed, None, []
    kept, credited = evidence.kept.get(epoch), evidence.credited.get(epoch)
    named = hex32(reports[-1].event.report.evidence_sha256)
    if kept is None or credited is None or kept.sha256 != named:
        return listed, None, []
    since = _since(evidence, reports, epoch, index)
    rounds = [number for number in sorted(counted) if counted[number] and epochs[number] >= since]
    return listed, credited.get(index, 0), rounds


def _since(evidence: EvidenceAudit, reports: Sequence[Reported], epoch: int, index: int) -> int:
    """The epoch of the oldest credits that the list of `epoch` may hold: carried ones come from earlier rounds."""
    earlier = [r.event.epoch for r in reports if r.event.epoch < epoch and r.event.epoch in evidence.kept]
    if not earlier:
        return epoch
    member = Standing.load(evidence.kept[max(earlier)].standing).members.get(index)
    return epoch if member is None or member.since < 0 else member.since


def _replay(
    audit: Opened, settings: AuditSettings, store: ContentStore, index: int, rounds: list[int], findings: Findings,
    progress: Progress, engine: Engine,
) -> tuple[JudgedRound, ...]:  # fmt: skip
    """Do all rounds again, each with those whose state it continues. On private shards nobody can."""
    config = read_config(audit.run, store)
    if config.private:
        findings.unavailable(DATA, PRIVATE)
        return tuple(JudgedRound(number, INCOMPLETE) for number in rounds)
    works = works_of(audit, store, index, findings)
    shown: dict[int, bool] = {}
    with findings.checking(DATA), training_data(config, store, settings.data_dir) as corpus:
        replayer = Replayer(config, store, corpus, findings, engine, shown)
        done: set[int] = set()
        for number in reversed(rounds):  # the last one's chain has the others in it, where the state goes on
            if number in done:
                continue
            with findings.checking(STEPS, f"round {number}"):
                chain = chain_to(works, index, number)
                replayer.run_through(chain, progress)
                done |= {work.body.round for work in chain}
    outcomes = {True: VERIFIED, False: REFUTED, None: INCOMPLETE}
    return tuple(JudgedRound(number, outcomes[shown.get(number)]) for number in rounds)
