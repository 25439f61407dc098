"""`commonweight run`: create, list and show runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commonweight.cli.amounts import format_amount
from commonweight.cli.options import (
    ConfigOption,
    FactoryOption,
    JsonOption,
    KeystoreOption,
    PasswordFileOption,
    RpcOption,
    RunOption,
    SenderOption,
    StoreOption,
    UnsignedOption,
    YesOption,
)
from commonweight.cli.output import Output
from commonweight.cli.session import Session
from commonweight.quantities import show_size, when

if TYPE_CHECKING:
    from commonweight.chain.run import Run
    from commonweight.chain.structs import RunParams
    from commonweight.protocol.runconfig import RunConfig, Training

cli = typer.Typer(help="Create, list and show runs.", no_args_is_help=True)


@cli.command()
def template() -> None:
    """Print a run's file to start from, with all defaults."""
    from commonweight.cli.runfile import TEMPLATE

    Output(as_json=False).plain(TEMPLATE)


@cli.command()
def create(
    config: Annotated[
        Path, typer.Option("--config", help="The run's file (`run template` prints one).", metavar="FILE")
    ],
    rpc: RpcOption = None,
    store: StoreOption = None,
    factory: FactoryOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    unsigned: UnsignedOption = None,
    sender: SenderOption = None,
    settings: Annotated[Path | None, typer.Option("--settings", help="Settings file (TOML).", metavar="FILE")] = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Create a run: puts its configuration into the store and its contracts on the chain."""
    from commonweight.chain.contracts import Asset
    from commonweight.chain.deploy import check_blocks
    from commonweight.chain.structs import ZERO_ADDRESS
    from commonweight.cli.runfile import read_runfile

    flags = {"rpc": rpc, "store": store, "factory": factory, "keystore": keystore, "password_file": password_file}
    session = Session(flags, config=settings, as_json=as_json, unsigned=unsigned, sender=sender)
    draft = read_runfile(config)
    chain = session.signing_chain
    maker = session.factory(chain)
    check_blocks(chain)
    asset = Asset(chain, draft.asset or ZERO_ADDRESS)
    decimals, symbol = asset.decimals(), asset.symbol()
    config_cid = str(session.own_store.put(draft.config.to_bytes()))
    params = draft.params(chain.timestamp(), decimals, config_cid)
    if unsigned is None and not yes:
        chain.call(maker.make_call("createRun", params))  # what the contracts refuse is no question
    if not yes:
        training = draft.config.training
        shown = {**describe(params, symbol, decimals), "training": length_of(training)}
        shown["rounds_of_an_epoch"] = creditable(params, training)
        shown["a_member's_disk"] = left_behind(draft.config)
        for name, value in shown.items():
            session.output.note(f"  {name.replace('_', ' '):<22}  {value}")
    session.confirm(f"Create this run on chain {chain.chain_id}? Nothing of it can be changed later.", yes=yes)
    if unsigned is not None:
        chain.send(maker.make_call("createRun", params))
        session.finish_unsigned(f"Create the run {params.name} with factory {maker.address}")
    created, receipt = maker.create_run(params)
    session.output.result(
        {
            "run": created.campaign,
            "chain_id": chain.chain_id,
            "block": receipt.block_number,
            "tx": "0x" + receipt.tx_hash.hex(),
            "contracts": vars(created.addresses),
            "config_cid": config_cid,
            "config_sha256": draft.config.sha256,
            "deposit_deadline": params.deposit_deadline,
        },
        title="The run is created.",
        rows=[
            ("run", created.campaign),
            ("block", receipt.block_number),
            ("configuration", f"{config_cid} (sha256 {draft.config.sha256})"),
            ("deposits until", when(params.deposit_deadline)),
        ],
    )


@cli.command("list")
def list_runs(
    rpc: RpcOption = None, factory: FactoryOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """List the runs of a factory, newest first."""
    from commonweight.chain.events import RunCreated, decode_events, topic_of
    from commonweight.chain.run import Run

    session = Session({"rpc": rpc, "factory": factory}, config=config, as_json=as_json)
    maker = session.factory(session.chain)
    logs = session.chain.logs([maker.address], [[topic_of(RunCreated)]])
    runs = []
    for event in decode_events(logs, {maker.address: maker.CONTRACT}):
        if isinstance(event, RunCreated):
            run = Run.at(session.chain, event.campaign)
            raised = run.campaign.raised()
            shown = format_amount(raised, run.asset.symbol(), run.asset.decimals())
            runs.append(
                {
                    "run": event.campaign,
                    "name": event.params.name,
                    "state": state(run),
                    "raised": str(raised),
                    "shown": shown,
                }
            )
    runs.reverse()
    body = {"factory": maker.address, "runs": [{k: v for k, v in r.items() if k != "shown"} for r in runs]}
    rows = [[r["run"], r["name"], r["state"], r["shown"]] for r in runs]
    session.output.table(body, ["Run", "Name", "State", "Raised"], rows, empty="There are no runs yet.")


@cli.command()
def show(
    run: RunOption = None, rpc: RpcOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Show a run: its parameters and where it stands."""
    session = Session({"run": run, "rpc": rpc}, config=config, as_json=as_json)
    found = session.run
    symbol, decimals = found.asset.symbol(), found.asset.decimals()
    latest = found.ledger.latest()
    standing = {
        "state": state(found),
        "raised": found.campaign.raised(),
        "providers": found.registry.provider_count(),
        "next_epoch": found.oracle.next_epoch(),
        "final_epoch": latest.epoch if latest.any else None,
        "final_credits": latest.sum,
        "checkpoints": found.checkpoints.count(),
        "capital_received": found.distributor.capital_received(),
        "compute_received": found.distributor.compute_received(),
        "block": found.chain.block_number(),
    }
    amounts = ("raised", "capital_received", "compute_received")
    rows = [
        (n, format_amount(v, symbol, decimals) if n in amounts and isinstance(v, int) else v)
        for n, v in standing.items()
    ]
    body = {
        "run": found.address,
        "chain_id": found.chain.chain_id,
        **{n: str(v) if n in amounts else v for n, v in standing.items()},
        "contracts": vars(found.addresses),
        "params": params_json(found.params),
    }
    described = [(n, v) for n, v in describe(found.params, symbol, decimals).items()]
    contracts = [(f"{n} contract", a) for n, a in vars(found.addresses).items() if n != "campaign"]
    session.output.result(body, title=f"{found.params.name} at {found.address}", rows=[*rows, *described, *contracts])


def state(run: Run) -> str:
    """Where a run stands, in a word or two."""
    if run.campaign.failed():
        return "failed: refunds"
    if not run.campaign.deposits_closed():
        return "funding, goal met" if run.campaign.raised() >= run.params.goal else "funding"
    if run.oracle.finished_at():
        return "trained"
    return "training" if run.chain.timestamp() >= run.params.epoch_start else "funded"


def describe(params: RunParams, symbol: str, decimals: int) -> Mapping[str, object]:
    """A run's parameters in words."""

    def amount(value: int) -> str:
        return format_amount(value, symbol, decimals)

    return {
        "name": params.name,
        "asset": symbol if int(params.asset, 16) == 0 else f"{symbol} at {params.asset}",
        "goal": amount(params.goal),
        "cap": amount(params.cap),
        "deposits_until": when(params.deposit_deadline),
        "wage_per_credit": amount(params.wage_per_credit),
        "funders'_part": f"{params.capital_bps / 100:g} % of revenue",
        "signers'_fee": f"{params.oracle_bps / 100:g} % of wages",
        "server's_cut": f"{params.server_bps / 100:g} %",
        "first_epoch": when(params.epoch_start),
        "epochs": f"0 to {params.last_epoch}, {params.epoch_length} s each; {params.tail_epochs} more for late work",
        "credits_an_epoch": f"at most {params.max_credits_per_epoch}",
        "provider_stake": amount(params.provider_stake),
        "signer_bond": amount(params.signer_bond),
        "signers": f"{params.quorum} of {len(params.signers)}: {', '.join(params.signers)}",
        "report_within": f"{params.report_span} s, open to challenge for {params.challenge_window} s",
        "licences": f"data {params.data_licence}, weights {params.weights_licence}",
        "configuration": f"{params.config_cid} (sha256 0x{params.config_sha256.hex()})",
    }


def length_of(training: Training) -> str:
    """When a run's training ends, and where its rate falls, in words."""
    if training.max_rounds is None:
        return "until the last epoch"
    rounds = f"at most {training.max_rounds} round{'s' if training.max_rounds > 1 else ''}"
    last = training.inner.cooldown
    over = "round" if last == 1 else f"{last} rounds"
    return f"{rounds}, the rate falls over the last {over}" if last else rounds


def creditable(params: RunParams, training: Training) -> str:
    """How many rounds of an epoch a report can credit, and how long they must therefore be at the least, in words."""
    from commonweight.protocol.capacity import most_rounds

    said = []
    for size in (10, 50, 100):
        count = most_rounds(size, len(params.signers), training.topology)
        said.append(f"{count:,} with {size} members (of {-(-params.epoch_length // count)} s each)")
    return f"a report credits up to {', '.join(said)}; what each epoch has more is never paid"


def left_behind(config: RunConfig) -> str:
    """What a round leaves on the disk of a member that keeps all states, in words."""
    from commonweight.estimate import round_bytes, state_bytes

    training, numel = config.training, config.model.parameters()
    size = round_bytes(numel, training.h, training.trace_every, training.codec, training.block)
    states = -(-training.h // training.trace_every)
    counted = f"{states} state{'s' if states > 1 else ''} of {show_size(state_bytes(numel))}"
    return f"{show_size(size)} a round, of them {counted}, one every {training.trace_every} steps"


def params_json(params: RunParams) -> dict[str, object]:
    """A run's parameters as JSON: integers beyond 2^53 may occur, so all amounts are text."""
    found: dict[str, object] = {}
    for name, value in vars(params).items():
        if name in _AMOUNTS:
            found[name] = str(value)
        elif name == "milestones":
            found[name] = [{**vars(m), "max_loss_micro": str(m.max_loss_micro)} for m in value]
        else:
            found[name] = (
                "0x" + value.hex() if isinstance(value, bytes) else list(value) if isinstance(value, tuple) else value
            )
    return found


_AMOUNTS = ("goal", "cap", "wage_per_credit", "provider_stake", "signer_bond", "challenge_bond", "dispute_bond")
