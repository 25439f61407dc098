"""The server's ledger: nothing is served unpaid, nothing is charged twice, and a crash loses nothing."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commonweight.errors import InferenceError, PaymentRefused
from commonweight.protocol.x402 import Reason
from inference.metering import Delivered, Ledger, Reservation, price
from tests.inference.parts import CHANNEL, REQUEST, facts, voucher

pytestmark = pytest.mark.unit


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger.sqlite")
    made.observe(facts(deposited=1000))
    yield made
    made.close()


def reserve(ledger: Ledger, ceiling: int, maximum: int, request: str = REQUEST) -> Reservation:
    taken = ledger.reserve(voucher(ceiling), request, maximum, "note")
    assert isinstance(taken, Reservation)
    return taken


def refused(ledger: Ledger, ceiling: int, maximum: int, request: str = REQUEST) -> str:
    with pytest.raises(PaymentRefused) as error:
        ledger.reserve(voucher(ceiling), request, maximum, "note")
    return error.value.code


def receipt(before: int, sequence: int) -> bytes:
    return f"{before}/{sequence}".encode()


def test_every_token_has_the_price() -> None:
    assert price(3, 4, 10) == 70


def test_a_voucher_must_cover_charged_reserved_and_maximum(ledger: Ledger) -> None:
    first = reserve(ledger, 100, 100)
    assert refused(ledger, 199, 100) == Reason.AMOUNT_MISMATCH
    reserve(ledger, 200, 100)
    ledger.charge(first, 40, receipt, None)
    assert refused(ledger, 239, 100) == Reason.AMOUNT_MISMATCH
    reserve(ledger, 240, 100)


def test_the_actual_price_is_charged_and_the_rest_is_free_again(ledger: Ledger) -> None:
    ledger.charge(reserve(ledger, 100, 100), 40, receipt, None)
    account = ledger.account(CHANNEL)
    assert account is not None
    assert (account.charged, account.reserved, account.ceiling, account.unsettled, account.sequence) == (
        40,
        0,
        100,
        40,
        1,
    )


def test_the_deposit_bounds_everything_and_a_requested_withdrawal_counts_as_spent(ledger: Ledger) -> None:
    assert refused(ledger, 1001, 1001) == Reason.EXCEEDS_BALANCE
    ledger.observe(facts(deposited=1000, withdrawal_amount=950, withdrawal_at=1_003_600))
    assert refused(ledger, 51, 51) == Reason.EXCEEDS_BALANCE
    reserve(ledger, 50, 50)
    ledger.observe(facts(deposited=1000))
    reserve(ledger, 1000, 950)


def test_a_voucher_pays_for_one_request_only(ledger: Ledger) -> None:
    ledger.charge(reserve(ledger, 100, 100), 10, receipt, "the answer")
    assert refused(ledger, 100, 50, request="0x" + "bb" * 32) == Reason.VOUCHER_USED


def test_the_same_request_with_the_same_voucher_gets_the_same_answer_at_no_further_charge(ledger: Ledger) -> None:
    reservation = reserve(ledger, 100, 100)
    assert refused(ledger, 100, 100) == Reason.CHANNEL_BUSY
    ledger.charge(reservation, 10, receipt, "the answer")
    again = ledger.reserve(voucher(100), REQUEST, 100, "note")
    assert again == Delivered(reservation.request_id, b"0/1", "the answer")
    account = ledger.account(CHANNEL)
    assert account is not None and account.charged == 10
    ledger.forget_answers(-1)
    assert ledger.reserve(voucher(100), REQUEST, 100, "note") == Delivered(reservation.request_id, b"0/1", None)


def test_a_released_request_costs_nothing_and_its_voucher_stays_used(ledger: Ledger) -> None:
    ledger.release(reserve(ledger, 100, 100))
    account = ledger.account(CHANNEL)
    assert account is not None and (account.charged, account.reserved) == (0, 0)
    assert refused(ledger, 100, 100) == Reason.VOUCHER_USED
    reserve(ledger, 101, 100)


def test_vouchers_may_arrive_out_of_order(ledger: Ledger) -> None:
    reserve(ledger, 200, 100)
    reserve(ledger, 100, 100)
    account = ledger.account(CHANNEL)
    assert account is not None and (account.ceiling, account.reserved) == (200, 200)


def test_a_request_is_charged_once_and_never_above_its_maximum(ledger: Ledger) -> None:
    reservation = reserve(ledger, 100, 100)
    with pytest.raises(InferenceError):
        ledger.charge(reservation, 101, receipt, None)
    ledger.charge(reservation, 100, receipt, None)
    with pytest.raises(InferenceError):
        ledger.charge(reservation, 1, receipt, None)
    ledger.release(reservation)
    account = ledger.account(CHANNEL)
    assert account is not None and account.charged == 100


def test_a_failure_to_sign_charges_nothing(ledger: Ledger) -> None:
    reservation = reserve(ledger, 100, 100)

    def fails(before: int, sequence: int) -> bytes:
        raise ValueError

    with pytest.raises(ValueError):
        ledger.charge(reservation, 50, fails, None)
    account = ledger.account(CHANNEL)
    assert account is not None and (account.charged, account.reserved) == (0, 100)


def test_receipts_are_numbered_and_paged(ledger: Ledger) -> None:
    for ceiling in (100, 200, 300):
        ledger.charge(reserve(ledger, ceiling, 50), 30, receipt, None)
    assert ledger.receipts(CHANNEL, 0, 2) == [b"0/1", b"30/2"]
    assert ledger.receipts(CHANNEL, 2, 2) == [b"60/3"]


def test_amounts_beyond_64_bits_are_exact(ledger: Ledger) -> None:
    huge = 2**200 + 1
    ledger.observe(facts(deposited=2**210))
    ledger.charge(reserve(ledger, huge, huge), huge, receipt, None)
    reserve(ledger, huge + 7, 7)
    account = ledger.account(CHANNEL)
    assert account is not None and (account.charged, account.reserved) == (huge, 7)


def test_a_channel_that_the_chain_refuses_takes_no_more_requests(ledger: Ledger) -> None:
    ledger.refuse(CHANNEL, "BadSignature")
    assert refused(ledger, 100, 100) == Reason.CHANNEL_REFUSED
    ledger.refuse(CHANNEL, "")
    reserve(ledger, 100, 100)


def test_the_chain_is_right_when_it_has_settled_more(ledger: Ledger) -> None:
    assert ledger.observe(facts(deposited=1000, settled=300)).charged == 300
    assert refused(ledger, 399, 100) == Reason.AMOUNT_MISMATCH
    reserve(ledger, 400, 100)


def test_channels_that_owe_are_those_with_money_charged_and_not_settled_for_good(ledger: Ledger) -> None:
    reservation = reserve(ledger, 100, 100)
    assert ledger.owing(0) == []
    ledger.charge(reservation, 60, receipt, None)
    assert [a.unsettled for a in ledger.owing(60)] == [60] and ledger.owing(61) == []
    ledger.refuse(CHANNEL, "BadSignature")
    assert ledger.owing(0) == []
    ledger.refuse(CHANNEL, "")
    ledger.observe(facts(deposited=1000, settled=60, settled_final=0))
    assert [a.unsettled for a in ledger.owing(60)] == [0], "a reorganisation can still undo it"
    ledger.observe(facts(deposited=1000, settled=60))
    assert ledger.owing(0) == []


PARTIAL = {"open_requests", "kept_answers", "owing_for_good"}


def test_no_statement_reads_a_whole_table(ledger: Ledger) -> None:
    """Requests are kept for ever: a table may be gone through only by an index of the few rows that matter."""
    said: set[str] = set()
    with ledger._db.reading() as db:
        db.set_trace_callback(said.add)
    first = reserve(ledger, 100, 100)
    ledger.sent(first.request_id, 1, REQUEST)
    assert len(ledger.open_requests()) == 1
    ledger.charge(first, 60, receipt, "the answer")
    ledger.release(reserve(ledger, 200, 100))
    assert ledger.receipts(CHANNEL, 0, 1) and ledger.account(CHANNEL) and ledger.owing(1)
    ledger.observe(facts(deposited=1000, settled=70))
    ledger.refuse(CHANNEL, "BadSignature")
    ledger.forget_answers(-1)
    with ledger._db.reading() as db:
        db.set_trace_callback(None)
        plans = {
            (statement, step)
            for statement in said - {"BEGIN IMMEDIATE", "COMMIT"}
            for (*_, step) in db.execute(f"EXPLAIN QUERY PLAN {statement}")
        }
    assert len(plans) > 10
    scans = {(statement, step) for statement, step in plans if step.startswith("SCAN")}
    assert {plan for plan in scans if plan[1].split()[-1] not in PARTIAL} == set()


_FIRST_SCHEMA = """
CREATE TABLE channels (
  id TEXT PRIMARY KEY, payer TEXT NOT NULL, delay_s INTEGER NOT NULL,
  deposited TEXT NOT NULL, settled TEXT NOT NULL, withdrawal_amount TEXT NOT NULL, withdrawal_at INTEGER NOT NULL,
  chain_time INTEGER NOT NULL, read_at REAL NOT NULL,
  ceiling TEXT NOT NULL DEFAULT '0', signature BLOB NOT NULL DEFAULT x'',
  charged TEXT NOT NULL DEFAULT '0', sequence INTEGER NOT NULL DEFAULT 0, refused TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE requests (
  id INTEGER PRIMARY KEY, channel TEXT NOT NULL REFERENCES channels(id), ceiling TEXT NOT NULL,
  request_sha256 TEXT NOT NULL, maximum TEXT NOT NULL, note TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('open', 'charged', 'released')),
  sent_tokens INTEGER NOT NULL DEFAULT 0, sent_sha256 TEXT NOT NULL DEFAULT '',
  receipt BLOB NOT NULL DEFAULT x'', answer TEXT, sequence INTEGER, changed_at REAL NOT NULL,
  UNIQUE (channel, ceiling), UNIQUE (channel, sequence)
) STRICT;
CREATE INDEX open_requests ON requests(channel) WHERE state = 'open';
CREATE INDEX owing ON channels(id, charged, settled) WHERE charged != settled AND refused = '';
"""


def test_a_ledger_of_the_first_schema_goes_on(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "old.sqlite")
    old.executescript(_FIRST_SCHEMA)
    old.execute("INSERT INTO channels VALUES (?,'p',1,'9','0','0',0,0,0.0,'5',x'',3,1,'')", (CHANNEL.hex(),))
    old.execute(
        "INSERT INTO requests VALUES (1,?,'5',?,'3','','charged',0,'',x'01','text',1,0.0)", (CHANNEL.hex(), "r")
    )
    old.commit()
    old.close()
    ledger = Ledger(tmp_path / "old.sqlite")
    assert ledger.receipts(CHANNEL, 0, 10) == [b"\x01"]
    ledger.forget_answers(0)
    assert ledger.reserve(voucher(5), "r", 3, "") == Delivered(1, b"\x01", None)
    with ledger._db.reading() as db:
        indices = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    assert indices >= PARTIAL and "owing" not in indices
    assert [(a.charged, a.facts.settled_final) for a in ledger.owing(1)] == [(3, 0)]
    ledger.close()
    Ledger(tmp_path / "old.sqlite").close()


def test_many_answers_are_forgotten_in_pieces_between_which_others_write(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.metering._FORGET_AT_ONCE", 5)
    for ceiling in range(1, 12):
        ledger.charge(reserve(ledger, ceiling, 1, f"0x{ceiling:064x}"), 1, receipt, "text")
    said: list[str] = []
    with ledger._db.reading() as db:
        db.set_trace_callback(said.append)
    ledger.forget_answers(-1)
    assert said.count("COMMIT") == 3
    with ledger._db.reading() as db:
        assert db.execute("SELECT count(*) FROM requests WHERE answer IS NOT NULL").fetchone() == (0,)
    assert len(ledger.receipts(CHANNEL, 0, 100)) == 11


def test_one_ledger_has_one_process(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match="in use"):
        Ledger(tmp_path / "ledger.sqlite")


def test_a_file_that_is_no_ledger_is_an_error_by_name(tmp_path: Path) -> None:
    (tmp_path / "other.sqlite").write_bytes(b"not a database at all, but long enough to be looked at" * 100)
    for _ in range(2):  # the lock is given back
        with pytest.raises(InferenceError, match="cannot be opened"):
            Ledger(tmp_path / "other.sqlite")


def test_threads_on_one_channel_never_take_more_than_is_signed_or_deposited(ledger: Ledger) -> None:
    taken: list[int] = []
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        for step in range(10):
            try:
                reservation = ledger.reserve(voucher(900 + number * 10 + step), f"0x{number:032x}{step:032x}", 30, "")
            except PaymentRefused:
                continue
            assert isinstance(reservation, Reservation)
            ledger.charge(reservation, 30, receipt, None)
            taken.append(30)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    account = ledger.account(CHANNEL)
    assert account is not None
    assert account.charged == sum(taken) <= 980 and account.reserved == 0
    assert account.charged > 980 - 60
    assert len(ledger.receipts(CHANNEL, 0, 1000)) == len(taken) == account.sequence


_CRASHER = """
import os, signal, sys
from pathlib import Path
from inference.metering import Ledger
from tests.inference.parts import facts, voucher
ledger = Ledger(Path(sys.argv[1]))
ledger.observe(facts(deposited=1000))
done = ledger.reserve(voucher(100), "0x" + "01" * 32, 100, "first")
ledger.charge(done, 70, lambda before, sequence: b"receipt", "text")
cut = ledger.reserve(voucher(200), "0x" + "02" * 32, 100, "second")
ledger.sent(cut.request_id, 4, "0x" + "04" * 32)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_loses_neither_voucher_nor_charge(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ended = subprocess.run([sys.executable, "-c", _CRASHER, str(path)], cwd=Path.cwd(), check=False)
    assert ended.returncode == -signal.SIGKILL
    ledger = Ledger(path)
    account = ledger.account(CHANNEL)
    assert account is not None
    assert (account.charged, account.reserved, account.ceiling) == (70, 100, 200)
    assert account.signature == voucher(200).signature
    (cut,) = ledger.open_requests()
    assert (cut.note, cut.ceiling, cut.maximum, cut.sent_tokens, cut.sent_sha256) == (
        "second",
        200,
        100,
        4,
        "0x" + "04" * 32,
    )
    assert refused(ledger, 100, 10, request="0x" + "03" * 32) == Reason.VOUCHER_USED
    assert ledger.receipts(CHANNEL, 0, 10) == [b"receipt"]
    ledger.close()


def test_commits_wait_for_the_disk(ledger: Ledger, tmp_path: Path) -> None:
    """FULL is 2: SQLite syncs its log at each commit, also against loss of power."""
    with ledger._db.reading() as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
    other = sqlite3.connect(tmp_path / "ledger.sqlite")
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 2000), st.integers(1, 300), st.sampled_from(["charge", "release", "leave", "observe"])
        ),
        max_size=25,
    )
)
def test_whatever_happens_the_charges_stay_within_what_is_signed_and_deposited(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, str]]
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "ledger.sqlite")
    ledger.observe(facts(deposited=1000))
    signed = charged = 0
    for at, (ceiling, maximum, then) in enumerate(steps):
        if then == "observe":
            ledger.observe(facts(deposited=1000, settled=charged // 2))
            continue
        try:
            taken = ledger.reserve(voucher(ceiling), f"0x{at:064x}", maximum, "")
        except PaymentRefused:
            continue
        assert isinstance(taken, Reservation)
        signed = max(signed, ceiling)
        if then == "charge":
            ledger.charge(taken, maximum - 1, receipt, None)
            charged += maximum - 1
        elif then == "release":
            ledger.release(taken)
        account = ledger.account(CHANNEL)
        assert account is not None
        assert account.charged == charged
        assert account.charged + account.reserved <= min(1000, signed)
        assert account.ceiling == signed and account.signature == voucher(signed).signature
    ledger.close()


def test_the_lock_is_released_with_the_process(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    Ledger(path).close()
    assert os.access(path, os.R_OK)


def pages(ledger: Ledger, most: int) -> None:
    """Let the file have so many pages at most, as a disk that is full would; 0 for as many as it has."""
    with ledger._db.reading() as db:
        db.execute(f"PRAGMA max_page_count = {most or 1}")


def test_a_full_disk_is_an_error_by_name_and_leaves_nothing_half_done(ledger: Ledger) -> None:
    pages(ledger, 0)
    taken = 0
    with pytest.raises(InferenceError, match=r"cannot be used.*full"):
        for taken in range(10_000):
            reserve(ledger, taken + 1, 0)
    pages(ledger, 10**6)
    account = ledger.account(CHANNEL)
    assert account is not None and (account.ceiling, len(ledger.open_requests())) == (taken, taken)
    reserve(ledger, taken + 1, 0)
