"""Deploys the factory and its implementations to any chain and writes commonweight/deployments/<chain id>.json.

    python scripts/deploy.py --rpc https://rpc.example.org --keystore deployer.json --password-file password.txt

Prints what it is about to do and asks (--yes does not). The file names each contract's address, block, transaction,
constructor arguments and code hash, and the compiler. Nobody owns what is deployed.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from commonweight.chain.abi import interface
from commonweight.chain.client import Chain
from commonweight.chain.deploy import (
    COMPILER,
    IMPLEMENTATIONS,
    artifact,
    deploy_factory,
    deployment_gas,
    deployment_path,
    shipped_deployments,
    write_deployment,
)
from commonweight.chain.keys import load_key, read_password
from commonweight.chain.sending import Fees
from commonweight.cli.amounts import format_amount
from commonweight.errors import CommonweightError, UsageError


def main(arguments: list[str]) -> int:
    """Deploy; returns the exit code."""
    options = _parse(arguments)
    try:
        _deploy(options)
    except CommonweightError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Deploy Commonweight's factory and implementations.")
    parser.add_argument("--rpc", required=True, help="RPC addresses, separated by commas")
    parser.add_argument("--keystore", required=True, type=Path, help="encrypted keystore of the deployer")
    parser.add_argument("--password-file", type=Path, help="file with its password (else asked for)")
    parser.add_argument("--chain-id", type=int, help="refuse any other chain")
    parser.add_argument("--max-fee-gwei", type=int, default=500, help="most to pay for gas (default 500)")
    parser.add_argument("--out", type=Path, default=shipped_deployments(), help="folder of the deployments file")
    parser.add_argument("--force", action="store_true", help="replace a deployments file that is there")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    return parser.parse_args(arguments)


def _deploy(options: argparse.Namespace) -> None:
    key = load_key(options.keystore, read_password(options.password_file, os.environ, prompt="Password: "))
    fees = Fees(cap_wei=options.max_fee_gwei * 10**9)
    chain = Chain(options.rpc.split(","), key, chain_id=options.chain_id, fees=fees)
    target = deployment_path(options.out, chain.chain_id)
    if target.exists() and not options.force:
        raise UsageError(f"{target} is there already.", "", "Use that deployment, or replace it with --force.")
    block = chain.block()
    print(f"chain            {chain.chain_id} at block {block.number}")
    print(f"deployer         {key.address}, {format_amount(chain.balance(key.address))}")
    print(f"base fee         {block.base_fee_wei} wei per gas, at most {fees.cap_wei}")
    gas = deployment_gas()
    print(f"gas              about {gas:,}, {format_amount(gas * block.base_fee_wei)} at the present base fee")
    print(f"compiler         {COMPILER}")
    for contract in (*IMPLEMENTATIONS.values(), "RunFactory"):
        size, sources = len(interface(contract).bytecode), artifact(contract).source_sha256
        print(f"deploys          {contract}, {size} bytes, sources {sources}")
    print("arguments        RunFactory gets the addresses of the eight; the others take none, and nobody owns any")
    print(f"writes           {target}")
    if not options.yes:
        _ask()
    deployment = deploy_factory(chain, lambda name: print(f"deployed         {name}", flush=True))
    path = write_deployment(deployment, options.out)
    print(f"factory          {deployment.factory.address}")
    print(f"written          {path}")


def _ask() -> None:
    if not sys.stdin.isatty():
        raise UsageError("This needs a confirmation.", "There is no terminal to ask on", "Repeat it with --yes.")
    if input("Deploy? [y/N] ").strip().lower() not in ("y", "yes"):
        raise UsageError("Nothing was done.", "It was not confirmed", "Answer y, or use --yes.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
