"""Codecs of payload parts, version 1: fp32, fp16, int8, int4, int2, int1, ternary and topk2,
blockwise.

A part's bytes have no header: their length follows from the number of elements, the codec and the block. `decode`
refuses, with PayloadError, every byte string that is not such a part of finite values. All operations are single
IEEE binary32 ones.
"""

import math
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from commonweight.errors import PayloadError
from commonweight.exact.arrays import F32, as_f32, from_bytes, require_exact, require_finite, to_bytes
from commonweight.protocol.parts import block_count

__all__ = ["LIMIT", "decode", "encode", "encoded_size", "requantise"]

U8: TypeAlias = npt.NDArray[np.uint8]

LIMIT = np.float32(2.0**126)
"""No encoded element may reach this magnitude, so that nothing overflows when it is decoded."""
TOP_PERCENT = 3
_HALF_MAX = np.float32(65504.0)
_INT2_STEP = np.float32(0.375)
_TOPK_STEP = np.float32(0.5)
_TERNARY_SHARE = np.float32(0.7)
_TRITS = 5
_TRIT_VALUES = np.array([1, 3, 9, 27, 81], np.uint8)
_TRIT_DIGITS: U8 = np.arange(3**_TRITS, dtype=np.uint8)[:, None] // _TRIT_VALUES % np.uint8(3)
_VALUES = {"int8": (1.0, 0.0), "int4": (1.0, -8.0), "int2": (1.0, -1.5), "int1": (2.0, -1.0), "ternary": (1.0, -1.0)}
"""By what a code is multiplied, and what is added, before it is scaled."""
_HARMLESS = np.float32(2.0**119)
_SMALLEST_NORMAL = np.float32(2.0**-126)
_PIECE = 1 << 15
_COLUMNS = 1 << 17


def encoded_size(count: int, codec: str, block: int) -> int:
    """Bytes of a part of `count` elements in blocks of `block`."""
    scales = 4 * block_count(count, block)
    sizes = {
        "fp32": 4 * count,
        "fp16": 2 * count,
        "int8": scales + count,
        "int4": scales + -(-count // 2),
        "int2": scales + -(-count // 4),
        "int1": scales + -(-count // 8),
        "ternary": scales + -(-count // _TRITS),
        "topk2": scales + _top_total(count, block) * _index_type(block).itemsize + -(-_top_total(count, block) // 4),
    }
    if codec not in sizes:
        raise PayloadError(f"There is no codec {codec[:32]!r}")
    return sizes[codec]


def encode(x: F32, codec: str, block: int) -> bytes:
    """The bytes of a part float32[n]. PayloadError when an element is not finite or reaches LIMIT."""
    require_exact()
    x = as_f32(x)
    encoded_size(x.size, codec, block)
    if codec in ("fp32", "fp16"):
        _require_in_range(np.array([x.max(initial=np.float32(0.0)), -x.min(initial=np.float32(0.0))]))
        return to_bytes(x) if codec == "fp32" else np.clip(x, -_HALF_MAX, _HALF_MAX).astype("<f2").tobytes()
    if codec == "topk2":
        return _encode_top(x, block)
    rows = max(1, _COLUMNS // block // _TRITS) * _TRITS  # whole bytes of every codec
    found = [_encode_piece(x[at : at + rows * block], codec, block) for at in range(0, x.size, rows * block)]
    return b"".join([to_bytes(scales) for scales, _ in found] + [codes for _, codes in found])


def _encode_piece(x: F32, codec: str, block: int) -> tuple[F32, bytes]:
    """The scales of some blocks, and their codes in bytes."""
    blocks = _blocks(x, block)
    largest = _largest(blocks)
    _require_in_range(largest)
    if codec == "int1":
        return _mean_magnitudes(blocks, x.size), _pack((x >= 0).astype(np.uint8), 1, 1)
    if codec == "ternary":
        return _encode_ternary(blocks, x.size)
    if codec == "int2":
        steps: F32 = largest * _INT2_STEP
        return steps, _pack(_two_bit(blocks, steps).reshape(-1)[: x.size], 2, 2)
    top = 127 if codec == "int8" else 7
    scales: F32 = largest / np.float32(top)
    codes = _round(blocks, scales, top).reshape(-1)[: x.size]
    return scales, codes.tobytes() if codec == "int8" else _pack((codes + 8).astype(np.uint8), 4, 8)


def decode(data: bytes | memoryview, count: int, codec: str, block: int, out: F32 | None = None) -> F32:
    """float32[count] of a part's bytes; PayloadError for a wrong length, impossible codes and non-finite values.

    `out`, float32[count], takes the values, whatever it held; after an error it holds anything.
    """
    require_exact()
    expected = encoded_size(count, codec, block)
    if len(data) != expected:
        raise PayloadError("A part has a wrong length", f"{len(data)} bytes, not {expected}")
    view = memoryview(data)
    if codec == "fp32":
        result = from_bytes(view)
    elif codec == "fp16":
        result = np.frombuffer(view, "<f2").astype(np.float32)
    else:
        blocks = block_count(count, block)
        scales = _scales(view[: 4 * blocks])
        body = view[4 * blocks :]
        if codec == "topk2":
            result = _decode_top(body, scales, count, block)
        else:
            result = _scaled(_codes(body, count, codec), codec, scales, block, out)
        if scales.max(initial=np.float32(0.0)) < _HARMLESS:
            return _placed(result, out)  # no code is so great that its product with such a scale were not finite
    require_finite(result, "A decoded part")
    return _placed(result, out)


def _placed(result: F32, out: F32 | None) -> F32:
    """The result where it is wanted."""
    if out is None or out is result:
        return result
    out[...] = result
    return out


def requantise(x: F32, codec: str, block: int) -> tuple[bytes, F32]:
    """The encoded form of an aggregate and what it decodes to: the canonical part that every member takes."""
    data = encode(x, codec, block)
    return data, decode(data, x.size, codec, block)


def _blocks(x: F32, block: int) -> F32:
    """float32[blocks, block], the last one filled up with zeros."""
    blocks = block_count(x.size, block)
    if x.size == blocks * block:
        return x.reshape(blocks, block)
    padded = np.zeros(blocks * block, np.float32)
    padded[: x.size] = x
    return padded.reshape(blocks, block)


def _pieces(blocks: F32) -> Iterator[slice]:
    """Places of blocks, each so few that what is made of them stays in a core's cache."""
    rows = max(1, _PIECE // blocks.shape[1])
    return (slice(start, start + rows) for start in range(0, len(blocks), rows))


def _largest(blocks: F32) -> F32:
    """The largest magnitude of each block, of zeros +0 whatever their signs; not a number where an element is not."""
    largest = np.empty(len(blocks), np.float32)
    for at in _pieces(blocks):
        magnitudes = np.abs(blocks[at])
        # numpy finds the place of a row's maximum faster than its value
        largest[at] = magnitudes[np.arange(len(magnitudes)), magnitudes.argmax(axis=1)]
    return largest


def _require_in_range(magnitudes: F32) -> None:
    largest = float(magnitudes.max(initial=np.float32(0.0)))
    if not math.isfinite(largest):
        raise PayloadError("A part to be encoded holds values that are not finite")
    if largest >= float(LIMIT):
        raise PayloadError("A part to be encoded holds values that are too large", "an element reaches 2^126")


def _scales(data: memoryview) -> F32:
    """The blocks' scales: finite, not negative, zero only as +0."""
    scales = from_bytes(data)
    if not bool((np.isfinite(scales) & ~np.signbit(scales)).all()):
        raise PayloadError("A part has an impossible scale", "scales are finite and not negative")
    return scales


def _mean_magnitudes(blocks: F32, count: int) -> F32:
    """The blocks' mean magnitudes: added from the first element on in binary64, divided, rounded to binary32."""
    lengths = np.full(len(blocks), blocks.shape[1], np.float64)
    lengths[-1:] = count - (len(blocks) - 1) * blocks.shape[1]
    return (_sums(np.abs(blocks)) / lengths).astype(np.float32)


def _sums(blocks: F32) -> npt.NDArray[np.float64]:
    """Each block's sum in binary64, added from its first element on."""
    sums = np.empty(len(blocks), np.float64)
    rows = max(64, _COLUMNS // blocks.shape[1])
    for start in range(0, len(blocks), rows):
        # one element of every block at a time: sums that go on side by side have one order each, on every machine
        elements = blocks[start : start + rows].T.astype(np.float64, order="C")
        running = elements[0]
        for more in elements[1:]:
            running += more
        sums[start : start + rows] = running
    return sums


def _encode_ternary(blocks: F32, count: int) -> tuple[F32, bytes]:
    """Signs of the elements above 0.7 of their block's mean magnitude, whose own mean magnitude is the scale; zeros for
    the others (ternary weights, arXiv 1605.04711).
    """
    magnitudes = np.abs(blocks)
    kept = magnitudes > (_mean_magnitudes(blocks, count) * _TERNARY_SHARE)[:, None]
    number = np.count_nonzero(kept, axis=1)
    magnitudes *= kept
    scales = (_sums(magnitudes) / np.maximum(number, 1)).astype(np.float32)
    kept &= (scales > 0)[:, None]
    codes = (kept & (blocks > 0)).view(np.uint8)
    codes *= np.uint8(2)
    codes += ~kept  # 1 for a zero, 0 for what is kept and negative
    padded = np.ones(-(-count // _TRITS) * _TRITS, np.uint8)
    padded[:count] = codes.reshape(-1)[:count]
    digits = padded.reshape(-1, _TRITS)
    packed = digits[:, 0].copy()
    for place in range(1, _TRITS):
        packed += digits[:, place] * _TRIT_VALUES[place]
    return scales, packed.tobytes()


def _round(blocks: F32, scales: F32, top: int) -> npt.NDArray[np.int8]:
    """round-half-even(x / scale) cut to -top..top; a scale of 0 stands for values that round to 0 anyway."""
    codes = np.empty(blocks.shape, np.int8)
    divisors = np.where(scales == 0, np.float32(1.0), scales)
    for at in _pieces(blocks):
        quotients = blocks[at] / divisors[at][:, None]
        np.rint(quotients, out=quotients)
        if bool((divisors[at] < _SMALLEST_NORMAL).any()):  # others are so exact that no quotient exceeds the top
            np.clip(quotients, np.float32(-top), np.float32(top), out=quotients)
        codes[at] = quotients
    return codes


def _two_bit(values: F32, steps: F32) -> U8:
    """floor(x / step) + 2 cut to 0..3; 2 where the step is 0."""
    zero = steps == 0
    codes = np.floor(values / np.where(zero, np.float32(1.0), steps)[:, None])
    np.clip(codes, np.float32(-2.0), np.float32(1.0), out=codes)
    codes[zero] = np.float32(0.0)
    return (codes + np.float32(2.0)).astype(np.uint8)


def _codes(body: memoryview, count: int, codec: str) -> npt.NDArray[np.int8] | U8:
    """The codes as they are written, [count]."""
    if codec == "int8":
        signed = np.frombuffer(body, np.int8)
        if int(signed.min(initial=0)) == -128:
            raise PayloadError("A part holds an impossible code", "int8 codes are from -127 to 127")
        return signed
    if codec == "int4":
        codes = _unpack(body, count, 4, 8)
        if not bool(codes.all()):
            raise PayloadError("A part holds an impossible code", "int4 codes are from 1 to 15")
        return codes
    if codec == "ternary":
        return _trits(body, count)
    return _unpack(body, count, 1, 1) if codec == "int1" else _unpack(body, count, 2, 2)


def _scaled(codes: npt.NDArray[np.int8] | U8, codec: str, scales: F32, block: int, out: F32 | None) -> F32:
    """(factor * code + offset) * scale, float32[count], in `out` if it is given."""
    factor, offset = _VALUES[codec]
    result = np.empty(codes.size, np.float32) if out is None else out
    whole = codes.size // block * block
    rows = max(1, _COLUMNS // block)
    with np.errstate(over="ignore"):
        for start in range(0, codes.size, rows * block):
            at = slice(start, start + rows * block)
            values = result[at]
            values[...] = codes[at]
            if factor != 1.0:
                values *= np.float32(factor)
            if offset:
                values += np.float32(offset)
            full = result[start : min(start + rows * block, whole)].reshape(-1, block)
            full *= scales[start // block : start // block + len(full), None]
        result[whole:] *= scales[-1:]
    return result


def _pack(codes: U8, bits: int, filler: int) -> bytes:
    """Codes of 1, 2 or 4 bits into bytes, the first in the lowest bits; the last byte is filled up with `filler`."""
    per_byte = 8 // bits
    padded = np.full(-(-codes.size // per_byte) * per_byte, filler, np.uint8)
    padded[: codes.size] = codes
    if bits == 1:
        return np.packbits(padded, bitorder="little").tobytes()
    lanes = padded.reshape(-1, per_byte)
    packed = lanes[:, 0].copy()
    for lane in range(1, per_byte):
        packed |= lanes[:, lane] << np.uint8(bits * lane)
    return packed.tobytes()


def _unpack(body: memoryview, count: int, bits: int, filler: int) -> U8:
    """The codes of packed bytes; PayloadError when the last byte is not filled up with `filler`."""
    packed = np.frombuffer(body, np.uint8)
    if bits == 1:
        codes: U8 = np.unpackbits(packed, bitorder="little")
    else:
        lanes = [packed >> np.uint8(shift) & np.uint8(2**bits - 1) for shift in range(0, 8, bits)]
        codes = np.stack(lanes, axis=1).reshape(-1)
    if bool((codes[count:] != filler).any()):
        raise PayloadError("A part's last byte is filled up wrongly")
    return codes[:count]


def _trits(body: memoryview, count: int) -> U8:
    """The codes of bytes with five digits to the base three each; PayloadError for others, and a wrong filler."""
    packed = np.frombuffer(body, np.uint8)
    if bool((packed >= 3**_TRITS).any()):
        raise PayloadError("A part holds an impossible code", f"ternary bytes are below {3**_TRITS}")
    codes: U8 = _TRIT_DIGITS.take(packed, axis=0).reshape(-1)
    if bool((codes[count:] != 1).any()):
        raise PayloadError("A part's last byte is filled up wrongly")
    return codes[:count]


def _top_count(length: int) -> int:
    """How many elements topk2 keeps of a block: 3 %, rounded up."""
    return -(-length * TOP_PERCENT // 100)


def _top_total(count: int, block: int) -> int:
    return count // block * _top_count(block) + _top_count(count % block)


def _index_type(block: int) -> np.dtype[np.unsignedinteger]:
    return np.dtype(np.uint8) if block <= 256 else np.dtype("<u2")


def _encode_top(x: F32, block: int) -> bytes:
    """Steps, then the kept places of each block in ascending order, then their 2-bit codes."""
    blocks, count = _blocks(x, block), x.size
    largest = _largest(blocks)
    _require_in_range(largest)
    steps: F32 = largest * _TOPK_STEP
    order = np.argsort(-np.abs(blocks), axis=1, kind="stable")
    places = np.sort(order[:, : _top_count(block)], axis=1)
    codes = _two_bit(np.take_along_axis(blocks, places, axis=1), steps)
    kept = count // block * _top_count(block)
    if count % block:
        last = np.sort(order[-1, : _top_count(count % block)])
        last_codes = _two_bit(blocks[-1:, last], steps[-1:])
        flat_places = np.concatenate([places.reshape(-1)[:kept], last])
        flat_codes = np.concatenate([codes.reshape(-1)[:kept], last_codes.reshape(-1)])
    else:
        flat_places, flat_codes = places.reshape(-1), codes.reshape(-1)
    return to_bytes(steps) + flat_places.astype(_index_type(block)).tobytes() + _pack(flat_codes, 2, 2)


def _decode_top(body: memoryview, steps: F32, count: int, block: int) -> F32:
    total, kind = _top_total(count, block), _index_type(block)
    places = np.frombuffer(body[: total * kind.itemsize], kind).astype(np.int64)
    full, per_block = count // block, _top_count(block)
    starts = np.concatenate([np.repeat(np.arange(full, dtype=np.int64), per_block),
                             np.full(total - full * per_block, full, np.int64)])  # fmt: skip
    flat = starts * block + places
    if bool((places >= block).any()) or bool((np.diff(flat) <= 0).any()) or (total and int(flat[-1]) >= count):
        raise PayloadError("A part names an impossible place", "places ascend strictly within their block")
    values = _unpack(body[total * kind.itemsize :], total, 2, 2).astype(np.float32) - np.float32(1.5)
    result = np.zeros(count, np.float32)
    with np.errstate(over="ignore"):
        result[flat] = values * steps[starts]
    return result
