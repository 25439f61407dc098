"""The payer's purse: no ceiling twice, and no charge that was not promised."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from commonweight.errors import PaymentError
from commonweight.protocol.fields import digest_bytes
from inference.purse import Book, Purse, Standing
from inference.receipts import Served
from tests.inference.golden import served
from tests.inference.parts import CHANNEL, REQUEST

pytestmark = pytest.mark.unit


ERA, LATER = b"\x01" * 32, b"\x02" * 32


@pytest.fixture
def purse(tmp_path: Path) -> Iterator[Book]:
    made = Purse(tmp_path / "purse.sqlite")
    made.book(ERA).adopt(CHANNEL, 0, 0, 0)
    yield made.book(ERA)
    made.close()


def receipt(sequence: int, ceiling: int, amount: int, cumulative: int, request: str = REQUEST) -> Served:
    return replace(
        served(), sequence=sequence, ceiling=ceiling, amount=amount, cumulative=cumulative,
        request_sha256=digest_bytes(request),
    )  # fmt: skip


def test_a_ceiling_covers_what_was_spent_what_is_open_and_the_request(purse: Book) -> None:
    assert purse.promise(CHANNEL, REQUEST, 100) == 100
    assert purse.promise(CHANNEL, REQUEST, 50) == 150
    assert purse.count(receipt(1, 100, 30, 30), "first")
    assert purse.standing(CHANNEL) == Standing(1, 30, 150, 50)
    assert purse.promise(CHANNEL, REQUEST, 10) == 151, "a ceiling always grows"
    assert purse.promise(CHANNEL, REQUEST, 1000) == 1090


def test_a_failed_promise_is_free_again_but_its_ceiling_is_not(purse: Book) -> None:
    first = purse.promise(CHANNEL, REQUEST, 100)
    purse.fail(CHANNEL, first)
    assert purse.promise(CHANNEL, REQUEST, 100) == 101
    purse.fail(CHANNEL)
    assert purse.standing(CHANNEL) == Standing(0, 0, 101, 0)
    assert purse.count(receipt(1, first, 100, 100), "late"), "a receipt for it that comes later still counts"


def test_open_promises_are_found_without_reading_the_others(purse: Book) -> None:
    said: set[str] = set()
    with purse._purse.transaction() as db:
        db.set_trace_callback(said.add)
    purse.promise(CHANNEL, REQUEST, 100)
    purse.fail(CHANNEL)
    with purse._purse.transaction() as db:
        db.set_trace_callback(None)
        (reads,) = [s for s in said if s.startswith("SELECT maximum")]
        (fails,) = [s for s in said if s.startswith("UPDATE promises")]
        for statement in (reads, fails):
            ((*_, plan),) = db.execute(f"EXPLAIN QUERY PLAN {statement}")
            assert "INDEX open_promises" in plan


def test_what_was_promised_survives_a_restart(purse: Book, tmp_path: Path) -> None:
    purse.promise(CHANNEL, REQUEST, 100)
    file = Purse(tmp_path / "purse.sqlite")
    again = file.book(ERA)
    assert again.standing(CHANNEL) == Standing(0, 0, 100, 100)
    assert again.adopt(CHANNEL, 9, 9, 9) == Standing(0, 0, 100, 100), "a known channel is not begun again"
    file.close()


def test_a_chain_that_begins_anew_has_a_book_of_its_own(purse: Book, tmp_path: Path) -> None:
    """A development chain has the same chain id, addresses and channels every time."""
    purse.promise(CHANNEL, REQUEST, 100)
    purse.count(receipt(1, 100, 30, 30), "then")
    file = Purse(tmp_path / "purse.sqlite")
    later = file.book(LATER)
    assert later.standing(CHANNEL) is None
    later.adopt(CHANNEL, 0, 0, 0)
    assert later.promise(CHANNEL, REQUEST, 100) == 100
    assert later.count(receipt(1, 100, 40, 40), "now")
    assert (later.standing(CHANNEL), purse.standing(CHANNEL)) == (Standing(1, 40, 100, 0), Standing(1, 30, 100, 0))
    file.close()


def test_receipts_count_in_order_and_once(purse: Book) -> None:
    for maximum in (100, 100):
        purse.promise(CHANNEL, REQUEST, maximum)
    second = receipt(2, 200, 20, 50)
    assert not purse.count(second, "second")
    assert purse.count(receipt(1, 100, 30, 30), "first")
    assert purse.count(second, "second") and purse.count(second, "second")
    assert purse.standing(CHANNEL) == Standing(2, 50, 200, 0)
    with pytest.raises(PaymentError, match="contradicts itself"):
        purse.count(second, "another")


@pytest.mark.parametrize(
    ("lie", "match"),
    [
        (receipt(1, 100, 101, 101), "more than the request could cost"),
        (receipt(1, 99, 30, 30), "was not made"),
        (receipt(1, 100, 30, 30, "0x" + "cc" * 32), "was not made"),
        (receipt(1, 100, 30, 31), "does not follow"),
    ],
)
def test_a_charge_that_was_not_promised_is_refused(purse: Book, lie: Served, match: str) -> None:
    purse.promise(CHANNEL, REQUEST, 100)
    with pytest.raises(PaymentError, match=match):
        purse.count(lie, "lie")
    assert purse.standing(CHANNEL) == Standing(0, 0, 100, 100)


def test_promises_that_failed_are_never_charged_beyond_what_was_signed(purse: Book) -> None:
    purse.promise(CHANNEL, REQUEST, 100)
    purse.fail(CHANNEL, 100)
    assert purse.promise(CHANNEL, REQUEST, 100) == 101
    purse.count(receipt(1, 101, 60, 60), "first")
    with pytest.raises(PaymentError, match="more than was signed"):
        purse.count(receipt(2, 100, 42, 102), "second")
    assert purse.count(receipt(2, 100, 41, 101), "second")


def test_one_promise_is_charged_once(purse: Book) -> None:
    purse.promise(CHANNEL, REQUEST, 100)
    purse.count(receipt(1, 100, 30, 30), "first")
    with pytest.raises(PaymentError, match="was not made"):
        purse.count(receipt(2, 100, 30, 60), "second")


def test_many_threads_and_purses_never_promise_one_ceiling_twice(purse: Book, tmp_path: Path) -> None:
    file, made = Purse(tmp_path / "purse.sqlite"), []
    other = file.book(ERA)

    def work(which: Book) -> None:
        made.extend(which.promise(CHANNEL, REQUEST, 10) for _ in range(10))

    threads = [threading.Thread(target=work, args=(which,)) for which in (purse, other, purse, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == list(range(10, 410, 10))
    file.close()


def test_an_unknown_channel_must_be_adopted_first(purse: Book) -> None:
    assert purse.standing(b"\x01" * 32) is None
    with pytest.raises(PaymentError):
        purse.promise(b"\x01" * 32, REQUEST, 1)


def test_a_file_that_is_no_purse_is_an_error_by_name(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"something else that is not a database" * 200)
    with pytest.raises(PaymentError, match="cannot be opened"):
        Purse(tmp_path / "other")


def test_a_full_disk_is_an_error_by_name_and_promises_nothing(purse: Book) -> None:
    with purse._purse._db.reading() as db:
        db.execute("PRAGMA query_only = 1")
    with pytest.raises(PaymentError, match="cannot be used"):
        purse.promise(CHANNEL, REQUEST, 100)
    with purse._purse._db.reading() as db:
        db.execute("PRAGMA query_only = 0")
    assert purse.promise(CHANNEL, REQUEST, 100) == 100
