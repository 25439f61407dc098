"""Puts a move on chain: only when nothing of this account's has happened since the look, and only if it would succeed.

The simulation runs on the pending block where the node has one, so that a proof that somebody else has just sent costs
this account nothing.
"""

from dataclasses import dataclass

from commonweight.audit.watcher.moves import (
    AnswerNode,
    CloseGame,
    Descend,
    Move,
    OpenGame,
    ProveBadList,
    ProveEquivocation,
    ProveWrongLeaf,
    TakeDue,
    TimeoutAnswer,
)
from commonweight.audit.watcher.reading import Seen
from commonweight.chain.client import Call
from commonweight.chain.run import Run
from commonweight.chain.sending import Fees
from commonweight.chain.structs import RunParams
from commonweight.chain.types import Receipt
from commonweight.errors import ChainError, ContractError, InsufficientFunds


@dataclass(frozen=True)
class Sent:
    """A move that was mined. `receipt` is None for one that only prepared the move: it is due again."""

    receipt: Receipt | None


@dataclass(frozen=True)
class Refused:
    """A move that the contract would not take, or did not take, by the name of its error."""

    name: str
    why: str


def hurried(params: RunParams, fees: Fees) -> Fees:
    """Fees for moves with a deadline: re-priced early, and looked at again before half the answer time is over."""
    bump_s = min(fees.bump_after_s, max(3.0, params.answer_time / 10))
    give_up_s = min(fees.give_up_s, max(4 * bump_s, params.answer_time / 2))
    return Fees(fees.cap_wei, fees.tip_wei, fees.gas_margin_percent, bump_s, fees.bump_percent, give_up_s)


def perform(run: Run, move: Move, seen: Seen) -> Sent | Refused | None:
    """Send a move and wait until it is mined; None when the chain has to be looked at again first.

    Raises ChainError when it could not be sent, or is not mined in time: `Chain.settle` comes before the next look.
    """
    if run.chain.transaction_count(run.chain.address) != seen.nonce:
        return None
    value = 0
    if isinstance(move, OpenGame):
        if run.asset.allow(run.disputes.address, move.bond) is not None:
            return Sent(None)
        value = move.bond if run.asset.native else 0
    call = call_of(run, move)
    try:
        _simulate(run, call, value)
        return Sent(run.chain.send(call, value=value))
    except ContractError as refused:
        return Refused(refused.name, refused.why)
    except InsufficientFunds as poor:  # a bond may be too much where a proof is not
        return Refused("InsufficientFunds", f"{poor.why} {poor.fix}")


def call_of(run: Run, move: Move) -> Call:
    """The contract call that makes a move."""
    disputes, oracle = run.disputes, run.oracle
    match move:
        case ProveBadList():
            return disputes.make_call("proveBadList", move.report, move.credits, move.position)
        case ProveWrongLeaf():
            return disputes.make_call(
                "proveWrongLeaf", move.report, move.credits, move.index, move.leaf.hash, move.leaf.sum,
                list(move.proof), move.last, list(move.last_proof),
            )  # fmt: skip
        case OpenGame():
            return disputes.make_call("openGame", move.report)
        case Descend():
            return disputes.make_call("descend", move.game, list(move.descendants), move.child)
        case AnswerNode():
            return disputes.make_call("answerNode", move.digest, move.level, move.position, list(move.descendants))
        case TimeoutAnswer():
            return disputes.make_call("timeoutAnswer", move.game)
        case CloseGame():
            return disputes.make_call("closeGame", move.game)
        case ProveEquivocation():
            first, second = move.found.first, move.found.second
            return oracle.make_call(
                "proveEquivocation", first.report, first.signature, second.report, second.signature
            )  # fmt: skip
        case TakeDue():
            contract = oracle if move.contract == oracle.CONTRACT else disputes
            return contract.make_call("payOwed", run.chain.address)
    raise AssertionError(move)


def _simulate(run: Run, call: Call, value: int) -> None:
    """Raises ContractError when the call would fail on top of what is waiting to be mined, or already fails now."""
    try:
        run.chain.call(call, block="pending", value=value)
    except ContractError:
        raise
    except ChainError:  # a node without a pending block
        run.chain.call(call, value=value)
