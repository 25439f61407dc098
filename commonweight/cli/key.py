"""`commonweight key`: encrypted keystores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commonweight.cli.options import JsonOption, PasswordFileOption
from commonweight.cli.output import Output
from commonweight.settings import environment

cli = typer.Typer(help="Make and look at encrypted keystores.", no_args_is_help=True)
FileArgument = Annotated[Path, typer.Argument(help="The keystore.", metavar="FILE")]


@cli.command()
def new(
    file: FileArgument,
    password_file: PasswordFileOption = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Cheap encryption, for development keys that protect nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a new key in an encrypted keystore; never overwrites one."""
    from commonweight.chain.keys import create_keystore, read_password

    password = read_password(password_file, environment(), prompt=f"New password for {file}: ", confirm=True)
    key = create_keystore(file, password, fast=fast)
    body = {"address": key.address, "file": str(file)}
    Output(as_json=as_json).result(
        body, title="The key is made. Keep the file and its password apart, and back up both."
    )


@cli.command()
def show(file: FileArgument, as_json: JsonOption = False) -> None:
    """Show a keystore's address; needs no password."""
    from commonweight.chain.keys import keystore_address

    Output(as_json=as_json).result({"address": keystore_address(file), "file": str(file)})
