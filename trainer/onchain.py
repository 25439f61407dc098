"""What a member reads from the chain with its own node: who signs, who trains, which rounds are anchored.

All calls block; an event loop runs them in a thread. A member trusts nobody else's word for any of this.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Protocol

from commonweight.chain.run import Run
from commonweight.chain.structs import EpochState
from commonweight.errors import ContractError, TrainingError
from commonweight.protocol.fields import hex32, lower_address
from trainer.registry import FRESH_S, Provider, Providers, Records


class ChainView(Protocol):
    """The questions that a member asks the chain."""

    def signers(self) -> tuple[str, ...]:
        """The signers in office, lower case."""

    def provider(self, index: int) -> Provider | None:
        """The provider at an index."""

    def providers(self, indices: Iterable[int]) -> dict[int, Provider]:
        """The providers at these indices, without those that there are none at."""

    def index_of_key(self, key: str) -> int:
        """The index that a signing key is registered for; TrainingError when there is none."""

    def successor(self, index: int, key: str) -> str | None:
        """The key that has taken the place of this one of an index; None where none has, by what is known here."""

    def anchored(self, round_: int, deadline_s: int, root: bytes) -> bool:
        """Whether this root of commitments is on chain."""

    def record_anchored(self, round_: int, digest: bytes) -> bool:
        """Whether this digest is on chain as a record of the round."""

    def attested(self) -> tuple[int, str] | None:
        """The checkpoint that was attested last, as (round, SHA-256 of its manifest); None before the first."""

    def time_s(self) -> int:
        """The latest block's time."""

    def final_s(self) -> int:
        """The time of the newest block that is taken as final."""

    def unsettled_epoch(self) -> int:
        """The first epoch that is neither final nor void."""

    def record_named(self, round_: int) -> bool:
        """Whether anything is on chain as the record of a round."""

    def training_end_s(self) -> int:
        """The first second after the last epoch of training."""

    def ended(self) -> str:
        """Why nothing can be trained any more, by the state of the run; "" while something can."""


class OnChain:
    """A run's chain, with short-lived copies of what changes rarely."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._signers: tuple[float, tuple[str, ...]] = (0.0, ())
        self._ended = (0.0, "")
        self._providers = Providers(run)
        self._records = Records(run)

    def signers(self) -> tuple[str, ...]:
        """The signers in office, lower case."""
        if time.monotonic() - self._signers[0] > FRESH_S:
            found = tuple(sorted(lower_address(signer) for signer in self._run.oracle.signers()))
            self._signers = (time.monotonic(), found)
        return self._signers[1]

    def provider(self, index: int) -> Provider | None:
        """The provider at an index; None when there is none."""
        return self._providers.at([index]).get(index)

    def providers(self, indices: Iterable[int]) -> dict[int, Provider]:
        """The providers at these indices, without those that there are none at."""
        return self._providers.at(indices)

    def index_of_key(self, key: str) -> int:
        """The index that a signing key is registered for; TrainingError when there is none."""
        try:
            return self._run.registry.index_of_key(key)
        except ContractError as problem:
            if problem.name == "UnknownProvider":
                raise TrainingError(
                    f"{key} is not a provider's signing key in this run",
                    "the registry does not know it",
                    "register first with `commonweight provider register`, or use the registered keystore",
                ) from None
            raise

    def successor(self, index: int, key: str) -> str | None:
        """The key that has taken the place of this one of an index. None while this one is registered, and where the
        node is behind and does not know it yet.
        """
        registry, block = self._run.registry, self._run.chain.block_number()
        try:
            if registry.index_of_key(key, block=block) != index:
                return None
            present = lower_address(registry.provider_at(index, block=block).signing_key)
        except ContractError as problem:
            if problem.name == "UnknownProvider":
                return None
            raise
        return None if present == key else present

    def anchored(self, round_: int, deadline_s: int, root: bytes) -> bool:
        """Whether this root of commitments is on chain, at the latest block."""
        return self._run.oracle.is_anchored(round_, deadline_s, root)

    def record_anchored(self, round_: int, digest: bytes) -> bool:
        """Whether this digest is on chain as a record of the round: the first that was named for it, or a later one."""
        first = self._run.oracle.record_of(round_)
        if first in (digest, bytes(32)):
            return first == digest
        return self._records.has(round_, digest)

    def attested(self) -> tuple[int, str] | None:
        """The checkpoint that was attested last, as (round, SHA-256 of its manifest); None before the first."""
        count = self._run.checkpoints.count()
        if count == 0:
            return None
        last = self._run.checkpoints.checkpoint_at(count - 1)
        return last.round, hex32(last.manifest_sha256)

    def time_s(self) -> int:
        """The latest block's time."""
        return self._run.chain.timestamp()

    def final_s(self) -> int:
        """The time of the newest block that is taken as final."""
        return self._run.chain.finalized_block().timestamp

    def unsettled_epoch(self) -> int:
        """The first epoch that is neither final nor void."""
        following = self._run.oracle.next_epoch()
        if following == 0:
            return 0
        state = self._run.oracle.epoch_info(following - 1).state
        return following if state in (EpochState.FINAL, EpochState.VOID) else following - 1

    def record_named(self, round_: int) -> bool:
        """Whether anything is on chain as the record of a round."""
        return self._run.oracle.record_of(round_) != bytes(32)

    def training_end_s(self) -> int:
        """The first second after the last epoch of training."""
        return self._run.params.epoch_end(self._run.params.last_epoch)

    def ended(self) -> str:
        """Why nothing can be trained any more, by the state of the run; "" while something can."""
        if time.monotonic() - self._ended[0] > FRESH_S:
            self._ended = time.monotonic(), self._run.ended()
        return self._ended[1]
