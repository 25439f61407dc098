"""The x402 (version 2) objects of paid requests, as they stand base64-encoded in HTTP headers.

Names and meanings follow x402's HTTP transport and its `batch-settlement` scheme: a server asks with
PAYMENT-REQUIRED, a client pays with PAYMENT-SIGNATURE, a server confirms with PAYMENT-RESPONSE. docs/protocol.md says
where our channels differ. Objects may carry fields that we do not know, as x402 extends its objects; those that we
know are checked.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, replace
from enum import StrEnum

from commonweight.errors import FormatError
from commonweight.protocol.canonical import Json, JsonObject, dumps, loads_object
from commonweight.protocol.fields import Fields, digest_bytes, hex32, lower_address
from commonweight.protocol.vouchers import SignedVoucher

__all__ = [
    "HEADER_REQUIRED", "HEADER_RESPONSE", "HEADER_SIGNATURE", "MAX_HEADER_BYTES", "SCHEME", "VERSION",
    "ChannelState", "Payment", "PaymentRequired", "PaymentResponse", "Reason", "Requirements", "VoucherState",
]  # fmt: skip

VERSION = 2
SCHEME = "batch-settlement"
HEADER_REQUIRED = "PAYMENT-REQUIRED"
HEADER_SIGNATURE = "PAYMENT-SIGNATURE"
HEADER_RESPONSE = "PAYMENT-RESPONSE"
MAX_HEADER_BYTES = 16 * 1024
_SIGNATURE = re.compile(r"0x[0-9a-fA-F]{130}")
_NETWORK = re.compile(r"eip155:([1-9][0-9]{0,17})")
_PREFIX = "invalid_batch_settlement_evm_"


class Reason(StrEnum):
    """Why a payment is refused: x402's codes where it has one for the case, and our own where it has none."""

    PAYLOAD = _PREFIX + "voucher_payload"
    SCHEME = _PREFIX + "scheme"
    NETWORK_MISMATCH = _PREFIX + "network_mismatch"
    RECEIVER_MISMATCH = _PREFIX + "receiver_mismatch"
    TOKEN_MISMATCH = _PREFIX + "token_mismatch"
    DELAY_MISMATCH = _PREFIX + "withdraw_delay_mismatch"
    CHANNEL_ID_MISMATCH = _PREFIX + "channel_id_mismatch"
    CHANNEL_NOT_FOUND = _PREFIX + "channel_not_found"
    CHANNEL_BUSY = _PREFIX + "channel_busy"
    STATE_READ_FAILED = _PREFIX + "channel_state_read_failed"
    SIGNATURE = _PREFIX + "voucher_signature"
    AMOUNT_MISMATCH = _PREFIX + "cumulative_amount_mismatch"
    EXCEEDS_BALANCE = _PREFIX + "cumulative_exceeds_balance"
    VOUCHER_USED = "commonweight_voucher_used"
    CHANNEL_REFUSED = "commonweight_channel_refused"
    TERMS_CHANGED = "commonweight_terms_changed"


@dataclass(frozen=True)
class ChannelState:
    """x402's `channelState`: what a server knows of a channel. Amounts in smallest units, cumulative; times in Unix
    seconds.

    `reserved`, `withdraw_amount` and `withdraw_due_at` are ours: the sum of open requests' maxima, and the requested
    withdrawal.
    """

    channel_id: bytes
    balance: int
    total_claimed: int
    charged: int
    reserved: int
    withdraw_amount: int
    withdraw_requested_at: int
    withdraw_due_at: int
    sequence: int

    def to_json(self) -> JsonObject:
        """The object of the header."""
        return {
            "channelId": hex32(self.channel_id),
            "balance": str(self.balance),
            "totalClaimed": str(self.total_claimed),
            "chargedCumulativeAmount": str(self.charged),
            "reservedAmount": str(self.reserved),
            "withdrawAmount": str(self.withdraw_amount),
            "withdrawRequestedAt": self.withdraw_requested_at,
            "withdrawDueAt": self.withdraw_due_at,
            "sequence": self.sequence,
        }

    @classmethod
    def read(cls, fields: Fields) -> ChannelState:
        """Checked reading; FormatError."""
        return cls(
            digest_bytes(fields.digest("channelId")),
            fields.decimal("balance"),
            fields.decimal("totalClaimed"),
            fields.decimal("chargedCumulativeAmount"),
            fields.decimal("reservedAmount"),
            fields.decimal("withdrawAmount"),
            fields.integer("withdrawRequestedAt"),
            fields.integer("withdrawDueAt"),
            fields.integer("sequence"),
        )


@dataclass(frozen=True)
class VoucherState:
    """x402's `voucherState`: the highest voucher that the server holds, proof of what the payer has signed."""

    signed_max_claimable: int
    signature: bytes

    def to_json(self) -> JsonObject:
        """The object of the header."""
        return {"signedMaxClaimable": str(self.signed_max_claimable), "signature": "0x" + self.signature.hex()}

    @classmethod
    def read(cls, fields: Fields) -> VoucherState:
        """Checked reading; FormatError."""
        return cls(fields.decimal("signedMaxClaimable"), _signature(fields))


@dataclass(frozen=True)
class Requirements:
    """x402's `PaymentRequirements`: what one request costs at most, and to whom and how it is paid.

    `amount` is `(prompt_tokens + max_completion_tokens) * price_per_token` in the asset's smallest units. Addresses
    are lower case, `checkpoint` is the manifest's sha256, `withdraw_delay_s` the shortest delay that a channel must
    have.
    """

    chain_id: int
    amount: int
    asset: str
    pay_to: str
    max_timeout_s: int
    payments: str
    run: str
    checkpoint: bytes
    withdraw_delay_s: int
    price_per_token: int
    prompt_tokens: int
    max_completion_tokens: int
    channel: ChannelState | None = None
    voucher: VoucherState | None = None

    def to_json(self) -> JsonObject:
        """One element of `accepts`."""
        extra: JsonObject = {
            "name": "Commonweight",
            "version": "1",
            "verifyingContract": self.payments,
            "run": self.run,
            "checkpoint": hex32(self.checkpoint),
            "withdrawDelay": self.withdraw_delay_s,
            "pricePerToken": str(self.price_per_token),
            "promptTokens": self.prompt_tokens,
            "maxCompletionTokens": self.max_completion_tokens,
        }
        if self.channel is not None:
            extra["channelState"] = self.channel.to_json()
        if self.voucher is not None:
            extra["voucherState"] = self.voucher.to_json()
        return {
            "scheme": SCHEME,
            "network": f"eip155:{self.chain_id}",
            "amount": str(self.amount),
            "asset": self.asset,
            "payTo": self.pay_to,
            "maxTimeoutSeconds": self.max_timeout_s,
            "extra": extra,
        }

    @classmethod
    def read(cls, fields: Fields) -> Requirements:
        """Checked reading; FormatError. Its scheme must be ours."""
        fields.choice("scheme", (SCHEME,))
        extra = Fields(fields.take("extra"), f"{fields.where}.extra")
        state, voucher = _optional(extra, "channelState"), _optional(extra, "voucherState")
        return cls(
            chain_id=read_network(fields),
            amount=fields.decimal("amount"),
            asset=_address(fields, "asset"),
            pay_to=_address(fields, "payTo"),
            max_timeout_s=fields.integer("maxTimeoutSeconds"),
            payments=_address(extra, "verifyingContract"),
            run=_address(extra, "run"),
            checkpoint=digest_bytes(extra.digest("checkpoint")),
            withdraw_delay_s=extra.integer("withdrawDelay"),
            price_per_token=extra.decimal("pricePerToken"),
            prompt_tokens=extra.integer("promptTokens"),
            max_completion_tokens=extra.integer("maxCompletionTokens"),
            channel=None if state is None else ChannelState.read(state),
            voucher=None if voucher is None else VoucherState.read(voucher),
        )


@dataclass(frozen=True)
class PaymentRequired:
    """The 402's header: `error` is a `Reason` or a sentence."""

    error: str
    resource: str
    accepts: tuple[Requirements, ...]

    def to_json(self) -> JsonObject:
        """The object of the header, also sent in the body."""
        resource: JsonObject = {"url": self.resource, "mimeType": "application/json"}
        accepts: list[Json] = [one.to_json() for one in self.accepts]
        return {"x402Version": VERSION, "error": self.error, "resource": resource, "accepts": accepts}

    def to_header(self) -> str:
        """The value of PAYMENT-REQUIRED."""
        return _encode(self.to_json())

    @classmethod
    def from_header(cls, value: str) -> PaymentRequired:
        """Checked reading; offers of other schemes are left out. FormatError."""
        fields = _decode(value, HEADER_REQUIRED)
        error = fields.text("error", 500)
        resource = Fields(fields.take("resource"), "resource").text("url", 2000)
        offers = (item for item in fields.items("accepts", 1, 16) if isinstance(item, dict))
        ours = (item for item in offers if item.get("scheme") == SCHEME)
        accepts = [Requirements.read(Fields(item, f"accepts[{at}]")) for at, item in enumerate(ours)]
        return cls(error, resource, tuple(accepts))


@dataclass(frozen=True)
class Payment:
    """x402's `PaymentPayload` with a voucher: which terms the payer accepts, from which channel, up to what total.

    `checkpoint` is the one of the accepted terms; None where they name none.
    """

    chain_id: int
    amount: int
    asset: str
    pay_to: str
    payer: str
    delay_s: int
    voucher: SignedVoucher
    checkpoint: bytes | None = None

    def to_header(self, offer: Requirements) -> str:
        """The value of PAYMENT-SIGNATURE, accepting `offer`, whose terms this payment must be made for."""
        accepted = replace(offer, channel=None, voucher=None).to_json()
        channel: JsonObject = {
            "payer": self.payer,
            "receiver": self.pay_to,
            "token": self.asset,
            "withdrawDelay": self.delay_s,
        }
        voucher: JsonObject = {
            "channelId": hex32(self.voucher.channel_id),
            "maxClaimableAmount": str(self.voucher.cumulative),
            "signature": "0x" + self.voucher.signature.hex(),
        }
        payload: JsonObject = {"type": "voucher", "channelConfig": channel, "voucher": voucher}
        return _encode({"x402Version": VERSION, "accepted": accepted, "payload": payload})

    @classmethod
    def from_header(cls, value: str) -> Payment:
        """Checked reading of form and agreement of the parts, not of the signature. FormatError."""
        fields = _decode(value, HEADER_SIGNATURE)
        accepted = Fields(fields.take("accepted"), "accepted")
        accepted.choice("scheme", (SCHEME,))
        payload = Fields(fields.take("payload"), "payload")
        payload.choice("type", ("voucher",))
        config = Fields(payload.take("channelConfig"), "payload.channelConfig")
        voucher = Fields(payload.take("voucher"), "payload.voucher")
        asset, pay_to = _address(accepted, "asset"), _address(accepted, "payTo")
        if _address(config, "receiver") != pay_to or _address(config, "token") != asset:
            raise FormatError(
                "A payment contradicts itself", "its channel has another receiver or token than its terms"
            )
        signed = SignedVoucher(
            digest_bytes(voucher.digest("channelId")), voucher.decimal("maxClaimableAmount"), _signature(voucher)
        )
        delay_s = config.integer("withdrawDelay")
        payer, amount = _address(config, "payer"), accepted.decimal("amount")
        network, checkpoint = read_network(accepted), _checkpoint(accepted)
        return cls(network, amount, asset, pay_to, payer, delay_s, signed, checkpoint)


@dataclass(frozen=True)
class PaymentResponse:
    """x402's `SettlementResponse` to a voucher: nothing moved on chain, so `transaction` and `amount` are empty.

    `receipt` is the sha256 of the signed receipt's body, the identifier of what was stored; empty when nothing was
    charged.
    """

    success: bool
    chain_id: int
    payer: str
    error_reason: str = ""
    charged: int = 0
    receipt: str = ""
    channel: ChannelState | None = None

    def to_json(self) -> JsonObject:
        """The object of the header, also sent in the last event of a stream."""
        result: JsonObject = {
            "success": self.success,
            "transaction": "",
            "network": f"eip155:{self.chain_id}",
            "payer": self.payer,
            "amount": "",
        }
        if not self.success:
            return {**result, "errorReason": self.error_reason}
        extra: JsonObject = {"chargedAmount": str(self.charged), "receipt": self.receipt}
        if self.channel is not None:
            extra["channelState"] = self.channel.to_json()
        return {**result, "extra": extra}

    def to_header(self) -> str:
        """The value of PAYMENT-RESPONSE."""
        return _encode(self.to_json())

    @classmethod
    def from_header(cls, value: str) -> PaymentResponse:
        """Checked reading; FormatError."""
        fields = _decode(value, HEADER_RESPONSE, versioned=False)
        success, chain_id = fields.boolean("success"), read_network(fields)
        payer = _address(fields, "payer")
        if not success:
            return cls(False, chain_id, payer, fields.text("errorReason", 500))
        extra = Fields(fields.take("extra"), "extra")
        state = _optional(extra, "channelState")
        charged, receipt = extra.decimal("chargedAmount"), extra.text("receipt")
        return cls(True, chain_id, payer, "", charged, receipt, None if state is None else ChannelState.read(state))


def read_network(fields: Fields) -> int:
    """The chain id of a CAIP-2 `network` field (eip155 only)."""
    match = _NETWORK.fullmatch(fields.text("network", 40))
    if match is None:
        raise FormatError(f"{fields.where}.network is not an EVM chain", "expected eip155: and a chain id")
    return int(match[1])


def _encode(value: JsonObject) -> str:
    return base64.b64encode(dumps(value)).decode()


def _decode(value: str, header: str, *, versioned: bool = True) -> Fields:
    if len(value) > MAX_HEADER_BYTES:
        raise FormatError(f"{header} is too long", f"it has {len(value)} characters, allowed are {MAX_HEADER_BYTES}")
    try:
        data = base64.b64decode(value.encode(), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise FormatError(f"{header} is not base64", str(error)) from error
    fields = Fields(loads_object(data, MAX_HEADER_BYTES, strict=False), header)
    if versioned:
        fields.integer("x402Version", VERSION, VERSION)
    return fields


def _address(fields: Fields, name: str) -> str:
    return lower_address(fields.text(name, 42))


def _signature(fields: Fields) -> bytes:
    text = fields.text("signature", 132)
    if not _SIGNATURE.fullmatch(text):
        raise FormatError(f"{fields.where}.signature is not a signature", "expected 0x and 130 hex digits")
    return bytes.fromhex(text[2:])


def _checkpoint(accepted: Fields) -> bytes | None:
    """The checkpoint that accepted terms name, if they do."""
    extra = _optional(accepted, "extra")
    try:
        named: Json = None if extra is None else extra.take("checkpoint")
    except FormatError:
        return None
    return None if named is None else digest_bytes(str(named))


def _optional(fields: Fields, name: str) -> Fields | None:
    try:
        value: Json = fields.take(name)
    except FormatError:
        return None
    return None if value is None else Fields(value, f"{fields.where}.{name}")
