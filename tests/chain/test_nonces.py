"""The record of what is in flight survives crashes, belongs to one chain, and does no harm when it is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from commonweight.chain.nonces import InFlight, NonceStore
from commonweight.errors import ChainError

pytestmark = pytest.mark.unit
ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
ENTRY = InFlight(7, ADDRESS, "0x", 1, 21000, 10, 1, ("0xaa",), 0.0)


def store(folder: Path, chain: bytes = b"\x01" * 32) -> NonceStore:
    return NonceStore(folder, 31337, chain, ADDRESS)


def test_what_is_saved_is_there_after_a_crash(tmp_path: Path) -> None:
    class Crash(Exception):
        pass

    with pytest.raises(Crash), store(tmp_path).locked() as record:
        record.in_flight[7] = ENTRY
        record.save()
        assert store(tmp_path)._read() == {7: ENTRY}  # already before the lock is left
        raise Crash
    with store(tmp_path).locked() as record:
        assert record.in_flight == {7: ENTRY}
        assert record.next_nonce == 8


def test_what_is_saved_and_taken_back_is_gone(tmp_path: Path) -> None:
    with store(tmp_path).locked() as record:
        record.in_flight[7] = ENTRY
        record.save()
        del record.in_flight[7]
    assert store(tmp_path)._read() == {}


def test_a_chain_that_began_anew_has_a_record_of_its_own(tmp_path: Path) -> None:
    with store(tmp_path).locked() as record:
        record.in_flight[7] = ENTRY
    with store(tmp_path, b"\x02" * 32).locked() as record:
        assert record.next_nonce == 0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"in_flight": [{"nonce": 1}]}', '{"in_flight": 5}'])
def test_a_damaged_record_counts_as_empty(tmp_path: Path, text: str) -> None:
    with store(tmp_path).locked() as record:
        record.in_flight[7] = ENTRY
    next(tmp_path.glob("*.json")).write_text(text)
    with store(tmp_path).locked() as record:
        assert record.in_flight == {}


def test_a_folder_that_cannot_be_made_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ChainError, match="COMMONWEIGHT_STATE_DIR"):
        store(tmp_path / "file" / "nonces")


def test_a_higher_price_keeps_all_hashes() -> None:
    again = ENTRY.repriced(20, 2, "0xbb", 5.0)
    assert (again.nonce, again.max_fee, again.tip, again.hashes, again.sent_at) == (7, 20, 2, ("0xaa", "0xbb"), 5.0)
    assert again.repriced(30, 3, "0xaa", 6.0).hashes == ("0xbb", "0xaa")
