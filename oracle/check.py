"""`check(settings)`: before the start, everything that would go wrong, why, and how to mend it. Changes nothing."""

import importlib.util
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from commonweight.chain.run import Run
from commonweight.checks import CLOCK_S, Finding, attempt, clock, folder, free_to_listen, in_use
from commonweight.protocol.data import DataManifest
from commonweight.protocol.fields import lower_address
from commonweight.protocol.runconfig import RunConfig
from commonweight.quantities import format_amount
from commonweight.store import ContentStore, open_store, parse_cid
from oracle.seat import connect_chain, load_config, open_keys
from oracle.settings import OracleSettings
from oracle.worker import require

_ANCHOR_GAS = 250_000
_ANCHORS_AHEAD = 200


@dataclass(frozen=True)
class _Opened:
    run: Run
    store: ContentStore
    config: RunConfig


def check(settings: OracleSettings) -> tuple[Finding, ...]:
    """All findings, in the order in which an operator would mend them."""
    findings = [*_local(settings)]
    keys = attempt(findings, "The keystores open", lambda: open_keys(settings, os.environ))
    chain = attempt(findings, "The RPC answers", lambda: _answering(settings))
    store = attempt(findings, f"The content store at {settings.store} opens", lambda: open_store(settings.store))
    run = None if chain is None else attempt(findings, "The run is there", lambda: _run(settings))
    if run is not None:
        slack_s = max(CLOCK_S, run.params.anchor_window)
        findings.append(clock(run.chain.timestamp(), time.time(), slack_s))
        if keys is not None:
            findings += _signer(run, keys[0].address, keys[1].address)
    if run is not None and store is not None:
        data = attempt(findings, "run.json is in the store", lambda: load_config(run, store))
        if data is not None:
            opened = _Opened(run, store, RunConfig.load(data))
            attempt(findings, "The data set is in the store", lambda: _dataset(opened))
            findings += _peers(settings, opened)
    return tuple(findings)


def _local(settings: OracleSettings) -> Iterator[Finding]:
    """The machine: disk, port, the replay worker's library."""
    yield from folder(settings.data_dir)
    if in_use(settings.data_dir):
        yield Finding(True, "A signer's process runs in this data directory")
    else:
        yield free_to_listen(settings.listen)
    there = importlib.util.find_spec("torch") is not None
    why = "" if there else "torch is missing"
    yield Finding(there, "Replays can be run", why, "pip install 'commonweight[oracle]'")
    if there and settings.replays_on:
        found: list[Finding] = []
        attempt(found, f"The device {settings.device} can replay", lambda: require(settings))
        yield from found


def _answering(settings: OracleSettings) -> int:
    return connect_chain(settings, None).finalized_block().number


def _run(settings: OracleSettings) -> Run:
    return Run.at(connect_chain(settings, None), settings.campaign)


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
    symbol, decimals = run.asset.symbol(), run.asset.decimals()
    paid, whole = (format_amount(amount, symbol, decimals) for amount in (held, needed))
    why = "" if held >= needed else f"{paid} of {whole} are paid"
    yield Finding(held >= needed, "The bond is full", why, "commonweight oracle bond")
    block = run.chain.block()
    wanted = _ANCHORS_AHEAD * _ANCHOR_GAS * max(1, 2 * block.base_fee_wei)
    balance = run.chain.balance(transmitter)
    lacking = f"it has {format_amount(balance)}; {_ANCHORS_AHEAD} anchors need {format_amount(wanted)}"
    why = "" if balance >= wanted else lacking
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
    if settings.coordinators:
        named = settings.coordinators[-1]
        yield Finding(named in signers, "The coordinator is a signer", named, "name a signer by --coordinator")
