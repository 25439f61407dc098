"""One run: all parts of the model over one clock and one bank."""

from __future__ import annotations

from collections.abc import Mapping

from tests.ledger_model.campaign import Campaign
from tests.ledger_model.disputes import Disputes
from tests.ledger_model.distributor import Distributor, proof_holds
from tests.ledger_model.epochs import BLOCK_AGE, Epochs
from tests.ledger_model.ledger import Ledger
from tests.ledger_model.money import Bank
from tests.ledger_model.parameters import Parameters
from tests.ledger_model.payments import Payments
from tests.ledger_model.registry import Registry
from tests.ledger_model.rules import ZERO
from tests.ledger_model.signers import Signers
from tests.ledger_model.tree import Leaf, Sibling


class Run:
    """The model. `now` is the time of the block in which the next call happens, `blocks` the hashes that it can see."""

    def __init__(self, parameters: Parameters, addresses: Mapping[str, str], chain_id: int, now: int) -> None:
        self.p, self.addresses, self.chain_id, self.now = parameters, dict(addresses), chain_id, now
        self.block = 0
        self.blocks: dict[int, bytes] = {}
        self.bank = Bank(parameters.asset)
        self.campaign = Campaign(self)
        self.registry = Registry(self)
        self.signers = Signers(self)
        self.ledger = Ledger(self)
        self.distributor = Distributor(self)
        self.payments = Payments(self)
        self.epochs = Epochs(self)
        self.disputes = Disputes(self)

    @property
    def native(self) -> bool:
        """Whether the asset is ETH."""
        return self.p.asset == ZERO

    def at(self, contract: str) -> str:
        """A contract's address."""
        return self.addresses[contract]

    @property
    def finished_for_a_dispute_period(self) -> bool:
        """The run's last settlement is a dispute period ago."""
        finished = self.epochs.finished_at
        return finished > 0 and self.now >= finished + self.p.dispute_period

    def proves(self, epoch: int, leaf: Leaf, proof: tuple[Sibling, ...]) -> bool:
        """Whether a leaf is in the final tree of an epoch."""
        entry = self.ledger.finals[epoch]
        return proof_holds(leaf, proof, Sibling(entry.root, entry.sum), entry.depth)

    def block_is(self, number: int, block_hash: bytes) -> bool:
        """Whether a block is at most 256 old and has this hash."""
        return self.block - BLOCK_AGE <= number < self.block and self.blocks.get(number) == block_hash
