"""One typed wrapper per contract: a method per function, in snake_case; views take `block=`, transactions wait until
mined.
"""

from commonweight.chain.contracts.asset import Asset
from commonweight.chain.contracts.campaign import Campaign
from commonweight.chain.contracts.disputes import Disputes
from commonweight.chain.contracts.distributor import Distributor
from commonweight.chain.contracts.factory import Factory
from commonweight.chain.contracts.ledger import Checkpoints, Ledger
from commonweight.chain.contracts.oracle import Oracle
from commonweight.chain.contracts.payments import Payments
from commonweight.chain.contracts.registry import Registry

__all__ = [
    "Asset",
    "Campaign",
    "Checkpoints",
    "Disputes",
    "Distributor",
    "Factory",
    "Ledger",
    "Oracle",
    "Payments",
    "Registry",
]
