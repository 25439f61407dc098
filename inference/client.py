"""Asking a server and paying it: what `commonweight infer ask` does, and what any payer should check.

The payer trusts the chain and its own purse, not the server. Before it pays it checks that the checkpoint is
attested, that the price adds up and stays below the caller's maximum, and that the payment goes to this run's
contract. After the answer it checks the signed receipt against what it asked and what it got. A server that lies can
take at most what was promised for the requests under way, and is asked no more.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from commonweight.chain.keys import Key
from commonweight.chain.run import Run
from commonweight.errors import (
    ChannelDry,
    Dishonest,
    FormatError,
    InferenceError,
    PaymentError,
    PaymentRefused,
    SignatureError,
    TooExpensive,
    UsageError,
)
from commonweight.protocol.canonical import JsonObject, sha256_hex
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import Fields, hex32, lower_address
from commonweight.protocol.vouchers import SignedVoucher, channel_id, sign_voucher, voucher_signer
from commonweight.protocol.x402 import ChannelState, Payment, Reason, Requirements, VoucherState
from inference.answers import render_chat, text_sha256
from inference.budget import Budget
from inference.chainview import ChannelView
from inference.purse import Purse, Standing
from inference.receipts import Served, read_receipt
from inference.wire import Answered, Refusal, Wire

_NOT_YET = (
    Reason.CHANNEL_NOT_FOUND,
    Reason.EXCEEDS_BALANCE,
    Reason.STATE_READ_FAILED,
    Reason.CHANNEL_BUSY,
    "overloaded",
)
_OUT_OF_STEP = (Reason.AMOUNT_MISMATCH, Reason.VOUCHER_USED)
_ROUNDS = 8
_PAUSE_S = 0.5
_LEAVE = "ask this server no more, and withdraw what is left in the channel"


@dataclass(frozen=True)
class Ask:
    """What to ask: a prompt to go on with, or the messages of a chat as (role, content). `model` None asks the
    server.
    """

    prompt: str = ""
    messages: tuple[tuple[str, str], ...] = ()
    max_tokens: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    model: str | None = None

    @property
    def path(self) -> str:
        """The endpoint."""
        return "/v1/chat/completions" if self.messages else "/v1/completions"

    @property
    def text(self) -> str:
        """The prompt's text, as the server makes it from messages."""
        return render_chat(list(self.messages)) if self.messages else self.prompt

    def order(self, model: str, stream: bool) -> Order:
        """The request to send. Raises UsageError when what is asked is no text."""
        return Order(self.path, self.body(model, stream), self.text, self.max_tokens, self.seed)

    def body(self, model: str, stream: bool) -> bytes:
        """The request's body. Raises UsageError when what is asked is no text."""
        given: dict[str, object] = {"model": model, "max_tokens": self.max_tokens, "temperature": self.temperature}
        given |= {"top_p": self.top_p, "stream": stream}
        if self.messages:
            given["messages"] = [{"role": role, "content": content} for role, content in self.messages]
        else:
            given["prompt"] = self.prompt
        if self.seed is not None:
            given["seed"] = self.seed
        if self.stop:
            given["stop"] = list(self.stop)
        try:
            return json.dumps(given, ensure_ascii=False, separators=(",", ":")).encode()
        except UnicodeEncodeError as error:
            raise UsageError("What is asked is no text", "it is not UTF-8", "write it in UTF-8") from error


@dataclass(frozen=True)
class Order:
    """A request as it is sent: the endpoint, the body, and what of it bounds price and answer: the prompt's text, the
    most tokens, the seed that was named.
    """

    path: str
    body: bytes
    text: str
    max_tokens: int
    seed: int | None = None


@dataclass(frozen=True)
class Limits:
    """What the caller allows. Amounts are in the asset's smallest units.

    `max_amount` bounds what one request may cost. `deposit` is what to pay into a channel that does not hold enough,
    None for nothing. `server` and `checkpoint` (0x-hex), when given, are the only ones to accept. `max_delay_s`
    bounds how long the channel's money may be tied up, None by the run's own delay; `patience_s` how long to wait for a
    deposit to be final. `shown` is how messages show an amount.
    """

    max_amount: int
    deposit: int | None = None
    server: str | None = None
    checkpoint: str | None = None
    max_delay_s: int | None = None
    patience_s: float = 120.0
    shown: Callable[[int], str] = str


@dataclass(frozen=True)
class PaidAnswer:
    """An answer whose receipt was verified. `deposited` is what was paid into the channel for it, mostly 0."""

    text: str
    finish: str
    receipt: Served
    receipt_digest: str
    signed: JsonObject
    server: str
    channel_id: bytes
    deposited: int


@dataclass
class Payer:
    """Whoever pays with `key` on `run`, with the purse that remembers what was promised, and no more than the budget.
    Safe in several threads.
    """

    run: Run
    key: Key
    purse: Purse
    budget: Budget = field(default_factory=Budget)
    _attested: set[bytes] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._view = ChannelView(self.run)
        self.book = self.purse.book(self.run.chain.block(self.run.first_block).hash)
        self._address = lower_address(self.key.address)

    def ask(
        self, wire: Wire, question: Ask, limits: Limits, on_text: Callable[[str], None] | None = None
    ) -> PaidAnswer:
        """Ask and pay, as `buy` does, for a question that is yet to be written down."""
        order = question.order(question.model or wire.model(), on_text is not None)
        return self.buy(wire, order, limits, on_text)

    def buy(
        self, wire: Wire, order: Order, limits: Limits, on_text: Callable[[str], None] | None = None
    ) -> PaidAnswer:
        """Send a request and pay. With `on_text`, the answer, which the request must ask for as a stream, is given to
        it as it comes; what that raises ends the answer. A server whose terms have changed meanwhile, as when it begins
        to serve a newer checkpoint, is asked for the new ones once.

        Raises PaymentError when the terms are beyond the limits or the server lies (Dishonest), PaymentRefused when it
        takes no payment, InferenceError when it does not answer.
        """
        offer, channel, deposited = self._agree(wire, order, limits)
        try:
            answered, ceiling = self._pay(wire, order, offer, channel, limits, on_text)
        except PaymentRefused as refused:
            if refused.code != Reason.TERMS_CHANGED:
                raise
            offer, channel, more = self._agree(wire, order, limits)
            deposited += more
            answered, ceiling = self._pay(wire, order, offer, channel, limits, on_text)
        served, digest = self._verify(wire, order, offer, channel, ceiling, answered)
        return PaidAnswer(
            answered.text, served.finish, served, digest, answered.receipt, offer.pay_to, channel, deposited
        )

    # --- before paying -----------------------------------------------------------------------------------------------

    def _agree(self, wire: Wire, order: Order, limits: Limits) -> tuple[Requirements, bytes, int]:
        """The server's terms, which are within the limits, the channel to pay from, and what was paid into it now."""
        offer = self._offer(wire.price(order.path, order.body))
        self._check_offer(offer, order, limits)
        channel = channel_id(self._address, offer.pay_to, offer.asset, offer.withdraw_delay_s)
        self._catch_up(wire, channel, offer.pay_to)
        return offer, channel, self._fund(channel, offer, limits)

    def _offer(self, offers: tuple[Requirements, ...]) -> Requirements:
        """The offer for this run, on this chain, by its own contract."""
        run, asset = lower_address(self.run.address), self._view.asset
        for offer in offers:
            here = (offer.chain_id, offer.run, offer.payments, offer.asset)
            if here == (self._view.chain_id, run, self._view.payments, asset):
                return offer
        raise PaymentError(
            "The server does not sell this run's model",
            f"it names no payment on chain {self._view.chain_id} to the contract of run {run}",
            "check the server's address and the run's",
        )

    def _check_offer(self, offer: Requirements, order: Order, limits: Limits) -> None:
        price = (offer.prompt_tokens + offer.max_completion_tokens) * offer.price_per_token
        if offer.amount != price or offer.max_completion_tokens > order.max_tokens:
            raise PaymentError("The server's price does not add up", f"{offer.amount} is asked, {price} is the sum", "")
        if offer.prompt_tokens > len(order.text.encode()):
            raise PaymentError(
                "The server counts more tokens than the prompt has bytes",
                f"{offer.prompt_tokens}",
                "use another server",
            )
        if offer.amount > limits.max_amount:
            raise TooExpensive(
                "The request costs more than you allow",
                f"up to {limits.shown(offer.amount)}, the limit is {limits.shown(limits.max_amount)}",
                "ask for fewer tokens by max_tokens or --max-tokens, or allow more by --max-amount",
            )
        if limits.server is not None and offer.pay_to != lower_address(limits.server):
            raise PaymentError("This is another server", f"it is paid at {offer.pay_to}", "check the address")
        if limits.checkpoint is not None and hex32(offer.checkpoint) != limits.checkpoint:
            raise PaymentError("The server serves another checkpoint", hex32(offer.checkpoint), "use another server")
        longest = self.run.params.withdrawal_delay if limits.max_delay_s is None else limits.max_delay_s
        if offer.withdraw_delay_s > longest:
            why = f"for {offer.withdraw_delay_s} s, where {longest} s are allowed"
            raise PaymentError("The server wants to tie money up for too long", why, "allow more by --max-delay")
        self._check_attested(offer.checkpoint, time.monotonic() + limits.patience_s)

    def _check_attested(self, checkpoint: bytes, until: float) -> None:
        """Raises PaymentError for a checkpoint that is not. One whose block is not final here is waited for: servers go
        over to it as soon as it is final for them.
        """
        if checkpoint in self._attested:
            return
        registry, chain = self.run.checkpoints, self.run.chain
        while not registry.is_attested(checkpoint, block=chain.finalized_block().number):
            if not registry.is_attested(checkpoint):
                what = f"The checkpoint {hex32(checkpoint)} is not attested"
                raise PaymentError(what, "the run's registry does not have it", _LEAVE)
            if time.monotonic() > until:
                what = f"The attestation of checkpoint {hex32(checkpoint)} is not final yet"
                raise PaymentError(what, "your node has it, in a block that could still go", "ask again later")
            time.sleep(_PAUSE_S)
        self._attested.add(checkpoint)

    def _fund(self, channel: bytes, offer: Requirements, limits: Limits) -> int:
        """Pay into the channel when it does not hold enough; how much was paid."""
        standing, state = self._need(channel), self.run.payments.channel(channel)
        needed = standing.spent + standing.pending + offer.amount
        missing = needed - (state.deposited - state.withdrawal_amount)
        if missing <= 0:
            return 0
        if limits.deposit is None or limits.deposit < missing:
            leaving = f"; a withdrawal of {limits.shown(state.withdrawal_amount)} is under way"
            cancel = f", or take the withdrawal back by commonweight infer channel cancel {offer.pay_to}"
            raise ChannelDry(
                "The channel does not hold enough",
                f"{limits.shown(missing)} is missing for this request" + leaving * bool(state.withdrawal_at),
                f"pay at least that into it by commonweight infer channel open {offer.pay_to} AMOUNT, "
                "or by infer ask --deposit" + cancel * bool(state.withdrawal_at),
            )
        paying = Run.at(self.run.chain.with_key(self.key), self.run.address)
        paying.payments.deposit(self.key.address, offer.pay_to, offer.withdraw_delay_s, limits.deposit)
        return limits.deposit

    # --- paying ------------------------------------------------------------------------------------------------------

    def _pay(
        self,
        wire: Wire,
        order: Order,
        offer: Requirements,
        channel: bytes,
        limits: Limits,
        on_text: Callable[[str], None] | None,
    ) -> tuple[Answered, int]:
        """Send the request with vouchers until it is answered; the answer and the ceiling that paid for it."""
        until = time.monotonic() + limits.patience_s
        for _ in range(_ROUNDS):
            ceiling = self.budget.promise(self.book, channel, sha256_hex(order.body), offer.amount)
            signed = sign_voucher(channel, ceiling, self._view.vouchers, self.key.private_key)
            outcome = self._send(wire, order, self._header(offer, signed), until, on_text)
            if isinstance(outcome, Answered):
                return outcome, ceiling
            self.book.fail(channel, ceiling)
            self.budget.release(channel, ceiling)
            if outcome.code not in _OUT_OF_STEP:
                raise PaymentRefused(outcome.code, "The server refused the payment", outcome.message, "")
            self._reconcile(wire, channel, offer.pay_to)
        raise PaymentError("The server takes no voucher", f"{_ROUNDS} were refused", "use another server")

    def _send(
        self, wire: Wire, order: Order, header: str, until: float, on_text: Callable[[str], None] | None
    ) -> Answered | Refusal:
        """Send one paid request, again and again while the server cannot take it yet; the voucher stays the same."""
        while True:
            outcome = wire.paid(order.path, order.body, header, on_text)
            if isinstance(outcome, Answered) or outcome.code not in _NOT_YET or time.monotonic() > until:
                return outcome
            time.sleep(_PAUSE_S)

    def _header(self, offer: Requirements, signed: SignedVoucher) -> str:
        payment = Payment(
            offer.chain_id, offer.amount, offer.asset, offer.pay_to, self._address, offer.withdraw_delay_s, signed,
            offer.checkpoint,
        )  # fmt: skip
        return payment.to_header(offer)

    # --- afterwards --------------------------------------------------------------------------------------------------

    def _verify(
        self,
        wire: Wire,
        order: Order,
        offer: Requirements,
        channel: bytes,
        ceiling: int,
        answered: Answered,
    ) -> tuple[Served, str]:
        """Check the receipt against the request and the answer, and count it. Raises Dishonest."""
        try:
            signed = Signed.from_json(answered.receipt)
            served, digest = read_receipt(signed.to_bytes(), self._view.documents, offer.pay_to)
        except (FormatError, SignatureError) as error:
            raise Dishonest("The answer has no valid receipt", error.what, _LEAVE) from error
        wrong = [
            name
            for name, true in (
                ("run", served.run == offer.run),
                ("checkpoint", served.checkpoint == offer.checkpoint),
                ("channel", served.channel == channel),
                ("request", hex32(served.request_sha256) == sha256_hex(order.body)),
                ("answer", served.answer_sha256 == text_sha256(answered.text)),
                ("voucher", served.ceiling == ceiling),
                ("price", served.price_per_token == offer.price_per_token),
                ("prompt tokens", served.prompt_tokens == offer.prompt_tokens),
                ("tokens", served.completion_tokens <= min(order.max_tokens, len(answered.text.encode()))),
                ("seed", order.seed is None or served.seed == order.seed),
            )
            if not true
        ]
        if wrong:
            raise Dishonest("The receipt is not for this answer", "it differs in: " + ", ".join(wrong), _LEAVE)
        if not self._count(served, digest):
            self._reconcile(wire, channel, offer.pay_to)
            if not self._count(served, digest):
                raise Dishonest("The server does not give all its receipts", f"up to {served.sequence}", _LEAVE)
        return served, digest

    def _count(self, served: Served, digest: str) -> bool:
        """Count a receipt in the purse and, if it is for a request of this process, in the budget."""
        counted = self.book.count(served, digest)
        if counted:
            self.budget.count(served)
        return counted

    # --- the channel's past ------------------------------------------------------------------------------------------

    def _catch_up(self, wire: Wire, channel: bytes, server: str) -> None:
        """Bring the purse up to date where it may not be; raises PaymentError when the server took more than it may."""
        settled = self.run.payments.channel(channel).settled
        standing = self.book.standing(channel)
        if standing is None:
            standing = self._adopt(wire, channel, settled)
        elif standing.pending or settled > standing.spent:
            standing = self._reconcile(wire, channel, server)
        if settled > standing.spent:
            raise Dishonest(
                "The server has settled more than its receipts account for",
                f"{settled} on chain, {standing.spent} by receipts",
                _LEAVE,
            )

    def _adopt(self, wire: Wire, channel: bytes, settled: int) -> Standing:
        """Begin with a channel that the purse does not know: a new one, or one whose purse was lost."""
        told = wire.channel(channel)
        if told is None:
            return self.book.adopt(channel, 0, settled, settled)
        state, voucher = self._told(told, channel)
        signed = 0 if voucher is None else voucher.signed_max_claimable
        if not settled <= state.charged <= max(signed, settled):
            raise Dishonest(
                "The server claims more than was signed", f"{state.charged} charged, {signed} signed", _LEAVE
            )
        return self.book.adopt(channel, state.sequence, state.charged, max(signed, state.charged))

    def _reconcile(self, wire: Wire, channel: bytes, server: str) -> Standing:
        """Fetch and count the receipts that the purse lacks. Raises Dishonest when they do not explain the
        charges.
        """
        told = wire.channel(channel)
        if told is None:
            return self._need(channel)
        state, voucher = self._told(told, channel)
        standing = self._need(channel)
        if voucher is not None and voucher.signed_max_claimable > standing.highest:
            raise PaymentError(
                "The purse does not know all vouchers of this channel",
                f"the server has one of {voucher.signed_max_claimable}, the purse's highest is {standing.highest}",
                "use the purse that the channel was used with, or a channel with another withdrawal delay",
            )
        while standing.sequence < state.sequence:
            for signed in wire.receipts(channel, standing.sequence):
                served, digest = read_receipt(signed.to_bytes(), self._view.documents, server)
                self._count(served, digest)
            before, standing = standing, self._need(channel)
            if standing.sequence == before.sequence:
                break
        if state.charged > standing.spent:
            raise Dishonest(
                "The server claims more than its receipts account for",
                f"{state.charged} are charged, {standing.spent} by receipts",
                _LEAVE,
            )
        if state.reserved == 0:
            self.book.fail(channel)
        return self._need(channel)

    def _told(self, told: JsonObject, channel: bytes) -> tuple[ChannelState, VoucherState | None]:
        fields = Fields(told, "channel")
        state = fields.child("channelState", ChannelState.read)
        voucher = fields.optional_child("voucherState", VoucherState.read)
        if state.channel_id != channel:
            raise PaymentError("The server tells of another channel", hex32(state.channel_id), "use another server")
        if voucher is not None:
            signed = SignedVoucher(channel, voucher.signed_max_claimable, voucher.signature)
            if voucher_signer(signed, self._view.vouchers) != self._address:
                raise Dishonest("The server shows a voucher that is not yours", "its signature is another's", _LEAVE)
        return state, voucher

    def _need(self, channel: bytes) -> Standing:
        standing = self.book.standing(channel)
        if standing is None:
            raise InferenceError("The purse does not know this channel", hex32(channel), "")
        return standing
