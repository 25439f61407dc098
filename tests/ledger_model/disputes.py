"""Wrong leaves and lists, the root game, and credits that someone doubts: sections 4.4 and 4.5."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from tests.ledger_model.distributor import proof_holds
from tests.ledger_model.epochs import Epoch, State
from tests.ledger_model.money import Dues, wrong_value
from tests.ledger_model.rules import SCALE, Broken, Refused, Rules, need, refuse
from tests.ledger_model.tree import (
    ANSWER_LEVELS,
    Leaf,
    Sibling,
    ancestor,
    bad_entry,
    fold,
    keccak,
    leaf_node,
    unpack_list,
)
from tests.ledger_model.typed import Report, Verdict

if TYPE_CHECKING:
    from tests.ledger_model.run import Run


class Standing(Enum):
    """Where a report stands that was accepted once."""

    PENDING = "pending"
    FINAL = "final"
    DEFAULTED = "void because a node was not answered; whether by fraud is open"
    FELL = "void by fraud"


@dataclass
class Node:
    """A node that a game asked for, shared by all games on the report."""

    hash: bytes
    sum: int
    asked_at: int
    answered_at: int = 0
    answer: tuple[Sibling, ...] = ()
    answerer: str = ""
    paid: bool = False


@dataclass
class Game:
    """One challenger's way down a tree."""

    digest: bytes
    challenger: str
    level: int
    position: int
    moved_at: int
    path: list[tuple[int, int]] = field(default_factory=list)
    closed: bool = False


@dataclass
class Challenge:
    """A doubt about one provider's credits in one epoch."""

    challenger: str
    until: int
    judged: bool = False
    convicted: bool = False
    over: bool = False


class Disputes:
    """Holds the bonds of open games and challenges and nothing else."""

    def __init__(self, run: Run) -> None:
        self.run, self.p = run, run.p
        self.games: list[Game] = []
        self.nodes: dict[tuple[bytes, int, int], Node] = {}
        self.challenges: dict[tuple[int, int], Challenge] = {}
        self.dues = Dues(run, "disputes")

    # ------------------------------------------------------------------------------------------- 4.4.1

    def right_leaf(self, epoch: Epoch, index: int) -> Leaf | None:
        """What anyone can compute of any index: last final leaf, list, acc, wage, registry. None: no leaf is right."""
        last = epoch.before.leaf(index)
        if last.C:
            last = replace(last, provider=self.run.registry.account(index))
        listed = sum(c for i, c in unpack_list(epoch.packed) if i == index)
        if not listed:
            return last
        if index >= epoch.provider_count:
            return None
        return last.credited(self.run.registry.account(index), listed, epoch.acc, epoch.wage)

    def prove_wrong_leaf(
        self,
        sender: str,
        report: Report,
        packed: bytes,
        index: int,
        node: Sibling,
        proof: tuple[Sibling, ...],
        last: Leaf,
        last_proof: tuple[Sibling, ...],
    ) -> None:
        """A leaf's place, proved in the new root, that is not the right leaf's node: fraud."""
        epoch = self._accused(report)
        rules = Rules()
        rules.need(keccak(packed) == report.credits_hash, "WrongList")
        inside = index >> report.depth == 0 and len(proof) == report.depth
        rules.need(inside and fold(node, index, proof) == Sibling(report.root, report.sum), "InvalidProof")
        rules.need(
            last.index == index and proof_holds(last, last_proof, epoch.before_root, epoch.before.depth), "InvalidProof"
        )
        rules.hold()
        right = self.right_leaf(epoch, index)
        need(right is None or leaf_node(right) != node, "NotFraud")
        self.run.epochs.void_by_fraud(epoch, sender)

    def prove_bad_list(self, sender: str, report: Report, packed: bytes, position: int) -> None:
        """A list that is malformed at a position: fraud."""
        epoch = self._accused(report)
        need(keccak(packed) == report.credits_hash, "WrongList")
        need(bad_entry(packed, position, epoch.provider_count), "NotFraud")
        self.run.epochs.void_by_fraud(epoch, sender)

    def _accused(self, report: Report) -> Epoch:
        digest = self.run.signers.digest(report.struct_hash())
        epoch = self.run.epochs.reports.get(digest)
        if epoch is not None and self.standing(epoch) == Standing.PENDING:
            return epoch
        playing = any(g.digest == digest and not g.closed for g in self.games)
        if epoch is not None and self.standing(epoch) == Standing.DEFAULTED and playing:
            return epoch
        raise self._no_such_report(report)

    def _no_such_report(self, report: Report) -> Refused:
        """With a report on the same epoch pending it is the wrong one, else none is pending."""
        pending = self.run.epochs.pending
        broken = [Broken("NotPending")] if pending is None or pending.number != report.epoch else []
        return Refused([*broken, *([Broken("WrongReport")] if pending is not None else [])])

    def standing(self, epoch: Epoch) -> Standing:
        """Where the report of an epoch stands."""
        if epoch.state == State.REPORTED:
            return Standing.PENDING
        if epoch.state == State.FINAL:
            return Standing.FINAL
        return Standing.DEFAULTED if epoch.unanswered and not epoch.fraud else Standing.FELL

    # ------------------------------------------------------------------------------------------- 4.4.2

    @property
    def open_games(self) -> int:
        """Games whose bond is not settled."""
        return sum(not g.closed for g in self.games)

    def open_game(self, sender: str, report: Report, value: int) -> None:
        """Asks for the root's descendants: in the original window, or within a dispute period after a default."""
        epoch = self.run.epochs.reports.get(self.run.signers.digest(report.struct_hash()))
        standing = self.standing(epoch) if epoch else None
        rules, bond = Rules(), self.p.challenge_bond
        rules.need(not wrong_value(self.run, bond, value), "WrongValue", bond if self.run.native else 0)
        if epoch is not None and standing == Standing.PENDING:
            rules.need(self.run.now < epoch.window_end, "WindowOver")
        elif (
            epoch is None or standing != Standing.DEFAULTED or self.run.now >= epoch.settled_at + self.p.dispute_period
        ):
            rules.broken += self._no_such_report(report).broken
        rules.hold()
        assert epoch is not None
        game = Game(epoch.digest, sender, report.depth, 0, self.run.now)
        self.games.append(game)
        self._ask(game, Sibling(report.root, report.sum))
        self.run.bank.move(sender, self.run.at("disputes"), bond)

    def _ask(self, game: Game, node: Sibling) -> None:
        place = (game.digest, game.level, game.position)
        self.nodes.setdefault(place, Node(node.hash, node.sum, self.run.now))
        game.path.append((game.level, game.position))
        game.moved_at = self.run.now
        if self.standing(self.run.epochs.reports[game.digest]) == Standing.PENDING:
            self.run.epochs.hold(self.run.now + 2 * self.p.answer_time)

    def answer_deadline(self, epoch: Epoch, node: Node) -> int:
        """Until when a node can be answered: its time, and after a default the whole dispute period."""
        own = node.asked_at + self.p.answer_time
        return max(own, epoch.settled_at + self.p.dispute_period) if epoch.unanswered else own

    def answer_node(self, sender: str, digest: bytes, level: int, position: int, nodes: tuple[Sibling, ...]) -> None:
        """Anyone; the descendants must hash and sum to the node. Serves every game on it."""
        node = self.nodes.get((digest, level, position))
        if node is None:
            raise refuse("UnknownNode")
        epoch = self.run.epochs.reports[digest]
        rules = Rules()
        rules.need(not node.answered_at, "AlreadyAnswered")
        rules.need(self.run.now < self.answer_deadline(epoch, node), "TooLate")
        right = len(nodes) == 2 ** min(level, ANSWER_LEVELS) and ancestor(nodes) == Sibling(node.hash, node.sum)
        rules.need(right, "WrongAnswer")
        rules.hold()
        node.answered_at, node.answer, node.answerer = self.run.now, nodes, sender
        if self.standing(epoch) == Standing.PENDING:
            self.run.epochs.hold(self.run.now + self.p.answer_time)

    def descend(self, sender: str, number: int, nodes: tuple[Sibling, ...], child: int) -> None:
        """The challenger names the descendant that differs; at the leaves only a proof goes on."""
        game = self._game(number)
        node, rules = self.nodes[game.digest, game.level, game.position], Rules()
        epoch = self.run.epochs.reports[game.digest]
        rules.need(self.standing(epoch) == Standing.PENDING or epoch.unanswered, "NotPending")
        rules.need(sender == game.challenger, "NotChallenger")
        rules.need(game.level > ANSWER_LEVELS, "AtLeaf")
        if rules.need(node.answered_at > 0, "NotAnswered"):
            rules.need(self.run.now < self._challenger_deadline(game, node), "TooLate")
            rules.need(nodes == node.answer and child < len(nodes), "WrongAnswer")
        else:
            rules.broken.append(Broken("WrongAnswer", None))
        rules.hold()
        game.level, game.position = game.level - ANSWER_LEVELS, (game.position << ANSWER_LEVELS) + child
        self._ask(game, nodes[child])

    def _challenger_deadline(self, game: Game, node: Node) -> int:
        return max(game.moved_at, node.answered_at) + self.p.answer_time

    def timeout_answer(self, number: int) -> None:
        """No answer in time: void at once."""
        game = self._game(number)
        epoch, node = self.run.epochs.reports[game.digest], self.nodes[game.digest, game.level, game.position]
        rules = Rules()
        rules.need(self.standing(epoch) == Standing.PENDING, "NotPending")
        rules.need(not node.answered_at, "AlreadyAnswered")
        rules.need(self.run.now >= node.asked_at + self.p.answer_time, "TooEarly")
        rules.hold()
        self.run.epochs.void_unanswered(epoch)

    def close_game(self, number: int) -> None:
        """Settles a bond: back if the report fell or was never answered, lost if the challenger fell silent."""
        game = self._game(number)
        epoch, node = self.run.epochs.reports[game.digest], self.nodes[game.digest, game.level, game.position]
        standing = self.standing(epoch)
        if standing in (Standing.PENDING, Standing.DEFAULTED):
            if node.answered_at:
                need(self.run.now >= self._challenger_deadline(game, node), "TooEarly")
            else:
                over = self.run.now >= self.answer_deadline(epoch, node)
                need(standing == Standing.DEFAULTED and over, "TooEarly")
                self.run.epochs.void_by_fraud(epoch, game.challenger)
                standing = Standing.FELL
        game.closed = True
        if standing == Standing.FELL or not node.answered_at:
            self.dues.owe(game.challenger, self.p.challenge_bond)
        else:
            self._lose(game)

    def _lose(self, game: Game) -> None:
        """Answerers get three times their gas, together up to half of the bond; the capital pool gets the rest.

        The gas of these transactions is worth far more than half of the small bond, so in ETH the half is paid whole.
        In tokens, whose price in gas nobody knows, an answer is worth an eighth.
        """
        purse, left = self.p.challenge_bond // 2, self.p.challenge_bond
        for place in game.path:
            node = self.nodes[game.digest, *place]
            if node.answered_at and not node.paid and purse:
                due = purse if self.run.native else self.p.challenge_bond // 8
                node.paid = True
                purse, left = purse - due, left - due
                self.dues.owe(node.answerer, due)
        self.dues.owe(self.run.at("distributor"), left)

    def _game(self, number: int) -> Game:
        """Games count from 1."""
        if not 1 <= number <= len(self.games) or self.games[number - 1].closed:
            raise refuse("GameOver")
        return self.games[number - 1]

    # ------------------------------------------------------------------------------------------- 4.5

    def challenge_credits(self, sender: str, number: int, index: int, value: int) -> None:
        """While the report is pending or within a dispute period of finality; again only if nobody judged it."""
        rules, epochs = Rules(), self.run.epochs
        epoch = epochs.all[number] if number < epochs.next else None
        in_time = epoch is not None and (
            epoch.state == State.REPORTED
            or (epoch.state == State.FINAL and self.run.now < epoch.settled_at + self.p.dispute_period)
        )
        rules.need(epoch is not None and in_time and index < epoch.provider_count, "NotJudgeable")
        earlier = self.challenges.get((number, index))
        rules.need(earlier is None or (earlier.over and not earlier.judged), "AlreadyChallenged")
        bond = self.p.dispute_bond
        rules.need(not wrong_value(self.run, bond, value), "WrongValue", bond if self.run.native else 0)
        rules.hold()
        self.challenges[number, index] = Challenge(sender, self.run.now + self.p.dispute_period)
        self.run.registry.providers[index].challenges += 1
        self.run.bank.move(sender, self.run.at("disputes"), bond)

    def answer_challenge(self, sender: str, number: int, index: int) -> None:
        """The provider's own evidence, in the same time."""
        rules = Rules()
        rules.need(self._undecided(number, index), "NotChallenged")
        if (number, index) in self.challenges:
            rules.need(sender == self.run.registry.account(index), "NotProvider")
        rules.hold()

    def submit_verdict(self, verdict: Verdict, signatures: tuple[bytes, ...]) -> None:
        """A quorum's judgement in time; acquittal gives the bond to the provider."""
        rules = Rules()
        rules.need(self._undecided(verdict.epoch, verdict.index), "NotChallenged")
        try:
            self.run.signers.quorum_of(verdict.struct_hash(self.run.signers.config_digest), signatures)
        except Refused as refused:
            rules.broken += refused.broken
        rules.hold()
        challenge = self.challenges[verdict.epoch, verdict.index]
        challenge.judged, challenge.convicted = True, verdict.convicted
        if not verdict.convicted:
            self._over(verdict.index, challenge)
            self.dues.owe(self.run.registry.providers[verdict.index].payout, self.p.dispute_bond)

    def enforce_verdict(self, report: Report, packed: bytes, index: int) -> None:
        """Credits leave the denominator, what they earned is a debt, the stake is slashed; once the epoch is final."""
        challenge = self.challenges.get((report.epoch, index))
        if challenge is None or not challenge.convicted or challenge.over:
            raise refuse("NotConvicted")
        epoch = self.run.epochs.all[report.epoch]
        if epoch.state != State.FINAL:
            raise refuse("NotFinal", report.epoch)
        rules = Rules()
        rules.need(epoch.digest == self.run.signers.digest(report.struct_hash()), "WrongReport")
        rules.need(keccak(packed) == keccak(epoch.packed), "WrongList")
        rules.hold()
        credits = sum(c for i, c in unpack_list(packed) if i == index)
        if credits:
            acc = self.run.distributor.acc_compute
            self.run.ledger.revoke(index, report.epoch, credits, acc)
            self.run.distributor.debts[index] += credits * (acc - epoch.acc + epoch.wage) // SCALE
            self.run.registry.slash(index, challenge.challenger)
        self._over(index, challenge)
        self.dues.owe(challenge.challenger, self.p.dispute_bond)

    def close_challenge(self, number: int, index: int) -> None:
        """No verdict in time, or a void epoch: the bond goes back and nothing changes."""
        challenge = self.challenges.get((number, index))
        if challenge is None or challenge.over:
            raise refuse("NotChallenged")
        if self.run.epochs.all[number].state != State.VOID:
            need(not challenge.judged and self.run.now > challenge.until, "TooEarly")
        self._over(index, challenge)
        self.dues.owe(challenge.challenger, self.p.dispute_bond)

    def _undecided(self, number: int, index: int) -> bool:
        challenge = self.challenges.get((number, index))
        return challenge is not None and not challenge.judged and not challenge.over and self.run.now <= challenge.until

    def _over(self, index: int, challenge: Challenge) -> None:
        challenge.over = True
        self.run.registry.providers[index].challenges -= 1
