"""For the machine that a provider lends: `provider doctor` before the start, `pause` and `resume` while it runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from commonweight.cli.durations import parse_duration
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
    StoreOption,
    TensorboardOption,
    ThreadsOption,
)
from commonweight.cli.provider import last_line, provider_settings
from commonweight.cli.session import Session
from commonweight.quantities import when


def doctor(
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
        str | None, typer.Option("--advertise", help="HOST:PORT that others are told (default: the registered one).")
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
    as_json: JsonOption = False,
) -> None:
    """Find out what would keep this machine from training, each with its cure; takes what `provider start` is given.
    Ends with 1 if anything would.
    """
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
    session = Session(flags, config=config, as_json=as_json, role="provider")
    settings = provider_settings(
        session, signer_peers, advertise, private_data, device, threads, keep_states, compile_
    )  # fmt: skip
    from trainer.doctor import examine

    session.output.findings(examine(settings))


def pause(
    length: Annotated[
        str | None, typer.Option("--for", help="How long, like 45m or 2h (default: until `provider resume`).")
    ] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take the machine back for a while: the process hands over its round, rests, and joins again by itself."""
    from commonweight.checks import in_use
    from trainer.pausing import pause as write

    session = Session({"data_dir": data_dir}, config=config, as_json=as_json, role="provider")
    folder = session.settings.data_dir
    until = None if length is None else int(time.time()) + parse_duration(length)
    write(folder, until)
    last, running = last_line(folder / "status.jsonl"), in_use(folder)
    body = {"paused_until": until, "running": running, "phase": last["phase"] if last and running else None}
    end = "`commonweight provider resume`" if until is None else when(until)
    title = (
        f"The provider rests after its round, until {end}."
        if running
        else f"No provider runs here; one that is started rests until {end}."
    )
    session.output.result(body, title=title, rows=[("now", body["phase"])] if running else [])


def resume(data_dir: DataDirOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """End a pause at once."""
    from commonweight.checks import in_use
    from trainer.pausing import paused_until
    from trainer.pausing import resume as end

    session = Session({"data_dir": data_dir}, config=config, as_json=as_json, role="provider")
    folder = session.settings.data_dir
    paused, running = paused_until(folder) > time.time(), in_use(folder)
    end(folder)
    title = "The pause is over." if paused else "There was no pause."
    session.output.result({"paused": paused, "running": running}, title=title, rows=[])
