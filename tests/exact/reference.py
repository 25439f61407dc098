"""A second, plain implementation of the exact arithmetic, written from docs/protocol.md: Python numbers, one at a time.

Values are Python floats that hold binary32 numbers. The sum, product or quotient of two binary32 numbers, computed in
binary64 and rounded to binary32, is the correctly rounded one (53 >= 2 * 24 + 2), so `f32` after each operation is
exact.
"""

import hashlib
import math
import struct
from fractions import Fraction


def f32(value: float) -> float:
    """The nearest binary32, ties to even; infinite on overflow."""
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


def bits(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def floats(data: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def dot(a: list[float], b: list[float]) -> float:
    """The exact sum as a fraction, rounded once to binary64."""
    return float(sum((Fraction(x) * Fraction(y) for x, y in zip(a, b, strict=True)), Fraction(0)))


def rint(value: float) -> float:
    """Nearest integer, ties to even."""
    return float(round(value))


def genesis_tensor(seed: bytes, name: str, count: int, bound: float) -> list[float]:
    stream = hashlib.shake_256(seed + name.encode()).digest(4 * count)
    units = [(int.from_bytes(stream[4 * i : 4 * i + 4], "little") >> 8) / 2**23 - 1 for i in range(count)]
    return [f32(unit * f32(bound)) for unit in units]


def blocks_of(x: list[float], block: int) -> list[list[float]]:
    return [x[i : i + block] for i in range(0, len(x), block)]


def pack(codes: list[int], width: int, filler: int) -> bytes:
    per = 8 // width
    codes = codes + [filler] * (-len(codes) % per)
    return bytes(sum(codes[i + j] << (width * j) for j in range(per)) for i in range(0, len(codes), per))


def unpack(data: bytes, width: int, count: int) -> list[int]:
    codes = [byte >> shift & (2**width - 1) for byte in data for shift in range(0, 8, width)]
    return codes[:count]


def two_bit(value: float, step: float) -> int:
    return 2 if step == 0 else int(min(1, max(-2, math.floor(f32(value / step))))) + 2


def mean_magnitude(values: list[float]) -> float:
    total = 0.0
    for value in values:
        total += abs(value)
    return f32(total / len(values))


def top_places(values: list[float]) -> list[int]:
    keep = -(-len(values) * 3 // 100)
    return sorted(sorted(range(len(values)), key=lambda i: (-abs(values[i]), i))[:keep])


def encode(x: list[float], codec: str, block: int) -> bytes:
    if codec == "fp32":
        return bits(x)
    if codec == "fp16":
        return struct.pack(f"<{len(x)}e", *[max(-65504.0, min(65504.0, value)) for value in x])
    if codec == "ternary":
        scales, trits = [], []
        for piece in blocks_of(x, block):
            limit = f32(mean_magnitude(piece) * f32(0.7))
            kept = [value for value in piece if abs(value) > limit]
            scales.append(mean_magnitude(kept) if kept else 0.0)
            trits += [1 + (scales[-1] > 0 and abs(v) > limit) * (1 if v > 0 else -1) for v in piece]
        trits += [1] * (-len(trits) % 5)
        return bits(scales) + bytes(
            sum(trit * 3**place for place, trit in enumerate(trits[i : i + 5])) for i in range(0, len(trits), 5)
        )
    if codec == "int1":
        means = [mean_magnitude(piece) for piece in blocks_of(x, block)]
        return bits(means) + pack([int(value >= 0) for value in x], 1, 1)
    largest = [max(abs(value) for value in piece) for piece in blocks_of(x, block)]
    pieces = list(zip(blocks_of(x, block), largest, strict=True))
    if codec == "topk2":
        steps = [f32(m * 0.5) for m in largest]
        places = [top_places(piece) for piece, _ in pieces]
        width = "B" if block <= 256 else "H"
        flat = [p for piece in places for p in piece]
        codes = [two_bit(x[n * block + p], steps[n]) for n, piece in enumerate(places) for p in piece]
        return bits(steps) + struct.pack(f"<{len(flat)}{width}", *flat) + pack(codes, 2, 2)
    if codec == "int2":
        steps = [f32(m * 0.375) for m in largest]
        return bits(steps) + pack([two_bit(v, steps[n]) for n, (piece, _) in enumerate(pieces) for v in piece], 2, 2)
    top = 127 if codec == "int8" else 7
    scales = [f32(m / top) for m in largest]
    codes = [
        0 if scales[n] == 0 else int(max(-top, min(top, rint(f32(v / scales[n])))))
        for n, (piece, _) in enumerate(pieces)
        for v in piece
    ]
    return bits(scales) + (
        struct.pack(f"{len(codes)}b", *codes) if codec == "int8" else pack([c + 8 for c in codes], 4, 8)
    )


def decode(data: bytes, count: int, codec: str, block: int) -> list[float]:
    if codec == "fp32":
        return floats(data)
    if codec == "fp16":
        return list(struct.unpack(f"<{count}e", data))
    number = -(-count // block)
    scales, body = floats(data[: 4 * number]), data[4 * number :]
    if codec == "int8":
        codes = [float(c) for c in struct.unpack(f"{count}b", body)]
    elif codec == "int4":
        codes = [c - 8.0 for c in unpack(body, 4, count)]
    elif codec == "ternary":
        codes = [float(byte // 3**place % 3 - 1) for byte in body for place in range(5)][:count]
    elif codec == "int1":
        codes = [2.0 * c - 1.0 for c in unpack(body, 1, count)]
    elif codec == "int2":
        codes = [c - 1.5 for c in unpack(body, 2, count)]
    else:
        lengths = [min(block, count - n * block) for n in range(number)]
        kept = [-(-length * 3 // 100) for length in lengths]
        width = 1 if block <= 256 else 2
        places = [int.from_bytes(body[i : i + width], "little") for i in range(0, sum(kept) * width, width)]
        values = unpack(body[sum(kept) * width :], 2, sum(kept))
        result = [0.0] * count
        at = 0
        for n, keep in enumerate(kept):
            for _ in range(keep):
                result[n * block + places[at]] = f32((values[at] - 1.5) * scales[n])
                at += 1
        return result
    return [f32(code * scales[i // block]) for i, code in enumerate(codes)]


def median(columns: list[float]) -> float:
    ordered = sorted(value + 0.0 for value in columns)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return low if len(ordered) % 2 else f32(f32(low + high) * 0.5)


def weighted(rows: list[list[float]], weights: list[int]) -> list[float]:
    total = sum(weights)
    result = [0.0] * len(rows[0])
    for row, weight in zip(rows, weights, strict=True):
        share = f32(weight / total)
        result = [f32(r + f32(v * share)) for r, v in zip(result, row, strict=True)]
    return result


def aggregate(
    rows: list[list[float]], weights: list[int], method: str, trim_bps: int, planned: int
) -> tuple[list[float], list[int], list[int]]:
    """(result, kept, clipped) with members numbered 0, 1, ... in ascending order of index."""
    everyone = list(range(len(rows)))
    if method == "mean":
        return weighted(rows, weights), everyone, []
    if method == "median":
        return [median(list(column)) for column in zip(*rows, strict=True)], everyone, []
    if method == "trimmed-mean":
        cut = len(rows) * trim_bps // 10000
        result = []
        for column in zip(*rows, strict=True):
            total = 0.0
            kept_values = sorted(value + 0.0 for value in column)[cut : len(rows) - cut]
            for value in kept_values:
                total = f32(total + value)
            result.append(f32(total * f32(1 / len(kept_values))))
        return result, everyone, []
    norms = [dot(row, row) for row in rows]
    bound = sorted(norms)[(len(norms) - 1) // 2]
    clipped = [i for i in everyone if norms[i] > bound]
    scaled = [
        [f32(v * f32(math.sqrt(bound / norms[i]))) for v in row] if i in clipped else row for i, row in enumerate(rows)
    ]
    middle = [median(list(column)) for column in zip(*scaled, strict=True)]
    along = [
        0.0 if min(norms[i], bound) == 0 else dot(scaled[i], middle) / math.sqrt(min(norms[i], bound))
        for i in everyone
    ]
    half = sorted(along)[(len(along) - 1) // 2] / 2
    kept = [i for i in everyone if along[i] >= 0 and along[i] >= half]
    if 2 * sum(weights[i] for i in kept) < planned:
        kept = everyone
    return weighted([scaled[i] for i in kept], [weights[i] for i in kept]), kept, clipped


def outer(w: list[float], buf: list[float], g: list[float], lr: str, momentum: str) -> tuple[list[float], list[float]]:
    rate, mu = f32(float(lr)), f32(float(momentum))
    new_buf = [f32(f32(mu * b) + x) for b, x in zip(buf, g, strict=True)]
    step = [f32(rate * f32(f32(mu * b) + x)) for b, x in zip(new_buf, g, strict=True)]
    return [f32(a - s) for a, s in zip(w, step, strict=True)], new_buf
