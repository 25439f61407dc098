"""`commonweight dev`: a local chain in the background with named and funded accounts, a run to take part in, its store,
its oracle and its page, and settings to use them.
"""

from __future__ import annotations

import importlib.util
import json
import shlex
import shutil
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commonweight.cli.durations import parse_duration
from commonweight.cli.options import JsonOption, YesOption
from commonweight.cli.output import Output, Report
from commonweight.errors import ChainError, CommonweightError, UsageError
from commonweight.settings import environment, user_folder

if TYPE_CHECKING:
    from concurrent.futures import Future

    from commonweight.chain.client import Chain
    from commonweight.chain.local import LocalChain
    from commonweight.chain.run import Run
    from commonweight.cli.devprocs import Record
    from commonweight.cli.devrun import Signer

cli = typer.Typer(help="A local chain with a run to develop on.", no_args_is_help=True)
DirOption = Annotated[Path | None, typer.Option("--dir", help="Folder of it all (default: in the data folder).")]
NAMES = (
    "creator",
    *(f"funder{i}" for i in range(1, 4)),
    *(f"provider{i}" for i in range(1, 6)),
    *(f"signer{i}" for i in range(1, 4)),
    *(f"transmitter{i}" for i in range(1, 4)),
    "server",
    *(f"user{i}" for i in range(1, 3)),
)
_PASSWORD = "development"  # noqa: S105 - these keys are public knowledge; see chain/local.py
_READY_S = 120.0
_WRITTEN = "# Written by `commonweight dev up`."
_KILLED = (
    "The chain was not ended by `dev down`: its last minute may be gone, and an audit may then refute what the oracle"
    " has built on it."
)
_RESET = "The state is gone. Wallets that used this chain must forget its transactions: clear activity and nonces."


@cli.command()
def up(
    chain: Annotated[str, typer.Option("--chain", help="anvil or ganache.")] = "anvil",
    port: Annotated[
        int | None, typer.Option("--port", help="The chain's port (default: as before, or a free one).")
    ] = None,
    bare: Annotated[bool, typer.Option("--bare", help="The chain and a factory only: no run, oracle or page.")] = False,
    deposits: Annotated[str, typer.Option("--deposits", help="How long the run takes deposits.")] = "5m",
    signers: Annotated[int, typer.Option("--signers", help="Oracle signers: 1 or 3.")] = 1,
    folder: DirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a chain with funded accounts, a run, its store, its oracle and its page."""
    from concurrent.futures import ThreadPoolExecutor

    from commonweight.chain.local import start_local
    from commonweight.cli import devrun
    from commonweight.cli.devprocs import Record, alone

    if chain not in ("anvil", "ganache"):
        raise UsageError(f"There is no chain {chain}.", "", "Choose anvil or ganache.")
    if signers not in (1, 3):
        raise UsageError(f"There cannot be {signers} signers here.", "", "Choose 1 or 3.")
    deposits_s = parse_duration(deposits)
    if not bare and importlib.util.find_spec("torch") is None:
        raise UsageError(
            "The oracle needs PyTorch.", "It is not installed", "pip install 'commonweight[all]'; or --bare."
        )
    output, place = Output(as_json=as_json), _place(folder)
    with alone(place), output.progress() as report, ThreadPoolExecutor(1) as beside:
        record = Record.read(place)
        if _answers(record):
            raise UsageError(f"The chain in {place} runs already.", "", f"`{_command('down', folder)}` stops it.")
        if "chain" in record.processes:
            output.note(f"{_KILLED} `{_command('reset', folder)}` begins anew.")
        record.stop()  # what a kill left behind
        data = None if bare else beside.submit(devrun.prepare_data, place)
        report("Starting the chain", 0, 1)
        local = start_local(
            "anvil" if chain == "anvil" else "ganache",
            directory=place,
            port=_earlier_port(place) if port is None else port,
            accounts=len(NAMES),
            state=place / f"{chain}-state",
            detached=True,
        )
        record = Record(place, {"chain": chain, "chain_id": local.chain_id, "rpc": local.url, "pid": local.pid})
        record.note("chain", local.pid)
        report("Starting the chain", 1, 1)
        try:
            _furnish(record, local, report, None if data is None else (data, deposits_s, signers))
        except BaseException:
            record.stop()
            raise
    facts = record.facts
    rows = [(n.replace("_", " "), facts[n]) for n in ("rpc", "chain_id", "factory", "run", "page") if facts.get(n)]
    rows += [("keystores", f"{facts['keystores']}: {', '.join(NAMES)}")]
    rows += [("to use it", f"export COMMONWEIGHT_CONFIG={facts['config']}")]
    output.result(facts, title="The chain is up.", rows=rows)


@cli.command()
def down(folder: DirOption = None, as_json: JsonOption = False) -> None:
    """Stop everything; the chain's state is kept for the next `dev up`."""
    from commonweight.cli.devprocs import Record, alone

    output, place = Output(as_json=as_json), _place(folder)
    with alone(place):
        stopped = Record.read(place).stop()
    title = f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running."
    output.result({"stopped": bool(stopped), "processes": stopped}, title=title, rows=[])


@cli.command()
def reset(folder: DirOption = None, yes: YesOption = False, as_json: JsonOption = False) -> None:
    """Forget the chain's state and all that belongs to it. Wallets that used it must forget their nonces too."""
    from commonweight.cli.devprocs import Record, alone
    from commonweight.cli.session import confirm

    output, place = Output(as_json=as_json), _place(folder)
    if not _made_by_up(place):
        raise UsageError(
            f"Nothing in {place} is deleted.",
            "`commonweight dev up` did not make this folder",
            "Name the one that it made by --dir.",
        )
    with alone(place):
        record = Record.read(place)
        if _answers(record):
            raise UsageError(f"The chain in {place} runs.", "", f"Stop it first with `{_command('down', folder)}`.")
        confirm(f"Delete the chain's state, its run, store and data in {place}?", yes=yes)
        record.stop()
        for kind in ("anvil", "ganache"):
            for path in (place / f"{kind}-state", place / f"run-{kind}.json"):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for name in ("deployments", "nonces", "data", "store", "logs"):
            shutil.rmtree(place / name, ignore_errors=True)
    output.result({"reset": True, "wallets": _RESET}, title=_RESET, rows=[])


@cli.command()
def status(folder: DirOption = None, as_json: JsonOption = False) -> None:
    """Show what runs. Ends with 1 if the chain does not."""
    from commonweight.chain.client import Chain
    from commonweight.cli.devprocs import Record

    output, place = Output(as_json=as_json), _place(folder)
    record = Record.read(place)
    if not _answers(record):
        left = [name for name in record.processes if record.runs(name)]
        more = f" Left over: {', '.join(left)}; `{_command('down', folder)}` ends them." if left else ""
        output.result({"running": False, "left_over": left}, title=f"No chain runs in {place}.{more}", rows=[])
        raise typer.Exit(1)
    block = Chain([str(record.facts["rpc"])]).block().number
    running = {name: record.runs(name) for name in record.processes}
    rows = [(n, record.facts[n]) for n in ("rpc", "factory", "run", "page", "config") if record.facts.get(n)]
    rows += [("block", block), *((name, "runs" if alive else "has ended") for name, alive in running.items())]
    body = {"running": True, **record.facts, "block": block, "processes": running}
    output.result(body, title="The chain runs.", rows=rows)


# --- what `up` does --------------------------------------------------------------------------------------------------


def _furnish(
    record: Record, local: LocalChain, report: Report, wanted: tuple[Future[tuple[str, str]], int, int] | None
) -> None:
    """Factory, accounts, settings; and the run, its oracle and its page if one is wanted: from which data, open to
    deposits for how many seconds, with how many signers.
    """
    from commonweight.chain.client import Chain
    from commonweight.chain.deploy import deploy_factory, find_factory, write_deployment
    from commonweight.chain.keys import Key
    from commonweight.errors import ConfigError

    place = record.place
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
    accounts = {name: account.address for name, account in zip(NAMES, local.accounts, strict=True)}
    record.facts |= {
        "factory": factory,
        "run": None,
        "page": None,
        "config": str(_write_settings(place, local, None)),
        "keystores": str(place / "keys"),
        "accounts": accounts,
    }
    record.write()
    if wanted is not None:
        signers = _run(record, local, client, report, *wanted)
        _services(record, report, signers)


def _run(
    record: Record,
    local: LocalChain,
    client: Chain,
    report: Report,
    data: Future[tuple[str, str]],
    deposits_s: int,
    signer_count: int,
) -> tuple[Signer, ...]:
    """The run of an earlier `up` if it is not over, else a new one; its signers with full bonds."""
    from commonweight.chain.keys import Key
    from commonweight.cli import devrun

    place, note = record.place, record.place / f"run-{record.facts['chain']}.json"
    addresses = dict(zip(NAMES, (account.address for account in local.accounts), strict=True))
    run: Run | None = None
    signers: tuple[Signer, ...] = ()
    try:
        kept = json.loads(note.read_text())
        run, signers = devrun.still_open(client, kept["run"]), tuple(devrun.Signer(**s) for s in kept["signers"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if run is None:
        report("Creating the run", 0, 1)
        signers = tuple(
            devrun.Signer(f"signer{i}", addresses[f"signer{i}"], addresses[f"transmitter{i}"], devrun.free_address())
            for i in range(1, signer_count + 1)
        )
        run = devrun.create(place, client, str(record.facts["factory"]), signers, data.result(), deposits_s)
        note.write_text(json.dumps({"run": run.address, "signers": [vars(s) for s in signers]}))
        report("Creating the run", 1, 1)
    keys = {account.address: Key.from_hex(account.key) for account in local.accounts}
    devrun.post_bonds(run, keys, signers)
    _write_settings(place, local, run.address)
    record.facts["run"] = run.address
    record.write()
    return signers


def _services(record: Record, report: Report, signers: tuple[Signer, ...]) -> None:
    """The oracle's signers and the page, and waits until they answer."""
    from commonweight.cli.devrun import free_address

    place, settings = record.place, Path(str(record.facts["config"]))
    report("Starting oracle and page", 0, 1)
    for signer in signers:
        options = ["--keystore", str(place / "keys" / f"{signer.name}.json")]
        options += ["--transmitter", str(place / "keys" / f"{signer.name.replace('signer', 'transmitter')}.json")]
        options += ["--data-dir", str(place / "data" / signer.name), "--listen", signer.peer]
        record.spawn(f"oracle-{signer.name}", ["oracle", "start", *options], settings, {})
    listen = free_address()
    record.spawn("page", ["dashboard", "--listen", listen], settings, {})
    record.facts["page"] = f"http://{listen}/"
    record.write()
    waiting = {f"oracle-{signer.name}": signer.peer for signer in signers} | {"page": listen}
    deadline = time.monotonic() + _READY_S
    while waiting:
        for name in [name for name, address in waiting.items() if _listens(address)]:
            del waiting[name]
        for name in waiting:
            if not record.runs(name) or time.monotonic() > deadline:
                raise CommonweightError(
                    f"The process {name} did not start.", record.log_end(name), f"Its log is in {place / 'logs'}."
                )
        time.sleep(0.05)
    report("Starting oracle and page", 1, 1)


def _listens(address: str) -> bool:
    import socket

    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def _place(folder: Path | None) -> Path:
    return (folder or user_folder(environment(), "XDG_DATA_HOME", ".local/share") / "dev").absolute()


def _made_by_up(place: Path) -> bool:
    """Whether `dev up` has written the settings there, or left its record: only then is the folder its own."""
    from commonweight.cli.devprocs import Record

    try:
        written = (place / "config.toml").read_bytes().startswith(_WRITTEN.encode())
    except OSError:
        written = False
    return written or bool(Record.read(place).processes)


def _earlier_port(place: Path) -> int | None:
    """The port of the chain that ran here before, which wallets know, if it is free now."""
    from urllib.parse import urlsplit

    from commonweight.checks import require_free

    if not _made_by_up(place):
        return None
    try:
        chain = urlsplit(str(tomllib.loads((place / "config.toml").read_text())["rpc"]))
        require_free(f"127.0.0.1:{chain.port}")
    except (OSError, ValueError, KeyError, UsageError):
        return None
    return chain.port


def _command(name: str, folder: Path | None) -> str:
    """The command line of another `dev` command for the same folder."""
    return shlex.join(["commonweight", "dev", name, *([] if folder is None else ["--dir", str(folder)])])


def _answers(record: Record) -> bool:
    """Whether the recorded chain runs and answers at its address."""
    from commonweight.chain.client import Chain

    if not record.runs("chain"):
        return False
    try:
        url, chain_id = str(record.facts["rpc"]), int(str(record.facts["chain_id"]))
        Chain([url], chain_id=chain_id, patience_s=0.5).block_number()
    except (ValueError, KeyError, ChainError):
        return False
    return True


def _write_accounts(place: Path, local: LocalChain) -> None:
    from commonweight.chain.keys import Key, create_keystore

    keys = place / "keys"
    keys.mkdir(exist_ok=True)
    password = place / "password.txt"
    password.touch(mode=0o600)
    password.write_text(_PASSWORD + "\n")
    for name, account in zip(NAMES, local.accounts, strict=True):
        path = keys / f"{name}.json"
        if not path.exists():
            create_keystore(path, _PASSWORD, key=Key.from_hex(account.key), fast=True)


def _write_settings(place: Path, local: LocalChain, run: str | None) -> Path:
    path = place / "config.toml"
    lines = [
        f'rpc = "{local.url}"',
        f"chain_id = {local.chain_id}",
        'store = "store"',
        'deployments = "deployments"',
        'password_file = "password.txt"',
        'keystore = "keys/funder1.json"',
        'state_dir = "nonces"',
        'data_dir = "data"',
        *([] if run is None else [f'run = "{run}"']),
        "\n[provider]",
        'keystore = "keys/provider1.json"',
        'data_dir = "data/provider1"',
        'listen = "127.0.0.1:7700"',
        "\n[oracle]",
        'keystore = "keys/signer1.json"',
        'transmitter = "keys/transmitter1.json"',
        'data_dir = "data/signer1"',
        "\n[infer]",
        'keystore = "keys/user1.json"',
        'data_dir = "data/infer"',
        "\n[audit]",
        'data_dir = "data/audit"',
    ]
    path.write_text(_WRITTEN + "\n" + "\n".join(lines) + "\n")
    return path
