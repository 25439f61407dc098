"""A provider's rounds as its status lines tell them: what was done, what it cost, and why something was not counted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

_READ_BYTES = 8 << 20


@dataclass
class Round:
    """One round. `outcome` is counted, not-counted, idle (not in the plan), open, or stopped (the process ended in it).

    `refused` is a slug and `why` the words, both empty when nothing was. `loss_micro` in micro-nats a token,
    `bytes_sent` and `bytes_received` while this round was under way here.
    """

    round: int
    outcome: str = "open"
    steps: int = 0
    planned_steps: int = 0
    tokens: int = 0
    loss_micro: int | None = None
    tokens_per_s: int | None = None
    bytes_sent: int = 0
    bytes_received: int = 0
    refused: str = ""
    why: str = ""
    began_ms: int = 0
    ended_ms: int = 0

    def to_json(self) -> dict[str, object]:
        """The round as docs/cli.md describes it."""
        return asdict(self)


class History:
    """Rounds out of status lines, as they come; `rounds` by number, the last `keep` of them."""

    def __init__(self, keep: int = 1000) -> None:
        self._keep = keep
        self._last: Mapping[str, object] | None = None
        self.rounds: dict[int, Round] = {}

    def take(self, line: Mapping[str, object]) -> None:
        """Take in a line. One without a round in it, or of no known form, changes nothing."""
        number, phase = _integer(line, "round"), line.get("phase")
        before, self._last = self._last, line
        if number < 1 or not isinstance(phase, str) or phase in ("join", "wait", "paused", "show"):
            return
        known = self.rounds.get(number)
        if phase == "stopped":
            self._stopped(known, line)
            return
        if known is None:
            known = self.rounds[number] = Round(number, began_ms=_integer(line, "time_ms"))
            for old in sorted(self.rounds)[: -self._keep]:
                del self.rounds[old]
        self._traffic(known, before, line)
        known.ended_ms = _integer(line, "time_ms")
        if phase == "train":
            known.steps = max(known.steps, _integer(line, "step"))
            known.planned_steps = max(known.planned_steps, _integer(line, "steps"))
            for name in ("loss_micro", "tokens_per_s"):
                if isinstance(line.get(name), int):
                    setattr(known, name, line[name])
        _refusal(known, line)
        if "counted" in line:
            self._decided(known, line)

    def _decided(self, known: Round, line: Mapping[str, object]) -> None:
        known.tokens = _integer(line, "tokens")
        if line["counted"] is True:
            known.outcome, known.refused, known.why = "counted", "", ""
        else:
            known.outcome = "not-counted" if line.get("planned", True) else "idle"

    def _stopped(self, known: Round | None, line: Mapping[str, object]) -> None:
        if known is not None:
            _refusal(known, line)
            if known.outcome == "open":
                known.outcome, known.ended_ms = "stopped", _integer(line, "time_ms")

    def _traffic(self, known: Round, before: Mapping[str, object] | None, line: Mapping[str, object]) -> None:
        same = before is not None and before.get("pid") == line.get("pid")
        for name in ("bytes_sent", "bytes_received"):
            since = _integer(before, name) if same and before is not None else 0
            setattr(known, name, getattr(known, name) + max(0, _integer(line, name) - since))


def read_history(path: Path, keep: int = 1000, whose: tuple[str, int] | None = None) -> History:
    """The history in a status file, from its last 8 MiB, and in what was rotated before it; with `whose` (a run in
    lower case and an index there) of this provider only.
    """
    history = History(keep)
    for line in _lines(path):
        if whose is None or is_by(line, *whose):
            history.take(line)
    return history


def is_by(line: Mapping[str, object], run: str, index: int) -> bool:
    """Whether a provider has written a line; lines of older programs do not say and count as anybody's."""
    return "run" not in line or (line["run"], line.get("index")) == (run, index)


def _lines(path: Path) -> Iterable[Mapping[str, object]]:
    for part in (path.with_suffix(".old.jsonl"), path):
        try:
            with part.open("rb") as stream:
                size = stream.seek(0, 2)
                stream.seek(max(0, size - _READ_BYTES))
                raw = stream.read(_READ_BYTES)
        except OSError:
            continue
        for text in raw.splitlines():
            try:
                body = json.loads(text)
            except ValueError:  # cut off at the beginning, or being written
                continue
            if isinstance(body, dict):
                yield body


def _refusal(known: Round, line: Mapping[str, object]) -> None:
    if isinstance(refused := line.get("refused"), str):
        # the record's own reason comes last and is kept with the words of an earlier refusal
        known.refused, known.why = refused, str(line.get("why") or known.why)


def _integer(line: Mapping[str, object], name: str) -> int:
    value = line.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
