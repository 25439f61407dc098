"""scripts/deploy.py as a user runs it, and the deployments file that it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from eth_utils.crypto import keccak

from commonweight.audit.deployed import check_deployments_file
from commonweight.audit.findings import AuditReport
from commonweight.chain.client import Chain
from commonweight.chain.contracts import Factory
from commonweight.chain.deploy import (
    IMPLEMENTATIONS,
    check_blocks,
    deploy_factory,
    find_factory,
    read_deployment,
    write_deployment,
)
from commonweight.chain.keys import create_keystore
from commonweight.errors import ChainError, ConfigError, ContractError, WrongChain
from tests.chain.scenario import KEYS, World, make_params

pytestmark = pytest.mark.chain
ROOT = Path(__file__).resolve().parent.parent.parent


def deploy(url: str, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    keystore, password = folder / "key.json", folder / "password"
    if not keystore.exists():
        create_keystore(keystore, "x", key=KEYS[0], fast=True)
        password.write_text("x\n")
    command = [sys.executable, str(ROOT / "scripts" / "deploy.py"), "--rpc", url, "--keystore", str(keystore)]
    command += ["--password-file", str(password), "--out", str(folder / "deployments"), *more]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=100
    )


def test_the_script_deploys_what_the_file_says(chain_url: str, tmp_path: Path) -> None:
    done = deploy(chain_url, tmp_path, "--yes")
    assert done.returncode == 0, done.stderr
    chain = Chain([chain_url], KEYS[0], state_dir=tmp_path / "nonces")
    deployment = read_deployment(tmp_path / "deployments" / f"{chain.chain_id}.json")
    for entry in (*deployment.implementations.values(), deployment.factory):
        assert "0x" + keccak(chain.code(entry.address)).hex() == entry.code_keccak256
        receipt = chain.receipt(bytes.fromhex(entry.tx[2:]))
        assert receipt is not None
        assert (receipt.block_number, receipt.contract_address) == (entry.block, entry.address)
    addresses = Factory(chain, deployment.factory.address).implementations()
    assert {n: e.address for n, e in deployment.implementations.items()} == vars(addresses)
    assert deployment.factory.arguments == tuple(vars(addresses).values())
    assert set(deployment.implementations) == set(IMPLEMENTATIONS)
    assert find_factory(chain, (tmp_path / "none", tmp_path / "deployments")).address == deployment.factory.address
    again = deploy(chain_url, tmp_path, "--yes")
    assert again.returncode == 2
    assert "--force" in again.stderr


def test_the_script_asks_and_checks_the_chain(chain_url: str, tmp_path: Path) -> None:
    asked = deploy(chain_url, tmp_path)
    assert (asked.returncode, "confirmation" in asked.stderr) == (2, True)
    assert "RunFactory" in asked.stdout
    assert not (tmp_path / "deployments").exists()
    other = deploy(chain_url, tmp_path, "--yes", "--chain-id", "99")
    assert (other.returncode, "not chain 99" in other.stderr) == (2, True)


def test_a_file_that_is_not_true_of_the_chain_is_passed_over(world: World, tmp_path: Path) -> None:
    false = replace(world.deployment, factory=replace(world.deployment.factory, address=KEYS[0].address))
    write_deployment(false, tmp_path / "false")
    with pytest.raises(ConfigError, match="No factory is known"):
        find_factory(world.run.chain, (tmp_path / "false",))
    write_deployment(world.deployment, tmp_path / "true")
    assert (
        find_factory(world.run.chain, (tmp_path / "false", tmp_path / "true")).address
        == world.deployment.factory.address
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "other"}'])
def test_what_is_no_deployments_file_is_an_error_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "1.json").write_text(text)
    with pytest.raises(ConfigError, match="is not a deployments file"):
        read_deployment(tmp_path / "1.json")


def test_a_parameter_out_of_bounds_is_named(world: World) -> None:
    factory = Factory(world.run.chain, world.deployment.factory.address)
    assert factory.is_run(world.run.address)
    assert not factory.is_run(factory.address)
    with pytest.raises(ContractError, match="tailEpochs") as refused:
        factory.create_run(make_params(world.run.chain.timestamp(), tail_epochs=1))
    assert refused.value.name == "BadParameter"
    assert json.dumps(world.deployment.to_json())


def verdicts(report: AuditReport) -> set[tuple[str, str]]:
    """(check, contract) of everything that does not hold."""
    return {(c.name, c.subject) for c in report.checks if c.verdict != "ok"}


def final_at_once(world: World) -> Chain:
    """The chain, whose latest block counts as final."""
    return Chain([world.url], confirmations=0)


def test_another_chains_file_is_refused(world: World) -> None:
    other = replace(world.deployment, chain_id=world.deployment.chain_id + 1)
    with pytest.raises(WrongChain, match="deployments file is of chain"):
        check_deployments_file(final_at_once(world), other)


def test_an_honest_file_is_verified_by_the_command(world: World, tmp_path: Path) -> None:
    path = write_deployment(world.deployment, tmp_path)
    command = [sys.executable, "-m", "commonweight.cli.main", "audit", "deployment", "--file", str(path), "--json"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    done = subprocess.run(
        [*command, "--rpc", world.url, "--confirmations", "0"],
        env=environment, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["verdict"] == "verified"
    assert {c["name"] for c in found["checks"]} == {"code", "transactions", "sources", "factory"}


LIES: dict[str, tuple[dict[str, object], set[tuple[str, str]]]] = {
    "another block": ({"block": 1_000_000}, {("transactions", "CreditOracle")}),
    "another address": (
        {"address": KEYS[0].address},
        {("code", "CreditOracle"), ("transactions", "CreditOracle"), ("factory", "")},
    ),
    "another hash": ({"code_keccak256": "0x" + "11" * 32}, {("code", "CreditOracle")}),
    "other sources": ({"source_sha256": "0x" + "11" * 32}, {("sources", "CreditOracle")}),
    "a transaction that is not there": ({"tx": "0x" + "11" * 32}, {("transactions", "CreditOracle")}),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_false_entry_is_refuted_by_name(world: World, lie: str) -> None:
    changes, expected = LIES[lie]
    true = world.deployment
    entry = replace(true.implementations["oracle"], **changes)  # type: ignore[arg-type]
    false = replace(true, implementations={**true.implementations, "oracle": entry})
    assert verdicts(check_deployments_file(final_at_once(world), false)) >= expected


def test_other_code_behind_a_true_address_is_refuted(world: World) -> None:
    method = {"anvil": "anvil_setCode"}.get(world.run.chain.rpc("web3_clientVersion").partition("/")[0].lower())
    if method is None:
        method = "evm_setAccountCode"  # Ganache
    world.run.chain.rpc(method, world.deployment.implementations["ledger"].address, "0x00")
    assert ("code", "CreditLedger") in verdicts(check_deployments_file(final_at_once(world), world.deployment))


def test_arguments_that_were_not_the_factorys_are_refuted(world: World) -> None:
    swapped = world.deployment.factory.arguments[::-1]
    false = replace(world.deployment, factory=replace(world.deployment.factory, arguments=swapped))
    found = verdicts(check_deployments_file(final_at_once(world), false))
    assert {("transactions", "RunFactory"), ("factory", "")} <= found


def test_a_chain_whose_contracts_see_other_blocks_is_refused(
    chain_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Arbitrum, where a contract's block numbers are those of the chain below: no report could be accepted."""
    chain = Chain([chain_url], KEYS[0], state_dir=tmp_path)
    check_blocks(chain)
    real, sent = chain.block, chain.transaction_count(KEYS[0].address)
    monkeypatch.setattr(chain, "block", lambda block="latest": replace(real(block), number=300_000_000))
    with pytest.raises(ChainError, match="No run can live on chain"):
        deploy_factory(chain)
    assert chain.transaction_count(KEYS[0].address) == sent


def test_a_block_whose_hash_no_code_could_begin_with_is_read_all_the_same(chain_url: str, tmp_path: Path) -> None:
    """Of 256 blocks one has a hash that begins with 0xef, which no contract's code may (EIP-3541)."""
    chain = Chain([chain_url], KEYS[0], state_dir=tmp_path)
    for _ in range(4_000):
        chain.rpc("evm_mine")
        if chain.block("latest").parent_hash[0] == 0xEF:
            break
    else:
        pytest.fail("no such block came")
    check_blocks(chain)
