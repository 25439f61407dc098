"""`commonweight audit export`: everything that happened in a run as CSV, JSON lines and SQLite, for anybody's own sums.

Each row names block, time, transaction and log index. `events` holds every event of every contract with all its
fields; the other tables pick out what people ask for most. The block up to which it all holds is in `export.json` and
in the database's `meta` table. Amounts, credits and all other integers are decimal text in CSV and JSON, as they may
pass 2^53.
"""

import csv
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from commonweight.audit.index import fields_of
from commonweight.audit.settings import AuditSettings, Progress, quiet
from commonweight.audit.verify import Opened, opened
from commonweight.chain.events import (
    CapitalClaimed,
    ChainEvent,
    CheckpointAttested,
    ComputeClaimed,
    Deposited,
    FeePaid,
    ProviderRegistered,
    Refunded,
    ReportSubmitted,
    RevenueReceived,
    ServerPaid,
    UnspentReturned,
    VoucherSettled,
)
from commonweight.errors import FormatError, UsageError
from commonweight.protocol import creditslist

FORMATS = ("csv", "jsonl", "sqlite")
_PLACE = ("block", "time", "tx", "log_index")
Row = tuple[object, ...]


@dataclass(frozen=True)
class Table:
    """A table of the export: its name, its columns after the place, and the rows that one event gives."""

    name: str
    columns: tuple[str, ...]
    rows: Callable[[ChainEvent], Sequence[Row]]


def _events(event: ChainEvent) -> Sequence[Row]:
    return [(type(event).__name__, event.address.lower(), json.dumps(fields_of(event), sort_keys=True))]


def _contributions(event: ChainEvent) -> Sequence[Row]:
    if isinstance(event, Deposited):
        return [("deposit", event.funder.lower(), event.amount, event.raised)]
    if isinstance(event, Refunded | UnspentReturned):
        kind = "refund" if isinstance(event, Refunded) else "unspent"
        return [(kind, event.funder.lower(), -event.amount, "")]
    return []


def _providers(event: ChainEvent) -> Sequence[Row]:
    if isinstance(event, ProviderRegistered):
        return [(event.index, event.account.lower(), event.signing_key.lower(), event.payout.lower(), event.stake)]
    return []


def _credits(event: ChainEvent) -> Sequence[Row]:
    if not isinstance(event, ReportSubmitted):
        return []
    try:
        listed = creditslist.decode(event.credits)
    except FormatError:  # a malformed list credits nobody; the audit says so
        return []
    return [(event.epoch, event.attempt, index, amount) for index, amount in listed.items()]


def _reports(event: ChainEvent) -> Sequence[Row]:
    if not isinstance(event, ReportSubmitted):
        return []
    r = event.report
    signers = " ".join(signer.lower() for signer in event.signers)
    evidence = (r.evidence_cid, "0x" + r.evidence_sha256.hex())
    checkpoint = ("0x" + r.checkpoint.hex(), r.checkpoint_cid, r.round, r.loss_micro)
    return [
        (r.epoch, r.attempt, "0x" + r.root.hex(), r.sum, r.epoch_credits, event.wage, *evidence, *checkpoint, signers)
    ]


def _revenue(event: ChainEvent) -> Sequence[Row]:
    if isinstance(event, RevenueReceived):
        return [(event.payer.lower(), event.amount, event.to_capital, event.to_compute)]
    return []


def _payouts(event: ChainEvent) -> Sequence[Row]:
    match event:
        case CapitalClaimed():
            return [("capital", event.funder.lower(), "", event.amount)]
        case ComputeClaimed():
            return [("compute", event.payout.lower(), event.index, event.amount)]
        case FeePaid():
            return [("oracle fee", event.signer.lower(), "", event.amount)]
        case ServerPaid():
            return [("server", event.server.lower(), "", event.amount)]
        case _:
            return []


def _settlements(event: ChainEvent) -> Sequence[Row]:
    if isinstance(event, VoucherSettled):
        return [("0x" + event.channel_id.hex(), event.cumulative, event.amount)]
    return []


def _checkpoints(event: ChainEvent) -> Sequence[Row]:
    if isinstance(event, CheckpointAttested):
        parent = "0x" + event.parent.hex()
        return [
            (event.position, event.epoch, event.round, "0x" + event.manifest_sha256.hex(), parent, event.loss_micro)
        ]
    return []


TABLES = (
    Table("events", ("event", "contract", "fields"), _events),
    Table("contributions", ("kind", "funder", "amount", "raised"), _contributions),
    Table("providers", ("index", "account", "signing_key", "payout", "stake"), _providers),
    Table("credits", ("epoch", "attempt", "index", "credits"), _credits),
    Table(
        "reports",
        (
            "epoch", "attempt", "root", "sum", "epoch_credits", "wage_scaled", "evidence_cid", "evidence_sha256",
            "checkpoint", "checkpoint_cid", "round", "loss_micro", "signers",
        ),
        _reports,
    ),
    Table("checkpoints", ("position", "epoch", "round", "manifest_sha256", "parent", "loss_micro"), _checkpoints),
    Table("settlements", ("channel", "cumulative", "amount"), _settlements),
    Table("revenue", ("payer", "amount", "to_capital", "to_compute"), _revenue),
    Table("payouts", ("kind", "receiver", "index", "amount"), _payouts),
)  # fmt: skip


def export(
    settings: AuditSettings, out_dir: Path, formats: Sequence[str] = FORMATS, progress: Progress = quiet
) -> tuple[Path, ...]:
    """Write the tables to a folder, and `export.json` last; returns the files written.

    Raises UsageError for a format that is none of csv, jsonl and sqlite, or a folder that cannot be written.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown or not formats:
        raise UsageError(f"{', '.join(unknown) or 'nothing'} is no format", "", f"choose from {', '.join(FORMATS)}")
    with opened(settings, progress) as audit:
        try:
            out_dir.mkdir(parents=True, exist_ok=True)
            files: list[Path] = []
            for done, table in enumerate(TABLES):
                progress("writing tables", done, len(TABLES))
                rows = list(_rows(audit, table))
                if "csv" in formats:
                    files.append(_csv(out_dir / f"{table.name}.csv", table, rows))
                if "jsonl" in formats:
                    files.append(_jsonl(out_dir / f"{table.name}.jsonl", table, rows))
            if "sqlite" in formats:
                files.append(_sqlite(out_dir / "run.sqlite", audit))
            head = out_dir / "export.json"
            head.write_text(json.dumps(_head(audit), indent=2) + "\n")
        except OSError as problem:
            raise UsageError(
                f"The export cannot be written to {out_dir}", str(problem), "name another folder"
            ) from problem
        progress("writing tables", len(TABLES), len(TABLES))
        return (*files, head)


def _rows(audit: Opened, table: Table) -> Iterator[Row]:
    for event in audit.index.events():
        place = (event.block, audit.time(event.block), "0x" + event.tx.hex(), event.log_index)
        for row in table.rows(event):
            yield (*place, *row)


def _csv(path: Path, table: Table, rows: Sequence[Row]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(_PLACE + table.columns)
        writer.writerows(rows)
    return path


def _jsonl(path: Path, table: Table, rows: Sequence[Row]) -> Path:
    names = _PLACE + table.columns
    with path.open("w") as stream:
        for row in rows:
            texts = {
                name: value if isinstance(value, str) else str(value) for name, value in zip(names, row, strict=True)
            }
            if table.name == "events":
                stream.write(json.dumps({**texts, "fields": json.loads(str(row[-1]))}) + "\n")
            else:
                stream.write(json.dumps(texts) + "\n")
    return path


def _sqlite(path: Path, audit: Opened) -> Path:
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as db, db:
        for table in TABLES:
            columns = ", ".join(f'"{name}"' for name in _PLACE + table.columns)
            db.execute(f'CREATE TABLE "{table.name}" ({columns})')
            marks = ",".join("?" * len(_PLACE + table.columns))
            rows = ([_stored(value) for value in row] for row in _rows(audit, table))
            db.executemany(f'INSERT INTO "{table.name}" VALUES ({marks})', rows)  # noqa: S608  names are ours
        db.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT)")
        db.executemany("INSERT INTO meta VALUES (?, ?)", [(name, str(value)) for name, value in _head(audit).items()])
    return path


def _stored(value: object) -> object:
    """SQLite's integers end at 2^63: larger ones are kept as decimal text."""
    return str(value) if isinstance(value, int) and abs(value) >= 1 << 63 else value


def _head(audit: Opened) -> dict[str, object]:
    return {
        "schema": "commonweight.export.v1",
        "chain_id": audit.run.chain.chain_id,
        "run": audit.run.address.lower(),
        "block": audit.block.number,
        "block_hash": "0x" + audit.block.hash.hex(),
        "asset": audit.run.params.asset.lower(),
    }
