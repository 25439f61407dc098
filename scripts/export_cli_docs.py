"""Write what is generated about the command line: docs/errors.md and the help texts in tests/cli/help/.

    python scripts/export_cli_docs.py [--check]

With --check nothing is written, and the exit status is 1 if anything would change.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HELP = ROOT / "tests" / "cli" / "help"
WIDTH = "100"
INTRODUCTION = """# The contracts' errors

Every error that a contract of a run can give, as the command line and the page explain it: the name, why it happened
and what to do. Written by `make cli-docs` from `commonweight/chain/explanations.py`, which a test compares with the
contracts.

| error | why | what to do |
| --- | --- | --- |
"""


def main() -> int:
    """Write or check; returns the exit status."""
    wanted = {ROOT / "docs" / "errors.md": errors_page(), **{HELP / name: text for name, text in help_texts().items()}}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    stale += [path for path in HELP.glob("*.txt") if path not in wanted]
    if "--check" not in sys.argv[1:]:
        HELP.mkdir(exist_ok=True)
        for path in stale:
            if path in wanted:
                path.write_text(wanted[path])
            else:
                path.unlink()
    for path in stale:
        print(path.relative_to(ROOT))
    return 1 if stale and "--check" in sys.argv[1:] else 0


def errors_page() -> str:
    """docs/errors.md."""
    from commonweight.chain.explanations import EXPLANATIONS

    rows = (f"| `{name}` | {why} | {fix} |" for name, (why, fix) in sorted(EXPLANATIONS.items()))
    return INTRODUCTION + "\n".join(rows) + "\n"


def help_texts() -> Mapping[str, str]:
    """Each command's --help by file name, at a fixed width and without colours."""
    os.environ.update(COLUMNS=WIDTH, TERMINAL_WIDTH=WIDTH, TERM="dumb", NO_COLOR="1")
    for name in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS"):  # each of them makes rich show colours
        os.environ.pop(name, None)
    root = program()
    found = {}
    for words in tree(root):
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            root.main([*words, "--help"], prog_name="commonweight", standalone_mode=False)
        lines = (line.rstrip() for line in text.getvalue().splitlines())
        found["-".join(("commonweight", *words)) + ".txt"] = "\n".join(lines).strip("\n") + "\n"
    return found


def program() -> Any:
    """The whole command, put together once."""
    from typer.main import get_command

    from commonweight.cli.main import cli

    return get_command(cli)


def tree(command: object, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of a command and of everything below it."""
    yield words
    for name, inner in getattr(command, "commands", {}).items():
        yield from tree(inner, (*words, name))


if __name__ == "__main__":
    sys.exit(main())
