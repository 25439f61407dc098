"""The evaluation loss that a report carries: held-out loss of the epoch's last checkpoint, through the replay worker.

Each signer measures for itself and accepts a proposer's value within the configuration's tolerance. What was measured
is kept by checkpoint, so that the report does not wait for it.
"""

from collections.abc import Sequence

from commonweight.errors import OracleError, RuleBroken
from commonweight.protocol.attested import Attested, attests
from commonweight.protocol.evidence import Evaluation
from commonweight.protocol.records import Plan, Record
from oracle.desk import Desk
from oracle.recount import OK, Recount
from oracle.seat import in_thread
from oracle.worker import Worker


class Evaluating:
    """Measures checkpoints, each once."""

    def __init__(self, desk: Desk, recount: Recount, worker: Worker) -> None:
        self._desk = desk
        self._seat = desk.seat
        self._recount = recount
        self._worker = worker

    async def ahead(self) -> bool:
        """Measure the checkpoint of the last round of an epoch that is over, before anybody asks.

        Before there is one, genesis: that also warms the worker up. Returns whether there was something to measure.
        """
        over = self._seat.params.epoch_of(self._desk.view.latest.timestamp) - 1
        last = self._last_made(over)
        if last is None:
            if self._seat.db.get_meta("genesis") is None:
                genesis = await in_thread(self._desk.checkpoints.genesis)
                await self._measure(genesis.sha256, genesis.cid)
                self._seat.db.set_meta("genesis", genesis.sha256)
            return False
        if self._recount.result(last.round) != OK or self._known(last.checkpoint) is not None:
            return False
        await self._measure(last.checkpoint, last.checkpoint_cid)
        return True

    async def of(self, rounds: Sequence[int], epoch: int) -> Evaluation:
        """The evaluation for a report on these rounds: of the checkpoint that it attests, or of genesis."""
        records = [record.body for number in rounds if (record := self._desk.rounds.record(number)) is not None]
        right = attests(records, self._desk.view.attested(epoch))
        if right is None:
            genesis = await in_thread(self._desk.checkpoints.genesis)
            right = Attested(0, genesis.sha256, genesis.cid)
        loss, tokens = await self._measure(right.checkpoint, right.checkpoint_cid)
        return Evaluation(right.round, right.checkpoint, right.checkpoint_cid, loss, tokens)

    async def check(self, claimed: Evaluation, rounds: Sequence[int], epoch: int) -> None:
        """RuleBroken unless a proposer's evaluation is of the right checkpoint and near this signer's own."""
        mine = await self.of(rounds, epoch)
        same = (mine.round, mine.checkpoint, mine.checkpoint_cid, mine.tokens)
        if (claimed.round, claimed.checkpoint, claimed.checkpoint_cid, claimed.tokens) != same:
            raise RuleBroken("wrong-evaluation", "The evaluation is of another checkpoint, or of other data")
        allowed = self._seat.config.verification.loss_tolerance_micro
        if abs(claimed.loss_micro - mine.loss_micro) > allowed:
            why = f"{claimed.loss_micro} here {mine.loss_micro}, {allowed} micro-nats apart are allowed"
            raise RuleBroken("wrong-evaluation", "The evaluation loss is not what is measured here", why)

    def _last_made(self, epoch: int) -> Record | None:
        """The record of the last round up to an epoch that made a checkpoint."""
        for number in range(self._seat.db.last_round(Plan.KIND), 0, -1):
            record = self._desk.rounds.record(number)
            if record is not None and record.body.epoch <= epoch and record.body.counted:
                return record.body
        return None

    async def _measure(self, sha256: str, cid: str) -> tuple[int, int]:
        known = self._known(sha256)
        if known is not None:
            return known
        held = await in_thread(lambda: self._desk.checkpoints.get(sha256, cid))
        found = await self._worker.evaluate(held.weights)
        if found.tokens < 1:
            raise OracleError("there is no held-out data to evaluate on")
        self._seat.db.set_meta(f"loss/{sha256}", f"{found.loss_micro} {found.tokens}")
        return found.loss_micro, found.tokens

    def _known(self, sha256: str) -> tuple[int, int] | None:
        kept = self._seat.db.get_meta(f"loss/{sha256}")
        if kept is None:
            return None
        loss, tokens = kept.split()
        return int(loss), int(tokens)
