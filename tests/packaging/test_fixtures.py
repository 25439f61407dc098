"""The shared fixtures hand out real, clean parts."""

from __future__ import annotations

from functools import partial

import httpx
import pytest

from tests.conftest import put_back, rpc

DEAD = "0x000000000000000000000000000000000000dEaD"


@pytest.mark.chain
@pytest.mark.parametrize("turn", [1, 2])
def test_a_chain_is_clean_whatever_the_test_before_did(chain_url: str, turn: int) -> None:
    assert int(str(rpc(chain_url, "eth_getBalance", DEAD, "latest")), 16) == 0
    clock = int(rpc(chain_url, "eth_getBlockByNumber", "latest", False)["timestamp"], 16)  # type: ignore[index]
    sender = rpc(chain_url, "eth_accounts")[0]  # type: ignore[index]
    rpc(chain_url, "evm_increaseTime", 100_000)
    rpc(chain_url, "eth_sendTransaction", {"from": sender, "to": DEAD, "value": "0x7"})
    assert int(str(rpc(chain_url, "eth_getBalance", DEAD, "latest")), 16) == 7
    later = int(rpc(chain_url, "eth_getBlockByNumber", "latest", False)["timestamp"], 16)  # type: ignore[index]
    assert 100_000 <= later - clock < 150_000


@pytest.mark.chain
def test_what_waits_on_anvil_is_not_mined_on_the_snapshot(anvil_url: str) -> None:
    call = partial(rpc, anvil_url)
    snapshot = call("evm_snapshot")
    sender = call("eth_accounts")[0]  # type: ignore[index]
    call("evm_setAutomine", False)
    call("eth_sendTransaction", {"from": sender, "to": DEAD, "value": "0x7"})
    put_back(call, snapshot)
    call("evm_mine")
    call("evm_setAutomine", True)
    assert int(str(call("eth_getBalance", DEAD, "latest")), 16) == 0


@pytest.mark.e2e
def test_the_ipfs_node_is_real_and_keeps_what_it_is_given(ipfs_url: str) -> None:
    options = {"cid-version": "1", "raw-leaves": "true", "cid-base": "base32"}
    files, plain = {"file": b"hello\n"}, {"trust_env": False, "verify": False}
    added = httpx.post(f"{ipfs_url}/api/v0/add", params=options, files=files, **plain).json()
    # What any IPFS node calls these six bytes as a raw block: sha2-256 in a CIDv1.
    assert added["Hash"] == "bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am"
    back = httpx.post(f"{ipfs_url}/api/v0/cat", params={"arg": added["Hash"]}, **plain)
    assert back.content == b"hello\n"
