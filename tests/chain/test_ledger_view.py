"""The ledger is rebuilt from chain data alone, and its proofs are what the contracts accept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from commonweight.chain.ledger_view import LedgerView
from commonweight.chain.run import Run
from commonweight.chain.structs import EpochState, Leaf
from commonweight.chain.types import Log
from commonweight.errors import ChainError, ContractError, Refuted, RpcUnavailable
from tests.chain.scenario import ETHER, KEYS, World

pytestmark = pytest.mark.chain


def test_roots_follow_from_lists_over_final_and_void_epochs(world: World) -> None:
    world.register(1, 2, 3)
    world.fund()
    world.settle(0, {0: 100, 2: 7})
    world.run.distributor.pay_revenue(ETHER)
    world.close(1)
    world.warp(world.run.oracle.epoch_info(1).closed_at + world.run.params.report_span + 1)
    world.run.oracle.void_epoch(1)
    world.settle(2, {0: 5, 1: 11})
    view = LedgerView.of(world.run)
    assert [(e.epoch, e.final, dict(e.credits)) for e in view.epochs.values()] == [
        (0, True, {0: 100, 2: 7}),
        (1, False, {}),
        (2, True, {0: 5, 1: 11}),
    ]
    assert all(e.genuine for e in view.epochs.values())
    latest = world.run.ledger.latest()
    assert (view.last_final, view.tree().root, view.tree().sum) == (2, latest.root, latest.sum)
    assert view.accounts == {0: KEYS[1].address, 1: KEYS[2].address, 2: KEYS[3].address}
    for index in range(3):
        proof = view.proof(index)
        assert world.run.ledger.verify_leaf(proof.epoch, proof.leaf, proof.siblings)
        assert not world.run.ledger.verify_leaf(proof.epoch, replace(proof.leaf, C=proof.leaf.C + 1), proof.siblings)


def test_a_proof_pays_wages_and_revenue_to_the_payout_address(world: World) -> None:
    world.register(1, 2)
    world.fund()
    world.settle(0, {0: 1_000_000, 1: 3_000_000})
    world.run.distributor.pay_revenue(ETHER)
    world.close(1)
    view = LedgerView.of(world.run)
    proof = view.proof(1)
    due = world.run.distributor.claimable_compute(proof.epoch, proof.leaf)
    assert due > 3_000_000 * 10**9
    before = world.run.chain.balance(KEYS[2].address)
    world.run.distributor.claim_compute(proof.epoch, proof.leaf, proof.siblings)
    assert world.run.chain.balance(KEYS[2].address) - before == due
    with pytest.raises(ContractError) as refused:
        world.run.distributor.claim_compute(proof.epoch, proof.leaf, proof.siblings)
    assert refused.value.name == "NothingDue"


def test_reading_on_gives_what_reading_at_once_gives(world: World) -> None:
    view = LedgerView(world.run)
    view.advance()
    world.register(1, 2)
    world.fund()
    view.advance()
    world.settle(0, {1: 9})
    view.advance(world.run.chain.block_number() - 1)
    view.advance()
    whole = LedgerView.of(world.run)
    assert view.epochs == whole.epochs
    assert view.to_block == whole.to_block == world.run.chain.block_number()
    assert view.proof(1) == whole.proof(1)


def test_logs_that_break_off_are_not_booked_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    view = LedgerView(world.run)
    view.advance()
    world.register(1, 2)
    world.fund()
    world.settle(0, {1: 9})
    whole, logs = LedgerView.of(world.run), world.run.chain.logs
    count = len(list(logs(list(world.run.contract_names), from_block=view.to_block + 1)))
    for read in range(1, count + 1):

        def breaking(*args: Any, read: int = read, **kwargs: Any) -> Iterator[Log]:
            for number, log in enumerate(logs(*args, **kwargs)):
                if number == read:
                    break
                yield log
            raise RpcUnavailable("The chain cannot be reached.", "", "")

        before = view.to_block
        monkeypatch.setattr(world.run.chain, "logs", breaking)
        with pytest.raises(RpcUnavailable):
            view.advance()
        monkeypatch.setattr(world.run.chain, "logs", logs)
        assert (view.to_block, view.epochs, view.accounts, view.reports) == (before, {}, {}, {})
    view.advance()
    assert (view.epochs, view.staked, view.accounts) == (whole.epochs, whole.staked, whole.accounts)
    assert (view.epochs[0].genuine, view.proof(1)) == (True, whole.proof(1))


def test_what_a_node_left_out_is_read_again_once_something_follows_from_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.register(1, 2)
    world.fund()
    world.close(0)
    logs = world.run.chain.logs
    view = LedgerView(world.run)
    monkeypatch.setattr(world.run.chain, "logs", lambda *_: iter(()))
    view.advance()
    assert view.closed == {}
    monkeypatch.setattr(world.run.chain, "logs", logs)
    world.report(0, {1: 9})
    world.finalize(0)
    with monkeypatch.context() as still:
        still.setattr(world.run.chain, "logs", lambda *a: (log for log in logs(*a) if log.block > view.to_block))
        with pytest.raises(ChainError, match="logs are not complete"):
            view.advance()
    assert view.reports == {}
    view.advance()
    assert (view.epochs, view.accounts) == (LedgerView.of(world.run).epochs, {0: KEYS[1].address, 1: KEYS[2].address})


def test_no_credits_is_an_error_by_name(world: World) -> None:
    world.register(1)
    with pytest.raises(ChainError, match="Provider 0 has no final credits"):
        LedgerView.of(world.run).proof(0)
    assert LedgerView.of(world.run).tree().depth == 0
    assert LedgerView.of(world.run).pending() is None


def test_a_false_root_is_seen_while_pending_and_when_final(world: World) -> None:
    world.register(1, 2)
    world.fund()
    world.close(0)
    world.report(0, {0: 5}, root=b"\x33" * 32)
    pending = LedgerView.of(world.run).pending()
    assert pending is not None
    assert not pending.genuine
    assert pending.credits == {0: 5}
    world.finalize(0)
    view = LedgerView.of(world.run)
    assert not view.epochs[0].genuine
    with pytest.raises(Refuted, match="No proof can be made"):
        view.proof(0)


def test_a_true_pending_report_is_genuine(world: World) -> None:
    world.register(1, 2, 3, 4)
    world.fund()
    world.close(0)
    world.report(0, {0: 5, 3: 8})
    pending = LedgerView.of(world.run).pending()
    assert pending is not None
    assert pending.genuine
    assert world.run.oracle.epoch_info(0).state is EpochState.REPORTED
    assert pending.tree is not None
    assert pending.tree.depth == 2


def test_the_first_block_is_the_one_that_created_the_run(world: World) -> None:
    first = Run.at(world.run.chain, world.run.address).first_block
    assert not world.run.chain.code(world.run.address, first - 1)
    assert world.run.chain.code(world.run.address, first)


def test_a_leaf_carries_its_accumulators(world: World) -> None:
    world.register(1)
    world.fund()
    world.settle(0, {0: 50})
    world.run.distributor.pay_revenue(ETHER)
    world.settle(1, {0: 70})
    view = LedgerView.of(world.run)
    first, second = view.epochs[0], view.epochs[1]
    assert second.acc > first.acc == 0
    assert view.leaf(0) == Leaf(0, KEYS[1].address, 120, 70 * second.acc, 50 * first.wage + 70 * second.wage)
