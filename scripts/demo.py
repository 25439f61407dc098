"""The whole life of a run on this machine: fund, train, attest, serve, pay out, audit. Run it with `make demo`.

    CHAIN=anvil|ganache   which local chain (default anvil)
    IPFS=http://HOST:PORT an IPFS node's RPC instead of the embedded content store
    KEEP=1                leave chain, store, oracle and server up at the end, until Ctrl-C

Every role is a process of its own, as its user would start it: three oracle signers, five providers (one is killed, one
joins late, one lies), a server, two users, two auditors. What is shown about money, credits and checkpoints is read
from the chain. The exit status is 0 only if both auditors say `verified`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cast import Cast, Player
from stage import Child, Processes, Screen, StageError, free_port, reachable, run_json, units, wait_until
from telemetry import Telemetry, synchronous_bytes

from commonweight.chain.client import Chain
from commonweight.chain.contracts import Campaign, Factory
from commonweight.chain.deploy import deploy_factory
from commonweight.chain.events import CheckpointAttested, EpochFinal, ReportSubmitted, RevenueReceived
from commonweight.chain.ledger_view import LedgerView
from commonweight.chain.local import Kind, LocalChain, start_local
from commonweight.chain.run import Run
from commonweight.chain.structs import ZERO_ADDRESS, Milestone, RunParams
from commonweight.errors import CommonweightError
from commonweight.protocol.canonical import Json
from commonweight.protocol.runconfig import RunConfig
from commonweight.store import open_store

ROOT = Path(__file__).resolve().parent.parent
ETH = 10**18
COMMONWEIGHT = [str(Path(sys.executable).with_name("commonweight"))]

ROUNDS = 7
ROUNDS_WANTED = 6
LAST_EPOCH = 5  # training may take this long on a slow machine; it ends after ROUNDS
EPOCH_S = 36
DEPOSITS = (41_700_000_000_000_000_000, 23_050_000_000_000_000_000, 12_123_456_789_012_345_679)
KILLED_IN_ROUND = 3
DATA_BYTES = 6_000_000


@dataclass
class Demo:
    """What all phases share."""

    directory: Path
    screen: Screen
    processes: Processes
    local: LocalChain
    store: str
    cast: Cast

    def provider_dir(self, player: Player) -> Path:
        """Where a provider's process keeps its state."""
        return self.directory / f"provider-{player.name.split()[0].lower()}"

    def signing(self, player: Player) -> list[str]:
        """The options that give a program its key."""
        return ["--keystore", str(player.keystore), "--password-file", str(self.cast.password_file)]

    def environment(self) -> dict[str, str]:
        """The environment of the programs: one arithmetic thread each, and nothing of Commonweight's from outside."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COMMONWEIGHT_")}
        return {**kept, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def check_alive(self, children: Sequence[Child]) -> None:
        """Raise StageError if one of the processes has ended."""
        for child in children:
            if not child.alive():
                raise StageError(f"{child.name} ended by itself.", child.tail(), f"Its log is {child.log}.")

    def chain(self, player: Player | None = None) -> Chain:
        """A client of the local chain, signing as `player`."""
        key = player.key if player else None
        return Chain([self.local.url], key, state_dir=self.directory / "nonces")

    def common(self, run: Run) -> list[str]:
        """The options that every long-running command gets."""
        return ["--run", run.addresses.campaign, "--rpc", self.local.url, "--store", self.store]


def main() -> int:
    """Run the demo; returns the exit status."""
    screen = Screen()
    directory = ROOT / "build" / "demo"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        kind = chain_kind(os.environ.get("CHAIN") or "anvil")
        screen.phase(f"A local chain ({kind}) and a content store")
        with (
            start_local(kind, directory=directory / "chain", block_time_s=1, accounts=20) as local,
            Processes(directory) as processes,
        ):
            store = os.environ.get("IPFS") or str(directory / "store")
            demo = Demo(directory, screen, processes, local, store, Cast.on(local, directory / "keys"))
            screen.say(f"chain {local.chain_id} at {local.url}, a block a second; content store {store}")
            run, server = play(demo)
            verified = audit(demo, run)
            screen.say(f"[dim]the whole demo took {screen.elapsed_s():.0f} s[/dim]")
            if verified and os.environ.get("KEEP"):
                keep(demo, run, server)
    except CommonweightError as error:
        screen.console.print(
            f"\n[red]{error.what}[/red]\n{error.why}\n{error.fix}\nLogs: {directory}/logs", markup=True
        )
        return 1
    except KeyboardInterrupt:
        screen.console.print("\nStopped; nothing is left running.")
        return 130
    return 0 if verified else 1


def play(demo: Demo) -> tuple[Run, str]:
    """Everything up to the audit, in order; returns the run and the server's host:port."""
    run = create_run(demo)
    fund(demo, run)
    register(demo, run)
    telemetry = train(demo, run)
    attest(demo, run, telemetry)
    show_training(demo, run, telemetry)
    server = serve(demo, run)
    claim(demo, run)
    return run, server


def create_run(demo: Demo) -> Run:
    """Prepare the data, publish the run's configuration, deploy the factory and let it make the run."""
    from trainer.data import Corpus, prepare, publish

    screen, cast = demo.screen, demo.cast
    store = open_store(demo.store)
    data_dir = demo.directory / "data"
    manifest = prepare(None, data_dir, max_bytes=DATA_BYTES)
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
            "training": {"h": 20, "trace_every": 5, "max_rounds": ROUNDS},
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
        tail_epochs=2,
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
        provider_stake=2 * ETH,
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


def start_signers(demo: Demo, run: Run) -> list[Child]:
    """One oracle process a signer."""
    children = []
    for signer, transmitter in zip(demo.cast.signers, demo.cast.transmitters, strict=True):
        name = signer.name.replace(" ", "-")
        argv = [*COMMONWEIGHT, "oracle", "start", *demo.common(run), *demo.signing(signer)]
        argv += ["--transmitter", str(transmitter.keystore), "--data-dir", str(demo.directory / name)]
        children.append(demo.processes.spawn(name, argv, env=demo.environment()))
    return children


def start_provider(demo: Demo, run: Run, player: Player) -> Child:
    """One trainer process; the liar runs the test suite's dishonest trainer, the same code but for the lie."""
    provider = run.registry.provider_at(run.registry.index_of(player.address))
    program = COMMONWEIGHT if player is not demo.cast.liar else [sys.executable, "-m", "tests.adversaries.liar"]
    argv = [*program, "provider", "start", *demo.common(run), *demo.signing(player)]
    argv += ["--listen", provider.peer, "--data-dir", str(demo.provider_dir(player))]
    return demo.processes.spawn(demo.provider_dir(player).name, argv, env=demo.environment())


def train(demo: Demo, run: Run) -> Telemetry:
    """All rounds; one provider is killed in the middle of a round and comes back, one joins late, one lies."""
    screen, cast = demo.screen, demo.cast
    screen.phase(f"Training: {len(cast.providers)} provider processes, {len(cast.signers)} oracle processes")
    telemetry = Telemetry({player.name: demo.provider_dir(player) for player in cast.providers})
    essential = start_signers(demo, run)
    children = {player: start_provider(demo, run, player) for player in cast.providers[:4]}
    victim, newcomer = cast.providers[1], cast.providers[4]
    killed_in: int | None = None
    returned = False
    end = run.params.epoch_end(run.params.last_epoch)

    with screen.progress("waiting for the first round", ROUNDS) as update:
        while (now := run.chain.timestamp()) < end and telemetry.recorded_rounds() < ROUNDS:
            demo.check_alive([*essential, *(c for p, c in children.items() if p not in (victim, cast.liar))])
            for line in telemetry.news(run, cast):
                screen.say(line)
            rounds = telemetry.recorded_rounds()
            status = telemetry.latest(victim.name)
            if killed_in is None and status.round >= KILLED_IN_ROUND and status.phase == "train" and status.step >= 5:
                children[victim].kill()
                killed_in = status.round
                screen.say(
                    f"[red]SIGKILL[/red] to {victim.name} in round {killed_in}, after {status.step} of its inner steps"
                )
            elif killed_in is not None and not returned and telemetry.newest_round() > killed_in:
                children[victim] = start_provider(demo, run, victim)
                returned = True
                screen.say(f"{victim.name} is started again and resumes from its disk")
            if newcomer not in children and rounds >= 2:
                enlist(demo, run, newcomer)
                children[newcomer] = start_provider(demo, run, newcomer)
                screen.say(f"{newcomer.name} registers with a stake and joins late")
            update(
                max(0, now - run.params.epoch_start), f"round {rounds + 1}, epoch {max(0, run.params.epoch_of(now))}"
            )
            time.sleep(0.2)
    if not returned or newcomer not in children:
        raise StageError("Training did not get far enough.", "Too few rounds were done", "Look into the logs.")
    return telemetry


def attest(demo: Demo, run: Run, telemetry: Telemetry) -> None:
    """Wait until the last round is attested and show the reports, as the chain has them."""
    screen = demo.screen
    screen.phase("Attestation")
    last_round = telemetry.last_recorded()

    def attested() -> bool:
        for line in telemetry.news(run, demo.cast):
            screen.say(line)
        rounds = [event.round for event in run.events_of(CheckpointAttested)]
        update(max(rounds, default=0), "rounds attested")
        return max(rounds, default=0) >= last_round

    with screen.progress("rounds attested", last_round) as update:
        wait_until("the last round to be attested", attested, timeout_s=3 * EPOCH_S)
    rows = []
    for event in run.events_of(ReportSubmitted):
        report, state = event.report, run.oracle.epoch_info(event.epoch).state
        who = ", ".join(player.name for player in demo.cast.signers if player.address in event.signers)
        rows.append((
            str(event.epoch), state.name.lower(), who, str(report.round), f"{report.epoch_credits:,}",
            f"{report.loss_micro / 1e6:.3f}", brief(report.root), brief(report.checkpoint),
        ))  # fmt: skip
    screen.table(("epoch", "state", "signed by", ">round", ">credits", ">loss", "root", "checkpoint"), rows)
    final = list(run.events_of(EpochFinal))
    if len(final) < 2:
        raise StageError(f"Only {len(final)} epochs became final.", "", "Look into the signers' logs.")


def show_training(demo: Demo, run: Run, telemetry: Telemetry) -> None:
    """Loss against the text's entropy, credits by provider, bytes against synchronous data parallel."""
    from trainer.data import Corpus

    screen = demo.screen
    screen.phase("What training gave")
    entropy = Corpus.open(demo.directory / "data").unigram_entropy()
    last = list(run.events_of(CheckpointAttested))[-1]
    loss = last.loss_micro / 1e6
    screen.say(
        f"held-out loss after round {last.round}: {loss:.3f} nats a byte, unigram entropy of that text {entropy:.3f}"
    )
    ledger = LedgerView.of(run)
    rows = []
    for player in demo.cast.providers:
        index = run.registry.index_of(player.address)
        provider = run.registry.provider_at(index)
        banned = "[red]banned[/red], earned nothing" if telemetry.was_banned(index) else ""
        rows.append((player.name, f"{credits_of(ledger, index):,}", units(provider.stake), banned))
    screen.table(("provider", ">credits", ">stake", ""), rows)
    liar = run.registry.index_of(demo.cast.liar.address)
    if credits_of(ledger, liar) or not telemetry.was_banned(liar):
        raise StageError("The liar was not caught.", "", "Look into the signers' logs.")
    sent, states = telemetry.bytes_sent(), telemetry.bytes_sent("state")
    synchronous = synchronous_bytes(run, open_store(demo.store))
    screen.say(
        f"to train, providers sent {sent - states:,} bytes; fp32 synchronous data parallel would send {synchronous:,}"
        f" for the same steps, {synchronous / (sent - states):.1f} times as many"
    )
    screen.say(
        f"to be checked, they sent signers {states:,} bytes of training state: {synchronous / sent:.1f} times all in"
    )
    rounds = telemetry.recorded_rounds()
    if rounds < ROUNDS_WANTED:
        raise StageError(f"Only {rounds} rounds were done.", "The machine is too slow or too busy", "Try again.")
    if loss >= entropy:
        raise StageError("The model learned nothing.", f"loss {loss:.3f}, unigram entropy {entropy:.3f}", "")


def serve(demo: Demo, run: Run) -> str:
    """Serve the attested checkpoint; two users pay by vouchers; the server settles. Returns the server's host:port."""
    screen, cast = demo.screen, demo.cast
    screen.phase("Serving and paying")
    address = f"127.0.0.1:{free_port()}"
    argv = [*COMMONWEIGHT, "infer", "serve", *demo.common(run), *demo.signing(cast.server), "--listen", address]
    argv += ["--data-dir", str(demo.directory / "server"), "--settle-every", "4"]
    server = demo.processes.spawn("server", argv, env=demo.environment())
    wait_until(
        "the server to answer", partial(reachable, address), timeout_s=60, watch=partial(demo.check_alive, [server])
    )
    before = revenue(run)

    def ask(user: Player, prompt: str) -> Mapping[str, object]:
        argv = [*COMMONWEIGHT, "infer", "ask", prompt, "--url", f"http://{address}", "--run", run.addresses.campaign]
        argv += [
            "--rpc",
            demo.local.url,
            *demo.signing(user),
            "--deposit",
            "1",
            "--max-amount",
            "0.5",
            "--max-tokens",
            "48",
            "--json",
            "--yes",
        ]
        status, answer = run_json(argv, cwd=demo.directory, env=demo.environment())
        if status or not isinstance(answer, dict):
            raise StageError(f"{user.name} got no answer.", str(answer), "Look into logs/server.log.")
        return answer

    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(ask, cast.users, ("def read_file(path):\n", "import os\nclass Server:\n")))
    for user, answer in zip(cast.users, answers, strict=True):
        paid, tokens, text = int(str(answer["paid"])), answer["completion_tokens"], str(answer["text"])
        screen.say(f"{user.name} paid {units(paid)} for {tokens} tokens: {text!r}")
    expected = sum(int(str(answer["paid"])) for answer in answers)
    owed = expected * run.params.server_bps // 10_000

    def settled() -> bool:
        return run.payments.server_owed(cast.server.address) >= owed and revenue(run) > before

    wait_until("the server to settle", settled, timeout_s=60, watch=partial(demo.check_alive, [server]))
    server_part = units(run.payments.server_owed(cast.server.address))
    screen.say(f"settled on chain: {units(revenue(run) - before)} to the distributor, {server_part} to the server")
    return address


def revenue(run: Run) -> int:
    """All revenue that the distributor has received from inference."""
    return sum(event.amount for event in run.events_of(RevenueReceived))


def claim(demo: Demo, run: Run) -> None:
    """Close the epoch that the revenue fell in, then everyone takes what is theirs."""
    screen, cast = demo.screen, demo.cast
    screen.phase("Claims")
    epoch = run.params.epoch_of(run.chain.timestamp())
    with screen.progress("waiting for the epoch of the revenue to close", run.params.epoch_length) as update:

        def closed() -> bool:
            update(run.chain.timestamp() - run.params.epoch_end(epoch - 1), f"epoch {epoch} is running")
            return run.oracle.next_epoch() > epoch

        wait_until("the signers to close the epoch", closed, timeout_s=3 * EPOCH_S)

    ledger = LedgerView.of(run)
    people = [*cast.funders, *cast.providers, cast.server]
    before = {player: run.chain.balance(player.address) for player in people}

    def take(player: Player) -> int:
        """Claim from the player's own key; returns the gas paid, in wei."""
        own = Run.at(demo.chain(player), run.addresses.campaign)
        if player in cast.funders:
            receipt = own.distributor.claim_capital(player.address)
        elif player is cast.server:
            receipt = own.payments.claim_server(player.address)
        else:
            index = own.registry.index_of(player.address)
            if not credits_of(ledger, index):
                return 0
            proof = ledger.proof(index)
            receipt = own.distributor.claim_compute(proof.epoch, proof.leaf, proof.siblings)
        return receipt.fee_wei

    with ThreadPoolExecutor() as pool:
        fees = dict(zip(people, pool.map(take, people), strict=True))
    rows = []
    for player in people:
        after = run.chain.balance(player.address)
        rows.append((player.name, units(before[player]), units(after), units(after - before[player] + fees[player])))
    screen.table(("who", ">before", ">after", ">claimed, gas aside"), rows)
    distributor = run.distributor
    held = run.chain.balance(run.addresses.distributor)
    received = distributor.capital_received() + distributor.compute_received()
    paid = distributor.capital_paid() + distributor.compute_paid()
    screen.say(f"distributor: received {units(received)}, paid {units(paid)}, holds {units(held)}")
    if received - paid != held:
        raise StageError("The distributor's books do not balance.", f"{received} - {paid} != {held} wei", "")


def audit(demo: Demo, run: Run) -> bool:
    """Two separate processes recompute everything from the RPC address and the content store alone."""
    screen = demo.screen
    screen.phase("Audit")
    verified = True
    for name in ("verify", "lineage"):
        with screen.progress(f"commonweight audit {name}", 1) as update:
            argv = [*COMMONWEIGHT, "audit", name, *demo.common(run), "--json"]
            status, result = run_json(argv, cwd=demo.directory, env=demo.environment(), timeout_s=240)
            update(1, f"commonweight audit {name}")
        if not isinstance(result, dict):
            raise StageError(f"audit {name} gave no result.", str(result), "")
        checks = result.get("checks", [])
        colour = "green" if status == 0 else "red"
        screen.say(
            f"audit {name}: [{colour}]{result['verdict']}[/{colour}],"
            f" {len(checks)} checks up to block {result['block']}"
        )
        for check in checks:
            if check["verdict"] != "ok":
                screen.say(f"   {check['name']}: {check['verdict']} {check.get('detail', '')}")
        verified &= status == 0 and result["verdict"] == "verified"
    return verified


def credits_of(ledger: LedgerView, index: int) -> int:
    """A provider's credits in the last final tree."""
    leaf = ledger.leaf(index)
    return leaf.C if leaf else 0


def keep(demo: Demo, run: Run, server: str) -> None:
    """Leave everything up until Ctrl-C, and say what to try."""
    common = " ".join(demo.common(run))
    where = f"--run {run.addresses.campaign} --rpc {demo.local.url}"
    user = demo.cast.users[0]
    demo.screen.phase("Everything stays up until Ctrl-C")
    for line in (
        f"commonweight run show {where}",
        f"commonweight audit verify {common}",
        f"commonweight audit lineage {common}",
        f"commonweight infer ask 'def main():' --url http://{server} {where} {' '.join(demo.signing(user))}",
        f"curl -i http://{server}/v1/models",
    ):
        demo.screen.console.print(
            f"  .venv/bin/{line}" if line.startswith("commonweight") else f"  {line}", soft_wrap=True
        )
    signal.pause()


def chain_kind(name: str) -> Kind:
    """The local chain that a name means."""
    kinds: dict[str, Kind] = {"anvil": "anvil", "ganache": "ganache"}
    if name in kinds:
        return kinds[name]
    raise StageError(f"There is no chain called {name!r}.", "", "Use CHAIN=anvil or CHAIN=ganache.")


def brief(digest: bytes) -> str:
    """The beginning of a digest, for a table."""
    return f"0x{digest.hex()[:12]}…"


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
