"""The auditor follows proofs of fraud, root games, disputes over credits, bans and rotations, to the wei."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from commonweight.audit.verify import opened, verify
from commonweight.chain.events import ReportSubmitted
from commonweight.chain.keys import Key
from commonweight.chain.ledger_view import LedgerView
from commonweight.protocol.documents import Ban
from commonweight.protocol.evidence_check import leaves_of
from commonweight.protocol.structs import DisputeVerdict
from commonweight.protocol.sumtree import Leaf, SumTree, leaf_hash
from tests.audit.conftest import settings_of
from tests.audit.staging import Staged
from tests.audit.test_books import alterations, play
from tests.audit.test_verify import problems
from tests.chain.scenario import KEYS, SIGNERS

pytestmark = [pytest.mark.chain, pytest.mark.timeout(600)]


def signed(staged: Staged, decision: Ban | DisputeVerdict) -> list[bytes]:
    digest = decision.digest(staged.run.oracle.domain())
    return [key.sign_digest(digest) for key in SIGNERS[:2]]


def submitted(staged: Staged, epoch: int) -> ReportSubmitted:
    return next(event for event in staged.run.events_of(ReportSubmitted) if event.epoch == epoch)


def dispute(staged: Staged, epoch: int, index: int, convicted: bool) -> None:
    """Account 9 doubts a provider's credits; the signers decide."""
    by_nine, params = staged.world.by(9), staged.run.params
    by_nine.disputes.challenge_credits(epoch, index, b"\x0e" * 32, params.dispute_bond)
    verdict = DisputeVerdict(staged.run.oracle.config_digest(), epoch, index, convicted, b"\x0f" * 32)
    staged.run.disputes.submit_verdict(verdict, signed(staged, verdict))
    if convicted:
        event = submitted(staged, epoch)
        staged.run.disputes.enforce_verdict(event.report, event.credits, index)


def pay_what_is_owed(staged: Staged, accounts: Sequence[str]) -> None:
    for contract in (staged.run.oracle, staged.run.registry, staged.run.disputes):
        for account in (*accounts, staged.run.addresses.distributor):
            if contract.owed_to(account):
                contract.pay_owed(account)


def no_field_is_free(staged: Staged, names: set[str]) -> None:
    """Whatever is altered in these events is refuted."""
    with opened(settings_of(staged)) as audit:
        events = list(audit.index.events())
        assert not play(audit, events)
        assert names <= {type(event).__name__ for event in events}
        altered = [(name, field, changed) for name, field, changed in alterations(events) if name in names]
        unnoticed = [(name, field) for name, field, changed in altered if not play(audit, changed)]
    free = {(n, f) for n in names for f in ("evidence_sha256", "until", "digest", "sum", "hash", "level", "position")}
    free |= {("NodeAsked", ""), ("NodeAsked", "descendants"), ("FraudByDefault", "game"), ("FraudByDefault", "")}
    free |= {("ReportUnanswered", "epoch"), ("ReportUnanswered", "game"), ("GameOpened", "epoch")}
    free |= {("CreditsChallenged", "challenger")}  # of an acquitted provider: the bond is the provider's
    free |= {("WrongLeafProved", "index"), ("WrongLeafProved", "prover"), ("Convicted", "")}
    assert set(unnoticed) - free == set()


def test_a_conviction_and_an_acquittal_are_verified(closed_run: Staged) -> None:
    staged = closed_run
    staged.claim_all()
    dispute(staged, 0, 1, convicted=True)
    dispute(staged, 0, 2, convicted=False)
    staged.report(1)
    staged.world.finalize(1)
    staged.serve(10**15)
    staged.world.close(2)
    staged.claim_all()
    pay_what_is_owed(staged, [KEYS[9].address, KEYS[3].address])
    report = verify(settings_of(staged))
    assert problems(report) == {}
    assert next(check for check in report.checks if check.name == "quorum-signatures").detail == "2 checked"
    no_field_is_free(
        staged, {"Convicted", "CreditsChallenged", "VerdictGiven", "ChallengeClosed", "CreditsRevoked", "DebtAdded"}
    )


def false_tree(staged: Staged, epoch: int) -> SumTree:
    """The tree in which provider 0 gave itself a wage."""
    view = LedgerView.of(staged.run)
    _, earned = staged.evidence(epoch)
    facts = staged.facts(epoch)
    leaves = leaves_of(earned, facts)
    first = leaves[0]
    wrong = Leaf(first.index, first.provider, first.C, first.D, first.W + 1)
    return SumTree([wrong, *leaves[1:]], view.tree().depth)


def test_a_report_void_by_a_wrong_leaf_is_verified(closed_run: Staged) -> None:
    staged = closed_run
    tree, before = false_tree(staged, 1), LedgerView.of(staged.run)
    staged.report(1, root=tree.root)
    event = submitted(staged, 1)
    leaf, last = tree.leaf(0), before.leaf(0)
    assert leaf is not None
    assert last is not None
    staged.world.by(9).disputes.prove_wrong_leaf(
        event.report, event.credits, 0, leaf_hash(leaf), leaf.C, tree.proof(0), last, before.tree().proof(0)
    )
    pay_what_is_owed(staged, [KEYS[9].address])
    staged.claim_all()
    report = verify(settings_of(staged))
    assert problems(report) == {}  # what was false counts for nothing any more
    assert "voided" in next(c.detail for c in report.checks if (c.name, c.subject) == ("roots", "epoch 1"))
    no_field_is_free(staged, {"WrongLeafProved", "EpochVoided"})


def test_a_report_void_for_want_of_an_answer_is_verified(closed_run: Staged) -> None:
    staged = closed_run
    staged.report(1, root=b"\x66" * 32)
    event, params = submitted(staged, 1), staged.run.params
    challenger = staged.world.by(9).disputes
    challenger.open_game(event.report, params.challenge_bond)
    now = staged.run.chain.timestamp()
    staged.world.warp(now + params.answer_time + 1)
    challenger.timeout_answer(1)
    assert problems(verify(settings_of(staged))) == {}
    staged.world.warp(staged.run.chain.timestamp() + params.dispute_period + 2)
    challenger.close_game(1)
    pay_what_is_owed(staged, [KEYS[9].address])
    assert problems(verify(settings_of(staged))) == {}
    no_field_is_free(staged, {"GameOpened", "GameClosed", "ReportUnanswered"})


def test_a_lost_game_is_verified(closed_run: Staged) -> None:
    staged = closed_run
    staged.report(1)
    event, params = submitted(staged, 1), staged.run.params
    challenger = staged.world.by(9).disputes
    challenger.open_game(event.report, params.challenge_bond)
    tree = LedgerView.of(staged.run).pending()
    assert tree is not None
    assert tree.tree is not None
    depth = event.report.depth
    nodes = [tree.tree.node(0, place) for place in range(1 << depth)]
    staged.world.by(5).disputes.answer_node(event.digest, depth, 0, nodes)
    staged.world.warp(staged.run.chain.timestamp() + params.answer_time + 1)
    staged.run.disputes.close_game(1)
    pay_what_is_owed(staged, [KEYS[5].address])
    staged.world.finalize(1)
    assert problems(verify(settings_of(staged))) == {}


def test_bans_and_rotations_are_verified(closed_run: Staged) -> None:
    staged = closed_run
    oracle = staged.run.oracle
    until = staged.run.chain.timestamp() + 10_000
    ban = Ban(oracle.config_digest(), 2, b"\x0b" * 32, until)
    oracle.ban_provider(ban, signed(staged, ban))
    staged.report(1)
    staged.world.finalize(1)
    staged.world.rotate(SIGNERS[0], SIGNERS[1], Key.from_hex("0x" + "77" * 32))
    report = verify(settings_of(staged))
    assert problems(report) == {}
    assert next(check for check in report.checks if check.name == "quorum-signatures").detail == "2 checked"
    no_field_is_free(staged, {"Banned", "RotationProposed", "SignerSetChanged"})


def test_an_equivocator_is_slashed_to_the_wei(closed_run: Staged) -> None:
    staged = closed_run
    staged.report(1)
    event, oracle = submitted(staged, 1), staged.run.oracle
    another = replace(event.report, loss_micro=7)
    first = SIGNERS[0].sign_digest(event.report.digest(oracle.domain()))
    second = SIGNERS[0].sign_digest(another.digest(oracle.domain()))
    staged.world.by(9).oracle.prove_equivocation(event.report, first, another, second)
    pay_what_is_owed(staged, [KEYS[9].address])
    staged.world.finalize(1)
    assert problems(verify(settings_of(staged))) == {}
