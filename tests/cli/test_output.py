"""What is printed for people: words of others cannot move their cursor or name their window."""

from __future__ import annotations

import json

import pytest

from commonweight.cli.output import Output
from commonweight.errors import CommonweightError

pytestmark = pytest.mark.unit
HOSTILE, SHOWN = "a\x1b]0;b\x07\r\x9b2J\ud800", r"a\x1b]0;b\x07\x0d\x9b2J\ud800"


def test_control_characters_of_others_are_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=False)
    output.result({"name": HOSTILE}, title=HOSTILE)
    output.table({}, ["name"], [[HOSTILE]], title=HOSTILE)
    output.note(HOSTILE)
    output.error(CommonweightError(HOSTILE, HOSTILE, HOSTILE))
    said = "".join(capsys.readouterr())
    assert said.count(SHOWN) == 8
    assert not set(said) & set(HOSTILE) - set(SHOWN)


def test_in_json_they_stay_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).result({"name": HOSTILE})
    assert json.loads(capsys.readouterr().out) == {"name": HOSTILE}
