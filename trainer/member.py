"""A provider's process with everything that it holds open: key, chain, signers, peers, data, state on disk, trainer.

`open_member` builds it from the settings; `trainer.train` runs rounds with it. What leaves a member under its
signature is made here, in `commitment` and `own_part`.
"""

from __future__ import annotations

import asyncio
import atexit
import fcntl
import logging
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from commonweight.checks import enough_memory
from commonweight.errors import (
    ConfigError,
    DeviceFull,
    DeviceLost,
    Dismissed,
    FormatError,
    PeerError,
    TrainingError,
    UsageError,
)
from commonweight.estimate import training_memory
from commonweight.net import Dialer, Identity, Limits, Server, UploadCap
from commonweight.protocol.canonical import sha256_hex
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import hex32, lower_address
from commonweight.protocol.offences import Offence
from commonweight.protocol.records import Commitment, PartMessage, Plan, sign_body
from commonweight.protocol.runconfig import RunConfig
from commonweight.quantities import when
from commonweight.store import ContentStore, open_store
from trainer import data
from trainer.allreduce import Exchange, OwnPart, Seat
from trainer.alone import lock_key, require_alone
from trainer.checkpoint import Base, Checkpoints, Held, PeerBlocks
from trainer.diloco import Enough, Progress, RoundTrainer, Work
from trainer.finishing import Finishing
from trainer.inner import InnerOptimizer
from trainer.journal import Journal, RoundFolder
from trainer.onchain import ChainView, OnChain
from trainer.outcome import Outcome
from trainer.peers import PeerBook, PeerServer, largest_reply, told_at
from trainer.recall import Recall
from trainer.recheck import Accused
from trainer.registry import Provider
from trainer.room import Room
from trainer.settings import ProviderSettings, world_size
from trainer.signers import Signers
from trainer.status import Status

if TYPE_CHECKING:
    from commonweight.chain.run import Run
    from commonweight.net.libp2p import Libp2p

_log = logging.getLogger("commonweight.trainer")
_REACH_S, _RESERVATION_S = 6.0, 3.0
_AGAIN_S = 5.0
"""How often signers that do not answer are asked at last."""


@dataclass
class Member:
    """One member of one run. Blocking work goes to threads; everything else is for one event loop.

    `clock` gives Unix time in seconds, `listener` the transport that it serves by; the dialer is the other half of it.
    """

    config: RunConfig
    identity: Identity
    chain: ChainView
    store: ContentStore
    signers: Signers
    book: PeerBook
    dialer: Dialer
    journal: Journal
    checkpoints: Checkpoints
    trainer: RoundTrainer
    room: Room
    status: Status
    poll_s: float
    lock: BinaryIO
    key_lock: BinaryIO | None = None
    advertise: str | None = None
    libp2p: Libp2p | None = None
    clock: Callable[[], float] = time.time
    listener: type[Server] = Server
    upload: UploadCap | None = None
    server: PeerServer = field(init=False)
    address: str = field(init=False, default="")
    have: str | None = field(init=False, default=None)
    outcomes: list[Outcome] = field(init=False, default_factory=list)  # of the last rounds, the newest last
    joined: int = field(init=False, default=0)
    round: int = field(init=False, default=0)
    finishing: Finishing = field(init=False, default_factory=Finishing)
    ahead: asyncio.Task[None] | None = field(init=False, default=None)
    base_is_here: bool = field(init=False, default=False)
    _telling: set[asyncio.Task[None]] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self.server = PeerServer(
            self.identity, self.config, self.chain, self.journal, self.checkpoints, self.own_part,
            Accused(self).take, listener=self.listener, upload=self.upload,
        )  # fmt: skip

    def now_ms(self) -> int:
        """Unix time in milliseconds, as plans count it."""
        return int(self.clock() * 1000)

    @property
    def index(self) -> int:
        """The registry index."""
        assert self.identity.index is not None
        return self.identity.index

    async def start(self, listen: str) -> None:
        """Serve, and say to the signers that this member is ready; they are asked until one answers."""
        await asyncio.to_thread(self.journal.sweep)
        me = await self._registered()
        if me is not None:
            await require_alone(self.dialer, me.key, me.peer)
        await asyncio.to_thread(self.trainer.warm_up)
        bound = await self.server.start(listen)
        self.address = self.advertise or told_at(bound, "" if me is None else me.peer)
        if self.libp2p is not None:
            await self.libp2p.serve(self.server.admit)
            self.address = self.advertise or self.libp2p.address
            await self._reserved()
        fresh = not any(True for _ in self.journal.rounds()) and self.journal.position is None
        newest = await asyncio.to_thread(self.checkpoints.newest)
        self.have = None if newest is None else newest.sha256
        again_s = self.poll_s
        while not await self._arrive(fresh) and not await asyncio.to_thread(self.chain.ended):
            await asyncio.sleep(again_s)
            again_s = min(2 * again_s, max(_AGAIN_S, self.poll_s))

    async def _arrive(self, fresh: bool) -> bool:
        """Join; whether a signer answered. A member that remembers nothing may have committed already to the round that
        is open: it begins after it.
        """
        if not await self.join():
            return False
        if fresh:
            try:
                self.joined = await self.signers.planned()
            except PeerError as problem:
                _log.warning("no signer says which round is planned: %s", problem)
                return False
        return True

    async def _reserved(self) -> None:
        """Wait until a signer gets an answer at our libp2p address: who is told too early waits before it retries."""
        self.signers.in_office(await asyncio.to_thread(self.chain.signers))
        await asyncio.sleep(_RESERVATION_S)
        while not await self.signers.reach(self.address):
            _log.warning("no signer reaches %s yet, asking again", self.address)
            await asyncio.sleep(_REACH_S)

    async def join(self) -> bool:
        """Tell the signers that this member is there; whether one of them answers.

        Raises Dismissed when this provider is banned, or another key signs for it by now.
        """
        self.signers.in_office(await asyncio.to_thread(self.chain.signers))
        me = await self._registered()
        if me is not None and me.banned_until > await asyncio.to_thread(self.chain.time_s):
            raise Dismissed(
                "banned",
                f"Provider {self.index} is banned until {when(me.banned_until)}",
                "the signers recorded evidence against it on chain",
                "`commonweight provider credits --explain` names the evidence, with --epochs N further back;"
                " start again when the ban is over",
            )
        try:
            await self.signers.join(self.index, self.have, self.address)
        except (PeerError, FormatError) as problem:
            _log.warning("no signer can be joined: %s", problem)
            return False
        return True

    async def _registered(self) -> Provider | None:
        """This provider's entry. Raises Dismissed when another key has taken the place of the one that is used here."""
        me = await asyncio.to_thread(self.chain.provider, self.index)
        own = self.identity.address
        if me is not None and me.key != own:
            successor = await asyncio.to_thread(self.chain.successor, self.index, own)
            if successor is not None:
                raise Dismissed(
                    "replaced",
                    f"{own} does not sign for provider {self.index} any more",
                    f"its account registered {successor} instead",
                    "start with the keystore of that key; if nobody of yours did that, the account itself is in other"
                    " hands",
                )
        return me

    async def close(self) -> None:
        """Stop serving and give everything back."""
        await self.caught_up()
        for outcome in self.outcomes:
            outcome.close()
        for telling in list(self._telling):
            telling.cancel()
        await self.server.close()
        await self.signers.close()
        await self.dialer.close()
        if self.libp2p is not None:
            await self.libp2p.close()
        self.store.close()
        try:
            await asyncio.to_thread(self.checkpoints.close)
        finally:
            self.lock.close()
            if self.key_lock is not None:
                self.key_lock.close()

    # --- what this member makes --------------------------------------------------------------------------------------

    def train(self, folder: RoundFolder, base: Base, enough: Enough, progress: Progress) -> Work:
        """The inner steps of a round. Blocks."""
        return self.trainer.train(folder, base.checkpoint.weights, enough, progress)

    def go_ahead(self, folder: RoundFolder, enough: Enough, progress: Progress) -> None:
        """Take the next round's first steps in the background while this one is exchanged, where rounds overlap."""

        def enough_now(steps: int, segment_s: float) -> bool:
            return self.base_is_here or enough(steps, segment_s)

        async def steps() -> None:
            try:
                await asyncio.to_thread(self.trainer.go_ahead, folder, enough_now, progress)
            except (TrainingError, DeviceFull, DeviceLost, OSError) as problem:
                _log.warning("steps ahead of round %d are given up: %s", folder.body.round + 1, problem)

        if self.config.training.overlap and self.ahead is None:
            self.base_is_here = False
            self.ahead = asyncio.create_task(steps())

    async def caught_up(self) -> None:
        """End the steps that are taken ahead, at the next trace boundary; what lacks of them is taken with the rest."""
        self.base_is_here = True
        if self.ahead is not None:
            await asyncio.wait({self.ahead})
            self.ahead = None

    def commitment(self, folder: RoundFolder, body: Commitment) -> Signed:
        """Sign a commitment and store it, and what it ends with, before anybody sees it. Blocks."""
        self.journal.secure(body.trace)
        signed = sign_body(body, self.identity.key, self.identity.domain)
        folder.save_commitment(signed)
        return signed

    def own_part(self, folder: RoundFolder) -> OwnPart:
        """The signed message and the bytes of each part of the own payload; TrainingError for one that is not what was
        committed to, as when the disk gives other bytes than it was given: signing them would prove us a liar.
        """
        commitment = folder.commitment
        committed = () if commitment is None else Commitment.from_body(commitment.body).parts

        def part(number: int) -> tuple[Signed, bytes]:
            payload = folder.payload_part(number)
            digest = sha256_hex(payload)
            if number >= len(committed) or digest != committed[number].digest:
                raise TrainingError(
                    f"Part {number} of round {folder.body.round} is damaged", "it is not what was committed to"
                )
            message = PartMessage(
                folder.body.run, folder.body.round, folder.plan.digest, folder.body.base, number, self.index, digest
            )
            return sign_body(message, self.identity.key, self.identity.domain), payload

        return part

    # --- its place in a round ----------------------------------------------------------------------------------------

    def exchange(self, plan: Signed, keys: Mapping[int, str]) -> Exchange:
        """This member's side of a round's all-reduce, served to the others from now on; `keys` by member."""
        seat = Seat(self.index, self.identity.key, self.identity.domain, keys.get)
        exchange = Exchange(self.config, plan, seat, self.book, self, self.clock)
        self.server.serve(exchange)
        return exchange

    async def reduced(self, result: Signed, data: bytes) -> None:
        """Report a part that this member has reduced."""
        del data  # the signers compute it themselves
        try:
            await self.signers.result(result)
        except PeerError as problem:
            _log.info("a result could not be reported: %s", problem)

    def tell(self, work: Coroutine[None, None, None]) -> None:
        """Let others be told of something, whatever this member turns to meanwhile."""
        task = asyncio.create_task(work)
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def offence(self, offence: Offence, blobs: Mapping[str, bytes]) -> None:
        """Report an offence."""
        await self.signers.offence(offence, blobs)

    async def checkpoint(self, sha256: str) -> Held:
        """A checkpoint, from disk, the peers or the content store. Raises StoreError."""
        fetch = self.book.block_from_thread(asyncio.get_running_loop())
        return await asyncio.to_thread(self.checkpoints.get, sha256, PeerBlocks(fetch), self.store)

    async def know_plan(self, plan: Plan) -> dict[int, str]:
        """Look up the plan's members in the registry: their keys, returned by index, and where they can be reached."""
        providers = await asyncio.to_thread(self.chain.providers, plan.indices)
        for index, provider in providers.items():
            self.book.know(index, provider.key, provider.peer)
        return {index: provider.key for index, provider in providers.items()}


async def open_member(settings: ProviderSettings, make: Callable[..., Member] = Member) -> Member:
    """Open everything that the settings name. Raises the error of whatever is not right, by name."""
    member = await asyncio.to_thread(_open, settings, make)
    if settings.p2p:
        from commonweight.net.libp2p import Libp2p

        try:
            member.libp2p = member.dialer.tunnel = await Libp2p.start(settings.data_dir, settings.p2p)
        except BaseException:
            await member.close()
            raise
    return member


def _open(settings: ProviderSettings, make: Callable[..., Member]) -> Member:
    from commonweight.chain.keys import load_key, read_password
    from commonweight.chain.run import Run

    settings.data_dir.mkdir(parents=True, exist_ok=True)
    lock = _lock(settings.data_dir)
    password = read_password(settings.password_file, os.environ, prompt="Password of the provider's keystore: ")
    key = load_key(settings.keystore, password)
    run = Run.at(settings.connect(), settings.campaign)
    run.params.require_own_anchors()
    chain, campaign = OnChain(run), lower_address(run.address)
    index, journal = chain.index_of_key(key.address), Journal(settings.data_dir / "state")
    key_lock = None if settings.locks is None else lock_key(settings.locks, run, key.address, settings.data_dir)
    _require_a_part(run, index, begun=any(True for _ in journal.rounds()))
    store = open_store(settings.store)
    config = _load_config(store, run.params.config_cid, hex32(run.params.config_sha256))
    if settings.max_memory is not None:
        enough_memory(training_memory(config), settings.max_memory)
    corpus = _corpus(store, config, settings)
    identity = Identity(key.private_key, campaign, run.oracle.domain(), "member", index)
    upload = None if settings.max_upload is None else UploadCap(settings.max_upload)
    dialer = Dialer(identity, Limits(upload=upload))
    journal.recompute = Recall(config, corpus, journal, index, settings.threads or config.training.threads)
    trainer = _trainer(config, corpus, journal, index, settings)
    room = Room(
        settings.data_dir, journal, config, keep_states=settings.keep_states, cap=settings.max_disk,
        recalls=settings.engine.exact and world_size() == 1, step_s=lambda: trainer.step_s,
    )  # fmt: skip
    return make(
        config=config,
        identity=identity,
        chain=chain,
        store=store,
        signers=Signers(dialer, identity.domain, {**config.signers_peers, **settings.signer_peers}),
        book=PeerBook(dialer, index, largest_reply(config)),
        dialer=dialer,
        journal=journal,
        checkpoints=Checkpoints(settings.data_dir / "checkpoints", config, campaign),
        trainer=trainer,
        room=room,
        status=Status(settings.data_dir / "status.jsonl", campaign, index),
        poll_s=settings.poll_s,
        lock=lock,
        key_lock=key_lock,
        advertise=settings.advertise,
        upload=upload,
    )


def _require_a_part(run: Run, index: int, *, begun: bool) -> None:
    """TrainingError for a provider that has left, and for a run in which nothing is trained any more. Who has rounds on
    disk (`begun`), of a run that did not fail, may still be asked for their states, and ends by itself.
    """
    if run.registry.provider_at(index).exit_at:
        raise TrainingError(
            f"Provider {index} has left the run",
            "its account asked for the stake back, so it is planned in no round",
            "register another account by `commonweight provider register` to train again",
        )
    if (run.campaign.failed() or not begun) and (over := run.untrainable()):
        raise TrainingError(
            f"Nothing is trained in {run.params.name} any more", over,
            "lend this machine to another run, which `commonweight run list` shows; `commonweight provider exit` and"
            " later `--withdraw` take the stake back",
        )  # fmt: skip


def _corpus(store: ContentStore, config: RunConfig, settings: ProviderSettings) -> data.Corpus:
    """What this member trains on: the published shards, or its own in a run on private shards."""
    own = data.own_shards(store, config, settings.private_data)
    if own is not None:
        return own
    data.fetch(store, config.data.manifest_cid, config.data.manifest_sha256, settings.data_dir / "data")
    return data.Corpus.open(settings.data_dir / "data", config.data.manifest_sha256)


def _trainer(
    config: RunConfig, corpus: data.Corpus, journal: Journal, index: int, settings: ProviderSettings
) -> RoundTrainer:
    """On this process alone, or on all that torchrun has started."""
    threads, keep_states, engine = settings.threads, settings.keep_states, settings.engine
    if world_size() == 1:
        engine.require()
        make = partial(InnerOptimizer, engine=engine)
        return RoundTrainer(config, corpus, journal, index, threads, keep_states, make)
    if not engine.exact:
        raise UsageError(
            "A member of several processes trains on the plain CPU engine",
            "its ranks share the model by gloo",
            "leave --device and --compile out, or start one process",
        )
    if keep_states != 1:
        raise UsageError(
            "A member of several processes keeps every trace state",
            "a state that all of them made cannot be computed again by one, to the last bit",
            "leave --keep-states out",
        )
    from trainer.sharded import ShardedOptimizer

    optimizer = ShardedOptimizer(config, threads)
    atexit.register(optimizer.close)
    return RoundTrainer(config, corpus, journal, index, threads, make=lambda _: optimizer)


def _load_config(store: ContentStore, cid: str, sha256: str) -> RunConfig:
    from commonweight.store.cid import parse_cid

    config = RunConfig.load(store.get(parse_cid(cid), max_bytes=2**20, sha256=sha256))
    if config.sha256 != sha256:
        raise ConfigError("run.json is not the one that the chain names", f"CID {cid}")
    return config


def _lock(folder: Path) -> BinaryIO:
    """Keep a second process away from the folder: two of them could commit twice to one round."""
    lock = (folder / "lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise TrainingError(
            f"Another process works in {folder}",
            "it holds the lock file there",
            "stop it; never start a second one with the same key, there or elsewhere: that is a ban",
        ) from None
    return lock
