"""What the launcher runs for the tests of serving: a server by its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inference.server import run
from inference.settings import ServeSettings


def serve(given: dict[str, Any]) -> None:
    """Serve until a signal ends it."""
    paths = {name: Path(given[name]) for name in ("keystore", "password_file", "data_dir")}
    run(ServeSettings(**{**given, **paths, "rpc_urls": tuple(given["rpc_urls"])}))
