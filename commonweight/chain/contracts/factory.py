"""RunFactory: creates runs and tells which campaigns are its own."""

from __future__ import annotations

from typing import ClassVar

from commonweight.chain.contracts.base import Contract
from commonweight.chain.events import RunCreated, decode_events
from commonweight.chain.structs import RunAddresses, RunParams
from commonweight.chain.types import BlockId, Receipt
from commonweight.errors import ChainError


class Factory(Contract):
    """The factory of runs; see contracts/interfaces/IRunFactory.sol."""

    CONTRACT: ClassVar[str] = "RunFactory"

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
