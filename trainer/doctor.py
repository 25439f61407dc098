"""`examine(settings)`: before a provider starts, everything that would go wrong, why, and how to mend it.

Looks at the machine, the key, the chain, the registration, the store and the signers, and asks a signer whether it can
connect to where this provider says that it listens: nobody can see the own address from inside.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from commonweight.chain.keys import Key, load_key, read_password
from commonweight.chain.run import Run
from commonweight.checks import (
    CLOCK_S,
    FREE_BYTES,
    Finding,
    attempt,
    clock,
    enough_memory,
    folder,
    free_to_listen,
    in_use,
    memory,
    round_trip,
)
from commonweight.errors import CommonweightError, PeerError
from commonweight.estimate import Shape, device_bytes, training_memory
from commonweight.net import Caller, Dialer, Identity, Server, is_multiaddr, split_address
from commonweight.protocol.data import DataManifest
from commonweight.protocol.fields import hex32, lower_address
from commonweight.protocol.runconfig import RunConfig
from commonweight.quantities import format_amount, show_size, when
from commonweight.store import ContentStore, open_store, parse_cid
from trainer.alone import require_alone
from trainer.data import own_shards
from trainer.room import disk_bytes
from trainer.settings import ProviderSettings

_CALL_S = 12.0
_RESERVATION_S = 3.0
_ROUNDS_KEPT = 3


@dataclass(frozen=True)
class _Seat:
    """A registered provider, as the chain knows it."""

    run: Run
    key: Key
    index: int
    peer: str


def examine(settings: ProviderSettings) -> tuple[Finding, ...]:
    """All findings, in the order in which a provider would mend them."""
    findings: list[Finding] = []
    running = in_use(settings.data_dir)
    engine = settings.engine
    can_train = f"The device {engine.device} can train"
    if importlib.util.find_spec("torch") is None:
        findings.append(Finding(False, can_train, "torch is missing", "pip install 'commonweight[train]'"))
    else:
        attempt(findings, can_train, lambda: engine.require())
    trains = findings[-1].ok
    if engine.kind == "cpu" and shutil.which("nvidia-smi") is not None:
        findings.append(Finding(True, "There is a card that is not trained on", "to train on it: --device cuda"))
    if running:
        findings.append(Finding(True, "A provider's process runs in this data directory"))
    else:
        findings.append(free_to_listen(settings.listen))
        if settings.metrics is not None:
            findings.append(free_to_listen(settings.metrics, "--metrics"))
    if settings.tensorboard is not None:
        there = importlib.util.find_spec("tensorboardX") is not None
        why = "" if there else "tensorboardX is missing"
        fix = "pip install 'commonweight[tensorboard]'"
        findings.append(Finding(there, "Curves for TensorBoard can be written", why, fix))
    key = attempt(findings, "The keystore opens", lambda: _key(settings))
    chain = settings.connect()
    answers = attempt(findings, "The RPC answers", chain.finalized_block)
    run = None if answers is None else attempt(findings, "The run is there", lambda: Run.at(chain, settings.campaign))
    seat: _Seat | None = None
    if run is not None:
        findings.append(clock(run.chain.timestamp(), time.time(), max(CLOCK_S, run.params.anchor_window)))
        over = run.untrainable()
        fix = "Lend this machine to another run; `commonweight run list` shows them."
        findings.append(Finding(not over, "The run still trains", over, fix))
        if key is not None:
            seat = _registration(findings, run, key, settings)
    config = _content(findings, settings, run)
    findings += folder(settings.data_dir, FREE_BYTES if config is None else _disk(config, settings))
    if config is not None:
        needed = training_memory(config)
        findings.append(memory(needed))
        if engine.kind != "cpu" and trains and not running:
            training = config.training
            steps = device_bytes(Shape.of(config.model), training.batch, training.seq_len)
            attempt(findings, "The training fits into the card", lambda: engine.require_memory(steps))
        findings += _caps(settings, config, needed)
        signers = {**config.signers_peers, **settings.signer_peers}
        findings += _network(settings, seat, signers, running=running)
    return tuple(findings)


def _key(settings: ProviderSettings) -> Key:
    password = read_password(settings.password_file, os.environ, prompt="Password of the provider's keystore: ")
    return load_key(settings.keystore, password)


def _registration(findings: list[Finding], run: Run, key: Key, settings: ProviderSettings) -> _Seat | None:
    """The key's place on chain: registered, staked, neither gone nor banned, and listed where it listens."""
    index = attempt(findings, "The key is registered", lambda: run.registry.index_of_key(key.address))
    if index is None:
        return None
    entry, needed = run.registry.provider_at(index), run.params.provider_stake
    symbol, decimals = run.asset.symbol(), run.asset.decimals()
    there, whole = (format_amount(amount, symbol, decimals) for amount in (entry.stake, needed))
    why = "" if entry.stake >= needed else f"{there} of {whole} are there"
    fix = "It was slashed or taken back: register with another account."
    findings.append(Finding(entry.stake >= needed, "The stake is whole", why, fix))
    present = lower_address(entry.signing_key) == lower_address(key.address)
    why = "" if present else f"Its account registered {entry.signing_key} instead"
    findings.append(Finding(present, "The key is the one that signs now", why, "Use the keystore of that key."))
    gone = bool(entry.exit_at)
    why = "It has left the run" if gone else ""
    findings.append(Finding(not gone, "The provider is in the run", why, "Register with another account."))
    banned = run.registry.is_banned(index)
    why = f"It is until {when(entry.banned_until)}" if banned else ""
    findings.append(Finding(not banned, "The provider is not banned", why, "Start again when the ban is over."))
    told = settings.advertise or (f"{settings.p2p[0]}/p2p-circuit" if settings.p2p else settings.listen)
    same = entry.peer == told or (settings.advertise is None and _same_place(entry.peer, told))
    why = "" if same else f"The registry says {entry.peer}, this provider {told}"
    fix = "Name the registered address by --advertise and its port by --listen, or its relay by --p2p."
    findings.append(Finding(same, "The registered address is the one that is listened on", why, fix))
    return _Seat(run, key, index, entry.peer)


def _same_place(registered: str, told: str) -> bool:
    """Whether it is one port, whatever the host's name is, or one relay."""
    if is_multiaddr(registered) or is_multiaddr(told):
        return registered.startswith(f"{told}/p2p/")
    try:
        return split_address(registered)[1] == split_address(told)[1]
    except PeerError:  # port 0, or what an older program has registered
        return False


def _content(findings: list[Finding], settings: ProviderSettings, run: Run | None) -> RunConfig | None:
    """The store: that it takes and gives, and has what this run needs."""
    store = attempt(findings, "The content store opens", lambda: open_store(settings.store))
    if store is None:
        return None
    try:
        attempt(findings, "The content store takes a file and gives it back", lambda: round_trip(store))
        if run is None:
            return None
        config = attempt(findings, "run.json is in the store", lambda: _config(store, run))
        if config is not None:
            attempt(findings, "The data set is in the store", lambda: _dataset(store, config))
            if config.private or settings.private_data is not None:
                own = settings.private_data
                attempt(findings, "The shards here fit the run", lambda: own_shards(store, config, own))
        return config
    finally:
        store.close()


def _config(store: ContentStore, run: Run) -> RunConfig:
    sha256 = hex32(run.params.config_sha256)
    return RunConfig.load(store.get(parse_cid(run.params.config_cid), max_bytes=2**20, sha256=sha256))


def _dataset(store: ContentStore, config: RunConfig) -> None:
    raw = store.get(parse_cid(config.data.manifest_cid), sha256=config.data.manifest_sha256)
    for shard in DataManifest.load(raw).train.shards:
        store.info(parse_cid(shard.cid))


def _caps(settings: ProviderSettings, config: RunConfig, needed: int) -> Iterator[Finding]:
    """What its owner allows; a GPU's power can be capped by its driver alone, which wants an administrator."""
    if (allowed := settings.max_memory) is not None:
        found: list[Finding] = []
        attempt(found, "The training fits into --max-memory", lambda: enough_memory(needed, allowed))
        yield from found
    if (most := settings.max_disk) is not None:
        least = disk_bytes(config, _ROUNDS_KEPT, settings.keep_states)
        why = "" if least <= most else f"{_ROUNDS_KEPT} rounds take {show_size(least)}, allowed is {show_size(most)}"
        fix = "Raise --max-disk, or keep fewer states by --keep-states."
        yield Finding(least <= most, "The files of a few rounds fit into --max-disk", why, fix)
    if shutil.which("nvidia-smi") is not None:
        told = "nothing here changes a GPU's power; to cap it: sudo nvidia-smi -pl WATTS"
        yield Finding(True, "The GPU's power is as its driver says", told)


def _disk(config: RunConfig, settings: ProviderSettings) -> int:
    """What a few rounds take, and some room beside."""
    return FREE_BYTES + disk_bytes(config, _ROUNDS_KEPT, settings.keep_states)


# --- the network -----------------------------------------------------------------------------------------------------


def _network(
    settings: ProviderSettings, seat: _Seat | None, signers: Mapping[str, str], *, running: bool
) -> Iterator[Finding]:
    """Signers can be reached, and one of them can reach this provider."""
    reachable = "Others can reach this provider"
    if seat is None:
        yield Finding(False, reachable, "Signers answer this to registered providers only", "Register first.")
        return
    if not running:
        alone: list[Finding] = []
        attempt(alone, "No other process uses this key", lambda: asyncio.run(_alone(seat)))
        yield from alone
        if not alone[0].ok:
            return
    in_office = [lower_address(signer) for signer in seat.run.oracle.signers()]
    known = {signer: signers[signer] for signer in in_office if signer in signers}
    answers = asyncio.run(_ask(settings, seat, known, running=running))
    if isinstance(answers, CommonweightError):
        yield Finding(False, reachable, str(answers.what), "Mend what is wrong above, then ask again.")
        return
    told = {signer: told for signer, told in answers.items() if isinstance(told, bool)}
    silent = {signer: str(problem) for signer, problem in answers.items() if not isinstance(problem, bool)}
    enough = 2 * len(told) > len(in_office)
    why = "" if enough else "; ".join(silent.values()) or "Their addresses are not known"
    fix = "Check this machine's way out, or name addresses by --signer-peers."
    yield Finding(enough, "More than half of the signers answer", why, fix)
    where = settings.advertise or seat.peer
    if not told:
        yield Finding(False, f"{reachable} at {where}", "No signer could be asked", "Reach a signer first.")
        return
    seen = any(told.values())
    fix = "Open that port in the firewall, forward it in the router, or register the address that others see."
    why = "" if seen else f"{len(told)} signers tried and none got an answer by this key there"
    yield Finding(seen, f"{reachable} at {where}", why, fix)


async def _alone(seat: _Seat) -> None:
    """Raises TrainingError when something answers with this key where it is registered."""
    dialer = Dialer(_identity(seat))
    try:
        await require_alone(dialer, lower_address(seat.key.address), seat.peer)
    finally:
        await dialer.close()


def _identity(seat: _Seat) -> Identity:
    run = seat.run
    return Identity(seat.key.private_key, lower_address(run.address), run.oracle.domain(), "member", seat.index)


async def _ask(
    settings: ProviderSettings, seat: _Seat, signers: Mapping[str, str], *, running: bool
) -> dict[str, bool | CommonweightError] | CommonweightError:
    """By signer, whether it reached us, or why it could not be asked. Serves at the address meanwhile, unless the
    provider's own process does.
    """
    identity = _identity(seat)
    server, dialer = Server(identity, {}, _let_in), Dialer(identity)
    where, libp2p = settings.advertise or seat.peer, None

    async def one(signer: str, address: str) -> bool | CommonweightError:
        try:
            reply = await dialer.call(address, signer, "reach", {"peer": where}, timeout_s=_CALL_S)
        except PeerError as problem:
            return problem
        return reply.params.get("reachable") is True

    try:
        if not running:
            await server.start(*split_address(settings.listen))
        if settings.p2p and not running:
            from commonweight.net.libp2p import Libp2p

            libp2p = await Libp2p.start(settings.data_dir, settings.p2p)
            await libp2p.serve(server.admit)
            await asyncio.sleep(_RESERVATION_S)
        found = await asyncio.gather(*(one(signer, address) for signer, address in signers.items()))
    except OSError as error:
        return CommonweightError(f"{settings.listen} cannot be listened on: {error}")
    except PeerError as problem:
        return problem
    finally:
        await server.close()
        await dialer.close()
        if libp2p is not None:
            await libp2p.close()
    return dict(zip(signers, found, strict=True))


async def _let_in(_: Caller) -> None:
    """Whoever proves a key may look; there is nothing to be had but `ping`."""
