"""`check(settings)`: before the start, everything that would go wrong, why, and how to mend it. Changes nothing."""

import importlib.util
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from commonweight.chain.run import Run
from commonweight.errors import CommonweightError
from commonweight.net import split_address
from commonweight.protocol.data import DataManifest
from commonweight.protocol.fields import lower_address
from commonweight.protocol.runconfig import RunConfig
from commonweight.store import ContentStore, open_store, parse_cid
from oracle.seat import connect_chain, load_config, open_keys
from oracle.settings import OracleSettings

T = TypeVar("T")
_CLOCK_S = 5
_ANCHOR_GAS = 250_000
_ANCHORS_AHEAD = 200
_FREE_BYTES = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. When it is not `ok`, `why` and `fix` say what is wrong and what to do."""

    ok: bool
    what: str
    why: str = ""
    fix: str = ""


@dataclass(frozen=True)
class _Opened:
    run: Run
    store: ContentStore
    config: RunConfig


def check(settings: OracleSettings) -> tuple[Finding, ...]:
    """All findings, in the order in which an operator would mend them."""
    findings = [*_local(settings)]
    keys = _try(findings, "The keystores open", lambda: open_keys(settings, os.environ))
    chain = _try(findings, "The RPC answers", lambda: _answering(settings))
    store = _try(findings, f"The content store at {settings.store} opens", lambda: open_store(settings.store))
    run = None if chain is None else _try(findings, "The run is there", lambda: _run(settings))
    if run is not None:
        findings += _clock(run)
        if keys is not None:
            findings += _signer(run, keys[0].address, keys[1].address)
    if run is not None and store is not None:
        data = _try(findings, "run.json is in the store", lambda: load_config(run, store))
        if data is not None:
            opened = _Opened(run, store, RunConfig.load(data))
            _try(findings, "The data set is in the store", lambda: _dataset(opened))
            findings += _peers(settings, opened)
    return tuple(findings)


def _try(findings: list[Finding], what: str, look: Callable[[], T]) -> T | None:
    """What `look` returns; its error becomes a finding."""
    try:
        found = look()
    except CommonweightError as error:
        findings.append(Finding(False, what, f"{error.what}. {error.why}".strip(), error.fix))
        return None
    findings.append(Finding(True, what))
    return found


def _local(settings: OracleSettings) -> Iterator[Finding]:
    """The machine: disk, port, the replay worker's library."""
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(settings.data_dir).free
        writable = os.access(settings.data_dir, os.W_OK)
    except OSError as error:
        yield Finding(False, f"{settings.data_dir} can be written", str(error), "choose another --data-dir")
    else:
        yield Finding(writable, f"{settings.data_dir} can be written", "", "give this user the right to write there")
        why = f"{free >> 20} MiB are free" if free < _FREE_BYTES else ""
        yield Finding(free >= _FREE_BYTES, "There is disk space", why, "free at least 1 GiB on that disk")
    try:
        host, port = split_address(settings.listen)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
        yield Finding(True, f"{settings.listen} is free to listen on")
    except (OSError, CommonweightError) as error:
        fix = "stop what uses the port, or choose another --listen"
        yield Finding(False, f"{settings.listen} is free to listen on", str(error), fix)
    there = importlib.util.find_spec("torch") is not None
    why = "" if there else "torch is missing"
    yield Finding(there, "Replays can be run", why, "pip install 'commonweight[oracle]'")


def _answering(settings: OracleSettings) -> int:
    return connect_chain(settings, None).finalized_block().number


def _run(settings: OracleSettings) -> Run:
    return Run.at(connect_chain(settings, None), settings.campaign)


def _clock(run: Run) -> Iterator[Finding]:
    apart = abs(run.chain.timestamp() - time.time())
    why = f"they are {apart:.0f} s apart" if apart > _CLOCK_S else ""
    slow = apart > max(_CLOCK_S, run.params.anchor_window)
    fix = "set the clock by NTP, or use an RPC that is up to date"
    yield Finding(not slow, "This clock and the chain's agree", why, fix)


def _signer(run: Run, signer: str, transmitter: str) -> Iterator[Finding]:
    """The keys' place on chain: in office, transmitter, bond, gas money."""
    what = f"{signer} is a signer in office"
    if signer not in run.oracle.signers():
        yield Finding(False, what, "the run's set does not name it", "use a signer's keystore")
        return
    yield Finding(True, what)
    named = run.oracle.transmitter_of(signer)
    why = "" if named == transmitter else f"the chain names {named}, the keystore holds {transmitter}"
    yield Finding(named == transmitter, "The transmitter is the registered one", why, "use its keystore")
    held, needed = run.oracle.bond_of(signer), run.params.signer_bond
    why = "" if held >= needed else f"{held} of {needed} are paid"
    yield Finding(held >= needed, "The bond is full", why, "commonweight oracle bond")
    block = run.chain.block()
    wanted = _ANCHORS_AHEAD * _ANCHOR_GAS * max(1, 2 * block.base_fee_wei)
    balance = run.chain.balance(transmitter)
    why = "" if balance >= wanted else f"it has {balance} wei; {_ANCHORS_AHEAD} anchors need {wanted}"
    yield Finding(balance >= wanted, "The transmitter can pay for gas", why, f"send money to {transmitter}")


def _dataset(opened: _Opened) -> None:
    data = opened.config.data
    raw = opened.store.get(parse_cid(data.manifest_cid), sha256=data.manifest_sha256)
    manifest = DataManifest.load(raw)
    for shard in (*manifest.train.shards, *manifest.heldout.shards):
        opened.store.info(parse_cid(shard.cid))


def _peers(settings: OracleSettings, opened: _Opened) -> Iterator[Finding]:
    known = {**opened.config.signers_peers, **settings.peers}
    signers = [lower_address(s) for s in opened.run.oracle.signers()]
    unknown = [signer for signer in signers if signer not in known]
    fix = "name them by --peers, or in run.json's signers_peers"
    yield Finding(not unknown, "Every signer's address is known", ", ".join(unknown), fix)
    if settings.coordinator is not None:
        named = settings.coordinator in signers
        yield Finding(named, "The coordinator is a signer", settings.coordinator, "name a signer by --coordinator")
