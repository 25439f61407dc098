"""The options that many commands share, so that each has one name and one explanation everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commonweight.addresses import parse_address


def checked_address(text: str | None) -> str | None:
    """The callback of every option and argument that takes an address. Raises UsageError."""
    return None if text is None else parse_address(text)


def checked_addresses(text: str | None) -> str | None:
    """The same for several, separated by commas."""
    return None if text is None else ",".join(parse_address(part.strip()) for part in text.split(","))


RunOption = Annotated[str | None, typer.Option("--run", help="The run: its campaign's address.", metavar="ADDRESS")]
RpcOption = Annotated[
    str | None, typer.Option("--rpc", help="RPC addresses of the chain, separated by commas.", metavar="URL")
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Content store: a folder or an IPFS node's RPC address; several, separated by commas.",
        metavar="PATH|URL",
    ),
]
KeystoreOption = Annotated[
    Path | None, typer.Option("--keystore", help="Encrypted keystore that signs.", metavar="FILE")
]
PasswordFileOption = Annotated[
    Path | None,
    typer.Option("--password-file", help="File with the keystore's password (else asked for).", metavar="FILE"),
]
UnsignedOption = Annotated[
    Path | None,
    typer.Option("--unsigned", help="Send nothing: write the unsigned transactions to FILE.", metavar="FILE"),
]
SenderOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="With --unsigned, who will sign (default: the keystore's address).",
        metavar="ADDRESS",
        callback=checked_address,
    ),
]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder for this program's state.", metavar="DIR")
]
ListenOption = Annotated[str | None, typer.Option("--listen", help="Address to listen on.", metavar="HOST:PORT")]
MetricsOption = Annotated[
    str | None,
    typer.Option("--metrics", help="Where to answer Prometheus (a port alone: on 127.0.0.1).", metavar="HOST:PORT"),
]
TensorboardOption = Annotated[
    Path | None, typer.Option("--tensorboard", help="Folder for TensorBoard's curves.", metavar="DIR")
]
P2pOption = Annotated[
    str | None,
    typer.Option("--p2p", help="libp2p relays to be reached at, like /ip4/203.0.113.7/tcp/4001/p2p/ID; by commas.",
                 metavar="ADDRESS"),
]  # fmt: skip
PrivateDataOption = Annotated[
    Path | None,
    typer.Option(
        "--private-data",
        help="Own prepared shards, for a run that trains on private ones: they stay here.",
        metavar="DIR",
    ),
]
MaxUploadOption = Annotated[
    str | None, typer.Option("--max-upload", help="The most to send, like 10Mbit.", metavar="RATE")
]
MaxMemoryOption = Annotated[
    str | None, typer.Option("--max-memory", help="Start no training that needs more, like 8GB.", metavar="SIZE")
]
MaxDiskOption = Annotated[
    str | None,
    typer.Option("--max-disk", help="Begin no round that takes more in --data-dir, like 50GB.", metavar="SIZE"),
]
ScheduleOption = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        help="When to train, by this machine's clock, like 22:00-07:00; several by commas.",
        metavar="HH:MM-HH:MM",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="What to train on: cpu, cuda or cuda:N.")]
ReplayDeviceOption = Annotated[str, typer.Option("--device", help="What to replay on: cpu, cuda or cuda:N.")]
ServeDeviceOption = Annotated[str, typer.Option("--device", help="What to answer on: cpu, cuda or cuda:N.")]
CompileOption = Annotated[bool, typer.Option("--compile", help="Compile the inner steps by torch.compile.")]
ThreadsOption = Annotated[int | None, typer.Option("--threads", help="CPU threads (default: the run's).")]
KeepStatesOption = Annotated[
    int,
    typer.Option("--keep-states", help="Keep every N-th trace state; compute the others when asked.", metavar="N"),
]
FactoryOption = Annotated[str | None, typer.Option("--factory", help="The factory's address.", metavar="ADDRESS")]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="Settings file (TOML).", metavar="FILE")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else there.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
LogLevelOption = Annotated[
    str | None, typer.Option("--log-level", help="debug, info, warning or error.", metavar="LEVEL")
]
ConfirmationsOption = Annotated[
    int | None,
    typer.Option(
        "--confirmations", help="Blocks until one counts as final (else the node's own finality).", metavar="N"
    ),
]
