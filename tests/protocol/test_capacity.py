"""How many rounds a report credits: the formula beside the files that rounds of so many members have."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from commonweight.protocol.capacity import EVIDENCE_BYTES, EVIDENCE_FILES, most_members, most_rounds
from commonweight.protocol.documents import Signed
from commonweight.protocol.evidence import MAX_BYTES, MAX_FILES, Evidence, RoundFiles
from commonweight.protocol.records import (
    Commitment,
    CommittedPart,
    Counted,
    Link,
    MeasuredLink,
    Plan,
    PlanMember,
    Receipt,
    Record,
    Result,
    Verdict,
)

pytestmark = pytest.mark.unit
EVIDENCE = Path(__file__).resolve().parents[1] / "golden" / "evidence"


def golden() -> RoundFiles:
    files = {
        path.relative_to(EVIDENCE).as_posix(): path.read_bytes() for path in EVIDENCE.rglob("*") if path.is_file()
    }
    return Evidence.load(files).rounds[1]


def like(signed: Signed, body: Plan | Record | Commitment | Receipt | Result | Verdict) -> Signed:
    return Signed(signed.kind, body.to_body(), signed.signature)


def round_of(members: int, signers: int, topology: str) -> RoundFiles:
    """A round of as many members with figures as they may be, in which every other member has a verdict."""
    made, dice = golden(), random.Random(7)
    parts = 1 if topology == "star" else members
    plan, record = Plan.from_body(made.plan.body), Record.from_body(made.record.body)
    commitment, entry = Commitment.from_body(made.commitments[0].body), record.counted[0]
    receipt, result = Receipt.from_body(made.receipts[0][1].body), Result.from_body(made.results[0].body)
    verdict = Verdict.from_body(made.verdicts[0].body)

    def digest() -> str:
        return f"0x{dice.randbytes(32).hex()}"

    def measured() -> tuple[int, int, int]:
        return dice.randrange(10**5, 10**7), dice.randrange(10**4, 10**6), dice.randrange(10**3, 10**5)

    everyone = range(members)
    links = {(by, i): measured() for by in everyone for i in everyone if by != i and topology != "star"}
    results = () if topology == "star" else tuple(
        replace(result, part=by, reducer=by, members=tuple(everyone), digest=digest(),
                links=tuple(Link(i, *links[by, i]) for i in everyone if i != by))
        for by in everyone
    )  # fmt: skip
    counted = tuple(Counted(i, digest(), 30, 23_040, digest(), entry.payload_cid) for i in everyone)
    turns = tuple(everyone) if topology != "star" else ()
    return RoundFiles(
        like(made.plan, replace(plan, members=tuple(PlanMember(i, 30, 10**6 + i) for i in everyone), h=30, parts=parts,
                                reducers=turns, backups=turns[1:] + turns[:1])),
        like(made.record, replace(record, counted=counted, refused=(), missing=(),
                                  results=tuple(digest() for _ in range(parts)),
                                  links=tuple(MeasuredLink(*pair, *found) for pair, found in links.items()))),
        tuple(
            like(made.commitments[0], replace(commitment, index=i, parts=tuple(
                CommittedPart(digest(), dice.random()) for _ in range(parts)
            )))
            for i in everyone
        ),
        tuple((f"0x{by:040x}", like(made.receipts[0][1], replace(receipt, index=i)))
              for i in everyone for by in range(signers)),
        tuple(like(made.results[0], each) for each in results),
        tuple(like(made.verdicts[0], replace(verdict, index=i)) for i in everyone[::2]),
        made.manifest,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("members", "signers", "topology"),
    [(4, 3, "butterfly"), (40, 4, "butterfly"), (100, 4, "butterfly"), (100, 21, "butterfly"), (300, 4, "star")],
)
def test_a_report_holds_as_many_rounds_as_is_said(members: int, signers: int, topology: str) -> None:
    made = round_of(members, signers, topology)
    assert Plan.from_body(made.plan.body).parts == len(Record.from_body(made.record.body).results)
    files, size = made.size
    said, held = most_rounds(members, signers, topology), min(EVIDENCE_FILES // files, EVIDENCE_BYTES // size)
    assert 0.8 * held < said <= 1.1 * held


def test_there_is_always_room_for_one_round_and_for_what_is_not_of_rounds() -> None:
    for signers, topology in ((1, "butterfly"), (40, "butterfly"), (3, "star"), (21, "star")):
        assert most_rounds(10**6, signers, topology) == most_rounds(most_members(signers, topology), signers, topology)
        assert most_rounds(10**6, signers, topology) >= 1
    assert MAX_FILES - EVIDENCE_FILES >= 10_000
    assert MAX_BYTES - EVIDENCE_BYTES >= 10**7
