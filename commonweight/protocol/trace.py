"""The trace of a member's inner steps: what its leaves hash, and how the first and the last are bound.

Leaf j is the state after min(j * every, steps) inner steps, j = 0 .. ceil(steps / every). The tree over the leaves
is the one of `merkle`. A state is named by the SHA-256 of each of its arrays (little-endian binary32), so that
continuity from one round to the next is checked on digests alone. The last leaf also binds the payload's parts and
the new residual.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from commonweight.errors import FormatError
from commonweight.protocol import merkle
from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.fields import Fields, digest_bytes

__all__ = [
    "FINAL_TAG", "STATE_PIECE", "STATE_TAG", "StateDigests", "Trace", "final_leaf", "leaf_count", "leaf_steps",
    "zero_state",
]  # fmt: skip

STATE_TAG = b"commonweight.state.v1"
FINAL_TAG = b"commonweight.final.v1"
MAX_LEAVES = 2**17
STATE_PIECE = 8 << 20
"""Bytes of an array that a member sends at one time; the last piece of it is shorter."""


@dataclass(frozen=True)
class StateDigests:
    """A training state by its digests (0x-hex): optimizer step count, weights, Adam's m and v, and the residual."""

    step: int
    weights: str
    m: str
    v: str
    residual: str

    def leaf(self) -> bytes:
        """Leaf data: SHA-256(STATE_TAG, step as uint64 big-endian, the four digests), 32 bytes."""
        arrays = b"".join(digest_bytes(text) for text in (self.weights, self.m, self.v, self.residual))
        return hashlib.sha256(STATE_TAG + self.step.to_bytes(8, "big") + arrays).digest()

    def after(self, base_weights: str, new_residual: str) -> "StateDigests":
        """The first state of the member's next round, when this is the last state of its last counted commitment."""
        return replace(self, weights=base_weights, residual=new_residual)

    def onward(self, new_residual: str) -> "StateDigests":
        """The same, when the member goes on from there before the base of its next round is known."""
        return replace(self, residual=new_residual)

    def to_json(self) -> JsonObject:
        """{step, weights, m, v, residual}."""
        return {"step": self.step, "weights": self.weights, "m": self.m, "v": self.v, "residual": self.residual}

    @classmethod
    def read(cls, f: Fields) -> "StateDigests":
        """Reads what `to_json` writes."""
        return cls(f.integer("step"), f.digest("weights"), f.digest("m"), f.digest("v"), f.digest("residual"))


def zero_state(base_weights: str, numel: int) -> StateDigests:
    """The first state of a member without a counted commitment: the base, step 0, and arrays of zeros."""
    hasher = hashlib.sha256()
    chunk = bytes(min(4 * numel, 2**20))
    for _ in range(4 * numel // len(chunk) if chunk else 0):
        hasher.update(chunk)
    hasher.update(bytes(4 * numel % len(chunk) if chunk else 0))
    zeros = "0x" + hasher.hexdigest()
    return StateDigests(0, base_weights, zeros, zeros, zeros)


def final_leaf(last: StateDigests, parts: Sequence[str], new_residual: str) -> bytes:
    """Data of the last leaf, 32 bytes.

    SHA-256(FINAL_TAG, last.leaf(), number of parts as uint32 big-endian, each part's payload digest, new residual's
    digest).
    """
    digests = b"".join(digest_bytes(part) for part in parts)
    return hashlib.sha256(
        FINAL_TAG + last.leaf() + len(parts).to_bytes(4, "big") + digests + digest_bytes(new_residual)
    ).digest()


def leaf_count(steps: int, every: int) -> int:
    """Number of leaves: 1 + ceil(steps / every)."""
    return 1 + -(-steps // every)


def leaf_steps(leaf: int, steps: int, every: int) -> int:
    """Inner steps of this round done at a leaf."""
    if not 0 <= leaf < leaf_count(steps, every):
        raise FormatError("There is no such trace leaf", f"leaf {leaf} of {leaf_count(steps, every)}")
    return min(leaf * every, steps)


@dataclass(frozen=True)
class Trace:
    """A commitment's trace: root, number of leaves, both end states with their proofs, and the new residual.

    `previous` is the digest of the member's last counted commitment, whose last state the first one continues; null
    when the member starts from zeros.
    """

    root: str
    leaves: int
    previous: str | None
    first: StateDigests
    first_proof: tuple[str, ...]
    last: StateDigests
    last_proof: tuple[str, ...]
    new_residual: str

    def check(self, parts: Sequence[str], steps: int, every: int) -> None:
        """Raises FormatError unless leaf count, step counts and both proofs are right for these part digests."""
        if self.leaves != leaf_count(steps, every):
            raise FormatError("A trace has a wrong number of leaves", f"{self.leaves}, not {leaf_count(steps, every)}")
        if self.last.step != self.first.step + steps:
            raise FormatError("A trace counts other steps than its commitment", f"{self.first.step}..{self.last.step}")
        if self.last.residual != self.first.residual:
            raise FormatError("A trace changes the residual during inner steps", "only the payload may change it")
        root = digest_bytes(self.root)
        merkle.require(root, self.first.leaf(), 0, self.leaves, [digest_bytes(d) for d in self.first_proof])
        final = final_leaf(self.last, parts, self.new_residual)
        merkle.require(root, final, self.leaves - 1, self.leaves, [digest_bytes(d) for d in self.last_proof])

    def to_json(self) -> JsonObject:
        """The trace as JSON."""
        return {
            "root": self.root,
            "leaves": self.leaves,
            "previous": self.previous,
            "first": self.first.to_json(),
            "first_proof": list(self.first_proof),
            "last": self.last.to_json(),
            "last_proof": list(self.last_proof),
            "new_residual": self.new_residual,
        }

    @classmethod
    def read(cls, f: Fields) -> "Trace":
        """Reads what `to_json` writes."""
        return cls(
            f.digest("root"),
            f.integer("leaves", 2, MAX_LEAVES),
            f.optional_digest("previous"),
            f.child("first", StateDigests.read),
            f.digests("first_proof", 0, 32),
            f.child("last", StateDigests.read),
            f.digests("last_proof", 0, 32),
            f.digest("new_residual"),
        )
