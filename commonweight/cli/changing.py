"""`commonweight provider change`: another signing key, payout or peer address for a provider, or more stake.

What is so already is left out, and stake comes last: after a failure between two transactions the command can be
repeated, and nothing is paid twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from commonweight.cli.amounts import format_amount, parse_amount
from commonweight.cli.options import (
    ConfigOption,
    JsonOption,
    KeystoreOption,
    PasswordFileOption,
    RpcOption,
    RunOption,
    SenderOption,
    UnsignedOption,
    YesOption,
    checked_address,
)
from commonweight.cli.provider import peer_address
from commonweight.cli.session import Session
from commonweight.errors import ContractError, UsageError

if TYPE_CHECKING:
    from commonweight.chain.run import Run
    from commonweight.chain.structs import Provider
    from commonweight.chain.types import Receipt


@dataclass(frozen=True)
class _Change:
    """One transaction: which entry it changes, what that becomes, what it means for a person, and how it is sent."""

    name: str
    to: str
    shown: str
    send: Callable[[], Receipt]


def change(
    signing_key: Annotated[
        str | None,
        typer.Option(
            "--signing-key",
            help="Address of the key that signs work from now on; never one used before.",
            callback=checked_address,
        ),
    ] = None,
    payout: Annotated[
        str | None,
        typer.Option(
            "--payout",
            help="Address that is paid from now on, also what is earned and not claimed yet.",
            callback=checked_address,
        ),
    ] = None,
    peer: Annotated[
        str | None, typer.Option("--peer", help="HOST:PORT at which others reach this provider from now on.")
    ] = None,
    add_stake: Annotated[str | None, typer.Option("--add-stake", help="Stake to add, in whole units.")] = None,
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
    """Change a provider's signing key, payout or peer address, or add to its stake; sent by its account."""
    flags = {"run": run, "rpc": rpc, "keystore": keystore, "password_file": password_file}
    session = Session(flags, config=config, as_json=as_json, role="provider", unsigned=unsigned, sender=sender)
    if signing_key is None and payout is None and peer is None and add_stake is None:
        fix = "Name it by --signing-key, --payout, --peer or --add-stake; several at once are fine."
        raise UsageError("What shall change?", "", fix)
    told = None if peer is None else peer_address(peer)
    found = session.signing_run
    index = _own_index(found)
    entry = found.registry.provider_at(index)
    changes = _changes(found, entry, index, signing_key, payout, told, add_stake)
    where = f"provider {index} of {found.params.name}"
    if changes:
        session.confirm(f"Change {where}: {'; '.join(each.shown for each in changes)}?", yes=yes)
    sent: list[tuple[_Change, Receipt]] = []
    for each in changes:
        sent.append((each, each.send()))
        if session.unsigned is None and not as_json:
            session.output.note(f"Done: {each.shown}")
    if changes:
        what = "; ".join(each.shown for each in changes)
        session.finish_unsigned(f"Change {where} ({found.address}): {what}")
    entry = found.registry.provider_at(index)
    body = {
        "run": found.address,
        "index": index,
        "account": entry.account,
        "signing_key": entry.signing_key,
        "payout": entry.payout,
        "peer": entry.peer,
        "stake": str(entry.stake),
        "changed": [
            {"what": each.name, "to": each.to, "block": receipt.block_number, "tx": "0x" + receipt.tx_hash.hex()}
            for each, receipt in sent
        ],
    }
    rows: list[tuple[str, object]] = [
        ("signing key", entry.signing_key),
        ("payout", entry.payout),
        ("peer", entry.peer),
        ("stake", format_amount(entry.stake, found.asset.symbol(), found.asset.decimals())),
    ]
    title = f"{where[0].upper()}{where[1:]} is changed." if sent else f"Nothing was sent: {where} is so already."
    session.output.result(body, title=title, rows=rows)
    if any(each.name in ("signing_key", "peer") for each, _ in sent) and not as_json:
        session.output.note(
            "Start its process anew (`commonweight provider start`), with the keystore and the address that hold now."
        )


def _own_index(run: Run) -> int:
    """The index of the account that sends. Raises UsageError for a key that only signs work: the account decides."""
    account = run.chain.address
    try:
        return run.registry.index_of(account)
    except ContractError as error:
        if error.name != "UnknownProvider":
            raise
    try:
        owner = run.registry.account_of(run.registry.index_of_key(account))
    except ContractError as error:
        if error.name != "UnknownProvider":
            raise
        raise UsageError(
            f"{account} is not a provider of {run.params.name}.",
            "",
            "Use the keystore of the account that registered; `commonweight provider register` makes one a provider.",
        ) from None
    raise UsageError(
        f"{account} only signs work: it cannot change what the account {owner} registered.",
        "Who takes the computer with that key must not get the money, too",
        "Use that account's keystore, or on the run's page its wallet.",
    )


def _changes(
    run: Run, entry: Provider, index: int, key: str | None, payout: str | None, peer: str | None, stake: str | None
) -> list[_Change]:
    """What has to be sent, in order. Raises UsageError for what the registry would refuse."""
    registry, changes = run.registry, list[_Change]()
    if peer is not None and peer != entry.peer:
        changes.append(_Change("peer", peer, f"others reach it at {peer}", lambda: registry.set_peer(peer)))
    if payout is not None and payout != entry.payout:
        _require_somebody(payout)
        shown = f"wages and revenue, also those not claimed yet, go to {payout} instead of {entry.payout}"
        changes.append(_Change("payout", payout, shown, lambda: registry.set_payout(payout)))
    if key is not None and key != entry.signing_key:
        _require_unused(run, index, key)
        shown = f"{key} signs its work, and {entry.signing_key} never again, not even a round under way"
        changes.append(_Change("signing_key", key, shown, lambda: registry.rotate_key(key)))
    if stake is not None:
        symbol, decimals = run.asset.symbol(), run.asset.decimals()
        value = parse_amount(stake, decimals)
        if value == 0:
            raise UsageError("A stake of nothing cannot be added.", "", "Name an amount by --add-stake.")
        if entry.exit_at:
            raise UsageError(f"Provider {index} has left.", "No stake is added after that", "Leave --add-stake out.")
        shown = f"add {format_amount(value, symbol, decimals)} to the stake"
        changes.append(_Change("stake", str(entry.stake + value), shown, lambda: registry.add_stake(value)))
    return changes


def _require_unused(run: Run, index: int, key: str) -> None:
    """Raises UsageError for a key that the registry has seen."""
    _require_somebody(key)
    try:
        owner = run.registry.index_of_key(key)
    except ContractError as error:
        if error.name != "UnknownProvider":
            raise
        return
    whose = "this provider's own before" if owner == index else f"provider {owner}'s"
    raise UsageError(
        f"{key} cannot become the signing key.",
        f"It is or was {whose}, and no key is taken twice in a run",
        "Make a new one: `commonweight key new`.",
    )


def _require_somebody(address: str) -> None:
    if int(address, 16) == 0:
        raise UsageError("The zero address is nobody's.", "What it is paid or has to sign is lost", "Name another one.")
