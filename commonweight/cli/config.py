"""`commonweight config`: which settings hold, and where each comes from."""

from __future__ import annotations

from typing import Annotated

import typer

from commonweight.cli.options import ConfigOption, JsonOption
from commonweight.cli.output import Output
from commonweight.errors import UsageError
from commonweight.settings import ROLES, TEMPLATE, environment, load

cli = typer.Typer(help="Look at the settings.", no_args_is_help=True)


@cli.command()
def template() -> None:
    """Print a settings file (TOML) with every name explained."""
    Output(as_json=False).plain(TEMPLATE)


@cli.command()
def view(
    role: Annotated[
        str | None, typer.Option("--role", help=f"As commands of this role see them: {', '.join(ROLES)}.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all settings with their sources; access tokens in URLs are left out."""
    if role is not None and role not in ROLES:
        raise UsageError(f"There is no role {role}.", f"Roles are {', '.join(ROLES)}", "Name one of them.")
    entries = load({}, environment(), config=config, role=role).entries()
    body = {"settings": [{"name": e.name, "value": e.shown, "source": e.source} for e in entries]}
    Output(as_json=as_json).table(body, ["Setting", "Value", "From"], [[e.name, e.shown, e.source] for e in entries])
