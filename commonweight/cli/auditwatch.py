"""`commonweight audit watch`: compare every report with its true tree as it is filed, and with a key prove it false."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commonweight.cli.options import (
    ConfigOption,
    ConfirmationsOption,
    DataDirOption,
    KeystoreOption,
    LogLevelOption,
    PasswordFileOption,
    RpcOption,
    RunOption,
    StoreOption,
)
from commonweight.cli.session import Session
from commonweight.errors import UsageError

if TYPE_CHECKING:
    from commonweight.audit.watcher.metrics import Metrics
    from commonweight.audit.watcher.service import Tell

_LEVELS = ("debug", "info", "warning", "error")


def watch(
    once: Annotated[bool, typer.Option("--once", help="Do what is due now, then end.")] = False,
    released: Annotated[
        list[Path] | None,
        typer.Option("--signatures", help="File of reports that signers signed, one a line.", metavar="FILE"),
    ] = None,
    answers: Annotated[
        str, typer.Option("--answers", help="Defend doubted honest reports: always, paid (if it pays) or never.")
    ] = "always",
    metrics: Annotated[str | None, typer.Option("--metrics", help="HOST:PORT for Prometheus metrics.")] = None,
    run: RunOption = None,
    rpc: RpcOption = None,
    store: StoreOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    confirmations: ConfirmationsOption = None,
    data_dir: DataDirOption = None,
    log_level: LogLevelOption = None,
    config: ConfigOption = None,
) -> None:
    """Recompute every report as it is filed; with --keystore, prove false ones and defend true ones.

    Logs JSON lines on stderr. Ends with 0 when nothing was wrong, 1 when a report was false, a signer signed twice, or
    a move needs a key, 3 when the chain cannot be read (with --once).
    """
    flags = {
        "run": run, "rpc": rpc, "store": store, "keystore": keystore, "password_file": password_file,
        "confirmations": confirmations, "data_dir": data_dir, "log_level": log_level,
    }  # fmt: skip
    session = Session(flags, config=config, role="audit")
    s = session.settings
    from commonweight.audit.watcher.service import ANSWERS, Watcher, WatchSettings

    if answers not in ANSWERS:
        raise UsageError(f"{answers!r} is no way to answer.", "", f"Choose from {', '.join(ANSWERS)}.")
    found = session.run if s.keystore is None else session.signing_run
    s.data_dir.mkdir(parents=True, exist_ok=True)
    settings = WatchSettings(
        answers=answers,
        journal=s.data_dir / f"reports-{found.chain.chain_id}-{found.address.lower()}.jsonl",
        released=tuple(released or ()),
        command=_command(session, found.address),
    )
    tell = _teller(s.log_level)
    watcher = Watcher(found, session.store, settings, tell, _metrics(metrics))
    tell("info", "watching", run=found.address, account=found.chain.address if found.chain.key else None)
    if once:
        while watcher.step():
            pass
    else:
        watcher.watch(_stopped_by_signals())
    raise typer.Exit(1 if watcher.alarmed else 0)


def _command(session: Session, campaign: str) -> str:
    """What acts on an alert; an address with an access token in it is shown without."""
    from commonweight.chain.urls import mask_url

    urls = ",".join(mask_url(url) for url in session.settings.rpc)
    words = ["commonweight", "audit", "watch", "--once", "--run", campaign, "--rpc", urls, "--keystore", "FILE"]
    return shlex.join([*words, "--store", session.settings.store])


def _metrics(address: str | None) -> Metrics:
    from commonweight.audit.watcher.metrics import NoMetrics, Prometheus

    if address is None:
        return NoMetrics()
    from commonweight.net import split_address

    return Prometheus(*split_address(address))


def _teller(level: str) -> Tell:
    """Writes JSON lines on stderr, in the form of the signers' logs."""
    least = _LEVELS.index(level)

    def tell(severity: str, event: str, **fields: object) -> None:
        if _LEVELS.index(severity) < least:
            return
        head = {"part": "watch", "event": event, "level": severity, "timestamp": datetime.now(UTC).isoformat()}
        sys.stderr.write(json.dumps({**fields, **head}) + "\n")
        sys.stderr.flush()

    return tell


def _stopped_by_signals() -> threading.Event:
    """Set by SIGTERM and Ctrl-C; a second one does not wait for a transaction."""
    stop = threading.Event()

    def ask(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    return stop
