"""The one settings object of the command line: flag over environment over TOML file over default.

Environment variables are `COMMONWEIGHT_` and the setting's name in capitals. The TOML file is the one named by
`--config` or COMMONWEIGHT_CONFIG, else `commonweight/config.toml` in the user's configuration folder; its tables
`[provider]`, `[oracle]`, `[infer]` and `[audit]` override the top level for commands of that role. Relative paths in
it start at its own folder. Nothing is read at import, and no setting holds a secret itself: passwords are in files
that settings name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from commonweight.addresses import parse_address
from commonweight.chain.urls import mask_url
from commonweight.errors import ConfigError, UsageError
from commonweight.quantities import parse_rate, parse_size
from commonweight.schedule import parse_schedule

PREFIX = "COMMONWEIGHT_"
CONFIG_VARIABLE = "COMMONWEIGHT_CONFIG"
ROLES = ("provider", "oracle", "infer", "audit")
_SOURCES = {"flag": "the command line"}


@dataclass(frozen=True)
class Settings:
    """Everything that a command may need to know. None means that the command must be told or does without.

    `patience_s` is how long a chain that does not answer is tried again (services that nobody told: 20), `max_fee_gwei`
    the most to pay for gas.
    `max_upload`, `max_memory`, `max_disk` and `schedule` are kept as they were written and are known to be right.
    """

    rpc: tuple[str, ...]
    chain_id: int | None
    confirmations: int | None
    patience_s: int
    max_fee_gwei: int
    run: str | None
    factory: str | None
    deployments: Path | None
    store: str
    keystore: Path | None
    password_file: Path | None
    transmitter: Path | None
    transmitter_password_file: Path | None
    data_dir: Path
    state_dir: Path
    listen: str | None
    metrics: str | None
    tensorboard: Path | None
    p2p: str | None
    p2p_listen: str | None
    max_upload: str | None
    max_memory: str | None
    max_disk: str | None
    schedule: str | None
    log_level: str


TEMPLATE = """\
# Settings of Commonweight. Every name here can also be given in the environment, as COMMONWEIGHT_ and the name in
# capitals, and most as a flag: --NAME.
# Relative paths start at this file's folder. What is commented out shows its default, or an example.

# rpc = ["http://127.0.0.1:8545"]         # RPC addresses of the chain; the next is asked when one does not answer
# chain_id = 1                            # refuse any other chain (default: take what the RPC says)
# confirmations = 12                      # blocks until one counts as final (default: the node's own finality)
# patience_s = 5                          # how long a chain that does not answer is tried again (services: 20)
# max_fee_gwei = 500                      # the most to pay for a unit of gas
# run = "0x..."                           # the run: its campaign's address
# factory = "0x..."                       # the factory (default: the one that ships for this chain)
# deployments = "deployments"             # folder with deployments files of your own
# store = "store"                         # content store: a folder, or an IPFS node's RPC address; several by commas
# keystore = "key.json"                   # encrypted keystore that signs
# password_file = "password"              # its password; a secret itself never stands in this file
# transmitter = "transmitter.json"        # encrypted keystore that pays for an oracle's transactions
# transmitter_password_file = "password"  # its password, if it is another one
# data_dir = "data"                       # folder for this program's state
# state_dir = "nonces"                    # folder for the nonces of transactions under way
# listen = "0.0.0.0:7700"                 # HOST:PORT to listen on
# metrics = "127.0.0.1:9100"              # HOST:PORT for Prometheus metrics (a port alone: on 127.0.0.1)
# tensorboard = "curves"                  # folder for TensorBoard's curves of a provider (extra: tensorboard)
# p2p = "/ip4/203.0.113.7/tcp/4001/p2p/ID"   # libp2p relays, several by commas (extra: p2p)
# p2p_listen = "/ip4/0.0.0.0/tcp/4001"    # where an oracle is such a relay
# max_upload = "10Mbit"                   # the most that a provider sends
# max_memory = "8GB"                      # start no training that needs more memory
# max_disk = "50GB"                       # begin no round for which data_dir would have to hold more
# schedule = "22:00-07:00"                # when a provider trains, by this machine's clock; several by commas
# log_level = "info"                      # debug, info, warning or error

# A table of a role goes before the top level for its commands.
[provider]
[oracle]
[infer]
[audit]
"""


@dataclass(frozen=True)
class Entry:
    """A setting with where its value comes from, for `config view`; `shown` has access tokens left out."""

    name: str
    shown: object
    source: str


@dataclass(frozen=True)
class Loaded:
    """Settings and the source of each."""

    settings: Settings
    sources: Mapping[str, str]

    def entries(self) -> tuple[Entry, ...]:
        """All settings as they may be shown."""
        found = []
        for field in fields(Settings):
            value = getattr(self.settings, field.name)
            if field.name in ("rpc", "store"):
                value = _masked(value)
            found.append(Entry(field.name, str(value) if isinstance(value, Path) else value, self.sources[field.name]))
        return tuple(found)


def load(
    flags: Mapping[str, object],
    environment: Mapping[str, str],
    *,
    config: Path | None = None,
    role: str | None = None,
) -> Loaded:
    """The settings for a command of `role`; `flags` that are None count as not given.

    Raises ConfigError for a value that cannot be, an unknown name in the file, or a named file that is missing.
    """
    given, place = _file(environment, config)
    for name in ROLES:
        _table(_role(given, name), place, f"{name}.")
    file = {**_table(given, place), **_table(_role(given, role), place)}
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    for name, parse in _PARSERS.items():
        variable = PREFIX + name.upper()
        if flags.get(name) is not None:
            raw, sources[name] = flags[name], "flag"
        elif environment.get(variable):
            raw, sources[name] = environment[variable], variable
        elif name in file:
            raw, sources[name] = file[name], str(place)
        else:
            values[name], sources[name] = _default(name, environment), "default"
            continue
        base = place.parent if sources[name] == str(place) and place is not None else Path()
        values[name] = parse(name, raw, sources[name], base)
    return Loaded(Settings(**values), sources)  # type: ignore[arg-type]


def user_folder(environment: Mapping[str, str], variable: str, fallback: str) -> Path:
    """A folder of the XDG base directory specification, with `commonweight` below it."""
    base = environment.get(variable)
    home = environment.get("HOME")
    return (Path(base) if base else (Path(home) if home else Path.home()) / fallback) / "commonweight"


# --- sources ----------------------------------------------------------------------------------------------------------


def _file(environment: Mapping[str, str], config: Path | None) -> tuple[Mapping[str, object], Path | None]:
    import tomllib

    named = config or (Path(environment[CONFIG_VARIABLE]) if environment.get(CONFIG_VARIABLE) else None)
    place = named or user_folder(environment, "XDG_CONFIG_HOME", ".config") / "config.toml"
    if named is None and not place.is_file():
        return {}, None
    try:
        with place.open("rb") as file:
            return tomllib.load(file), place
    except OSError as error:
        raise ConfigError(
            f"The settings file {place} cannot be read.", error.strerror or "", "Check its name."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The settings file {place} is not TOML.", str(error), "Correct that line.") from None


def _role(given: Mapping[str, object], role: str | None) -> Mapping[str, object]:
    table = given.get(role) if role else None
    return table if isinstance(table, dict) else {}


def _table(given: Mapping[str, object], place: Path | None, prefix: str = "") -> dict[str, object]:
    unknown = [prefix + name for name in given if name not in _PARSERS and (prefix or name not in ROLES)]
    if unknown:
        raise ConfigError(
            f"The settings file {place} has an unknown name: {unknown[0]}.",
            "",
            "`commonweight config template` lists the names.",
        )
    return {name: value for name, value in given.items() if name in _PARSERS}


def _default(name: str, environment: Mapping[str, str]) -> object:
    data = user_folder(environment, "XDG_DATA_HOME", ".local/share")
    defaults: dict[str, object] = {
        "rpc": ("http://127.0.0.1:8545",),
        "patience_s": 5,
        "max_fee_gwei": 500,
        "store": str(data / "store"),
        "data_dir": data,
        "state_dir": user_folder(environment, "XDG_STATE_HOME", ".local/state") / "nonces",
        "log_level": "info",
    }
    return defaults.get(name)


_Parser = Callable[[str, object, str, Path], object]

# --- values -----------------------------------------------------------------------------------------------------------


def _wrong(name: str, raw: object, source: str, wanted: str) -> ConfigError:
    return ConfigError(
        f"{name} from {_SOURCES.get(source, source)} cannot be {raw!r}.", f"It must be {wanted}.", "Correct it there."
    )


def _text(name: str, raw: object, source: str, base: Path) -> str:
    del base
    if not isinstance(raw, str) or not raw:
        raise _wrong(name, raw, source, "text")
    return raw


def _integer(name: str, raw: object, source: str, base: Path) -> int:
    del base
    if isinstance(raw, str) and raw.isascii() and raw.isdigit():
        return int(raw)
    if not isinstance(raw, int) or isinstance(raw, bool) or raw < 0:
        raise _wrong(name, raw, source, "a whole number, zero or more")
    return raw


def _urls(name: str, raw: object, source: str, base: Path) -> tuple[str, ...]:
    del base
    parts = raw.split(",") if isinstance(raw, str) else list(raw) if isinstance(raw, list | tuple) else []
    urls = tuple(p.strip() for p in parts if isinstance(p, str) and p.strip())
    if not urls or not all(u.startswith(("http://", "https://")) for u in urls):
        shown = ", ".join(mask_url(u) if "//" in u else u for u in urls) if urls else raw
        raise _wrong(name, shown, source, "http or https addresses, separated by commas")
    return urls


def _path(name: str, raw: object, source: str, base: Path) -> Path:
    if isinstance(raw, str) and raw:
        raw = Path(raw)
    if not isinstance(raw, Path):
        raise _wrong(name, raw, source, "a path")
    return base / raw.expanduser()


def _store(name: str, raw: object, source: str, base: Path) -> str:
    text = _text(name, raw, source, base)
    return ",".join(p if "://" in p else str(base / Path(p).expanduser()) for p in text.split(","))


def _place(name: str, raw: object, source: str, base: Path) -> str:
    text = _text(name, str(raw) if isinstance(raw, int) else raw, source, base)
    host, port = _split(text)
    if not port:
        raise _wrong(name, raw, source, "HOST:PORT, or a port")
    return f"{host or '127.0.0.1'}:{port}"


def _listening(name: str, raw: object, source: str, base: Path) -> str:
    text = _text(name, raw, source, base)
    host, port = _split(text)
    if not host or port is None:
        raise _wrong(name, raw, source, "HOST:PORT, with a port up to 65535 (0 takes a free one)")
    return text


def _split(text: str) -> tuple[str, int | None]:
    """Host and port; the port is None where there is none that can be."""
    host, _, port = text.rpartition(":")
    return host, int(port) if port.isascii() and port.isdigit() and int(port) < 65536 else None


def _written(parse: Callable[[str], object]) -> _Parser:
    """Text that `parse` takes, kept as it is; what is wrong is said in the words of `parse`."""

    def checked(name: str, raw: object, source: str, base: Path) -> str:
        text = _text(name, raw, source, base)
        try:
            parse(text)
        except UsageError as error:
            where = _SOURCES.get(source, source)
            raise ConfigError(
                f"{name} from {where} cannot be {raw!r}.", f"{error.what} {error.why}", error.fix
            ) from None
        return text

    return checked


def _level(name: str, raw: object, source: str, base: Path) -> str:
    text = _text(name, raw, source, base).lower()
    if text not in ("debug", "info", "warning", "error"):
        raise _wrong(name, raw, source, "debug, info, warning or error")
    return text


def _masked(value: object) -> object:
    if isinstance(value, tuple):
        return [mask_url(str(v)) for v in value]
    return ",".join(mask_url(p) if p.startswith("http") else p for p in str(value).split(","))


_PARSERS: Mapping[str, _Parser] = {
    "rpc": _urls,
    "chain_id": _integer,
    "confirmations": _integer,
    "patience_s": _integer,
    "max_fee_gwei": _integer,
    "run": _written(parse_address),
    "factory": _written(parse_address),
    "deployments": _path,
    "store": _store,
    "keystore": _path,
    "password_file": _path,
    "transmitter": _path,
    "transmitter_password_file": _path,
    "data_dir": _path,
    "state_dir": _path,
    "listen": _listening,
    "metrics": _place,
    "tensorboard": _path,
    "p2p": _text,
    "p2p_listen": _text,
    "max_upload": _written(parse_rate),
    "max_memory": _written(parse_size),
    "max_disk": _written(parse_size),
    "schedule": _written(parse_schedule),
    "log_level": _level,
}


def environment() -> Mapping[str, str]:
    """The process's environment; the only place where settings meet it."""
    return os.environ
