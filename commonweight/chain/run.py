"""One run: all its contracts as typed wrappers, its parameters, and its events in chain order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from commonweight.chain.client import Chain
from commonweight.chain.contracts import (
    Asset,
    Campaign,
    Checkpoints,
    Disputes,
    Distributor,
    Ledger,
    Oracle,
    Payments,
    Registry,
)
from commonweight.chain.events import ChainEvent, E, RotationProposed, decode_events, topic_of
from commonweight.chain.structs import RunAddresses, RunParams
from commonweight.errors import ContractError, UsageError
from commonweight.quantities import when


@dataclass(frozen=True)
class Run:
    """The contracts of one run on a chain. Made by `Run.at`."""

    chain: Chain
    addresses: RunAddresses
    params: RunParams
    asset: Asset
    campaign: Campaign
    registry: Registry
    oracle: Oracle
    ledger: Ledger
    checkpoints: Checkpoints
    distributor: Distributor
    payments: Payments
    disputes: Disputes

    @classmethod
    def at(cls, chain: Chain, campaign: str) -> Run:
        """The run that a campaign's address names. Raises UsageError if there is no campaign at that address."""
        named = Campaign(chain, campaign, campaign)
        if not chain.code(named.address):
            raise UsageError(
                f"There is no run at {named.address}.",
                f"Chain {chain.chain_id} has no contract at this address",
                "Check the address (`commonweight run list` shows the runs) and the RPC address.",
            )
        try:
            addresses = named.addresses()
        except ContractError:  # it has no such function
            raise _no_campaign(named.address) from None
        if addresses.campaign != named.address:
            raise _no_campaign(named.address)
        params = named.params()
        return cls(
            chain,
            addresses,
            params,
            Asset(chain, params.asset),
            Campaign(chain, addresses.campaign, params.asset),
            Registry(chain, addresses.registry, params.asset),
            Oracle(chain, addresses.oracle, params.asset),
            Ledger(chain, addresses.ledger),
            Checkpoints(chain, addresses.checkpoints),
            Distributor(chain, addresses.distributor, params.asset),
            Payments(chain, addresses.payments, params.asset),
            Disputes(chain, addresses.disputes, params.asset),
        )

    @property
    def address(self) -> str:
        """The campaign's address, which names the run."""
        return self.addresses.campaign

    def ended(self) -> str:
        """Why nothing can be trained any more, by the state on chain; "" while something can."""
        if self.campaign.failed():
            return "the run has failed: its goal was not reached in time, and its funders are paid back"
        if self.oracle.finished_at():
            return "training is over: the run's last epoch is settled"
        return ""

    def untrainable(self) -> str:
        """Why no further round can be planned, by the state and the time on chain; "" while one can."""
        end = self.params.epoch_end(self.params.last_epoch)
        if (why := self.ended()) or self.chain.timestamp() < end:
            return why
        return f"training is over: the run's last epoch of training ended {when(end)}"

    @cached_property
    def first_block(self) -> int:
        """The block in which the run was created: its events begin there."""
        return self.campaign.created_block()

    @cached_property
    def contract_names(self) -> Mapping[str, str]:
        """Contract names by address."""
        return {
            w.address: w.CONTRACT
            for w in (
                self.campaign,
                self.registry,
                self.oracle,
                self.ledger,
                self.checkpoints,
                self.distributor,
                self.payments,
                self.disputes,
            )
        }

    def announced_set(self) -> RotationProposed | None:
        """The signer set that is announced and not in office yet; there is one at most."""
        next_one = self.oracle.rotation() + 1
        return next((event for event in self.events_of(RotationProposed) if event.rotation == next_one), None)

    def with_key_of(self, chain: Chain) -> Run:
        """The same run over another client, for example one with another key."""
        return Run.at(chain, self.address)

    def events(
        self, kinds: Sequence[type[ChainEvent]] = (), *, from_block: int | None = None, to_block: int | None = None
    ) -> Iterator[ChainEvent]:
        """The run's events in chain order, of the given classes or all, from the run's first block on by default; the
        last block is included.
        """
        names = self.contract_names
        wanted = {k.CONTRACT for k in kinds}
        addresses = [a for a, name in names.items() if not kinds or name in wanted]
        topics = [[topic_of(k) for k in kinds]] if kinds else []
        yield from decode_events(
            self.chain.logs(addresses, topics, self.first_block if from_block is None else from_block, to_block), names
        )

    def events_of(self, kind: type[E], *, from_block: int | None = None, to_block: int | None = None) -> Iterator[E]:
        """The run's events of one class, in chain order."""
        for event in self.events([kind], from_block=from_block, to_block=to_block):
            if isinstance(event, kind):
                yield event


def _no_campaign(address: str) -> UsageError:
    return UsageError(
        f"There is no run at {address}.",
        "The contract there is not a campaign",
        "Give the campaign's address (`commonweight run list` shows the runs).",
    )
