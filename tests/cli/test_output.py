"""What is printed for people: words of others cannot move their cursor or name their window."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from rich.console import Console

from commonweight.cli import output
from commonweight.cli.output import Output
from commonweight.errors import CommonweightError

pytestmark = pytest.mark.unit
HOSTILE, SHOWN = "a\x1b]0;b\x07\r\x9b2J\ud800", r"a\x1b]0;b\x07\x0d\x9b2J\ud800"


def test_control_characters_of_others_are_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    here = Output(as_json=False)
    here.result({"name": HOSTILE}, title=HOSTILE)
    here.table({}, ["name"], [[HOSTILE]], title=HOSTILE)
    here.note(HOSTILE)
    here.error(CommonweightError(HOSTILE, HOSTILE, HOSTILE))
    said = "".join(capsys.readouterr())
    assert said.count(SHOWN) == 8
    assert not set(said) & set(HOSTILE) - set(SHOWN)


def test_in_json_they_stay_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).result({"name": HOSTILE})
    assert json.loads(capsys.readouterr().out) == {"name": HOSTILE}


def test_a_table_that_a_terminal_has_no_room_for_is_told_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = ["Round", "Outcome", "MB sent", "Credits", "Why"]
    rows = [[61, "counted", "14.3", 48, None], [62, "open", 0, 0, "-"]]

    def at(width: int) -> list[str]:
        said = StringIO()
        monkeypatch.setattr(output, "_stdout", lambda: Console(file=said, width=width))
        output.Output(as_json=False).table({}, columns, rows, title="Rounds")
        return [line.rstrip() for line in said.getvalue().splitlines()]

    assert at(30) == [
        "Rounds",
        "Round 61, Outcome counted, MB",
        "sent 14.3, Credits 48",
        "Round 62, Outcome open, MB",
        "sent 0, Credits 0",
    ]
    assert ["61", "counted", "14.3", "48", "-"] in [line.split() for line in at(60)], "a table where there is room"
