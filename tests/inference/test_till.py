"""The till takes only payments to this server on this chain and channel, signed by the payer, that cover the price."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from commonweight.errors import PaymentRefused, RpcUnavailable
from commonweight.protocol.typed import Domain
from commonweight.protocol.vouchers import SignedVoucher, channel_id
from commonweight.protocol.x402 import Payment, Reason, Requirements, VoucherState
from inference.metering import Delivered, Reservation
from inference.till import Till, channel_state
from tests.inference.parts import (
    CHAIN_ID,
    CHANNEL,
    CHECKPOINT,
    DELAY_S,
    OTHER,
    OTHER_KEY,
    PAYER,
    PAYMENTS,
    PRICE,
    REQUEST,
    SERVER,
    StubChain,
    facts,
    make_till,
    offer,
    payment,
    voucher,
)

pytestmark = pytest.mark.unit
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@pytest.fixture
def chain() -> StubChain:
    return StubChain({CHANNEL: facts(deposited=1000)})


@pytest.fixture
def till(tmp_path: Path, chain: StubChain) -> Iterator[Till]:
    made = make_till(tmp_path, chain)
    yield made
    made.ledger.close()


def refused(till: Till, made: Payment, terms: Requirements | None = None) -> str:
    before = till.ledger.open_requests()
    with pytest.raises(PaymentRefused) as error:
        till.accept(made, terms or offer(till), REQUEST, "")
    assert till.ledger.open_requests() == before, "a refused payment reserves nothing"
    return error.value.code


def high_s(signed: SignedVoucher) -> SignedVoucher:
    r, s, v = signed.signature[:32], int.from_bytes(signed.signature[32:64], "big"), signed.signature[64]
    return SignedVoucher(signed.channel_id, signed.cumulative, r + (ORDER - s).to_bytes(32, "big") + bytes([55 - v]))


def test_a_good_payment_reserves_the_maximum(till: Till) -> None:
    taken = till.accept(payment(100), offer(till), REQUEST, "note")
    assert isinstance(taken, Reservation)
    assert (taken.maximum, taken.ceiling, taken.channel_id, taken.note) == (10 * PRICE, 100, CHANNEL, "note")


def test_the_offer_says_the_price_and_how_to_pay(till: Till) -> None:
    said = till.requirements(CHECKPOINT, 7, 3)
    assert (said.amount, said.pay_to, said.chain_id, said.payments) == (100, SERVER, CHAIN_ID, PAYMENTS)
    assert (said.withdraw_delay_s, said.prompt_tokens, said.max_completion_tokens) == (DELAY_S, 7, 3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"chain_id": 1}, Reason.NETWORK_MISMATCH),
        ({"pay_to": OTHER}, Reason.RECEIVER_MISMATCH),
        ({"asset": OTHER}, Reason.TOKEN_MISMATCH),
        ({"delay_s": DELAY_S - 1}, Reason.DELAY_MISMATCH),
        ({"delay_s": DELAY_S + 1}, Reason.CHANNEL_ID_MISMATCH),
        ({"payer": OTHER}, Reason.CHANNEL_ID_MISMATCH),
        ({"amount": 99}, Reason.TERMS_CHANGED),
    ],
)
def test_a_payment_for_something_else_is_refused(till: Till, changes: dict[str, object], reason: Reason) -> None:
    assert refused(till, payment(100, **changes)) == reason


def test_a_payment_for_another_checkpoint_buys_nothing_but_what_it_has_bought(till: Till) -> None:
    newer = replace(offer(till), checkpoint=b"\x08" * 32)
    old = payment(100, checkpoint=CHECKPOINT)
    taken = till.accept(old, offer(till), REQUEST, "")
    assert isinstance(taken, Reservation)
    assert refused(till, old, newer) == Reason.CHANNEL_BUSY
    till.ledger.charge(taken, 60, lambda before, sequence: b"receipt", "text")
    again = till.accept(old, newer, REQUEST, "")
    assert isinstance(again, Delivered) and (again.receipt, again.answer) == (b"receipt", "text")
    assert refused(till, payment(200, checkpoint=CHECKPOINT), newer) == Reason.TERMS_CHANGED
    assert isinstance(till.accept(payment(200, checkpoint=newer.checkpoint), newer, REQUEST, ""), Reservation)
    assert isinstance(till.accept(payment(300), newer, REQUEST, ""), Reservation), "terms that name none"


@pytest.mark.parametrize(
    "signed",
    [
        voucher(100, key=OTHER_KEY),
        voucher(100, domain=Domain(CHAIN_ID + 1, PAYMENTS)),
        voucher(100, domain=Domain(CHAIN_ID, "0x" + "d" * 40)),
        SignedVoucher(CHANNEL, 101, voucher(100).signature),
        SignedVoucher(CHANNEL, 100, bytes(65)),
        SignedVoucher(CHANNEL, 100, voucher(100).signature[:64] + b"\x00"),
        high_s(voucher(100)),
    ],
    ids=["other key", "other chain", "other contract", "other amount", "zeros", "v of 0", "high s"],
)
def test_a_signature_that_is_not_exactly_the_payers_is_refused(till: Till, signed: SignedVoucher) -> None:
    assert refused(till, payment(0, voucher=signed)) == Reason.SIGNATURE


def test_another_payers_voucher_does_not_pay_from_this_channel(till: Till) -> None:
    theirs = channel_id(OTHER, SERVER, "0x" + "0" * 40, DELAY_S)
    assert refused(till, payment(100, payer=OTHER)) == Reason.CHANNEL_ID_MISMATCH
    assert refused(till, payment(0, voucher=SignedVoucher(theirs, 100, voucher(100).signature))) == (
        Reason.CHANNEL_ID_MISMATCH
    )


def test_a_channel_without_a_final_deposit_is_refused(till: Till, chain: StubChain) -> None:
    chain.channels.clear()
    assert refused(till, payment(100)) == Reason.CHANNEL_NOT_FOUND


def test_a_voucher_below_the_price_is_refused(till: Till) -> None:
    assert refused(till, payment(99)) == Reason.AMOUNT_MISMATCH


def test_a_fresh_deposit_counts_at_once(till: Till, chain: StubChain) -> None:
    chain.channels[CHANNEL] = facts(deposited=50)
    till.ledger.observe(facts(deposited=50, read_at=facts().read_at - 5))
    chain.channels[CHANNEL] = facts(deposited=100)
    assert isinstance(till.accept(payment(100), offer(till), REQUEST, ""), Reservation)
    assert chain.reads == 1


def test_requests_on_a_known_channel_do_not_touch_the_chain(till: Till, chain: StubChain) -> None:
    for number in range(1, 6):
        till.accept(payment(100 * number), offer(till), f"0x{number:064x}", "")
    assert chain.reads == 1


def test_an_old_reading_is_renewed(tmp_path: Path, chain: StubChain) -> None:
    till = make_till(tmp_path, chain, refresh_s=30.0)
    till.ledger.observe(facts(read_at=facts().read_at - 31))
    till.accept(payment(100), offer(till), REQUEST, "")
    assert chain.reads == 1
    till.ledger.close()


def test_without_the_chain_a_reading_serves_for_half_the_withdrawal_delay(till: Till, chain: StubChain) -> None:
    chain.failure = RpcUnavailable("No endpoint answers")
    assert refused(till, payment(100)) == Reason.STATE_READ_FAILED
    till.ledger.observe(facts(read_at=facts().read_at - DELAY_S / 2 - 10))
    assert refused(till, payment(100)) == Reason.STATE_READ_FAILED
    till.ledger.observe(facts(read_at=facts().read_at - DELAY_S / 2 + 10))
    assert isinstance(till.accept(payment(100), offer(till), REQUEST, ""), Reservation)


def test_a_chain_that_cannot_be_read_is_not_waited_for_by_each_request(till: Till, chain: StubChain) -> None:
    """Each waits as long as an RPC endpoint may take, one after the other."""
    till.ledger.observe(facts(read_at=facts().read_at - 1001))
    chain.failure = RpcUnavailable("No endpoint answers")
    for number in range(1, 6):
        assert isinstance(till.accept(payment(100 * number), offer(till), f"0x{number:064x}", ""), Reservation)
    assert chain.reads == 1


def test_a_repeated_request_is_delivered_again(till: Till) -> None:
    taken = till.accept(payment(100), offer(till), REQUEST, "")
    assert isinstance(taken, Reservation)
    till.ledger.charge(taken, 20, lambda before, sequence: b"receipt", "text")
    assert till.accept(payment(100), offer(till), REQUEST, "") == Delivered(taken.request_id, b"receipt", "text")


def test_the_state_told_to_a_payer_is_the_ledgers(till: Till) -> None:
    taken = till.accept(payment(150), offer(till), REQUEST, "")
    assert isinstance(taken, Reservation)
    till.ledger.observe(facts(deposited=1000, settled=0, withdrawal_amount=30, withdrawal_at=1_003_600))
    account = till.ledger.account(CHANNEL)
    assert account is not None
    state = channel_state(account)
    assert (state.balance, state.charged, state.reserved, state.sequence) == (1000, 0, 100, 0)
    assert (state.withdraw_amount, state.withdraw_requested_at, state.withdraw_due_at) == (30, 1_000_000, 1_003_600)
    assert till.requirements(CHECKPOINT, 1, 1, account).voucher == VoucherState(150, voucher(150).signature)
    assert state.channel_id == CHANNEL and account.facts.payer == PAYER
