"""The oracle's cycle: watch the chain, collect evidence, verify, compute, agree, sign, submit, watch.

`Service.cycle` is the whole of it, top to bottom. Whatever takes long runs beside it as an errand, one of each kind at
a time, and every errand can be killed and repeated: what is done is on disk or on chain. The coordinator's rounds run
beside the cycle in the one signer that coordinates. Nothing that goes wrong in one part ends another, or the process.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from commonweight.chain.keys import keystore_address
from commonweight.chain.run import Run
from commonweight.errors import CommonweightError
from commonweight.logs import configure
from commonweight.memory import keep_freed_memory
from commonweight.net import Identity, connect, split_address
from commonweight.protocol.canonical import JsonObject
from commonweight.store.pinning import open_pinning
from oracle import dataset
from oracle.agree import Agreement
from oracle.api import Api
from oracle.banning import Banning
from oracle.books import close_books
from oracle.collect import Collecting
from oracle.coordinator import Coordinator
from oracle.desk import open_desk
from oracle.disputing import Disputing
from oracle.evaluating import Evaluating
from oracle.intake import Intake
from oracle.judging import Judging
from oracle.keeping import Keeping
from oracle.logs import logger
from oracle.offending import Offending
from oracle.recount import Recount
from oracle.replaying import Replaying
from oracle.report import Reporting
from oracle.scoring import Scoring
from oracle.seat import Seat, connect_chain, in_thread, take_seat
from oracle.settings import OracleSettings
from oracle.signers_api import Voting
from oracle.standings import Standings
from oracle.submit import Submitting
from oracle.uploads import Uploads
from oracle.watch import Watcher
from oracle.worker import Worker, command

if TYPE_CHECKING:
    from commonweight.net.libp2p import Libp2p

_RETRY_S = 1.0


class Service:
    """One signer, from its seat to its last epoch."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.desk = desk = open_desk(seat)
        self._log = logger("service")
        self._watcher = Watcher(seat.run)
        self._errands: dict[str, asyncio.Task[None]] = {}
        config = seat.folder("files") / "run.json"
        config.write_bytes(seat.config_bytes)
        log = seat.settings.data_dir / "replay.log"
        cards = seat.settings.visible_cards
        self._worker = Worker(config, seat.folder("data"), log, command=command(seat.settings), environment=cards)
        self._data_here = False
        self.intake = Intake(desk)
        self.offending = Offending(desk)
        uploads = Uploads(desk, self.offending)
        self.recount = Recount(desk, uploads)
        standings = Standings(desk)
        self.replaying = Replaying(desk, self._worker, standings)
        self.scoring = Scoring(desk, self.recount, self._worker)
        self.judging = Judging(desk, self.recount, self.replaying)
        self.evaluating = Evaluating(desk, self.recount, self._worker)
        self.reporting = Reporting(desk, self.recount, standings)
        self.agreement = Agreement(
            desk, self.reporting, self.recount, self.replaying, self.offending, self.evaluating, standings
        )  # fmt: skip
        self.banning = Banning(desk, self.offending)
        self.collecting = Collecting(desk, self.intake, self.offending)
        self.submitting = Submitting(desk)
        desk.may_send = False
        self.coordinator = Coordinator(desk, self.offending, uploads, self.recount) if desk.coordinates else None
        self.disputing = Disputing(desk)
        service = seat.settings.pin_service
        self._pins = None if service is None else open_pinning(service, seat.settings.pin_token_file)
        self.keeping = Keeping(desk, self.recount, self._pins)
        self._libp2p: Libp2p | None = None
        voting = Voting(self.agreement.vote, self.banning.vote, self.disputing.vote)
        self.api = Api(desk, self.intake, self.offending, uploads, voting, self.phase)

    def phase(self) -> str:
        """What this signer does now, for `status`."""
        return self.coordinator.phase if self.coordinator is not None else "following"

    async def serve(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set."""
        await self._lasting("watch", self._first_look)
        if self.seat.settings.metrics is not None:
            self.desk.metrics.serve(self.seat.settings.metrics)
        await self._open_tunnel()
        server = self.api.server()
        host, port = await server.start(*split_address(self.seat.settings.listen))
        self._log.info("listening", address=f"{host}:{port}", signer=self.seat.address)
        beside = {"cycle": self.cycle, "data": self._fetch_data, "settle": self.submitting.settle}
        others = [peer for peer in self.desk.view.signers if peer != self.seat.address]
        beside |= {f"follow/{peer}": partial(self.collecting.follow, peer) for peer in others}
        if self.coordinator is not None:
            beside["coordinator"] = self.coordinator.run
        tasks = [asyncio.create_task(self._lasting(name, work)) for name, work in beside.items()]
        try:
            await stop.wait()
        finally:
            self.seat.run.chain.abandon()
            for task in [*tasks, *self._errands.values()]:
                task.cancel()
            await asyncio.gather(*tasks, *self._errands.values(), return_exceptions=True)
            await server.close()
            await self.desk.dialer.close()
            if self._libp2p is not None:
                await self._libp2p.close()
            await self._worker.close()
            self.seat.store.close()
            if self._pins is not None:
                self._pins.close()
            self.seat.db.close()
            self._log.info("stopped")

    async def _open_tunnel(self) -> None:
        """Where the settings say so, reach members through libp2p, too, and be a relay for them."""
        settings = self.seat.settings
        if settings.p2p or settings.p2p_listen is not None:
            from commonweight.net.libp2p import Libp2p

            self._libp2p = await Libp2p.start(settings.data_dir, settings.p2p, settings.p2p_listen)
            self.desk.dialer.tunnel = self._libp2p
            self._log.info("libp2p", address=self._libp2p.address)

    # --- the cycle ---------------------------------------------------------------------------------------------------

    async def cycle(self) -> None:
        """Watch, collect, verify, agree, submit; for ever."""
        while True:
            try:
                await self.watch()
                self.collect()
                await self.verify()
                self.agree()
                self.submit()
            except CommonweightError as trouble:
                self._failed("cycle", trouble)
            await self.desk.bell.wait(self.seat.settings.poll_s)

    async def watch(self) -> None:
        """Look at the chain; what is new on the finalised chain goes to disk."""
        seen, metrics = self.desk.seen, self.desk.metrics
        look = await in_thread(lambda: self._watcher.look(seen))
        if look is not None:
            self._watcher.apply(look, self.seat.db)
            self.desk.seen = look.view
            metrics.finalized.set(look.view.finalized.number)
            metrics.closed_epoch.set(look.view.open_epoch)
            self.desk.bell.ring()
        metrics.finalized_age.set(max(0.0, self.seat.clock() - self.desk.view.finalized.timestamp))

    def collect(self) -> None:
        """Anchor what only this signer has receipted. Other signers' logs are followed all the time."""
        if self.desk.may_send:
            self._errand("anchor", self.collecting.anchor_own)

    async def verify(self) -> None:
        """Draw, fetch states, replay, score, recompute records, measure the checkpoint of an epoch that is over."""
        await self.replaying.draw()
        self._errand("recount", self.recount.step)
        self._errand("recheck", self.disputing.verify)
        if self._data_here:
            self._errand("judge", self.judging.step)
            self._errand("replay", self.replaying.step)
            self._errand("score", self.scoring.step)
            self._errand("evaluate", self.evaluating.ahead)

    def agree(self) -> None:
        """Propose a report when it is this signer's turn; votes on others' proposals are given in `oracle.api`."""
        attempt = self.agreement.turn()
        ready = self._data_here and self.desk.may_send
        if attempt is not None and ready and not self.submitting.reported(self.desk.view.open_epoch):
            self._errand("report", lambda: self._report(attempt))

    def submit(self) -> None:
        """Do what is due on chain, and see to bans and disputes."""
        if self.desk.may_send:
            duty = self.submitting.duty()
            if duty is not None:
                self._errand(duty.purpose, lambda: self.submitting.perform(duty))
            self._errand("ban", self.banning.step)
            self._errand("disputes", self.disputing.step)
        self._errand("keep", self.keeping.step)
        self._errand("remote-pin", self.keeping.remote_step)
        close_books(self.desk)

    async def _report(self, attempt: int) -> bool:
        agreed = await self.agreement.propose(attempt)
        return False if agreed is None else await self.submitting.report(agreed)

    # --- errands -----------------------------------------------------------------------------------------------------

    def _errand(self, name: str, work: Callable[[], Awaitable[bool]]) -> None:
        """Start `work` beside the cycle unless it runs already; as long as it finds something to do it goes on."""
        running = self._errands.get(name)
        if running is None or running.done():
            task = self._errands[name] = asyncio.create_task(self._run(name, work))
            task.add_done_callback(partial(self._ended, name))

    async def _run(self, name: str, work: Callable[[], Awaitable[bool]]) -> None:
        try:
            while await work():
                self.desk.bell.ring()
        except CommonweightError as trouble:
            self._failed(name, trouble)
            await asyncio.sleep(_RETRY_S)

    def _ended(self, name: str, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._unforeseen(name, error)

    async def _lasting(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` to its end, from its beginning again whenever it fails."""
        while True:
            try:
                return await work()
            except Exception as error:  # noqa: BLE001 - whatever it is, the other parts go on, and so does this one
                self._unforeseen(name, error)
                await asyncio.sleep(_RETRY_S)

    def _unforeseen(self, name: str, error: BaseException) -> None:
        """What fails in a way that nobody foresaw must not stop the service: it is logged with its traceback."""
        self.desk.metrics.failures.labels("unforeseen").inc()
        self._log.error("unforeseen", step=name, exc_info=error)

    def _failed(self, name: str, trouble: CommonweightError) -> None:
        self.desk.metrics.failures.labels(name.split("/", maxsplit=1)[0]).inc()
        self._log.warning("failed", step=name, error=str(trouble))

    async def _first_look(self) -> None:
        while self.desk.seen is None:
            try:
                await self.watch()
            except CommonweightError as trouble:
                self._failed("watch", trouble)
                await asyncio.sleep(_RETRY_S)

    async def _fetch_data(self) -> None:
        """Get the data set; replays wait for it."""
        while not self._data_here:
            try:
                await in_thread(partial(dataset.fetch, self.seat.store, self.seat.config, self.seat.folder("data")))
                self._data_here = True
            except CommonweightError as trouble:
                self._failed("data", trouble)
                await asyncio.sleep(_RETRY_S)


async def _serve(seat: Seat) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Service(seat).serve(stop)


def run(settings: OracleSettings) -> None:
    """Run a signer until SIGTERM or SIGINT. Raises the error of whatever keeps it from starting."""
    keep_freed_memory()
    configure(settings.log_level)
    asyncio.run(_serve(take_seat(settings)))


def status(settings: OracleSettings) -> JsonObject:
    """Ask the running signer where it stands; needs no password. Raises PeerUnreachable when it does not run."""
    expect = keystore_address(settings.keystore)
    found = Run.at(connect_chain(settings, None), settings.campaign)
    observer = Identity(os.urandom(32), found.address, found.oracle.domain(), "observer")

    async def ask() -> JsonObject:
        peer = await connect(settings.listen, expect, observer)
        try:
            return (await peer.call("status")).params
        finally:
            await peer.close()

    return asyncio.run(ask())
