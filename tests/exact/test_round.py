"""Layout, genesis, checkpoints, traces, payloads and whole rounds."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import safetensors.numpy

from commonweight.errors import FormatError, PayloadError, ReplayMismatch
from commonweight.exact.arrays import array_digest, from_bytes, to_bytes
from commonweight.exact.checkpoint import Checkpoint
from commonweight.exact.genesis import genesis
from commonweight.exact.layout import Layout
from commonweight.exact.payload import check_part, make_payload, split_payload
from commonweight.exact.round import planned_tokens, recompute_round, reduce_part
from commonweight.exact.trace import State, TraceBuilder
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.merkle import verify
from commonweight.protocol.modelconfig import PRESETS, ModelConfig
from commonweight.protocol.parts import part_range
from commonweight.protocol.trace import StateDigests
from tests.exact import reference
from tests.golden import golden_round as g

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", ["nano", "micro", "25M", "1B"])
def test_a_layout_has_as_many_elements_as_the_model(name: str) -> None:
    layout = Layout.from_model(PRESETS[name])
    assert layout.numel == PRESETS[name].parameters()
    names = [spec.name for spec in layout.tensors]
    assert names == sorted(names)
    assert ("lm_head.weight" in names) != PRESETS[name].tie_embeddings
    assert [spec.offset for spec in layout.tensors[1:]] == [spec.stop for spec in layout.tensors[:-1]]


def test_flatten_and_unflatten_are_each_others_inverse_and_refuse_other_shapes(made: g.GoldenRound) -> None:
    flat, layout = made.parent.weights, made.layout
    tensors = layout.unflatten(flat)
    assert to_bytes(layout.flatten(tensors)) == to_bytes(flat)
    with pytest.raises(FormatError):
        layout.flatten({**tensors, "more": flat})
    with pytest.raises(FormatError):
        layout.flatten({**tensors, "model.norm.weight": tensors["model.norm.weight"].reshape(2, -1)})
    with pytest.raises(FormatError):
        layout.unflatten(flat[:-1])


def test_genesis_equals_the_plain_implementation(made: g.GoldenRound) -> None:
    model, seed = made.config.model, digest_bytes(g.SEED)
    for name, tensor in made.layout.unflatten(genesis(model, seed)).items():
        if name.endswith("norm.weight"):
            expected = [1.0] * tensor.size
        else:
            bound = 0.02 * math.sqrt(3)
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                bound /= math.sqrt(2 * model.num_layers)
            expected = reference.genesis_tensor(seed, name, tensor.size, bound)
        assert to_bytes(tensor) == reference.bits(expected), name
    with pytest.raises(FormatError):
        genesis(model, b"short")


def test_genesis_has_the_spread_it_promises() -> None:
    model: ModelConfig = PRESETS["nano"]
    tensors = Layout.from_model(model).unflatten(genesis(model, bytes(32)))
    assert abs(float(tensors["model.embed_tokens.weight"].std()) - 0.02) < 2e-4
    assert abs(float(tensors["model.layers.0.mlp.down_proj.weight"].std()) - 0.02 / math.sqrt(8)) < 2e-4


def test_a_checkpoint_survives_its_files(made: g.GoldenRound) -> None:
    files = made.checkpoint.to_files(made.layout)
    assert Checkpoint.from_files(made.layout, files).equals(made.checkpoint)
    loaded = safetensors.numpy.load(files["weights.safetensors"])
    assert to_bytes(made.layout.flatten(loaded)) == to_bytes(made.checkpoint.weights)
    assert files["weights.safetensors"].endswith(to_bytes(made.checkpoint.weights))
    assert not made.checkpoint.equals(made.parent)


def test_files_of_another_model_or_with_infinities_are_refused(made: g.GoldenRound) -> None:
    files = made.checkpoint.to_files(made.layout)
    other = Layout.from_model(dataclasses.replace(made.config.model, num_layers=2))
    with pytest.raises(FormatError):
        Checkpoint.from_files(other, files)
    broken = files["outer.safetensors"][:-4] + b"\0\0\x80\x7f"
    with pytest.raises(PayloadError):
        Checkpoint.from_files(made.layout, {**files, "outer.safetensors": broken})
    with pytest.raises(PayloadError):
        from_bytes(b"123")


def test_a_state_survives_its_file(made: g.GoldenRound) -> None:
    state = made.states[2][1]
    read = State.from_bytes(state.to_bytes(), made.layout.numel)
    assert read.digests == state.digests
    for data in (state.to_bytes()[:-4], made.checkpoint.to_files(made.layout)["weights.safetensors"]):
        with pytest.raises(FormatError):
            State.from_bytes(data, made.layout.numel)
    with pytest.raises(FormatError):
        State.from_bytes(state.to_bytes(), made.layout.numel + 1)
    with pytest.raises(FormatError):
        State.from_bytes(dataclasses.replace(state, step=-1).to_bytes(), made.layout.numel)


def test_each_leaf_of_a_trace_is_proven_by_its_state(made: g.GoldenRound) -> None:
    for index in g.MEMBERS:
        trace, builder = made.commitment_bodies[index].trace, made.builders[index]
        for leaf, state in enumerate(made.states[index][:-1]):
            proof = [digest_bytes(node) for node in builder.proof(leaf)]
            assert verify(digest_bytes(trace.root), state.digests.leaf(), leaf, trace.leaves, proof)
        assert not verify(digest_bytes(trace.root), state.digests.leaf(), 0, trace.leaves, proof)


def test_a_trace_needs_two_states() -> None:
    builder = TraceBuilder(None)
    builder.add(StateDigests(0, *["0x" + "00" * 32] * 4))
    with pytest.raises(FormatError):
        builder.finish([], "0x" + "00" * 32)


def test_the_payload_follows_from_the_last_state(made: g.GoldenRound) -> None:
    for index in g.MEMBERS:
        last = made.states[index][-1]
        again = make_payload(made.parent.weights, last.weights, last.residual, made.plan_body.parts, "int8", 8, True)
        assert again.parts == made.payloads[index].parts
        assert again.digests == tuple(part.digest for part in made.commitment_bodies[index].parts)
        assert again.new_residual_digest == made.commitment_bodies[index].trace.new_residual


@pytest.mark.parametrize("codec", ["int8", "int4", "int2", "int1", "ternary", "topk2"])
def test_error_feedback_sends_later_what_was_lost(codec: str) -> None:
    rng = np.random.default_rng(1)
    base, move = np.zeros(512, np.float32), rng.standard_normal(512).astype(np.float32)
    residual, sent = np.zeros(512, np.float32), np.zeros(512, np.float32)
    for _ in range(40):
        payload = make_payload(base, -move, residual, 3, codec, 128, True)
        sent += payload.decoded
        residual = payload.new_residual
    assert float(np.linalg.norm(sent + residual - 40 * move) / np.linalg.norm(40 * move)) < 1e-4
    without = make_payload(base, -move, np.zeros_like(base), 3, codec, 128, False)
    assert not without.new_residual.any()


def test_only_the_committed_part_passes(made: g.GoldenRound) -> None:
    span = part_range(made.layout.numel, 8, 3, 1)
    data, committed = made.payloads[2].parts[1], made.commitment_bodies[2].parts[1]
    assert check_part(data, span.size, "int8", 8, committed).size == span.size
    for wrong, promise in (
        (made.payloads[0].parts[1], committed),
        (data, dataclasses.replace(committed, norm2=np.nextafter(committed.norm2, 9e9))),
        (data[:-1], committed),
    ):
        with pytest.raises(PayloadError):
            check_part(wrong, span.size, "int8", 8, promise)


def test_a_payload_is_split_by_its_lengths_alone(made: g.GoldenRound) -> None:
    whole = b"".join(made.payloads[5].parts)
    assert split_payload(whole, made.layout.numel, 3, "int8", 8) == made.payloads[5].parts
    with pytest.raises(PayloadError):
        split_payload(whole + b"\0", made.layout.numel, 3, "int8", 8)


def payloads_of(made: g.GoldenRound) -> dict:
    return {index: made.payloads[index].parts for index in g.MEMBERS}


@pytest.mark.parametrize("codec", ["fp32", "int8", "topk2"])
@pytest.mark.parametrize("method", ["clipped-mean", "median"])
def test_a_round_recomputes_to_its_record(codec: str, method: str) -> None:
    made = g.build(codec, method)
    outcome = recompute_round(made.config, made.plan_body, made.record_body, made.parent, payloads_of(made))
    assert outcome.checkpoint.equals(made.checkpoint)
    assert outcome.results == made.record_body.results


def test_a_round_equals_the_plain_implementation(made: g.GoldenRound) -> None:
    weights = [entry.tokens for entry in made.record_body.counted]
    gradient: list[float] = []
    for part in range(3):
        size = part_range(made.layout.numel, 8, 3, part).size
        rows = [reference.decode(made.payloads[i].parts[part], size, "int8", 8) for i in g.MEMBERS]
        mean = reference.aggregate(rows, weights, "clipped-mean", 0, planned_tokens(made.config, made.plan_body))[0]
        encoded = reference.encode(mean, "int8", 8)
        assert encoded == made.reduced[part].encoded
        gradient += reference.decode(encoded, size, "int8", 8)
    parent = [reference.floats(to_bytes(array)) for array in (made.parent.weights, made.parent.momentum)]
    weights_after, momentum_after = reference.outer(*parent, gradient, "0.7", "0.9")
    assert reference.bits(weights_after) == to_bytes(made.checkpoint.weights)
    assert reference.bits(momentum_after) == to_bytes(made.checkpoint.momentum)


def test_a_round_without_counted_members_leaves_the_checkpoint(made: g.GoldenRound) -> None:
    empty = dataclasses.replace(made.record_body, counted=(), results=(), checkpoint=made.plan_body.base)
    assert recompute_round(made.config, made.plan_body, empty, made.parent, {}).checkpoint is made.parent


@pytest.mark.parametrize("change", [lambda results: results[:-1], lambda results: (*results, results[0])])
def test_a_record_has_one_result_for_each_part(
    made: g.GoldenRound, change: Callable[[tuple[str, ...]], tuple[str, ...]]
) -> None:
    record = dataclasses.replace(made.record_body, results=change(made.record_body.results))
    with pytest.raises(ReplayMismatch, match="one result for each part"):
        recompute_round(made.config, made.plan_body, record, made.parent, payloads_of(made))


def test_missing_altered_or_misreported_payloads_do_not_recompute(made: g.GoldenRound) -> None:
    payloads, record = payloads_of(made), made.record_body
    with pytest.raises(PayloadError, match="missing"):
        recompute_round(made.config, made.plan_body, record, made.parent, {0: payloads[0]})
    with pytest.raises(PayloadError, match="not what the record lists"):
        recompute_round(made.config, made.plan_body, record, made.parent, {**payloads, 2: payloads[0]})
    lie = dataclasses.replace(record, results=(record.results[1], *record.results[1:]))
    with pytest.raises(ReplayMismatch):
        recompute_round(made.config, made.plan_body, lie, made.parent, payloads)


def test_decoded_and_encoded_parts_reduce_alike(made: g.GoldenRound) -> None:
    weights = {entry.index: entry.tokens for entry in made.record_body.counted}
    span = part_range(made.layout.numel, 8, 3, 0)
    committed = {i: made.commitment_bodies[i].parts[0] for i in g.MEMBERS}
    decoded = {i: check_part(made.payloads[i].parts[0], span.size, "int8", 8, committed[i]) for i in g.MEMBERS}
    norms = {i: committed[i].norm2 for i in g.MEMBERS}
    got = reduce_part(
        made.config, made.plan_body, made.layout.numel, 0, dict(reversed(decoded.items())), weights, norms
    )
    assert (got.digest, array_digest(got.x)) == (made.reduced[0].digest, array_digest(made.reduced[0].x))
