"""What the content store keeps, and how long: the evidence of an epoch for the run's retention time, then no longer.

Payloads, checkpoints and evidence directories are pinned here, and at a pinning service when one is configured, until
their epoch's retention is over on the chain's clock; while a challenge of that epoch is open, it is not. What has been
reported last stays whatever its age: members join from it and servers load it.
"""

from collections.abc import Iterable

from commonweight.chain.structs import RunParams
from commonweight.errors import CommonweightError
from commonweight.store import parse_cid
from commonweight.store.pinning import PinningService
from oracle.dataset import files_of
from oracle.desk import Desk
from oracle.logs import logger
from oracle.recount import OK, Recount
from oracle.seat import in_thread
from oracle.watch import View

_AGAIN_MS = 30_000
_AT_ONCE = 16
_YOUNG_S = 3600.0


class Keeping:
    """Pins and lets go; each step is small, and all that is known is in the database."""

    def __init__(self, desk: Desk, recount: Recount, service: PinningService | None) -> None:
        self._desk = desk
        self._seat = desk.seat
        self._recount = recount
        self._service = service
        self._not_before_ms = 0
        self._swept = -1
        self._log = logger("keep")

    async def step(self) -> bool:
        """Pin what a round or a report has brought, or let go of what is over. Returns whether there was something."""
        view = self._desk.view
        return await self._round() or await self._report(view) or await self._let_go(view)

    async def remote_step(self) -> bool:
        """Bring the pinning service up to date, one pin at a time; when it fails, it is asked again after a while."""
        service, now_ms = self._service, self._seat.now_ms()
        if service is None or now_ms < self._not_before_ms:
            return False
        missing, over = self._seat.db.pin_to_ask_for(), self._seat.db.pin_to_give_up()
        try:
            if missing is not None:
                cid, store = parse_cid(missing), self._seat.store
                pin = await in_thread(lambda: service.keep(cid, self._seat.campaign, store.origins()))
                self._seat.db.set_pin_request(cid, pin.request)
            elif over is not None:
                await in_thread(lambda: service.remove(over[1]))
                self._seat.db.set_pin_request(over[0], None)
        except CommonweightError:
            self._not_before_ms = now_ms + _AGAIN_MS
            raise
        return missing is not None or over is not None

    # --- what to keep ------------------------------------------------------------------------------------------------

    async def _round(self) -> bool:
        number = int(self._seat.db.get_meta("kept") or "0") + 1
        record = self._desk.rounds.record(number)
        if self._recount.result(number) is None:
            return False
        if record is not None and record.body.counted and self._recount.result(number) == OK:
            cids = [entry.payload_cid for entry in record.body.counted]
            await self._keep([*cids, record.body.checkpoint_cid], record.body.epoch)
        self._seat.db.set_meta("kept", str(number))
        return True

    async def _report(self, view: View) -> bool:
        for epoch, event in view.reports.items():
            key = f"kept/{epoch}/{event.digest.hex()}"
            if self._seat.db.get_meta(key) is None:
                await self._keep([event.report.evidence_cid, event.report.checkpoint_cid], epoch)
                self._seat.db.set_meta(key, "1")
                return True
        return False

    async def _keep(self, cids: Iterable[str], epoch: int) -> None:
        store, pinned = self._seat.store, [parse_cid(text) for text in cids]
        for cid in pinned:
            await in_thread(lambda cid=cid: store.pin(cid))  # type: ignore[misc]
        self._seat.db.add_pins(pinned, epoch)

    # --- what to let go ----------------------------------------------------------------------------------------------

    async def _let_go(self, view: View) -> bool:
        over = self._over(view)
        for cid in over:
            await in_thread(lambda cid=cid: self._seat.store.unpin(parse_cid(cid)))  # type: ignore[misc]
            self._seat.db.drop_pin(cid)
        if over:
            self._log.info("let go", objects=len(over))
        elif self._seat.settings.collect_garbage and self._swept < view.open_epoch:
            self._swept = view.open_epoch
            await self._sweep()
        return bool(over)

    def _over(self, view: View) -> list[str]:
        """Some of what nobody needs: its retention is over, no challenge of its epoch is open, it is not the newest."""
        params, challenged = self._seat.params, {case.epoch for case in view.cases if not case.closed}
        last = params.epoch_of(view.latest.timestamp - _retention_s(params)) - 1
        newest = max((n for n in view.reports if view.final.get(n, True)), default=None)
        report = None if newest is None else view.reports[newest].report
        needed = () if report is None else (report.checkpoint_cid, report.evidence_cid)
        oldest = self._seat.db.pins_upto(last, challenged, _AT_ONCE + len(needed))
        return [cid for cid in oldest if cid not in needed][:_AT_ONCE]

    async def _sweep(self) -> None:
        """Delete what nobody needs: not what is pinned, not what every start needs, not what is young."""
        described = {self._seat.params.config_cid, self._seat.config.data.manifest_cid}
        roots = [parse_cid(cid) for cid in (*self._seat.db.pins(), *described) if cid]
        store, config = self._seat.store, self._seat.config
        freed = await in_thread(lambda: store.sweep([*roots, *files_of(store, config)], _YOUNG_S))
        self._log.info("swept", bytes=freed)


def kept_until(params: RunParams, epoch: int) -> int:
    """The Unix time up to which an epoch's evidence must be had: the retention time, and never less than the time in
    which its credits can be challenged and judged.
    """
    return params.epoch_end(epoch) + _retention_s(params)


def _retention_s(params: RunParams) -> int:
    return max(params.evidence_retention, 3 * params.dispute_period)
