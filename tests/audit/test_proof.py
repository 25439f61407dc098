"""Proofs: true ones hold with nothing but a node, and whatever is altered or kept back in one, it falls."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from commonweight.audit.findings import AuditReport
from commonweight.audit.proof import check_proof, funder_proof, provider_proof
from commonweight.audit.settings import AuditSettings
from commonweight.chain.client import Chain
from commonweight.errors import CommonweightError, FormatError, Incomplete, UsageError
from commonweight.protocol.canonical import dumps
from tests.audit.conftest import settings_of
from tests.audit.staging import Staged
from tests.chain.scenario import ETHER, KEYS, make_world

pytestmark = [pytest.mark.chain, pytest.mark.timeout(600)]
Proof = dict[str, Any]


def check(staged: Staged, proof: object) -> AuditReport:
    return check_proof(Chain([staged.world.url], confirmations=0), json.loads(json.dumps(proof)))


def falls(staged: Staged, proof: object) -> bool:
    try:
        return check(staged, proof).verdict != "verified"
    except CommonweightError:
        return True


def test_a_contribution_is_proved(run: Staged) -> None:
    proof = funder_proof(settings_of(run), KEYS[8].address)
    assert proof["amount"] == str(ETHER)
    report = check(run, proof)
    assert [c for c in report.checks if c.verdict != "ok"] == []
    assert report.verdict == "verified"


def test_a_deposit_that_is_not_its_blocks_first_transaction_is_proved(ganache_url: str, tmp_path: Path) -> None:
    """Ganache's receipts count their logs from zero in each transaction, its eth_getLogs through the block."""
    world = make_world(ganache_url, tmp_path / "nonces")
    world.run.chain.rpc("miner_stop")
    try:
        with ThreadPoolExecutor(2) as pool:
            deposits = [pool.submit(world.by(number).campaign.deposit, ETHER) for number in (1, 2)]
            while len(world.run.chain.rpc("txpool_content")["pending"]) < 2:
                time.sleep(0.01)
            world.run.chain.rpc("evm_mine")
            first, second = (deposit.result() for deposit in deposits)
    finally:
        world.run.chain.rpc("miner_start")
    assert first.block_number == second.block_number
    settings = AuditSettings(world.run.address, (ganache_url,), confirmations=0)
    final = Chain([ganache_url], confirmations=0)
    for number in (1, 2):
        proof: Proof = funder_proof(settings, KEYS[number].address)
        report = check_proof(final, proof)
        assert [c for c in report.checks if c.verdict != "ok"] == []
        proof["deposits"][0]["log_index"] += 7
        assert check_proof(final, proof).verdict == "refuted"


def test_credits_are_proved_by_index_and_by_account(run: Staged) -> None:
    proof: Proof = provider_proof(settings_of(run), "1")
    assert proof == provider_proof(settings_of(run), KEYS[2].address)
    assert [part["epoch"] for part in proof["work"]] == [0, 1]
    report = check(run, proof)
    assert [c for c in report.checks if c.verdict != "ok"] == []
    assert report.verdict == "verified"
    first: Proof = provider_proof(settings_of(run), "1", 0)
    assert [part["epoch"] for part in first["work"]] == [0]
    assert check(run, first).verdict == "verified"
    absent: Proof = provider_proof(settings_of(run), "3")  # provider 3 worked in epoch 0 only
    assert [part["epoch"] for part in absent["work"]] == [0]
    assert check(run, absent).verdict == "verified"


def walk(value: Any, change: Callable[[Any, Any], None]) -> None:
    """Call `change(container, key)` for every leaf."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            if isinstance(value[key], dict | list):
                walk(value[key], change)
            else:
                change(value, key)


@pytest.mark.parametrize("kind", ["contribution", "credits"])
def test_every_altered_field_makes_the_proof_fall(run: Staged, kind: str) -> None:
    settings = settings_of(run)
    proof: Proof = funder_proof(settings, KEYS[9].address) if kind == "contribution" else provider_proof(settings, "0")
    places: list[tuple[Any, Any]] = []
    altered = copy.deepcopy(proof)
    walk(altered, lambda container, key: places.append((container, key)))
    survived = []
    for container, key in places:
        kept = container[key]
        container[key] = kept + 1 if isinstance(kept, int) else _other(kept)
        if not falls(run, altered):
            survived.append(key)
        container[key] = kept
    assert survived == []
    assert altered == proof


def _other(text: str) -> str:
    last = text[-2:-1]
    return text[:-2] + ("0" if last != "0" else "1") + text[-1:]


def test_what_is_wrong_is_told_as_the_proof_and_the_chain_have_it(run: Staged) -> None:
    proof = funder_proof(settings_of(run), KEYS[8].address)
    proof["deposits"][0]["amount"] = "9"
    problems = [c.detail for c in check(run, proof).checks if c.verdict == "refuted"]
    block = proof["deposits"][0]["block"]
    assert problems == [f"the deposit in block {block}, the amount is 9, and has to be {ETHER}"]


def test_an_index_that_lists_nothing_refutes_by_name(run: Staged) -> None:
    proof: Proof = provider_proof(settings_of(run), "0")
    needed = ("index.json", "config.json", "anchors.json", "credits.json")
    for part in proof["work"]:
        part["files"] = {name: text for name, text in part["files"].items() if name in needed}
        part["files"]["index.json"] = dumps({**json.loads(part["files"]["index.json"]), "files": []}).decode()
    report = check(run, proof)
    assert report.verdict == "refuted"
    assert any("is not the one that was attested" in c.detail for c in report.checks)


def test_nothing_can_be_kept_back_or_doubled(run: Staged) -> None:
    proof: Proof = provider_proof(settings_of(run), "0")
    for name in list(proof["work"][0]["files"]):
        altered = copy.deepcopy(proof)
        del altered["work"][0]["files"][name]
        assert falls(run, altered), name
    for change in (lambda w: w[:1], lambda w: [*w, w[-1]], lambda w: w[::-1]):
        altered = copy.deepcopy(proof)
        altered["work"] = change(altered["work"])
        assert falls(run, altered)
    funder: Proof = funder_proof(settings_of(run), KEYS[8].address)
    funder["deposits"] *= 2
    funder["amount"] = str(2 * ETHER)
    assert falls(run, funder)


def test_a_proof_on_another_run_falls(run: Staged) -> None:
    proof: Proof = funder_proof(settings_of(run), KEYS[8].address)
    proof["chain_id"] += 1
    assert falls(run, proof)


@pytest.mark.parametrize("garbage", [None, [], {}, {"schema": "commonweight.proof.v1"}, {"schema": "x"}, "text", 5])
def test_what_is_no_proof_is_refused_by_name(run: Staged, garbage: object) -> None:
    with pytest.raises((FormatError, UsageError)):
        check(run, garbage)


def test_who_has_nothing_gets_no_proof(run: Staged) -> None:
    settings = settings_of(run)
    with pytest.raises(Incomplete, match="nothing"):
        funder_proof(settings, KEYS[4].address)
    with pytest.raises(UsageError):
        funder_proof(settings, "0x12")
    with pytest.raises(UsageError, match="not registered"):
        provider_proof(settings, KEYS[9].address)
    with pytest.raises(Incomplete, match="no final credits"):
        provider_proof(settings, "7")
    with pytest.raises(Incomplete):
        provider_proof(settings, "1", 9)
