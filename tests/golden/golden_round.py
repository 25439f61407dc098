"""A whole small round with fixed keys and inputs: every signed document, payload, canonical part and checkpoint file.

Three members train a model of 856 parameters; what "training" does to the weights is drawn from SHAKE-256, since golden
vectors fix formats and exact arithmetic, not anybody's matrix products.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from commonweight.exact.arrays import F32
from commonweight.exact.checkpoint import Checkpoint, genesis_checkpoint, make_manifest
from commonweight.exact.genesis import uniform
from commonweight.exact.layout import Layout
from commonweight.exact.payload import Payload, make_payload
from commonweight.exact.round import ReducedPart, apply_parts, reduce_part
from commonweight.exact.trace import State, TraceBuilder
from commonweight.protocol.data import data_seed
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import digest_bytes, digest_over, hex32
from commonweight.protocol.keys import address_of
from commonweight.protocol.merkle import anchor_root
from commonweight.protocol.outcome_documents import Manifest
from commonweight.protocol.records import (
    Anchor,
    Commitment,
    Counted,
    LeftOut,
    Link,
    MeasuredLink,
    PartMessage,
    Plan,
    PlanMember,
    Receipt,
    Record,
    Result,
    Segment,
    Verdict,
    sign_body,
)
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.structure import counted_tokens
from commonweight.protocol.typed import Domain

RUN = "0x" + "c0" * 20
DOMAIN = Domain(31337, "0x" + "0c" * 20)
SEED = "0x" + hashlib.sha256(b"golden").hexdigest()
COORDINATOR_KEY = hashlib.sha256(b"golden coordinator").digest()
MEMBERS = (0, 2, 5)


def member_key(index: int) -> bytes:
    """The signing key of a golden member."""
    return hashlib.sha256(b"golden member %d" % index).digest()


def cid_for(data: bytes) -> str:
    """A stand-in content identifier: golden vectors of the store live with the store."""
    return "bafkrei" + hashlib.sha256(data).hexdigest()[:52]


def config_json(codec: str = "int8", method: str = "clipped-mean", error_feedback: bool = True) -> dict:
    """The run configuration of the golden round, as given to RunConfig.parse."""
    return {
        "name": "golden",
        "model": {
            "preset": "custom",
            "vocab_size": 32,
            "hidden_size": 8,
            "intermediate_size": 16,
            "num_layers": 1,
            "num_heads": 2,
            "num_kv_heads": 1,
            "head_dim": 4,
            "max_seq_len": 16,
        },
        "genesis_seed": SEED,
        "data": {"manifest_cid": "", "manifest_sha256": "0x" + "da" * 32},
        "training": {
            "h": 10,
            "batch": 50_000,
            "seq_len": 16,
            "inner": {"optimizer": "adamw"},
            "outer": {"lr": "0.7", "momentum": "0.9"},
            "codec": codec,
            "result_codec": "int8",
            "block": 8,
            "carry_residual": False,
            "trace_every": 4,
            "error_feedback": error_feedback,
            "aggregation": {"method": method},
            "min_members": 2,
        },
        "verification": {"contribution_rate_bps": 6_000, "state_wait_ms": 10_000},
    }


def wander(name: str, size: int, bound: float) -> F32:
    """Reproducible small numbers."""
    return uniform(digest_bytes(SEED), name, size, np.float32(bound))


@dataclass(frozen=True)
class GoldenRound:
    """Everything that one round makes."""

    config: RunConfig
    layout: Layout
    parent: Checkpoint
    parent_manifest: Manifest
    plan: Signed
    plan_body: Plan
    states: dict[int, list[State]]
    builders: dict[int, TraceBuilder]
    payloads: dict[int, Payload]
    commitments: dict[int, Signed]
    commitment_bodies: dict[int, Commitment]
    receipts: dict[int, Signed]
    parts: dict[int, Signed]
    reduced: tuple[ReducedPart, ...]
    results: tuple[Signed, ...]
    anchor: Signed
    record: Signed
    record_body: Record
    verdict: Signed
    checkpoint: Checkpoint
    manifest: Manifest


def build(codec: str = "int8", method: str = "clipped-mean", error_feedback: bool = True) -> GoldenRound:
    """Makes the round."""
    config = RunConfig.parse(config_json(codec, method, error_feedback))
    layout = Layout.from_model(config.model)
    parent = genesis_checkpoint(config)
    parent_manifest = manifest_of(config, layout, parent, 0, None, None)
    plan_body = make_plan(config, parent_manifest)
    plan = sign_body(plan_body, COORDINATOR_KEY, DOMAIN)
    states, builders, payloads, bodies, commitments, receipts, parts = {}, {}, {}, {}, {}, {}, {}
    for index in MEMBERS:
        states[index] = member_states(config, parent, plan_body, index)
        payload = make_payload(
            parent.weights,
            states[index][-1].weights,
            states[index][-1].residual,
            plan_body.parts,
            codec,
            config.training.block,
            error_feedback,
        )
        builder = TraceBuilder(None)
        for state in states[index]:
            builder.add(state.digests)
        steps = plan_body.member(index).steps
        bodies[index] = Commitment(
            RUN,
            1,
            plan.digest,
            index,
            plan_body.base,
            steps,
            config.tokens(steps),
            payload.committed,
            payload.size,
            builder.finish(payload.digests, payload.new_residual_digest),
        )
        builders[index], payloads[index] = builder, payload
        commitments[index] = sign_body(bodies[index], member_key(index), DOMAIN)
        receipts[index] = sign_body(
            Receipt(RUN, 1, commitments[index].digest, index, 1_700_000_009_000 + index), COORDINATOR_KEY, DOMAIN
        )
        message = PartMessage(RUN, 1, plan.digest, plan_body.base, 0, index, payload.digests[0])
        parts[index] = sign_body(message, member_key(index), DOMAIN)
    weights = {index: counted_tokens(bodies[index], plan_body, config) for index in MEMBERS}
    reduced = tuple(
        reduce_part(config, plan_body, layout.numel, part, {i: payloads[i].parts[part] for i in MEMBERS}, weights)
        for part in range(plan_body.parts)
    )
    used = digest_over(commitments[index].digest for index in MEMBERS)
    results = tuple(
        sign_result(plan.digest, plan_body, part, used, reduced[part].digest) for part in range(plan_body.parts)
    )
    digests = sorted(commitments[index].digest for index in MEMBERS)
    root = hex32(anchor_root([digest_bytes(digest) for digest in digests]))
    anchor = sign_body(Anchor(RUN, 1, plan_body.deadline_s, tuple(digests), root), COORDINATOR_KEY, DOMAIN)
    checkpoint = apply_parts(config, parent, [part.x for part in reduced])
    manifest = manifest_of(config, layout, checkpoint, 1, parent_manifest.sha256, plan.digest)
    record_body = Record(
        RUN,
        1,
        0,
        plan.digest,
        plan_body.base,
        tuple(
            Counted(
                i,
                commitments[i].digest,
                bodies[i].steps,
                weights[i],
                bodies[i].payload,
                cid_for(b"".join(payloads[i].parts)),
            )
            for i in MEMBERS
        ),
        (LeftOut(7, None, "banned", None),),
        (LeftOut(9, None, "no-commitment", None),),
        tuple(part.digest for part in reduced),
        manifest.sha256,
        cid_for(manifest.to_bytes()),
        measured_links(),
    )
    first = commitments[MEMBERS[0]]
    verdict_body = Verdict(
        RUN,
        0,
        1,
        MEMBERS[0],
        first.digest,
        address_of(COORDINATOR_KEY),
        "replay",
        Segment(1, 2),
        "pass",
        False,
        1.25e-6,
        1.0,
        (),
        1234,
        "0x" + "5e" * 32,
        "",
    )
    return GoldenRound(
        config,
        layout,
        parent,
        parent_manifest,
        plan,
        plan_body,
        states,
        builders,
        payloads,
        commitments,
        bodies,
        receipts,
        parts,
        reduced,
        results,
        anchor,
        sign_body(record_body, COORDINATOR_KEY, DOMAIN),
        record_body,
        sign_body(verdict_body, COORDINATOR_KEY, DOMAIN),
        checkpoint,
        manifest,
    )


def make_plan(config: RunConfig, base: Manifest) -> Plan:
    """The plan of the golden round: three members that train, two more that do not show up."""
    training = config.training
    shares = ((0, 10), (2, 7), (5, 10), (7, 10), (9, 10))
    return Plan(
        run=RUN,
        round=1,
        epoch=0,
        base=base.sha256,
        base_cid=cid_for(base.to_bytes()),
        config=config.sha256,
        data_seed=data_seed(config.genesis_seed_bytes),
        members=tuple(PlanMember(index, steps, 500_000 * place) for place, (index, steps) in enumerate(shares)),
        h=training.h,
        overlap=0,
        codec=training.codec,
        codec_version=1,
        block=training.block,
        parts=3,
        reducers=MEMBERS,
        backups=(2, 5, 0),
        min_members=2,
        commit_by_ms=1_700_000_010_000,
        anchor_by_ms=1_700_000_014_000,
        exchange_by_ms=1_700_000_020_000,
        record_by_ms=1_700_000_024_000,
        previous_record=None,
    )


def member_states(config: RunConfig, parent: Checkpoint, plan: Plan, index: int) -> list[State]:
    """States at the trace leaves: 0, 4, 8 and the last step."""
    size, every, steps = parent.weights.size, config.training.trace_every, plan.member(index).steps
    common, own = wander("common", size, 1e-2), wander(f"member {index}", size, 1e-2 * (1 + index))
    states = [State.fresh(parent.weights)]
    for done in [*range(every, steps, every), steps]:
        share = np.float32(done / steps)
        moved = parent.weights + (common + own) * share
        states.append(State(done, moved, own * share, own * own, states[0].residual))
    return states


def manifest_of(
    config: RunConfig, layout: Layout, checkpoint: Checkpoint, number: int, parent: str | None, plan: str | None
) -> Manifest:
    """The manifest of a checkpoint with stand-in CIDs."""
    files = checkpoint.to_files(layout)
    return make_manifest(RUN, number, parent, plan, config.sha256, files, {n: cid_for(d) for n, d in files.items()})


def sign_result(plan_digest: str, plan: Plan, part: int, used: str, digest: str) -> Signed:
    """A reducer's signed result with the links it measured."""
    reducer = plan.reducers[part]
    links = tuple(
        Link(link.index, link.bytes, link.transfer_us, link.rtt_us) for link in measured_links() if link.by == reducer
    )
    body = Result(RUN, 1, plan_digest, part, reducer, MEMBERS, used, digest, links)
    return sign_body(body, member_key(reducer), DOMAIN)


def measured_links() -> tuple[MeasuredLink, ...]:
    """What each reducer measured of each other member."""
    return tuple(
        MeasuredLink(by, index, 400, 100 * (1 + index) + 10 * by, 40_000 + 10_000 * index + by)
        for by in MEMBERS
        for index in MEMBERS
        if by != index
    )
