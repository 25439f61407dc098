"""Agreement on one report: the proposer of an attempt builds it, the others check every item and sign.

Nobody signs what it has not recomputed from its own documents. A signer signs at most one report for an epoch and
attempt, whatever crashes: the signature is on disk before anybody sees it, and so is the proposal that it belongs to.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from commonweight.audit.evidence import read_directory
from commonweight.chain.structs import EpochState
from commonweight.chain.types import Block
from commonweight.errors import FormatError, OracleError, RuleBroken
from commonweight.exact.offences import Context, check
from commonweight.protocol import creditslist
from commonweight.protocol.canonical import JsonObject, dumps, loads, loads_object
from commonweight.protocol.documents import Report
from commonweight.protocol.evidence import Evidence
from commonweight.protocol.evidence_check import Seed, check_evidence
from commonweight.protocol.keys import sign_digest
from commonweight.protocol.offences import Offence
from commonweight.protocol.records import Verdict
from oracle.db import Slot
from oracle.desk import Desk
from oracle.duties import attempt_at, proposer
from oracle.evaluating import Evaluating
from oracle.logs import logger
from oracle.offending import Offending
from oracle.packing import pack
from oracle.recount import OK, Recount
from oracle.replaying import Replaying
from oracle.report import Proposal, Reporting, ledger_holds, make_report
from oracle.seat import in_thread
from oracle.standings import Standings
from oracle.votes import ask_vote, vote_patience_s
from oracle.watch import View

_BLOCK_AGE = 200
_FEW_BLOCKS = 2
_FRESH_MS = 5_000


@dataclass(frozen=True)
class Agreed:
    """A report that a quorum has signed; signatures ascend by signer."""

    proposal: Proposal
    signatures: tuple[bytes, ...]


class Agreement:
    """Builds, checks and signs reports for one signer."""

    def __init__(
        self, desk: Desk, reporting: Reporting, recount: Recount, replaying: Replaying, offending: Offending,
        evaluating: Evaluating, standings: Standings,
    ) -> None:  # fmt: skip
        self._desk = desk
        self._seat = desk.seat
        self._reporting = reporting
        self._recount = recount
        self._replaying = replaying
        self._offending = offending
        self._evaluating = evaluating
        self._standings = standings
        self._credited: dict[bytes, list[int]] = {}
        self._log = logger("agree")

    # --- proposing -----------------------------------------------------------------------------------------------

    def turn(self) -> int | None:
        """The attempt for which this signer has to propose a report now, or None."""
        view, info = self._desk.view, self._desk.view.open_info
        if info is None or info.state != EpochState.CLOSED or view.head_info != info:
            return None
        attempt = attempt_at(self._seat.params, info, view.latest.timestamp)
        if attempt is None or not view.signers:
            return None
        mine = proposer(view.open_epoch, attempt, len(view.signers)) == view.position(self._seat.address)
        return attempt if mine else None

    async def propose(self, attempt: int) -> Agreed | None:
        """Build the report of this attempt and gather a quorum of signatures; None while it is too early, or in vain.

        Raises CommonweightError when something that is needed cannot be had.
        """
        view = self._desk.view
        proposal = await self._stored(view.open_epoch, attempt) or await self._fresh(view, attempt)
        if proposal is None:
            return None
        digest = proposal.report.digest(self._seat.domain)
        own = self._sign(proposal.report)
        self._remember(proposal.report, proposal.evidence)
        votes = {self._seat.address: own}
        files = proposal.evidence.files
        index_size, packed = await in_thread(lambda: pack(files))
        params: JsonObject = {"report": proposal.report.to_body(), "index_size": index_size}
        patience_s = vote_patience_s(len(files))
        asked = [
            asyncio.create_task(
                ask_vote(self._desk, peer, "propose", params, digest, timeout_s=patience_s, body=packed)
            )
            for peer in self._desk.peers
        ]
        try:
            for answer in asyncio.as_completed(asked):
                vote = await answer
                if vote is not None:
                    votes[vote[0]] = vote[1]
                if len(votes) >= view.quorum:
                    break
        finally:
            for task in asked:
                task.cancel()
        if len(votes) < view.quorum:
            self._log.warning("no quorum", epoch=proposal.report.epoch, attempt=attempt, votes=sorted(votes))
            return None
        return Agreed(proposal, tuple(votes[signer] for signer in sorted(votes)))

    def _rounds(self, view: View, attempt: int, credited: Collection[int]) -> list[int] | None:
        """The rounds to report, or None while it is worth waiting for more: half of this attempt at most."""
        ready, later = self._reporting.waiting(view.open_epoch, credited)
        info = view.open_info
        assert info is not None
        age = view.latest.timestamp - info.closed_at - attempt * self._seat.params.attempt_length
        return None if later and 2 * age < self._seat.params.attempt_length else ready

    async def _fresh(self, view: View, attempt: int) -> Proposal | None:
        """A new proposal, on disk and in the store before it is signed; None while it is worth waiting for rounds."""
        credited = await self.credited(view)
        rounds = self._rounds(view, attempt, credited)
        if rounds is None:
            return None
        if not ledger_holds(view):
            raise OracleError("the last final root does not follow from the published lists", "", "see docs/alerts.md")
        assert view.open_info is not None
        documents = await self._reporting.as_many_as_fit(rounds)
        rounds = list(documents)
        seeds = await self._seeds(rounds)
        evaluation = await self._evaluating.of(rounds, view.open_epoch)
        facts = await self._reporting.facts(view, view.open_epoch, rounds, credited, seeds)
        evidence, earned = await self._reporting.evidence(view.open_epoch, attempt, documents, evaluation, facts)
        cid = await in_thread(lambda: self._seat.store.put_directory(evidence.files))
        report, packed = make_report(view, view.open_info, evidence, str(cid), earned, attempt, view.finalized)
        self._seat.db.set_meta(f"proposal/{report.epoch}/{attempt}", dumps(report.to_body()).decode())
        return Proposal(report, evidence, packed)

    async def _stored(self, epoch: int, attempt: int) -> Proposal | None:
        """What was proposed for this attempt before, by this process or one that crashed: the first word stands."""
        kept = self._seat.db.get_meta(f"proposal/{epoch}/{attempt}")
        if kept is None:
            return None
        report = Report.from_body(loads(kept.encode()))
        evidence = await self._read(report.evidence_cid)
        return Proposal(report, evidence, packed_credits(evidence.credits))

    async def _read(self, cid: str) -> Evidence:
        """Published evidence. Raises StoreError when it cannot be had."""
        return await in_thread(lambda: Evidence.load(read_directory(self._desk.seat.store, cid)))

    # --- voting --------------------------------------------------------------------------------------------------

    async def vote(self, caller: str, body: JsonObject, files: Mapping[str, bytes]) -> bytes:
        """Check a proposal of another signer and sign it. Raises RuleBroken, or what else is wrong with it."""
        view, report = self._desk.view, Report.from_body(body)
        info = view.open_info
        if info is None or report.epoch != view.open_epoch or info.state != EpochState.CLOSED:
            raise RuleBroken("wrong-epoch", f"Epoch {report.epoch} is not open for reports here")
        attempt = attempt_at(self._seat.params, info, view.latest.timestamp)
        turn = proposer(report.epoch, report.attempt, len(view.signers))
        if attempt is None or abs(report.attempt - attempt) > 1 or view.position(caller) != turn:
            raise RuleBroken("wrong-attempt", f"{caller} has no turn", f"epoch {report.epoch}, {report.attempt}")
        evidence = await in_thread(lambda: Evidence.load(files))
        rounds = sorted(evidence.rounds)
        await self._check_evidence(view, report, evidence, rounds)
        await self._check_own(evidence, rounds)
        await self._check_order(view, rounds)
        await in_thread(lambda: self._pin(files, report))
        self._remember(report, evidence)
        return self._sign(report)

    async def _check_evidence(self, view: View, report: Report, evidence: Evidence, rounds: list[int]) -> None:
        """The evidence holds, and the report is what follows from it."""
        if not ledger_holds(view):
            raise RuleBroken("wrong-ledger", "The last final root does not follow from the published lists")
        assert view.open_info is not None
        credited = await self.credited(view)
        seeds = await self._seeds(rounds)
        facts = await self._reporting.facts(view, report.epoch, rounds, credited, seeds)
        blobs = {}
        for signed in evidence.offences:
            blobs[signed.digest] = await self._offending.blobs_of(Offence.from_body(signed.body))
        context = self._offending.context()
        proofs = {s.digest: (Offence.from_body(s.body), blobs[s.digest]) for s in evidence.offences}
        earned = await in_thread(lambda: check_evidence(evidence, facts, lambda o: _prove(o, proofs, context)))
        block = await in_thread(lambda: self._seat.run.chain.block(report.block_number))
        self._check_block(view, block)
        right, _ = make_report(
            view, view.open_info, evidence, report.evidence_cid, earned, report.attempt, block
        )  # fmt: skip
        if report != right:
            wrong = [name for name in report.__dataclass_fields__ if getattr(report, name) != getattr(right, name)]
            raise RuleBroken("wrong-report", "The report does not follow from its evidence", ", ".join(wrong))
        await self._evaluating.check(evidence.evaluation, rounds, report.epoch)

    def _check_block(self, view: View, block: Block) -> None:
        if not view.latest.number - _BLOCK_AGE <= block.number <= view.finalized.number + _FEW_BLOCKS:
            raise RuleBroken("wrong-block", f"Block {block.number} is too old, or not final")

    async def _check_own(self, evidence: Evidence, rounds: list[int]) -> None:
        """The records are those that were recomputed here, and nothing that this signer knows is left out: receipts,
        verdicts, other failures, proven offences; and whoever's payload is like another's was looked at.
        """
        present = {s.digest for s in evidence.offences}
        for number in rounds:
            await asyncio.sleep(0)  # many documents are read for each, and members wait for answers
            if self._recount.result(number) != OK:
                raise RuleBroken("not-recounted", f"Round {number} has not been recomputed here, or is wrong")
            record, shown = self._desk.rounds.record(number), evidence.rounds[number].record.digest
            if record is None or record.digest != shown:
                raise RuleBroken("wrong-record", f"The record of round {number} is not the one that counts here", shown)
            left_out = self._reporting.omitted(number)
            if left_out:
                why = f"providers {left_out}, whose receipted work is anchored"
                raise RuleBroken("omission", f"The record of round {number} leaves out commitments", why)
            verdicts = [Verdict.from_body(signed.body) for signed in evidence.rounds[number].verdicts]
            doubted = set(self._recount.alike(number)) - {v.index for v in verdicts if v.check == "structure"}
            if doubted:
                why = f"providers {sorted(doubted)}, whose payloads are like others"
                raise RuleBroken("unjudged-likeness", f"Nobody has said whether round {number} holds copies", why)
            given = {signed.digest for signed in evidence.rounds[number].verdicts}
            for verdict in self._own_or_failing(number):
                if verdict not in given:
                    raise RuleBroken("missing-verdict", f"A verdict on round {number} is left out", verdict)
        for signed in self._reporting.offences(rounds):
            accused = Offence.from_body(signed.body)
            if accused.index is None:  # there may be no room for it, and it decides no credits
                continue
            others = {(o.index, o.round) for o in (Offence.from_body(s.body) for s in evidence.offences)}
            if signed.digest not in present and (accused.index, accused.round) not in others:
                raise RuleBroken("missing-offence", f"A proven offence of provider {accused.index} is left out")

    async def _check_order(self, view: View, rounds: list[int]) -> None:
        """No round that stands here is passed over: the checkpoints of later ones follow from it."""
        known = {*rounds, *await self.credited(view)}
        for number in range(1, max(rounds, default=0)):
            if number in known or self._recount.result(number) != OK:
                continue
            await asyncio.sleep(0)
            if self._reporting.stands(number):
                raise RuleBroken("gap", f"Round {number} is passed over", f"round {max(rounds)} is reported")

    def _own_or_failing(self, number: int) -> Iterable[str]:
        """Verdicts that a report must not leave out: own ones and what others found failed.

        What came only just now is not asked for, so that nobody spoils a proposal with a late word; an own failure is.
        """
        before_ms = self._seat.now_ms() - _FRESH_MS
        for verdict in self._reporting.verdicts(number):
            own, failed = verdict.signer == self._seat.address, verdict.body.outcome != "pass"
            if (own and failed) or ((own or failed) and verdict.received_ms < before_ms):
                yield verdict.digest

    def _pin(self, files: Mapping[str, bytes], report: Report) -> None:
        """Keep the evidence here too; its CID must be the report's."""
        cid = self._seat.store.put_directory(dict(files))
        if str(cid) != report.evidence_cid:
            raise RuleBroken("wrong-evidence", "The evidence has another CID than the report names", str(cid))

    # --- shared ------------------------------------------------------------------------------------------------------

    def _sign(self, report: Report) -> bytes:
        """This signer's signature; EquivocationError when it has signed another report for this epoch and attempt."""
        digest = report.digest(self._seat.domain)
        slot = Slot(f"report/{report.epoch}/{report.attempt}")
        signature = self._seat.db.promise(slot, digest, lambda: sign_digest(digest, self._seat.key))
        self._desk.metrics.reports_signed.inc()
        self._log.info("signed", epoch=report.epoch, attempt=report.attempt, digest=digest.hex())
        return signature

    def _remember(self, report: Report, evidence: Evidence) -> None:
        """What later reports need of this one, before anything of it is signed."""
        digest = report.digest(self._seat.domain)
        self._seat.db.add_report(report.epoch, report.attempt, digest, sorted(evidence.rounds))
        self._standings.keep(digest, evidence.standing)

    async def credited(self, view: View) -> frozenset[int]:
        """Rounds of all reports that are final or pending. Reports that this signer has not seen are fetched."""
        rounds: list[int] = []
        for epoch, event in view.reports.items():
            if view.final.get(epoch, True) and epoch < view.open_epoch:
                known = self._credited.get(event.digest) or self._seat.db.report_rounds(epoch, event.digest)
                if known is None:
                    known = sorted((await self._read(event.report.evidence_cid)).rounds)
                    self._seat.db.add_report(epoch, event.attempt, event.digest, known)
                self._credited[event.digest] = known
                rounds += known
        return frozenset(rounds)

    async def _seeds(self, rounds: Iterable[int]) -> dict[int, Seed]:
        seeds: dict[int, Seed] = {}
        for number in rounds:
            plan = self._desk.rounds.plan(number)
            seed = None if plan is None else await self._replaying.seed(plan.body)
            if plan is not None and seed is not None:
                seeds[plan.body.anchor_by_ms // 1000] = seed
        return seeds


def _prove(offence: Offence, proofs: Mapping[str, tuple[Offence, Mapping[str, bytes]]], context: Context) -> None:
    for known, blobs in proofs.values():
        if known == offence:
            check(offence, blobs, context)
            return
    raise RuleBroken("unproven", "An offence has no proof")


def packed_credits(itemised: bytes) -> bytes:
    """The packed list for calldata out of credits.json."""
    credited = loads_object(itemised, 2**26).get("credited")
    if not isinstance(credited, dict):
        raise FormatError("credits.json lists no credits")
    return creditslist.encode({int(index): int(str(amount)) for index, amount in credited.items()})
