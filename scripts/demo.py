"""The whole life of a run on this machine: fund, train, attest, serve, pay out, audit. Run it with `make demo`.

    CHAIN=anvil|ganache   which local chain (default anvil)
    IPFS=http://HOST:PORT an IPFS node's RPC instead of the embedded content store
    KEEP=1                leave chain, store, oracle and server up at the end, until Ctrl-C

Every role is a process of its own, as its user would start it: three oracle signers, five providers (one is killed, one
joins late, one lies), a server, two users, two auditors. What is shown about money, credits and checkpoints is read
from the chain. The exit status is 0 only if both auditors say `verified`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scenes.cast import Cast
from scenes.demo import ROOT, Demo
from scenes.opening import create_run, fund, register
from scenes.payout import audit, claim, serve
from scenes.stage import Processes, Screen, StageError
from scenes.training import attest, show_training, start_signers, train

from commonweight.chain.local import Kind, start_local
from commonweight.chain.run import Run
from commonweight.errors import CommonweightError


def main() -> int:
    """Run the demo; returns the exit status."""
    screen = Screen()
    directory = ROOT / "build" / "demo"
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        kind = chain_kind(os.environ.get("CHAIN") or "anvil")
        screen.phase(f"A local chain ({kind}) and a content store")
        with (
            fresh_folder(directory),
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
        screen.fail(error.what, error.why, error.fix, f"Logs: {directory}/logs")
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
    signers = start_signers(demo, run)
    telemetry = train(demo, run, signers)
    attest(demo, run, telemetry, signers)
    show_training(demo, run, telemetry)
    server = serve(demo, run)
    claim(demo, run)
    return run, server


def keep(demo: Demo, run: Run, server: str) -> None:
    """Leave everything up until Ctrl-C, and say what to try."""
    common = " ".join(demo.common(run))
    where = f"--run {run.addresses.campaign} --rpc {demo.local.url}"
    user = demo.cast.users[0]
    demo.screen.phase("Everything stays up until Ctrl-C")
    for line in (
        f"commonweight run show {where}",
        f"commonweight dashboard {common}",
        f"commonweight audit verify {common}",
        f"commonweight audit lineage {common}",
        (
            f"commonweight infer ask 'def main():' --url http://{server} {where} {' '.join(demo.signing(user))}"
            " --deposit 1 --max-amount 0.5"
        ),
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


@contextmanager
def fresh_folder(path: Path) -> Iterator[Path]:
    """An empty folder that no other demo of this checkout uses while it is ours."""
    path.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StageError(
                "Another demo runs in this checkout.", f"It uses {path}", "Wait for its end, or stop it with Ctrl-C."
            ) from None
        shutil.rmtree(path)
        path.mkdir()
        yield path


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a thread that Ctrl-C struck at its start waits on, for a chain that is gone
