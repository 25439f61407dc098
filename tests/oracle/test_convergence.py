"""Signers that hold the same documents see the same rounds, however these came and whenever who was restarted."""

import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from commonweight.errors import FormatError, OracleError
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.records import LeftOut, Plan, Record, sign_body
from oracle.db import AnchorRow
from tests.oracle.office import DOMAIN, SIGNER_KEYS, SIGNERS, Chain, Crew, Office
from tests.oracle.test_coordinator import copy, gather, moved, play

pytestmark = pytest.mark.unit


async def history(folder: Path) -> tuple[list[Signed], list[AnchorRow]]:
    """Three coordinators in turn, each replaced while a round of its was open; the first goes on as if nothing were."""
    chain, crew = Chain(), {i: Crew(i) for i in range(3)}
    offices = [Office(folder, chain, position, coordinator=0, max_rounds=9) for position in range(3)]
    first = offices[0]
    for place, leader in enumerate(offices):
        for _ in range(2 - place % 2):
            await play(leader, crew)
        await gather(leader, crew)
        chain.now_ms += 30_000
        for later in offices[place + 1 :]:
            later.look()
            copy(leader, later)
            later.earlier, later.leader = SIGNERS[: place + 1], SIGNERS[place + 1]
            later.crash()
    last, base = first.planned(3).body, first.record(2)
    for number in range(4, 9):
        plan = sign_body(moved(last, number, previous_record=None), SIGNER_KEYS[0], DOMAIN)
        record = sign_body(_with_nobody(base, number, plan, last), SIGNER_KEYS[0], DOMAIN)
        for document in (plan, record):
            first.seat.keep(document, SIGNERS[0], round_=number)
        chain.send(("anchorRound", number, 1, bytes(32), number, digest_bytes(record.digest)), gas=1)
    rows = [row for office in (first, offices[2]) for row in office.seat.db.documents_after(0, 1000)]
    return [Signed.from_bytes(row.signed) for row in rows], chain.anchors


def _with_nobody(like: Record, number: int, plan: Signed, planned: Plan) -> Record:
    nobody = tuple(LeftOut(i, None, "no-commitment", None) for i in planned.indices)
    names = {"epoch": planned.epoch, "plan": plan.digest, "base": planned.base, "checkpoint": planned.base}
    return replace(like, round=number, counted=(), refused=(), missing=nobody, results=(), links=(), **names)


def seen_by(folder: Path, documents: Sequence[Signed], anchors: list[AnchorRow], seed: int | None) -> list[object]:
    """What a signer makes of the documents, each of which it is brought until it has taken all that it can take."""
    shutil.rmtree(folder, ignore_errors=True)
    office, drawn = Office(folder, Chain(), position=2, max_rounds=9), random.Random(seed)
    office.chain.now_ms += 1_000_000
    office.chain.anchors = anchors
    office.look()
    left, restarts = list(documents), [len(documents) // 3, 2 * len(documents) // 3]
    if seed is not None:
        drawn.shuffle(left)
        restarts = sorted(drawn.sample(range(2 * len(left)), 2))
    leaders, brought, before = dict(zip(restarts, SIGNERS[1:], strict=True)), 0, 0
    while len(left) != before or leaders:
        waiting, before = [], len(left)
        for document in left:
            if leader := leaders.pop(brought, None):
                office.leader = leader
                office.crash()
                office.look()
            brought += 1
            try:
                office.intake.accept(document)
            except (OracleError, FormatError):  # it waits for another, or is refused, for now or for good
                waiting.append(document)
        left = waiting
    rounds = office.desk.rounds
    found: list[object] = []
    for number in range(1, 10):
        plan, record = rounds.plan(number), rounds.record(number)
        found.append((plan and plan.digest, record and record.digest, rounds.passed_over(number)))
    office.seat.db.close()
    return found


async def test_the_order_in_which_documents_come_decides_nothing(tmp_path: Path) -> None:
    documents, anchors = await history(tmp_path / "history")
    right = seen_by(tmp_path / "signer", documents, anchors, None)
    assert [kind for _, _, kind in right] == [False] * 2 + [True] + [False, True] + [False] * 2 + [False] * 2
    for seed in range(12):
        assert seen_by(tmp_path / "signer", documents, anchors, seed) == right, seed
