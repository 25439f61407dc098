"""The entry point `commonweight`: puts the groups together and turns every error into words and an exit code.

Exit codes: 0 done, 1 refused or refuted, 2 wrong usage, 3 incomplete (something could not be had), 70 a fault of the
program, 130 interrupted.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from commonweight import __version__
from commonweight.cli import (
    audit,
    bonding,
    changing,
    config,
    dashboard,
    data,
    dev,
    disputing,
    doctoring,
    earning,
    estimating,
    fund,
    infer,
    key,
    lending,
    oracle,
    preparing,
    provider,
    proxying,
    run,
    tx,
)
from commonweight.cli.options import JsonOption
from commonweight.cli.output import Output
from commonweight.errors import CommonweightError, Fault, UsageError

INTERRUPTED = 130
_CLICK_ERROR: type[Exception] = typer.BadParameter.__mro__[2]  # ClickException, wherever typer takes it from

cli = typer.Typer(
    name="commonweight",
    help="Fund, train, verify, serve and audit an AI model that a crowd owns.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done, 1 refused or refuted, 2 wrong usage, 3 incomplete, 70 a fault of the program.",
)
cli.add_typer(run.cli, name="run")
cli.add_typer(fund.cli, name="fund")
cli.add_typer(provider.cli, name="provider")
cli.add_typer(oracle.cli, name="oracle")
cli.add_typer(infer.cli, name="infer")
cli.add_typer(audit.cli, name="audit")
cli.add_typer(data.cli, name="data")
cli.add_typer(key.cli, name="key")
cli.add_typer(tx.cli, name="tx")
cli.add_typer(dev.cli, name="dev")
cli.add_typer(config.cli, name="config")
run.cli.command()(estimating.estimate)
oracle.cli.command()(bonding.bond)
infer.cli.command()(proxying.proxy)
oracle.cli.command()(disputing.challenge)
audit.cli.command()(disputing.challenges)
for command in (
    *(earning.credits, earning.claim, preparing.prepare, lending.doctor, lending.pause, lending.resume),
    changing.change,
    disputing.answer,
):
    provider.cli.command()(command)
cli.command()(doctoring.doctor)
cli.command()(dashboard.dashboard)


def _version(value: bool) -> None:
    if value:
        Output(as_json=False).plain(__version__)
        raise typer.Exit


@cli.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Options of the program itself."""
    del show_version


@cli.command()
def version(as_json: JsonOption = False) -> None:
    """Print the version."""
    output = Output(as_json=as_json)
    if as_json:
        output.result({"version": __version__})
    else:
        output.plain(__version__)


def execute(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    output = Output(as_json="--json" in arguments)
    try:
        code = cli(args=list(arguments), prog_name="commonweight", standalone_mode=False)
    except CommonweightError as error:
        output.error(error)
        return audit.exit_code(error) if arguments[0] == "audit" else error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        output.note("Interrupted.")
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone: nothing is left to say, and nobody to say it to
        return 1
    except OSError as error:
        return _system(error, output)
    except _CLICK_ERROR as error:
        return _usage(error, output)
    except Exception as error:  # noqa: BLE001 - Python's own answer to it is exit code 1, which is a verdict here
        return _fault(error, output)
    if code == INTERRUPTED:
        output.note("Interrupted.")
    return code if isinstance(code, int) else 0


def _usage(error: Exception, output: Output) -> int:
    if type(error).__name__.startswith("NoArgsIsHelp"):  # the help was the answer
        return 2
    path = getattr(getattr(error, "ctx", None), "command_path", "commonweight")
    format_message: Callable[[], str] = getattr(error, "format_message", error.__str__)
    output.error(UsageError(format_message(), "", f"`{path} --help` explains it"))
    return 2


def _system(error: OSError, output: Output) -> int:
    """What the system refuses, as wrong usage; a reason in the words of a library may hold an address's secret."""
    if not output.works():
        fix = "Make room there or name another place; look at what it has done before you repeat it."
        output = Output(as_json=False)
        output.error(UsageError("The result cannot be written to stdout.", error.strerror or type(error).__name__, fix))
        return UsageError.exit_code
    path = error.filename if isinstance(error.filename, str) else None
    what = f"{path} cannot be used." if path else "The operating system refused what the command needs."
    fix = "Name another place, or give this user the right to it." if path else "Mend that, then try again."
    refused = UsageError(what, error.strerror or type(error).__name__, fix)
    output.error(refused)
    return refused.exit_code


def _fault(error: Exception, output: Output) -> int:
    output.note("".join(traceback.format_exception(error)))
    fault = Fault(
        "This is a fault of the program, and no answer to what was asked",
        f"{type(error).__name__}: {error}"[:500],
        "try again; if it stays, report it with the lines on stderr, less what is secret in them (CONTRIBUTING.md), or "
        "as SECURITY.md says if somebody else can bring it about",
    )
    output.error(fault)
    return fault.exit_code


def app() -> None:
    """The console script."""
    sys.exit(execute(sys.argv[1:]))


if __name__ == "__main__":
    app()
