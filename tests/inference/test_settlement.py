"""Settlement takes what was charged, all channels at once, when it is due, and never twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from commonweight.chain.structs import VoucherClaim
from commonweight.chain.types import Receipt
from commonweight.errors import ContractError, RpcUnavailable, TransactionStuck
from commonweight.protocol.vouchers import sign_voucher
from inference.metering import Ledger, Reservation
from inference.settlement import MAX_CLAIMS, Settled, Settler, claim_of
from tests.inference.parts import DELAY_S, PAYER_KEY, VOUCHERS, StubChain, facts

pytestmark = pytest.mark.unit


@dataclass
class StubPayments(StubChain):
    """Settles as the contract does, and can be told to refuse a channel or to die after the transaction was mined."""

    sent: list[list[VoucherClaim]] = field(default_factory=list)
    refuses: set[bytes] = field(default_factory=set)
    refuses_by: str = "BadSignature"
    asset_error: str = ""
    dies: bool = False
    stuck: bool = False
    final: bool = True
    asked: int = 0
    waiting: list[list[VoucherClaim]] = field(default_factory=list)

    def clear(self) -> None:
        """Wait for what was sent before, in vain while the chain is stuck."""
        if self.waiting and self.stuck:
            raise TransactionStuck("A transaction from before was sent and is not mined")
        while self.waiting:
            self._mine(self.waiting.pop(0))

    def settle(self, claims: Sequence[VoucherClaim]) -> Receipt:
        self.asked += 1
        if self.asset_error:
            raise ContractError(self.asset_error, "settle was refused")
        for claim in claims:
            if claim.channel_id in self.refuses or claim.amount <= self.channels[claim.channel_id].settled:
                raise ContractError(self.refuses_by, "settle was refused", f"{self.refuses_by} (position 0)")
        self.sent.append(list(claims))
        if self.stuck:
            self.waiting.append(list(claims))
            raise TransactionStuck("settle was sent and is not mined")
        self._mine(claims)
        if self.dies:
            raise RpcUnavailable("No endpoint answers")
        return Receipt(b"\x01" * 32, 1, b"\x02" * 32, 0, 0, None, ())

    def _mine(self, claims: Sequence[VoucherClaim]) -> None:
        for claim in claims:
            before = self.channels[claim.channel_id]
            final = claim.amount if self.final else before.settled_final
            self.channels[claim.channel_id] = replace(before, settled=claim.amount, settled_final=final)


@dataclass
class Scene:
    """A ledger with a settler and a clock."""

    ledger: Ledger
    chain: StubPayments
    now: float = 0.0
    least: int = 0
    every_s: float = 60.0

    def __post_init__(self) -> None:
        self.settler = self.new_settler()

    def new_settler(self) -> Settler:
        def refresh(channel: bytes) -> object:
            found = self.chain.read(channel)
            return None if found is None else self.ledger.observe(found)

        return Settler(
            self.ledger, refresh, self.chain.settle, self.chain.clear,  # type: ignore[arg-type]
            every_s=self.every_s, threshold=500, least=self.least, clock=lambda: self.now,
        )  # fmt: skip

    def sent(self, done: list[Settled]) -> list[list[VoucherClaim]]:
        """The claims of settlements that were just done."""
        return self.chain.sent[-len(done) :] if done else []

    def charge(self, channel: bytes, ceiling: int, amount: int) -> None:
        """A request that was answered and charged."""
        if self.ledger.account(channel) is None:
            self.chain.channels[channel] = facts(deposited=1000, channel=channel)
            self.ledger.observe(self.chain.channels[channel])
        signed = sign_voucher(channel, ceiling, VOUCHERS, PAYER_KEY)
        taken = self.ledger.reserve(signed, f"0x{ceiling:064x}", amount, "")
        assert isinstance(taken, Reservation)
        self.ledger.charge(taken, amount, lambda before, sequence: b"receipt", None)


A, B = b"\x0a" * 32, b"\x0b" * 32


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(Ledger(tmp_path / "ledger.sqlite"), StubPayments())
    yield made
    made.ledger.close()


@pytest.fixture
def patient(scene: Scene) -> Scene:
    """One whose time does not come in a test."""
    scene.every_s = 1e9
    scene.settler = scene.new_settler()
    return scene


def test_many_payers_are_settled_in_one_transaction_for_what_they_were_charged(scene: Scene) -> None:
    scene.charge(A, 100, 40)
    scene.charge(B, 70, 70)
    (done,) = scene.settler.settle_all()
    assert (done.channels, done.amount) == (2, 110)
    assert [(c.channel_id, c.cumulative, c.amount) for c in scene.chain.sent[0]] == [(A, 100, 40), (B, 70, 70)]
    assert scene.settler.settle_all() == []


def test_it_waits_for_its_time(scene: Scene) -> None:
    scene.charge(A, 100, 40)
    scene.now = 59.0
    assert scene.settler.settle_due() == []
    scene.now = 60.0
    assert len(scene.settler.settle_due()) == 1
    scene.charge(A, 200, 40)
    scene.now = 119.0
    assert scene.settler.settle_due() == []
    scene.now = 120.0
    assert [s.amount for s in scene.settler.settle_due()] == [40]


def test_it_does_not_wait_when_much_is_owed(scene: Scene) -> None:
    scene.charge(A, 499, 499)
    assert scene.settler.settle_due() == []
    scene.charge(B, 1, 1)
    assert [s.amount for s in scene.settler.settle_due()] == [500]


def test_a_withdrawal_that_would_take_what_was_charged_is_answered_at_once(scene: Scene) -> None:
    scene.charge(A, 100, 40)
    scene.charge(B, 100, 40)
    leaving = replace(scene.chain.channels[A], withdrawal_amount=970, withdrawal_at=1_000_000 + DELAY_S)
    scene.chain.channels[A] = leaving
    (done,) = scene.settler.settle_due()
    assert (done.channels, done.amount) == (1, 40), "the other channel can wait"


def test_a_withdrawal_that_leaves_enough_is_answered_before_it_is_due(patient: Scene) -> None:
    scene = patient
    scene.charge(A, 100, 40)
    due = 1_000_000 + DELAY_S
    scene.chain.channels[A] = replace(scene.chain.channels[A], withdrawal_amount=500, withdrawal_at=due)
    assert scene.settler.settle_due() == []
    scene.chain.channels[A] = replace(scene.chain.channels[A], chain_time=due - DELAY_S // 2)
    scene.now += DELAY_S / 8
    assert [s.amount for s in scene.settler.settle_due()] == [40]
    scene.charge(A, 200, 40)
    scene.now += DELAY_S / 8
    assert scene.settler.settle_due() == [], "what was charged later is not in danger"


def test_a_channel_that_owes_is_read_at_a_pace_at_which_no_withdrawal_is_missed(patient: Scene) -> None:
    for channel in (A, B):
        patient.charge(channel, 100, 40)
    for _ in range(102):
        patient.now += DELAY_S / 8 / 100
        assert patient.settler.settle_due() == []
    assert patient.chain.reads == 4, "when it was first seen to owe something, and an eighth of its delay later"
    leaving = replace(patient.chain.channels[A], withdrawal_amount=970, withdrawal_at=1_000_000 + DELAY_S)
    patient.chain.channels[A] = leaving
    begun, step = patient.now, DELAY_S / 16
    while not (done := patient.settler.settle_due()):
        patient.now += step
    assert [(s.channels, s.amount) for s in done] == [(1, 40)] and patient.now - begun <= DELAY_S / 8 + step


def test_a_withdrawal_that_something_else_has_seen_is_answered_without_another_reading(patient: Scene) -> None:
    patient.charge(A, 100, 40)
    assert patient.settler.settle_due() == [] and patient.chain.reads == 1
    leaving = replace(patient.chain.channels[A], withdrawal_amount=970, withdrawal_at=1_000_000 + DELAY_S)
    patient.ledger.observe(leaving)
    assert [s.amount for s in patient.settler.settle_due()] == [40]


def test_a_failed_reading_is_made_up_for_at_the_next_tick(patient: Scene) -> None:
    patient.charge(A, 100, 40)
    patient.chain.failure = RpcUnavailable("No endpoint answers")
    with pytest.raises(RpcUnavailable):
        patient.settler.settle_due()
    patient.chain.failure = None
    leaving = replace(patient.chain.channels[A], withdrawal_amount=970, withdrawal_at=1_000_000 + DELAY_S)
    patient.chain.channels[A] = leaving
    assert [s.amount for s in patient.settler.settle_due()] == [40]


def test_what_cannot_be_settled_makes_nothing_due_and_is_not_read(patient: Scene) -> None:
    """One channel that the chain refuses would else have a transaction sent for whatever crumbs came meanwhile."""
    patient.least = 10
    patient.settler = patient.new_settler()
    patient.charge(A, 900, 900)
    patient.ledger.refuse(A, "BadSignature")
    for number in range(100, 200):
        patient.charge(number.to_bytes(32, "big"), 9, 9)
    patient.charge(B, 100, 40)
    for _ in range(10):
        assert patient.settler.settle_due() == []
        patient.now += 1
    assert patient.chain.reads == 1, "of the one that can be settled"


def test_a_debt_that_no_deposit_covers_makes_nothing_due(patient: Scene) -> None:
    patient.charge(A, 900, 900)
    patient.chain.channels[A] = replace(patient.chain.channels[A], deposited=0)
    patient.charge(B, 100, 40)
    assert patient.settler.settle_due() == []


def test_a_settlement_in_time_that_fails_is_tried_at_once_again(scene: Scene) -> None:
    scene.charge(A, 100, 40)
    assert scene.settler.settle_due() == []
    scene.now = 60.0
    scene.chain.asset_error = "EnforcedPause"
    with pytest.raises(ContractError):
        scene.settler.settle_due()
    scene.chain.asset_error = ""
    assert [s.amount for s in scene.settler.settle_due()] == [40]
    scene.charge(A, 200, 40)
    scene.now = 61.0
    assert scene.settler.settle_due() == []


def test_a_crash_after_the_transaction_was_mined_settles_nothing_twice(scene: Scene) -> None:
    scene.charge(A, 100, 40)
    scene.chain.dies = True
    with pytest.raises(RpcUnavailable):
        scene.settler.settle_all()
    scene.chain.dies = False
    assert scene.new_settler().settle_all() == []
    assert len(scene.chain.sent) == 1
    account = scene.ledger.account(A)
    assert account is not None and account.unsettled == 0


def test_a_settlement_that_a_reorganisation_undoes_is_made_again(patient: Scene) -> None:
    patient.chain.final = False
    patient.charge(A, 100, 40)
    assert [s.amount for s in patient.settler.settle_all()] == [40] and patient.settler.settle_due() == []
    patient.chain.channels[A] = replace(patient.chain.channels[A], settled=0)
    patient.now += DELAY_S / 8
    assert patient.settler.settle_due() == []
    assert [s.amount for s in patient.new_settler().settle_all()] == [40], "by the next process, too"


def test_a_settlement_is_read_until_it_is_final(patient: Scene) -> None:
    patient.chain.final = False
    patient.charge(A, 100, 40)
    patient.settler.settle_all()
    patient.chain.channels[A] = replace(patient.chain.channels[A], settled_final=40)
    before = patient.chain.reads
    for _ in range(5):
        assert patient.settler.settle_due() == []
        patient.now += DELAY_S / 8
    assert patient.chain.reads == before + 1 and len(patient.chain.sent) == 1


def test_a_crash_before_the_transaction_was_sent_settles_on_the_next_start(scene: Scene) -> None:
    scene.charge(A, 100, 40)
    scene.chain.failure = RpcUnavailable("No endpoint answers")
    with pytest.raises(RpcUnavailable):
        scene.settler.settle_all()
    scene.chain.failure = None
    assert [s.amount for s in scene.new_settler().settle_all()] == [40]


def test_what_waits_to_be_mined_is_not_sent_again_beside_it(scene: Scene) -> None:
    """Each copy would be mined in the end, and pay gas for settling nothing."""
    scene.charge(A, 100, 40)
    scene.chain.stuck = True
    scene.now = 60.0
    for _ in range(3):
        with pytest.raises(TransactionStuck):
            scene.settler.settle_due()
    with pytest.raises(TransactionStuck):
        scene.new_settler().settle_all()
    scene.chain.stuck = False
    scene.charge(A, 200, 30)
    assert [s.amount for s in scene.settler.settle_due()] == [30]
    assert [[claim.amount for claim in claims] for claims in scene.chain.sent] == [[40], [70]]


def test_one_voucher_that_the_chain_refuses_holds_nobody_up(scene: Scene) -> None:
    for channel in (A, B):
        scene.charge(channel, 100, 40)
    scene.chain.refuses.add(A)
    done = scene.settler.settle_all()
    assert [(s.channels, s.amount) for s in done] == [(1, 40)]
    refused = scene.ledger.account(A)
    assert refused is not None and "BadSignature" in refused.refused
    assert scene.settler.settle_all() == []


@pytest.mark.parametrize("name", ["NotServer", "VoucherExceedsDeposit", "VoucherNotNew"])
def test_a_node_that_lags_behind_costs_no_channel(scene: Scene, name: str) -> None:
    """No claim is above the deposit that was seen, nor below what was settled: a node that says so has not seen it."""
    scene.charge(A, 600, 600)
    scene.charge(B, 100, 1)
    scene.chain.refuses, scene.chain.refuses_by = {A}, name
    assert [s.channels for s in scene.settler.settle_due()] == [1], "enough is owed; the other one is settled"
    asked = scene.chain.asked
    for _ in range(5):
        scene.now += 5
        assert scene.settler.settle_due() == []
    assert scene.chain.asked == asked, "it is not asked at every tick, nor makes others due"
    account = scene.ledger.account(A)
    assert account is not None and not account.refused
    for _ in range(40):
        scene.now += 30
        assert scene.settler.settle_due() == []
    assert scene.chain.asked >= asked + 40
    scene.chain.refuses = set()
    scene.now += 30
    assert [s.amount for s in scene.settler.settle_due()] == [600]


def test_a_withdrawal_is_answered_although_a_node_lags(patient: Scene) -> None:
    patient.charge(A, 100, 40)
    patient.chain.refuses, patient.chain.refuses_by = {A}, "VoucherNotNew"
    patient.chain.channels[A] = replace(
        patient.chain.channels[A], withdrawal_amount=970, withdrawal_at=1_000_000 + DELAY_S
    )
    patient.now += 1e6
    assert patient.settler.settle_due() == []
    patient.chain.refuses = set()
    patient.now += 30
    assert [s.amount for s in patient.settler.settle_due()] == [40]
    patient.charge(B, 100, 40)
    patient.chain.refuses = {B}
    assert patient.settler.settle_all() == []
    patient.chain.refuses = set()
    assert [s.amount for s in patient.settler.settle_all()] == [40], "at the end nothing rests"


@pytest.mark.parametrize("at", [0, 17, MAX_CLAIMS - 1])
def test_one_bad_voucher_among_many_costs_a_handful_of_transactions(scene: Scene, at: int) -> None:
    for number in range(MAX_CLAIMS):
        scene.charge(number.to_bytes(32, "big"), 10, 5)
    scene.chain.refuses.add(at.to_bytes(32, "big"))
    done = scene.settler.settle_all()
    assert sum(s.channels for s in done) == MAX_CLAIMS - 1 and len(done) <= 6, "each time half of what is left"
    refused = scene.ledger.account(at.to_bytes(32, "big"))
    assert refused is not None and refused.refused and scene.settler.settle_all() == []


@pytest.mark.parametrize("name", ["SafeERC20FailedOperation", "EnforcedPause", "DepositsOpen", "PoolFull"])
def test_what_is_no_fault_of_a_voucher_is_tried_again(scene: Scene, name: str) -> None:
    """A token that was paused for an hour would else leave everything that was served until then unpaid."""
    for channel in (A, B):
        scene.charge(channel, 100, 40)
    scene.chain.asset_error = name
    with pytest.raises(ContractError):
        scene.settler.settle_all()
    scene.chain.asset_error = ""
    assert [(s.channels, s.amount) for s in scene.settler.settle_all()] == [(2, 80)]


def test_no_more_than_the_deposit_is_asked_for(scene: Scene) -> None:
    scene.charge(A, 900, 900)
    scene.chain.channels[A] = replace(scene.chain.channels[A], deposited=300)
    assert [s.amount for s in scene.settler.settle_all()] == [300]
    assert scene.settler.settle_all() == []


def test_crumbs_that_cost_more_gas_than_they_bring_wait(scene: Scene) -> None:
    """A payer who asks for one token on each of many channels would have the server pay for settling them."""
    scene.least = 50
    scene.settler = scene.new_settler()
    scene.charge(A, 49, 49)
    scene.charge(B, 50, 50)
    assert [claim.channel_id for batch in scene.sent(scene.settler.settle_all()) for claim in batch] == [B]
    scene.charge(A, 50, 1)
    assert [claim.amount for batch in scene.sent(scene.settler.settle_all()) for claim in batch] == [50]


def test_large_batches_are_split(scene: Scene) -> None:
    for number in range(MAX_CLAIMS + 1):
        scene.charge(number.to_bytes(32, "big"), 10, 5)
    assert [s.channels for s in scene.settler.settle_all()] == [MAX_CLAIMS, 1]


def test_nothing_charged_is_no_claim(scene: Scene) -> None:
    scene.chain.channels[A] = facts(deposited=1000, channel=A)
    assert claim_of(scene.ledger.observe(scene.chain.channels[A])) is None
