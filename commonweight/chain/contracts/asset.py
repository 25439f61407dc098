"""The run's one currency: native ether (the zero address) or an ERC-20 token (EIP-20), behind one interface."""

from __future__ import annotations

from typing import Any, ClassVar

from commonweight.chain.abi import Interface, parse_interface
from commonweight.chain.client import Chain
from commonweight.chain.contracts.base import Contract
from commonweight.chain.structs import ZERO_ADDRESS
from commonweight.chain.types import BlockId, Receipt


def _entry(name: str, inputs: str, output: str) -> dict[str, Any]:
    items = [{"name": "", "type": kind} for kind in inputs.split()]
    return {"type": "function", "name": name, "inputs": items, "outputs": [{"name": "", "type": output}]}


_ERC20 = (
    _entry("symbol", "", "string"),
    _entry("decimals", "", "uint8"),
    _entry("balanceOf", "address", "uint256"),
    _entry("allowance", "address address", "uint256"),
    _entry("approve", "address uint256", "bool"),
    _entry("transfer", "address uint256", "bool"),
)


class Asset(Contract):
    """The asset at an address; the zero address is native ether."""

    CONTRACT: ClassVar[str] = "ERC20"

    def __init__(self, chain: Chain, address: str) -> None:
        super().__init__(chain, address)
        self.native = self.address == ZERO_ADDRESS

    def interface(self) -> Interface:
        """The part of EIP-20 that is used."""
        return _INTERFACE

    def symbol(self) -> str:
        """What the asset is called."""
        return "ETH" if self.native else self._one(str, "symbol", block="latest")

    def decimals(self) -> int:
        """How many decimal places one whole unit has."""
        return 18 if self.native else self._one(int, "decimals", block="latest")

    def balance_of(self, owner: str, *, block: BlockId = "latest") -> int:
        """An account's balance in smallest units."""
        return self.chain.balance(owner, block) if self.native else self._one(int, "balanceOf", owner, block=block)

    def transfer(self, to: str, amount: int) -> Receipt:
        """Move `amount` smallest units to `to`."""
        return self.chain.transfer(to, amount) if self.native else self._send("transfer", to, amount)

    def allow(self, spender: str, amount: int) -> Receipt | None:
        """Let `spender` take `amount` of a token, if it may not take that much yet. Native ether needs none: None.

        What it may take already is taken back first: there are tokens that change an allowance from nothing only.
        """
        allowed = 0 if self.native else self._one(int, "allowance", self.chain.address, spender, block="latest")
        if self.native or allowed >= amount:
            return None
        if allowed:
            self._send("approve", spender, 0)
        return self._send("approve", spender, amount)


class PaidContract(Contract):
    """A contract that takes payments in the run's asset."""

    def __init__(self, chain: Chain, address: str, asset: str) -> None:
        super().__init__(chain, address)
        self.currency = Asset(chain, asset)

    def _pay(self, amount: int, name: str, *args: object) -> Receipt:
        """Send a call that takes `amount`: as value in ether, or by allowance in a token."""
        self.currency.allow(self.address, amount)
        return self._send(name, *args, value=amount if self.currency.native else 0)


_INTERFACE = parse_interface("ERC20", _ERC20)
