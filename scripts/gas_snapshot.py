"""Measure the gas of whole transactions on a local Anvil and keep it in snapshots/gas.json.

Run `python scripts/gas_snapshot.py` after a change of a contract, or with `--check` to compare with the committed file
and exit 1 if a figure differs. One run of native ETH with four signers (quorum three) goes through its life; what is
measured is the gas used by the transaction, intrinsic gas and calldata included. A tree of depth 16 needs more than
32,768 providers: the registry's count is set in the node's storage, everything else is done by transactions.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from eth_account import Account
from eth_utils.crypto import keccak
from web3 import Web3
from web3.contract import Contract
from web3.types import RPCEndpoint

from commonweight.chain.deploy import IMPLEMENTATIONS
from commonweight.chain.local import start_anvil
from commonweight.protocol.sumtree import Leaf, SumTree

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "snapshots" / "gas.json"
EPOCH_S = 1_000
STAKE = BOND = 10**16
MANY_PROVIDERS = 40_000
DEPTH = 16
# Hashes and signatures in calldata have a zero byte more or less from run to run.
TOLERANCE_GAS = 150
CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
REPORT_FIELDS = (
    "bytes32 configDigest,uint64 epoch,uint32 attempt,bytes32 prevRoot,bytes32 root,uint256 sum,uint8 depth,"
    "uint64 epochCredits,bytes32 creditsHash,string evidenceCid,bytes32 evidenceSha256,bytes32 checkpoint,"
    "string checkpointCid,uint64 round,uint64 lossMicro,uint64 blockNumber,bytes32 blockHash"
)


class Meter:
    """A run on a local chain, and the gas of the transactions that were given a name."""

    def __init__(self, web3: Web3) -> None:
        self.web3 = web3
        self.accounts = [str(a) for a in web3.eth.accounts]
        self.gas: dict[str, int] = {}
        keys = [Account.from_key(bytes([i + 1]) * 32) for i in range(4)]
        self.signers = sorted(keys, key=lambda a: int(a.address, 16))
        self.time = int(web3.eth.get_block("latest")["timestamp"])
        self.start = self.time + 1_000
        self.leaves: dict[int, list[int]] = {}
        self.total = 0
        self.parts = self._create()

    def send(self, call: Any, name: str = "", sender: int = 0, value: int = 0) -> Any:
        """Send a contract call or constructor from account `sender`; keep its gas under `name` if there is one."""
        tx = call.transact({"from": self.accounts[sender], "value": value, "gas": 16_700_000})
        receipt = self.web3.eth.wait_for_transaction_receipt(tx)
        if receipt["status"] != 1:
            raise SystemExit(f"the transaction {name or call} failed")
        if name:
            self.gas[name] = int(receipt["gasUsed"])
        return receipt

    def rpc(self, method: str, *params: object) -> object:
        """Call the node."""
        return self.web3.provider.make_request(RPCEndpoint(method), list(params)).get("result")

    def warp(self, time: int) -> None:
        """Mine a block at `time`."""
        self.rpc("evm_setNextBlockTimestamp", time)
        self.rpc("evm_mine")

    def _artifact(self, name: str) -> Any:
        return json.loads((ROOT / "commonweight" / "abi" / f"{name}.json").read_text())

    def _deploy(self, name: str, *arguments: object) -> str:
        artifact = self._artifact(name)
        factory = self.web3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
        return str(self.send(factory.constructor(*arguments))["contractAddress"])

    def _create(self) -> Mapping[str, Contract]:
        implementations = tuple(self._deploy(name) for name in IMPLEMENTATIONS.values())
        factory = self._at(self._deploy("RunFactory", implementations), "RunFactory")
        receipt = self.send(factory.functions.createRun(self._params()), "create a run")
        (log,) = [entry for entry in receipt["logs"] if entry["address"] == factory.address]
        addresses = factory.events.RunCreated().process_log(log)["args"]["addresses"]
        return {key: self._at(addresses[key], name) for key, name in IMPLEMENTATIONS.items()}

    def _at(self, address: str, name: str) -> Contract:
        return self.web3.eth.contract(address=Web3.to_checksum_address(address), abi=self._artifact(name)["abi"])

    def _params(self) -> dict[str, object]:
        return {
            "asset": "0x" + "00" * 20,
            "goal": 10**18,
            "cap": 10**20,
            "depositDeadline": self.start,
            "capitalBps": 4_000,
            "wagePerCredit": 10**9,
            "oracleBps": 500,
            "serverBps": 2_000,
            "epochStart": self.start,
            "epochLength": EPOCH_S,
            "lastEpoch": 10,
            "tailEpochs": 2,
            "reportSpan": 500,
            "attemptLength": 500,
            "challengeWindow": 100,
            "answerTime": 20,
            "disputePeriod": 10_000,
            "anchorWindow": 100,
            "rotationDelay": 1_000,
            "withdrawalDelay": 600,
            "maxCreditsPerEpoch": 10**9,
            "anchorEvery": 1,
            "evidenceRetention": 10**6,
            "providerStake": STAKE,
            "signerBond": BOND,
            "challengeBond": BOND,
            "disputeBond": BOND,
            "quorum": 3,
            "signers": [a.address for a in self.signers],
            "transmitters": self.accounts[:4],
            "configSha256": b"\x01" * 32,
            "configCid": CID,
            "name": "gas",
            "dataLicence": "CC0-1.0",
            "weightsLicence": "Apache-2.0",
            "milestones": [
                {"deadlineEpoch": 10, "minCredits": 0, "maxLossMicro": 2**64 - 1, "trancheBps": 10_000},
            ],
        }

    def fund_and_register(self) -> None:
        """Deposits, registrations and bonds."""
        campaign, registry, oracle = self.parts["campaign"], self.parts["registry"], self.parts["oracle"]
        self.send(campaign.functions.deposit(10**18), sender=1, value=10**18)
        self.send(campaign.functions.deposit(10**18), "deposit, first by a funder", sender=2, value=10**18)
        self.send(campaign.functions.deposit(10**17), "deposit, repeated", sender=2, value=10**17)
        for i in range(10):
            key = Account.from_key(bytes([100 + i]) * 32).address
            call = registry.functions.register(key, self.accounts[i], "203.0.113.7:4001", STAKE)
            self.send(call, "register a provider", sender=i, value=STAKE)
        for signer in self.signers:
            self.send(oracle.functions.postBond(signer.address, BOND), "post a bond", value=BOND)
        self._claim_many_providers()

    def _claim_many_providers(self) -> None:
        """Set the registry's provider count so that the tree has depth 16."""
        registry = self.parts["registry"]
        for slot in range(32):
            word = int(str(self.rpc("eth_getStorageAt", registry.address, hex(slot), "latest")), 16)
            for shift in range(0, 256, 32):
                if (word >> shift) & 0xFFFFFFFF != 10:
                    continue
                changed = word ^ ((10 ^ MANY_PROVIDERS) << shift)
                self.rpc("anvil_setStorageAt", registry.address, hex(slot), f"0x{changed:064x}")
                if registry.functions.providerCount().call() == MANY_PROVIDERS:
                    return
                self.rpc("anvil_setStorageAt", registry.address, hex(slot), f"0x{word:064x}")
        raise SystemExit("the slot of providerCount was not found")

    def epoch(self, number: int, credited: int, keep: bool) -> SumTree:
        """Close, report and finish one epoch that credits `credited` providers; keep its figures if told."""
        oracle = self.parts["oracle"]
        self.warp(self.start + (number + 1) * EPOCH_S - 50)
        deadline = self.start + (number + 1) * EPOCH_S - 51
        record = bytes([number + 1]) * 32
        anchor = oracle.functions.anchorRound(number, deadline, b"\x05" * 32, number, record)
        self.send(anchor, "anchor a round" if keep else "")
        self.warp(self.start + (number + 1) * EPOCH_S)
        self.send(oracle.functions.closeEpoch(number), "close an epoch" if keep else "")
        report, credits, tree = self._report(number, credited)
        types = {"Report": [dict(zip(("type", "name"), f.split(), strict=True)) for f in REPORT_FIELDS.split(",")]}
        domain = {
            "name": "Commonweight",
            "version": "1",
            "chainId": self.web3.eth.chain_id,
            "verifyingContract": oracle.address,
        }
        signatures = [a.sign_typed_data(domain, types, report).signature for a in self.signers[:3]]
        call = oracle.functions.submitReport(report, credits, signatures)
        self.send(call, f"report, 3 of 4 signers, {credited} credited providers" if keep else "")
        self.warp(int(self.web3.eth.get_block("latest")["timestamp"]) + 100)
        self.send(oracle.functions.finalizeEpoch(report), "finalise an epoch" if keep else "")
        return tree

    def _report(self, number: int, credited: int) -> tuple[dict[str, object], bytes, SumTree]:
        oracle, ledger = self.parts["oracle"], self.parts["ledger"]
        info = oracle.functions.epochInfo(number).call()
        acc, escrow = int(info[9]), int(info[11])
        listed = {i: 100 + i for i in range(credited)}
        total = sum(listed.values())
        budget = escrow * 10_000 // 10_500
        wage = min(10**9 << 64, (budget << 64) // total)
        for index, amount in listed.items():
            row = self.leaves.setdefault(index, [0, 0, 0])
            row[0] += amount
            row[1] += amount * acc
            row[2] += amount * wage
        self.total += total
        tree = SumTree((self.leaf(i) for i in self.leaves), DEPTH)
        credits = b"".join(i.to_bytes(4, "big") + c.to_bytes(8, "big") for i, c in listed.items())
        block = self.web3.eth.get_block("latest")
        report: dict[str, object] = {
            "configDigest": oracle.functions.configDigest().call(),
            "epoch": number,
            "attempt": 0,
            "prevRoot": ledger.functions.latest().call()[2],
            "root": tree.root,
            "sum": self.total,
            "depth": DEPTH,
            "epochCredits": total,
            "creditsHash": keccak(credits),
            "evidenceCid": CID,
            "evidenceSha256": b"\x02" * 32,
            "checkpoint": bytes([number + 1]) * 32,
            "checkpointCid": CID,
            "round": number,
            "lossMicro": 3_000_000,
            "blockNumber": int(block["number"]),
            "blockHash": bytes(block["hash"]),
        }
        return report, credits, tree

    def leaf(self, index: int) -> Leaf:
        """The present leaf of an index; indices without a registered account get a made-up one."""
        account = self.accounts[index] if index < len(self.accounts) else f"0x{index:040x}"
        credits, debt, wages = self.leaves[index]
        return Leaf(index, account.lower(), credits, debt, wages)

    def claim(self, epoch: int, tree: SumTree, index: int, name: str) -> None:
        """Claim a provider's earnings on the final root of an epoch."""
        leaf = self.leaf(index)
        row = (leaf.index, Web3.to_checksum_address(leaf.provider), leaf.C, leaf.D, leaf.W)
        proof = [(s.hash, s.sum) for s in tree.proof(index)]
        self.send(self.parts["distributor"].functions.claimCompute(epoch, row, proof), name, sender=index)

    def settle(self, name: str, cumulative: int) -> None:
        """Settle ten payers' vouchers in one transaction, funding their channels first."""
        payments = self.parts["payments"]
        domain = {
            "name": "Commonweight",
            "version": "1",
            "chainId": self.web3.eth.chain_id,
            "verifyingContract": payments.address,
        }
        types = {"Voucher": [{"type": "bytes32", "name": "channelId"}, {"type": "uint256", "name": "cumulative"}]}
        claims = []
        for i in range(10):
            payer = Account.from_key(bytes([200 + i]) * 32)
            funding = payments.functions.deposit(payer.address, self.accounts[5], 600, 10**12)
            self.send(funding, "fund a channel, repeated" if cumulative > 10**9 else "fund a channel", value=10**12)
            channel = payments.functions.channelIdOf(payer.address, self.accounts[5], 600).call()
            message = {"channelId": channel, "cumulative": cumulative}
            claims.append((channel, cumulative, cumulative, payer.sign_typed_data(domain, types, message).signature))
        self.send(payments.functions.settle(claims), name, sender=5)


def measure(url: str) -> dict[str, int]:
    """Go through the life of a run on the node at `url` and return gas by name."""
    meter = Meter(Web3(Web3.HTTPProvider(url)))
    meter.fund_and_register()
    distributor = meter.parts["distributor"]
    meter.epoch(0, 10, keep=False)
    meter.send(distributor.functions.payRevenue(10**15), value=10**15)
    tree = meter.epoch(1, 10, keep=True)
    meter.send(distributor.functions.payRevenue(10**15), "revenue payment", value=10**15)
    meter.claim(1, tree, 2, "")
    meter.claim(1, tree, 3, "claim by a provider, depth 16, first")
    for funder, name in ((1, ""), (2, "claim from the capital pool, first")):
        meter.send(distributor.functions.claimCapital(meter.accounts[funder]), name, sender=funder)
    tree = meter.epoch(2, 1000, keep=True)
    meter.send(distributor.functions.payRevenue(10**15), value=10**15)
    meter.claim(2, tree, 3, "claim by a provider, depth 16, repeated")
    meter.send(distributor.functions.claimCapital(meter.accounts[2]), "claim from the capital pool, repeated", sender=2)
    meter.settle("settle 10 vouchers", 10**9)
    meter.settle("settle 10 vouchers, repeated", 2 * 10**9)
    return dict(sorted(meter.gas.items()))


def differs(before: int | None, after: int | None) -> bool:
    """Whether a figure changed by more than what calldata's hashes make it vary."""
    return before is None or after is None or abs(after - before) > TOLERANCE_GAS


def main() -> int:
    """Write the figures, or with --check compare them. Exit 1 if --check finds a difference."""
    parser = argparse.ArgumentParser(description="Measure gas into snapshots/gas.json.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a figure differs")
    check = parser.parse_args().check
    with start_anvil(block_time_s=None) as chain:
        figures = measure(chain.url)
    before = cast(dict[str, int], json.loads(TARGET.read_text())) if TARGET.exists() else {}
    changed = {name for name in figures.keys() | before.keys() if differs(before.get(name), figures.get(name))}
    for name in sorted(changed):
        print(f"{name}: {before.get(name)} -> {figures.get(name)}")
    if check and changed:
        print("snapshots/gas.json is stale; run python scripts/gas_snapshot.py", file=sys.stderr)
        return 1
    if not check:
        kept = {name: figures[name] if name in changed else before[name] for name in figures}
        TARGET.parent.mkdir(exist_ok=True)
        TARGET.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
    print(f"{len(figures)} figures, {len(changed)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
