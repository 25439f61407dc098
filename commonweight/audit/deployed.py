"""`commonweight audit deployment`: is a deployments file true of the chain, and is what it names this project's code?

Needs an RPC address and the file. For each contract: the code at its address has the file's hash and is what the
sources compile to; the named transaction is in the named block, created this address, and carried the creation code
with the named arguments. The factory's own word on what it clones has to agree.
"""

from collections.abc import Sequence
from dataclasses import fields

from eth_utils.crypto import keccak

from commonweight.audit.findings import AuditReport, Findings
from commonweight.chain.abi import creation_code, interface
from commonweight.chain.client import Chain
from commonweight.chain.contracts import Factory
from commonweight.chain.deploy import IMPLEMENTATIONS, Deployed, Deployment, artifact
from commonweight.chain.structs import RunAddresses
from commonweight.errors import Incomplete, WrongChain

CODE, TRANSACTIONS, SOURCES, FACTORY = "code", "transactions", "sources", "factory"


def check_deployments_file(chain: Chain, deployment: Deployment) -> AuditReport:
    """Compare a deployments file with the chain. Raises ChainError when no node answers or it is another chain's."""
    if chain.chain_id != deployment.chain_id:
        raise WrongChain(
            f"The deployments file is of chain {deployment.chain_id}, not of chain {chain.chain_id}.",
            "The RPC address and the file do not belong together.",
            "Give the RPC address of the right chain, or another file.",
        )
    block, findings = chain.finalized_block(), Findings()
    for entry in (*deployment.implementations.values(), deployment.factory):
        for name, check in ((CODE, _code), (TRANSACTIONS, _transaction)):
            with findings.checking(name, entry.contract):
                check(chain, block.number, entry, findings)
        own = artifact(entry.contract).source_sha256
        findings.equal(SOURCES, "the hash of its sources", entry.source_sha256, own, entry.contract)
    with findings.checking(FACTORY):
        named = {name: entry.address for name, entry in deployment.implementations.items()}
        found = Factory(chain, deployment.factory.address).implementations(block=block.number)
        findings.equal(FACTORY, "what the factory clones", vars(found), named)
        findings.equal(FACTORY, "the factory's arguments", deployment.factory.arguments, tuple(named.values()))
    return AuditReport(
        "deployment", deployment.factory.address, chain.chain_id, block.number, "0x" + block.hash.hex(),
        findings.checks(),
    )  # fmt: skip


def _code(chain: Chain, block: int, entry: Deployed, findings: Findings) -> None:
    code = chain.code(entry.address, block)
    found = "0x" + keccak(code).hex()
    findings.equal(CODE, f"the code's hash at {entry.address}", found, entry.code_keccak256, entry.contract)
    ours = artifact(entry.contract).matches(code)
    findings.expect(CODE, ours, f"the code at {entry.address} is not this project's", entry.contract)


def _transaction(chain: Chain, block: int, entry: Deployed, findings: Findings) -> None:
    tx_hash = bytes.fromhex(entry.tx.removeprefix("0x"))
    receipt, sent = chain.receipt(tx_hash), chain.transaction_input(tx_hash)
    if receipt is None or sent is None:
        raise Incomplete(
            f"The transaction {entry.tx} is not to be had",
            "the node does not know it",
            "use an RPC address that keeps old transactions, or check the file",
        )
    name, subject = TRANSACTIONS, entry.contract
    findings.expect(name, receipt.block_number <= block, f"{entry.tx} is not final yet", subject)
    findings.equal(name, f"the block of {entry.tx}", receipt.block_number, entry.block, subject)
    findings.equal(name, f"what {entry.tx} created", receipt.contract_address, entry.address, subject)
    arguments = () if entry.contract in IMPLEMENTATIONS.values() else (_addresses(entry.arguments),)
    creation = creation_code(interface(entry.contract), arguments)
    findings.expect(name, sent == creation, f"{entry.tx} carries other creation code or arguments", subject)


def _addresses(arguments: Sequence[str]) -> RunAddresses:
    names = [field.name for field in fields(RunAddresses)]
    if len(arguments) != len(names):
        raise Incomplete(
            "The factory's arguments cannot be checked",
            f"the file names {len(arguments)} of {len(names)}",
            "make the file again with scripts/deploy.py",
        )
    return RunAddresses(**dict(zip(names, arguments, strict=True)))
