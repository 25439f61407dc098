"""The training with its accidents, the attestation, and what came of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import partial

from commonweight.chain.events import CheckpointAttested, EpochFinal, ReportSubmitted
from commonweight.chain.ledger_view import LedgerView
from commonweight.chain.run import Run
from commonweight.store import open_store
from scenes.cast import Player
from scenes.demo import COMMONWEIGHT, EPOCH_S, Demo, credits_of
from scenes.opening import ROUNDS, enlist
from scenes.stage import Child, StageError, units, wait_until
from scenes.telemetry import Telemetry, synchronous_bytes

ROUNDS_WANTED = 6
KILLED_IN_ROUND = 3
PATIENCE_S = 5 * EPOCH_S
"""How long signers may take to attest a further round: on a busy machine the replays pile up."""


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


def train(demo: Demo, run: Run, signers: Sequence[Child]) -> Telemetry:
    """All rounds; one provider is killed in the middle of a round and comes back, one joins late, one lies."""
    screen, cast = demo.screen, demo.cast
    screen.phase(f"Training: {len(cast.providers)} provider processes, {len(cast.signers)} oracle processes")
    telemetry = Telemetry({player.name: demo.provider_dir(player) for player in cast.providers})
    children = {player: start_provider(demo, run, player) for player in cast.providers[:4]}
    victim, newcomer = cast.providers[1], cast.providers[4]
    killed_in: int | None = None
    returned = False
    end = run.params.epoch_end(run.params.last_epoch)

    with screen.progress("waiting for the first round", ROUNDS) as update:
        while (now := run.chain.timestamp()) < end and telemetry.recorded_rounds() < ROUNDS:
            demo.check_alive([*signers, *(c for p, c in children.items() if p not in (victim, cast.liar))])
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


def attest(demo: Demo, run: Run, telemetry: Telemetry, signers: Sequence[Child]) -> None:
    """Wait until the last round is attested and show the reports, as the chain has them."""
    screen = demo.screen
    screen.phase("Attestation")
    last_round = telemetry.last_recorded()

    def attested_beyond(known: int) -> int | None:
        for line in telemetry.news(run, demo.cast):
            screen.say(line)
        newest = max((event.round for event in run.events_of(CheckpointAttested)), default=0)
        update(newest, "rounds attested")
        return newest if newest > known else None

    with screen.progress("rounds attested", last_round) as update:
        attested = 0
        while attested < last_round:
            what = f"a round after {attested} of {last_round} to be attested"
            attested = wait_until(
                what, partial(attested_beyond, attested), timeout_s=PATIENCE_S, watch=partial(demo.check_alive, signers)
            )
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


def brief(digest: bytes) -> str:
    """The beginning of a digest, for a table."""
    return f"0x{digest.hex()[:12]}…"
