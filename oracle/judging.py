"""Verdicts on structure: what recomputing a round found wrong with its members, signed.

Everybody who recomputes a round finds the same, so a verdict is signed only where something is wrong, or where another
signer says that something is and this one finds nothing: then the false word is outvoted.

A payload that is like another may be a copy, or honest work on text that repeats itself. Every signer has its member
show a segment and replays that: the steps tell. Where the shards are private there is nothing to replay, and likeness
itself decides.
"""

from commonweight.protocol.draws import doubted_segment
from commonweight.protocol.evidence_check import Seed
from commonweight.protocol.fields import hex32
from commonweight.protocol.records import Commitment, Plan, Verdict
from oracle.db import Draw
from oracle.desk import Desk
from oracle.logs import logger
from oracle.recount import OK, Recount
from oracle.replaying import Replaying
from oracle.rounds import Doc
from oracle.verdicts import fitting

_LOOK_BACK = 64


class Judging:
    """Signs verdicts of kind structure."""

    def __init__(self, desk: Desk, recount: Recount, replaying: Replaying) -> None:
        self._desk = desk
        self._seat = desk.seat
        self._recount = recount
        self._replaying = replaying
        self._answered = -1
        self._log = logger("structure")

    async def step(self) -> bool:
        """Judge the next recomputed round, or answer others' doubts. Returns whether there was a next one."""
        number = int(self._seat.db.get_meta("judged") or "0") + 1
        plan, result = self._desk.rounds.plan(number), self._recount.result(number)
        if result is None:
            await self._answer_doubts(number)
            return False
        if plan is not None and result == OK and not await self._judge(plan):
            return False
        self._seat.db.set_meta("judged", str(number))
        return True

    async def _judge(self, plan: Doc[Plan]) -> bool:
        """Say all that there is to say about a recomputed round; False while it is too early."""
        seed = await self._replaying.seed(plan.body)
        if seed is None:
            return False
        for index, reason in self._recount.findings(plan.body.round).items():
            self._sign(plan, seed, index, "fail", reason)
        return await self._alike(plan, seed)

    async def _alike(self, plan: Doc[Plan], seed: Seed) -> bool:
        """Say of every payload that is like another whether it is a copy; False while a member still has to show.

        A state that is not shown in time speaks against the member. Once the round is behind a final report nobody is
        asked any more: members need not keep such states, and a signer that catches up would blame them for it. A round
        that its epoch's report did without is still to be judged, however long that epoch is final. Raises WorkerError
        when this signer cannot replay.
        """
        if plan.body.round <= self._desk.view.reported_round:
            return True
        number, position = plan.body.round, self._desk.view.position(self._seat.address)
        alike, waits = self._recount.alike(number), False
        said = [v.body for v in self._desk.rounds.verdicts(number) if v.body.check == "structure"]
        mine = {v.index for v in said if v.signer == self._seat.address}
        for index, copy in alike.items():
            if index in mine:
                continue
            if self._seat.config.private:
                self._sign(plan, seed, index, "fail", copy.reason)
                continue
            segment = doubted_segment(seed.hash, number, index, self._segments(number, index))
            draw = Draw(number, index, segment, position, seed.block, seed.hash, "wanted")
            found = await self._replaying.aside(draw)
            if found is None:
                waits = True
            elif found.outcome == "pass":
                self._sign(plan, seed, index, "pass", copy.cleared)
            else:
                self._sign(plan, seed, index, "fail", f"{copy.reason}: {found.reason or found.outcome}")
        return not waits

    def _segments(self, number: int, index: int) -> int:
        record = self._desk.rounds.record(number)
        entry = None if record is None else record.body.counted_member(index)
        assert entry is not None
        commitment = self._desk.rounds.by_digest(Commitment, entry.commitment)
        assert commitment is not None
        return commitment.body.trace.leaves - 1

    async def _answer_doubts(self, before: int) -> None:
        """Say `pass` where others say `fail` about the structure of work that was found right here."""
        newest = self._seat.db.last_seq()
        if newest == self._answered:
            return
        for number in range(max(1, before - _LOOK_BACK), before):
            plan, result = self._desk.rounds.plan(number), self._recount.result(number)
            made = [v.body for v in fitting(self._desk, number) if v.body.check == "structure"]
            mine = {v.index for v in made if v.signer == self._seat.address}
            own = mine | set(self._recount.findings(number)) | set(self._recount.alike(number))
            doubted = {v.index for v in made if v.outcome != "pass"} - own
            seed = await self._replaying.seed(plan.body) if plan is not None and doubted else None
            if plan is not None and seed is not None and result == OK:
                for index in sorted(doubted):
                    self._sign(plan, seed, index, "pass", "")
        self._answered = newest

    def _sign(self, plan: Doc[Plan], seed: Seed, index: int, outcome: str, reason: str) -> None:
        number, record = plan.body.round, self._desk.rounds.record(plan.body.round)
        entry = None if record is None else record.body.counted_member(index)
        if entry is None:
            return
        verdict = Verdict(
            run=self._seat.campaign, epoch=plan.body.epoch, round=number, index=index, commitment=entry.commitment,
            signer=self._seat.address, check="structure", segment=None, outcome=outcome, exact=False, rel_l2=None,
            norm_ratio=None, scores=(), seed_block=seed.block, seed_hash=hex32(seed.hash), reason=reason[:500],
        )  # fmt: skip
        signed = self._seat.promise(f"structure/{number}/{index}", Verdict.KIND, verdict.to_body())
        self._seat.keep(signed, self._seat.address, round_=number, member=index)
        self._desk.metrics.verdicts.labels(outcome).inc()
        self._log.warning("structure", round=number, member=index, outcome=outcome, reason=reason)
        self._desk.bell.ring()
