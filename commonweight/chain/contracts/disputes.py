"""Disputes: proofs against a pending report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from commonweight.chain.contracts.base import Contract
from commonweight.chain.structs import Leaf, Report, Sibling
from commonweight.chain.types import Receipt


class Disputes(Contract):
    """Proofs of fraud; see contracts/interfaces/IDisputes.sol."""

    CONTRACT: ClassVar[str] = "Disputes"

    def prove_wrong_leaf(
        self,
        report: Report,
        credits_list: bytes,
        index: int,
        leaf_hash: bytes,
        leaf_sum: int,
        proof: Sequence[Sibling],
        last: Leaf,
        last_proof: Sequence[Sibling],
    ) -> Receipt:
        """Prove that the pending report's tree has a wrong leaf at `index`."""
        return self._send(
            "proveWrongLeaf", report, credits_list, index, leaf_hash, leaf_sum, list(proof), last, list(last_proof)
        )

    def prove_bad_list(self, report: Report, credits_list: bytes, position: int) -> Receipt:
        """Prove that the pending report's credits list is malformed at an entry."""
        return self._send("proveBadList", report, credits_list, position)
