"""`commonweight doctor`: whether this computer has what a funder, an auditor or a developer needs."""

from __future__ import annotations

import importlib.util
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commonweight.cli.options import (
    ConfigOption,
    FactoryOption,
    JsonOption,
    KeystoreOption,
    PasswordFileOption,
    RpcOption,
    RunOption,
    StoreOption,
)
from commonweight.cli.session import Session
from commonweight.errors import ChainError

if TYPE_CHECKING:
    from commonweight.checks import Finding

_EXTRAS = {"train": ("torch", "tokenizers", "safetensors"), "oracle": ("structlog",), "serve": ("fastapi", "uvicorn")}
_CLAIM_GAS = 200_000


def doctor(
    developer: Annotated[
        bool, typer.Option("--developer", help="Also what `dev up` and the tests need: Node, local chains, extras.")
    ] = False,
    run: RunOption = None,
    rpc: RpcOption = None,
    store: StoreOption = None,
    factory: FactoryOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at settings, chain, store, key and tools, and say how to mend what is wrong. Ends with 1 if anything is."""
    flags = {"run": run, "rpc": rpc, "store": store, "factory": factory, "keystore": keystore}
    session = Session({**flags, "password_file": password_file}, config=config, as_json=as_json)
    session.output.findings([*_machine(developer=developer), *_key(session), *_chain(session), *_store(session)])


def _machine(*, developer: bool) -> Iterator[Finding]:
    from commonweight.checks import Finding

    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding(sys.version_info >= (3, 11), f"Python {version} is new enough", "", "Install Python 3.11 or newer.")
    if not developer:
        return
    for extra, modules in _EXTRAS.items():
        lacking = [name for name in modules if importlib.util.find_spec(name) is None]
        why = f"{', '.join(lacking)} missing" if lacking else ""
        yield Finding(not lacking, f"The extra `{extra}` is installed", why, f"pip install 'commonweight[{extra}]'")
    node = shutil.which("node")
    yield Finding(node is not None, "Node is there", "" if node else "It is not on PATH", "Install Node 20.")
    yield from _local_chains()


def _local_chains() -> Iterator[Finding]:
    from commonweight.chain.local import find_programs
    from commonweight.checks import attempt

    found: list[Finding] = []
    attempt(found, "Anvil can be started", lambda: find_programs("anvil"))
    attempt(found, "Ganache can be started", lambda: find_programs("ganache"))
    yield from found


def _key(session: Session) -> Iterator[Finding]:
    """The keystore, if one is named: readable, and its secrets for its owner alone."""
    from commonweight.chain.keys import keystore_address
    from commonweight.checks import attempt

    path = session.settings.keystore
    if path is None:
        return
    found: list[Finding] = []
    attempt(found, f"The keystore {path} is one", lambda: keystore_address(path))
    yield from found
    for secret in (path, session.settings.password_file):
        if secret is not None and secret.exists():
            yield _private(secret)


def _private(path: Path) -> Finding:
    from commonweight.checks import Finding

    others = path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    why = f"Its mode is {stat.S_IMODE(path.stat().st_mode):04o}" if others else ""
    return Finding(not others, f"{path} is for its owner alone", why, f"chmod 600 {path}")


def _chain(session: Session) -> Iterator[Finding]:
    from commonweight.chain.keys import keystore_address
    from commonweight.chain.urls import mask_url
    from commonweight.checks import Finding, attempt, clock

    found: list[Finding] = []
    urls = ", ".join(mask_url(url) for url in session.settings.rpc)
    block = attempt(found, f"The chain at {urls} answers", lambda: session.chain.block())
    if block is not None:
        chain = session.chain
        found.append(clock(block.timestamp, time.time(), 120))
        named = session.settings.factory is not None or session.settings.deployments is not None
        if session.settings.run is not None:
            attempt(found, f"The run {session.settings.run} is there", lambda: session.run)
        if named:
            attempt(found, "The factory is known", lambda: session.factory(chain))
        if session.settings.keystore is not None and found[-1].ok:
            try:
                address = keystore_address(session.settings.keystore)
                balance, needed = chain.balance(address), _CLAIM_GAS * max(1, 2 * block.base_fee_wei)
            except ChainError as error:
                found.append(Finding(False, "The balance can be read", error.what, error.fix))
            else:
                why = "" if balance >= needed else f"It has {balance} wei; one claim may need {needed}"
                fix = f"Send some ether to {address}."
                found.append(Finding(balance >= needed, f"{address} can pay for gas", why, fix))
    yield from found


def _store(session: Session) -> Iterator[Finding]:
    from commonweight.checks import attempt, folder, round_trip

    found: list[Finding] = []
    store = attempt(found, f"The content store {session.settings.store} opens", lambda: session.own_store)
    if store is not None:
        attempt(found, "It takes a file and gives it back", lambda: round_trip(store))
        store.close()
    place = Path(session.settings.store)
    if place.is_absolute() and place.exists():
        found += folder(place)
    yield from found
