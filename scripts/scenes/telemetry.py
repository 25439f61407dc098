"""What the demo watches while the providers train: their status files, and the run's events on chain."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from commonweight.chain.events import (
    Banned,
    ChainEvent,
    EpochClosed,
    EpochFinal,
    EpochVoided,
    ReportSubmitted,
    RoundAnchored,
)
from commonweight.chain.run import Run
from commonweight.protocol.canonical import loads
from commonweight.protocol.documents import Signed
from commonweight.protocol.records import Record
from commonweight.protocol.runconfig import RunConfig
from commonweight.store import ContentStore, parse_cid
from scenes.cast import Cast

MAX_FILE = 2**24
WATCHED = (RoundAnchored, Banned, EpochClosed, ReportSubmitted, EpochFinal, EpochVoided)


@dataclass(frozen=True)
class Status:
    """The last thing a provider's process said of itself."""

    round: int = 0
    phase: str = "starting"
    step: int = 0
    steps: int = 0
    loss_micro: int | None = None
    pid: int = 0
    bytes_sent: int = 0
    states_sent: int = 0


@dataclass
class Telemetry:
    """Follows the providers' status files by name and the run's events."""

    directories: Mapping[str, Path]
    _status: dict[str, Status] = field(default_factory=dict)
    _offsets: dict[str, int] = field(default_factory=dict)
    _processes: dict[tuple[str, int], Status] = field(default_factory=dict)
    _losses: dict[int, dict[str, int]] = field(default_factory=dict)
    _records: dict[int, bytes] = field(default_factory=dict)
    _banned: set[int] = field(default_factory=set)
    _next_block: int | None = None

    def latest(self, name: str) -> Status:
        """The provider's last status."""
        self._read(name)
        return self._status.get(name, Status())

    def news(self, run: Run, cast: Cast) -> Iterator[str]:
        """Lines about what happened on chain since the last call."""
        for name in self.directories:
            self._read(name)
        tip = run.chain.block_number()
        start = self._next_block if self._next_block is not None else run.first_block
        if tip < start:
            return
        self._next_block = tip + 1
        for event in run.events(WATCHED, from_block=start, to_block=tip):
            yield from self._describe(run, cast, event)

    def recorded_rounds(self) -> int:
        """How many rounds' records are anchored on chain, as of the last `news`."""
        return len(self._records)

    def newest_round(self) -> int:
        """The newest round that any provider is in."""
        return max((status.round for status in self._status.values()), default=0)

    def last_recorded(self) -> int:
        """The last round whose record is anchored on chain, as of the last `news`."""
        return max(self._records, default=0)

    def was_banned(self, index: int) -> bool:
        """Whether the registry has ever banned the provider, as of the last `news`."""
        return index in self._banned

    def bytes_sent(self, kind: Literal["all", "state"] = "all") -> int:
        """What all providers' processes sent, by their own count: everything, or training states for replays alone."""
        for name in self.directories:
            self._read(name)
        return sum(s.states_sent if kind == "state" else s.bytes_sent for s in self._processes.values())

    def _describe(self, run: Run, cast: Cast, event: ChainEvent) -> Iterator[str]:
        if isinstance(event, RoundAnchored):
            if any(event.record_hash) and event.record_round not in self._records:
                self._records[event.record_round] = event.record_hash
                losses = self._losses.get(event.record_round, {})
                shown = ", ".join(f"{name} {loss / 1e6:.2f}" for name, loss in losses.items())
                yield f"round {event.record_round} is recorded; training loss {shown or 'not told'}"
        elif isinstance(event, Banned):
            self._banned.add(event.index)
            name = cast.provider_at(run.registry.account_of(event.index)).name
            yield f"[red]{name} is banned[/red], evidence 0x{event.evidence_sha256.hex()[:16]}…"
        elif isinstance(event, EpochClosed):
            yield f"epoch {event.epoch} is closed"
        elif isinstance(event, ReportSubmitted):
            yield f"epoch {event.epoch}: {len(event.signers)} signers attest {event.report.epoch_credits:,} credits"
        elif isinstance(event, EpochFinal):
            yield f"[green]epoch {event.epoch} is final[/green], {event.sum:,} credits in all"
        elif isinstance(event, EpochVoided):
            yield f"[red]epoch {event.epoch} is void[/red]"

    def _read(self, name: str) -> None:
        path = self.directories[name] / "status.jsonl"
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._offsets.get(name, 0))
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offsets[name] = self._offsets.get(name, 0) + len(line)
                self._take(name, json.loads(line))

    def _take(self, name: str, line: Mapping[str, Any]) -> None:
        status = Status(
            round=line["round"],
            phase=line["phase"],
            step=line["step"],
            steps=line["steps"],
            loss_micro=line["loss_micro"],
            pid=line["pid"],
            bytes_sent=line["bytes_sent"],
            states_sent=sum(line["by_method"]["sent"].get(name, 0) for name in ("state", "array")),
        )
        self._status[name] = status
        self._processes[name, status.pid] = status
        if status.loss_micro is not None:
            self._losses.setdefault(status.round, {})[name] = status.loss_micro


def synchronous_bytes(run: Run, store: ContentStore) -> int:
    """What fp32 synchronous data parallel would send for the attested steps.

    Each of n workers sends 2 (n - 1) / n of the gradient's 4 P bytes at each step, by a ring or a butterfly alike.
    Steps and members are read from the evidence.
    """
    config = RunConfig.load(store.get(parse_cid(run.params.config_cid), MAX_FILE))
    gradient = 4 * config.model.parameters()
    total = 0
    for event in run.events_of(ReportSubmitted):
        if not run.oracle.epoch_info(event.epoch).state.settled:
            continue
        evidence = parse_cid(event.report.evidence_cid)
        for item in store.walk(evidence):
            if item.name.startswith("records/"):
                record = Record.from_body(Signed.from_json(loads(store.get(item.cid, MAX_FILE))).body)
                members = len(record.counted)
                total += sum(2 * (members - 1) * gradient * counted.steps // members for counted in record.counted)
    return total
