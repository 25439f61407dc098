"""The standing after each final report (replay rates, carried credits), out of its evidence, kept on this disk.

Which report counts for a round is decided by the chain: the last one that was final in the block that drew the round's
checks. So all signers draw alike, and an auditor can.
"""

from collections.abc import Collection

from commonweight.protocol.evidence import STANDING
from commonweight.protocol.standing import Exposure, Final, Standing, exposure
from commonweight.store import parse_cid
from oracle.desk import Desk
from oracle.seat import in_thread
from oracle.watch import View

_MAX_BYTES = 1 << 28


class Standings:
    """Standings by epoch, each read from the store once."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._seat = desk.seat

    async def before(self, view: View, epoch: int) -> Standing:
        """After the last final report before an epoch. Raises StoreError when its evidence cannot be had."""
        return await self._of(view, [e for e, final in view.final.items() if final and e < epoch])

    async def at(self, view: View, block: int) -> Standing:
        """After the last report that was final in a block. Raises StoreError when its evidence cannot be had."""
        return await self._of(view, [e for e, known in view.epochs.items() if known.final and known.block <= block])

    def exposed(self, view: View, epoch: int) -> Exposure:
        """What could still be revoked when an epoch was closed."""
        closings = {e: (closed.closed_at, closed.acc) for e, closed in view.closed.items()}
        finals = {e: Final(known.credits, known.wage) for e, known in view.epochs.items() if known.final}
        floor = int(self._seat.config.verification.credit_value_floor)
        return exposure(epoch, closings, finals, self._seat.params.dispute_period, floor)

    def keep(self, digest: bytes, standing: bytes) -> None:
        """Keep what a report's evidence says, so that nobody needs to be asked for it when the report is final."""
        self._seat.db.set_meta(_key(digest), standing.decode())

    async def _of(self, view: View, epochs: Collection[int]) -> Standing:
        if not epochs:
            return Standing()
        event = view.reports[max(epochs)]
        kept = self._seat.db.get_meta(_key(event.digest))
        if kept is not None:
            return Standing.load(kept.encode())
        directory = parse_cid(event.report.evidence_cid)
        data = await in_thread(lambda: self._seat.store.get_file(directory, STANDING, _MAX_BYTES))
        standing = Standing.load(data)
        self.keep(event.digest, data)
        return standing


def _key(digest: bytes) -> str:
    return f"standing/{digest.hex()}"
