"""Offences: each rule's evidence convinces an outsider, and none convicts the honest."""

from dataclasses import replace

import pytest

from commonweight.errors import FormatError, OffenceError, SignatureError
from commonweight.exact.offences import Context, check
from commonweight.exact.payload import make_payload
from commonweight.protocol.canonical import sha256_hex
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import digest_over
from commonweight.protocol.keys import address_of
from commonweight.protocol.offences import Blob, Offence, part_blob
from commonweight.protocol.records import Commitment, PartMessage, Receipt, Result, sign_body
from tests.golden import golden_round as g
from tests.golden import make

pytestmark = pytest.mark.unit

COORDINATOR = address_of(g.COORDINATOR_KEY)
OTHER_SIGNER_KEY = b"\x51" * 32
OTHER = "0x" + "77" * 32


@pytest.fixture
def context(made: g.GoldenRound) -> Context:
    return Context(
        g.DOMAIN, g.RUN, made.config, made.layout.numel, lambda i: {address_of(g.member_key(i))},
        {COORDINATOR, address_of(OTHER_SIGNER_KEY)},
    )  # fmt: skip


def offence(
    rule: str,
    documents: list[Signed],
    index: int | None = 2,
    signer: str | None = None,
    part: int | None = 0,
    blobs: dict[str, bytes] | None = None,
) -> tuple[Offence, dict[str, bytes]]:
    named = tuple(Blob(name, sha256_hex(data), "") for name, data in (blobs or {}).items())
    return Offence(g.RUN, rule, 1, index, signer, part, tuple(documents), named), blobs or {}


def by_member(body, index: int = 2) -> Signed:
    return sign_body(body, g.member_key(index), g.DOMAIN)


def by_coordinator(body) -> Signed:
    return sign_body(body, g.COORDINATOR_KEY, g.DOMAIN)


def part_of(made: g.GoldenRound, **changes) -> Signed:
    return by_member(replace(PartMessage.from_body(made.parts[2].body), **changes))


def refused(context: Context, case: tuple[Offence, dict[str, bytes]]) -> None:
    with pytest.raises(FormatError):
        check(*case, context)


def test_the_golden_offence_is_proven(made: g.GoldenRound, context: Context) -> None:
    check(Offence.from_body(make.offence(made).body), {}, context)


def test_a_part_that_is_not_the_committed_one_is_proven(made: g.GoldenRound, context: Context) -> None:
    lie = part_of(made, digest=OTHER)
    check(*offence("payload-mismatch", [made.plan, made.commitments[2], lie]), context)
    refused(context, offence("payload-mismatch", [made.plan, made.commitments[2], made.parts[2]]))
    refused(context, offence("payload-mismatch", [made.plan, made.commitments[2], lie], index=0))
    refused(context, offence("payload-mismatch", [made.plan, made.commitments[2]]))
    refused(context, offence("payload-mismatch", [made.plan, made.commitments[0], lie]))


def test_a_committed_part_with_another_norm_is_proven_by_its_bytes(made: g.GoldenRound, context: Context) -> None:
    body, data = made.commitment_bodies[2], made.payloads[2].parts[0]
    parts = (replace(body.parts[0], norm2=body.parts[0].norm2 * 2), *body.parts[1:])
    commitment = by_member(replace(body, parts=parts))
    case = [made.plan, commitment, made.parts[2]]
    check(*offence("payload-mismatch", case, blobs={"part-2": data}), context)
    refused(context, offence("payload-mismatch", case))
    refused(context, offence("payload-mismatch", case, blobs={"part-2": made.payloads[0].parts[0]}))
    refused(
        context, offence("payload-mismatch", [made.plan, made.commitments[2], made.parts[2]], blobs={"part-2": data})
    )
    wrong, _ = offence("payload-mismatch", case, blobs={"part-2": data})
    refused(context, (wrong, {"part-2": data + b"x"}))


@pytest.mark.parametrize("changes", [{"base": OTHER}, {"round": 3}, {"run": "0x" + "99" * 20}, {"part": 3}])
def test_work_for_another_target_is_proven(made: g.GoldenRound, context: Context, changes: dict) -> None:
    check(*offence("wrong-target", [made.plan, part_of(made, **changes)]), context)
    if "part" not in changes:
        commitment = by_member(replace(made.commitment_bodies[2], **changes))
        check(*offence("wrong-target", [made.plan, commitment]), context)


def test_stale_or_honest_work_is_no_offence(made: g.GoldenRound, context: Context) -> None:
    for document in (
        made.parts[2],
        part_of(made, plan=OTHER, base=OTHER),
        made.commitments[2],
        by_member(replace(made.commitment_bodies[2], plan=OTHER, round=3)),
    ):
        refused(context, offence("wrong-target", [made.plan, document]))


def test_a_commitment_of_another_layout_is_proven(made: g.GoldenRound, context: Context) -> None:
    body = made.commitment_bodies[2]
    check(*offence("wrong-target", [made.plan, by_member(replace(body, parts=body.parts[:2]))]), context)


@pytest.mark.parametrize("changes", [{"tokens": 1}, {"steps": 8}, {"trace": "residual"}])
def test_a_commitment_that_contradicts_itself_is_proven(made: g.GoldenRound, context: Context, changes: dict) -> None:
    body = made.commitment_bodies[2]
    if "trace" in changes:
        changes = {"trace": replace(body.trace, new_residual=OTHER)}
    check(*offence("invalid-commitment", [made.plan, by_member(replace(body, **changes))]), context)
    refused(context, offence("invalid-commitment", [made.plan, made.commitments[2]]))


def test_two_different_documents_for_one_place_are_proven(made: g.GoldenRound, context: Context) -> None:
    second = by_member(replace(made.commitment_bodies[2], base=OTHER))
    check(*offence("equivocation", [made.commitments[2], second]), context)
    check(*offence("equivocation", [made.parts[2], part_of(made, digest=OTHER)]), context)
    result = Result.from_body(made.results[1].body)
    check(*offence("equivocation", [made.results[1], by_member(replace(result, digest=OTHER))]), context)
    plans = [made.plan, by_coordinator(replace(made.plan_body, base=OTHER))]
    check(*offence("equivocation", plans, index=None, signer=COORDINATOR), context)
    refused(context, offence("equivocation", [made.commitments[2], made.commitments[2]]))
    refused(
        context, offence("equivocation", [made.commitments[2], by_member(replace(made.commitment_bodies[2], round=2))])
    )
    refused(context, offence("equivocation", [made.parts[2], part_of(made, part=1)]))
    refused(
        context, offence("equivocation", [made.results[1], by_member(replace(result, members=(0, 2), digest=OTHER))])
    )
    refused(context, offence("equivocation", [made.commitments[2], made.commitments[0]]))
    refused(context, offence("equivocation", plans, index=None, signer="0x" + "00" * 20))


def reduction(made: g.GoldenRound, **changes) -> tuple[Offence, dict[str, bytes]]:
    """A case against the reducer of part 1, member 2, with what the other members sent it."""
    result = by_member(replace(Result.from_body(made.results[1].body), **changes))
    members = changes.get("members", g.MEMBERS)
    blobs = {part_blob(i): made.payloads[i].parts[1] for i in members}
    return offence("wrong-reduction", [made.plan, result, *(made.commitments[i] for i in members)], part=1, blobs=blobs)


def test_a_wrong_reduction_is_proven_by_reducing_again(made: g.GoldenRound, context: Context) -> None:
    check(*reduction(made, digest=OTHER), context)
    two = digest_over(made.commitments[index].digest for index in (0, 2))
    check(*reduction(made, members=(0, 2), commitments=two), context)
    refused(context, reduction(made, members=(0, 2)))
    refused(context, reduction(made))
    wrong, blobs = reduction(made, digest=OTHER)
    refused(context, (replace(wrong, documents=wrong.documents[:-1]), blobs))
    refused(context, (wrong, {**blobs, "part-5": blobs["part-0"]}))
    refused(context, (replace(wrong, part=0), blobs))


def second_of_member_0(made: g.GoldenRound) -> tuple[Signed, dict[str, bytes]]:
    """A second, consistent commitment to the plan that nobody saw in the round, and all payloads of part 1 with its."""
    payload = made.payloads[2]
    body = replace(made.commitment_bodies[0], parts=payload.committed)
    blobs = {part_blob(i): made.payloads[i].parts[1] for i in g.MEMBERS} | {part_blob(0): payload.parts[1]}
    return by_member(body, 0), blobs


def test_a_second_commitment_made_afterwards_convicts_no_honest_reducer(made: g.GoldenRound, context: Context) -> None:
    second, blobs = second_of_member_0(made)
    others = [made.commitments[i] for i in g.MEMBERS if i != 0]
    refused(context, offence("wrong-reduction", [made.plan, made.results[1], second, *others], part=1, blobs=blobs))


def test_a_second_commitment_made_afterwards_convicts_no_honest_record(made: g.GoldenRound, context: Context) -> None:
    second, blobs = second_of_member_0(made)
    others = [made.commitments[i] for i in g.MEMBERS if i != 0]
    for commitments in ([second, *others], [made.commitments[0], second, *others]):
        case = offence("wrong-record", [made.plan, made.record, *commitments], None, COORDINATOR, 1, blobs)
        refused(context, case)


def test_commitments_to_two_plans_of_one_round_are_no_equivocation(made: g.GoldenRound, context: Context) -> None:
    other = by_member(replace(made.commitment_bodies[2], plan=OTHER))
    refused(context, offence("equivocation", [made.commitments[2], other]))


def test_a_wrong_record_is_proven_by_reducing_again(made: g.GoldenRound, context: Context) -> None:
    blobs = {part_blob(i): made.payloads[i].parts[1] for i in g.MEMBERS}
    for results, proven in (
        ((made.record_body.results[0], OTHER, made.record_body.results[2]), True),
        (made.record_body.results, False),
    ):
        record = by_coordinator(replace(made.record_body, results=results))
        case = offence("wrong-record", [made.plan, record, *made.commitments.values()], None, COORDINATOR, 1, blobs)
        if proven:
            check(*case, context)
        else:
            refused(context, case)
    refused(context, (replace(case[0], signer="0x" + "00" * 20), blobs))


def test_leaving_out_a_receipted_commitment_is_proven(made: g.GoldenRound, context: Context) -> None:
    body = made.record_body
    without = replace(body, counted=tuple(entry for entry in body.counted if entry.index != 2))
    denied = replace(without, missing=(replace(body.missing[0], index=2), *body.missing))
    named = replace(
        without, missing=(replace(body.missing[0], index=2, commitment=made.commitments[2].digest), *body.missing)
    )
    late = by_coordinator(
        replace(Receipt.from_body(made.receipts[2].body), received_ms=made.plan_body.commit_by_ms + 1)
    )
    another = sign_body(Receipt.from_body(made.receipts[2].body), OTHER_SIGNER_KEY, g.DOMAIN)
    for record, receipt, proven in (
        (without, another, False),
        (without, made.receipts[2], True),
        (denied, made.receipts[2], True),
        (named, made.receipts[2], False),
        (body, made.receipts[2], False),
        (without, late, False),
        (without, made.receipts[0], False),
    ):
        case = offence("omission", [made.plan, by_coordinator(record), made.commitments[2], receipt], None, COORDINATOR)
        if proven:
            check(*case, context)
        else:
            refused(context, case)


def test_an_offence_holds_nothing_but_its_proof(made: g.GoldenRound, context: Context) -> None:
    """It goes into evidence, whose room is limited: what anybody could add to another's offence is refused."""
    members = [made.commitments[i] for i in g.MEMBERS]
    second = by_member(replace(made.commitment_bodies[2], base=OTHER))
    record = by_coordinator(replace(made.record_body, results=(OTHER, *made.record_body.results[1:])))
    counted = {part_blob(i): made.payloads[i].parts[0] for i in g.MEMBERS}
    proven = [
        offence("payload-mismatch", [made.plan, made.commitments[2], part_of(made, digest=OTHER)]),
        offence("wrong-target", [made.plan, made.commitments[2], part_of(made, base=OTHER)]),
        offence("invalid-commitment", [made.plan, by_member(replace(made.commitment_bodies[2], tokens=1))]),
        offence("equivocation", [made.commitments[2], second]),
        reduction(made, digest=OTHER),
        offence("wrong-record", [made.plan, record, *members], None, COORDINATOR, 0, counted),
    ]
    for case, blobs in proven:
        check(case, blobs, context)
        for more in (made.receipts[0], Signed("tls", {"text": "x" * 1000}, "0x" + "11" * 65), second):
            refused(context, (replace(case, documents=(*case.documents, more)), blobs))
        junk = b"x" * 1000
        entry = Blob("part-9", sha256_hex(junk), "")
        refused(context, (replace(case, blobs=(*case.blobs, entry)), {**blobs, "part-9": junk}))


def test_strangers_signatures_prove_nothing(made: g.GoldenRound, context: Context) -> None:
    forged = sign_body(replace(PartMessage.from_body(made.parts[2].body), digest=OTHER), g.member_key(0), g.DOMAIN)
    with pytest.raises(SignatureError):
        check(*offence("payload-mismatch", [made.plan, made.commitments[2], forged]), context)
    plan = sign_body(made.plan_body, g.member_key(0), g.DOMAIN)
    with pytest.raises(SignatureError):
        check(*offence("wrong-target", [plan, part_of(made, base=OTHER)]), context)


def test_an_offence_of_another_run_or_round_proves_nothing(made: g.GoldenRound, context: Context) -> None:
    case, blobs = offence("wrong-target", [made.plan, part_of(made, base=OTHER)])
    for wrong in (replace(case, run="0x" + "99" * 20), replace(case, round=2)):
        with pytest.raises(OffenceError):
            check(wrong, blobs, context)


def test_an_honest_member_cannot_be_convicted_with_its_own_documents(made: g.GoldenRound, context: Context) -> None:
    documents = [made.plan, made.commitments[2], made.parts[2], made.results[1], made.receipts[2], made.record]
    blobs = {part_blob(i): made.payloads[i].parts[0] for i in g.MEMBERS}
    for rule in ("wrong-target", "payload-mismatch", "invalid-commitment", "equivocation", "wrong-reduction"):
        for part in (0, 1):
            refused(context, offence(rule, documents, part=part, blobs=blobs))


def test_the_honest_payload_is_what_was_committed(made: g.GoldenRound) -> None:
    last = made.states[2][-1]
    again = make_payload(made.parent.weights, last.weights, last.residual, 3, "int8", 8, True)
    assert again.committed == Commitment.from_body(made.commitments[2].body).parts
