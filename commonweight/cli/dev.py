"""`commonweight dev`: a local chain in the background with a factory, named and funded accounts, and settings to use
it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commonweight.cli.options import JsonOption
from commonweight.cli.output import Output
from commonweight.errors import ChainError, UsageError
from commonweight.settings import environment, user_folder

if TYPE_CHECKING:
    from commonweight.chain.local import LocalChain

cli = typer.Typer(help="A local chain to develop on.", no_args_is_help=True)
DirOption = Annotated[Path | None, typer.Option("--dir", help="Folder of the chain (default: in the data folder).")]
NAMES = (
    "creator",
    *(f"funder{i}" for i in range(1, 4)),
    *(f"provider{i}" for i in range(1, 6)),
    *(f"signer{i}" for i in range(1, 4)),
    *(f"transmitter{i}" for i in range(1, 4)),
    "server",
    *(f"user{i}" for i in range(1, 3)),
)
_RECORD = "dev.json"
_PASSWORD = "development"  # noqa: S105 - these keys are public knowledge; see chain/local.py


@cli.command()
def up(
    chain: Annotated[str, typer.Option("--chain", help="anvil or ganache.")] = "anvil",
    port: Annotated[int | None, typer.Option("--port", help="Port (default: a free one).")] = None,
    folder: DirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start the chain, deploy a factory, and write keystores and a settings file."""
    from commonweight.chain.client import Chain
    from commonweight.chain.deploy import deploy_factory, find_factory, write_deployment
    from commonweight.chain.keys import Key
    from commonweight.chain.local import start_local, stop_pid
    from commonweight.errors import ConfigError

    if chain not in ("anvil", "ganache"):
        raise UsageError(f"There is no chain {chain}.", "", "Choose anvil or ganache.")
    output, place = Output(as_json=as_json), _place(folder)
    if _running(place) is not None:
        raise UsageError(f"The chain in {place} runs already.", "", "`commonweight dev down` stops it.")
    place.mkdir(parents=True, exist_ok=True)
    with output.progress() as report:
        report("Starting the chain", 0, 1)
        local = start_local(
            "anvil" if chain == "anvil" else "ganache",
            directory=place,
            port=port,
            accounts=len(NAMES),
            state=place / f"{chain}-state",
            detached=True,
        )
        report("Starting the chain", 1, 1)
        try:
            client = Chain([local.url], Key.from_hex(local.accounts[0].key), state_dir=place / "nonces")
            try:
                factory = find_factory(client, (place / "deployments",)).address
            except ConfigError:
                report("Deploying the factory", 0, 1)
                deployment = deploy_factory(client)
                write_deployment(deployment, place / "deployments")
                factory = deployment.factory.address
                report("Deploying the factory", 1, 1)
            _write_accounts(place, local)
            settings = _write_settings(place, local)
        except BaseException:
            stop_pid(local.pid)
            raise
    record = {
        "chain": chain,
        "chain_id": local.chain_id,
        "rpc": local.url,
        "pid": local.pid,
        "factory": factory,
        "config": str(settings),
        "keystores": str(place / "keys"),
        "accounts": {name: account.address for name, account in zip(NAMES, local.accounts, strict=True)},
    }
    (place / _RECORD).write_text(json.dumps(record, indent=2) + "\n")
    output.result(
        record,
        title="The chain is up.",
        rows=[
            ("rpc", local.url),
            ("chain id", local.chain_id),
            ("factory", factory),
            ("keystores", f"{place / 'keys'}: {', '.join(NAMES)}"),
            ("to use it", f"export COMMONWEIGHT_CONFIG={settings}"),
        ],
    )


@cli.command()
def down(folder: DirOption = None, as_json: JsonOption = False) -> None:
    """Stop the chain; its state is kept for the next `dev up`."""
    from commonweight.chain.local import stop_pid

    output, place = Output(as_json=as_json), _place(folder)
    record = _running(place)
    if record is not None:
        stop_pid(int(str(record["pid"])))
    (place / _RECORD).unlink(missing_ok=True)
    output.result(
        {"stopped": record is not None}, title="The chain is down." if record else "No chain was running.", rows=[]
    )


@cli.command()
def reset(folder: DirOption = None, as_json: JsonOption = False) -> None:
    """Forget the chain's state. Wallets that used it must forget their transaction history (nonces) too."""
    output, place = Output(as_json=as_json), _place(folder)
    if _running(place) is not None:
        raise UsageError(f"The chain in {place} runs.", "", "Stop it first with `commonweight dev down`.")
    for kind in ("anvil", "ganache"):
        state = place / f"{kind}-state"
        if state.is_dir():
            shutil.rmtree(state)
        else:
            state.unlink(missing_ok=True)
    for name in ("deployments", "nonces"):
        shutil.rmtree(place / name, ignore_errors=True)
    output.result(
        {"reset": True}, title="The state is gone. Wallets that used this chain must clear their nonces.", rows=[]
    )


@cli.command()
def status(folder: DirOption = None, as_json: JsonOption = False) -> None:
    """Show whether the chain runs. Ends with 1 if it does not."""
    output, place = Output(as_json=as_json), _place(folder)
    record = _running(place)
    if record is None:
        output.result({"running": False}, title=f"No chain runs in {place}.", rows=[])
        raise typer.Exit(1)
    from commonweight.chain.client import Chain

    block = Chain([str(record["rpc"])]).block()
    rows = [
        ("rpc", record["rpc"]),
        ("block", block.number),
        ("factory", record["factory"]),
        ("settings", record["config"]),
    ]
    output.result({"running": True, **record, "block": block.number}, title="The chain runs.", rows=rows)


def _place(folder: Path | None) -> Path:
    return (folder or user_folder(environment(), "XDG_DATA_HOME", ".local/share") / "dev").absolute()


def _running(place: Path) -> dict[str, object] | None:
    """The record of a chain that answers at its address with its process alive; None if there is none."""
    from commonweight.chain.client import Chain
    from commonweight.chain.local import pid_runs

    try:
        record = json.loads((place / _RECORD).read_text())
        if not pid_runs(int(record["pid"])):
            return None
        Chain([record["rpc"]], chain_id=int(record["chain_id"]), patience_s=0.5).block_number()
    except (OSError, ValueError, KeyError, TypeError, ChainError):
        return None
    return dict(record)


def _write_accounts(place: Path, local: LocalChain) -> None:
    from commonweight.chain.keys import Key, create_keystore

    keys = place / "keys"
    keys.mkdir(exist_ok=True)
    (place / "password.txt").write_text(_PASSWORD + "\n")
    for name, account in zip(NAMES, local.accounts, strict=True):
        path = keys / f"{name}.json"
        if not path.exists():
            create_keystore(path, _PASSWORD, key=Key.from_hex(account.key), fast=True)


def _write_settings(place: Path, local: LocalChain) -> Path:
    path = place / "config.toml"
    lines = (
        f'rpc = "{local.url}"',
        f"chain_id = {local.chain_id}",
        'store = "store"',
        'deployments = "deployments"',
        'password_file = "password.txt"',
        'keystore = "keys/creator.json"',
        'state_dir = "nonces"',
        'data_dir = "data"',
    )
    path.write_text("# Written by `commonweight dev up`.\n" + "\n".join(lines) + "\n")
    return path
