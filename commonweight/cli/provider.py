"""`commonweight provider`: register, train, say how things stand, leave; `earning` has credits and claims."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commonweight.addresses import parse_address
from commonweight.cli.amounts import format_amount, parse_amount
from commonweight.cli.options import (
    CompileOption,
    ConfigOption,
    ConfirmationsOption,
    DataDirOption,
    DeviceOption,
    JsonOption,
    KeepStatesOption,
    KeystoreOption,
    ListenOption,
    LogLevelOption,
    MaxDiskOption,
    MaxMemoryOption,
    MaxUploadOption,
    MetricsOption,
    P2pOption,
    PasswordFileOption,
    PrivateDataOption,
    RpcOption,
    RunOption,
    ScheduleOption,
    SenderOption,
    StoreOption,
    TensorboardOption,
    ThreadsOption,
    UnsignedOption,
    YesOption,
    checked_address,
)
from commonweight.cli.session import Session
from commonweight.errors import ContractError, PeerError, UsageError
from commonweight.quantities import when

if TYPE_CHECKING:
    from commonweight.chain.run import Run
    from commonweight.chain.structs import Provider
    from trainer.settings import ProviderSettings

cli = typer.Typer(help="Lend compute to a run and be paid for it.", no_args_is_help=True)
_NOT_FROM_OUTSIDE = "127.0.0.1:0"
AccountArgument = Annotated[
    str | None,
    typer.Argument(
        help="The provider's account or signing key (default: the keystore's address).", callback=checked_address
    ),
]


@cli.command()
def register(
    run: RunOption = None,
    rpc: RpcOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    unsigned: UnsignedOption = None,
    sender: SenderOption = None,
    peer: Annotated[str | None, typer.Option("--peer", help="HOST:PORT at which others reach this provider.")] = None,
    stake: Annotated[
        str | None, typer.Option("--stake", help="Stake in whole units (default: the run's minimum).")
    ] = None,
    payout: Annotated[
        str | None,
        typer.Option("--payout", help="Address that is paid (default: the account).", callback=checked_address),
    ] = None,
    signing_key: Annotated[
        str | None,
        typer.Option(
            "--signing-key",
            help="Address of the key that signs work (default: the account).",
            callback=checked_address,
        ),
    ] = None,
    config: ConfigOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Register as a provider of a run, with a stake."""
    flags = {"run": run, "rpc": rpc, "keystore": keystore, "password_file": password_file}
    session = Session(flags, config=config, as_json=as_json, role="provider", unsigned=unsigned, sender=sender)
    told = reached_at(session, peer)
    found = session.signing_run
    if why := found.untrainable():
        raise UsageError(
            f"Nobody is registered with {found.params.name}.",
            f"{why[0].upper()}{why[1:]}: a stake would lie there and earn nothing",
            "Choose another run; `commonweight run list` shows them.",
        )
    account = found.chain.address
    key, paid = signing_key or account, payout or account
    symbol, decimals = found.asset.symbol(), found.asset.decimals()
    value = found.params.provider_stake if stake is None else parse_amount(stake, decimals)
    shown = format_amount(value, symbol, decimals)
    if value < found.params.provider_stake:
        least = format_amount(found.params.provider_stake, symbol, decimals)
        why = f"StakeTooLow: the least in {found.params.name} is {least}"
        raise ContractError("StakeTooLow", f"Nobody registers with a stake of {shown}.", why, f"Stake {least} or more.")
    session.confirm(f"Register {account} with {found.params.name} and stake {shown}?", yes=yes)
    receipt = found.registry.register(key, paid, told, value)
    session.finish_unsigned(f"Register {account} with {found.params.name} ({found.address}) and stake {shown}")
    index = found.registry.index_of(account)
    body = {
        "run": found.address,
        "index": index,
        "account": account,
        "signing_key": key,
        "payout": paid,
        "peer": told,
        "stake": str(value),
        "block": receipt.block_number,
        "tx": "0x" + receipt.tx_hash.hex(),
    }
    session.output.result(
        {**body}, title=f"Registered as provider {index}.", rows=[*list(body.items())[2:6], ("stake", shown)]
    )


@cli.command()
def start(
    run: RunOption = None,
    rpc: RpcOption = None,
    store: StoreOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    listen: ListenOption = None,
    data_dir: DataDirOption = None,
    signer_peers: Annotated[
        Path | None,
        typer.Option("--signer-peers", help="JSON file: signer address to HOST:PORT (default: the run's own)."),
    ] = None,
    advertise: Annotated[
        str | None,
        typer.Option("--advertise", help="HOST:PORT that others are told (default: --listen, or where registered)."),
    ] = None,
    device: DeviceOption = "cpu",
    compile_: CompileOption = False,
    threads: ThreadsOption = None,
    keep_states: KeepStatesOption = 1,
    private_data: PrivateDataOption = None,
    max_upload: MaxUploadOption = None,
    max_memory: MaxMemoryOption = None,
    max_disk: MaxDiskOption = None,
    schedule: ScheduleOption = None,
    metrics: MetricsOption = None,
    tensorboard: TensorboardOption = None,
    p2p: P2pOption = None,
    confirmations: ConfirmationsOption = None,
    log_level: LogLevelOption = None,
    config: ConfigOption = None,
) -> None:
    """Train for a run until it ends or is interrupted."""
    flags = {
        "run": run,
        "rpc": rpc,
        "store": store,
        "keystore": keystore,
        "password_file": password_file,
        "listen": listen,
        "data_dir": data_dir,
        "max_upload": max_upload,
        "max_memory": max_memory,
        "max_disk": max_disk,
        "schedule": schedule,
        "metrics": metrics,
        "tensorboard": tensorboard,
        "p2p": p2p,
        "confirmations": confirmations,
        "log_level": log_level,
    }
    session = Session(flags, config=config, role="provider", service=True)
    settings = provider_settings(
        session, signer_peers, advertise, private_data, device, threads, keep_states, compile_
    )  # fmt: skip
    from commonweight.checks import require_free
    from trainer.settings import is_follower
    from trainer.train import run as train

    if not is_follower():
        session.reach()
        require_free(settings.listen)
    train(settings)


@cli.command()
def address(
    p2p: P2pOption = None, data_dir: DataDirOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Show where others reach this computer through libp2p, to register it there."""
    from commonweight.net.libp2p import address_at

    session = Session({"p2p": p2p, "data_dir": data_dir}, config=config, as_json=as_json, role="provider")
    named = relays(session.settings.p2p)
    if not named:
        raise UsageError("At which relay?", "no libp2p relay was named", "Name its address by --p2p.")
    found = [address_at(session.settings.data_dir, relay) for relay in named]
    session.output.result({"addresses": found}, title=found[0])


@cli.command()
def status(
    account: AccountArgument = None,
    run: RunOption = None,
    rpc: RpcOption = None,
    keystore: KeystoreOption = None,
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    rounds: Annotated[
        int, typer.Option("--rounds", min=0, help="How many rounds of the process here to show.", metavar="N")
    ] = 10,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs", min=0, help="Of how many last reports to read itemised credits (default: the rounds' own)."
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a provider's registration, what its process does if it runs here, and round by round what was refused."""
    from commonweight.cli import rounds as told
    from trainer.history import is_by

    flags = {"run": run, "rpc": rpc, "keystore": keystore, "store": store, "data_dir": data_dir}
    session = Session(flags, config=config, as_json=as_json, role="provider")
    owner, found = session.address(account), session.run
    index = index_for(found, owner)
    entry = found.registry.provider_at(index)
    last, others = last_line(session.settings.data_dir / "status.jsonl"), ""
    if last is not None and not is_by(last, found.address.lower(), index):
        others = f"The process in {session.settings.data_dir} is of provider {last.get('index')} of {last.get('run')}"
        last = None
    loss = None if last is None else last.get("loss_micro")
    own = told.own_rounds(session.settings.data_dir, rounds, found.address, index)
    signers = told.itemised(session, index, own, epochs)
    body: dict[str, object] = {
        "run": found.address,
        "index": index,
        **_entry_json(entry),
        "banned": found.registry.is_banned(index),
        "open_challenges": found.registry.open_challenges(index),
        "process": last,
        "rounds": own,
        "itemised": [signers.lines[number] for number in sorted(signers.lines)],
        "unread": signers.unread,
        "block": found.chain.block_number(),
    }
    rows = [
        ("account", entry.account),
        ("signing key", entry.signing_key),
        ("payout", entry.payout),
        ("peer", entry.peer),
        ("stake", format_amount(entry.stake, found.asset.symbol(), found.asset.decimals())),
        ("banned until", when(entry.banned_until) if body["banned"] else None),
        ("left", when(entry.exit_at) if entry.exit_at else None),
        *([(name, last[name]) for name in ("round", "phase", "step") if name in last] if last else []),
        ("loss", f"{loss / 1e6:.3f} nats a token") if isinstance(loss, int) else ("loss", None),
    ]
    session.output.result(body, title=f"Provider {index} of {found.params.name}", rows=rows)
    if not as_json:
        session.output.table({}, told.COLUMNS, told.rows(own, signers), empty="No rounds yet.")
        if others:
            session.output.note(f"{others}: it is left out here; --data-dir names another folder.")
        for problem in signers.unread:
            session.output.note(f"Itemised credits of epoch {problem['epoch']}: {problem['why']}")


@cli.command("exit")
def leave(
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take the stake back after having left.")] = False,
    run: RunOption = None,
    rpc: RpcOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    unsigned: UnsignedOption = None,
    sender: SenderOption = None,
    config: ConfigOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Leave a run; later, with --withdraw, take the stake back."""
    flags = {"run": run, "rpc": rpc, "keystore": keystore, "password_file": password_file}
    session = Session(flags, config=config, as_json=as_json, role="provider", unsigned=unsigned, sender=sender)
    found = session.signing_run
    index = found.registry.index_of(found.chain.address)
    entry = found.registry.provider_at(index)
    if withdraw:
        receipt = found.registry.withdraw_stake(_unbonding_epoch(found, entry))
        session.finish_unsigned(f"Take back the stake of provider {index} of {found.params.name} ({found.address})")
        shown = format_amount(entry.stake, found.asset.symbol(), found.asset.decimals())
        title = f"The stake of provider {index} is paid back: {shown}."
    else:
        session.confirm(f"Leave {found.params.name} as provider {index} for good?", yes=yes)
        receipt = found.registry.exit()
        session.finish_unsigned(f"Leave {found.params.name} ({found.address}) as provider {index} for good")
        title = f"Provider {index} has left. Its stake can be taken back when the dispute period is over."
    body = {
        "run": found.address,
        "index": index,
        "withdrawn": str(entry.stake if withdraw else 0),
        "block": receipt.block_number,
        "tx": "0x" + receipt.tx_hash.hex(),
    }
    session.output.result(body, title=title, rows=[("tx", body["tx"])])


def index_for(run: Run, address: str) -> int:
    """The index of a provider by its account or, where a wallet registered it, by the key that signs its work. Raises
    ContractError UnknownProvider.
    """
    try:
        return run.registry.index_of(address)
    except ContractError as error:
        if error.name != "UnknownProvider":
            raise
        return run.registry.index_of_key(address)


def index_named(run: Run, provider: str) -> int:
    """The index that a command's `--provider` means: itself, or an account's. Raises UsageError, or ContractError."""
    if provider.isascii() and provider.isdigit():
        return int(provider)
    return run.registry.index_of(parse_address(provider))


def reached_at(session: Session, peer: str | None) -> str:
    """Where others reach a provider: `--peer`, else where its settings say that it listens. Raises UsageError."""
    told = session.settings.listen if peer is None else peer
    if told is None:
        raise UsageError("Where do others reach this provider?", "", "Name host and port by --peer.")
    return peer_address(told)


def peer_address(text: str) -> str:
    """HOST:PORT or a libp2p address, as it is written. Raises UsageError."""
    from commonweight.net import check_address

    try:
        check_address(text)
    except PeerError as error:
        fix = "Write it like 203.0.113.7:7700, or as `commonweight provider address` prints it."
        raise UsageError(error.what, error.why, fix) from None
    return text


def provider_settings(
    session: Session,
    signer_peers: Path | None,
    advertise: str | None,
    private_data: Path | None,
    device: str = "cpu",
    threads: int | None = None,
    keep_states: int = 1,
    compiled: bool = False,
) -> ProviderSettings:
    """What a provider's process is started with. Raises UsageError for what is missing."""
    s = session.settings
    campaign, key_file = session.campaign, session.keystore
    if s.listen is None and s.p2p is None:
        raise UsageError(
            "Where shall this provider listen?", "", "Name host and port by --listen, or a libp2p relay by --p2p."
        )
    peers = read_peers(signer_peers)
    from commonweight.quantities import parse_rate, parse_size
    from commonweight.schedule import parse_schedule
    from trainer.engine import Engine
    from trainer.settings import ProviderSettings

    return ProviderSettings(
        campaign=campaign,
        rpc_urls=s.rpc,
        store=s.store,
        keystore=key_file,
        password_file=s.password_file,
        data_dir=s.data_dir,
        listen=s.listen or _NOT_FROM_OUTSIDE,
        advertise=None if advertise is None else peer_address(advertise),
        signer_peers=peers,
        engine=Engine(device, compiled),
        threads=threads,
        keep_states=keep_states,
        confirmations=s.confirmations,
        log_level=s.log_level,
        max_upload=None if s.max_upload is None else parse_rate(s.max_upload),
        max_memory=None if s.max_memory is None else parse_size(s.max_memory),
        max_disk=None if s.max_disk is None else parse_size(s.max_disk),
        schedule=None if s.schedule is None else parse_schedule(s.schedule),
        metrics=s.metrics,
        tensorboard=s.tensorboard,
        p2p=relays(s.p2p),
        private_data=private_data,
        chain_id=s.chain_id,
        patience_s=session.patience_s,
        locks=s.state_dir.parent / "keys",
    )


def relays(text: str | None) -> tuple[str, ...]:
    """libp2p addresses, by commas."""
    return tuple(each.strip() for each in (text or "").split(",") if each.strip())


def read_peers(path: Path | None) -> Mapping[str, str]:
    """A JSON file of addresses to where they are reached. Raises UsageError."""
    if path is None:
        return {}
    wanted = 'Give a file like {"0x...": "host:port"}.'
    try:
        body = json.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"{path} cannot be read.", error.strerror or "", wanted) from None
    except ValueError:
        raise UsageError(f"{path} is not JSON.", "", wanted) from None
    if not isinstance(body, dict) or not all(isinstance(v, str) for v in body.values()):
        raise UsageError(f"{path} does not name peers.", "", wanted)
    return {parse_address(str(address)): peer_address(str(peer)) for address, peer in body.items()}


def last_line(path: Path) -> dict[str, object] | None:
    """The last whole line of a JSON-lines file, None if there is none."""
    try:
        lines = path.read_bytes()[-65536:].splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            body = json.loads(line)
        except ValueError:  # a line that is being written
            continue
        if isinstance(body, dict):
            return body
    return None


def _unbonding_epoch(run: Run, entry: Provider) -> int:
    """A final epoch, not before the exit, that has been final for longest; else the one of the exit, so that the
    contract explains.
    """
    from commonweight.chain.ledger_view import LedgerView

    left = max(0, run.params.epoch_of(entry.exit_at))
    final = [e.epoch for e in LedgerView.of(run).epochs.values() if e.final and e.epoch >= left]
    return min(final, default=left)


def _entry_json(entry: Provider) -> dict[str, object]:
    return {**vars(entry), "stake": str(entry.stake)}
