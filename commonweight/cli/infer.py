"""`commonweight infer`: serve an attested model for money, ask one and pay, manage channels, settle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commonweight.cli.amounts import format_amount, parse_amount
from commonweight.cli.options import (
    ConfigOption,
    ConfirmationsOption,
    DataDirOption,
    JsonOption,
    KeystoreOption,
    ListenOption,
    LogLevelOption,
    PasswordFileOption,
    RpcOption,
    RunOption,
    SenderOption,
    ServeDeviceOption,
    StoreOption,
    UnsignedOption,
    YesOption,
    checked_address,
)
from commonweight.cli.output import readable
from commonweight.cli.session import Session
from commonweight.errors import AlreadyServing, PaymentError, UsageError
from commonweight.quantities import when

if TYPE_CHECKING:
    from inference.channels import ChannelStanding
    from inference.purse import Purse
    from inference.settings import ServeSettings

cli = typer.Typer(help="Serve an attested model, or use one and pay.", no_args_is_help=True)
channels = typer.Typer(help="Payment channels: open, show, withdraw, cancel.", no_args_is_help=True)
cli.add_typer(channels, name="channel")
DEFAULT_LISTEN = "127.0.0.1:8402"
ServerArgument = Annotated[
    str, typer.Argument(help="The server's address (its account, not its URL).", callback=checked_address)
]
DelayOption = Annotated[int | None, typer.Option("--delay", help="Withdrawal delay in seconds (default: the run's).")]


@cli.command()
def serve(
    run: RunOption = None,
    rpc: RpcOption = None,
    store: StoreOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    listen: ListenOption = None,
    data_dir: DataDirOption = None,
    url: Annotated[str, typer.Option("--url", help="Address that clients see, if another.")] = "",
    checkpoint: Annotated[
        str,
        typer.Option("--checkpoint", help="latest, and newer ones as they come, or an attested manifest's sha256."),
    ] = "latest",
    price: Annotated[
        str | None, typer.Option("--price", help="Price per token, like 1gwei (default: the run's).")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help="Most tokens of one answer.")] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")] = 1,
    device: ServeDeviceOption = "cpu",
    settle_every: Annotated[float, typer.Option("--settle-every", min=1, help="Seconds between settlements.")] = 600.0,
    settle_least: Annotated[
        str, typer.Option("--settle-least", help="Least that a channel must owe to be settled, like 0.001.")
    ] = "0",
    confirmations: ConfirmationsOption = None,
    log_level: LogLevelOption = None,
    config: ConfigOption = None,
) -> None:
    """Serve an attested checkpoint over HTTP until interrupted; settles what it has earned at the end."""
    flags = _flags(run, rpc, store, keystore, password_file, data_dir)
    flags |= {"listen": listen, "confirmations": confirmations, "log_level": log_level}
    session = Session(flags, config=config, role="infer", service=True)
    from trainer.engine import Engine

    engine = Engine(device)
    session.reach()
    more: dict[str, object] = {"url": url, "checkpoint": checkpoint, "threads": threads, "settle_every_s": settle_every}
    more["engine"] = engine
    decimals = session.run.asset.decimals()
    more["settle_least"] = parse_amount(settle_least, decimals)
    if price is not None:
        more["price_per_token"] = parse_amount(price, decimals)
    if max_tokens is not None:
        more["max_completion_tokens"] = max_tokens
    settings = _serve_settings(session, more)
    from inference.server import run as start

    start(settings)


@cli.command()
def settle(
    run: RunOption = None,
    rpc: RpcOption = None,
    store: StoreOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Settle what a server that does not run has earned, and take its cut; while it runs, take its cut."""
    session = Session(
        _flags(run, rpc, store, keystore, password_file, data_dir), config=config, as_json=as_json, role="infer"
    )
    settings = _serve_settings(session, {})
    from inference.server import settle_now

    done = "Nothing was left to settle."
    try:
        settled = settle_now(settings)
    except AlreadyServing as running:
        settled, done = [], f"{running.what}. It settles by itself."
    found = session.signing_run
    server = found.chain.address
    cut = found.payments.server_owed(server)
    if cut:
        found.payments.claim_server(server)
    symbol, decimals = found.asset.symbol(), found.asset.decimals()
    total = sum(s.amount for s in settled)
    body = {
        "run": found.address,
        "server": server,
        "settled": str(total),
        "cut": str(cut),
        "transactions": [
            {"tx": "0x" + s.transaction.hex(), "channels": s.channels, "amount": str(s.amount)} for s in settled
        ],
    }
    rows = [("server's cut, paid out to it", format_amount(cut, symbol, decimals)), ("transactions", len(settled))]
    title = f"Settled {format_amount(total, symbol, decimals)}." if total else done
    session.output.result(body, title=title, rows=rows)


@cli.command()
def ask(
    prompt: Annotated[str, typer.Argument(help="Text to go on with; with --chat, what to say.")],
    url: Annotated[str, typer.Option("--url", help="The server's address.")] = "http://" + DEFAULT_LISTEN,
    run: RunOption = None,
    rpc: RpcOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Most tokens of the answer.")] = 64,
    temperature: Annotated[float, typer.Option("--temperature", help="0 always takes the likeliest.")] = 1.0,
    seed: Annotated[int | None, typer.Option("--seed", help="For a repeatable answer.")] = None,
    stop: Annotated[
        list[str] | None, typer.Option("--stop", help="End before this text; may be given up to four times.")
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Ask as the user of a chat, who gets the reply.")] = False,
    system: Annotated[
        str | None, typer.Option("--system", help="Ask as in a chat that begins with this instruction.")
    ] = None,
    max_amount: Annotated[str, typer.Option("--max-amount", help="Most that this answer may cost.")] = "0.01",
    deposit: Annotated[
        str | None, typer.Option("--deposit", help="Pay this much into the channel if it lacks money.")
    ] = None,
    server: Annotated[
        str | None, typer.Option("--server", help="Accept only this server's account.", callback=checked_address)
    ] = None,
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", help="Accept only this checkpoint (0x...).")] = None,
    max_delay: Annotated[
        int | None, typer.Option("--max-delay", help="Longest withdrawal delay in seconds (default: the run's).")
    ] = None,
    config: ConfigOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Ask a server, pay for the answer, and check what it signed."""
    from inference.client import Ask, Limits, Payer
    from inference.wire import Wire

    if not all(stop or ()):
        raise UsageError("--stop is empty", "every answer has no text before its first", "name a text, or leave it out")
    instruction = () if system is None else (("system", system),)
    question = Ask(
        prompt,
        messages=(*instruction, ("user", prompt)) if chat or instruction else (),
        max_tokens=max_tokens,
        temperature=temperature,
        seed=seed,
        stop=tuple(stop or ()),
    )
    flags = _flags(run, rpc, None, keystore, password_file, None)
    session = Session(flags, config=config, as_json=as_json, role="infer")
    found = session.signing_run
    symbol, decimals = found.asset.symbol(), found.asset.decimals()
    limits = Limits(
        max_amount=parse_amount(max_amount, decimals),
        deposit=None if deposit is None else parse_amount(deposit, decimals),
        server=server,
        checkpoint=checkpoint,
        max_delay_s=max_delay,
        shown=lambda amount: format_amount(amount, symbol, decimals),
    )
    if limits.deposit:
        shown = format_amount(limits.deposit, symbol, decimals)
        session.confirm(f"Pay up to {shown} into a channel with the server at {url}, if it is needed?", yes=yes)
    purse = open_purse(session)
    try:
        with Wire(url) as wire:
            answer = Payer(found, session.key, purse).ask(wire, question, limits, None if as_json else _write)
    finally:
        purse.close()
    served, state = answer.receipt, found.payments.channel(answer.channel_id)
    left = max(0, state.deposited - state.withdrawal_amount - served.cumulative)
    body = {
        "text": answer.text,
        "finish": answer.finish,
        "prompt_tokens": served.prompt_tokens,
        "completion_tokens": served.completion_tokens,
        "paid": str(served.amount),
        "deposited": str(answer.deposited),
        "left": str(left),
        "checkpoint": "0x" + served.checkpoint.hex(),
        "server": answer.server,
        "channel": "0x" + answer.channel_id.hex(),
        "receipt": answer.signed,
        "receipt_sha256": answer.receipt_digest,
    }
    if as_json:
        session.output.result(body)
        return
    _write("\n")
    paid, each, rest = (
        format_amount(amount, symbol, decimals) for amount in (served.amount, served.price_per_token, left)
    )
    tokens = f"{served.prompt_tokens} tokens read and {served.completion_tokens} written, {each} each"
    session.output.note(f"Paid {paid} out of the channel: {tokens}, by checkpoint {body['checkpoint']}.")
    before = f"{limits.shown(answer.deposited)} was paid into it first; " if answer.deposited else ""
    session.output.note(f"{before}{rest} is left in it for more answers.")


@channels.command("open")
def open_channel(
    server: ServerArgument,
    amount: Annotated[str, typer.Argument(help="Whole units to pay in.")],
    run: RunOption = None,
    rpc: RpcOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    unsigned: UnsignedOption = None,
    sender: SenderOption = None,
    delay: DelayOption = None,
    config: ConfigOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Pay into a channel with a server, opening it if need be."""
    from inference.channels import deposit

    session = Session(
        _flags(run, rpc, None, keystore, password_file, None),
        config=config,
        as_json=as_json,
        role="infer",
        unsigned=unsigned,
        sender=sender,
    )
    found = session.signing_run
    symbol, decimals = found.asset.symbol(), found.asset.decimals()
    value = parse_amount(amount, decimals)
    shown = format_amount(value, symbol, decimals)
    session.confirm(f"Pay {shown} into a channel with {server}?", yes=yes)
    if unsigned is not None:
        seconds = found.params.withdrawal_delay if delay is None else delay
        found.payments.deposit(found.chain.address, server, seconds, value)
    session.finish_unsigned(f"Pay {shown} into a channel with {server} in {found.params.name} ({found.address})")
    standing, receipt = deposit(found, server, value, delay)
    _show(session, standing, symbol, decimals, {"tx": "0x" + receipt.tx_hash.hex()})


@channels.command("show")
def show_channel(
    server: ServerArgument,
    payer: Annotated[
        str | None,
        typer.Option("--payer", help="Whose channel (default: the keystore's address).", callback=checked_address),
    ] = None,
    run: RunOption = None,
    rpc: RpcOption = None,
    keystore: KeystoreOption = None,
    delay: DelayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a channel with a server."""
    from inference.channels import find_channel

    session = Session(_flags(run, rpc, None, keystore, None, None), config=config, as_json=as_json, role="infer")
    owner, found = session.address(payer), session.run
    standing = find_channel(found, owner, server, delay)
    _show(session, standing, found.asset.symbol(), found.asset.decimals(), {})


@channels.command("withdraw")
def withdraw_channel(
    server: ServerArgument,
    amount: Annotated[str | None, typer.Option("--amount", help="Whole units (default: all that is left).")] = None,
    run: RunOption = None,
    rpc: RpcOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    unsigned: UnsignedOption = None,
    sender: SenderOption = None,
    delay: DelayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask for money back; when the delay is over, the same command pays it out."""
    from inference.channels import find_channel, request_withdrawal, withdraw

    session = Session(
        _flags(run, rpc, None, keystore, password_file, None),
        config=config,
        as_json=as_json,
        role="infer",
        unsigned=unsigned,
        sender=sender,
    )
    found = session.signing_run
    symbol, decimals = found.asset.symbol(), found.asset.decimals()
    standing = find_channel(found, found.chain.address, server, delay)
    due = standing.withdrawal_at and standing.withdrawal_at <= found.chain.timestamp()
    paid_out = 0
    if amount is None and standing.withdrawal_at and not due:
        raise PaymentError(
            f"The withdrawal is not due before {when(standing.withdrawal_at)}.",
            "Asking again would begin its delay anew",
            "Repeat the command then; --amount asks for another amount.",
        )
    if amount is None and not standing.withdrawal_at and standing.held == 0:
        raise PaymentError("Nothing is left in the channel.", "All that was paid in is settled or was paid out", "")
    if amount is None and due:
        paid_out, receipt = withdraw(found, standing)
    else:
        receipt = request_withdrawal(found, standing, None if amount is None else parse_amount(amount, decimals))
    session.finish_unsigned(f"Withdraw from the channel with {server} in {found.params.name} ({found.address})")
    standing = find_channel(found, found.chain.address, server, delay)
    _show(session, standing, symbol, decimals, {"tx": "0x" + receipt.tx_hash.hex()}, {"paid_out": paid_out})
    if standing.withdrawal_at:
        from_then = f"From {when(standing.withdrawal_at)} on"
        session.output.note(f"{from_then} the same command pays it out, less what the server settles until then.")


@channels.command("cancel")
def cancel_channel(
    server: ServerArgument,
    run: RunOption = None,
    rpc: RpcOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    unsigned: UnsignedOption = None,
    sender: SenderOption = None,
    delay: DelayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a requested withdrawal back, and use the channel again."""
    from inference.channels import cancel_withdrawal, find_channel

    session = Session(
        _flags(run, rpc, None, keystore, password_file, None),
        config=config,
        as_json=as_json,
        role="infer",
        unsigned=unsigned,
        sender=sender,
    )
    found = session.signing_run
    receipt = cancel_withdrawal(found, find_channel(found, found.chain.address, server, delay))
    session.finish_unsigned(f"Cancel the withdrawal from the channel with {server} in {found.params.name}")
    standing = find_channel(found, found.chain.address, server, delay)
    symbol, decimals = found.asset.symbol(), found.asset.decimals()
    _show(session, standing, symbol, decimals, {"tx": "0x" + receipt.tx_hash.hex()})


def open_purse(session: Session) -> Purse:
    """The purse of the session's key on its chain: one, whatever pays out of it."""
    from inference.purse import Purse

    name = f"purse-{session.signing_chain.chain_id}-{session.key.address.lower()}.sqlite"
    return Purse(session.settings.state_dir.parent / name)


def _show(
    session: Session,
    standing: ChannelStanding,
    symbol: str,
    decimals: int,
    more: Mapping[str, object],
    moved: Mapping[str, int] | None = None,
) -> None:
    amounts = {
        **(moved or {}),
        "deposited": standing.deposited,
        "settled": standing.settled,
        "held": standing.held,
        "withdrawal_amount": standing.withdrawal_amount,
    }
    names = {"payer": standing.payer, "server": standing.server, "delay_s": standing.delay_s}
    due = when(standing.withdrawal_at) if standing.withdrawal_at else None
    session.output.result(
        {
            "channel": "0x" + standing.channel_id.hex(),
            **names,
            **{n: str(v) for n, v in amounts.items()},
            "withdrawal_at": standing.withdrawal_at,
            **more,
        },
        title=f"Channel 0x{standing.channel_id.hex()}",
        rows=[
            *names.items(),
            *((n, format_amount(v, symbol, decimals)) for n, v in amounts.items()),
            ("withdrawal due", due),
            *more.items(),
        ],
    )


def _write(text: str) -> None:
    import sys

    sys.stdout.write(readable(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def _flags(
    run: object, rpc: object, store: object, keystore: object, password_file: Path | None, data_dir: object
) -> dict[str, object]:
    return {
        "run": run,
        "rpc": rpc,
        "store": store,
        "keystore": keystore,
        "password_file": password_file,
        "data_dir": data_dir,
    }


def _serve_settings(session: Session, more: Mapping[str, object]) -> ServeSettings:
    from inference.settings import ServeSettings

    s = session.settings
    return ServeSettings(
        campaign=session.campaign,
        rpc_urls=s.rpc,
        store=s.store,
        keystore=session.keystore,
        password_file=s.password_file,
        data_dir=s.data_dir,
        listen=s.listen or DEFAULT_LISTEN,
        confirmations=s.confirmations,
        log_level=s.log_level,
        chain_id=s.chain_id,
        patience_s=session.patience_s,
        max_fee_gwei=s.max_fee_gwei,
        locks=s.state_dir.parent / "keys",
        state_dir=s.state_dir,
        **more,  # type: ignore[arg-type]
    )
