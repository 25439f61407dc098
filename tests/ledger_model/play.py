"""Plays sequences on a node: deploys one run, keeps a snapshot of each prefix, and shortens what fails to a script."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from tests.conftest import put_back
from tests.ledger_model import invariants
from tests.ledger_model.actors import Actors
from tests.ledger_model.calls import Call
from tests.ledger_model.chain import Contracts, Node
from tests.ledger_model.draw import Move, draw, due
from tests.ledger_model.parameters import Parameters
from tests.ledger_model.rules import Refused
from tests.ledger_model.run import Run
from tests.ledger_model.steps import STEPS, Scene
from tests.ledger_model.views import compare

TOKENS = 10**9


class Mismatch(AssertionError):
    """Model and chain differ at a move."""

    def __init__(self, moves: Sequence[Move], message: str) -> None:
        super().__init__(message)
        self.moves = list(moves)


class Stage:
    """One run on one node. Every sequence starts from a copy of a prefix's scene and the chain's snapshot of it."""

    def __init__(self, node: Node, asset: str, compare_every: int = 1) -> None:
        self.node, self.asset, self.compare_every = node, asset, compare_every
        self.actors = Actors.over(node.accounts)
        self.contracts = Contracts(node)
        signers = tuple(k.address for k in self.actors.first)
        parameters = Parameters(signers, self.actors.first_transmitters)
        if asset == "token":
            parameters = replace(parameters, asset=self.contracts.make_token(self.actors.accounts, TOKENS))
        self.contracts.create(parameters)
        if asset == "token":
            payers = ("campaign", "oracle", "distributor", "payments", "disputes")
            self.contracts.approve(self.actors.accounts[:9], payers)
            self.contracts.approve(self.actors.providers, ["registry"])
        run = Run(parameters, self.contracts.addresses, node.chain_id, self.contracts.time)
        accounts = [*self.actors.accounts, *self.actors.signers]
        held = self.contracts.read([("", "balance", (account,)) for account in accounts])
        for account, (_, data) in zip(accounts, held, strict=True):
            run.bank.balances[account] = int.from_bytes(data, "big")
        self.scene = Scene(run, self.actors)
        self.total = sum(run.bank.balances.values())
        head = node.latest()
        run.block = int(head["number"], 16)
        run.blocks[run.block] = bytes.fromhex(head["hash"][2:])
        self._base = copy.deepcopy(self.scene)
        self._base_total = self.total
        self._snapshot = node.rpc("evm_snapshot")
        self._prefix: tuple[Scene, int, str] | None = None
        self.outcomes: Counter[str] = Counter()

    # ------------------------------------------------------------------------------------------- starting points

    def start(self, prefix: Sequence[Move]) -> None:
        """Play a prefix from the new run and remember where it ends."""
        put_back(self.node.rpc, self._snapshot)
        self._snapshot = self.node.rpc("evm_snapshot")
        self.scene, self.total = copy.deepcopy(self._base), self._base_total
        for k, move in enumerate(prefix):
            outcome = self._checked(move, prefix[: k + 1])
            assert outcome == "done", f"the prefix's move {move} is {outcome}"
        self._prefix = (copy.deepcopy(self.scene), self.total, self.node.rpc("evm_snapshot"))

    def again(self) -> None:
        """Back to the prefix's end."""
        assert self._prefix is not None
        scene, total, snapshot = self._prefix
        put_back(self.node.rpc, snapshot)
        self._prefix = (scene, total, self.node.rpc("evm_snapshot"))
        self.scene, self.total = copy.deepcopy(scene), total

    # ------------------------------------------------------------------------------------------- sequences

    def sequence(self, random: Random, length: int) -> None:
        """Draw and play a sequence. Raises Mismatch, shortened."""
        self.again()
        moves: list[Move] = []
        try:
            for _ in range(length):
                moves.append(draw(random, self.scene.run))
                self._checked(moves[-1], moves)
        except Mismatch as mismatch:
            raise self._shortened(mismatch) from None

    def replay(self, moves: Sequence[Move]) -> list[str]:
        """Play given moves from the prefix. Returns what became of each."""
        self.again()
        return [self._checked(move, moves[: k + 1]) for k, move in enumerate(moves)]

    def _shortened(self, mismatch: Mismatch) -> Mismatch:
        """A mismatch by fewer moves: each is left out, and its wait given to the next, if it still fails without it."""
        k = len(mismatch.moves) - 1
        while k >= 0 and len(mismatch.moves) > 1:
            shorter = mismatch.moves[:k] + mismatch.moves[k + 1 :]
            if k < len(shorter):
                name, wait, *choice = shorter[k]
                shorter[k] = (name, (wait or 0) + (mismatch.moves[k][1] or 0), choice[0], choice[1], choice[2])
            try:
                self.replay(shorter)
            except Mismatch as found:
                mismatch = found
            k = min(k, len(mismatch.moves)) - 1
        return mismatch

    def _checked(self, move: Move, so_far: Sequence[Move]) -> str:
        try:
            outcome = self._move(move)
            if len(so_far) % self.compare_every == 0:
                self.compare()
        except AssertionError as error:
            raise Mismatch(so_far, str(error)) from error
        self.outcomes[f"{move[0]}: {outcome}"] += 1
        return outcome

    # ------------------------------------------------------------------------------------------- one move

    def _move(self, move: Move) -> str:
        name, wait, *choice = move
        scene, run = self.scene, self.scene.run
        before = run.now
        at = due(run, name) if wait is None else before + wait
        run.now = max(before + 1, at or 0)
        run.block += 1
        call = STEPS[name](scene, *choice)
        if call is None:
            run.now, run.block = before, run.block - 1
            return "skipped"
        try:
            call.apply(run)
        except Refused as refused:
            return self._refused(call, refused)
        receipt = self.contracts.send(call, run.now)
        if run.native:
            gas = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
            run.bank.burn(call.sender, gas)
            self.total -= gas
        run.blocks[run.block] = bytes.fromhex(receipt["blockHash"][2:])
        assert int(receipt["blockNumber"], 16) == run.block, "one block for each move"
        return "done"

    def _refused(self, call: Call, refused: Refused) -> str:
        """The contract must refuse too, by one of the broken rules' names and with its figures."""
        reason = self.contracts.attempt(call, self.scene.run.now)
        assert reason is not None, f"the contract allows what the model refuses: {refused}"
        name, args = reason
        exact = any(b.error == name and b.args in (None, args) for b in refused.broken)
        family = any(b.args is None and name.startswith(b.error) for b in refused.broken)
        assert exact or family, f"refused by {name}{args}, not by {refused}"
        return name

    def compare(self) -> None:
        """Every view and every balance, and section 4.6 on what the chain says."""
        run = self.scene.run
        figures = compare(run, self.actors, self.contracts)
        honest = not any(f.digest in self.scene.dishonest for f in run.ledger.finals.values())
        invariants.check(figures, run, self.actors, self.total, honest)


def script(prefix: str, asset: str, kind: str, mismatch: Mismatch) -> str:
    """How to see it again."""
    lines = "\n".join(f'        ({move!r}, "done"),' for move in mismatch.moves)
    return (
        f"{mismatch}\n\nTo see it again ({kind}, {asset}), put into KNOWN of tests/ledger_model/test_sequences.py:\n"
        f"({prefix!r}, [\n{lines}\n    ]),"
    )
