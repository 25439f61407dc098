"""RunFactory: creates runs and tells which campaigns are its own."""

from __future__ import annotations

from typing import ClassVar

from commonweight.chain.client import Chain
from commonweight.chain.contracts.base import Contract
from commonweight.chain.events import RunCreated, decode_events
from commonweight.chain.structs import RunAddresses, RunParams
from commonweight.chain.types import BlockId, Receipt
from commonweight.errors import ChainError, ContractError, UsageError


class Factory(Contract):
    """The factory of runs; see contracts/interfaces/IRunFactory.sol."""

    CONTRACT: ClassVar[str] = "RunFactory"

    @classmethod
    def at(cls, chain: Chain, address: str) -> Factory:
        """The factory at an address. Raises UsageError if there is none."""
        named = cls(chain, address)
        if not chain.code(named.address):
            raise _no_factory(named.address, f"Chain {chain.chain_id} has no contract at this address")
        try:
            named.implementations()
        except ContractError:  # it has no such function
            raise _no_factory(named.address, "The contract there is not a factory") from None
        return named

    def create_run(self, params: RunParams) -> tuple[RunCreated, Receipt]:
        """Create a run. Raises ContractError `BadParameter` with the parameter's name if one is out of bounds."""
        receipt = self._send("createRun", params)
        for event in decode_events(receipt.logs, {self.address: self.CONTRACT}):
            if isinstance(event, RunCreated):
                return event, receipt
        raise ChainError(
            "The run was created without an event.",
            "The factory is of another version.",
            "Check the factory's address.",
        )

    def implementations(self, *, block: BlockId = "latest") -> RunAddresses:
        """The addresses that every clone delegates to."""
        return self._one(RunAddresses, "implementations", block=block)

    def is_run(self, campaign: str, *, block: BlockId = "latest") -> bool:
        """Whether this factory created the run."""
        return self._one(bool, "isRun", campaign, block=block)


def _no_factory(address: str, why: str) -> UsageError:
    return UsageError(
        f"There is no factory at {address}.",
        why,
        "Check --factory, or leave it out where a deployments file names one; check the RPC address too.",
    )
