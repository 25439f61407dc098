"""The run of `commonweight dev up`: small enough to train on a laptop's CPU, with windows of seconds."""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from commonweight.chain.client import Chain
from commonweight.chain.contracts import Factory
from commonweight.chain.keys import Key
from commonweight.chain.run import Run
from commonweight.chain.structs import ZERO_ADDRESS, Milestone, RunParams
from commonweight.errors import ChainError, UsageError
from commonweight.protocol.canonical import Json
from commonweight.protocol.runconfig import RunConfig
from commonweight.store import open_store

ETH = 10**18
EPOCH_S = 60
LAST_EPOCH = 7 * 24 * 60  # a week of minutes
DATA_BYTES = 1_000_000


@dataclass(frozen=True)
class Signer:
    """A signer of the run: by which keys, and where it listens."""

    name: str
    address: str
    transmitter: str
    peer: str


def still_open(chain: Chain, address: str) -> Run | None:
    """The run at an address if it is there, has not failed and is not over."""
    try:
        run = Run.at(chain, address)
    except (ChainError, UsageError):
        return None
    over = run.campaign.failed() or chain.timestamp() >= run.params.epoch_end(run.params.last_epoch)
    return None if over else run


def prepare_data(place: Path) -> tuple[str, str]:
    """Python's own source as training data, in the store: its manifest's CID and SHA-256."""
    from trainer.data import publish
    from trainer.preparation import prepare

    manifest = prepare(None, place / "data" / "prepared", max_bytes=DATA_BYTES).manifest
    store = open_store(str(place / "store"))
    try:
        return str(publish(store, place / "data" / "prepared")), manifest.sha256
    finally:
        store.close()


def create(
    place: Path, chain: Chain, factory: str, signers: tuple[Signer, ...], data: tuple[str, str], deposits_s: int
) -> Run:
    """Publish run.json and create the run. `chain` signs as the creator."""
    store = open_store(str(place / "store"))
    peers: dict[str, Json] = {signer.address.lower(): signer.peer for signer in signers}
    config = RunConfig.parse(
        {
            "name": "dev",
            "model": {"preset": "nano"},
            "genesis_seed": "0x" + secrets.token_hex(32),
            "data": {"manifest_cid": data[0], "manifest_sha256": data[1]},
            "training": {"h": 20, "trace_every": 5, "min_members": 1},
            "timing_ms": {"train": 12_000, "exchange": 5_000, "record": 3_000, "slow_ban": 20_000},
            "verification": {"state_wait_ms": 20_000},
            "serving": {"price_per_token": str(ETH // 1000), "max_completion_tokens": 64},
            "signers_peers": peers,
        }
    )
    cid = str(store.put(config.to_bytes()))
    store.close()
    params = _params(chain.timestamp() + deposits_s, signers, config, cid)
    created, _ = Factory(chain, factory).create_run(params)
    return Run.at(chain, created.campaign)


def post_bonds(run: Run, keys: dict[str, Key], signers: tuple[Signer, ...]) -> None:
    """Pay what is missing of each signer's bond, from its transmitter."""
    for signer in signers:
        missing = run.params.signer_bond - run.oracle.bond_of(signer.address)
        if missing > 0:
            paying = run.chain.with_key(keys[signer.transmitter])
            Run.at(paying, run.address).oracle.post_bond(signer.address, missing)


def free_address() -> str:
    """HOST:PORT of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _params(start: int, signers: tuple[Signer, ...], config: RunConfig, cid: str) -> RunParams:
    ordered = sorted(signers, key=lambda signer: int(signer.address, 16))
    return RunParams(
        asset=ZERO_ADDRESS,
        goal=ETH,
        cap=100 * ETH,
        deposit_deadline=start,
        capital_bps=6_000,
        wage_per_credit=10**12,
        oracle_bps=500,
        server_bps=1_000,
        epoch_start=start,
        epoch_length=EPOCH_S,
        last_epoch=LAST_EPOCH,
        tail_epochs=2,
        report_span=40,
        attempt_length=20,
        challenge_window=8,
        answer_time=1,
        dispute_period=EPOCH_S,
        anchor_window=3,
        rotation_delay=EPOCH_S,
        withdrawal_delay=30,
        max_credits_per_epoch=10**9,
        anchor_every=1,
        evidence_retention=86_400,
        provider_stake=ETH // 10,
        signer_bond=ETH,
        challenge_bond=ETH // 10,
        dispute_bond=ETH // 10,
        quorum=len(ordered) // 2 + 1,
        signers=tuple(signer.address for signer in ordered),
        transmitters=tuple(signer.transmitter for signer in ordered),
        config_sha256=bytes.fromhex(config.sha256[2:]),
        config_cid=cid,
        name=config.name,
        data_licence="PSF-2.0",
        weights_licence="Apache-2.0",
        milestones=(Milestone.open(),),
    )
