"""`commonweight provider credits` and `claim`: what a provider's work has earned, why, and taking it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from commonweight.cli.amounts import format_amount
from commonweight.cli.options import (
    ConfigOption,
    JsonOption,
    KeystoreOption,
    PasswordFileOption,
    RpcOption,
    RunOption,
    SenderOption,
    StoreOption,
    UnsignedOption,
)
from commonweight.cli.provider import AccountArgument, index_for
from commonweight.cli.session import Session

if TYPE_CHECKING:
    from commonweight.chain.ledger_view import LedgerView


def credits(
    account: AccountArgument = None,
    run: RunOption = None,
    rpc: RpcOption = None,
    keystore: KeystoreOption = None,
    store: StoreOption = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Say for each round why credits were given or not, and where the evidence is."),
    ] = False,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="How many reports --explain goes through.")] = 3,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a provider's credits by epoch, from chain data alone, and what can be claimed."""
    from commonweight.chain.ledger_view import LedgerView

    flags = {"run": run, "rpc": rpc, "keystore": keystore, "store": store}
    session = Session(flags, config=config, as_json=as_json, role="provider")
    owner, found = session.address(account), session.run
    index = index_for(found, owner)
    view = LedgerView.of(found)
    if explain:
        _explain(session, view, index, owner, epochs)
        return
    rows = _credit_rows(view, index)
    leaf, claimable = view.leaf(index), 0
    if leaf is not None and view.last_final is not None:
        claimable = found.distributor.claimable_compute(view.last_final, leaf)
    symbol, decimals = found.asset.symbol(), found.asset.decimals()
    claimed, debt = found.distributor.claimed_by(index), found.distributor.debt_of(index)
    body = {
        "run": found.address,
        "index": index,
        "account": owner,
        "final_credits": str(leaf.C if leaf else 0),
        "claimable": str(claimable),
        "claimed": str(claimed),
        "debt": str(debt),
        "epochs": [{"epoch": e, "state": state, "credits": str(c), "wage": str(w)} for e, state, c, w in rows],
        "block": view.to_block,
    }
    session.output.table(
        body,
        ["Epoch", "State", "Credits", "Wages"],
        [[e, state, c, format_amount(w, symbol, decimals)] for e, state, c, w in rows],
        title=f"Provider {index} of {found.params.name}",
        empty=f"Provider {index} has no credits yet.",
    )
    if not as_json:
        session.output.result(
            {},
            rows=[
                ("claimable", format_amount(claimable, symbol, decimals)),
                ("claimed", format_amount(claimed, symbol, decimals)),
            ],
        )


def claim(
    account: AccountArgument = None,
    run: RunOption = None,
    rpc: RpcOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    unsigned: UnsignedOption = None,
    sender: SenderOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take wages and revenue: to the provider's payout address, whoever sends the transaction."""
    from commonweight.chain.ledger_view import LedgerView

    flags = {"run": run, "rpc": rpc, "keystore": keystore, "password_file": password_file}
    session = Session(flags, config=config, as_json=as_json, role="provider", unsigned=unsigned, sender=sender)
    found = session.signing_run
    index = index_for(found, account or found.chain.address)
    proof = LedgerView.of(found).proof(index)
    due = found.distributor.claimable_compute(proof.epoch, proof.leaf)
    receipt = found.distributor.claim_compute(proof.epoch, proof.leaf, proof.siblings)
    session.finish_unsigned(f"Claim what provider {index} of {found.params.name} ({found.address}) has earned")
    payout = found.registry.payout_of(index)
    shown = format_amount(due, found.asset.symbol(), found.asset.decimals())
    body = {
        "run": found.address,
        "index": index,
        "payout": payout,
        "epoch": proof.epoch,
        "credits": str(proof.leaf.C),
        "claimed": str(due),
        "block": receipt.block_number,
        "tx": "0x" + receipt.tx_hash.hex(),
    }
    session.output.result(
        body, title=f"Claimed {shown} for provider {index}.", rows=[("payout", payout), ("tx", body["tx"])]
    )


def _explain(session: Session, view: LedgerView, index: int, owner: str, epochs: int) -> None:
    from commonweight.cli import explaining

    told = explaining.explain(view, session.store, index, epochs)
    body = {
        "schema": explaining.SCHEMA,
        "run": session.run.address,
        "index": index,
        "account": owner,
        "epochs": told,
        "block": view.to_block,
    }
    title = f"Provider {index} of {session.run.params.name}"
    session.output.table(
        body, explaining.COLUMNS, explaining.rows(told), title=title,
        empty=_silent(len(view.reports), index, epochs),
    )  # fmt: skip
    if not session.output.as_json:
        for line in explaining.notes(told):
            session.output.plain(line)


def _silent(reports: int, index: int, epochs: int) -> str:
    """That the reports which were read say nothing of a provider, and how to read more where there are more."""
    if reports <= epochs:
        return f"No report says anything of provider {index} yet."
    last = "last report says" if epochs == 1 else f"last {epochs} reports say"
    return f"The {last} nothing of provider {index}; --epochs N goes further back."


def _credit_rows(view: LedgerView, index: int) -> list[tuple[int, str, int, int]]:
    """(epoch, state, credits, wages in smallest units) of each epoch that lists the index."""
    rows = [
        (
            e.epoch,
            "final" if e.genuine else "final, with a false root",
            e.credits[index],
            e.credits[index] * e.wage >> 64,
        )
        for e in view.epochs.values()
        if index in e.credits
    ]
    pending = view.pending()
    if pending is not None and pending.credits and index in pending.credits:
        amount = pending.credits[index]
        rows.append((pending.event.epoch, "reported, open to challenge", amount, amount * pending.event.wage >> 64))
    return rows
