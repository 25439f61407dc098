"""Real parts for every test: an Anvil and a Ganache process for the session, clean for each test, and an IPFS node.

`anvil_url`, `ganache_url` and `chain_url` (one test run on each) hand out the address of a chain that mines on demand
and has a run of ours; what a test does to it is undone afterwards by a snapshot, time travel included. A test that
needs a block timer, a restart or a chain of its own starts one with `commonweight.chain.local`. `ipfs_url` is the RPC
address of a real IPFS node. Nothing here skips: a part that is missing fails the test and names the command that
installs it.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from hypothesis import settings

from commonweight.chain.local import Kind, LocalChain, start_local

ROOT = Path(__file__).resolve().parent.parent
IPFS_NODE = ROOT / "tools" / "ipfs-node"
IPFS_START_S = 150.0
IPFS_STOP_S = 10.0

# Both frameworks bring their own pytest and run these in their own environments: `make brownie-test`, `make ape-test`.
# `make p2p-test` has hivemind.
collect_ignore = ["brownie", "ape", "forge", *([] if find_spec("hivemind") else ["p2p"])]

# The same examples at every run: a change that breaks nothing must not fail by the luck of the draw. `make test-slow`
# looks for new ones; what it finds becomes an @example.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=5000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# Minutes of waiting for blocks: begun first, they are over when everything else is.
FIRST = ("test_demo.py", "test_members.py", "test_serving_chain.py", "test_verify.py", "test_funding.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the processes of `make test` take files in this order."""
    items.sort(key=lambda item: item.path.name not in FIRST)


def rpc(url: str, method: str, *params: object) -> object:
    """One JSON-RPC call; the node's own error fails the test. Without TLS no certificates are needed: reading those of
    the system would take longer than the call.
    """
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
    answer = httpx.post(url, json=body, timeout=30, trust_env=False, verify=False).json()
    assert "error" not in answer, f"{method}: {answer['error']}"
    return answer["result"]


def put_back(call: Callable[..., object], snapshot: object) -> None:
    """Put a chain back to a snapshot by `call(method, *parameters)`, with nothing waiting: Anvil shows a receipt before
    it takes the transaction out of its pool, and what is still there would be mined again on the snapshot.
    """
    if "anvil" in str(call("web3_clientVersion")).lower():
        call("anvil_dropAllTransactions")
    assert call("evm_revert", snapshot) is True


def _prepared(kind: Kind, folder: Path) -> Iterator[LocalChain]:
    from tests.chain.scenario import prepare

    with start_local(kind, directory=folder, block_time_s=None) as chain:
        prepare(chain.url, folder / "nonces")
        yield chain


def _clean(chain: LocalChain) -> Iterator[str]:
    snapshot = rpc(chain.url, "evm_snapshot")
    yield chain.url
    put_back(partial(rpc, chain.url), snapshot)


@pytest.fixture(scope="session")
def anvil_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalChain]:
    """The session's Anvil, mining on demand."""
    yield from _prepared("anvil", tmp_path_factory.mktemp("anvil"))


@pytest.fixture(scope="session")
def ganache_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalChain]:
    """The session's Ganache, mining on demand."""
    yield from _prepared("ganache", tmp_path_factory.mktemp("ganache"))


@pytest.fixture
def anvil_url(anvil_process: LocalChain) -> Iterator[str]:
    """The RPC address of an Anvil in its first state."""
    yield from _clean(anvil_process)


@pytest.fixture
def ganache_url(ganache_process: LocalChain) -> Iterator[str]:
    """The RPC address of a Ganache in its first state."""
    yield from _clean(ganache_process)


@pytest.fixture(params=["anvil", "ganache"])
def chain_url(request: pytest.FixtureRequest) -> str:
    """The RPC address of a chain in its first state; the test runs once on Anvil and once on Ganache."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(scope="session")
def ipfs_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The RPC address of a real IPFS node (js-ipfs) with no peers, whose repository lives for the session."""
    if not (IPFS_NODE / "node_modules" / "ipfs-http-server").is_dir():
        pytest.fail("The IPFS node is not installed: run `make ipfs-node`.", pytrace=False)
    folder = tmp_path_factory.mktemp("ipfs")
    command = ["node", str(IPFS_NODE / "run.mjs"), "--repo", str(folder / "repo"), "--until-eof"]
    log = folder / "ipfs.log"
    with log.open("wb") as errors:
        node = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
        )
    try:
        yield _first_line(node, log)
    finally:
        # Closing its standard input is the order to stop; the group is killed should it not obey.
        _close(node)


def _first_line(node: subprocess.Popen[bytes], log: Path) -> str:
    assert node.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(node.stdout, selectors.EVENT_READ)
        deadline = time.monotonic() + IPFS_START_S
        line = b""
        while not line.endswith(b"\n") and selector.select(max(0.0, deadline - time.monotonic())):
            chunk = os.read(node.stdout.fileno(), 4096)
            if not chunk:
                break
            line += chunk
    if not line.endswith(b"\n"):
        pytest.fail(f"The IPFS node did not start: {log.read_text(errors='replace')[-1000:]}", pytrace=False)
    return str(json.loads(line)["url"])


def _close(node: subprocess.Popen[bytes]) -> None:
    try:
        node.communicate(timeout=IPFS_STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(node.pid, signal.SIGKILL)
        node.communicate()
