"""`commonweight tx`: sign what `--unsigned` wrote, on a machine without a network, and send what was signed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commonweight.cli.amounts import format_amount
from commonweight.cli.options import ConfigOption, JsonOption, KeystoreOption, PasswordFileOption, RpcOption, YesOption
from commonweight.cli.session import Session

if TYPE_CHECKING:
    from commonweight.chain.offline import Unsigned
    from commonweight.chain.types import Receipt

cli = typer.Typer(help="Sign offline what --unsigned wrote, and send it.", no_args_is_help=True)
UnsignedArgument = Annotated[Path, typer.Argument(help="What `--unsigned` wrote.", metavar="UNSIGNED")]


@cli.command()
def show(file: UnsignedArgument, as_json: JsonOption = False) -> None:
    """Show what an unsigned file would do, read from its bytes; needs neither key nor network."""
    from commonweight.chain.offline import Unsigned

    session = Session({}, as_json=as_json)
    plan = Unsigned.load(file)
    session.output.result(_body(plan), title=plan.what, rows=_rows(plan))


@cli.command()
def sign(
    file: UnsignedArgument,
    out: Annotated[Path, typer.Option("--out", help="File to write.", metavar="SIGNED")],
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    config: ConfigOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Sign an unsigned file, on a machine that needs no network."""
    from commonweight.chain.offline import Unsigned
    from commonweight.chain.offline import sign as sign_all

    session = Session({"keystore": keystore, "password_file": password_file}, config=config, as_json=as_json)
    plan = Unsigned.load(file)
    if not yes:
        session.output.note(plan.what)
        for name, value in _rows(plan):
            session.output.note(f"  {name:<12}  {value}")
    session.confirm("Sign this?", yes=yes)
    signed = sign_all(plan, session.key)
    digest = signed.save(out)
    hashes = ["0x" + h.hex() for h in signed.hashes()]
    body = {**_body(plan), "file": str(out), "sha256": digest, "hashes": hashes}
    rows = [("to send it", f"commonweight tx send {out}"), *(("tx", h) for h in hashes)]
    session.output.result(body, title=f"Signed: {out}", rows=rows)


@cli.command()
def send(
    file: Annotated[Path, typer.Argument(help="What `tx sign` wrote.", metavar="SIGNED")],
    rpc: RpcOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a signed file and wait until it is mined; sending it again is harmless."""
    from commonweight.chain.broadcast import broadcast
    from commonweight.chain.offline import Signed

    session = Session({"rpc": rpc}, config=config, as_json=as_json)
    signed = Signed.load(file)
    plan = signed.unsigned
    with session.output.progress() as report:
        report("Sending", 0, len(plan.drafts))

        def mined(place: int, _: Receipt) -> None:
            report("Sending", place + 1, len(plan.drafts))

        receipts = broadcast(session.chain, signed, mined)
    mined_at = [{"tx": "0x" + r.tx_hash.hex(), "block": r.block_number, "gas_used": r.gas_used} for r in receipts]
    rows = [("tx", f"{m['tx']} in block {m['block']}") for m in mined_at]
    session.output.result({"what": plan.what, "from": plan.sender, "mined": mined_at}, title=plan.what, rows=rows)


def _body(plan: Unsigned) -> dict[str, object]:
    return {
        "chain_id": plan.chain_id,
        "from": plan.sender,
        "what": plan.what,
        "transactions": [draft.to_json() for draft in plan.drafts],
    }


def _rows(plan: Unsigned) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [("chain id", plan.chain_id), ("from", plan.sender)]
    for draft in plan.drafts:
        rows += [
            ("calls", draft.calls),
            ("at", draft.to),
            ("sends", format_amount(draft.value)),
            ("nonce", draft.nonce),
            ("gas", f"{draft.gas}, at most {format_amount(draft.gas * draft.max_fee)} in all"),
        ]
    return rows
