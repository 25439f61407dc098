"""A run that trains, as readers, providers and auditors see it: from chain and evidence, and nothing made up."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from playwright.async_api import Route, expect

from commonweight.chain.ledger_view import LedgerView
from commonweight.cli.amounts import format_amount
from commonweight.store import FolderStore, parse_cid
from tests.chain.scenario import ETHER, KEYS, make_world
from tests.conftest import rpc
from tests.waiting import wait_for
from tests.web.conftest import Served, Sites, Stage, Visit
from tests.web.tokens import deploy_token

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
SIGNER_SET_CHANGED = f"0x{keccak(text='SignerSetChanged(uint32,bytes32,uint16,address[],address[])').hex()}"


async def test_everything_can_be_read_without_a_wallet(staged_site: Served, visit: Visit) -> None:
    run = staged_site.world.run
    await visit.go(staged_site)
    progress = await visit.text("#progress")
    for words in ("6 ETH raised of a goal of 5 ETH", "120 %", "10 ETH", "3\nbackers", "deposits until"):
        assert words in progress
    escrow = await visit.text("#escrow")
    assert "locked until milestones are met" in escrow
    released = format_amount(run.campaign.released()).split()[0]
    assert released.startswith((await visit.text("#escrow .legend li:first-child .amount")).split()[1])
    uses = await visit.text("#uses")
    assert "0.000001 ETH for each credit" in uses
    assert "60 credits are final and the held-out loss is at most 3.000 nats, by epoch 1" in uses
    split = (await visit.text("#split")).replace("\n", " ")
    assert all(words in split for words in ("funders 54", "providers of computing 36", "whoever serves the model 10"))
    revenue = await visit.text("#revenue")
    received = run.distributor.capital_received()
    assert f"to the funders\n{format_amount(received)}" in revenue
    assert "Epoch 1 has a report that anyone can still challenge" in await visit.text("#challenges")
    assert await visit.page.locator("#loss circle").count() == 2
    assert await visit.page.locator("#loss circle.open").count() == 1  # the pending report's
    assert "2 of 3 must agree" in await visit.text("#terms")
    assert visit.wallet.asked == []


async def test_training_shows_members_rounds_traffic_and_lineage(staged_site: Served, visit: Visit) -> None:
    may_answer, page = asyncio.Event(), visit.page

    async def hold(route: Route) -> None:
        await may_answer.wait()
        await route.continue_()

    await page.route(f"**/{LedgerView.of(staged_site.world.run).reports[0].report.evidence_cid}**", hold)
    await visit.go(staged_site, "training")
    await visit.see("Both count one all-reduce", "#traffic")
    for card in ("#traffic", "#rounds"):  # a part is not shown as if it were the whole
        await visit.see("Reading the evidence of epoch 0…", card)
    await expect(page.locator("#rounds tbody tr")).to_have_count(2)
    may_answer.set()
    await expect(page.locator("#rounds tbody tr")).to_have_count(4)
    await expect(page.get_by_text("Reading the evidence")).to_have_count(0)
    members = await visit.text("#members")
    assert members.count("counted\nround 4") == 3
    assert "missing\nno commitment" in members
    assert "What the states mean" in members
    assert "this site is not connected to one" in await visit.text("#now")
    assert "Round 2 · epoch 0" in await visit.text("#lineage")
    # The same figure from the same files by hand: 2 (n - 1) / n of each payload, against 4 bytes a parameter and step.
    sent, synchronous = traffic_of(staged_site)
    shown = await visit.text("#traffic .figure")
    assert shown == f"{synchronous * 10 // sent // 10}.{synchronous * 10 // sent % 10} times less".replace(".0 ", " ")


def traffic_of(site: Served) -> tuple[int, int]:
    """(bytes sent, bytes of synchronous training) in all published rounds."""
    sent = synchronous = 0
    for event in LedgerView.of(site.world.run).reports.values():
        root, store = parse_cid(event.report.evidence_cid), site.site.store
        files = {item.name: store.get(item.cid) for item in store.walk(root)}
        parameters = int(json.loads(files["credits.json"])["parameters"])
        for name in (n for n in files if n.startswith("records/")):
            counted = json.loads(files[name])["body"]["counted"]
            n = len(counted)
            for member in counted:
                (path,) = (p for p in files if p.endswith(f"-{member['index']}-{member['commitment'][2:18]}.json"))
                payload = json.loads(files[path])["body"]["payload_bytes"]
                sent += 2 * (n - 1) * payload // n
                synchronous += 2 * (n - 1) * 4 * parameters * member["steps"] // n
    return sent, synchronous


async def test_what_cannot_be_had_is_said_by_name_and_never_made_up(
    stage_now: Stage, sites: Sites, visit: Visit, tmp_path: Path
) -> None:
    site = sites.serve(stage_now.staged.world, FolderStore(tmp_path / "empty"))
    await visit.go(site, "training")
    await visit.see("The traffic of epochs 0 to 1 cannot be shown.", "#traffic")
    await visit.see("is not to be had from 127.0.0.1", "#traffic")
    await visit.see("cannot be shown", "#members")
    assert "counted\n" not in await visit.text("#members table")
    await visit.go(site, "audit")
    await visit.page.click("#check-1")
    await visit.page.wait_for_selector("#check-1:not([disabled])")
    assert await visit.page.locator(".report .checks .right").count() >= 4  # what the chain alone shows
    await visit.see("The evidence can be had", ".report .checks .told")
    assert all("404" in error for error in visit.errors)
    visit.errors.clear()


async def test_a_report_is_checked_in_the_browser(staged_site: Served, visit: Visit) -> None:
    await visit.go(staged_site, "audit")
    for epoch in (1, 0):
        await visit.page.click(f"#check-{epoch}")
        await visit.page.wait_for_selector(f"#check-{epoch}:not([disabled])")
    verdicts = await visit.page.locator(".report .checks .verdict").all_inner_texts()
    assert verdicts == ["right"] * 18
    await visit.page.click("#files-0 summary")
    async with visit.page.expect_download() as started:
        await visit.page.click("#files-0 button >> text=credits.json")
    saved = await (await started.value).path()
    event, store = LedgerView.of(staged_site.world.run).reports[0], staged_site.site.store
    assert saved.read_bytes() == store.get_file(parse_cid(event.report.evidence_cid), "credits.json")


async def test_signers_that_a_node_makes_up_are_found(staged_site: Served, visit: Visit) -> None:
    """A node that names another set of signers than the one whose digest was signed."""
    (signer, *_), stranger = staged_site.world.run.params.signers, "ab" * 20

    async def lie(route: Route) -> None:
        told = await (await route.fetch()).json()
        for one in told if isinstance(told, list) else [told]:
            for log in one["result"] if isinstance(one.get("result"), list) else []:
                if log["topics"][0] == SIGNER_SET_CHANGED:
                    log["data"] = log["data"].replace(signer[2:].lower(), stranger)
        await route.fulfill(body=json.dumps(told), headers={"access-control-allow-origin": "*"})

    await visit.page.route(f"{staged_site.world.url}/**", lie)
    await visit.go(staged_site, "audit")
    await visit.page.click("#check-1")
    await visit.page.wait_for_selector("#check-1:not([disabled])")
    wrong = await visit.page.locator(".report .checks .wrong").all_inner_texts()
    assert len(wrong) == 1
    assert "no set of signers of this run has that digest" in wrong[0]


async def test_a_false_tree_and_a_changed_file_are_found(
    stage_now: Stage, sites: Sites, visit: Visit, tmp_path: Path
) -> None:
    staged = stage_now.staged
    staged.world.finalize(1)
    staged.world.close(2)
    evidence_cid = LedgerView.of(staged.run).reports[1].report.evidence_cid
    staged.world.report(2, {0: 7}, root=b"\x66" * 32, evidence_cid=evidence_cid)
    await visit.go(sites.serve(staged.world, staged.store), "audit")
    await visit.page.click("#check-2")
    await visit.page.wait_for_selector("#check-2:not([disabled])")
    wrong = await visit.page.locator(".report .checks .wrong").all_inner_texts()
    assert len(wrong) == 1
    assert "The tree rebuilt from the chain's lists has the root that was signed" in wrong[0]
    told = await visit.text(".report .checks .told")
    assert "is not the file whose digest the signers attested" in told


async def test_a_leaf_a_receipt_and_a_file_are_checked_in_the_browser(
    staged_site: Served, visit: Visit, tmp_path: Path
) -> None:
    page, staged = visit.page, staged_site
    await visit.go(staged, "audit")
    await page.fill("#leaf-index", "2")
    await page.click("#leaf-make")
    await expect(page.locator("#leaf-text")).to_have_value(re.compile("siblings"))
    await page.click("#leaf-check")
    await page.wait_for_selector("#leaf-check:not([disabled])")
    assert await page.locator("#leaf-result .right").count() == 4
    forged = json.loads(await page.input_value("#leaf-text"))
    forged["leaf"]["C"] = str(int(forged["leaf"]["C"]) + 1)
    await page.fill("#leaf-text", json.dumps(forged))
    await page.click("#leaf-check")
    await visit.see("Leaf and siblings lead to the root", "#leaf-result .wrong")

    store, event = staged.site.store, LedgerView.of(staged.world.run).reports[0]
    files = {item.name: item.cid for item in store.walk(parse_cid(event.report.evidence_cid))}
    receipt = json.loads(store.get(next(cid for name, cid in files.items() if name.startswith("receipts/"))))
    await page.fill("#document-text", json.dumps(receipt))
    await page.click("#document-check")
    await visit.see("signer in office", "#document-result .right")
    receipt["body"]["received_ms"] += 1
    await page.fill("#document-text", json.dumps(receipt))
    await page.click("#document-check")
    await visit.see("It is signed by who may sign it", "#document-result .wrong")

    manifest = tmp_path / "manifest.json"
    manifest.write_bytes(store.get(next(cid for name, cid in files.items() if name == "checkpoints/2.json")))
    await page.set_input_files("#file", manifest)
    await visit.see("the manifest of the checkpoint after round 2, attested on chain", "#file-result .right")
    await page.wait_for_selector("#file:not([disabled])")
    changed = tmp_path / "changed.json"
    changed.write_bytes(manifest.read_bytes() + b" ")
    await page.set_input_files("#file", changed)
    await visit.see("no report names these bytes", "#file-result .wrong")


async def test_a_provider_sees_its_credits_with_the_reasons_and_claims_them(staged_site: Served, visit: Visit) -> None:
    world = staged_site.world
    await visit.go(staged_site, "providers")
    await visit.wallet_is(KEYS[2].address)
    await visit.connect()
    await visit.see("replay: pass", "#mine")
    mine = await visit.text("#mine")
    leaf = LedgerView.of(world.run).leaf(1)
    assert leaf is not None
    due = world.run.distributor.claimable_compute(0, leaf)
    assert f"Final credits\n{leaf.C}" in mine
    assert "epoch 1, open to challenge" in mine
    assert f"Wages and revenue to claim\n{format_amount(due)}" in mine
    assert "0.1 ETH" in mine
    await visit.page.click("#compute-button")
    await visit.see("it leads to the root on chain", "#review")
    await visit.page.wait_for_selector("#review .primary")
    await visit.confirm()
    await visit.until("mined")
    assert world.run.distributor.claimed_by(1) == due
    assert world.run.distributor.claimable_compute(0, leaf) == 0


async def test_wages_that_a_token_has_held_back_are_named_and_handed_over(
    stage_now: Stage, sites: Sites, visit: Visit, tmp_path: Path
) -> None:
    url = stage_now.chain.url
    token = deploy_token(url, "HeldToken", KEYS[0].address)
    world = make_world(url, tmp_path / "nonces", asset=token)
    stake = world.run.params.provider_stake
    call(url, token, "transfer(address,uint256)", ["address", "uint256"], [KEYS[1].address, stake])
    world.register(1)
    world.fund()
    world.close(0)
    world.report(0, {0: 1000})
    call(url, token, "hold(bool)", ["bool"], [True])
    world.finalize(0)
    assert world.run.campaign.wages_due() > 0
    await visit.wallet_is(KEYS[1].address)
    await visit.go(sites.serve(world, FolderStore(tmp_path / "store")), "providers")
    await visit.connect()
    await visit.see("Until they are handed over no provider can claim", "#wages")
    call(url, token, "hold(bool)", ["bool"], [False])
    await visit.page.click("#wages-button")
    await visit.page.wait_for_selector("#review .primary")
    await visit.confirm()
    await visit.page.wait_for_selector("#wages", state="detached")
    await visit.page.wait_for_selector("#compute-button")
    assert world.run.campaign.wages_due() == 0
    assert all("404" in error for error in visit.errors)  # nothing is published of it
    visit.errors.clear()


def call(url: str, to: str, signature: str, types: list[str], values: list[object]) -> None:
    """Send a call by account 0, which the node signs for."""
    data = f"0x{(keccak(text=signature)[:4] + encode(types, values)).hex()}"
    sent = rpc(url, "eth_sendTransaction", {"from": KEYS[0].address, "to": to, "data": data})
    wait_for(lambda: rpc(url, "eth_getTransactionReceipt", sent), what="the call's receipt")


async def test_a_move_in_a_game_opens_a_report_to_challenge_again(staged_site: Served, visit: Visit) -> None:
    world = staged_site.world
    url, oracle, disputes = world.url, world.run.oracle, world.run.disputes.address
    world.warp(oracle.epoch_info(1).open_until)
    await visit.go(staged_site)
    await visit.see("can be challenged no more", "#challenges")
    rpc(url, "anvil_impersonateAccount", disputes)
    rpc(url, "anvil_setBalance", disputes, hex(ETHER))
    until = world.run.chain.timestamp() + 86_400
    data = f"0x{(keccak(text='holdReport(uint64)')[:4] + encode(['uint64'], [until])).hex()}"
    rpc(url, "eth_sendTransaction", {"from": disputes, "to": oracle.address, "data": data})  # as RootGame.descend does
    await visit.see("has a report that anyone can still challenge", "#challenges")
    world.warp(until)
    await visit.see("can be challenged no more", "#challenges")


async def test_how_a_report_stands_is_asked_again_where_a_node_fails(staged_site: Served, visit: Visit) -> None:
    url, failed = f"{staged_site.world.url}/**", asyncio.Event()
    epoch_info = keccak(text="epochInfo(uint64)")[:4].hex()

    async def fail_once(route: Route) -> None:
        if epoch_info in (route.request.post_data or "") and not failed.is_set():
            failed.set()
            await route.abort()
        else:
            await route.continue_()

    staged_site.world.warp(staged_site.world.run.oracle.epoch_info(1).open_until)
    await visit.page.route(url, fail_once)
    await visit.go(staged_site)
    await asyncio.wait_for(failed.wait(), 30)
    await visit.see("can be challenged no more", "#challenges")
    visit.errors[:] = [error for error in visit.errors if "ERR_FAILED" not in error]


async def test_a_report_that_nobody_can_challenge_any_more_waits_to_be_made_final(
    staged_site: Served, visit: Visit
) -> None:
    await visit.go(staged_site)
    await visit.see("Epoch 1 has a report that anyone can still challenge.", "#challenges")
    world = staged_site.world
    world.warp(world.run.oracle.epoch_info(1).open_until)
    await visit.see("can be challenged no more, and waits to be made final", "#challenges")
    for tab, where in (("training", "#now"), ("audit", "#reports h3")):
        await visit.page.click(f".tabs a[href='#{tab}']")
        await visit.see("waits to be made final", where)
    await visit.page.click(".tabs a[href='#providers']")
    await visit.page.fill("#provider-lookup", "0")
    await visit.page.click(".lookup button")
    await visit.see("epoch 1, waits to be made final", "#mine")


async def test_a_provider_leaves_and_is_told_when_its_stake_is_free(staged_site: Served, visit: Visit) -> None:
    registry = staged_site.world.run.registry
    await visit.go(staged_site, "providers")
    await visit.wallet_is(KEYS[2].address)
    await visit.connect()
    await visit.page.click("#leave-button")
    await visit.see("this cannot be undone", "#review")
    await visit.page.wait_for_selector("#review .primary")
    assert registry.provider_at(1).exit_at == 0
    await visit.confirm()
    await visit.until("mined")
    assert registry.provider_at(1).exit_at > 0
    await visit.see("leaving", "#mine")
    await visit.page.click("#stake-button")
    await visit.see("StakeLocked", "#review")  # no epoch after the exit is final yet
    assert await visit.page.locator("#review .primary").count() == 0
    assert registry.provider_at(1).stake > 0


async def test_a_wallet_registers_the_key_of_another_computer(
    staged_site: Served, visit: Visit, tmp_path: Path
) -> None:
    world, page = staged_site.world, visit.page
    account, key = KEYS[9].address, KEYS[5].address
    entry = {"schema": "commonweight.registration.v1", "chain_id": world.run.chain.chain_id, "signing_key": key}
    other, good = tmp_path / "other.json", tmp_path / "good.json"
    other.write_text(json.dumps({**entry, "run": account, "peer": "a.example:1"}))
    good.write_text(json.dumps({**entry, "run": world.run.address, "peer": "gpu.example.org:7700"}))
    await visit.go(staged_site, "providers")
    await visit.wallet_is(account)
    await visit.connect()
    await page.set_input_files("#registration", other)
    await visit.see("It is for another run", "#registration-note")
    assert await page.input_value("#signing-key") == ""
    await page.set_input_files("#registration", good)
    await expect(page.locator("#peer")).to_have_value("gpu.example.org:7700")
    refused = (
        ("signing-key", world.run.registry.provider_at(1).signing_key, "registered already, by provider #1"),
        ("signing-key", key.swapcase().replace("X", "x"), "its capitals do not fit"),
        ("peer", "gpu.example.org", "Write host and port"),
        ("stake-amount", "0.01", "at least 0.1 ETH"),
    )
    for field, typed, words in refused:
        before = await page.input_value(f"#{field}")
        await page.fill(f"#{field}", typed)
        await page.click("#register-button")
        await visit.see(words, f"#{field}-note")
        assert await page.evaluate("document.activeElement.id") == field
        await page.fill(f"#{field}", before)
    await page.click("#register-button")
    await page.wait_for_selector("#review .primary")
    review = await visit.text("#review")
    assert all(words in review for words in ("0.1 ETH", key, account, "gpu.example.org:7700", "your account"))
    assert visit.wallet.sent == []
    await visit.confirm()
    await visit.until("mined")
    provider = world.run.registry.provider_at(world.run.registry.index_of(account))
    assert (provider.signing_key, provider.payout) == (key, account)
    assert (provider.peer, provider.stake) == ("gpu.example.org:7700", ETHER // 10)
    await visit.see("gpu.example.org:7700", "#mine")
    await page.wait_for_selector("#register", state="detached")


@pytest.mark.slow
async def test_older_rounds_are_read_when_asked_for_and_the_focus_stays(
    stage_now: Stage, sites: Sites, visit: Visit, tmp_path: Path
) -> None:
    staged, page = stage_now.staged, visit.page
    old = LedgerView.of(staged.run).reports
    world = make_world(stage_now.chain.url, tmp_path / "nonces", last_epoch=11)
    world.register(1, 2)
    world.fund()
    for epoch in range(12):  # only the two oldest name evidence that is there
        kept = old[epoch].report if epoch < 2 else None
        named = {"evidence_cid": kept.evidence_cid, "evidence_sha256": kept.evidence_sha256} if kept else {}
        world.close(epoch)
        world.report(epoch, {1: 7}, **named)
        world.finalize(epoch)
    await visit.go(sites.serve(world, staged.store), "providers")
    await page.fill("#provider-lookup", "#1")
    await page.press("#provider-lookup", "Enter")
    await visit.see("The itemised credits of epochs 2 to 11 cannot be shown.", "#mine")
    assert await page.locator("#mine td >> text=counted").count() == 0
    await visit.see("Read older reports: epochs 0 to 1", "#older-rounds")
    await page.focus("#older-rounds")
    await page.keyboard.press("Enter")
    await visit.see("These are the rounds of all reports.", "#older-rounds")
    assert await page.evaluate("document.activeElement.id") == "older-rounds"
    rows = await page.locator("#mine .scroll").last.locator("tbody th").all_inner_texts()
    assert rows == ["4", "3", "2", "1"]
    await page.evaluate("location.hash = 'training'")  # the rounds of all, eight reports at once
    await visit.see("Read older reports: epochs 0 to 3", "#older")
    await page.click("#older")
    await visit.see("The rounds of epochs 2 to 11 cannot be shown.", "#rounds")
    await visit.see("These are the rounds of all reports.", "#older")
    assert await page.locator("#rounds tbody tr").count() == 4
    assert all("404" in error for error in visit.errors)
    visit.errors.clear()


async def test_a_missing_provider_is_shown_with_the_reason(staged_site: Served, visit: Visit) -> None:
    await visit.go(staged_site, "providers")
    rows = await visit.page.locator("#leaderboard tbody tr").all_inner_texts()
    leaves = LedgerView.of(staged_site.world.run).tree().leaves
    ranked = sorted(leaves, key=lambda leaf: (-leaf.C, leaf.index))
    assert [row.split()[1] for row in rows] == [f"#{leaf.index}" for leaf in ranked]
    await visit.page.fill("#provider-lookup", "#3")
    await visit.page.press("#provider-lookup", "Enter")
    await visit.see("missing: no-commitment", "#mine .refusal")
    await visit.see("no signer had its commitment", "#mine td .note")


async def test_a_conviction_is_told(staged_site: Served, visit: Visit) -> None:
    world = staged_site.world
    world.by(8).disputes.challenge_credits(0, 1, b"\x33" * 32, ETHER // 10)
    await visit.go(staged_site, "audit")
    await visit.see("The credits of provider #1 in epoch 0 are doubted.", "#doubts")
