"""Deploys the implementations and the factory, and keeps what was deployed in a file per chain.

The file names every contract's address, block, transaction, constructor arguments and code hash, so that anyone can
compare it with the chain and with what the sources compile to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path

from eth_utils.crypto import keccak

from commonweight.chain.abi import creation_code, interface
from commonweight.chain.client import Chain
from commonweight.chain.contracts import Factory
from commonweight.chain.structs import RunAddresses
from commonweight.errors import ChainError, ConfigError, NodeFailed

SCHEMA = "commonweight.deployment.v1"
COMPILER = "solc 0.8.30, evm shanghai"
IMPLEMENTATIONS: Mapping[str, str] = {
    "campaign": "Campaign",
    "registry": "ProviderRegistry",
    "oracle": "CreditOracle",
    "ledger": "CreditLedger",
    "checkpoints": "CheckpointRegistry",
    "distributor": "RevenueDistributor",
    "payments": "InferencePayments",
    "disputes": "Disputes",
}


@dataclass(frozen=True)
class Deployed:
    """One deployed contract. `code_keccak256` is of the code at the address, `source_sha256` of compiler settings and
    sources (scripts/export_abi.py); hashes are 0x-hex.
    """

    contract: str
    address: str
    block: int
    tx: str
    arguments: tuple[str, ...]
    code_keccak256: str
    source_sha256: str


@dataclass(frozen=True)
class Deployment:
    """A factory with its implementations on one chain."""

    chain_id: int
    factory: Deployed
    implementations: Mapping[str, Deployed]
    compiler: str = COMPILER

    def to_json(self) -> dict[str, object]:
        """The content of the deployments file."""
        return {
            "schema": SCHEMA,
            "chain_id": self.chain_id,
            "compiler": self.compiler,
            "factory": asdict(self.factory),
            "implementations": {name: asdict(entry) for name, entry in self.implementations.items()},
        }


def check_blocks(chain: Chain) -> None:
    """Raise ChainError where contracts see other blocks than RPC tells: no report could be accepted there."""
    head = chain.block("latest")
    if head.number == 0:
        return
    # Creation code that returns BLOCKHASH of the block before: PUSH8 number, BLOCKHASH, MSTORE at 1, RETURN 33 bytes.
    # What it returns would be a contract's code, and no code may begin with 0xef (EIP-3541), as a hash in 256 does.
    code = "0x67" + (head.number - 1).to_bytes(8, "big").hex() + "4060015260216000f3"
    try:
        seen = str(chain.rpc("eth_call", {"data": code}, "latest"))
    except NodeFailed:
        return  # this node calls no creation code, and tells nothing by it
    if seen != "0x00" + head.parent_hash.hex():
        raise ChainError(
            f"No run can live on chain {chain.chain_id}.",
            "Its contracts see other blocks than its RPC tells (as on Arbitrum): every report would be refused",
            "Choose another chain.",
        )


def deploy_factory(chain: Chain, progress: Callable[[str], None] | None = None) -> Deployment:
    """Deploy all implementations and the factory from the chain's key; `progress` gets each contract's name when it is
    mined. Raises ChainError on a chain where no run can live.
    """
    check_blocks(chain)

    def deploy(contract: str, arguments: tuple[object, ...] = (), shown: tuple[str, ...] = ()) -> Deployed:
        receipt = chain.deploy(creation_code(interface(contract), arguments), contract)
        address = receipt.contract_address
        if address is None or not (code := chain.code(address)):
            raise ChainError(f"{contract} was not deployed.", "There is no code at its address", "Try again.")
        if progress is not None:
            progress(contract)
        return Deployed(
            contract, address, receipt.block_number, "0x" + receipt.tx_hash.hex(), shown, "0x" + keccak(code).hex(),
            artifact(contract).source_sha256,
        )  # fmt: skip

    with ThreadPoolExecutor(len(IMPLEMENTATIONS)) as pool:  # together they fit in one or two blocks
        made = dict(zip(IMPLEMENTATIONS, pool.map(deploy, IMPLEMENTATIONS.values()), strict=True))
    addresses = RunAddresses(**{name: made[name].address for name in IMPLEMENTATIONS})
    shown = tuple(getattr(addresses, f.name) for f in fields(RunAddresses))
    return Deployment(chain.chain_id, deploy("RunFactory", (addresses,), shown), made)


@dataclass(frozen=True)
class Artifact:
    """What a contract of this project compiles to. `masked`: (start, length) of the immutables in `code`."""

    code: bytes
    masked: tuple[tuple[int, int], ...]
    source_sha256: str

    def matches(self, code: bytes) -> bool:
        """Whether deployed code is this artifact's, whatever its immutables hold."""
        return len(code) == len(self.code) and self._mask(code) == self._mask(self.code)

    def _mask(self, code: bytes) -> bytes:
        out = bytearray(code)
        for start, length in self.masked:
            out[start : start + length] = bytes(length)
        return bytes(out)


@cache
def artifact(name: str) -> Artifact:
    """The artifact of a contract, from commonweight/abi."""
    body = json.loads((resources.files("commonweight.abi") / f"{name}.json").read_text())
    places = [place for group in body["immutableReferences"].values() for place in group]
    masked = tuple((int(place["start"]), int(place["length"])) for place in places)
    code = bytes.fromhex(str(body["deployedBytecode"]).removeprefix("0x"))
    return Artifact(code, masked, "0x" + str(body["sourceSha256"]))


def deployment_gas() -> int:
    """About what deploying everything costs: the transactions, their data and the code that they leave."""
    contracts = (*IMPLEMENTATIONS.values(), "RunFactory")
    data = sum(len(interface(contract).bytecode) for contract in contracts)
    return sum(53_000 + 200 * len(artifact(contract).code) for contract in contracts) + 16 * data


def deployment_path(directory: Path, chain_id: int) -> Path:
    """The deployments file of a chain."""
    return directory / f"{chain_id}.json"


def shipped_deployments() -> Path:
    """The folder of deployments files that come with the package."""
    return Path(str(resources.files("commonweight") / "deployments"))


def write_deployment(deployment: Deployment, directory: Path) -> Path:
    """Write the deployments file, whole or not at all."""
    path = deployment_path(directory, deployment.chain_id)
    directory.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".json.new")
    temporary.write_text(json.dumps(deployment.to_json(), indent=2) + "\n")
    temporary.replace(path)
    return path


def read_deployment(path: Path) -> Deployment:
    """Read a deployments file. Raises ConfigError if it is missing or not one."""
    try:
        body = json.loads(path.read_text())
        if body["schema"] != SCHEMA:
            raise KeyError("schema")
        entries = {name: _deployed(entry) for name, entry in body["implementations"].items()}
        return Deployment(int(body["chain_id"]), _deployed(body["factory"]), entries, str(body["compiler"]))
    except OSError as error:
        raise ConfigError(
            f"The deployments file {path} cannot be read.",
            error.strerror or str(error),
            "Name another one, or make one with scripts/deploy.py.",
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(f"{path} is not a deployments file.", "", "Make a new one with scripts/deploy.py.") from None


def find_factory(chain: Chain, directories: tuple[Path, ...]) -> Factory:
    """The factory on this chain, by the first deployments file that is true of it. Raises ConfigError without one."""
    for directory in directories:
        path = deployment_path(directory, chain.chain_id)
        if path.is_file():
            found = read_deployment(path)
            if "0x" + keccak(chain.code(found.factory.address)).hex() == found.factory.code_keccak256:
                return Factory(chain, found.factory.address)
    raise ConfigError(
        f"No factory is known on chain {chain.chain_id}.",
        "No deployments file names one that is there",
        "Name it by --factory, or deploy one with scripts/deploy.py.",
    )


def _deployed(entry: Mapping[str, object]) -> Deployed:
    arguments = entry["arguments"]
    if not isinstance(arguments, list):
        raise TypeError
    return Deployed(
        str(entry["contract"]),
        str(entry["address"]),
        int(str(entry["block"])),
        str(entry["tx"]),
        tuple(str(a) for a in arguments),
        str(entry["code_keccak256"]),
        str(entry["source_sha256"]),
    )
