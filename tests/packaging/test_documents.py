"""The pages of the project: what one of them links to is there, and what it tells one to type is a command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.test_pages import options

pytestmark = pytest.mark.unit
ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_LINK = re.compile(r'\]\(([^)\s]+)\)|src="([^"]+)"')
_SAID = re.compile(r"commonweight((?: [^`\n|;&>#]+?)?)(?=\s*(?:[`\n|;&>#]|$))")


def anchors(page: Path) -> set[str]:
    """The names that a page's headings have as links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    for in_text, in_tag in _LINK.findall(page.read_text()):
        file, _, anchor = (in_text or in_tag).partition("#")
        if file.startswith(("http:", "https:")):
            continue
        target = page.parent / file if file else page
        assert target.exists(), file
        assert not anchor or anchor in anchors(target), f"{file}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_line_in_a_page_is_one(page: Path) -> None:
    known = options()
    for line in _SAID.findall(page.read_text().replace("\\\n", " ")):
        words, given = (), line.split()
        while given and (*words, given[0]) in known:
            words = (*words, given.pop(0))
        for word in given:
            if word.startswith("--") and "COMMAND" not in given:
                assert word.partition("=")[0].rstrip(".,)") in known[words], f"commonweight{line}"
