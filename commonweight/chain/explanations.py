"""The contracts' errors in plain words: name -> (why it happened, what to do), and what their values are. A test keeps
it complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Kind = Literal["amount", "time", ""]
"""An amount of the run's asset in its smallest units, a block's time in seconds, or neither."""

_AMOUNTS = {
    "AmountExceedsVoucher": ("cumulative",),
    "CapExceeded": ("room",),
    "ReceivedOther": ("expected", "received"),
    "StakeTooLow": ("required",),
    "VoucherExceedsDeposit": ("deposited",),
    "VoucherNotNew": ("settled",),
    "WrongValue": ("expected",),
}
_TIMES = ("at", "bannedUntil", "until")

_INSIDE = "Only another contract of the run may call this."
_NOTHING = "Nothing is to be done."
_AGAIN = "Read the chain again and repeat with current values."
_AUDIT = "Run `commonweight audit verify` and report the run's address."

EXPLANATIONS: Mapping[str, tuple[str, str]] = {
    # creating a run
    "BadParameter": (
        "this parameter is outside what the contracts allow",
        "Correct it in the run's file; docs/specification.md, section 4.7, has the bounds.",
    ),
    "NoImplementation": ("an implementation address has no code", "Deploy again with scripts/deploy.py."),
    "FailedDeployment": (
        "a contract of the run could not be created",
        "Raise the gas limit, or check the factory's address.",
    ),
    "InvalidInitialization": ("the contract is set up already", _NOTHING),
    "NotInitializing": (_INSIDE, _NOTHING),
    "NotOracle": (_INSIDE, _NOTHING),
    "NotCampaign": (_INSIDE, _NOTHING),
    "NotDisputes": (_INSIDE, _NOTHING),
    # amounts and the asset
    "ZeroAmount": ("the amount is zero", "Give an amount above zero."),
    "ZeroAddress": ("an address is zero", "Give a real address."),
    "WrongValue": ("the ether sent is not the amount named", "Send exactly the amount; nothing with a run in tokens."),
    "ReceivedOther": (
        "the token delivered another amount than named",
        "Tokens that charge on transfer cannot be used.",
    ),
    "PaymentRefused": ("the receiver does not accept the payment", "Use a receiving address that accepts ether."),
    "InsufficientBalance": ("the balance is too small", "Put funds into the account."),
    "SafeERC20FailedOperation": ("the token refused the transfer", "Check the token balance and the allowance."),
    "SafeCastOverflowedUintDowncast": ("a value is too large", "Give a smaller value."),
    # funding
    "DepositsClosed": ("deposits ended with the cap or the deadline", "Funds can no longer be added to this run."),
    "DepositsOpen": (
        "deposits have not ended yet",
        "Wait for the deadline or the cap; `commonweight run show` tells when.",
    ),
    "CapExceeded": ("the deposit would pass the run's cap", "Deposit no more than the room that is left."),
    "NotFailed": (
        "refunds are for runs whose deadline passed below the goal",
        "Use `commonweight fund claim` for a run that succeeded.",
    ),
    "NotEnded": (
        "the escrow has not ended yet",
        "Wait until a milestone is missed or the run's last epoch is settled.",
    ),
    "NothingDue": (
        "there is nothing to be paid at present",
        "Look at the position again after the next payment or final epoch.",
    ),
    "NothingOwed": ("nothing is owed to this account", _NOTHING),
    "CloneArgumentsTooLong": ("the run's parameters are too long", "Use shorter texts."),
    "NotSettled": ("the epoch before is reported and not settled yet", "Finalise it first, once its window is over."),
    "CampaignNotSucceeded": (
        "the campaign has not reached its goal and ended its deposits",
        "Wait; `commonweight run show` tells when.",
    ),
    # providers
    "AlreadyRegistered": ("this account is a provider already", "Use its index, or register with another account."),
    "KeyTaken": ("this signing key belongs to a provider already", "Make a new key with `commonweight key new`."),
    "PeerTooLong": ("the peer address is too long", "Give host:port."),
    "StakeTooLow": ("the stake is below the run's minimum", "Stake at least the required amount."),
    "RegistryFull": ("no more providers can register in this run", "Choose another run."),
    "UnknownProvider": ("there is no such provider", "Register first with `commonweight provider register`."),
    "AlreadyExited": (
        "this provider has left already",
        "Its stake is paid by `commonweight provider exit --withdraw` when it is free.",
    ),
    "NotExited": ("this provider has not left", "Leave first with `commonweight provider exit`."),
    "StakeLocked": (
        "the stake is still liable for credited work",
        "Wait until the dispute period after the exit is over.",
    ),
    "BanNotLonger": ("a ban that lasts as long is recorded already", _NOTHING),
    # epochs and reports
    "NotAnchorer": (
        "only a signer or transmitter in office may anchor",
        "Use the key of a signer or transmitter of this run.",
    ),
    "NothingToAnchor": ("neither a root nor a record was given", "Give at least one of them."),
    "OutsideAnchorWindow": (
        "the round's anchor window is not open",
        "Anchor after the deadline and before the window ends.",
    ),
    "OutsideTraining": (
        "this time or epoch is outside the run's training",
        "Check the epoch; `commonweight run show` lists the bounds.",
    ),
    "AlreadyProved": ("this signer's equivocation of that epoch and attempt has cost its bond before", _NOTHING),
    "WagesMissing": (
        "wages of the last final epoch have not arrived at the distributor yet",
        "Call payWages of the campaign, which anyone can, and repeat the claim.",
    ),
    "WrongEpoch": ("epochs are closed and reported strictly in order", _AGAIN),
    "EpochNotOver": ("the epoch has not ended", "Wait until the time shown."),
    "NotClosed": ("the epoch is not closed, or has a report already", _AGAIN),
    "NotReported": ("the epoch has no accepted report", _AGAIN),
    "ReportSpanOver": (
        "the time for a report on this epoch is over",
        "The epoch becomes void; its work is credited in the next one.",
    ),
    "ReportSpanOpen": ("a report can still come until the time shown", "Wait until then."),
    "StillOpen": ("the challenge window is open until the time shown", "Wait until then."),
    "WrongConfig": ("the report is for another configuration or signer set", _AGAIN),
    "WrongAttempt": ("the report is for another attempt", "Sign again for the current attempt."),
    "WrongPrevRoot": ("the report does not follow the last final root", _AGAIN),
    "WrongSum": ("the report's sum is not the last sum plus its credits", "Check how the tree was built."),
    "WrongDepth": ("the report's depth does not fit the provider count", "Check how the tree was built."),
    "TooManyCredits": ("the credits pass the limit for this epoch", "Carry the rest over to the next epoch."),
    "ListTooLong": ("the credits list has more than 10,000 entries", "Carry the rest over to the next epoch."),
    "CidTooLong": ("a CID in the report has more than 128 bytes", "Name the content by its CIDv1 in base32."),
    "WrongListHash": ("the credits list is not the one that was signed", "Submit the list that belongs to the report."),
    "WrongBlock": ("the report's block is too old or not on this chain", "Sign again over a recent block."),
    "WrongSignatureOrder": ("signatures must ascend by signer address, each once", "Sort them."),
    "NotSigner": ("a signature is not by a signer in office", "Check the signer's key and the signer set."),
    "BondNotFull": ("the signer's bond is not full", "Pay it with `commonweight oracle bond`."),
    "TooFewSignatures": ("the quorum is not reached", "Collect more signatures."),
    "BadSignerSet": (
        "the signer set is not valid",
        "Give signers strictly ascending, as many transmitters, and a quorum above half.",
    ),
    "BondLocked": (
        "the bond is still liable for signed reports",
        "Wait until they have been settled for a dispute period.",
    ),
    "RotationPending": ("another rotation is announced already", "Wait until it takes office."),
    "NotProposed": ("no such signer set is announced", "Propose it first."),
    "RotationNotDue": ("the announced signer set takes office at the time shown", "Wait until then."),
    "NotEquivocation": (
        "these two reports prove no equivocation",
        "Check that one signer signed both, for one epoch and attempt.",
    ),
    "ECDSAInvalidSignature": ("a signature is not valid", "Sign again."),
    "ECDSAInvalidSignatureLength": ("a signature has a wrong length", "Give 65 bytes."),
    "ECDSAInvalidSignatureS": ("a signature is in its malleable form", "Sign again with a library that gives low s."),
    # disputes
    "AlreadyAnswered": ("this has been answered", _NOTHING),
    "AlreadyChallenged": ("these credits were challenged before, and are judged at most once", _NOTHING),
    "AtLeaf": ("the game stands at a leaf", "Prove the wrong leaf itself."),
    "GameOver": ("the game is decided", _NOTHING),
    "NotAnswered": ("the node has not been answered yet", "Wait for the answer, or until its time is over."),
    "NotChallenged": ("these credits are not challenged", _NOTHING),
    "NotChallenger": ("only the challenger may move now", "Use the challenger's key."),
    "NotConvicted": ("there is no conviction to enforce", _NOTHING),
    "NotJudgeable": ("these credits cannot be challenged now", "Check the epoch and the dispute period."),
    "NotProvider": ("only the accused provider may answer", "Use the provider's account."),
    "OnlyTokens": ("this way of paying is for tokens; this run takes ether", "Use `commonweight fund deposit`."),
    "TooEarly": ("the other side still has time", "Wait until its time is over."),
    "TooLate": ("the time for this is over", _NOTHING),
    "UnknownNode": ("nobody asked for this node", _AGAIN),
    "WindowOver": ("the time for new challenges is over", _NOTHING),
    "WrongAnswer": ("the answer does not hash and sum to the node", "Answer with the node's true descendants."),
    "NotPending": ("there is no pending report for this epoch", _AGAIN),
    "WrongReport": ("this is not the pending report", _AGAIN),
    "WrongList": ("this is not the pending report's credits list", _AGAIN),
    "NotFraud": ("the leaf or the list is right", _NOTHING),
    "InvalidProof": ("the proof does not lead to the root", "Make it again from the chain's current state."),
    # ledger and claims
    "NotFinal": ("the epoch is not final", "Use a final epoch; `commonweight provider credits` shows the last."),
    "UnknownCheckpoint": ("there is no such checkpoint", "Check the position."),
    "LeafOutOfRange": ("the leaf claims more than its credits can earn, so the attested tree is false", _AUDIT),
    "RootTooOld": (
        "credits were revoked since; the epoch shown is the oldest that can be used",
        "Claim on a later epoch.",
    ),
    "PoolFull": ("the pool cannot take more", "Pay into another run."),
    # payments
    "DelayOutOfRange": (
        "the withdrawal delay is below the run's minimum or too long",
        "Choose a delay within the bounds.",
    ),
    "ChannelFull": ("the channel cannot hold that much", "Deposit less."),
    "NotPayer": ("only the channel's payer may do this", "Use the payer's key."),
    "NotServer": ("this channel pays another server", "Settle only vouchers made out to you."),
    "BadSignature": ("the voucher is not signed by the channel's payer", "Leave this voucher out."),
    "VoucherNotNew": ("this much has been settled already", "Leave this voucher out."),
    "VoucherExceedsDeposit": ("the amount is more than the channel holds", "Settle no more than the deposit."),
    "AmountExceedsVoucher": (
        "the amount is more than the payer signed for",
        "Settle no more than the voucher's ceiling.",
    ),
    "NoWithdrawal": ("no withdrawal is under way", "Request one first."),
    "WithdrawalNotDue": ("the withdrawal is due at the time shown", "Wait until then."),
}


def kind_of(error: str, value: str) -> Kind:
    """What a value in an error of the contracts is, by both names."""
    if value in _TIMES:
        return "time"
    return "amount" if value in _AMOUNTS.get(error, ()) else ""
