"""Before the training: the data, the run, the funders' deposits, the signers' bonds and the providers' stakes."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from commonweight.chain.contracts import Campaign, Factory
from commonweight.chain.deploy import deploy_factory
from commonweight.chain.run import Run
from commonweight.chain.structs import ZERO_ADDRESS, Milestone, RunParams
from commonweight.protocol.canonical import Json
from commonweight.protocol.runconfig import RunConfig
from commonweight.store import open_store
from scenes.cast import Player
from scenes.demo import EPOCH_S, Demo
from scenes.stage import StageError, free_port, units

ETH = 10**18
ROUNDS, COOLDOWN = 7, 1
LAST_EPOCH, TAIL_EPOCHS = 7, 8
"""How long training and judging may take on a slow machine; a fast one ends after ROUNDS and waits for nothing."""
DEPOSITS = (41_700_000_000_000_000_000, 23_050_000_000_000_000_000, 12_123_456_789_012_345_679)
DATA_BYTES = 6_000_000


def create_run(demo: Demo) -> Run:
    """Prepare the data, publish the run's configuration, deploy the factory and let it make the run."""
    from trainer.data import Corpus, publish
    from trainer.preparation import prepare

    screen, cast = demo.screen, demo.cast
    store = open_store(demo.store)
    data_dir = demo.directory / "data"
    manifest = prepare(None, data_dir, max_bytes=DATA_BYTES).manifest
    entropy = Corpus.open(data_dir).unigram_entropy()
    screen.say(
        f"text of this machine's Python library: {manifest.train.tokens:,} bytes to train on,"
        f" {manifest.heldout.tokens:,} held out, in hashed shards; unigram entropy {entropy:.3f} nats a byte"
    )
    peers: dict[str, Json] = {player.address.lower(): f"127.0.0.1:{free_port()}" for player in cast.signers}
    config = RunConfig.parse(
        {
            "name": "Commonweight demo",
            "model": {"preset": "nano"},
            "genesis_seed": "0x" + secrets.token_hex(32),
            "data": {"manifest_cid": str(publish(store, data_dir)), "manifest_sha256": manifest.sha256},
            "training": {
                "h": 20, "overlap": 5, "trace_every": 5, "max_rounds": ROUNDS, "inner": {"cooldown": COOLDOWN},
            },
            "timing_ms": {"train": 12_000, "exchange": 5_000, "record": 3_000, "slow_ban": 20_000},
            "verification": {"state_wait_ms": 20_000},
            "serving": {"price_per_token": str(ETH // 1000), "max_completion_tokens": 64},
            "signers_peers": peers,
        }
    )
    config_cid = store.put(config.to_bytes())

    with screen.progress("deploying", 10) as update:
        names: list[str] = []

        def mined(name: str) -> None:
            names.append(name)
            update(len(names), f"deployed {name}")

        deployment = deploy_factory(demo.chain(cast.creator), mined)
        factory = Factory(demo.chain(cast.creator), deployment.factory.address)
        params = run_params(demo, config, str(config_cid))
        created, receipt = factory.create_run(params)
        update(10, "created the run")
    run = Run.at(demo.chain(), created.campaign)
    screen.say(f"run [bold]{created.campaign}[/bold], made in one transaction of {receipt.gas_used:,} gas")
    screen.say(
        f"goal {units(run.params.goal)}, {run.params.capital_bps / 100:.0f} % of revenue to capital,"
        f" quorum {run.params.quorum} of {len(run.params.signers)}, epochs of {run.params.epoch_length} s"
    )
    return run


def run_params(demo: Demo, config: RunConfig, config_cid: str) -> RunParams:
    """Everything that the run fixes for good; windows of a few seconds."""
    start = demo.chain().timestamp() + 16
    return RunParams(
        asset=ZERO_ADDRESS,
        goal=60 * ETH,
        cap=100 * ETH,
        deposit_deadline=start,
        capital_bps=5_000,
        wage_per_credit=ETH // 200,
        oracle_bps=500,
        server_bps=1_000,
        epoch_start=start,
        epoch_length=EPOCH_S,
        last_epoch=LAST_EPOCH,
        tail_epochs=TAIL_EPOCHS,
        report_span=23,
        attempt_length=11,
        challenge_window=5,
        answer_time=1,
        dispute_period=EPOCH_S,
        anchor_window=3,
        rotation_delay=EPOCH_S,
        withdrawal_delay=30,
        max_credits_per_epoch=1_000_000,
        anchor_every=1,
        evidence_retention=86_400,
        provider_stake=20 * ETH,
        signer_bond=10 * ETH,
        challenge_bond=ETH,
        dispute_bond=ETH,
        quorum=2,
        signers=tuple(player.address for player in demo.cast.signers),
        transmitters=tuple(player.address for player in demo.cast.transmitters),
        config_sha256=bytes.fromhex(config.sha256[2:]),
        config_cid=config_cid,
        name=config.name,
        data_licence="PSF-2.0",
        weights_licence="Apache-2.0",
        milestones=(
            Milestone.open(4_000),
            Milestone(deadline_epoch=LAST_EPOCH, min_credits=1, max_loss_micro=5_000_000, tranche_bps=6_000),
        ),
    )


def fund(demo: Demo, run: Run) -> None:
    """Three funders deposit unequal amounts from their own keys."""
    demo.screen.phase("Funding")

    def deposit(funder: Player, amount: int) -> None:
        Campaign(demo.chain(funder), run.addresses.campaign, run.params.asset).deposit(amount)

    with ThreadPoolExecutor() as pool:
        list(pool.map(deposit, demo.cast.funders, DEPOSITS))
    raised = run.campaign.raised()
    rows = [
        (f.name, units(amount := run.campaign.contribution_of(f.address)), f"{100 * amount / raised:.2f} %")
        for f in demo.cast.funders
    ]
    demo.screen.table(("funder", ">deposited", ">share"), [*rows, ("all", units(raised), "100.00 %")])
    if raised < run.params.goal:
        raise StageError("The goal was not met.", f"raised {units(raised)}", "")
    demo.screen.say("the goal is met; deposits end when epoch 0 begins")


def register(demo: Demo, run: Run) -> None:
    """Signers post their bonds, four providers their stakes."""
    demo.screen.phase("Signers post bonds, providers post stakes")

    def bond(signer: Player, transmitter: Player) -> None:
        Run.at(demo.chain(transmitter), run.addresses.campaign).oracle.post_bond(signer.address, run.params.signer_bond)

    with ThreadPoolExecutor() as pool:
        bonds = pool.map(bond, demo.cast.signers, demo.cast.transmitters)
        list(pool.map(partial(enlist, demo, run), demo.cast.providers[:4]))
        list(bonds)
    rows = [
        (str(i), demo.cast.provider_at(p.account).name, p.peer, units(p.stake))
        for i in range(run.registry.provider_count())
        for p in [run.registry.provider_at(i)]
    ]
    demo.screen.table(("index", "provider", "listens at", ">stake"), rows)
    held = ", ".join(f"{s.name} {units(run.oracle.bond_of(s.address))}" for s in demo.cast.signers)
    demo.screen.say(f"bonds: {held}")


def enlist(demo: Demo, run: Run, player: Player) -> None:
    """Register one provider with its stake, signing key and address."""
    registry = Run.at(demo.chain(player), run.addresses.campaign).registry
    registry.register(player.address, player.address, f"127.0.0.1:{free_port()}", run.params.provider_stake)
