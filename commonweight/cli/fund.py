"""`commonweight fund`: put money into a run, take it back, and be paid."""

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
from commonweight.errors import ContractError
from commonweight.quantities import when

if TYPE_CHECKING:
    from commonweight.chain.run import Run
    from commonweight.chain.types import Receipt

cli = typer.Typer(help="Fund a run: deposit, refund, claim, position.", no_args_is_help=True)


@cli.command()
def deposit(
    amount: Annotated[str, typer.Argument(help="Whole units of the asset, like 1.5, or 1500wei.")],
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
    """Put money into a run."""
    session = _session(run, rpc, keystore, password_file, config, as_json, unsigned, sender)
    found = session.signing_run
    symbol, decimals = found.asset.symbol(), found.asset.decimals()
    value = parse_amount(amount, decimals)
    shown = format_amount(value, symbol, decimals)
    _takes(found, value)
    session.confirm(f"Deposit {shown} into {found.params.name} ({found.address})?", yes=yes)
    receipt = found.campaign.deposit(value)
    session.finish_unsigned(f"Deposit {shown} into {found.params.name} ({found.address})")
    own, raised = found.campaign.contribution_of(found.chain.address), found.campaign.raised()
    session.output.result(
        {
            "run": found.address,
            "funder": found.chain.address,
            "deposited": str(value),
            "contribution": str(own),
            "raised": str(raised),
            **_mined(receipt),
        },
        title=f"Deposited {shown}.",
        rows=[
            ("contribution", format_amount(own, symbol, decimals)),
            ("raised", format_amount(raised, symbol, decimals)),
            ("tx", "0x" + receipt.tx_hash.hex()),
        ],
    )


@cli.command()
def refund(
    run: RunOption = None,
    rpc: RpcOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    unsigned: UnsignedOption = None,
    sender: SenderOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take everything back from a run that missed its goal."""
    session = _session(run, rpc, keystore, password_file, config, as_json, unsigned, sender)
    found = session.signing_run
    value = found.campaign.contribution_of(found.chain.address)
    receipt = found.campaign.refund()
    session.finish_unsigned(f"Take everything back from {found.params.name} ({found.address})")
    shown = format_amount(value, found.asset.symbol(), found.asset.decimals())
    body = {"run": found.address, "funder": found.chain.address, "refunded": str(value), **_mined(receipt)}
    session.output.result(body, title=f"Refunded {shown}.", rows=[("tx", "0x" + receipt.tx_hash.hex())])


@cli.command()
def claim(
    run: RunOption = None,
    rpc: RpcOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    unsigned: UnsignedOption = None,
    sender: SenderOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take what is due: a part of the revenue, and of what the run did not spend."""
    session = _session(run, rpc, keystore, password_file, config, as_json, unsigned, sender)
    found = session.signing_run
    funder = found.chain.address
    revenue, unspent = found.distributor.claimable_capital(funder), found.campaign.unspent_of(funder)
    receipts = []
    if revenue or not unspent:  # with nothing due at all the contract says so by name
        receipts.append(found.distributor.claim_capital(funder))
    if unspent:
        receipts.append(found.campaign.claim_unspent())
    session.finish_unsigned(f"Claim what {funder} is due from {found.params.name} ({found.address})")
    symbol, decimals = found.asset.symbol(), found.asset.decimals()
    session.output.result(
        {
            "run": found.address,
            "funder": funder,
            "revenue": str(revenue),
            "unspent": str(unspent),
            "txs": ["0x" + r.tx_hash.hex() for r in receipts],
        },
        title=f"Claimed {format_amount(revenue + unspent, symbol, decimals)}.",
        rows=[
            ("revenue", format_amount(revenue, symbol, decimals)),
            ("unspent", format_amount(unspent, symbol, decimals)),
        ],
    )


@cli.command()
def position(
    account: Annotated[
        str | None, typer.Argument(help="Whose position (default: the keystore's address).", callback=checked_address)
    ] = None,
    run: RunOption = None,
    rpc: RpcOption = None,
    keystore: KeystoreOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a funder has put in, can take back, and has earned."""
    session = _session(run, rpc, keystore, None, config, as_json)
    funder = session.address(account)
    found = session.run
    contribution = found.campaign.contribution_of(funder)
    values = {
        "contribution": contribution,
        "refundable": contribution if found.campaign.failed() else 0,
        "claimable": found.distributor.claimable_capital(funder),
        "unspent": found.campaign.unspent_of(funder),
        "claimed": found.distributor.capital_claimed_by(funder),
        "raised": found.campaign.raised(),
    }
    symbol, decimals = found.asset.symbol(), found.asset.decimals()
    body = {
        "run": found.address,
        "funder": funder,
        **{n: str(v) for n, v in values.items()},
        "block": found.chain.block_number(),
    }
    rows = [(n, format_amount(v, symbol, decimals)) for n, v in values.items()]
    session.output.result(body, title=f"{funder} in {found.params.name}", rows=rows)


def _takes(run: Run, value: int) -> None:
    """Raise ContractError, by the contract's name for it, if a run cannot take a deposit."""
    symbol, decimals = run.asset.symbol(), run.asset.decimals()
    shown = format_amount(value, symbol, decimals)
    what = f"{run.params.name} does not take {shown}."
    room = run.params.cap - run.campaign.raised()
    if run.campaign.deposits_closed():
        ended = "its cap is reached" if room == 0 else f"they were open until {when(run.params.deposit_deadline)}"
        raise ContractError("DepositsClosed", what, f"DepositsClosed: {ended}", "Fund another run.")
    if value > room:
        cap, left = (format_amount(amount, symbol, decimals) for amount in (run.params.cap, room))
        why = f"CapExceeded: of the cap of {cap}, {left} are left"
        raise ContractError("CapExceeded", what, why, f"Deposit {left} or less.")
    if run.asset.native:  # a token's contract would refuse it for the allowance that it does not have yet
        run.chain.call(run.campaign.make_call("deposit", value), value=value)


def _session(
    run: object,
    rpc: object,
    keystore: object,
    password_file: object,
    config: ConfigOption,
    as_json: bool,
    unsigned: UnsignedOption = None,
    sender: SenderOption = None,
) -> Session:
    flags = {"run": run, "rpc": rpc, "keystore": keystore, "password_file": password_file}
    return Session(flags, config=config, as_json=as_json, unsigned=unsigned, sender=sender)


def _mined(receipt: Receipt) -> dict[str, object]:
    return {"block": receipt.block_number, "tx": "0x" + receipt.tx_hash.hex()}
