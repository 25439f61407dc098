"""Exports: the same facts in every format, each row with its place, and sums that equal the chain's own figures."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from commonweight.audit.export import TABLES, export
from commonweight.errors import UsageError
from tests.audit.conftest import settings_of
from tests.audit.staging import Staged

pytestmark = [pytest.mark.chain, pytest.mark.timeout(600)]


def test_all_formats_hold_the_same_rows_and_the_chains_sums(run: Staged, tmp_path: Path) -> None:
    files = export(settings_of(run), tmp_path / "out")
    assert sorted(path.name for path in files) == sorted(path.name for path in (tmp_path / "out").iterdir())
    head = json.loads((tmp_path / "out" / "export.json").read_text())
    assert head["block"] == run.run.chain.block_number()
    with closing(sqlite3.connect(tmp_path / "out" / "run.sqlite")) as db:
        for table in TABLES:
            with (tmp_path / "out" / f"{table.name}.csv").open() as stream:
                from_csv = list(csv.DictReader(stream))
            lines = (tmp_path / "out" / f"{table.name}.jsonl").read_text().splitlines()
            from_json = [json.loads(line) for line in lines]
            rows = db.execute(f'SELECT * FROM "{table.name}"').fetchall()
            assert rows, table.name
            assert len(rows) == len(from_csv) == len(from_json)
            for stored, texts, parsed in zip(rows, from_csv, from_json, strict=True):
                assert [str(value) for value in stored] == list(texts.values())
                assert texts["block"] == parsed["block"]
                assert texts["tx"] == parsed["tx"]
                assert int(texts["log_index"]) >= 0
                if table.name != "events":
                    assert parsed == texts
        total = db.execute("SELECT SUM(CAST(amount AS INTEGER)) FROM contributions").fetchone()[0]
        paid = db.execute("SELECT SUM(CAST(amount AS INTEGER)) FROM payouts WHERE kind = 'capital'").fetchone()[0]
        listed = db.execute("SELECT SUM(credits) FROM credits").fetchone()[0]
        meta = dict(db.execute("SELECT key, value FROM meta"))
    assert total == run.run.campaign.raised()
    assert paid == run.run.distributor.capital_paid()
    assert listed == run.run.ledger.latest().sum
    assert meta["run"] == run.run.address.lower()


def test_an_event_row_is_found_again_on_chain(run: Staged, tmp_path: Path) -> None:
    export(settings_of(run), tmp_path / "out", ("jsonl",))
    row = json.loads((tmp_path / "out" / "payouts.jsonl").read_text().splitlines()[-1])
    receipt = run.run.chain.receipt(bytes.fromhex(row["tx"][2:]))
    assert receipt is not None
    assert receipt.block_number == int(row["block"])
    assert int(row["log_index"]) in [log.log_index for log in receipt.logs]
    assert int(row["time"]) == run.run.chain.block(receipt.block_number).timestamp
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".json"] + [".jsonl"] * len(TABLES)


def test_an_export_can_be_written_again_over_the_old_one(run: Staged, tmp_path: Path) -> None:
    first = export(settings_of(run), tmp_path)
    sizes = [path.stat().st_size for path in first]
    assert [path.stat().st_size for path in export(settings_of(run), tmp_path)] == sizes


@pytest.mark.parametrize("formats", [(), ("xml",), ("csv", "xml")])
def test_other_formats_are_refused(run: Staged, tmp_path: Path, formats: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        export(settings_of(run), tmp_path, formats)


def test_a_folder_that_cannot_be_written_is_an_error_by_name(run: Staged, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        export(settings_of(run), tmp_path / "file")
