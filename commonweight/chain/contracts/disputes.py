"""Disputes: proofs against a pending report, the root game, and disputes over credits (specification 4.4 and 4.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from commonweight.chain.contracts.dues import DuesContract
from commonweight.chain.structs import DisputeVerdict, Leaf, Report, Sibling
from commonweight.chain.types import BlockId, Receipt


@dataclass(frozen=True)
class Game:
    """A root game: the node that it stands at, and when the last move was made."""

    digest: bytes
    challenger: str
    level: int
    position: int
    moved_at: int
    closed: bool


@dataclass(frozen=True)
class Node:
    """A node of a pending report's tree that was asked for; `answered_at` is 0 until someone answers."""

    hash: bytes
    sum: int
    asked_at: int
    answered_at: int
    answer_hash: bytes
    answerer: str


@dataclass(frozen=True)
class Challenge:
    """A challenge of credits; the zero address as challenger if there is none."""

    challenger: str
    until: int
    judged: bool
    convicted: bool


class Disputes(DuesContract):
    """Proofs of fraud, games and challenges; see contracts/interfaces/IDisputes.sol."""

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

    def open_game(self, report: Report, bond: int) -> Receipt:
        """Open a root game against the pending report, with the run's challenge bond."""
        return self._pay(bond, "openGame", report)

    def answer_node(self, digest: bytes, level: int, position: int, descendants: Sequence[Sibling]) -> Receipt:
        """Answer for a node of a pending report with its descendants."""
        return self._send("answerNode", digest, level, position, list(descendants))

    def descend(self, game: int, descendants: Sequence[Sibling], child: int) -> Receipt:
        """Name the descendant that differs from the true tree."""
        return self._send("descend", game, list(descendants), child)

    def timeout_answer(self, game: int) -> Receipt:
        """Void the report of a game that nobody answered in time."""
        return self._send("timeoutAnswer", game)

    def close_game(self, game: int) -> Receipt:
        """Close a game that is decided or whose challenger fell silent."""
        return self._send("closeGame", game)

    def challenge_credits(self, epoch: int, index: int, evidence_sha256: bytes, bond: int) -> Receipt:
        """Challenge a provider's credits of an epoch, with the run's dispute bond."""
        return self._pay(bond, "challengeCredits", epoch, index, evidence_sha256)

    def answer_challenge(self, epoch: int, index: int, evidence_sha256: bytes) -> Receipt:
        """Answer a challenge as the accused provider."""
        return self._send("answerChallenge", epoch, index, evidence_sha256)

    def submit_verdict(self, verdict: DisputeVerdict, signatures: Sequence[bytes]) -> Receipt:
        """Submit the signers' verdict."""
        return self._send("submitVerdict", verdict, list(signatures))

    def enforce_verdict(self, report: Report, credits_list: bytes, index: int) -> Receipt:
        """Revoke convicted credits of a final epoch, proved from its report's list."""
        return self._send("enforceVerdict", report, credits_list, index)

    def close_challenge(self, epoch: int, index: int) -> Receipt:
        """Close a challenge that got no verdict in time."""
        return self._send("closeChallenge", epoch, index)

    def open_games(self, *, block: BlockId = "latest") -> int:
        """How many games are open against the pending report."""
        return self._one(int, "openGames", block=block)

    def game_at(self, game: int, *, block: BlockId = "latest") -> Game:
        """A game by its number."""
        return self._named(Game, "gameAt", game, block=block)

    def node_at(self, digest: bytes, level: int, position: int, *, block: BlockId = "latest") -> Node:
        """A node that was asked for."""
        return self._named(Node, "nodeAt", digest, level, position, block=block)

    def challenge_of(self, epoch: int, index: int, *, block: BlockId = "latest") -> Challenge:
        """The challenge of a provider's credits of an epoch."""
        return self._named(Challenge, "challengeOf", epoch, index, block=block)
