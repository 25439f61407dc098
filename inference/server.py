"""The server's process, top to bottom: open the run, load what is attested, listen, settle, close.

`commonweight infer serve` calls `run`. Everything that can be wrong with the settings, the keys, the chain, the
checkpoint or the device is found before the first request is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import BinaryIO

import h11
import structlog
import torch
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from commonweight.chain import alone
from commonweight.chain.client import Chain
from commonweight.chain.keys import Key, load_key, read_password
from commonweight.chain.run import Run
from commonweight.chain.sending import Fees
from commonweight.errors import AlreadyServing, ChainError, ConfigError, InferenceError
from commonweight.logs import configure
from commonweight.protocol.fields import hex32, lower_address
from commonweight.store import open_store
from inference.api import Metrics, build_app
from inference.chainview import ChannelView
from inference.checkpoint import LATEST, Attested, find_attested, load_config, load_data_manifest
from inference.following import Follower, Newer
from inference.loading import Loader
from inference.metering import Account, Ledger
from inference.serving import Serving
from inference.settings import ServeSettings
from inference.settlement import Settled, Settler
from inference.till import Terms, Till
from inference.tokens import open_tokenizer

_MORE_THREADS = 8
_UNTAKEN_S = 60.0
_log = structlog.get_logger("server")


@dataclass(frozen=True)
class ServerInfo:
    """Where a server listens and what it serves, also in `server.json` of its data directory while it
    runs. Addresses lower case."""

    url: str
    server: str
    run: str
    model: str
    checkpoint: str
    price_per_token: str


@dataclass(frozen=True)
class Opened:
    """Everything that a server works with. `abandon` ends whatever waits for a transaction to be mined; `newer` is
    where newer checkpoints come from, None for a server that stays with the one that it was started with.
    """

    info: ServerInfo
    serving: Serving
    settler: Settler
    ledger: Ledger
    workers: ThreadPoolExecutor
    abandon: Callable[[], None]
    key_lock: BinaryIO | None = None
    newer: Newer | None = None
    metrics: Metrics = field(default_factory=Metrics)


def run(settings: ServeSettings, on_ready: Callable[[ServerInfo], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; then answer what was begun, settle, and return.

    Raises, before listening, the error of whatever is not right, and DeviceLost after the same end when the device has
    failed. `on_ready` is called when requests are taken.
    """
    configure(settings.log_level)
    settings.engine.require()
    listener = _listen(settings.listen, _UNTAKEN_S)
    with listener:
        opened = open_all(settings, _url(listener))
        try:
            asyncio.run(_serve(settings, opened, listener, on_ready))
        finally:
            opened.workers.shutdown()
            opened.ledger.close()
            if opened.key_lock is not None:
                opened.key_lock.close()
            (settings.data_dir / "server.json").unlink(missing_ok=True)
    if opened.serving.lost is not None:
        raise opened.serving.lost


def settle_now(settings: ServeSettings) -> list[Settled]:
    """Settle what the ledger of a server that does not run has charged. Raises AlreadyServing while it runs."""
    configure(settings.log_level)
    key = _open_key(settings)
    run = _open_run(settings, key)
    with contextlib.ExitStack() as closing:
        if (key_lock := _lock_key(settings, run, key)) is not None:
            closing.enter_context(key_lock)
        ledger = _open_ledger(settings, run)
        closing.callback(ledger.close)
        view = ChannelView(run)

        def refresh(channel: bytes) -> Account | None:
            facts = view.facts(channel)
            return None if facts is None else ledger.observe(facts)

        return Settler(ledger, refresh, view.settle, run.chain.settle, every_s=0.0, threshold=0).settle_all()


def _open_key(settings: ServeSettings) -> Key:
    return load_key(settings.keystore, read_password(settings.password_file, os.environ, prompt="Password: "))


def _lock_key(settings: ServeSettings, run: Run, key: Key) -> BinaryIO | None:
    """Keep a second server of this user from the key: both would answer for one voucher, of which one is paid."""

    def refuse(holder: str) -> AlreadyServing:
        return AlreadyServing(
            f"Another server with this key runs on this computer: {holder}",
            "both would answer for the same voucher, and be paid once",
            "stop that one first; then start with its --data-dir, which has its ledger",
        )

    folder = settings.locks
    return None if folder is None else alone.lock_key(folder, run, "server", key.address, settings.data_dir, refuse)


def _open_ledger(settings: ServeSettings, run: Run) -> Ledger:
    """The ledger for this run and this chain's past: a development chain that begins anew gets a new one."""
    era = run.chain.block(run.first_block).hash.hex()
    return Ledger(settings.data_dir / f"ledger-{era[:16]}.sqlite")


def _open_run(settings: ServeSettings, key: Key) -> Run:
    chain = Chain(
        settings.rpc_urls, key, chain_id=settings.chain_id, confirmations=settings.confirmations,
        fees=Fees(cap_wei=settings.max_fee_gwei * 10**9), patience_s=settings.patience_s,
        state_dir=settings.state_dir,
    )  # fmt: skip
    return Run.at(chain, settings.campaign)


def open_all(settings: ServeSettings, url: str) -> Opened:
    """Read the chain and the store, load the model, open the ledger and end what a crash cut off."""
    key = _open_key(settings)
    run = _open_run(settings, key)
    key_lock = _lock_key(settings, run, key)
    store = open_store(settings.store, make=False)
    try:
        config = load_config(run, store)
        attested = find_attested(run, settings.checkpoint)
        tokenizer = open_tokenizer(load_data_manifest(config, store), store)
    finally:
        store.close()
    torch.set_num_threads(settings.threads)
    loader = Loader(run, config, settings.store, tokenizer, settings.engine, settings.max_concurrent)
    loader.require_memory()
    served = loader.build(attested, loader.fetch(attested))
    view = ChannelView(run)
    price = int(config.serving.price_per_token) if settings.price_per_token is None else settings.price_per_token
    if price < 1:
        raise ConfigError("The price per token is zero", "a payment of nothing cannot be promised", "set a price")
    if run.chain.balance(key.address) == 0:
        _log.warning("the key has no ETH for gas: nothing can be settled before it has", server=key.address)
    ledger = _open_ledger(settings, run)
    terms = _terms(view, key, price)
    till = Till(terms, view.vouchers, ledger, view.facts, min(settings.refresh_s, terms.delay_s / 8))
    workers = ThreadPoolExecutor(settings.max_concurrent, thread_name_prefix="generate")
    serving = Serving(
        served,
        till,
        workers,
        key=key.private_key,
        documents=view.documents,
        max_tokens=settings.max_completion_tokens or config.serving.max_completion_tokens,
        max_at_once=settings.max_concurrent + settings.max_waiting,
    )
    settler = Settler(
        ledger, till.refresh, view.settle, run.chain.settle,
        every_s=settings.settle_every_s, threshold=settings.settle_threshold, least=settings.settle_least,
    )  # fmt: skip
    cut_off = serving.recover()
    _log.info("opened", run=terms.run, checkpoint=hex32(attested.manifest_sha256), server=terms.server, cut_off=cut_off)
    info = ServerInfo(
        settings.url or url, terms.server, terms.run, config.name, hex32(attested.manifest_sha256), str(price)
    )
    newer = loader if settings.checkpoint == LATEST else None
    return Opened(info, serving, settler, ledger, workers, run.chain.abandon, key_lock, newer)


def _terms(view: ChannelView, key: Key, price: int) -> Terms:
    return Terms(
        chain_id=view.chain_id,
        run=lower_address(view.run.address),
        payments=view.payments,
        asset=view.asset,
        server=lower_address(key.address),
        price_per_token=price,
        delay_s=view.run.params.withdrawal_delay,
        timeout_s=300,
    )


async def _serve(
    settings: ServeSettings, opened: Opened, listener: socket.socket, on_ready: Callable[[ServerInfo], None] | None
) -> None:
    """Listen and settle until told to stop; then drain, and settle a last time."""
    at_once = settings.max_concurrent + settings.max_waiting
    threads = ThreadPoolExecutor(at_once + _MORE_THREADS, thread_name_prefix="blocking")
    asyncio.get_running_loop().set_default_executor(threads)  # payments that wait for the chain leave others room
    config = uvicorn.Config(
        build_app(opened.serving, settings, opened.metrics),
        http=type("Protocol", (_Protocol,), {"head_s": settings.request_timeout_s}),
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_keep_alive=max(1, int(settings.request_timeout_s)),
        timeout_graceful_shutdown=max(1, int(settings.shutdown_s)),
        limit_concurrency=4 * at_once + 64,
        h11_max_incomplete_event_size=64 * 1024,
    )
    server = _Server(config, partial(_announce, settings, opened.info, on_ready))
    stop = asyncio.Event()
    _on_signals(server)
    opened.serving.on_lost = partial(setattr, server, "should_exit", True)
    settling = asyncio.create_task(_settle_regularly(settings, opened, stop))
    following = asyncio.create_task(_follow(settings, opened))
    try:
        await server.serve(sockets=[listener])
    finally:
        following.cancel()
        await opened.serving.drained()
        stop.set()
        asyncio.get_running_loop().call_later(settings.shutdown_s, opened.abandon)
        await settling
    _log.info("stopped")


async def _follow(settings: ServeSettings, opened: Opened) -> None:
    """Serve newer checkpoints as they become final."""
    if opened.newer is None:
        return

    def tell(served: Attested) -> None:
        with contextlib.suppress(OSError):  # a full disk is no reason not to serve it
            _write_info(settings, replace(opened.info, checkpoint=hex32(served.manifest_sha256)))

    await Follower(opened.newer, opened.serving, opened.metrics, tell, settings.look_every_s).follow()


async def _settle_regularly(settings: ServeSettings, opened: Opened, stop: asyncio.Event) -> None:
    """Settle what an earlier process left, then whatever falls due, and everything at the end."""
    pause_s = max(0.2, min(settings.settle_every_s / 2, opened.serving.till.terms.delay_s / 16, 15.0))
    settle = opened.settler.settle_all
    while not stop.is_set():
        await _try("ending requests", opened.serving.end_left)
        await _try("settling", partial(_settle, opened, settle))
        settle = opened.settler.settle_due
        await _try("forgetting old answers", partial(opened.ledger.forget_answers, settings.keep_answers_s))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await stop.wait()
    await _try("ending requests", opened.serving.end_left)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(settings.shutdown_s):
            await _try("settling", partial(_settle, opened, opened.settler.settle_all))


def _settle(opened: Opened, settle: Callable[[], list[Settled]]) -> None:
    """Settle, and count it: who runs a server without gas has to hear of it before its payers have withdrawn."""
    settlements = opened.metrics.settlements
    try:
        settlements.labels("made").inc(len(settle()))
    except Exception:
        settlements.labels("failed").inc()
        raise
    finally:
        opened.metrics.unsettled.set(sum(account.unsettled for account in opened.ledger.owing(1)))


async def _try(what: str, work: Callable[[], object]) -> None:
    try:
        await asyncio.to_thread(work)
    except (ChainError, InferenceError) as error:
        _log.error(f"{what} failed and will be tried again", error=str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, what is sold from now on must be settled, too
        _log.error(f"{what} failed and will be tried again", exc_info=error)


def _announce(settings: ServeSettings, info: ServerInfo, on_ready: Callable[[ServerInfo], None] | None) -> None:
    _write_info(settings, info)
    _log.info("listening", **asdict(info))
    if on_ready is not None:
        on_ready(info)


def _write_info(settings: ServeSettings, info: ServerInfo) -> None:
    path = settings.data_dir / "server.json"
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(info)))
    fresh.replace(path)


class _Server(uvicorn.Server):
    """uvicorn that tells when it listens, and leaves signals to us: its own handlers would end the process by them."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, then tell."""
        await super().startup(sockets)
        await asyncio.to_thread(self._listening)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `_on_signals`."""
        yield


class _Protocol(H11Protocol):
    """HTTP/1.1 that gives a connection so long to send a request's head, or a body that was answered already: uvicorn
    itself would wait for ever. When there are too many, the one that has been there longest of those that still have to
    send something makes room: uvicorn would refuse whoever asks.
    """

    head_s = 15.0
    _timer: asyncio.TimerHandle | None = None
    _since_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.head_s, transport.close)
        self._since_s = self.loop.time()
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Go on waiting while a head or the rest of an answered request is not complete, and no longer when it is."""
        super().data_received(data)
        incomplete = self.conn.their_state is h11.IDLE or self.conn.our_state is h11.DONE
        if incomplete and self._timer is None:
            self._timer = self.loop.call_later(self.head_s, self.transport.close)
        elif not incomplete and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _make_room(self) -> None:
        unsaid = [
            other
            for other in self.connections
            if isinstance(other, _Protocol)
            and other is not self
            and other.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        ]
        if unsaid:
            oldest = min(unsaid, key=lambda other: other._since_s)
            self.connections.discard(oldest)
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()


def _on_signals(server: uvicorn.Server) -> None:
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, partial(setattr, server, "should_exit", True))


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"


def _listen(listen: str, patience_s: float) -> socket.socket:
    """A socket whose connections end when what is sent to them is not taken in this time; else they would last for
    ever, as would those to machines that are gone.
    """
    host, _, port = listen.rpartition(":")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform == "linux":
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, int(patience_s * 1000)))
        made.bind((host.strip("[]") or "127.0.0.1", int(port)))
    except (OSError, ValueError) as error:
        raise InferenceError(f"The server cannot listen on {listen}", str(error), "name a free host:port") from error
    return made
