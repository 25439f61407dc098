"""Recounting: a signer believes no record that it has not recomputed, and waits for what it cannot have yet."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commonweight.exact.copies import Copy
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.records import Record, sign_body
from commonweight.store import FolderStore
from oracle.db import AnchorRow
from oracle.phases import Finish
from tests.oracle.office import DOMAIN, SIGNER_KEYS, Chain, Crew, Office
from tests.oracle.test_coordinator import play, until

pytestmark = pytest.mark.unit


async def two(
    tmp_path: Path, change: dict[str, Any] | None = None, copied: tuple[int, int] | None = None, rounds: int = 1
) -> tuple[Office, Office]:
    """A coordinator after some rounds, and another signer with its documents; the record is changed if it has to be.

    In the last round, member 0 copies what `copied` names.
    """
    chain, crew = Chain(), {i: Crew(i) for i in range(3)}
    first = Office(tmp_path, chain, max_rounds=rounds)
    other = Office(tmp_path, chain, position=1, max_rounds=rounds)
    for left in reversed(range(rounds)):
        crew[0].copied = None if left else copied
        await play(first, crew)
    await until(first, Finish)
    chain.now_ms += 5000
    for row in first.seat.db.documents_after(0, 1000):
        signed = Signed.from_bytes(row.signed)
        if signed.kind == Record.KIND and change is not None:
            signed = sign_body(replace(Record.from_body(signed.body), **change), SIGNER_KEYS[0], DOMAIN)
            chain.anchors = [
                replace(a, record_hash=digest_bytes(signed.digest)) if a.record_round else a for a in chain.anchors
            ]
        other.intake.accept(signed)
    other.look()
    return first, other


async def test_an_honest_record_recomputes(tmp_path: Path) -> None:
    first, other = await two(tmp_path)
    assert await other.recount.step()
    assert other.recount.result(1) == "ok"
    assert other.recount.findings(1) == {}
    held = other.desk.checkpoints.get(first.record(1).checkpoint, "")
    assert held.manifest.round == 1


@pytest.mark.parametrize("source", [(1, 1), (2, 2)])
async def test_copied_work_is_found_in_the_round_and_in_an_older_one(tmp_path: Path, source: tuple[int, int]) -> None:
    _, other = await two(tmp_path, copied=source, rounds=2)
    while await other.recount.step():
        pass
    assert (other.recount.result(1), other.recount.result(2)) == ("ok", "ok")
    assert other.recount.alike(1) == {}
    round_, index = source
    both = {0: Copy(index, round_), index: Copy(0, round_)}
    assert other.recount.alike(2) == ({0: Copy(index, 1)} if round_ == 1 else both)
    assert other.recount.findings(2) == {}, "it is not known yet whether that is a copy"


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoint": "0x" + "ee" * 32},
        {"results": ("0x" + "ee" * 32,) * 3},
        {"epoch": 1},
        {"base": "0x" + "ee" * 32},
    ],
)
async def test_a_false_record_is_found_and_never_credited(tmp_path: Path, change: dict[str, Any]) -> None:
    _, other = await two(tmp_path, change)
    assert await other.recount.step()
    assert other.recount.result(1) == "wrong"


@pytest.mark.parametrize("holds", [False, True], ids=["from the store", "from the members"])
@pytest.mark.parametrize("named", ["", "8letters", "another"])
@pytest.mark.parametrize("what", ["payload", "checkpoint"])
async def test_a_record_that_names_what_it_counts_or_makes_by_another_cid_is_wrong_to_all_signers(
    tmp_path: Path, what: str, named: str, holds: bool
) -> None:
    """What is on a signer's own disk decides nothing: all come to the same."""
    first, _ = await two(tmp_path / "honest")
    record = first.record(1)
    if named == "another":
        named = record.counted[1].payload_cid if what == "payload" else first.desk.checkpoints.genesis().cid
    counted = (replace(record.counted[0], payload_cid=named), *record.counted[1:])
    _, other = await two(tmp_path, {"counted": counted} if what == "payload" else {"checkpoint_cid": named})
    if holds:
        shutil.copytree(tmp_path / "0" / "payloads", tmp_path / "1" / "payloads", dirs_exist_ok=True)
    assert await other.recount.step()
    assert other.recount.result(1) == "wrong"


async def test_a_checkpoint_in_another_directory_than_the_one_made_here_is_looked_at(tmp_path: Path) -> None:
    """Programs of other versions may write another config.json for other tools."""
    first, _ = await two(tmp_path / "honest")
    record = first.record(1)
    held = first.desk.checkpoints.get(record.checkpoint, "")
    files = {path.name: path.read_bytes() for path in held.folder.iterdir()} | {"config.json": b"{}"}
    (tmp_path / "store").mkdir()
    _, other = await two(tmp_path, {"checkpoint_cid": str(FolderStore(tmp_path / "store").put_directory(files))})
    assert await other.recount.step()
    assert other.recount.result(1) == "ok"


@pytest.mark.parametrize("content", [b"a file", {"manifest.json": b"{}"}, {"manifest.json/a": b""}], ids=repr)
async def test_what_is_no_checkpoint_at_all_is_a_wrong_name_and_not_waited_for(
    tmp_path: Path, content: bytes | dict[str, bytes]
) -> None:
    (tmp_path / "store").mkdir()
    store = FolderStore(tmp_path / "store")
    cid = store.put(content) if isinstance(content, bytes) else store.put_directory(content)
    _, other = await two(tmp_path, {"checkpoint_cid": str(cid)})
    assert await other.recount.step()
    assert other.recount.result(1) == "wrong"


async def test_a_payload_that_cannot_be_had_is_waited_for(tmp_path: Path) -> None:
    _, other = await two(tmp_path)
    shutil.move(tmp_path / "store", tmp_path / "elsewhere")
    (tmp_path / "store").mkdir()
    other.crash()
    other.look()
    assert not await other.recount.step()
    assert other.recount.result(1) is None
    shutil.rmtree(tmp_path / "store")
    shutil.move(tmp_path / "elsewhere", tmp_path / "store")
    other.crash()
    other.look()
    assert await other.recount.step()
    assert other.recount.result(1) == "ok"


async def test_a_hash_that_a_corrupt_signer_anchored_first_stops_nobody(tmp_path: Path) -> None:
    chain, crew = Chain(), {i: Crew(i) for i in range(3)}
    office = Office(tmp_path, chain, max_rounds=2)
    await play(office, crew)
    bogus = AnchorRow(chain.number, 7, 1, 0, 1, bytes(32), 1, b"\x66" * 32, bytes(32))
    chain.anchors.append(bogus)
    await play(office, crew)
    await until(office, Finish)
    chain.now_ms += 5000
    office.look()
    assert await office.recount.step()
    assert office.recount.result(1) == "ok"
    assert await office.recount.step()
    assert office.recount.result(2) == "ok"
    assert [a.record_round for a in chain.anchors if a.round == 2 and a.root != bytes(32)] == [1]
