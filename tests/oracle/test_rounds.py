"""What a signer holds parsed of its documents is bounded by their bytes, and reading is the same for it."""

from pathlib import Path

import pytest

from commonweight.protocol.records import Commitment, Plan
from oracle import rounds as module
from oracle.rounds import Rounds
from tests.oracle.office import Chain, Crew, Office
from tests.oracle.test_coordinator import play

pytestmark = pytest.mark.unit


async def test_documents_are_held_parsed_up_to_so_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    office, crew = Office(tmp_path, Chain(), max_rounds=2), {i: Crew(i) for i in range(3)}
    for _ in range(2):
        await play(office, crew)
    whole, bounded = (Rounds(office.seat.db) for _ in range(2))

    def read(rounds: Rounds) -> list[list[str]]:
        return [[doc.digest for kind in (Plan, Commitment) for doc in rounds._all(kind, n)] for n in (1, 2)]

    everything = read(whole)
    assert whole._cached == sum(len(doc.signed.to_bytes()) for doc, _ in whole._cache.values())  # type: ignore[attr-defined]
    assert len(whole._cache) == 8
    monkeypatch.setattr(module, "_CACHED", whole._cached // 2)
    assert read(bounded) == read(bounded) == everything
    assert bounded._cached <= whole._cached // 2
    assert 0 < len(bounded._cache) < 8
    assert bounded._cached == sum(size for _, size in bounded._cache.values())
    monkeypatch.setattr(module, "_CACHED", 10)
    assert read(bounded) == everything, "one larger than the bound is read all the same"
    assert bounded._cached == len(bounded._cache) == 0
