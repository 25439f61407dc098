"""From verified rounds to a report: which rounds are ready, their evidence, credits, leaves, and the report's fields.

Everything is a function of documents, the finalised chain and the credit rule of `commonweight.protocol`: whoever has
the same documents builds the same bytes.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from commonweight.chain.structs import EpochInfo
from commonweight.chain.types import Block
from commonweight.errors import OracleError
from commonweight.protocol import creditslist
from commonweight.protocol.canonical import dumps
from commonweight.protocol.capacity import EVIDENCE_BYTES, EVIDENCE_FILES
from commonweight.protocol.credits import EpochCredits, wage_scaled
from commonweight.protocol.documents import Report, Signed
from commonweight.protocol.evidence import AnchoredRoot, Evaluation, Evidence, RoundFiles, commitment_path, heard
from commonweight.protocol.evidence_check import Facts, Seed, credits_of, leaves_of, standing_of
from commonweight.protocol.fields import digest_bytes, hex32, lower_address
from commonweight.protocol.offences import Offence
from commonweight.protocol.records import Counted, LeftOut, Plan, Result, Verdict
from commonweight.protocol.structure import receipt_in_time
from commonweight.protocol.sumtree import SumTree, depth_for
from oracle.desk import Desk
from oracle.logs import logger
from oracle.recount import OK, Recount
from oracle.rounds import Doc
from oracle.scoring import drawn_scores, scores_settled
from oracle.seat import in_thread
from oracle.standings import Standings
from oracle.verdicts import fitting, kept_seed
from oracle.watch import View

SIGNERS_LIES_BYTES = EVIDENCE_BYTES // 16
"""Of what evidence can hold, how much offences of signers may take."""


@dataclass(frozen=True)
class Proposal:
    """A report with the evidence behind it; `credits` is the packed list that goes into calldata."""

    report: Report
    evidence: Evidence
    credits: bytes

    @property
    def rounds(self) -> list[int]:
        """The rounds that it credits."""
        return sorted(self.evidence.rounds)


class Reporting:
    """Reads this signer's documents as evidence."""

    def __init__(self, desk: Desk, recount: Recount, standings: Standings) -> None:
        self._desk = desk
        self._seat = desk.seat
        self._recount = recount
        self._standings = standings
        self._log = logger("report")

    # --- which rounds ------------------------------------------------------------------------------------------------

    def waiting(self, epoch: int, credited: Collection[int]) -> tuple[list[int], list[int]]:
        """(ready, not yet) of the rounds up to an epoch that no report has credited.

        Reports take rounds in order: one that is not ready holds back those after it, so that a report's checkpoint
        never stands on a round whose record is not published yet. One whose record leaves work out, or has links that
        nobody has measured, is passed over; of the latter, results may still come until its epoch is reported.
        """
        ready: list[int] = []
        later: list[int] = []
        last = self._seat.db.last_round(Plan.KIND)
        for number in range(1, last + 1):
            plan = None if number in credited else self._desk.rounds.plan(number)
            if plan is None or plan.body.epoch > epoch:
                continue
            result = self._recount.result(number)
            if result == OK and self._checked(plan) and not later:
                if self.stands(number):
                    ready.append(number)
                elif not self.omitted(number) and self._has_places(number) and plan.body.epoch == epoch:
                    later.append(number)
            elif result is None or result == OK:
                later.append(number)
        return ready, later

    def omitted(self, number: int) -> list[int]:
        """Members whom the record of a round does not name with the commitment that it owed them: anchored on the
        finalised chain, and receipted in time by the coordinator or by more than half of the signers in office at the
        draw. So everybody finds who has the same documents; a single signer, which may have shown its receipt when the
        record was out, decides nothing. Who has committed twice is named by either, and could not have two places.
        """
        record, plan = self._desk.rounds.record(number), self._desk.rounds.plan(number)
        if record is None or plan is None:
            return []
        entries: list[Counted | LeftOut] = [*record.body.counted, *record.body.refused, *record.body.missing]
        named = {entry.commitment for entry in entries if entry.commitment is not None}
        in_time = [r for r in self._desk.rounds.receipts(number) if receipt_in_time(r.body, plan.body)]
        seed, view = kept_seed(self._seat.db, plan.body), self._desk.view
        office = set(view.offices.at(view.finalized.number if seed is None else seed.block))

        def owed(commitment: str) -> bool:
            by = {receipt.signer for receipt in in_time if receipt.body.commitment == commitment}
            return plan.signer in by or 2 * len(by & office) > len(office)

        anchored = self._desk.rounds.anchored(number, self._desk.rounds.finalized_roots(number))
        placed = {anchored[digest].body.index for digest in named & anchored.keys()}
        return sorted({c.body.index for digest, c in anchored.items() if c.body.index not in placed and owed(digest)})

    def stands(self, number: int) -> bool:
        """Whether a recomputed round's record can be credited: it leaves out nobody, counts nobody whose work no signer
        has receipted in time, and its links were measured; and evidence has a place for all that is anchored.
        """
        sound = not self.omitted(number) and self._receipted(number) and self._heard(number) is not None
        return sound and self._has_places(number)

    def _has_places(self, number: int) -> bool:
        """Whether all anchored commitments have files of their own. Who looks for long finds two with equal names, and
        has a corrupt signer anchor both: no evidence with that round would ever hold.
        """
        anchored = self._desk.rounds.anchored(number, self._desk.rounds.finalized_roots(number)).values()
        return len({commitment_path(number, c.signed) for c in anchored}) == len(anchored)

    def _receipted(self, number: int) -> bool:
        record, plan = self._desk.rounds.record(number), self._desk.rounds.plan(number)
        if record is None or plan is None:
            return False
        receipted = self._desk.rounds.receipted(plan)
        return all(entry.commitment in receipted for entry in record.body.counted)

    def _heard(self, number: int) -> list[Doc[Result]] | None:
        """The results that a record's links follow from; None when they follow from none that are known here."""
        record, plan = self._desk.rounds.record(number), self._desk.rounds.plan(number)
        known = [] if plan is None else self._desk.rounds.results(plan)
        chosen = None if record is None else heard([result.body for result in known], record.body)
        return None if chosen is None else [result for result in known if result.body in chosen]

    def _checked(self, plan: Doc[Plan]) -> bool:
        """Whether a round's structure is judged, every drawn replay has a verdict, and none is still open to doubt."""
        number = plan.body.round
        if min(int(self._seat.db.get_meta(step) or "0") for step in ("drawn", "judged")) < number:
            return False
        verdicts = [v.body for v in fitting(self._desk, number)]
        for draw in self._seat.db.draws(number):
            made = {
                v.signer: v.outcome
                for v in verdicts
                if v.index == draw.member and v.segment is not None and v.segment.start == draw.segment
            }
            passed = sum(outcome == "pass" for outcome in made.values())
            undecided = 2 * max(passed, len(made) - passed) <= len(self._desk.view.signers)
            if not made or (passed < len(made) and undecided and draw.state == "wanted"):
                return False
        seed = kept_seed(self._seat.db, plan.body)
        return seed is not None and scores_settled(self._desk, number, seed)

    async def as_many_as_fit(self, rounds: list[int]) -> dict[int, RoundFiles]:
        """The documents of the first of these rounds, as many as one report's evidence can hold; the others are for the
        next report.
        """
        found: dict[int, RoundFiles] = {}
        files = size = 0
        for number in rounds:
            await asyncio.sleep(0)  # many documents are read for each, and members wait for answers
            documents, proven = self._round(number), self._proven([number], members=True)
            more = documents.size
            files, size = files + more[0] + len(proven), size + more[1] + sum(len(s.to_bytes()) for s in proven)
            if found and (files > EVIDENCE_FILES or size > EVIDENCE_BYTES):
                self._log.warning("more rounds wait than a report can credit", waiting=len(rounds), credited=len(found))
                break
            found[number] = documents
        return found

    # --- evidence ----------------------------------------------------------------------------------------------------

    async def facts(
        self, view: View, epoch: int, rounds: Sequence[int], credited: Collection[int], seeds: Mapping[int, Seed]
    ) -> Facts:
        """What the chain says about these rounds, for `check_evidence`, copied out of the database.

        `seeds` by the second at which an anchor window ends. Raises StoreError when an earlier report's evidence cannot
        be had.
        """
        blocks = {seed.block for seed in seeds.values()}
        at = {block: await self._standings.at(view, block) for block in sorted(blocks)}
        before = await self._standings.before(view, epoch)
        params, db, closed = self._seat.params, self._seat.db, view.closed[epoch]
        roots = {n: {(a.deadline, hex32(a.root)) for a in db.anchors(round_=n) if a.root != bytes(32)} for n in rounds}
        records = {n: tuple(hex32(anchor.record_hash) for anchor in db.record_anchors(n)) for n in rounds}
        return Facts(
            domain=self._seat.domain, run=self._seat.campaign, config=self._seat.config, epoch_of=params.epoch_of,
            anchor_window=params.anchor_window, offices=view.offices,
            keys=lambda index: view.keys.get(index, frozenset()),
            roots=lambda number: roots.get(number, set()), records_of=lambda number: records.get(number, ()),
            seed=seeds.get, credited=credited, attested=view.attested(epoch), leaves=view.leaves,
            accounts={i: lower_address(p.account) for i, p in enumerate(view.providers)}, acc=closed.acc,
            wage_of=lambda n: wage_scaled(params.wage_per_credit, closed.unlocked_escrow, params.oracle_bps, n),
            cap=view.credits_limit, standing=before, standing_at=at.__getitem__, stakes=view.staked,
            exposed=self._standings.exposed(view, epoch),
        )  # fmt: skip

    async def evidence(
        self, epoch: int, attempt: int, files: Mapping[int, RoundFiles], evaluation: Evaluation, facts: Facts
    ) -> tuple[Evidence, EpochCredits]:
        """The evidence of these rounds, with what it earns."""
        offences, anchors = self.offences(list(files)), self._anchors(list(files))
        return await in_thread(lambda: self._evidence(epoch, attempt, files, offences, anchors, evaluation, facts))

    def _evidence(
        self, epoch: int, attempt: int, files: Mapping[int, RoundFiles], offences: tuple[Signed, ...],
        anchors: tuple[AnchoredRoot, ...], evaluation: Evaluation, facts: Facts,
    ) -> tuple[Evidence, EpochCredits]:  # fmt: skip
        """Blocks, as all these documents are read and hashed."""
        offenders: dict[int, frozenset[int]] = {}
        for signed in offences:
            offence = Offence.from_body(signed.body)
            if offence.index is not None:
                offenders[offence.round] = offenders.get(offence.round, frozenset()) | {offence.index}
        draft = Evidence(
            self._seat.campaign, epoch, attempt, self._seat.config_bytes, files, anchors, offences, evaluation,
            b"", (), b"",
        )  # fmt: skip
        earned = credits_of(draft, facts, offenders)
        whole = Evidence(
            draft.run, epoch, attempt, draft.config, files, draft.anchors, offences, evaluation,
            dumps(earned.to_json()), leaves_of(earned, facts), standing_of(earned, facts).to_bytes(),
        )  # fmt: skip
        return whole, earned

    def offences(self, rounds: Sequence[int]) -> tuple[Signed, ...]:
        """Proven offences in these rounds, one document each: all of members, and of signers as far as there is room.
        What signers are guilty of decides no credits, and one alone could fill all evidence with it.
        """
        found, room = self._proven(rounds, members=True), SIGNERS_LIES_BYTES
        for signed in self._proven(rounds, members=False):
            if (size := len(signed.to_bytes())) <= room:
                found, room = [*found, signed], room - size
        return tuple(sorted(found, key=lambda signed: signed.digest))

    def _proven(self, rounds: Sequence[int], *, members: bool) -> list[Signed]:
        """Offences of members, or of signers, ascending by digest."""
        found: dict[str, Signed] = {}
        for number in rounds:
            for row in self._seat.db.documents(Offence.KIND, round_=number):
                if (row.member >= 0) == members:
                    signed = Signed.from_bytes(row.signed)
                    found.setdefault(signed.digest, signed)
        return [found[digest] for digest in sorted(found)]

    def _round(self, number: int) -> RoundFiles:
        plan, record = self._desk.rounds.plan(number), self._desk.rounds.record(number)
        if plan is None or record is None:
            raise OracleError(f"round {number} has no plan or no record here")
        anchored = self._desk.rounds.anchored(number, self._desk.rounds.finalized_roots(number))
        receipts = [r for r in self._desk.rounds.receipts(number) if r.body.commitment in anchored]
        manifest = self._desk.checkpoints.manifest(record.body.checkpoint) if record.body.counted else None
        return RoundFiles(
            plan.signed, record.signed, tuple(c.signed for c in anchored.values()),
            tuple((r.signer, r.signed) for r in receipts),
            tuple(r.signed for r in self._heard(number) or ()),
            tuple(v.signed for v in self.verdicts(number)), manifest,
        )  # fmt: skip

    def verdicts(self, number: int) -> list[Doc[Verdict]]:
        """Verdicts that belong into a report: on structure, drawn replays and drawn scores, if they can stand there."""
        plan = self._desk.rounds.plan(number)
        seed = None if plan is None else kept_seed(self._seat.db, plan.body)
        drawn = {(draw.member, draw.segment) for draw in self._seat.db.draws(number)}
        scored = {draw.index for draw in drawn_scores(self._desk, number, seed)}
        return [
            v
            for v in fitting(self._desk, number)
            if (v.body.segment is None or (v.body.index, v.body.segment.start) in drawn)
            and (v.body.check != "contribution" or v.body.index in scored)
        ]

    def _anchors(self, rounds: Sequence[int]) -> tuple[AnchoredRoot, ...]:
        found: dict[tuple[int, str], AnchoredRoot] = {}
        for number in rounds:
            plan, roots = self._desk.rounds.plan(number), self._desk.rounds.finalized_roots(number)
            for anchor in self._desk.rounds.explained(plan) if plan else ():
                body = anchor.body
                if digest_bytes(body.root) in roots:
                    entry = AnchoredRoot(number, body.deadline, body.root, body.commitments)
                    found[(number, body.root)] = entry
        return tuple(found[key] for key in sorted(found))


def make_report(
    view: View, info: EpochInfo, evidence: Evidence, evidence_cid: str, earned: EpochCredits, attempt: int, block: Block
) -> tuple[Report, bytes]:
    """The report that follows from checked evidence, and its packed credits list."""
    packed = creditslist.encode(dict(earned.credited))
    depth = depth_for(info.provider_count, view.depth)
    tree = SumTree(evidence.leaves, depth)
    report = Report(
        config_digest=view.config_digest, epoch=evidence.epoch, attempt=attempt, prev_root=view.ledger.root,
        root=tree.root, sum=tree.sum, depth=depth, epoch_credits=sum(earned.credited.values()),
        credits_hash=creditslist.list_hash(packed), evidence_cid=evidence_cid,
        evidence_sha256=digest_bytes(evidence.sha256), checkpoint=digest_bytes(evidence.evaluation.checkpoint),
        checkpoint_cid=evidence.evaluation.checkpoint_cid, round=evidence.evaluation.round,
        loss_micro=evidence.evaluation.loss_micro, block_number=block.number, block_hash=block.hash,
    )  # fmt: skip
    return report, packed


def ledger_holds(view: View) -> bool:
    """Whether the last final root on chain is the one that the published lists give: if not, nothing can be built."""
    tree = SumTree(view.leaves, view.depth)
    return not view.ledger.any or (tree.root, tree.sum) == (view.ledger.root, view.ledger.sum)
