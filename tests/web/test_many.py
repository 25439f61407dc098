"""A run of many members, rounds and blocks: what the page asks for stays little, and so does what it shows at once."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest
from playwright.async_api import Request, Route, expect

from commonweight.protocol.canonical import JsonObject, dumps
from commonweight.store import FolderStore
from tests.chain.scenario import World, make_world
from tests.web.conftest import Sites, Stage, Visit

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
AT_ONCE, ROUNDS = 6, 24
TRAINING: JsonObject = {"codec": "int8", "result_codec": "int8", "block": 64, "topology": "butterfly"}


def publish_rounds(store: FolderStore, world: World, epoch: int, numbers: range, members: int) -> Mapping[str, object]:
    """What a report says of evidence with these rounds, of as many members, and a commitment of each."""
    files: dict[str, bytes] = {
        "config.json": dumps({"training": TRAINING}),
        "credits.json": dumps({"parameters": "1000", "lines": []}),
    }
    for number in numbers:
        digests = [hashlib.sha256(f"{number} {member}".encode()).hexdigest() for member in range(members)]
        counted: list[JsonObject] = [
            {"index": member, "commitment": f"0x{digest}", "steps": 10, "tokens": 100, "parts": [f"0x{digest}"] * 2}
            for member, digest in enumerate(digests)
        ]
        record: JsonObject = {"body": {"counted": [*counted], "refused": [], "missing": []}}
        files[f"records/{number}.json"] = dumps(record)
        for member, digest in enumerate(digests):
            files[f"commitments/{number}-{member}-{digest[:16]}.json"] = dumps({"body": {"payload_bytes": 1064}})
    listed: list[JsonObject] = [
        {"path": path, "size": len(data), "sha256": f"0x{hashlib.sha256(data).hexdigest()}"}
        for path, data in sorted(files.items())
    ]
    index = dumps({"schema": "commonweight.evidence.v1", "run": world.run.address, "epoch": epoch, "files": [*listed]})
    cid = store.put_directory({**files, "index.json": index})
    return {"evidence_cid": str(cid), "evidence_sha256": hashlib.sha256(index).digest(), "round": numbers[-1]}


async def test_of_many_rounds_the_newest_are_read_and_few_files_at_once(
    stage_now: Stage, sites: Sites, visit: Visit, tmp_path: Path
) -> None:
    page, store = visit.page, FolderStore(tmp_path / "store")
    world = make_world(stage_now.chain.url, tmp_path / "nonces", last_epoch=11)
    world.register(1, 2)
    world.fund()
    for epoch, numbers in enumerate((range(1, 4), range(4, 44))):
        world.close(epoch)
        world.report(epoch, {1: 7}, **publish_rounds(store, world, epoch, numbers, 5))
        world.finalize(epoch)
    under_way, most, asked = 0, 0, 0

    async def answer(route: Route) -> None:
        nonlocal under_way, most, asked
        under_way, asked = under_way + 1, asked + 1
        most = max(most, under_way)
        # one turn of the page: whatever it would ask for at the same time, it has asked for
        await page.evaluate("new Promise((resolve) => setTimeout(resolve))")
        await route.continue_()

    def over(request: Request) -> None:
        nonlocal under_way
        under_way -= "/ipfs/" in request.url

    page.on("requestfinished", over)
    await page.route("**/ipfs/**", answer)
    await visit.go(sites.serve(world, store), "training")
    rows = page.locator("#rounds tbody tr")
    await expect(rows).to_have_count(ROUNDS)
    await expect(page.locator("#older")).to_have_text("Read 16 older rounds of epoch 1")
    assert await rows.first.locator("th").inner_text() == "43"
    assert asked <= ROUNDS + 8  # with directories, index.json, config.json and credits.json; no commitment
    assert most == AT_ONCE
    assert under_way == 0
    payload = 1000 + 4 * 16  # a byte for each parameter, and a scale for each of its blocks
    sent, synchronous = 2 * 4 * payload // 5, 2 * 4 * (4 * 1000 * 10) // 5  # by each of five
    assert await visit.text("#traffic .figure") == f"{synchronous * 10 // sent / 10} times less"
    await page.focus("#older")
    await page.keyboard.press("Enter")
    await expect(rows).to_have_count(43)  # of both reports
    await visit.see("These are the rounds of all reports.", "#older")
    assert await page.evaluate("document.activeElement.id") == "older"
    assert asked <= 43 + 16
