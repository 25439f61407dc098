"""Contribution scores: drawn by the round's seed among the counted members, measured by the worker, signed.

A score belongs to the signer at its position. Others take it over when that signer stays silent, and measure again what
did not pass, so that neither a dead signer nor a lying one decides alone.
"""

from commonweight.errors import StoreError
from commonweight.protocol.contribution import ScoreDraw, judge, score_draws
from commonweight.protocol.evidence_check import Seed
from commonweight.protocol.fields import hex32
from commonweight.protocol.records import Commitment, Counted, Plan, Record, Verdict
from oracle.desk import Desk
from oracle.logs import logger
from oracle.recount import OK, Recount
from oracle.rounds import Doc
from oracle.seat import in_thread
from oracle.verdicts import fitting, kept_seed
from oracle.worker import Worker, WorkerError

_TAKE_OVER_MS = 20_000


class Scoring:
    """Scores for one signer, round after round."""

    def __init__(self, desk: Desk, recount: Recount, worker: Worker) -> None:
        self._desk = desk
        self._seat = desk.seat
        self._recount = recount
        self._worker = worker
        self._log = logger("score")

    async def step(self) -> bool:
        """Measure the first score that is due here. Returns whether there was one."""
        first = int(self._seat.db.get_meta("scored") or "0") + 1
        done = first - 1
        for number in range(first, self._seat.db.last_round(Record.KIND) + 1):
            plan, seed = self._desk.rounds.plan(number), None
            result = self._recount.result(number)
            if plan is not None:
                seed = kept_seed(self._seat.db, plan.body)
            if result is None or (result == OK and seed is None):
                break
            open_ = [d for d in drawn_scores(self._desk, number, seed) if result == OK and self._is_open(number, d)]
            for draw in open_:
                if plan is not None and seed is not None and self._due(plan.body, draw, seed):
                    return await self._score(plan, draw, seed)
            if not open_ and done == number - 1:
                done = number
        if done >= first:
            self._seat.db.set_meta("scored", str(done))
        return False

    def _verdicts(self, number: int, index: int) -> dict[str, bool]:
        """Signer -> whether the score passed."""
        made = [v.body for v in fitting(self._desk, number, member=index) if v.body.check == "contribution"]
        return {v.signer: v.outcome == "pass" for v in made}

    def _is_open(self, number: int, draw: ScoreDraw) -> bool:
        """Whether this signer may still have to measure: not done here, and not decided by the others."""
        made = self._verdicts(number, draw.index)
        passed = sum(made.values())
        decided = passed > len(made) - passed or 2 * (len(made) - passed) > len(self._desk.view.signers)
        return self._seat.address not in made and not decided

    def _due(self, plan: Plan, draw: ScoreDraw, seed: Seed) -> bool:
        made = self._verdicts(plan.round, draw.index)
        turns = self._desk.view.turns(self._seat.address, draw.position, seed.block)
        return bool(made) or self._seat.now_ms() - plan.record_by_ms > turns * _TAKE_OVER_MS or turns == 0

    async def _score(self, plan: Doc[Plan], draw: ScoreDraw, seed: Seed) -> bool:
        record = self._desk.rounds.record(plan.body.round)
        entry = None if record is None else record.body.counted_member(draw.index)
        commitment = None if entry is None else self._desk.rounds.by_digest(Commitment, entry.commitment)
        if record is None or entry is None or commitment is None:
            return False
        try:
            verdict = await self._measure(plan, record.body, entry, commitment.body, seed)
        except (WorkerError, StoreError) as trouble:  # ours, not the member's: tried again
            self._desk.metrics.failures.labels("score").inc()
            self._log.warning("scoring failed here", round=plan.body.round, member=draw.index, error=str(trouble))
            return False
        signed = self._seat.promise(f"score/{plan.body.round}/{draw.index}", Verdict.KIND, verdict.to_body())
        self._seat.keep(signed, self._seat.address, round_=plan.body.round, member=draw.index)
        self._desk.metrics.verdicts.labels(verdict.outcome).inc()
        self._log.info(
            "score", round=plan.body.round, member=draw.index, outcome=verdict.outcome, reason=verdict.reason,
            **dict(verdict.scores),
        )  # fmt: skip
        self._desk.bell.ring()
        return True

    async def _measure(
        self, plan: Doc[Plan], record: Record, entry: Counted, commitment: Commitment, seed: Seed
    ) -> Verdict:
        body, files = plan.body, self._desk.files
        base = await in_thread(lambda: self._desk.checkpoints.get(body.base, body.base_cid))
        parts = await in_thread(lambda: self._recount.payload(body, entry, commitment))
        kept = await in_thread(lambda: [files.put(data) for data in (plan.signed.to_bytes(), *parts)])
        paths = [files.path(digest) for digest in kept]
        began = self._seat.clock()
        scores = await self._worker.contribution(
            plan=paths[0], index=entry.index, steps=entry.steps, base=base.weights, parts=paths[1:],
            results=[files.path(digest) for digest in record.results], seed=seed.hash,
            private=self._seat.config.private,
        )  # fmt: skip
        self._desk.metrics.score_seconds.inc(max(0.0, self._seat.clock() - began))
        for digest in kept[1:]:
            files.drop(digest)
        reason = judge(scores, self._seat.config.verification)
        return Verdict(
            run=self._seat.campaign, epoch=body.epoch, round=body.round, index=entry.index,
            commitment=entry.commitment, signer=self._seat.address, check="contribution", segment=None,
            outcome="fail" if reason else "pass", exact=False, rel_l2=None, norm_ratio=None, scores=scores.named(),
            seed_block=seed.block, seed_hash=hex32(seed.hash), reason=reason,
        )  # fmt: skip


def drawn_scores(desk: Desk, number: int, seed: Seed | None) -> tuple[ScoreDraw, ...]:
    """The scores that a recorded round's seed asks for; none without a seed."""
    record = desk.rounds.record(number)
    if record is None or seed is None:
        return ()
    return score_draws(seed.hash, record.body, desk.seat.config.verification, len(desk.view.offices.at(seed.block)))


def scores_settled(desk: Desk, number: int, seed: Seed) -> bool:
    """Whether every drawn score of a round has a verdict, and none that failed is still open to doubt here."""
    for draw in drawn_scores(desk, number, seed):
        made = {
            v.signer: v.body.outcome == "pass"
            for v in fitting(desk, number, member=draw.index)
            if v.body.check == "contribution"
        }
        passed = sum(made.values())
        undecided = 2 * max(passed, len(made) - passed) <= len(desk.view.signers)
        if not made or (passed < len(made) and undecided and desk.seat.address not in made):
            return False
    return True
