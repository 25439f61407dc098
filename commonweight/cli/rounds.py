"""A provider's rounds: what its own process noted, beside what the signers credited and why they did not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from commonweight.errors import FormatError, StoreError, UsageError

if TYPE_CHECKING:
    from commonweight.chain.structs import RunParams
    from commonweight.cli.session import Session
    from commonweight.protocol.canonical import JsonObject

COLUMNS = ("Round", "Outcome", "Steps", "Tokens", "MB sent", "MB received", "Credits", "Why")
_MAX_CREDITS_BYTES = 1 << 26


@dataclass
class Itemised:
    """The signers' credit lines for one provider, by round, and why an epoch's could not be read."""

    lines: dict[int, JsonObject] = field(default_factory=dict)
    unread: list[dict[str, object]] = field(default_factory=list)


def own_rounds(data_dir: Path, count: int, run: str, index: int) -> list[dict[str, object]]:
    """The last `count` rounds of a provider whose process works in this folder, oldest first."""
    from trainer.history import read_history

    history = read_history(data_dir / "status.jsonl", max(1, count), (run.lower(), index))
    return [history.rounds[number].to_json() for number in sorted(history.rounds)][-count:] if count else []


def itemised(session: Session, index: int, own: Sequence[dict[str, object]], last: int | None) -> Itemised:
    """The provider's lines of credits.json in the evidence of the `last` reports; None for those of its own rounds, and
    where it has none, for two.
    """
    from commonweight.chain.ledger_view import LedgerView
    from commonweight.protocol.canonical import loads
    from commonweight.protocol.fields import Fields
    from commonweight.store import parse_cid

    found = Itemised()
    reports = LedgerView.of(session.run).reports
    if last is None and own:
        wanted = [epoch for epoch in sorted(reports) if epoch in _epochs_of(session.run.params, own)]
    else:
        count = 2 if last is None else last
        wanted = sorted(reports)[-count:] if count else []
    for epoch in wanted:
        try:
            cid = parse_cid(reports[epoch].report.evidence_cid)
            raw = session.store.get_file(cid, "credits.json", _MAX_CREDITS_BYTES)
            for line in Fields(loads(raw, _MAX_CREDITS_BYTES), "credits.json").items("lines", 0, 1 << 20):
                if isinstance(line, dict) and line.get("index") == index and isinstance(line.get("round"), int):
                    found.lines[Fields(line, "line").integer("round", 1)] = line
        except (StoreError, FormatError, UsageError, OSError) as problem:
            found.unread.append({"epoch": epoch, "why": str(problem)})
    return found


def _epochs_of(params: RunParams, own: Sequence[dict[str, object]]) -> set[int]:
    """The epochs that these rounds can be of: a round is of the one that its deadline is in, between begin and end."""
    found: set[int] = set()
    for entry in own:
        began, ended = (params.epoch_of(int(str(entry[name])) // 1000) for name in ("began_ms", "ended_ms"))
        found.update(range(began, ended + 1))
    return found


def rows(own: Sequence[dict[str, object]], signers: Itemised) -> list[list[object]]:
    """One row a round that either side knows of, oldest first."""
    known = {number: entry for entry in own if isinstance(number := entry["round"], int)}
    first = min(known, default=0)
    table: list[list[object]] = []
    for number in sorted({*known, *(n for n in signers.lines if n >= first)}):
        entry, line = known.get(number, {}), signers.lines.get(number, {})
        said = [str(source["refused"]) for source in (line, entry) if source.get("refused")]
        why = " / ".join([*dict.fromkeys(said), *([str(entry["why"])] if entry.get("why") else [])])
        table.append(
            [number, entry.get("outcome"), f"{entry['steps']}/{entry['planned_steps']}" if entry else None,
             line.get("tokens", entry.get("tokens")), _mb(entry.get("bytes_sent")), _mb(entry.get("bytes_received")),
             line.get("credits"), why or None]
        )  # fmt: skip
    return table


def _mb(count: object) -> str | None:
    return f"{count / 1e6:.1f}" if isinstance(count, int) else None
