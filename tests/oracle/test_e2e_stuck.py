"""A signer's transaction that no block takes, between real processes: replaced under its nonce for more, and once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commonweight.chain.events import EpochClosed
from commonweight.chain.keys import load_key
from tests.oracle.network import Network
from tests.trainer.conftest import data_dir as data_dir
from tests.trainer.world import PASSWORD

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]
GWEI = 10**9
BASE_FEE = 100 * GWEI


class Stuck:
    """A run of one signer whose closing of epoch 0 is in the pool, and no block takes it."""

    def __init__(self, net: Network) -> None:
        self.net, self.chain = net, net.chain()
        self.sender = load_key(net.folder / "transmitter-0.json", PASSWORD).address
        self.seen: dict[str, dict[str, Any]] = {}

    def arrange(self) -> dict[str, Any]:
        """The transaction as it was sent first; no block is made any more."""
        self.net.start_signers()
        self.net.wait("the signer listens", lambda: self.net.said(0, "listening"), 120)
        end = self.net.run.params.epoch_end(0)
        self.net.wait("the epoch's last second", lambda: self.chain.timestamp() >= end - 2, 240)
        self.chain.rpc("evm_setIntervalMining", 0)
        if self.chain.timestamp() < end:
            self.chain.rpc("evm_setNextBlockTimestamp", end)
            self.chain.rpc("evm_mine")
        self.net.wait("a transaction waits", self.pool, 120)
        (first,) = self.seen.values()
        return first

    def replaced(self, first: dict[str, Any]) -> None:
        """While no block is made, it is offered more for the same, once in half a minute."""
        self.net.wait("it is replaced", lambda: self.pool() and len(self.seen) > 1, 120)
        (second,) = (tx for tx in self.seen.values() if tx["hash"] != first["hash"])
        assert (second["nonce"], second["to"], second["input"]) == (first["nonce"], first["to"], first["input"])
        for fee in ("maxFeePerGas", "maxPriorityFeePerGas"):
            assert int(second[fee], 16) > int(first[fee], 16)
        self.chain.rpc("evm_setIntervalMining", 1)

    def jump(self) -> bool:
        """The next block is so dear that the node drops what was priced before."""
        self.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(BASE_FEE))
        return True

    def pool(self) -> bool:
        """Note what the signer has in the pool."""
        content = self.chain.rpc("txpool_content")
        for kind in ("pending", "queued"):
            for address, by_nonce in content[kind].items():
                if address.lower() == self.sender.lower():
                    self.seen.update({tx["hash"]: tx for tx in by_nonce.values()})
        return bool(self.seen)

    def mined(self) -> list[dict[str, Any]]:
        """What of it is in blocks, in their order."""
        found = []
        for number in range(self.chain.block_number() + 1):
            block = self.chain.rpc("eth_getBlockByNumber", hex(number), True)
            found += [tx for tx in block["transactions"] if tx["from"].lower() == self.sender.lower()]
        return found

    def ends(self, first: dict[str, Any], *, dear: bool = False) -> dict[str, Any]:
        """Under its nonce another one is mined, and what it does is done once. Returns what was mined."""
        nonce = int(first["nonce"], 16)

        def through() -> bool:
            self.pool()
            return self.chain.transaction_count(self.sender) > nonce or (dear and self.jump() and False)

        self.net.wait("it is mined", through, 180)
        (mined,) = (tx for tx in self.mined() if int(tx["nonce"], 16) == nonce)
        assert mined["hash"] != first["hash"]
        assert (mined["to"], mined["input"]) == (first["to"], first["input"])
        assert {h for h, tx in self.seen.items() if int(tx["nonce"], 16) == nonce} <= {first["hash"], mined["hash"]}
        self.net.wait("the signer goes on", lambda: self.net.run.oracle.next_epoch() >= 1, 60)
        same = [tx["hash"] for tx in self.mined() if tx["input"] == first["input"]]
        assert same == [mined["hash"]]
        assert len(list(self.net.run.events_of(EpochClosed))) == 1
        return mined


@pytest.fixture
def stuck(tmp_path: Path, data_dir: Path) -> Iterator[Stuck]:
    with Network(tmp_path, data_dir, signers=1) as net:
        yield Stuck(net)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill -9", "SIGTERM"])
def test_the_next_start_replaces_what_the_last_one_left(stuck: Stuck, number: signal.Signals) -> None:
    """The process ends with the transaction in the pool, at once when it is asked to."""
    first = stuck.arrange()
    signer = stuck.net.signers[0]
    assert signer.process is not None
    signer.send(number)
    assert signer.process.wait(30) == (0 if number == signal.SIGTERM else -number)
    signer.start()
    stuck.replaced(first)
    stuck.ends(first)


@pytest.mark.parametrize("killed", [False, True], ids=["alive", "kill -9"])
def test_a_base_fee_that_jumps_over_a_transaction(stuck: Stuck, killed: bool) -> None:
    """The node drops it; it is sent again under its nonce for what blocks cost now."""
    first = stuck.arrange()
    if killed:
        stuck.net.kill_signer(0)
    stuck.jump()
    stuck.chain.rpc("evm_setIntervalMining", 1)
    mined = stuck.ends(first, dear=True)
    assert int(mined["maxFeePerGas"], 16) >= BASE_FEE
