"""Stand-alone proofs: "this address put in this much" and "this provider earned these credits for this work".

A proof is one JSON file that names the events it rests on by transaction and log index, and carries the evidence that
these events bind by digest. `check_proof` needs nothing else but a node: it reads those events, and for credits it
follows the sum-tree proof to the final root, then the evidence to the provider's own commitments, records, verdicts
and credit lines.
"""

from collections.abc import Mapping
from typing import TypeVar

from commonweight.addresses import parse_address
from commonweight.audit.epochs import Reported
from commonweight.audit.evidence import read_directory
from commonweight.audit.findings import AuditReport, Findings
from commonweight.audit.proof_check import CONTRIBUTION, CREDITS, SCHEMA, check_body, own_files
from commonweight.audit.settings import AuditSettings
from commonweight.audit.verify import Opened, opened
from commonweight.chain.client import Chain
from commonweight.chain.events import ChainEvent, Deposited, ProviderRegistered
from commonweight.chain.run import Run
from commonweight.errors import FormatError, Incomplete, UsageError
from commonweight.protocol.canonical import Json, JsonObject
from commonweight.protocol.fields import hex32, lower_address
from commonweight.protocol.sumtree import SumTree
from commonweight.store import open_store

E = TypeVar("E", bound=ChainEvent)


def funder_proof(settings: AuditSettings, account: str) -> JsonObject:
    """A proof of what an address put in. Raises Incomplete when it put in nothing up to the last final block."""
    funder = lower_address(parse_address(account))
    with opened(settings) as audit:
        deposits = [event for event in audit.index.of(Deposited) if event.funder.lower() == funder]
        if not deposits:
            raise Incomplete(f"{account} has put nothing into this run", f"up to block {audit.block.number}")
        return _head(audit, CONTRIBUTION) | {
            "account": funder,
            "asset": audit.run.params.asset.lower(),
            "amount": str(sum(event.amount for event in deposits)),
            "deposits": [place_of(event) | {"amount": str(event.amount)} for event in deposits],
        }


def provider_proof(settings: AuditSettings, provider: str, epoch: int | None = None) -> JsonObject:
    """A proof of a provider's credits up to a final epoch (the last one by default), by account or index.

    The evidence of every epoch that credits it is taken from the content store. Raises Incomplete when there are no
    final credits, ContentUnavailable when evidence is missing.
    """
    store = open_store(settings.store, make=False)
    try:
        with opened(settings) as audit:
            replay = audit.replay(Findings())
            finals = [number for number in sorted(replay.epochs.finals) if epoch is None or number <= epoch]
            index = _index(replay.providers.accounts, provider)
            leaf = replay.epochs.leaf_at(finals[-1], index) if finals else None
            if leaf is None or (epoch is not None and finals[-1] != epoch):
                raise Incomplete(f"Provider {provider} has no final credits to prove", f"up to epoch {epoch}")
            last = replay.epochs.reports[finals[-1]]
            if last.tree is None or not last.genuine:
                raise Incomplete("No proof can be made", f"the root of epoch {finals[-1]} is not what its list gives")
            credited = [replay.epochs.reports[number] for number in finals]
            work: list[Json] = [
                _work(reported, index, read_directory(store, reported.event.report.evidence_cid))
                for reported in credited
                if reported.listed and index in reported.listed
            ]
            registered = next(event for event in audit.index.of(ProviderRegistered) if event.index == index)
            body: JsonObject = {
                "index": index,
                "account": leaf.provider,
                "registered": place_of(registered),
                "final": place_of(replay.epochs.finals[finals[-1]]),
                "epoch": finals[-1],
                "depth": last.event.report.depth,
                "leaf": {"C": str(leaf.C), "D": str(leaf.D), "W": str(leaf.W)},
                "siblings": _siblings(last.tree, index),
                "work": work,
            }
            return _head(audit, CREDITS) | body
    finally:
        store.close()


def check_proof(chain: Chain, proof: object) -> AuditReport:
    """Check a proof against the chain. Raises ChainError when no node answers, FormatError for what is no proof."""
    if not isinstance(proof, dict) or proof.get("schema") != SCHEMA:
        raise FormatError("This is not a proof", f"its schema is not {SCHEMA}", "give a file that `audit proof` wrote")
    run = Run.at(chain, parse_address(str(proof.get("run"))))
    findings = Findings()
    block = run.chain.finalized_block()
    check_body(run, block, proof, findings)
    return AuditReport(
        "check-proof", run.address, run.chain.chain_id, block.number, "0x" + block.hash.hex(), findings.checks()
    )


def place_of(event: ChainEvent) -> JsonObject:
    """Where an event stands in the chain."""
    return {
        "block": event.block,
        "block_hash": hex32(event.block_hash),
        "tx": hex32(event.tx),
        "log_index": event.log_index,
    }


def _head(audit: Opened, kind: str) -> JsonObject:
    return {
        "schema": SCHEMA,
        "kind": kind,
        "chain_id": audit.run.chain.chain_id,
        "run": audit.run.address.lower(),
        "block": audit.block.number,
        "block_hash": hex32(audit.block.hash),
    }


def _work(reported: Reported, index: int, files: Mapping[str, bytes]) -> JsonObject:
    mine: JsonObject = {path: files[path].decode() for path in own_files(files, index)}
    return {"epoch": reported.event.epoch, "report": place_of(reported.event), "files": mine}


def _siblings(tree: SumTree, index: int) -> list[Json]:
    return [{"hash": hex32(sibling.hash), "sum": str(sibling.sum)} for sibling in tree.proof(index)]


def _index(accounts: Mapping[int, str], provider: str) -> int:
    if provider.isascii() and provider.isdigit():
        return int(provider)
    named = lower_address(parse_address(provider))
    index = next((index for index, account in accounts.items() if account.lower() == named), None)
    if index is None:
        raise UsageError(f"{provider} is not registered as a provider", "", "give its account or its index")
    return index
