"""`commonweight oracle`: run a signer, see what it waits for, check it before the start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commonweight.cli.bonding import place_of
from commonweight.cli.options import (
    CompileOption,
    ConfigOption,
    ConfirmationsOption,
    DataDirOption,
    JsonOption,
    KeystoreOption,
    ListenOption,
    LogLevelOption,
    MetricsOption,
    P2pOption,
    PasswordFileOption,
    ReplayDeviceOption,
    RpcOption,
    RunOption,
    StoreOption,
    checked_addresses,
)
from commonweight.cli.provider import read_peers, relays
from commonweight.cli.session import Session
from commonweight.errors import UsageError

if TYPE_CHECKING:
    from oracle.settings import OracleSettings

cli = typer.Typer(help="Run an oracle signer.", no_args_is_help=True)
TransmitterOption = Annotated[
    Path | None, typer.Option("--transmitter", help="Encrypted keystore that pays for transactions.", metavar="FILE")
]
TransmitterPasswordOption = Annotated[
    Path | None,
    typer.Option("--transmitter-password-file", help="Its password, if it is another one.", metavar="FILE"),
]
PeersOption = Annotated[
    Path | None, typer.Option("--peers", help="JSON file: signer address to HOST:PORT (default: the run's own).")
]
CoordinatorOption = Annotated[
    str | None,
    typer.Option(
        "--coordinator",
        help="Signer who plans the rounds (default: the first); behind those who did before and whom this signer did "
        "not follow, oldest first.",
        metavar="[OLD,...]ADDRESS",
        callback=checked_addresses,
    ),
]
PinServiceOption = Annotated[
    str | None,
    typer.Option("--pin-service", help="Pinning service that keeps the evidence too.", metavar="URL"),
]
PinTokenOption = Annotated[
    Path | None,
    typer.Option("--pin-token-file", help="Its token (default: COMMONWEIGHT_PIN_TOKEN).", metavar="FILE"),
]
CollectOption = Annotated[
    bool, typer.Option("--collect-garbage", help="Delete from a folder store what no retention time covers.")
]


@cli.command()
def start(
    run: RunOption = None,
    rpc: RpcOption = None,
    store: StoreOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    transmitter: TransmitterOption = None,
    transmitter_password_file: TransmitterPasswordOption = None,
    listen: ListenOption = None,
    data_dir: DataDirOption = None,
    peers: PeersOption = None,
    coordinator: CoordinatorOption = None,
    pin_service: PinServiceOption = None,
    pin_token_file: PinTokenOption = None,
    collect_garbage: CollectOption = False,
    metrics: MetricsOption = None,
    p2p: P2pOption = None,
    p2p_listen: Annotated[
        str | None,
        typer.Option("--p2p-listen", help="Where to be such a relay, like /ip4/0.0.0.0/tcp/4001.", metavar="ADDRESS"),
    ] = None,
    device: ReplayDeviceOption = "cpu",
    compile_: CompileOption = False,
    confirmations: ConfirmationsOption = None,
    log_level: LogLevelOption = None,
    config: ConfigOption = None,
) -> None:
    """Verify, agree, sign and submit until interrupted."""
    flags = _flags(run, rpc, store, keystore, password_file, transmitter, transmitter_password_file, listen, data_dir)
    session = Session(
        {**flags, "confirmations": confirmations, "log_level": log_level, "metrics": metrics, "p2p": p2p,
         "p2p_listen": p2p_listen},
        config=config,
        role="oracle",
        service=True,
    )
    settings = replace(
        _settings(session, peers, coordinator),
        pin_service=pin_service, pin_token_file=pin_token_file, collect_garbage=collect_garbage,
        device=device, compiled=compile_,
    )  # fmt: skip
    from commonweight.checks import require_free
    from oracle.service import run as serve
    from oracle.worker import require

    session.reach()
    require_free(settings.listen)
    if settings.replays_on:
        require(settings)
    serve(settings)


@cli.command()
def status(
    run: RunOption = None,
    rpc: RpcOption = None,
    store: StoreOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    transmitter: TransmitterOption = None,
    transmitter_password_file: TransmitterPasswordOption = None,
    listen: ListenOption = None,
    data_dir: DataDirOption = None,
    peers: PeersOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the running signer where it stands and what it waits for."""
    flags = _flags(run, rpc, store, keystore, password_file, transmitter, transmitter_password_file, listen, data_dir)
    session = Session(flags, config=config, as_json=as_json, role="oracle")
    settings = _settings(session, peers, None)
    from oracle.service import status as ask

    session.output.result(ask(settings), title="The signer answers:")


@cli.command()
def check(
    run: RunOption = None,
    rpc: RpcOption = None,
    store: StoreOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    transmitter: TransmitterOption = None,
    transmitter_password_file: TransmitterPasswordOption = None,
    listen: ListenOption = None,
    data_dir: DataDirOption = None,
    peers: PeersOption = None,
    device: ReplayDeviceOption = "cpu",
    compile_: CompileOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find out before the start what is wrong, and how to mend it. Ends with 1 if anything is."""
    flags = _flags(run, rpc, store, keystore, password_file, transmitter, transmitter_password_file, listen, data_dir)
    session = Session(flags, config=config, as_json=as_json, role="oracle")
    settings = replace(_settings(session, peers, None), device=device, compiled=compile_)
    from oracle.check import check as examine

    session.output.findings(examine(settings))


def _flags(
    run: object,
    rpc: object,
    store: object,
    keystore: object,
    password_file: object,
    transmitter: object,
    transmitter_password_file: object,
    listen: object,
    data_dir: object,
) -> dict[str, object]:
    return {
        "run": run,
        "rpc": rpc,
        "store": store,
        "keystore": keystore,
        "password_file": password_file,
        "transmitter": transmitter,
        "transmitter_password_file": transmitter_password_file,
        "listen": listen,
        "data_dir": data_dir,
    }


def _listen_of(session: Session) -> str:
    """Where the run's configuration says that this signer is reached."""
    from commonweight.chain.keys import keystore_address
    from commonweight.protocol.runconfig import RunConfig
    from commonweight.store import parse_cid

    params = session.run.params
    config = RunConfig.load(session.store.get(parse_cid(params.config_cid), sha256="0x" + params.config_sha256.hex()))
    signer = keystore_address(session.keystore)
    found = config.signers_peers.get(signer.lower())
    if found is None:
        place_of(session.run, signer)
        raise UsageError(
            "Where shall this signer listen?",
            "The run's configuration does not name its address",
            "Name it by --listen.",
        )
    return found


def _settled(listen: str) -> str:
    if listen.endswith(":0"):
        raise UsageError(
            f"A signer cannot listen at {listen}.",
            "Port 0 takes another port each time, and the others ask at the one in the run's configuration",
            "Name that one by --listen.",
        )
    return listen


def _settings(session: Session, peers: Path | None, coordinator: str | None) -> OracleSettings:
    s = session.settings
    campaign, key_file = session.campaign, session.keystore
    if s.transmitter is None:
        raise UsageError(
            "Who pays for the transactions?", "No transmitter was named", "Name its keystore by --transmitter."
        )
    from oracle.settings import OracleSettings

    return OracleSettings(
        campaign=campaign,
        rpc_urls=s.rpc,
        store=s.store,
        keystore=key_file,
        transmitter=s.transmitter,
        password_file=s.password_file,
        transmitter_password_file=s.transmitter_password_file,
        data_dir=s.data_dir,
        listen=_settled(s.listen) if s.listen else _listen_of(session),
        peers=read_peers(peers),
        coordinators=tuple(coordinator.split(",")) if coordinator else (),
        metrics=s.metrics,
        p2p=relays(s.p2p),
        p2p_listen=s.p2p_listen,
        log_level=s.log_level,
        confirmations=s.confirmations,
        max_fee_gwei=s.max_fee_gwei,
        chain_id=s.chain_id,
        patience_s=session.patience_s,
    )
