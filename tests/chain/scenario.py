"""A run on a local chain with funders, providers and signers that really sign: for every test that needs final credits.

Account 0 deploys and funds, accounts 1 to 4 are providers, 5 to 7 signers (their own transmitters), 8 and 9 users.
Epochs are long and the chain's clock is turned, so that no test waits for a block timer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eth_utils.crypto import keccak

from commonweight.chain.client import Chain
from commonweight.chain.contracts import Factory
from commonweight.chain.deploy import Deployment, deploy_factory
from commonweight.chain.events import ReportSubmitted
from commonweight.chain.keys import Key
from commonweight.chain.ledger_view import LedgerView
from commonweight.chain.local import dev_accounts
from commonweight.chain.run import Run
from commonweight.chain.structs import ZERO_ADDRESS, Milestone, Report, RunParams
from commonweight.chain.types import Receipt
from commonweight.protocol import creditslist
from commonweight.protocol.structs import Rotation

ETHER = 10**18
CID = "bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am"
KEYS = tuple(Key.from_hex(account.key) for account in dev_accounts(10))
SIGNERS = tuple(sorted(KEYS[5:8], key=lambda key: int(key.address, 16)))


def make_params(now: int, **changes: object) -> RunParams:
    """A valid run: deposits for an hour from `now`, then epochs of an hour."""
    addresses = tuple(key.address for key in SIGNERS)
    params = RunParams(
        asset=ZERO_ADDRESS,
        goal=5 * ETHER,
        cap=10 * ETHER,
        deposit_deadline=now + 3600,
        capital_bps=6000,
        wage_per_credit=10**9,
        oracle_bps=500,
        server_bps=1000,
        epoch_start=now + 3600,
        epoch_length=3600,
        last_epoch=3,
        tail_epochs=2,
        report_span=600,
        attempt_length=120,
        challenge_window=300,
        answer_time=60,
        dispute_period=7200,
        anchor_window=60,
        rotation_delay=3600,
        withdrawal_delay=3600,
        max_credits_per_epoch=10**12,
        anchor_every=1,
        evidence_retention=30 * 24 * 3600,
        provider_stake=ETHER // 10,
        signer_bond=ETHER,
        challenge_bond=ETHER // 10,
        dispute_bond=ETHER // 10,
        quorum=2,
        signers=addresses,
        transmitters=addresses,
        config_sha256=b"\x11" * 32,
        config_cid=CID,
        name="nano",
        data_licence="PSF-2.0",
        weights_licence="Apache-2.0",
        milestones=(Milestone.open(),),
    )
    return replace(params, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class World:
    """A deployed run as account 0 sees it."""

    url: str
    state_dir: Path
    deployment: Deployment
    run: Run

    def chain(self, key: Key | None) -> Chain:
        """A client with another key."""
        return Chain([self.url], key, state_dir=self.state_dir)

    def by(self, number: int) -> Run:
        """The run as account `number` sends to it."""
        return Run.at(self.chain(KEYS[number]), self.run.address)

    def warp(self, timestamp_s: int) -> None:
        """Turn the chain's clock forward to at least `timestamp_s` and mine a block."""
        chain = self.run.chain
        ahead = timestamp_s - chain.timestamp()
        if ahead > 0:
            chain.rpc("evm_increaseTime", ahead)
        chain.rpc("evm_mine")

    def fund(self, amount: int = 6 * ETHER) -> None:
        """Deposit as account 0, then let deposits end and post all bonds."""
        self.run.campaign.deposit(amount)
        for signer in self.run.params.signers:
            self.run.oracle.post_bond(signer, self.run.params.signer_bond)
        self.warp(self.run.params.deposit_deadline + 1)

    def register(self, *numbers: int) -> None:
        """Register accounts as providers, in this order."""
        for number in numbers:
            address = KEYS[number].address
            self.by(number).registry.register(
                address, address, f"127.0.0.1:{7000 + number}", self.run.params.provider_stake
            )

    def announce(self, *keys: Key) -> Rotation:
        """Announce another signer set; the signers are their own transmitters."""
        oracle = self.run.oracle
        names = tuple(key.address for key in sorted(keys, key=lambda key: int(key.address, 16)))
        rotation = Rotation(oracle.config_digest(), len(names) // 2 + 1, names, names)
        digest = rotation.digest(oracle.domain())
        oracle.propose_rotation(rotation, [key.sign_digest(digest) for key in SIGNERS[:2]])  # type: ignore[arg-type]
        return rotation

    def rotate(self, *keys: Key) -> None:
        """Put another signer set into office, after the delay; the signers are their own transmitters."""
        rotation = self.announce(*keys)
        self.warp(self.run.chain.timestamp() + self.run.params.rotation_delay + 1)
        self.run.oracle.apply_rotation(rotation)  # type: ignore[arg-type]

    def close(self, epoch: int) -> None:
        """Close an epoch after its end."""
        self.warp(self.run.params.epoch_end(epoch) + 1)
        self.run.oracle.close_epoch(epoch)

    def report(self, epoch: int, listed: Mapping[int, int], **changes: object) -> Receipt:
        """Sign and submit the true report of a closed epoch, or one with `changes`."""
        view = LedgerView.of(self.run)
        info, packed = self.run.oracle.epoch_info(epoch), creditslist.encode(listed)
        params, latest = self.run.params, self.run.chain.block()
        total = sum(listed.values())
        cap = params.wage_per_credit << 64
        budget = info.unlocked_escrow * 10_000 // (10_000 + params.oracle_bps)
        wage = min(cap, (budget << 64) // total) if total else 0
        tree = view.tree_after(epoch, listed, wage)
        report = Report(
            config_digest=self.run.oracle.config_digest(),
            epoch=epoch,
            attempt=self.run.oracle.current_attempt(epoch),
            prev_root=view.tree().root,
            root=tree.root,
            sum=tree.sum,
            depth=tree.depth,
            epoch_credits=total,
            credits_hash=creditslist.list_hash(packed),
            evidence_cid=CID,
            evidence_sha256=b"\x22" * 32,
            checkpoint=bytes([epoch + 1]) * 32,
            checkpoint_cid=CID,
            round=epoch + 1,
            loss_micro=3_000_000,
            block_number=latest.number - 1,
            block_hash=self.run.chain.block(latest.number - 1).hash,
        )
        report = replace(report, **changes)  # type: ignore[arg-type]
        signatures = self.signatures(report, SIGNERS[: self.run.oracle.quorum()])
        return self.run.oracle.submit_report(report, packed, signatures)

    def signatures(self, report: Report, signers: Sequence[Key]) -> list[bytes]:
        """The signers' signatures on a report."""
        digest = report.digest(self.run.oracle.domain())
        return [key.sign_digest(digest) for key in signers]

    def finalize(self, epoch: int) -> None:
        """Let the challenge window pass and make the epoch final."""
        self.warp(self.run.oracle.epoch_info(epoch).open_until + 1)
        (event,) = [e for e in self.run.events_of(ReportSubmitted) if e.epoch == epoch]
        self.run.oracle.finalize_epoch(event.report)

    def settle(self, epoch: int, listed: Mapping[int, int]) -> None:
        """Close, report and finalize."""
        self.close(epoch)
        self.report(epoch, listed)
        self.finalize(epoch)


_FACTORIES: dict[str, Deployment] = {}
_FIRST_RUNS: dict[str, tuple[World, float]] = {}
_FRESH_S = 1200.0


def factory_on(chain: Chain) -> Deployment:
    """The factory of a chain, deployed unless it is there: on Ganache that takes seconds."""
    url = chain.rpc_urls[0]
    known = _FACTORIES.get(url)
    if known is None or f"0x{keccak(chain.code(known.factory.address)).hex()}" != known.factory.code_keccak256:
        known = _FACTORIES[url] = deploy_factory(chain)
    return known


def make_world(url: str, state_dir: Path, **changes: object) -> World:
    """Create a run, on the chain's factory; `changes` are run parameters."""
    chain = Chain([url], KEYS[0], state_dir=state_dir)
    deployment = factory_on(chain)
    created, _ = Factory(chain, deployment.factory.address).create_run(make_params(chain.timestamp(), **changes))
    return World(url, state_dir, deployment, Run.at(chain, created.campaign))


def prepare(url: str, state_dir: Path) -> None:
    """Let a chain have a run, as it is created, for any number of tests that begin with one."""
    _FIRST_RUNS[url] = make_world(url, state_dir), time.monotonic()


def first_world(url: str, state_dir: Path) -> World:
    """The run of a chain that was prepared; another one when that is so old that its deposits might end in a test."""
    made, at_s = _FIRST_RUNS[url]
    if time.monotonic() - at_s > _FRESH_S:
        return make_world(url, state_dir)
    return replace(made, state_dir=state_dir, run=Run.at(Chain([url], KEYS[0], state_dir=state_dir), made.run.address))
