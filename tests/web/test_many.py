"""A run of many members, rounds and blocks: what the page asks for stays little, and so does what it shows at once."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.async_api import Request, Route, expect

from commonweight.protocol.canonical import JsonObject, dumps
from commonweight.store import FolderStore
from tests.chain.scenario import World, make_world
from tests.conftest import rpc
from tests.web.conftest import Served, Sites, Stage, Visit
from tests.web.made_up import MadeUp, long_run

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
AT_ONCE, ROUNDS, PAGES = 6, 24, 4
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
            {"index": member, "commitment": f"0x{digest}", "steps": 10, "tokens": 100, "payload": f"0x{digest}"}
            for member, digest in enumerate(digests)
        ]
        record: JsonObject = {
            "body": {"counted": [*counted], "refused": [], "missing": [], "results": [f"0x{digests[0]}"] * 2}
        }
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
    assert await rows.first.locator("td").nth(1).inner_text() == "#0 to #4"
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


class Limited:
    """A node that gives logs of at most so many blocks at once. `given` are the ranges that it gave, `refused` counts
    the others.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.given: list[tuple[int, int]] = []
        self.refused = 0
        self.out_after: int | None = None
        self.out = asyncio.Event()
        self.other: int | None = None
        self.under_way = self.most_at_once = 0

    def limit(self, start: int) -> int:
        """How many blocks from one on."""
        return self.most

    async def answer(self, route: Route) -> None:
        """Answer a request."""
        asked = json.loads(route.request.post_data or "[]")
        calls = asked if isinstance(asked, list) else [asked]
        ranges = [call["params"][0] for call in calls if call["method"] == "eth_getLogs"]
        if not ranges:
            await self.tell(route, calls)
            return
        start, end = (int(ranges[0][key], 16) for key in ("fromBlock", "toBlock"))
        headers = {"access-control-allow-origin": "*"}
        if end - start + 1 > self.limit(start):
            self.refused += 1
            error = {"code": -32005, "message": "too many blocks"}
            told: object = [{"jsonrpc": "2.0", "id": call["id"], "error": error} for call in calls]
            body = told if isinstance(asked, list) else told[0]  # type: ignore[index]
            await route.fulfill(body=json.dumps(body), headers=headers)
            return
        if self.out_after is not None and len(self.given) >= self.out_after:
            self.out.set()
            await route.abort()
            return
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        answer = await (await route.fetch()).json()
        self.under_way -= 1
        self.given.append((start, end))
        await route.fulfill(body=json.dumps(answer), headers=headers)

    async def tell(self, route: Route, calls: list[dict[str, Any]]) -> None:
        """Anything but logs; of block `other` another hash."""
        if not (calls[0]["method"] == "eth_getBlockByNumber" and calls[0]["params"][0] == hex(self.other or 0)):
            await route.continue_()
            return
        answer = await (await route.fetch()).json()
        answer["result"]["hash"] = "0x" + "ab" * 32
        await route.fulfill(body=json.dumps(answer), headers={"access-control-allow-origin": "*"})

    def take(self) -> list[tuple[int, int]]:
        """What it gave since last time."""
        given, self.given = self.given, []
        return given


def final_of(world: World) -> int:
    block = rpc(world.url, "eth_getBlockByNumber", "finalized", False)
    assert isinstance(block, dict)
    return int(block["number"], 16)


async def test_events_are_read_page_by_page_and_no_page_twice_after_errors_and_reloads(
    staged_site: Served, visit: Visit, mine: Callable[[int], None]
) -> None:
    page, world, node = visit.page, staged_site.world, Limited(16)
    mine(2_000)
    created, final = world.run.campaign.created_block(), final_of(world)
    await visit.go(staged_site, "training")
    whole = {card: await visit.text(card) for card in ("#now", "#loss", "#lineage")}
    await page.route(f"{world.url}/**", node.answer)
    for pages in (40, 80):
        node.out_after = pages
        node.out.clear()
        await (page.reload() if pages == 40 else visit.look())
        await node.out.wait()
    await visit.see("The chain cannot be read", "#trouble")
    assert await visit.text("main") == ""
    node.out_after = None
    await page.reload()
    await visit.see("Reading the chain: events up to block", "#run-line")
    await page.wait_for_selector("body[data-block]")
    given = [block for start, end in node.take() for block in range(start, end + 1) if block <= final]
    assert set(given) == set(range(created, final + 1))
    assert len(given) - len(set(given)) <= 2 * PAGES * node.most  # what was on its way when the node, or the page, went
    assert 1 < node.most_at_once <= PAGES
    assert {card: await visit.text(card) for card in whole} == whole
    await page.reload()
    await page.wait_for_selector("body[data-block]")
    assert min(start for start, _ in node.take()) > final  # all that is final is still there
    assert {card: await visit.text(card) for card in whole} == whole
    visit.errors[:] = [error for error in visit.errors if "ERR_FAILED" not in error]


async def test_kept_events_are_read_again_where_their_last_block_is_another(
    staged_site: Served, visit: Visit, mine: Callable[[int], None]
) -> None:
    page, world, node = visit.page, staged_site.world, Limited(64)
    mine(500)
    created, final = world.run.campaign.created_block(), final_of(world)
    await page.route(f"{world.url}/**", node.answer)
    await visit.go(staged_site)
    node.take()
    node.other = final
    await page.reload()
    await page.wait_for_selector("body[data-block]")
    assert min(start for start, _ in node.take()) == created
    assert "6 ETH raised" in await visit.text("#progress")
    node.other = None
    query = urlencode({"rpc": f"{world.url}/?another", "run": world.run.address})
    await visit.go(staged_site, query=f"?{query}")
    assert min(start for start, _ in node.take()) == created  # what one node told is not taken for another's word


async def test_pages_grow_where_a_node_gives_more(
    staged_site: Served, visit: Visit, mine: Callable[[int], None]
) -> None:
    mine(1_200)
    world, node = staged_site.world, Limited(4)
    created, final = world.run.campaign.created_block(), final_of(world)
    node.limit = lambda start: 4 if start < created + 40 else 10**9  # type: ignore[method-assign]
    await visit.page.route(f"{world.url}/**", node.answer)
    await visit.go(staged_site)
    assert len(node.given) < 70  # of 300 pages of 4 blocks
    assert node.refused < 30
    assert {block for start, end in node.given for block in range(start, end + 1)} >= set(range(created, final + 1))


async def test_of_a_thousand_providers_and_many_epochs_little_is_drawn_at_once(
    open_site: Served, visit: Visit, mine: Callable[[int], None]
) -> None:
    page, world = visit.page, open_site.world
    node = MadeUp(long_run(world.run.campaign.created_block(), 1000, 60, 2))
    await page.route(f"{world.url}/**", node.answer)
    mine(70)
    await visit.go(open_site, "audit")
    elements = "document.querySelectorAll('*').length"
    assert await page.evaluate(elements) < 600
    await page.click("#older summary")
    await expect(page.locator("#older article")).to_have_count(20)
    await page.focus("#more-reports")
    await page.keyboard.press("Enter")
    await expect(page.locator("#older article")).to_have_count(40)
    assert await visit.text("#more-reports") == "Show 17 more of 17"
    assert await page.evaluate("document.activeElement.id") == "more-reports"
    await page.keyboard.press("Enter")
    await visit.see("That is all.", "#more-reports")
    assert await page.evaluate("document.activeElement.id") == "more-reports"
    await page.evaluate("location.hash = 'overview'")
    await page.wait_for_selector("#progress")
    assert await page.evaluate(elements) < 600
    await page.evaluate("location.hash = 'providers'")
    await page.wait_for_selector("#leaderboard")
    assert await page.evaluate(elements) < 1500
    await page.evaluate("location.hash = 'training'")
    await visit.see("cannot be shown", "#rounds")
    assert await page.evaluate(elements) < 2500
    await expect(page.locator("#lineage li")).to_have_count(20)
    await page.wait_for_selector("#rounds:not(:has(.loading))")
    # At a block in which nothing happens to them, members are not drawn again.
    await page.evaluate(
        "for (const row of document.querySelectorAll('#members tr, #lineage li')) row.dataset.kept = ''"
    )
    rpc(world.url, "evm_increaseTime", 3600)
    mine(1)
    head = rpc(world.url, "eth_blockNumber")
    await visit.look()
    await page.wait_for_selector(f"body[data-block='{int(str(head), 16)}']")
    await expect(page.locator("#members tr[data-kept]")).to_have_count(101)
    await expect(page.locator("#lineage li[data-kept]")).to_have_count(20)
    visit.errors[:] = [error for error in visit.errors if "404" not in error and "400" not in error]
