"""What a signer keeps does not grow with the rounds: it lets go of what final reports have come to."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commonweight.errors import PeerRefused
from commonweight.protocol.documents import Signed
from oracle.books import close_books
from oracle.phases import SendAnchor
from tests.oracle.office import Chain, Crew, Office, commit, upload
from tests.oracle.test_coordinator import gather, play, until

pytestmark = pytest.mark.unit


def names(office: Office) -> set[str]:
    folders = ("files", "payloads")
    return {path.name for name in folders for path in (office.seat.settings.data_dir / name).iterdir()}


def reported(office: Office, epoch: int, rounds: list[int], *, final: bool) -> None:
    """A report of these rounds is on chain."""
    office.seat.db.add_report(epoch, 0, bytes([epoch]) * 32, rounds)
    seen: Any = office.desk.view
    reports = {**seen.reports, epoch: SimpleNamespace(digest=bytes([epoch]) * 32)}
    office.desk.seen = replace(seen, reports=reports, final={**seen.final, epoch: final})


async def test_parts_of_reported_rounds_go_and_those_of_later_ones_stay(tmp_path: Path) -> None:
    office, crew = Office(tmp_path, Chain(), max_rounds=3), {i: Crew(i) for i in range(3)}
    kept = []
    for number in (1, 2, 3):
        if number == 2:  # one whose payload never comes whole: its parts are here all the same
            await gather(office, crew)
            for member in crew.values():
                await commit(office, member)
            await until(office, SendAnchor)
            signed, plan = office.plan()
            office.chain.now_ms = plan.anchor_by_ms + 1100
            for member in (crew[0], crew[1]):
                await upload(office, member)
            message, data = crew[2].part(signed, plan, 0)
            params = {"round": plan.round, "part": 0, "message": message.to_json()}
            await office.api.payload(crew[2].request("payload", params, data))
            while office.desk.rounds.record(2) is None:
                await office.step()
            assert {entry.index for entry in office.record(2).missing} == {2}
        else:
            await play(office, crew)
        kept.append(names(office))
    assert kept[0] < kept[1] < kept[2]
    reported(office, 0, [1, 2], final=False)
    close_books(office.desk)
    assert names(office) == kept[2]
    reported(office, 0, [1, 2], final=True)
    close_books(office.desk)
    assert names(office) == kept[2] - kept[1]
    assert office.seat.db.payload(2, 2) == {}
    assert len(office.seat.db.payload(3, 0)) == office.plan()[1].parts


async def test_a_late_commitment_is_noted_for_the_round_of_its_plan_alone(tmp_path: Path) -> None:
    office, crew = Office(tmp_path, Chain(), max_rounds=2), {i: Crew(i) for i in range(3)}
    await gather(office, crew)
    await office.step()
    signed, plan = office.plan()
    held = office.desk.checkpoints.get(plan.base, plan.base_cid)
    commitment = crew[0].work(office.config, signed, plan, held.checkpoint)
    office.chain.now_ms = plan.commit_by_ms + 60_000
    for number in range(50):
        forged = Signed(commitment.kind, {**commitment.body, "round": 2**40 + number}, commitment.signature)
        with pytest.raises(PeerRefused):
            await office.api.commit(crew[0].request("commit", {"commitment": forged.to_json()}))
    assert office.seat.db.read("SELECT count(*) FROM late")[0][0] == 1
    assert list(office.seat.db.late(plan.round)) == [0]
