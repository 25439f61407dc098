"""`commonweight infer proxy`: a server on this computer through which any OpenAI client pays."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commonweight.cli.amounts import format_amount, parse_amount
from commonweight.cli.infer import DEFAULT_LISTEN as SERVER
from commonweight.cli.infer import open_purse
from commonweight.cli.options import (
    ConfigOption,
    JsonOption,
    KeystoreOption,
    ListenOption,
    PasswordFileOption,
    RpcOption,
    RunOption,
    checked_address,
)
from commonweight.cli.session import Session
from commonweight.errors import ConfigError
from commonweight.settings import environment

if TYPE_CHECKING:
    from inference.proxy import ProxyServer

DEFAULT_LISTEN = "127.0.0.1:8700"
API_KEY_VARIABLE = "COMMONWEIGHT_API_KEY"
_DRAIN_S = 10.0


def proxy(
    url: Annotated[str, typer.Option("--url", help="The server's address.")] = "http://" + SERVER,
    run: RunOption = None,
    rpc: RpcOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    listen: ListenOption = None,
    max_amount: Annotated[str, typer.Option("--max-amount", help="Most that one answer may cost.")] = "0.01",
    budget: Annotated[
        str | None, typer.Option("--budget", help="Most to spend until it ends (default: what the channel holds).")
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option("--api-key-file", help="File with the API key that clients must send.", metavar="FILE"),
    ] = None,
    server: Annotated[
        str | None, typer.Option("--server", help="Accept only this server's account.", callback=checked_address)
    ] = None,
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", help="Accept only this checkpoint (0x...).")] = None,
    max_delay: Annotated[
        int | None, typer.Option("--max-delay", help="Longest withdrawal delay in seconds (default: the run's).")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let any OpenAI client on this computer ask a server: pays each request and checks what it signed."""
    from inference.budget import Budget
    from inference.client import Limits, Payer
    from inference.proxy import Proxy, is_loopback, open_server
    from inference.wire import Wire

    flags = {"run": run, "rpc": rpc, "keystore": keystore, "password_file": password_file}
    session = Session(flags, config=config, as_json=as_json, role="infer", service=True)
    api_key = _api_key(api_key_file)
    found = session.signing_run
    symbol, decimals = found.asset.symbol(), found.asset.decimals()

    def shown(amount: int) -> str:
        return format_amount(amount, symbol, decimals)

    limit = None if budget is None else parse_amount(budget, decimals)
    most = parse_amount(max_amount, decimals)
    limits = Limits(
        max_amount=most, deposit=None, server=server, checkpoint=checkpoint, max_delay_s=max_delay, shown=shown
    )
    place = listen or DEFAULT_LISTEN  # never that of the settings, which is a server's
    purse = open_purse(session)
    with Wire(url) as wire:
        payer = Payer(found, session.key, purse, Budget(limit, shown))
        model = wire.model()
        serving = open_server(place, Proxy(payer, wire, limits, session.output.note), api_key)
        if not is_loopback(place):
            fix = "" if api_key else " Give --api-key-file, so that not everybody can."
            session.output.note(f"Warning: whoever reaches {serving.url} spends your money.{fix}")
        base = f"{serving.url}/v1"
        body = {
            "url": base, "run": found.address, "server": url, "model": model, "payer": session.key.address,
            "max_amount": str(most), "budget": None if limit is None else str(limit), "pid": os.getpid(),
        }  # fmt: skip
        rows = [
            ("pays", session.key.address), ("asks", url), ("model", model), ("at most, an answer", shown(most)),
            ("at most, in all", "what the channel holds" if limit is None else shown(limit)), ("to stop", "Ctrl-C"),
        ]  # fmt: skip
        session.output.result(body, title=f"OpenAI clients can use {base}", rows=rows)
        _serve_until_told(serving)
        if not serving.drained(_DRAIN_S):
            session.output.note("Answers were cut off; what they cost is looked up when the purse is used again.")
    purse.close()
    pending = payer.budget.pending
    unknown = f", and up to {shown(pending)} for answers that broke off" if pending else ""
    session.output.note(f"Stopped. Paid {shown(payer.budget.spent)} in all{unknown}.")


def _serve_until_told(serving: ProxyServer) -> None:
    """Answer until SIGINT or SIGTERM, then take no more."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        serving.serve_forever(poll_interval=0.2)
    serving.server_close()


def _api_key(file: Path | None) -> str | None:
    """The key that clients must send: the file's text, else the environment's. Raises ConfigError."""
    if file is None:
        return environment().get(API_KEY_VARIABLE) or None
    try:
        key = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"The API key's file {file} cannot be read", reason or "", "check its name") from None
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(f"{file} holds no API key", "a key is one line of printable ASCII", "write one into it")
    return key
