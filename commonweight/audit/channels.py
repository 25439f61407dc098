"""The payment channels kept a second time: deposits, vouchers settled, servers' cuts, withdrawals, revenue passed on.

The payer's signature on a settled voucher stands in the transaction's data; it is checked there when the transaction
calls the contract directly. The contract has checked it in any case, and its code is checked elsewhere.
"""

from collections import defaultdict
from dataclasses import dataclass

from commonweight.audit.findings import Findings
from commonweight.chain.abi import decode_values, interface
from commonweight.chain.events import (
    ChainEvent,
    ChannelFunded,
    ServerCredited,
    ServerPaid,
    VoucherSettled,
    Withdrawn,
)
from commonweight.chain.run import Run
from commonweight.chain.structs import RunParams
from commonweight.chain.types import unhex
from commonweight.errors import FormatError
from commonweight.protocol.documents import Voucher
from commonweight.protocol.keys import recover_address
from commonweight.protocol.typed import keccak256

CHANNELS, VOUCHERS = "channels", "voucher-signatures"
CHANNEL_TAG = keccak256(b"commonweight.channel.v1")
BPS = 10_000


@dataclass
class _Channel:
    payer: str
    server: str
    delay: int
    deposited: int = 0
    settled: int = 0


class Channels:
    """The money in the run's payment channels."""

    def __init__(self, run: Run, findings: Findings) -> None:
        self._run = run
        self._params: RunParams = run.params
        self._findings = findings
        self._channels: dict[bytes, _Channel] = {}
        self._servers: dict[str, int] = defaultdict(int)
        self._settled: dict[bytes, list[VoucherSettled]] = defaultdict(list)
        self._total = 0
        self.money_in = self.money_out = 0
        self.revenue = 0

    @property
    def held(self) -> int:
        """What the contract has to hold."""
        return self.money_in - self.money_out

    def take(self, event: ChainEvent) -> None:
        """Book one event of the payments contract."""
        match event:
            case ChannelFunded():
                self._funded(event)
            case VoucherSettled():
                self._voucher(event)
            case ServerCredited():
                self._credited(event)
            case ServerPaid():
                due = self._servers[event.server]
                self._findings.equal(CHANNELS, f"the cut paid to {event.server}", event.amount, due)
                self._servers[event.server] = 0
                self.money_out += event.amount
            case Withdrawn():
                channel = self._channels[event.channel_id]
                left = channel.deposited - channel.settled
                inside = event.amount <= left
                self._findings.expect(CHANNELS, inside, f"more was withdrawn in block {event.block} than was left")
                channel.deposited -= event.amount
                self.money_out += event.amount

    def _funded(self, event: ChannelFunded) -> None:
        words = [bytes.fromhex(address[2:]).rjust(32, b"\0") for address in (event.payer, event.server)]
        asset = bytes.fromhex(self._params.asset[2:]).rjust(32, b"\0")
        named = keccak256(CHANNEL_TAG + b"".join(words) + asset + event.delay.to_bytes(32, "big"))
        self._findings.equal(CHANNELS, f"the id of the channel funded in block {event.block}", event.channel_id, named)
        channel = self._channels.setdefault(event.channel_id, _Channel(event.payer, event.server, event.delay))
        channel.deposited += event.amount
        self.money_in += event.amount
        self._findings.equal(CHANNELS, "a channel's deposits", event.deposited, channel.deposited)

    def _voucher(self, event: VoucherSettled) -> None:
        channel = self._channels[event.channel_id]
        self._findings.equal(
            CHANNELS, f"a settlement in block {event.block}", event.amount, event.cumulative - channel.settled
        )
        inside = channel.settled < event.cumulative <= channel.deposited
        self._findings.expect(CHANNELS, inside, f"a settlement in block {event.block} is not covered by its channel")
        channel.settled = event.cumulative
        self._total += event.amount
        self._settled[event.tx].append(event)

    def _credited(self, event: ServerCredited) -> None:
        cut = self._total * self._params.server_bps // BPS
        found, expected = (event.amount, event.revenue), (cut, self._total - cut)
        self._findings.equal(CHANNELS, f"cut and revenue in block {event.block}", found, expected)
        self._servers[event.server] += event.amount
        self.money_out += event.revenue
        self.revenue += event.revenue
        self._total = 0

    # --- at the end --------------------------------------------------------------------------------------------------

    def compare(self, block: int) -> None:
        """Compare with the contract's figures at a block."""
        payments = self._run.payments
        for channel_id, channel in self._channels.items():
            found = payments.channel(channel_id, block=block)
            mine = (channel.payer, channel.server, channel.delay, channel.deposited, channel.settled)
            theirs = (found.payer, found.server, found.delay, found.deposited, found.settled)
            self._findings.equal(CHANNELS, f"channel 0x{channel_id.hex()}", theirs, mine)
        for server, amount in self._servers.items():
            found_owed = payments.server_owed(server, block=block)
            self._findings.equal(CHANNELS, f"what is owed to {server}", found_owed, amount)
        self._findings.seen(CHANNELS)
        self._findings.seen(VOUCHERS)
        for tx, events in self._settled.items():
            with self._findings.checking(VOUCHERS):
                self._check_signatures(tx, events)

    def _check_signatures(self, tx: bytes, events: list[VoucherSettled]) -> None:
        body = self._run.chain.rpc("eth_getTransactionByHash", "0x" + tx.hex())
        settle = interface("InferencePayments").function("settle", 1)
        data = unhex(body["input"])
        if str(body["to"]).lower() != self._run.payments.address.lower() or data[:4] != settle.selector:
            self._findings.note(VOUCHERS, f"transaction 0x{tx.hex()} settled through another contract")
            return
        claims = decode_values(settle.inputs, data[4:])[0]
        if len(claims) != len(events):
            raise FormatError(f"Transaction 0x{tx.hex()} settled other vouchers than its events say")
        domain = self._run.payments.domain()
        for claim, event in zip(claims, events, strict=True):
            payer = self._channels[event.channel_id].payer
            voucher = Voucher(claim["channel_id"], claim["cumulative"])
            signer = recover_address(voucher.digest(domain), claim["signature"])
            covered = claim["channel_id"] == event.channel_id and claim["cumulative"] >= event.cumulative
            if not covered or claim["amount"] != event.cumulative:
                raise FormatError(f"A voucher in transaction 0x{tx.hex()} does not cover what was settled")
            self._findings.equal(VOUCHERS, "the signer of a voucher", signer, payer.lower())
