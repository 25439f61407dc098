"""What an audit needs: where the chain and the published files are, and which run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from commonweight.chain.client import Chain

Progress = Callable[[str, int, int], None]
"""Told (what is being done, how far, of how much) while an audit works."""


@dataclass(frozen=True)
class AuditSettings:
    """`campaign` names the run. `store` is a folder or the address of an IPFS node, several divided by commas.

    `confirmations` None trusts the node's finalised block; a number means that many blocks below the latest.
    `data_dir` keeps the index of events between audits; without it the index is made anew in memory. Any other chain
    than `chain_id` is refused; one that does not answer is tried again for `patience_s`.
    """

    campaign: str
    rpc_urls: tuple[str, ...]
    store: str = ""
    confirmations: int | None = None
    data_dir: Path | None = None
    chain_id: int | None = None
    patience_s: float = 20.0

    def connect(self) -> Chain:
        """The chain, for reading."""
        return Chain(
            self.rpc_urls, chain_id=self.chain_id, confirmations=self.confirmations, patience_s=self.patience_s
        )


def quiet(_what: str, _done: int, _of: int) -> None:
    """Progress for nobody."""
