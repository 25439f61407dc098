"""A year of a run with a thousand providers, as logs that a node could tell: nothing of it is on the chain."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from eth_abi.abi import encode
from playwright.async_api import Route

from commonweight.cli.dashboard import PAGE
from commonweight.protocol import creditslist

Log = dict[str, Any]


def _events() -> Mapping[str, tuple[str, str, list[Any]]]:
    """(topic, which inputs are indexed, inputs) by name, as the page has them."""
    text = (PAGE / "js" / "generated" / "abi.js").read_text()
    lines = re.findall(r'^  "(0x[0-9a-f]{64})": (\[.*\]),$', text, re.MULTILINE)
    return {entry[0]: (topic, entry[1], entry[2]) for topic, entry in ((t, json.loads(rest)) for t, rest in lines)}


EVENTS = _events()


def _kind(entry: list[Any]) -> str:
    name, kind, *parts = entry
    del name
    return kind.replace("tuple", f"({','.join(_kind(part) for part in parts[0])})") if parts else str(kind)


def made_up_log(place: int, block: int, name: str, values: list[Any]) -> Log:
    """A log as a node tells it."""
    topic, indexed, inputs = EVENTS[name]
    kinds = [_kind(entry) for entry in inputs]
    topics = [encode([kinds[i]], [values[i]]).hex() for i in range(len(kinds)) if indexed[i] == "1"]
    rest = [i for i in range(len(kinds)) if indexed[i] == "0"]
    data = encode([kinds[i] for i in rest], [values[i] for i in rest])
    return {
        "topics": [topic, *(f"0x{one}" for one in topics)], "data": f"0x{data.hex()}", "blockNumber": hex(block),
        "transactionHash": f"0x{place:064x}", "logIndex": "0x0",
    }  # fmt: skip


def long_run(block: int, providers: int, epochs: int, rounds: int) -> list[Log]:
    """Logs of a run in which everyone is credited in each of the epochs, all in one block."""
    found: list[Log] = []

    def add(name: str, *values: Any) -> None:
        found.append(made_up_log(len(found), block, name, list(values)))

    accounts = [f"0x{index + 1:040x}" for index in range(providers)]
    for index, account in enumerate(accounts):
        add("ProviderRegistry.ProviderRegistered", *_registered(index, account))
    listed = creditslist.encode({index: 1_000 + index for index in range(providers)})
    total = sum(1_000 + index for index in range(providers))
    digest, cid = bytes(32), "b" * 59
    for epoch in range(epochs):
        last = (epoch + 1) * rounds
        for number in range(last - rounds + 1, last + 1):
            add("CreditOracle.RoundAnchored", number, epoch, 0, b"\x01" * 32, number, digest, accounts[0])
        add("CreditOracle.EpochClosed", epoch, 0, 0, providers, 0)
        report = [
            digest, epoch, 0, digest, digest, total * (epoch + 1), 10, total, digest, cid, digest, digest, cid, last,
            3_000_000 - 1_000 * epoch, 1, digest,
        ]  # fmt: skip
        add("CreditOracle.ReportSubmitted", *_submitted(epoch, report, listed))
        add("CreditOracle.EpochFinal", epoch, digest, total * (epoch + 1), total, 0, 1 << 64)
        add("CheckpointRegistry.CheckpointAttested", epoch, epoch, last, digest, digest, 3_000_000 - 1_000 * epoch)
    return found


def _registered(index: int, account: str) -> list[Any]:
    values = {"index": index, "account": account, "signingKey": account, "payout": account, "peer": "a.example:7700"}
    return [values.get(name, 0) for name, *_ in EVENTS["ProviderRegistry.ProviderRegistered"][2]]


def _submitted(epoch: int, report: list[Any], listed: bytes) -> list[Any]:
    values: dict[str, Any] = {"epoch": epoch, "report": tuple(report), "credits": listed, "digest": epoch.to_bytes(32)}
    default = {"address": "0x" + "00" * 20, "bytes32": bytes(32), "address[]": [], "bytes[]": []}
    inputs = EVENTS["CreditOracle.ReportSubmitted"][2]
    return [values.get(entry[0], default.get(entry[1], 0)) for entry in inputs]


class MadeUp:
    """A node that tells these logs, too."""

    def __init__(self, logs: list[Log]) -> None:
        self.logs = logs
        self.block = int(logs[0]["blockNumber"], 16)

    async def answer(self, route: Route) -> None:
        """Answer a request."""
        asked = json.loads(route.request.post_data or "[]")
        call = asked if isinstance(asked, dict) else asked[0]
        if call["method"] != "eth_getLogs":
            await route.continue_()
            return
        answer = await (await route.fetch()).json()
        start, end = (int(call["params"][0][key], 16) for key in ("fromBlock", "toBlock"))
        if start <= self.block <= end:
            answer["result"] = self.logs
        await route.fulfill(body=json.dumps(answer), headers={"access-control-allow-origin": "*"})
