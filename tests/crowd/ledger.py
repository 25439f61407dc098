"""The chain of the simulation: a block a second, anchors, registrations and bans; for signers and members alike."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from commonweight.chain.events import EpochClosed, RoundAnchored
from commonweight.chain.structs import EpochInfo, EpochState, LatestRoot, RunParams
from commonweight.chain.structs import Provider as Registered
from commonweight.chain.types import Block
from commonweight.protocol.documents import Ban
from commonweight.protocol.keys import address_of, recover_address
from commonweight.protocol.offices import Offices
from oracle.db import AnchorRow
from oracle.watch import View
from tests.crowd.clock import START_S, VirtualLoop
from tests.oracle.office import DOMAIN, RUN, SIGNERS, member_key
from trainer.registry import Provider

_FINALITY = 2


class Ledger:
    """What is on chain. `signers` of the run's keys are in office, `quorum` of them ban."""

    def __init__(self, loop: VirtualLoop, params: RunParams, members: int, signers: int, quorum: int) -> None:
        self.loop, self.params = loop, params
        self.in_office, self.quorum = SIGNERS[:signers], quorum
        self.keys = [address_of(member_key(i)) for i in range(members)]
        self.anchors: list[AnchorRow] = []
        self.bans: dict[int, Ban] = {}
        self.exits: set[int] = set()
        self.ended = ""
        self.attested: Callable[[], tuple[int, str] | None] = lambda: None

    # --- blocks ------------------------------------------------------------------------------------------------------

    @property
    def number(self) -> int:
        return int(self.loop.unix() - START_S) + 100

    def block_at(self, number: int) -> Block:
        hash_ = hashlib.sha256(b"block %d" % number).digest()
        return Block(number, hash_, bytes(32), int(START_S) - 100 + number, 0, 30_000_000)

    def block(self) -> Block:
        return self.block_at(self.number)

    def timestamp(self) -> int:
        return self.block().timestamp

    def send(self, call: tuple[Any, ...], *, gas: int) -> Any:
        """Blocks until it is in the next block."""
        self.loop.sleep(1.001 - self.loop.time() % 1)
        _, round_, deadline, root, record_round, record_hash = call
        row = AnchorRow(
            self.number, len(self.anchors), round_, self.params.epoch_of(deadline), deadline, root, record_round,
            record_hash, bytes(32),
        )  # fmt: skip
        self.anchors.append(row)
        return SimpleNamespace(block_number=row.block, tx_hash=bytes(32))

    def record_of(self, round_: int) -> bytes:
        found = [a.record_hash for a in self.anchors[-64:] if a.record_round == round_ and a.record_hash != bytes(32)]
        return found[0] if found else bytes(32)

    def is_anchored(self, round_: int, deadline: int, root: bytes) -> bool:
        return any((a.round, a.deadline, a.root) == (round_, deadline, root) for a in self.anchors[-64:])

    def ban_provider(self, ban: Ban, signatures: list[bytes]) -> Any:
        digest = ban.digest(DOMAIN)
        voters = {recover_address(digest, signature) for signature in signatures} & set(self.in_office)
        assert len(voters) >= self.quorum, "the contract would refuse this ban"
        self.bans[ban.index] = ban
        return SimpleNamespace(block_number=self.number)

    def anchored_in(self, kind: type[RoundAnchored], *, from_block: int, to_block: int) -> list[RoundAnchored]:
        """The events of anchors in these blocks."""
        assert kind is RoundAnchored
        return [
            RoundAnchored(
                address=RUN, block=a.block, block_hash=bytes(32), tx=a.tx, log_index=a.log, round=a.round,
                epoch=a.epoch, deadline=a.deadline, commitments_root=a.root, record_round=a.record_round,
                record_hash=a.record_hash, anchorer=self.in_office[0],
            )
            for a in self.anchors[-64:]
            if from_block <= a.block <= to_block
        ]  # fmt: skip

    # --- as signers see it -------------------------------------------------------------------------------------------

    def run(self) -> Any:
        """The handles on contracts that a signer's seat holds."""
        oracle = SimpleNamespace(
            make_call=lambda *call: call, is_anchored=self.is_anchored, domain=lambda: DOMAIN,
            record_of=self.record_of, ban_provider=self.ban_provider,
        )  # fmt: skip
        return SimpleNamespace(
            address=RUN, params=self.params, chain=self, oracle=oracle, events_of=self.anchored_in
        )  # fmt: skip

    def _banned_until(self, index: int) -> int:
        return self.bans[index].until if index in self.bans else 0

    def view(self) -> View:
        providers = tuple(
            Registered(a, a, a, 1, int(i in self.exits), self._banned_until(i), 1, f"member-{i}:1")
            for i, a in enumerate(self.keys)
        )
        closed = EpochClosed(
            epoch=0, acc=1 << 64, unlocked_escrow=10**18, provider_count=len(self.keys), closed_at=int(START_S),
            address=RUN, block=100, block_hash=bytes(32), tx=bytes(32), log_index=0,
        )  # fmt: skip
        info = EpochInfo(
            EpochState.CLOSED, int(START_S), 0, 0, len(self.keys), 0, 0, 0, 0, 1 << 64, 0, 10**18, bytes(32)
        )
        return View(
            self.block_at(self.number), self.block_at(self.number - _FINALITY), providers,
            {i: frozenset({a}) for i, a in enumerate(self.keys)}, self.in_office,
            Offices(((0, self.in_office),)), self.quorum, b"\xcd" * 32, 0, info, 0, info,
            LatestRoot(0, False, bytes(32), 0, 0), 10**9, False, (), 0, {0: closed}, {}, {},
            staked=dict.fromkeys(range(len(self.keys)), 10**30),
        )  # fmt: skip

    def final_anchors(self, after: int) -> list[AnchorRow]:
        """Anchors of final blocks with a higher number."""
        final = self.number - _FINALITY
        return [a for a in self.anchors[-64:] if after < a.block <= final]


class MemberView:
    """The chain as a member asks it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def signers(self) -> tuple[str, ...]:
        return self._ledger.in_office

    def provider(self, index: int) -> Provider | None:
        if not 0 <= index < len(self._ledger.keys):
            return None
        return Provider(
            index, self._ledger.keys[index], f"member-{index}:1", self._ledger._banned_until(index),
            exited=index in self._ledger.exits,
        )  # fmt: skip

    def providers(self, indices: Iterable[int]) -> dict[int, Provider]:
        return {index: found for index in indices if (found := self.provider(index)) is not None}

    def index_of_key(self, key: str) -> int:
        return self._ledger.keys.index(key)

    def successor(self, index: int, key: str) -> str | None:
        return None

    def anchored(self, round_: int, deadline_s: int, root: bytes) -> bool:
        return self._ledger.is_anchored(round_, deadline_s, root)

    def record_anchored(self, round_: int, digest: bytes) -> bool:
        return any((a.record_round, a.record_hash) == (round_, digest) for a in self._ledger.anchors[-64:])

    def attested(self) -> tuple[int, str] | None:
        return self._ledger.attested()

    def time_s(self) -> int:
        return self._ledger.timestamp()

    def final_s(self) -> int:
        return self._ledger.block_at(self._ledger.number - _FINALITY).timestamp

    def record_named(self, round_: int) -> bool:
        return any(a.record_round == round_ and a.record_hash != bytes(32) for a in self._ledger.anchors)

    def training_end_s(self) -> int:
        return self._ledger.params.epoch_end(self._ledger.params.last_epoch)

    def ended(self) -> str:
        return self._ledger.ended

    def unsettled_epoch(self) -> int:
        return max(0, self._ledger.params.epoch_of(self._ledger.timestamp()) - 1)


def crowd_params(params: RunParams) -> RunParams:
    """Short epochs without end."""
    return replace(
        params, epoch_start=int(START_S), epoch_length=120, last_epoch=10_000, anchor_window=3, report_span=60,
        attempt_length=20, challenge_window=4,
    )  # fmt: skip
