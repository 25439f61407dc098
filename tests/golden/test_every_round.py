"""Every codec under every aggregation, recomputed by the plain implementation of tests/exact/reference.py alone.

`rounds.json` holds digests only. This makes the members' weights of the golden round from its seed, encodes, aggregates
and steps in Python numbers, one at a time, and must come to the same digests; nothing of commonweight is imported.
"""

import hashlib
import json
import struct
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from tests.exact import reference as arithmetic

pytestmark = pytest.mark.unit

GOLDEN = Path(__file__).parent
ROUNDS = json.loads((GOLDEN / "rounds.json").read_bytes())["rounds"]
CONFIG, PLAN = (json.loads((GOLDEN / "round" / name).read_bytes()) for name in ("run.json", "plan.json"))
BODY = PLAN["body"]
MEMBERS = sorted(int(index) for index in ROUNDS[0]["payloads"])
SEED = hashlib.sha256(b"golden").digest()


def sha(data: bytes) -> str:
    return "0x" + hashlib.sha256(data).hexdigest()


@cache
def base() -> list[float]:
    data = (GOLDEN / "round" / "genesis-weights.safetensors").read_bytes()
    return arithmetic.floats(data[8 + int.from_bytes(data[:8], "little") :])


def spans() -> list[tuple[int, int]]:
    """Where parts begin and end, by section 9."""
    size, block, parts = len(base()), BODY["block"], BODY["parts"]
    blocks = -(-size // block)
    edges = [min(size, part * blocks // parts * block) for part in range(parts + 1)]
    return list(pairwise(edges))


@cache
def pseudo_gradient(index: int) -> list[float]:
    """What a golden member reaches: the base, a movement that all share, and one of its own."""
    size, f32 = len(base()), arithmetic.f32
    common = arithmetic.genesis_tensor(SEED, "common", size, 1e-2)
    own = arithmetic.genesis_tensor(SEED, f"member {index}", size, 1e-2 * (1 + index))
    local = [f32(b + f32(c + o)) for b, c, o in zip(base(), common, own, strict=True)]
    return [f32(f32(b - w) + 0.0) for b, w in zip(base(), local, strict=True)]


@cache
def payload(index: int, codec: str) -> tuple[list[bytes], list[list[float]]]:
    """Encoded parts, and what they decode to."""
    x, block = pseudo_gradient(index), BODY["block"]
    encoded = [arithmetic.encode(x[a:b], codec, block) for a, b in spans()]
    decoded = [
        arithmetic.decode(data, b - a, codec, block) for data, (a, b) in zip(encoded, spans(), strict=True)
    ]
    return encoded, decoded


def test_the_plain_implementation_aggregates_alike() -> None:
    given = json.loads((GOLDEN / "aggregate.json").read_bytes())
    rows = [arithmetic.floats(bytes.fromhex(row.removeprefix("0x"))) for row in given["rows"]]
    left_out = set()
    for case in given["cases"]:
        some, weights = rows[: case["members"]], given["weights"][: case["members"]]
        x, kept, clipped = arithmetic.aggregate(
            some, weights, case["method"], case["trim_bps"], case["planned_tokens"]
        )
        assert arithmetic.bits(x).hex() == case["result"].removeprefix("0x")
        assert (kept, clipped) == (case["kept"], case["clipped"])
        left_out |= set(range(case["members"])) - set(kept)
    assert left_out == {4, 6}, "who points backwards and who points nowhere"


def test_the_plain_implementation_takes_the_base_in_alike() -> None:
    cases = json.loads((GOLDEN / "overlap.json").read_bytes())["cases"]
    assert [case["carry_residual"] for case in cases] == [False, True]
    f32 = arithmetic.f32
    for case in cases:
        base, residual, first, local, merged = (
            arithmetic.floats(bytes.fromhex(case[name].removeprefix("0x")))
            for name in ("base", "residual", "first", "local", "merged")
        )
        begin = [f32(b - r) for b, r in zip(base, residual, strict=True)] if case["carry_residual"] else base
        moved = [f32(w - f) for w, f in zip(local, first, strict=True)]
        assert merged == [f32(b + m) for b, m in zip(begin, moved, strict=True)]


def test_the_plain_implementation_adds_and_carries_residuals_alike() -> None:
    cases = json.loads((GOLDEN / "residual.json").read_bytes())["cases"]
    assert [case["carry_residual"] for case in cases] == [False, True]
    f32 = arithmetic.f32
    for case in cases:
        base, residual, begin, local, left = (
            arithmetic.floats(bytes.fromhex(case[name].removeprefix("0x")))
            for name in ("base", "residual", "begin", "local", "new_residual")
        )
        x = [f32(b - w) for b, w in zip(base, local, strict=True)]
        if case["carry_residual"]:
            assert begin == [f32(b - r) for b, r in zip(base, residual, strict=True)]
        else:
            assert begin == base
            x = [f32(a + r) for a, r in zip(x, residual, strict=True)]
        decoded: list[float] = []
        for part, piece in zip(case["parts"], (x[:40], x[40:]), strict=True):
            data = arithmetic.encode(piece, case["codec"], case["block"])
            assert data.hex() == part.removeprefix("0x")
            decoded += arithmetic.decode(data, len(piece), case["codec"], case["block"])
        assert left == [f32(a - b) for a, b in zip(x, decoded, strict=True)]


def test_every_codec_and_aggregation_is_there_with_and_without_error_feedback() -> None:
    codecs = {"fp32", "fp16", "int8", "int4", "int2", "int1", "ternary", "topk2"}
    methods = {"clipped-mean", "mean", "trimmed-mean", "median"}
    found = {(case["codec"], case["method"], case["error_feedback"]) for case in ROUNDS}
    assert found == {(c, m, e) for c in codecs for m in methods for e in (True, False)}
    assert len({tuple(case["results"]) for case in ROUNDS if case["codec"] == "fp32"}) == len(methods)


@pytest.mark.parametrize("case", ROUNDS, ids=lambda c: f"{c['codec']} {c['method']} {c['error_feedback']}")
def test_the_plain_implementation_comes_to_the_same_round(case) -> None:
    codec, block, f32 = case["codec"], BODY["block"], arithmetic.f32
    for index in MEMBERS:
        encoded, decoded = payload(index, codec)
        assert [sha(part) for part in encoded] == case["payloads"][str(index)]
        norms = [struct.pack(">d", arithmetic.dot(part, part)).hex() for part in decoded]
        assert norms == case["norm2_f64"][str(index)]
        flat = [value for part in decoded for value in part]
        left = [f32(a - b) for a, b in zip(pseudo_gradient(index), flat, strict=True)]
        residual = left if case["error_feedback"] else [0.0] * len(flat)
        assert sha(arithmetic.bits(residual)) == case["new_residuals"][str(index)]
    training = CONFIG["training"]
    planned = {member["index"]: member["steps"] * training["batch"] * training["seq_len"] for member in BODY["members"]}
    weights, everyone = [planned[index] for index in MEMBERS], sum(planned.values())
    gradient: list[float] = []
    results = []
    for part, (a, b) in enumerate(spans()):
        rows = [payload(index, codec)[1][part] for index in MEMBERS]
        trim = training["aggregation"]["trim_bps"]
        aggregate = arithmetic.aggregate(rows, weights, case["method"], trim, everyone)[0]
        data = arithmetic.encode(aggregate, training["result_codec"], block)
        results.append(sha(data))
        gradient += arithmetic.decode(data, b - a, training["result_codec"], block)
    assert results == case["results"]
    outer = training["outer"]
    after, momentum = arithmetic.outer(base(), [0.0] * len(base()), gradient, outer["lr"], outer["momentum"])
    assert sha(arithmetic.bits(after)) == case["weights_digest"]
    assert sha(arithmetic.bits(momentum)) == case["momentum_digest"]
