"""What `pip install` brings: every file of the packages and no other, light metadata, a program that starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

import commonweight

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("commonweight", "trainer", "oracle", "inference")


def run(*command: str | Path, **environment: str) -> str:
    """Runs a command to its end and returns what it printed; its failure fails the test with what it said."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built by the backend that pyproject.toml names."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel installed alone into a folder, without what it depends on."""
    target = tmp_path_factory.mktemp("site")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel)
    return target


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


@pytest.mark.unit
def test_the_wheel_holds_exactly_the_files_of_the_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *PACKAGES).splitlines()
    assert names == {name for name in listed if (ROOT / name).exists()}


@pytest.mark.unit
def test_every_abi_comes_with_code_that_can_be_deployed(unpacked: Path) -> None:
    found = {path.stem: json.loads(path.read_bytes()) for path in (unpacked / "commonweight" / "abi").glob("*.json")}
    deployed = {path.stem for path in (ROOT / "contracts").glob("*.sol")} & set(found)
    assert {"RunFactory", "Campaign", "CreditOracle", "CreditLedger", "RevenueDistributor"} <= deployed
    for name in deployed:
        assert found[name]["abi"], name
        assert len(found[name]["bytecode"]) > 100, name


@pytest.mark.unit
def test_metadata_names_ranges_and_leaves_torch_to_the_extras(wheel: Path) -> None:
    described = metadata(wheel)
    required = described.get_all("Requires-Dist") or []
    plain = [line for line in required if "extra ==" not in line]
    assert not [line for line in required if "==" in line.split(";")[0]]
    assert not [line for line in plain if line.startswith(("torch", "fastapi", "uvicorn", "pytest"))]
    assert [line for line in required if line.startswith("torch") and "extra == 'train'" in line.replace('"', "'")]
    assert {"train", "oracle", "serve", "audit", "all"} <= set(described.get_all("Provides-Extra") or [])
    assert described["License-Expression"] == "Apache-2.0"


@pytest.mark.unit
def test_one_version(wheel: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert metadata(wheel)["Version"] == project["version"] == commonweight.__version__


@pytest.mark.unit
def test_the_program_starts_from_the_wheel(unpacked: Path) -> None:
    code = "import commonweight; print(commonweight.__file__); from commonweight.cli.main import app; app()"
    shown = run(sys.executable, "-P", "-c", code, "--help", PYTHONPATH=str(unpacked))
    assert shown.startswith(str(unpacked / "commonweight" / "__init__.py"))
    assert "Usage: commonweight" in shown or "Usage: -c" in shown
    assert os.access(unpacked / "bin" / "commonweight", os.X_OK)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("extra", "statement"),
    [
        ("", "import commonweight.chain.run"),
        ("[train]", "import trainer.train"),
        ("[oracle]", "import oracle.service"),
        ("[serve]", "import inference.server"),
        ("[audit]", "import commonweight.cli.replaying"),
        ("[all]", "import trainer.train"),
    ],
)
def test_a_fresh_environment_runs_it(wheel: Path, tmp_path: Path, extra: str, statement: str) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    program = tmp_path / "venv" / "bin"
    run(program / "python", "-m", "pip", "install", "--quiet", "-c", "constraints.txt", f"{wheel}{extra}")
    assert "Usage: commonweight" in run(program / "commonweight", "--help")
    run(program / "python", "-P", "-c", statement)
    run(program / "python", "-m", "pip", "check")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_source_archive_holds_what_is_committed_and_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", tmp_path, ROOT)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        source.extractall(tmp_path / "unpacked", filter="data")
    (folder,) = (tmp_path / "unpacked").iterdir()
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = [name.strip("/") for name in project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]]
    listed = run("git", "ls-files", "--", *included).splitlines()
    assert {name for name in listed if (ROOT / name).exists()} <= found
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, folder)
    (again,) = tmp_path.glob("*.whl")

    def contents(path: Path) -> dict[str, int]:
        with zipfile.ZipFile(path) as opened:
            return {item.filename: item.CRC for item in opened.infolist()}

    assert contents(again) == contents(wheel)
