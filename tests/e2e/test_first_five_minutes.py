"""The pages docs/first-five-minutes/ do what they say: every command of each, in order, on one real `dev up`."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "first-five-minutes"
ORDER = ("developer", "funder", "provider", "signer", "auditor", "user", "creator")  # each goes on where the last ended
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[str]:
    """The commands of a page; a line that ends in a backslash goes on."""
    text = "".join(_BLOCK.findall((PAGES / f"{page}.md").read_text())).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip()]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder with the program on PATH; whatever a page has started is ended."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "commonweight"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m commonweight.cli.main "$@"\n')
    program.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    yield work
    subprocess.run([str(program), "dev", "down", "--dir", "dev"], cwd=work, env=environment(tmp_path), check=True)


def environment(home: Path) -> dict[str, str]:
    """A user's, who has set nothing."""
    paths = f"{home / 'bin'}:{os.environ['PATH']}"
    return {"PATH": paths, "HOME": str(home), "PYTHONPATH": str(ROOT), "TERM": "dumb", "COLUMNS": "140"}


def run(page: str, work: Path) -> str:
    """Run a page's commands one by one in one shell, and what they left in the background to its end."""
    lines = ["set -euo pipefail"]
    for line in commands(page):
        quoted = line.replace("'", "'\\''")
        lines += [f"printf '\\n$ %s\\n' '{quoted}'", line]
    shell = subprocess.Popen(
        ["bash", "-c", "\n".join(lines)], cwd=work, env=environment(work.parent), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert shell.stdout is not None
        out = ""
        with shell.stdout as lines_out:
            for line in lines_out:
                out += line
                sys.stdout.write(line)
        assert shell.wait(60) == 0, out[-4000:]
        return out
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGTERM)


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_command_of_every_page_works_in_order(folder: Path) -> None:
    said = {page: run(page, folder) for page in ORDER}
    assert "The chain is up." in said["developer"]
    assert "The run is created." in said["creator"]
    assert re.search(r"contribution +2\.5 ETH", said["funder"])
    assert re.search(r"Claimed 0\.[0-9]+ ETH for provider 0", said["provider"])
    assert "The bond is full." in said["signer"]
    assert said["auditor"].count("verified") >= 3
    assert "Paid 0." in said["user"]


@pytest.mark.unit
def test_each_role_has_a_page_that_the_readme_names() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == set(ORDER)
    readme = (ROOT / "README.md").read_text()
    for page in ORDER:
        assert commands(page)
        assert f"docs/first-five-minutes/{page}.md" in readme
