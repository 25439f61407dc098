"""`commonweight audit`: check a run from an RPC address and the published files alone, with no key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commonweight.cli.auditwatch import watch
from commonweight.cli.options import (
    CompileOption,
    ConfigOption,
    ConfirmationsOption,
    DataDirOption,
    JsonOption,
    ReplayDeviceOption,
    RpcOption,
    RunOption,
    StoreOption,
)
from commonweight.cli.session import Session
from commonweight.errors import CommonweightError, FormatError, Incomplete, Refuted, UsageError

if TYPE_CHECKING:
    from commonweight.audit.findings import AuditReport
    from commonweight.audit.settings import AuditSettings
    from trainer.engine import Engine

cli = typer.Typer(help="Check a run without trusting anybody.", no_args_is_help=True)
FORMATS = ("csv", "jsonl", "sqlite")
cli.command()(watch)


@cli.command()
def verify(
    run: RunOption = None,
    rpc: RpcOption = None,
    store: StoreOption = None,
    confirmations: ConfirmationsOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check contracts, signatures, roots, credits and money. Ends with 0 verified, 1 refuted, 3 incomplete."""
    session = _session(run, rpc, store, confirmations, data_dir, config, as_json=as_json)
    settings = _settings(session)
    from commonweight.audit.verify import verify as check

    with session.output.progress() as report:
        found = check(settings, report)
    _conclude(session, found)


@cli.command()
def deployment(
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", help="Deployments file (default: of `deployments`, else the one that ships).", metavar="FILE"
        ),
    ] = None,
    rpc: RpcOption = None,
    confirmations: ConfirmationsOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a deployments file with the chain: code, transactions, arguments. Exit codes as for `verify`."""
    session = Session({"rpc": rpc, "confirmations": confirmations}, config=config, as_json=as_json, role="audit")
    from commonweight.audit.deployed import check_deployments_file
    from commonweight.chain.deploy import deployment_path, read_deployment

    chain_id = session.chain.chain_id
    known = [path for folder in session.deployments if (path := deployment_path(folder, chain_id)).is_file()]
    if file is None and not known:
        raise UsageError(
            f"No deployments file is known for chain {chain_id}.",
            f"None of {', '.join(str(deployment_path(folder, chain_id)) for folder in session.deployments)} is there",
            "Name one by --file, or its folder by the setting `deployments`.",
        )
    _conclude(session, check_deployments_file(session.chain, read_deployment(file or known[0])))


@cli.command()
def lineage(
    run: RunOption = None,
    rpc: RpcOption = None,
    store: StoreOption = None,
    confirmations: ConfirmationsOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recompute each checkpoint bit for bit from its parent and the published payloads."""
    session = _session(run, rpc, store, confirmations, data_dir, config, as_json=as_json)
    settings = _settings(session)
    from commonweight.audit.lineage import lineage as recompute

    with session.output.progress() as report:
        found = recompute(settings, report)
    _conclude(session, found)


@cli.command()
def replay(
    provider: Annotated[str, typer.Option("--provider", help="Whose work: account or provider index.")],
    number: Annotated[int | None, typer.Option("--round", help="Which round (default: its last counted one).")] = None,
    run: RunOption = None,
    rpc: RpcOption = None,
    store: StoreOption = None,
    confirmations: ConfirmationsOption = None,
    data_dir: DataDirOption = None,
    device: ReplayDeviceOption = "cpu",
    compile_: CompileOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Execute a provider's steps again, from the published files, and compare. Needs the extra `audit`."""
    session = _session(run, rpc, store, confirmations, data_dir, config, as_json=as_json)
    settings = _settings(session)
    from commonweight.cli.replaying import replay_work

    with session.output.progress() as report:
        found = replay_work(settings, provider, number, report, _engine(device, compiled=compile_))
    _conclude(session, found)


@cli.command()
def recheck(
    epoch: Annotated[int, typer.Option("--epoch", help="Which epoch's credits.")],
    provider: Annotated[str, typer.Option("--provider", help="Whose: account or provider index.")],
    run: RunOption = None,
    rpc: RpcOption = None,
    store: StoreOption = None,
    confirmations: ConfirmationsOption = None,
    data_dir: DataDirOption = None,
    device: ReplayDeviceOption = "cpu",
    compile_: CompileOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a provider's credits of an epoch again, as signers do in a dispute. Needs the extra `audit`."""
    session = _session(run, rpc, store, confirmations, data_dir, config, as_json=as_json)
    settings = _settings(session)
    from commonweight.cli.rechecking import recheck_credits

    with session.output.progress() as report:
        found, judgement = recheck_credits(settings, provider, epoch, report, _engine(device, compiled=compile_))
    _conclude(session, found, {"judgement": judgement.to_json()})


@cli.command()
def scores(
    epoch: Annotated[
        int | None, typer.Option("--epoch", help="Which epoch's (default: the last reported one's).")
    ] = None,
    number: Annotated[int | None, typer.Option("--round", help="Of this round only.")] = None,
    provider: Annotated[str | None, typer.Option("--provider", help="Of this account or provider index only.")] = None,
    run: RunOption = None,
    rpc: RpcOption = None,
    store: StoreOption = None,
    confirmations: ConfirmationsOption = None,
    data_dir: DataDirOption = None,
    device: ReplayDeviceOption = "cpu",
    compile_: CompileOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the published scores and the attested loss again, and compare. Needs the extra `audit`."""
    session = _session(run, rpc, store, confirmations, data_dir, config, as_json=as_json)
    settings = _settings(session)
    from commonweight.cli.rescoring import rescore

    with session.output.progress() as report:
        found, measured = rescore(settings, epoch, number, provider, report, _engine(device, compiled=compile_))
    _conclude(session, found, {"scores": [each.to_json() for each in measured]})


@cli.command()
def proof(
    funder: Annotated[str | None, typer.Option("--funder", help="Prove what this address put in.")] = None,
    provider: Annotated[
        str | None, typer.Option("--provider", help="Prove what this account, or provider index, earned.")
    ] = None,
    epoch: Annotated[
        int | None, typer.Option("--epoch", help="For this epoch only (default: the last final one).")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="File to write (default: stdout).", metavar="FILE")] = None,
    run: RunOption = None,
    rpc: RpcOption = None,
    store: StoreOption = None,
    confirmations: ConfirmationsOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a stand-alone file that proves a contribution or earned credits."""
    if (funder is None) == (provider is None):
        raise UsageError("Whose proof?", "", "Name one of --funder and --provider.")
    from commonweight.audit.proof import funder_proof, provider_proof

    session = _session(run, rpc, store, confirmations, data_dir, config, as_json=as_json)
    settings = _settings(session)
    body = funder_proof(settings, funder) if funder is not None else provider_proof(settings, str(provider), epoch)
    text = json.dumps(body, indent=2)
    if out is None:
        session.output.plain(text)
        return
    out.write_text(text + "\n")
    session.output.result({"file": str(out)}, title="The proof is written; `commonweight audit check-proof` checks it.")


@cli.command("check-proof")
def check_proof(
    file: Annotated[Path, typer.Argument(help="The proof.", metavar="FILE")],
    rpc: RpcOption = None,
    store: StoreOption = None,
    confirmations: ConfirmationsOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a proof file against the chain, without whoever wrote it."""
    session = Session(
        {"rpc": rpc, "store": store, "confirmations": confirmations}, config=config, as_json=as_json, role="audit"
    )
    try:
        body = json.loads(file.read_text())
    except OSError as error:
        raise UsageError(f"The proof {file} cannot be read.", error.strerror or "", "Check its name.") from None
    except ValueError:
        raise UsageError(f"{file} is not JSON.", "", "Give a file that `commonweight audit proof` wrote.") from None
    from commonweight.audit.proof import check_proof as check

    try:
        found = check(session.chain, body)
    except FormatError as error:
        why = f"{error.what}: {error.why}" if error.why else error.what
        raise UsageError(f"{file} is not a proof.", why, "Give a file that `commonweight audit proof` wrote.") from None
    _conclude(session, found)


@cli.command()
def export(
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.", metavar="DIR")],
    formats: Annotated[
        str, typer.Option("--format", help="csv, jsonl, sqlite, or several with commas.")
    ] = "csv,jsonl,sqlite",
    run: RunOption = None,
    rpc: RpcOption = None,
    store: StoreOption = None,
    confirmations: ConfirmationsOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write everything that happened, with block, transaction and log index."""
    wanted = tuple(f.strip() for f in formats.split(",") if f.strip())
    if not wanted or set(wanted) - set(FORMATS):
        raise UsageError(f"{formats!r} are not formats.", "", f"Choose from {', '.join(FORMATS)}.")
    session = _session(run, rpc, store, confirmations, data_dir, config, as_json=as_json)
    from commonweight.audit.export import export as write

    with session.output.progress() as report:
        files = write(_settings(session), out, wanted, report)
    session.output.result({"files": [str(f) for f in files]}, title="Written:", rows=[("", str(f)) for f in files])


def exit_code(error: CommonweightError) -> int:
    """What an audit ends with that an error kept from its verdict: 1 is the verdict `refuted`, so never that."""
    if isinstance(error, Refuted) or error.exit_code != Refuted.exit_code:
        return error.exit_code
    return Incomplete.exit_code


def _session(
    run: object,
    rpc: object,
    store: object,
    confirmations: object,
    data_dir: object,
    config: Path | None,
    *,
    as_json: bool,
) -> Session:
    flags = {"run": run, "rpc": rpc, "store": store, "confirmations": confirmations, "data_dir": data_dir}
    return Session(flags, config=config, as_json=as_json, role="audit")


def _settings(session: Session) -> AuditSettings:
    from commonweight.audit.settings import AuditSettings

    s, campaign = session.settings, session.campaign
    session.reach()
    return AuditSettings(
        campaign=campaign,
        rpc_urls=s.rpc,
        store=s.store,
        confirmations=s.confirmations,
        data_dir=s.data_dir,
        chain_id=s.chain_id,
        patience_s=session.patience_s,
    )


def _engine(device: str, *, compiled: bool) -> Engine:
    """What steps are executed on. Raises UsageError when it is not to be had here."""
    from trainer.engine import Engine

    engine = Engine(device, compiled)
    engine.require()
    return engine


def _conclude(session: Session, found: AuditReport, more: Mapping[str, object] | None = None) -> None:
    rows = [[c.verdict, c.name, c.subject, c.detail] for c in found.checks]
    session.output.table(
        {**found.to_json(), **(more or {})},
        ["Verdict", "Check", "Of", "Detail"],
        rows,
        title=f"Up to block {found.block}",
    )
    if not session.output.as_json:
        session.output.plain(found.verdict)
    raise typer.Exit(found.exit_code)
