"""What a sender does in one transaction, as a call of a contract and as a call of the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.ledger_model.run import Run
from tests.ledger_model.tree import Sibling


@dataclass(frozen=True)
class Call:
    """One transaction. `args` are the contract's own; structs are the model's dataclasses."""

    contract: str
    function: str
    sender: str
    args: tuple[Any, ...] = ()
    value: int = 0

    @property
    def paid(self) -> tuple[Any, ...]:
        """The arguments and the ETH that comes with them."""
        return (*self.args, self.value)

    def apply(self, run: Run) -> None:
        """Do it in the model. Raises Refused and changes nothing if a rule is broken."""
        _MODEL[self.contract, self.function](run, self)


Effect = Callable[[Run, Call], None]


def _prove_wrong_leaf(run: Run, call: Call) -> None:
    report, packed, index, leaf_hash, leaf_sum, *proofs = call.args
    run.disputes.prove_wrong_leaf(call.sender, report, packed, index, Sibling(leaf_hash, leaf_sum), *proofs)


_MODEL: dict[tuple[str, str], Effect] = {
    ("campaign", "deposit"): lambda r, c: r.campaign.deposit(c.sender, *c.paid),
    ("campaign", "refund"): lambda r, c: r.campaign.refund(c.sender),
    ("campaign", "claimUnspent"): lambda r, c: r.campaign.claim_unspent(c.sender),
    ("campaign", "claimFee"): lambda r, c: r.campaign.claim_fee(*c.args),
    ("campaign", "payWages"): lambda r, c: None,  # settling has moved them already
    ("registry", "register"): lambda r, c: r.registry.register(c.sender, *c.paid),
    ("registry", "rotateKey"): lambda r, c: r.registry.rotate_key(c.sender, *c.args),
    ("registry", "setPayout"): lambda r, c: r.registry.set_payout(c.sender, *c.args),
    ("registry", "addStake"): lambda r, c: r.registry.add_stake(c.sender, *c.paid),
    ("registry", "exit"): lambda r, c: r.registry.exit(c.sender),
    ("registry", "withdrawStake"): lambda r, c: r.registry.withdraw_stake(c.sender, *c.args),
    ("registry", "payOwed"): lambda r, c: r.registry.dues.pay(*c.args),
    ("oracle", "postBond"): lambda r, c: r.signers.post_bond(c.sender, *c.paid),
    ("oracle", "withdrawBond"): lambda r, c: r.signers.withdraw_bond(c.sender, *c.args),
    ("oracle", "proveEquivocation"): lambda r, c: r.signers.prove_equivocation(c.sender, *c.args),
    ("oracle", "banProvider"): lambda r, c: r.signers.ban_provider(*c.args),
    ("oracle", "proposeRotation"): lambda r, c: r.signers.propose_rotation(*c.args),
    ("oracle", "applyRotation"): lambda r, c: r.signers.apply_rotation(*c.args),
    ("oracle", "closeEpoch"): lambda r, c: r.epochs.close(*c.args),
    ("oracle", "submitReport"): lambda r, c: r.epochs.submit(*c.args),
    ("oracle", "finalizeEpoch"): lambda r, c: r.epochs.finalize(*c.args),
    ("oracle", "voidEpoch"): lambda r, c: r.epochs.void(*c.args),
    ("oracle", "payOwed"): lambda r, c: r.signers.dues.pay(*c.args),
    ("distributor", "payRevenue"): lambda r, c: r.distributor.pay_revenue(c.sender, *c.paid),
    ("distributor", "payCapital"): lambda r, c: r.distributor.pay_capital(c.sender, *c.paid),
    ("distributor", "claimCapital"): lambda r, c: r.distributor.claim_capital(*c.args),
    ("distributor", "claimCompute"): lambda r, c: r.distributor.claim_compute(*c.args),
    ("payments", "deposit"): lambda r, c: r.payments.deposit(c.sender, *c.paid),
    ("payments", "settle"): lambda r, c: r.payments.settle(c.sender, *c.args),
    ("payments", "claimServer"): lambda r, c: r.payments.claim_server(*c.args),
    ("payments", "requestWithdrawal"): lambda r, c: r.payments.request_withdrawal(c.sender, *c.args),
    ("payments", "cancelWithdrawal"): lambda r, c: r.payments.cancel_withdrawal(c.sender, *c.args),
    ("payments", "withdraw"): lambda r, c: r.payments.withdraw(c.sender, *c.args),
    ("disputes", "proveWrongLeaf"): _prove_wrong_leaf,
    ("disputes", "proveBadList"): lambda r, c: r.disputes.prove_bad_list(c.sender, *c.args),
    ("disputes", "openGame"): lambda r, c: r.disputes.open_game(c.sender, *c.paid),
    ("disputes", "answerNode"): lambda r, c: r.disputes.answer_node(c.sender, *c.args),
    ("disputes", "descend"): lambda r, c: r.disputes.descend(c.sender, *c.args),
    ("disputes", "timeoutAnswer"): lambda r, c: r.disputes.timeout_answer(*c.args),
    ("disputes", "closeGame"): lambda r, c: r.disputes.close_game(*c.args),
    ("disputes", "challengeCredits"): lambda r, c: r.disputes.challenge_credits(
        c.sender, c.args[0], c.args[1], c.value
    ),
    ("disputes", "answerChallenge"): lambda r, c: r.disputes.answer_challenge(c.sender, c.args[0], c.args[1]),
    ("disputes", "submitVerdict"): lambda r, c: r.disputes.submit_verdict(*c.args),
    ("disputes", "enforceVerdict"): lambda r, c: r.disputes.enforce_verdict(*c.args),
    ("disputes", "closeChallenge"): lambda r, c: r.disputes.close_challenge(*c.args),
    ("disputes", "payOwed"): lambda r, c: r.disputes.dues.pay(*c.args),
}
