"""`commonweight provider prepare`: what a wallet needs in order to register the key of the computer that trains.

The key that signs work stays on this computer; the account that stakes and is paid can be a wallet elsewhere. The file
holds no secret and binds nobody: the page reads it, shows all of it, and refuses one that is for another run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from commonweight.cli.options import ConfigOption, JsonOption, KeystoreOption, RpcOption, RunOption
from commonweight.cli.provider import reached_at
from commonweight.cli.session import Session
from commonweight.errors import ConfigError, UsageError

SCHEMA = "commonweight.registration.v1"


def prepare(
    file: Annotated[Path, typer.Argument(help="Where to write it; never overwrites a file.", metavar="FILE")],
    run: RunOption = None,
    rpc: RpcOption = None,
    keystore: KeystoreOption = None,
    peer: Annotated[str | None, typer.Option("--peer", help="HOST:PORT at which others reach this provider.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write down what a wallet needs to register this computer's key on the page; sends nothing."""
    flags = {"run": run, "rpc": rpc, "keystore": keystore}
    session = Session(flags, config=config, as_json=as_json, role="provider")
    told = reached_at(session, peer)
    found, key = session.run, session.address(None)
    body: dict[str, object] = {
        "schema": SCHEMA,
        "chain_id": found.chain.chain_id,
        "run": found.address,
        "signing_key": key,
        "peer": told,
    }
    try:
        with file.open("x") as written:
            written.write(json.dumps(body, indent=1) + "\n")
    except FileExistsError:
        raise UsageError(f"{file} is there already.", "No file is overwritten", "Name another.") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be written.", str(error), "Name another place.") from None
    session.output.result(
        {"file": str(file), **body},
        title=f"Nothing was sent. Open {file} under “Providers” on the run's page, with the wallet that stakes.",
        rows=[("signing key", key), ("peer", body["peer"]), ("run", found.address)],
    )
