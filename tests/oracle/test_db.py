"""The signer's database: promises are made once, writes are idempotent, a killed process loses nothing it was told."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from commonweight.errors import OracleError
from oracle.db import AnchorRow, Database, Draw, EquivocationError, Slot
from oracle.db_schema import MIGRATIONS

pytestmark = pytest.mark.unit
RUN, SIGNER = "0x" + "11" * 20, "0x" + "22" * 20


def open_db(path: Path) -> Database:
    return Database(path, run=RUN, signer=SIGNER)


def test_a_promise_is_stored_once_and_returned_ever_after(tmp_path: Path) -> None:
    db = open_db(tmp_path)
    calls: list[int] = []

    def sign() -> bytes:
        calls.append(1)
        return b"signed"

    assert db.promise(Slot("report/3/0"), b"d" * 32, sign) == b"signed"
    assert db.promise(Slot("report/3/0"), b"d" * 32, sign) == b"signed"
    assert len(calls) == 1
    db.close()
    again = open_db(tmp_path)
    assert again.promised(Slot("report/3/0")) == (b"d" * 32, b"signed")
    with pytest.raises(EquivocationError):
        again.promise(Slot("report/3/0"), b"e" * 32, sign)
    assert len(calls) == 1


def test_a_promise_whose_signing_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    db = open_db(tmp_path)

    def fail() -> bytes:
        raise RuntimeError("key gone")

    with pytest.raises(RuntimeError):
        db.promise(Slot("plan/1"), b"d" * 32, fail)
    assert db.promised(Slot("plan/1")) is None
    assert db.promise(Slot("plan/1"), b"e" * 32, lambda: b"x") == b"x"


def test_documents_are_kept_once_per_signer_and_copied_in_order(tmp_path: Path) -> None:
    db = open_db(tmp_path)

    def add(digest: bytes, signer: str, round_: int) -> bool:
        return db.add_document(
            digest=digest, kind="receipt", round_=round_, member=0, signer=signer, signed=b"{}", now_ms=5
        )

    assert add(b"a" * 32, "0xAA", 1)
    assert not add(b"a" * 32, "0xaa", 1)
    assert add(b"a" * 32, "0xbb", 1)
    assert add(b"b" * 32, "0xbb", 2)
    assert [r.seq for r in db.documents_after(0, 10)] == sorted(r.seq for r in db.documents("receipt"))
    assert [r.signer for r in db.documents("receipt", round_=1)] == ["0xaa", "0xbb"]
    assert db.documents_after(db.last_seq(), 10) == []
    assert db.last_round("receipt") == 2
    assert db.last_round("plan") == 0


def test_anchors_and_the_block_they_were_read_up_to_are_written_together(tmp_path: Path) -> None:
    db = open_db(tmp_path)
    root, none = b"r" * 32, bytes(32)
    rows = [
        AnchorRow(5, 0, 1, 0, 100, root, 0, none, b"t" * 32),
        AnchorRow(9, 1, 2, 0, 112, root, 1, b"h" * 32, b"u" * 32),
        AnchorRow(11, 0, 3, 1, 130, none, 1, b"z" * 32, b"v" * 32),
    ]
    db.add_anchors(rows, 12)
    db.add_anchors(rows, 12)
    assert db.get_meta("anchors_upto") == "12"
    assert db.anchors() == rows
    assert [anchor.record_hash for anchor in db.record_anchors(1)] == [b"h" * 32, b"z" * 32]
    assert db.record_anchors(2) == []


def test_a_draw_keeps_its_state_when_it_is_added_again(tmp_path: Path) -> None:
    db = open_db(tmp_path)
    draw = Draw(1, 4, 2, 0, 77, b"s" * 32, "wanted")
    db.add_draw(draw)
    db.set_draw(draw, "done")
    db.add_draw(draw)
    assert [d.state for d in db.draws(1)] == ["done"]
    assert db.open_draws("wanted") == []


def test_a_second_process_a_foreign_key_and_a_newer_schema_are_refused(tmp_path: Path) -> None:
    db = open_db(tmp_path)
    with pytest.raises(OracleError, match="another process"):
        open_db(tmp_path)
    db.close()
    with pytest.raises(OracleError, match="belongs to signer"):
        Database(tmp_path, run=RUN, signer="0x" + "33" * 20)
    raw = sqlite3.connect(tmp_path / "oracle.sqlite3")
    raw.execute("PRAGMA user_version=99")
    raw.close()
    with pytest.raises(OracleError, match="schema version 99"):
        open_db(tmp_path)


def test_the_database_waits_for_a_full_disk_to_be_mended(tmp_path: Path) -> None:
    db = open_db(tmp_path)
    pages = int(db.read("PRAGMA page_count")[0][0])  # type: ignore[call-overload]
    db._connection.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(OracleError, match="free space"):
        for n in range(1000):
            db.set_meta(f"k{n}", "x" * 1000)
    db._connection.execute("PRAGMA max_page_count=1000000")
    db.set_meta("later", "fine")
    assert db.get_meta("later") == "fine"


def test_a_file_that_another_program_has_locked_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    db = open_db(tmp_path)
    db._connection.execute("PRAGMA busy_timeout=0")
    other = sqlite3.connect(tmp_path / "oracle.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OracleError, match=r"database is locked.*close the other program"):
        db.set_meta("a", "b")
    other.close()
    db.set_meta("a", "b")


def test_a_damaged_file_is_not_to_be_replaced_by_an_older_copy(tmp_path: Path) -> None:
    open_db(tmp_path).close()
    (tmp_path / "oracle.sqlite3").write_bytes(b"not a database" * 1000)
    with pytest.raises(OracleError, match=r"older copy.*costs the bond"):
        open_db(tmp_path)


def test_other_errors_of_the_database_are_not_taken_for_damage(tmp_path: Path) -> None:
    db = open_db(tmp_path)
    db._connection.execute("PRAGMA query_only=1")
    with pytest.raises(OracleError, match=r"readonly.*writable for this user"):
        db.set_meta("a", "b")
    db._connection.execute("PRAGMA query_only=0")
    for wrong in ("no statement", "INSERT INTO meta VALUES ('run', 'twice')", "SELECT ?"):
        with pytest.raises(OracleError, match="report it with the log"):
            db.write(wrong)


CHILD = """
import sys
from pathlib import Path
from oracle.db import Database, Slot
db = Database(Path(sys.argv[1]), run="0x" + "11" * 20, signer="0x" + "22" * 20)
n = int(sys.argv[2])
while True:
    digest = n.to_bytes(32, "big")
    db.promise(Slot(f"report/{n}/0"), digest, lambda: b"signature " + digest)
    db.add_document(digest=digest, kind="verdict", round_=n, member=0, signer="0xaa", signed=b"{}", now_ms=n)
    print(n, flush=True)
    n += 1
"""


def test_kill_nine_at_any_moment_loses_no_promise_that_was_released(tmp_path: Path) -> None:
    told = -1
    for start in (0, 1000, 2000, 3000, 4000):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), str(start)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        wanted = 3 + start // 500
        lines = [child.stdout.readline() for _ in range(wanted)]
        os.kill(child.pid, signal.SIGKILL)
        lines += child.stdout.readlines()
        child.stdout.close()
        child.wait()
        told = max(int(line) for line in lines if line.endswith("\n"))
        db = open_db(tmp_path)
        for n in range(start, told + 1):
            kept = db.promised(Slot(f"report/{n}/0"))
            assert kept == (n.to_bytes(32, "big"), b"signature " + n.to_bytes(32, "big"))
            with pytest.raises(EquivocationError):
                db.promise(Slot(f"report/{n}/0"), b"\xff" * 32, lambda: b"other")
        assert {r.round for r in db.documents("verdict")} >= set(range(start, told))
        db.close()
    assert told >= 4000


def test_pins_of_an_older_database_are_taken_over(tmp_path: Path) -> None:
    raw = sqlite3.connect(tmp_path / "oracle.sqlite3")
    raw.executescript(f"{MIGRATIONS[0]} {MIGRATIONS[1]} PRAGMA user_version=2;")
    kept = {"pin/a": "3", "pin/b": "4", "remote/b": "request of b", "remote/c": "request of c", "kept": "7"}
    raw.executemany("INSERT INTO meta VALUES (?,?)", kept.items())
    raw.commit()
    raw.close()
    db = open_db(tmp_path)
    assert db.pins() == ["a", "b"]
    assert (db.pins_upto(3, (), 9), db.pins_upto(4, {3}, 9), db.pins_upto(4, (), 1)) == (["a"], ["b"], ["a"])
    assert (db.pin_to_ask_for(), db.pin_to_give_up()) == ("a", ("c", "request of c"))
    assert [db.get_meta(key) for key in ("pin/a", "remote/c", "kept")] == [None, None, "7"]


def test_a_pin_is_noted_until_it_is_gone_here_and_at_the_service(tmp_path: Path) -> None:
    db = open_db(tmp_path)
    db.add_pins(["a", "b"], 3)
    db.add_pins(["a"], 2)
    assert db.pins_upto(2, (), 9) == [], "for the later epoch"
    db.set_pin_request("a", "request of a")
    assert db.pin_to_ask_for() == "b"
    db.drop_pin("a")
    db.drop_pin("b")
    assert (db.pins(), db.pin_to_ask_for(), db.pin_to_give_up()) == ([], None, ("a", "request of a"))
    db.add_pins(["a"], 5)
    assert (db.pin_to_ask_for(), db.pin_to_give_up()) == (None, None), "it is still there"
    db.drop_pin("a")
    db.set_pin_request("a", None)
    assert db.read("SELECT * FROM pins") == []


def test_what_is_asked_at_every_turn_goes_through_nothing_of_the_past(tmp_path: Path) -> None:
    db = open_db(tmp_path)
    asked: list[str] = []
    db._connection.set_trace_callback(asked.append)
    db.draws(1)
    db.open_draws("wanted")
    db.verdict_counts(1)
    db.newest_documents("verdict", 1, 9)
    db.pins_upto(3, {1, 2}, 9)
    db.pin_to_ask_for()
    db.pin_to_give_up()
    db.documents("plan", round_=1)
    db.record_anchors(1)
    db.anchors(round_=1)
    db.last_round("plan")
    db._connection.set_trace_callback(None)
    for sql in asked:
        plan = " ".join(str(row[3]) for row in db.read(f"EXPLAIN QUERY PLAN {sql}"))
        assert "SCAN" not in plan or "USING INDEX pins_to_" in plan, f"{sql}: {plan}"
