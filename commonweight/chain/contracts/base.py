"""What all wrappers share: an address on a chain, and typed reading and sending by function name."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from eth_utils.address import is_address, to_checksum_address

from commonweight.chain.abi import Interface, build, interface
from commonweight.chain.client import Call, Chain
from commonweight.chain.types import BlockId, Receipt
from commonweight.errors import UsageError

T = TypeVar("T")


class Contract:
    """A contract of type `CONTRACT` at an address. Making one asks the chain nothing."""

    CONTRACT: ClassVar[str]

    def __init__(self, chain: Chain, address: str) -> None:
        if not is_address(address):
            raise UsageError(
                f"{address} is not an address.", "An address is 0x and 40 hex digits.", "Check it for missing digits."
            )
        self.chain = chain
        self.address = str(to_checksum_address(address))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address})"

    def interface(self) -> Interface:
        """The contract's interface."""
        return interface(self.CONTRACT)

    def make_call(self, name: str, *args: object) -> Call:
        """A call of `name`, not yet made: for `Chain.send`, `Chain.call`, or signing elsewhere."""
        return Call(self.address, self.interface().function(name, len(args)), args)

    def _read(self, name: str, *args: object, block: BlockId) -> tuple[Any, ...]:
        return self.chain.call(self.make_call(name, *args), block=block)

    def _one(self, kind: type[T], name: str, *args: object, block: BlockId) -> T:
        """The single result of a view as a plain value or dataclass of type `kind`."""
        return build(kind, self._read(name, *args, block=block)[0])

    def _named(self, kind: type[T], name: str, *args: object, block: BlockId) -> T:
        """Several named results of a view as one dataclass."""
        call = self.make_call(name, *args)
        values = self.chain.call(call, block=block)
        return build(kind, dict(zip(call.function.output_names, values, strict=True)))

    def _send(self, name: str, *args: object, value: int = 0) -> Receipt:
        return self.chain.send(self.make_call(name, *args), value=value)
