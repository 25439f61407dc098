"""Plans of many members: whatever comes of a round can be read."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commonweight.protocol.canonical import MAX_BYTES, dumps
from commonweight.protocol.capacity import MOST_RECEIPTS, most_members, part_count
from commonweight.protocol.documents import Signed
from commonweight.protocol.exchange_documents import MOST_MEASURED
from commonweight.protocol.fields import U32
from commonweight.protocol.offences import Blob
from commonweight.protocol.records import Commitment, Counted, MeasuredLink, Plan, PlanMember, Receipt, Record
from oracle.pace import Pace
from oracle.planning import make_plan
from tests.oracle.office import RUN, Chain, Office

pytestmark = pytest.mark.unit
EVIDENCE = Path(__file__).resolve().parents[1] / "golden" / "evidence"


def golden(kind: str) -> Signed:
    return Signed.from_bytes(next(iter(sorted((EVIDENCE / kind).glob("*.json")))).read_bytes())


MOST, MOST_IN_A_STAR = most_members(3, "butterfly"), most_members(3, "star")
EVEN_MORE = most_members(21, "star")


@pytest.mark.parametrize(
    ("members", "signers"), [(60, 3), (MOST, 3), (500, 3), (1000, 9), (MOST_IN_A_STAR, 3), (EVEN_MORE, 21)]
)
def test_record_and_roster_of_as_many_as_a_plan_takes_can_be_read(members: int, signers: int) -> None:
    parts = part_count(members, signers, 10**6)
    assert (parts == members) is (members <= MOST), "in a butterfly all members have a part each"
    record, commitment, receipt = golden("records"), golden("commitments"), golden("receipts")
    digest, cid = record.digest, Record.from_body(record.body).checkpoint_cid
    indices = range(U32 - members, U32)
    full = replace(
        Record.from_body(record.body),
        counted=tuple(Counted(i, digest, 100_000, 2**40, digest, cid) for i in indices),
        refused=(), missing=(), results=(digest,) * parts,
        links=tuple(
            MeasuredLink(by, i, MOST_MEASURED, MOST_MEASURED, 10**9)
            for by in indices[:parts] for i in indices if by != i
        ),
    )  # fmt: skip
    raw = Signed(Record.KIND, full.to_body(), record.signature).to_bytes()
    assert Record.from_body(Signed.from_bytes(raw).body) == full
    body = Commitment.from_body(commitment.body)
    trace = replace(body.trace, first_proof=(digest,) * 10, last_proof=(digest,) * 10)
    each = Signed(
        Commitment.KIND, replace(body, parts=(body.parts[0],) * parts, trace=trace).to_body(), commitment.signature
    )
    one = len(dumps(each.to_json())) + signers * (len(dumps(golden("receipts").to_json())) + 70) + 200
    assert one * members < MAX_BYTES
    assert members * signers <= MOST_RECEIPTS
    plan = golden("plans")
    planned = tuple(PlanMember(i, 100_000, 2**50, 2**50) for i in indices)
    whole = replace(Plan.from_body(plan.body), members=planned, reducers=(U32,) * parts, backups=(U32,) * parts)
    named = Blob(f"part-{U32}", digest, cid).to_json()
    evidence = [Signed(Plan.KIND, whole.to_body(), plan.signature).to_bytes(), raw, dumps(named) * members]
    assert sum(map(len, evidence)) + (len(each.to_bytes()) + 200) * members < MAX_BYTES, "so can what proves it false"
    assert Receipt.from_body(receipt.body)


def test_of_too_many_members_all_get_their_turn(tmp_path: Path) -> None:
    office, most = Office(tmp_path, Chain()), most_members(21, "butterfly")
    assert part_count(most, 21, 10**6) == most
    ready, planned = range(3 * most + 7), set[int]()
    common: dict[str, Any] = {
        "campaign": RUN, "config": office.seat.config, "params": office.params, "pace": Pace(1000, 1000, 1000),
        "base": "0x" + "ab" * 32, "base_cid": "bafybase", "previous_record": None, "step_us": {}, "now_ms": 0,
    }  # fmt: skip
    previous: Plan | None = None
    for _ in range(5):
        previous = make_plan(previous=previous, members=ready, signers=21, **common)
        assert len(previous.members) == most
        assert Plan.from_body(previous.to_body()) == previous
        planned |= set(previous.indices)
    assert planned == set(ready)
    some = make_plan(previous=previous, members=[4, 9], signers=21, **common)
    assert some.indices == (4, 9)
