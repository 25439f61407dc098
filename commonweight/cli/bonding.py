"""`commonweight oracle bond`: pay a signer's bond, and take it back when it is liable for nothing any more."""

from __future__ import annotations

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
from commonweight.cli.session import Session
from commonweight.errors import ContractError, UsageError
from commonweight.quantities import when

if TYPE_CHECKING:
    from commonweight.chain.run import Run


def bond(
    amount: Annotated[str | None, typer.Argument(help="Whole units (default: what is missing).")] = None,
    signer: Annotated[
        str | None,
        typer.Option("--signer", help="Whose bond (default: the keystore's address).", callback=checked_address),
    ] = None,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take the bond back, to the signer, as the signer or its transmitter.")
    ] = False,
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
    """Pay a signer's bond; without a full one it can sign nothing. Later, with --withdraw, take it back."""
    from eth_utils.address import to_checksum_address

    if withdraw and amount is not None:
        raise UsageError("No part of a bond is taken back.", "--withdraw takes all of it", f"Leave {amount} out.")
    flags = {"run": run, "rpc": rpc, "keystore": keystore, "password_file": password_file}
    session = Session(flags, config=config, as_json=as_json, role="oracle", unsigned=unsigned, sender=sender)
    found = session.signing_run
    owner = str(to_checksum_address(signer or found.chain.address))
    if withdraw:
        _take_back(session, found, owner, yes=yes)
    else:
        _pay(session, found, owner, amount, yes=yes)


def place_of(run: Run, address: str) -> str:
    """Which signer an address is, in words: in office, or of an announced set. Raises UsageError if it is neither."""
    office = run.oracle.signers()
    if address in office:
        return "a signer in office"
    announced = run.announced_set()
    if announced is not None and address in announced.signers:
        return f"a signer of the announced set, which can take office from {when(announced.at)} on"
    served = [signer for signer in office if run.oracle.transmitter_of(signer) == address]
    why = f"It is the transmitter of {', '.join(served)}; in" if served else "In"
    why += f" office are {', '.join(office)}"
    if announced is not None:
        why += f"; announced are {', '.join(announced.signers)}"
    raise UsageError(f"{address} is no signer of {run.params.name}.", why, "Name a signer, or use its keystore.")


def _pay(session: Session, found: Run, owner: str, amount: str | None, *, yes: bool) -> None:
    symbol, decimals = found.asset.symbol(), found.asset.decimals()
    place = place_of(found, owner)
    held = found.oracle.bond_of(owner)
    value = max(0, found.params.signer_bond - held) if amount is None else parse_amount(amount, decimals)
    body = {"run": found.address, "signer": owner, "paid": str(value), "withdrawn": "0"}
    if value == 0:
        rows = [("bond", format_amount(held, symbol, decimals))]
        session.output.result({**body, "bond": str(held)}, title="The bond is full.", rows=rows)
        return
    paid = format_amount(value, symbol, decimals)
    session.confirm(f"Pay {paid} into the bond of {owner}, {place}?", yes=yes)
    receipt = found.oracle.post_bond(owner, value)
    session.finish_unsigned(f"Pay {paid} into the bond of {owner} in {found.params.name} ({found.address})")
    held = found.oracle.bond_of(owner)
    session.output.result(
        {**body, "bond": str(held), "tx": "0x" + receipt.tx_hash.hex()},
        title=f"Paid {paid}.",
        rows=[
            ("bond", format_amount(held, symbol, decimals)),
            ("needed", format_amount(found.params.signer_bond, symbol, decimals)),
        ],
    )


def _take_back(session: Session, found: Run, owner: str, *, yes: bool) -> None:
    held = found.oracle.bond_of(owner)
    if held == 0:
        raise UsageError(
            f"{owner} has no bond in {found.params.name}.",
            "None was paid, or it was taken back or slashed",
            "Name another signer by --signer, or another run by --run.",
        )
    transmitter = found.oracle.transmitter_of(owner)
    if found.chain.address not in (owner, transmitter):
        either = owner if int(transmitter, 16) == 0 else f"{owner} or its transmitter {transmitter}"
        raise UsageError(
            f"{found.chain.address} cannot take the bond of {owner} back.",
            "Only the signer and its transmitter can, and it is paid to the signer",
            f"Use the keystore of {either}.",
        )
    shown = format_amount(held, found.asset.symbol(), found.asset.decimals())
    try:
        found.chain.call(found.oracle.make_call("withdrawBond", owner))
    except ContractError as error:
        if error.name != "BondLocked":
            raise
        raise ContractError(
            error.name, f"The bond of {owner}, {shown}, cannot be taken back yet.", _liable(found, owner), _PATIENCE
        ) from None
    session.confirm(f"Take the bond of {owner} back? It gets {shown}, and without a bond it can sign nothing.", yes=yes)
    receipt = found.oracle.withdraw_bond(owner)
    session.finish_unsigned(f"Take back the bond of {owner} in {found.params.name} ({found.address})")
    session.output.result(
        {
            "run": found.address,
            "signer": owner,
            "paid": "0",
            "withdrawn": str(held),
            "bond": str(found.oracle.bond_of(owner)),
            "tx": "0x" + receipt.tx_hash.hex(),
        },
        title=f"The bond is paid back to {owner}: {shown}.",
        rows=[("tx", "0x" + receipt.tx_hash.hex())],
    )


_PATIENCE = "Wait until then, and try again."


def _liable(run: Run, owner: str) -> str:
    """Why a bond is locked, and for how long, by the contract's rules."""
    period = f"{run.params.dispute_period} s"
    finished = run.oracle.finished_at()
    if finished:
        at = finished + run.params.dispute_period
        if run.chain.timestamp() < at:
            return f"BondLocked: the run is over, and its reports can be disputed until {when(at)}"
        return "BondLocked: a dispute is open; the bond is free when it is decided"
    last = run.params.last_epoch + run.params.tail_epochs
    if owner in run.oracle.signers():
        return (
            f"BondLocked: it is in office; the bond is free {period} after epoch {last}, the run's last, is settled, "
            "or at once if the run misses its goal"
        )
    return (
        f"BondLocked: it has left office; the bond is free {period} after the last epoch that its set could report is "
        "settled, and while no dispute is open"
    )
