"""Units and the compose file start commands that exist, with settings that exist, and are as hardened as they claim."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from commonweight.settings import Settings

pytestmark = pytest.mark.unit
ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
VARIABLES = {f"COMMONWEIGHT_{field.name.upper()}" for field in fields(Settings)} | {"COMMONWEIGHT_CONFIG"}
ANALYZE = shutil.which("systemd-analyze")


def exists(words: Sequence[str]) -> None:
    """Fails unless the program has this command with these options."""
    from typer.main import get_command

    from commonweight.cli.main import cli

    command: Any = get_command(cli)
    rest = list(words)
    while hasattr(command, "commands"):
        assert rest[0] in command.commands, rest
        command = command.commands[rest.pop(0)]
    options = {name for parameter in command.params for name in parameter.opts}
    given = [word for word in rest if word.startswith("--")]
    assert set(given) <= options
    assert len(rest) == 2 * len(given), "each option has a value"
    assert "--password" not in " ".join(words)


def settings_of(unit: Path) -> dict[str, list[str]]:
    """Values by directive."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_there_is_a_unit_and_a_service_for_each_role() -> None:
    assert [unit.stem for unit in UNITS] == [f"commonweight-{role}" for role in ("oracle", "provider", "server")]
    assert set(compose()["services"]) == {"oracle", "provider", "server"}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_what_exists_with_secrets_from_credentials(unit: Path) -> None:
    said = settings_of(unit)
    (start,) = said["ExecStart"]
    assert start.startswith("/opt/commonweight/bin/commonweight ")
    exists(start.split()[1:])
    variables = dict(value.split("=", 1) for value in said["Environment"])
    assert set(variables) <= VARIABLES | {"HOME"}
    loaded = {value.split(":")[0] for value in said["LoadCredential"]}
    named = {value.removeprefix("%d/") for value in variables.values() if value.startswith("%d/")}
    assert named == loaded
    assert said["StateDirectory"] == [unit.stem]
    assert variables["COMMONWEIGHT_DATA_DIR"] == f"%S/{unit.stem}"
    for name in ("DynamicUser", "NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices", "RestrictNamespaces"):
        assert said[name] == ["yes"]
    assert said["ProtectSystem"] == ["strict"]
    assert said["RestartPreventExitStatus"] == ["2"]


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not on this machine; the rules above are checked")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_itself_finds_nothing_wrong_and_little_exposed(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/commonweight/bin/commonweight", "/bin/true"))
    done = subprocess.run([str(ANALYZE), "verify", "--man=no", str(copy)], capture_output=True, text=True)
    told = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, told) == (0, []), done.stderr
    rated = subprocess.run(
        [str(ANALYZE), "security", "--offline=true", "--threshold=25", "--no-pager", str(copy)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert rated.returncode == 0, rated.stdout[-300:] + rated.stderr


def compose() -> dict[str, Any]:
    body = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert isinstance(body, dict)
    return body


@pytest.mark.parametrize("role", ["oracle", "provider", "server"])
def test_a_service_starts_what_exists_and_holds_no_secret(role: str) -> None:
    body = compose()
    service = body["services"][role]
    exists([str(word) for word in service["command"]])
    assert set(service["environment"]) <= VARIABLES
    used = {value.removeprefix("/run/secrets/") for value in service["environment"].values()}
    assert used == set(service["secrets"]) <= set(body["secrets"])
    assert all(value.startswith("/run/secrets/") for value in service["environment"].values())
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == "10001"
    assert service["profiles"] == [role]
    assert {volume.split(":")[0] for volume in service["volumes"]} <= set(body["volumes"])
    listens = service["command"][service["command"].index("--listen") + 1].rpartition(":")[2]
    assert any(port.endswith(f":{listens}") for port in service["ports"])
    assert {config["source"] for config in service["configs"]} <= set(body["configs"])
    assert set(service) <= KNOWN, "a name that compose does not know"


KNOWN = {  # of the Compose specification, those that this file uses
    "build", "cap_drop", "command", "configs", "cpu_shares", "environment", "logging", "ports", "profiles", "read_only",
    "restart", "secrets", "security_opt", "stop_grace_period", "tmpfs", "user", "volumes",
}  # fmt: skip


def test_the_image_is_built_from_files_that_are_there_and_runs_as_nobody_special() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    copied = {s for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for s in line.split()}
    for source in copied:
        assert (ROOT / source).exists(), source
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert ignored == ["*", *ignored[1:-1], "**/__pycache__"], "all but what is named stays away from the builder"
    assert {line.removeprefix("!") for line in ignored[1:-1]} == copied
    extras = {service["build"]["args"]["EXTRAS"] for service in compose()["services"].values()}
    project = (ROOT / "pyproject.toml").read_text()
    for extra in extras:
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE)
    assert "\nUSER 10001\n" in text
    assert set(re.findall(r"COMMONWEIGHT_[A-Z_]+", text)) <= VARIABLES
