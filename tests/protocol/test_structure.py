"""Checks across documents: an honest round passes, and each way to break a rule has its own name."""

from dataclasses import replace

import pytest

from commonweight.errors import FormatError, RuleBroken
from commonweight.exact.trace import TraceBuilder
from commonweight.protocol import structure
from commonweight.protocol.fields import hex32
from commonweight.protocol.records import Commitment, PartMessage, Plan, PlanMember, Receipt, Record, Result
from commonweight.protocol.structure import (
    check_commitment,
    check_deadline,
    check_part_message,
    check_plan,
    check_record,
    check_result,
    check_successor,
    check_trace,
    first_states,
    next_data_start,
    receipt_in_time,
)
from commonweight.protocol.trace import final_leaf, leaf_count, leaf_steps, zero_state
from tests.golden import golden_round as g

pytestmark = pytest.mark.unit

OTHER = "0x" + "77" * 32
STRANGER = "0x" + "99" * 20


def rule_of(call, *args) -> str:
    with pytest.raises(RuleBroken) as caught:
        call(*args)
    return caught.value.rule


def test_an_honest_round_passes(made: g.GoldenRound) -> None:
    check_plan(made.plan_body, made.config, g.RUN)
    for index in g.MEMBERS:
        commitment = made.commitment_bodies[index]
        check_commitment(commitment, made.plan_body, made.plan.digest, made.config)
        check_trace(commitment, made.parent.weights_digest, made.config, None)
        check_part_message(PartMessage.from_body(made.parts[index].body), made.plan_body, made.plan.digest, commitment)
        assert receipt_in_time(Receipt.from_body(made.receipts[index].body), made.plan_body)
    for signed in made.results:
        check_result(Result.from_body(signed.body), made.plan_body, made.plan.digest)
    commitments = {made.commitments[i].digest: made.commitment_bodies[i] for i in g.MEMBERS}
    check_record(made.record_body, made.plan_body, made.plan.digest, made.config, commitments, set(commitments))


def test_a_plan_has_the_epoch_and_the_anchor_window_of_its_deadline(made: g.GoldenRound) -> None:
    plan = made.plan_body
    check_deadline(plan, 0, 4)
    early = replace(plan, anchor_by_ms=plan.commit_by_ms + 1)
    for changed, epoch in ((replace(plan, epoch=1), 0), (plan, 1), (early, 0)):
        assert rule_of(check_deadline, changed, epoch, 4) == "wrong-deadline"


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"run": STRANGER}, "wrong-run"),
        ({"config": OTHER}, "wrong-config"),
        ({"data_seed": OTHER}, "wrong-data"),
        ({"h": 11}, "wrong-config"),
        ({"codec": "fp16"}, "wrong-config"),
        ({"min_members": 1}, "wrong-config"),
        ({"members": (PlanMember(0, 10, 0), PlanMember(2, 7, 499_999))}, "wrong-data"),
    ],
)
def test_a_plan_must_fit_the_configuration(made: g.GoldenRound, changes: dict, rule: str) -> None:
    assert rule_of(check_plan, replace(made.plan_body, **changes), made.config, g.RUN) == rule


def successor(made: g.GoldenRound) -> Plan:
    members = tuple(PlanMember(i, 10, 2_500_000 + 500_000 * i) for i in g.MEMBERS)
    return replace(
        made.plan_body, round=2, base=made.record_body.checkpoint, previous_record=made.record.digest, members=members
    )


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({}, ""),
        ({"round": 3}, "wrong-round"),
        ({"base": OTHER}, "wrong-base"),
        ({"previous_record": OTHER}, "wrong-base"),
        ({"members": (PlanMember(0, 10, 2_499_999),)}, "wrong-data"),
    ],
)
def test_a_plan_must_follow_the_round_before(made: g.GoldenRound, changes: dict, rule: str) -> None:
    assert next_data_start(made.plan_body, 50_000) == 2_500_000
    args = (replace(successor(made), **changes), made.plan_body, made.record_body, made.record.digest, 50_000)
    if rule:
        assert rule_of(check_successor, *args) == rule
    else:
        check_successor(*args)


def rebuilt(commitment: Commitment, **trace: object) -> dict:
    return {"trace": replace(commitment.trace, **trace)}


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        (lambda c: {"plan": OTHER}, "wrong-plan"),
        (lambda c: {"run": STRANGER}, "wrong-run"),
        (lambda c: {"round": 2}, "wrong-round"),
        (lambda c: {"base": OTHER}, "wrong-base"),
        (lambda c: {"index": 4}, "not-a-member"),
        (lambda c: {"parts": c.parts[:2]}, "wrong-layout"),
        (lambda c: {"steps": 8}, "wrong-steps"),
        (lambda c: {"tokens": c.tokens + 1}, "wrong-tokens"),
        (lambda c: {"steps": 6, "tokens": 4_800_000}, "forged-trace"),
        (lambda c: {"parts": (replace(c.parts[0], norm2=1.1e12), *c.parts[1:])}, "norm-out-of-bounds"),
        (lambda c: {"parts": (replace(c.parts[0], digest=OTHER), *c.parts[1:])}, "forged-trace"),
        (lambda c: rebuilt(c, root=OTHER), "forged-trace"),
        (lambda c: rebuilt(c, leaves=4), "forged-trace"),
        (lambda c: rebuilt(c, new_residual=OTHER), "forged-trace"),
        (lambda c: rebuilt(c, first=replace(c.trace.first, m=OTHER)), "forged-trace"),
        (lambda c: rebuilt(c, last=replace(c.trace.last, weights=OTHER)), "forged-trace"),
        (lambda c: rebuilt(c, last=replace(c.trace.last, step=8)), "forged-trace"),
        (lambda c: rebuilt(c, last=replace(c.trace.last, residual=OTHER)), "forged-trace"),
        (lambda c: rebuilt(c, first_proof=c.trace.first_proof[:-1]), "forged-trace"),
        (lambda c: rebuilt(c, last_proof=(*c.trace.last_proof, OTHER)), "forged-trace"),
    ],
)
def test_a_commitment_must_fit_plan_configuration_and_itself(made: g.GoldenRound, changes, rule: str) -> None:
    commitment = made.commitment_bodies[2]
    wrong = replace(commitment, **changes(commitment))
    assert rule_of(check_commitment, wrong, made.plan_body, made.plan.digest, made.config) == rule


def test_a_trace_continues_the_last_counted_commitment_or_starts_from_zeros(made: g.GoldenRound) -> None:
    before, digest, size = made.commitment_bodies[0], made.commitments[0].digest, made.layout.numel
    continued = before.trace.last.after(OTHER, before.trace.new_residual)
    assert (continued.step, continued.m, continued.v) == (before.steps, before.trace.last.m, before.trace.last.v)
    assert (continued.weights, continued.residual) == (OTHER, before.trace.new_residual)
    goes_on = replace(before, trace=replace(before.trace, previous=digest, first=continued))
    fresh = replace(before, trace=replace(before.trace, previous=None, first=zero_state(OTHER, size)))
    assert len(first_states(OTHER, size, (digest, before))) == 2
    check_trace(goes_on, OTHER, made.config, (digest, before))
    check_trace(fresh, OTHER, made.config, (digest, before))
    for wrong, previous in (
        (goes_on, None),
        (goes_on, (OTHER, before)),
        (replace(goes_on, trace=replace(goes_on.trace, previous=None)), (digest, before)),
        (replace(goes_on, trace=replace(goes_on.trace, first=replace(continued, step=0))), (digest, before)),
        (replace(goes_on, trace=replace(goes_on.trace, first=replace(continued, residual=OTHER))), (digest, before)),
    ):
        assert rule_of(check_trace, wrong, OTHER, made.config, previous) == "wrong-first-state"


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"plan": OTHER}, "wrong-plan"),
        ({"run": STRANGER}, "wrong-run"),
        ({"round": 9}, "wrong-round"),
        ({"base": OTHER}, "wrong-base"),
        ({"sender": 0}, "not-a-member"),
        ({"part": 3}, "wrong-layout"),
        ({"digest": OTHER}, "payload-mismatch"),
        ({"part": 1}, "payload-mismatch"),
    ],
)
def test_a_part_must_be_the_committed_one(made: g.GoldenRound, changes: dict, rule: str) -> None:
    message = replace(PartMessage.from_body(made.parts[2].body), **changes)
    assert rule_of(check_part_message, message, made.plan_body, made.plan.digest, made.commitment_bodies[2]) == rule


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"plan": OTHER}, "wrong-plan"),
        ({"run": STRANGER}, "wrong-run"),
        ({"round": 9}, "wrong-round"),
        ({"part": 3}, "wrong-layout"),
        ({"reducer": 2}, "not-a-member"),
        ({"members": (0, 3)}, "not-a-member"),
    ],
)
def test_a_result_must_be_by_the_reducer_or_its_backup(made: g.GoldenRound, changes: dict, rule: str) -> None:
    result = Result.from_body(made.results[2].body)
    check_result(replace(result, reducer=made.plan_body.backups[2]), made.plan_body, made.plan.digest)
    assert rule_of(check_result, replace(result, **changes), made.plan_body, made.plan.digest) == rule


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        (lambda r: {"plan": OTHER}, "wrong-plan"),
        (lambda r: {"run": STRANGER}, "wrong-run"),
        (lambda r: {"epoch": 1}, "wrong-round"),
        (lambda r: {"base": OTHER}, "wrong-base"),
        (lambda r: {"missing": ()}, "omission"),
        (
            lambda r: {"counted": r.counted[:1], "missing": tuple(replace(r.missing[0], index=i) for i in (2, 5, 9))},
            "too-few-members",
        ),
        (lambda r: {"results": r.results[:2]}, "wrong-layout"),
        (lambda r: {"links": (replace(r.links[0], by=1),)}, "not-a-member"),
        (lambda r: {"counted": (replace(r.counted[0], commitment=OTHER), *r.counted[1:])}, "wrong-entry"),
        (
            lambda r: {"counted": (replace(r.counted[0], commitment=r.counted[1].commitment), *r.counted[1:])},
            "wrong-entry",
        ),
        (lambda r: {"counted": (replace(r.counted[0], tokens=1), *r.counted[1:])}, "wrong-entry"),
        (lambda r: {"counted": (replace(r.counted[0], payload=r.counted[1].payload), *r.counted[1:])}, "wrong-entry"),
    ],
)
def test_a_record_must_name_everyone_and_fit_the_commitments(made: g.GoldenRound, changes, rule: str) -> None:
    commitments = {made.commitments[i].digest: made.commitment_bodies[i] for i in g.MEMBERS}
    record: Record = replace(made.record_body, **changes(made.record_body))
    args = (record, made.plan_body, made.plan.digest, made.config, commitments, set(commitments))
    assert rule_of(check_record, *args) == rule


def test_only_anchored_commitments_count(made: g.GoldenRound) -> None:
    commitments = {made.commitments[i].digest: made.commitment_bodies[i] for i in g.MEMBERS}
    args = (made.record_body, made.plan_body, made.plan.digest, made.config, commitments, list(commitments)[1:])
    assert rule_of(check_record, *args) == "not-anchored"


def test_a_late_receipt_is_late(made: g.GoldenRound) -> None:
    receipt = Receipt.from_body(made.receipts[0].body)
    assert receipt_in_time(replace(receipt, received_ms=made.plan_body.commit_by_ms), made.plan_body)
    assert not receipt_in_time(replace(receipt, received_ms=made.plan_body.commit_by_ms + 1), made.plan_body)


def test_leaves_are_every_k_steps_and_the_last(made: g.GoldenRound) -> None:
    assert [leaf_steps(leaf, 10, 4) for leaf in range(leaf_count(10, 4))] == [0, 4, 8, 10]
    assert [leaf_steps(leaf, 8, 4) for leaf in range(leaf_count(8, 4))] == [0, 4, 8]
    with pytest.raises(FormatError):
        leaf_steps(4, 10, 4)


def test_the_last_leaf_binds_payload_and_residual(made: g.GoldenRound) -> None:
    trace, digests = made.commitment_bodies[0].trace, [part.digest for part in made.commitment_bodies[0].parts]
    leaf = final_leaf(trace.last, digests, trace.new_residual)
    assert leaf == made.builders[0].leaves()[-1] != trace.last.leaf()
    assert len({leaf, final_leaf(trace.last, digests[::-1], trace.new_residual), final_leaf(trace.last, digests, OTHER),
                final_leaf(trace.last, digests[:2], trace.new_residual)}) == 4  # fmt: skip


def test_a_trace_that_changes_the_residual_on_the_way_is_forged(made: g.GoldenRound) -> None:
    body = made.commitment_bodies[2]
    builder, digests = TraceBuilder(None), [part.digest for part in body.parts]
    for state in made.states[2][:-1]:
        builder.add(state.digests)
    builder.add(replace(made.states[2][-1].digests, residual=OTHER))
    wrong = replace(body, trace=builder.finish(digests, body.trace.new_residual))
    assert rule_of(check_commitment, wrong, made.plan_body, made.plan.digest, made.config) == "forged-trace"


def test_zero_states_hash_their_zeros() -> None:
    import hashlib

    for size in (1, 3, 2**18, 2**18 + 5):
        assert zero_state(OTHER, size).m == hex32(hashlib.sha256(bytes(4 * size)).digest())
    assert structure.first_states(OTHER, 1, None) == ((None, zero_state(OTHER, 1)),)
