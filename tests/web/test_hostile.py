"""Wallets, nodes, tokens and texts that misbehave, and people who click twice or change their mind."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.async_api import Route

from commonweight.store import FolderStore
from tests.chain.scenario import ETHER, KEYS, make_world
from tests.conftest import rpc
from tests.web.conftest import Served, Sites, Stage, Visit
from tests.web.tokens import deploy_token

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
ME, OTHER = KEYS[0].address, KEYS[9].address
TWICE = "button => { button.click(); button.click(); }"
DECIMALS = "0x313ce567"
FRAME = """src => {
  const frame = document.createElement("iframe");
  Object.assign(frame, { src, width: 900, height: 700 });
  document.body.replaceChildren(frame);
}"""


def word(value: int | str) -> str:
    """An address or a number as call data has it."""
    return (value[2:].lower() if isinstance(value, str) else f"{value:x}").rjust(64, "0")


def spoiling(change: Callable[[dict[str, Any], Any], Any]) -> Callable[[Route], Awaitable[None]]:
    """A node that answers rightly but for what `change` makes of a call's answer."""

    async def answer(route: Route) -> None:
        asked = json.loads(route.request.post_data or "[]")
        told = await (await route.fetch()).json()
        calls = {call["id"]: call for call in (asked if isinstance(asked, list) else [asked])}
        for one in told if isinstance(told, list) else [told]:
            if "result" in one:
                one["result"] = change(calls[one["id"]], one["result"])
        await route.fulfill(body=json.dumps(told), headers={"access-control-allow-origin": "*"})

    return answer


async def review(visit: Visit, amount: str) -> None:
    """Type an amount and open the review."""
    await visit.page.fill("#amount", amount)
    await visit.page.click("#deposit-button")
    await visit.page.wait_for_selector("#review .primary")


# --- people ---------------------------------------------------------------------------------------------------------


async def test_two_clicks_send_one_transaction(open_site: Served, visit: Visit) -> None:
    await visit.go(open_site, "funding")
    await visit.connect()
    await visit.page.fill("#amount", "1")
    await visit.page.locator("#deposit-button").evaluate(TWICE)
    await visit.page.wait_for_selector("#review .primary")
    await visit.page.locator("#review .primary").evaluate(TWICE)
    await visit.page.wait_for_selector("#review", state="hidden")
    await visit.until("mined")
    assert len(visit.wallet.sent) == 1
    assert open_site.world.run.campaign.contribution_of(ME) == ETHER


async def test_an_account_that_changes_after_the_review_pays_nothing(
    stage_now: Stage, sites: Sites, visit: Visit, tmp_path: Path, mine: Callable[[int], None]
) -> None:
    url = stage_now.chain.url
    token = deploy_token(url, "OldToken", ME)
    world = make_world(url, tmp_path / "nonces", asset=token)
    # The other account could pay: it has tokens, and has allowed the campaign to take them.
    rpc(url, "eth_sendTransaction", {"from": ME, "to": token, "data": f"0xa9059cbb{word(OTHER)}{word(10 * ETHER)}"})
    allow = f"0x095ea7b3{word(world.run.address)}{word(10 * ETHER)}"
    rpc(url, "eth_sendTransaction", {"from": OTHER, "to": token, "data": allow})
    await visit.go(sites.serve(world, FolderStore(tmp_path / "store")), "funding")
    await visit.connect()
    await review(visit, "3")
    rpc(url, "evm_setAutomine", False)
    await visit.page.click("#review .primary")
    await visit.until("waiting")
    await visit.wallet.switch_account(visit.page, OTHER.lower())
    mine(1)
    await visit.see("The wallet has changed to another account", "#review")
    assert len(visit.wallet.sent) == 1  # the allowance of the first
    assert world.run.campaign.contribution_of(OTHER) == 0


async def test_a_review_that_is_closed_asks_the_wallet_nothing_more(
    stage_now: Stage, sites: Sites, visit: Visit, tmp_path: Path, mine: Callable[[int], None]
) -> None:
    url = stage_now.chain.url
    world = make_world(url, tmp_path / "nonces", asset=deploy_token(url, "OldToken", ME))
    await visit.go(sites.serve(world, FolderStore(tmp_path / "store")), "funding")
    await visit.connect()
    await review(visit, "3")
    rpc(url, "evm_setAutomine", False)
    await visit.page.click("#review .primary")
    await visit.until("waiting")
    await visit.page.keyboard.press("Escape")
    mine(1)
    await visit.until("mined")
    await visit.see("You closed it: nothing further was sent.", "#spoken")
    assert len(visit.wallet.sent) == 1
    rpc(url, "evm_setAutomine", True)
    await review(visit, "3")  # what was allowed is used
    await visit.confirm()
    await visit.page.wait_for_selector(".transaction[data-state=mined] >> text=Deposit 3 OLD")
    assert len(visit.wallet.sent) == 2


# --- wallets --------------------------------------------------------------------------------------------------------


async def test_a_wallet_that_has_left_the_chain_is_asked_for_no_allowance(
    stage_now: Stage, sites: Sites, visit: Visit, tmp_path: Path
) -> None:
    url = stage_now.chain.url
    world = make_world(url, tmp_path / "nonces", asset=deploy_token(url, "OldToken", ME))
    await visit.go(sites.serve(world, FolderStore(tmp_path / "store")), "funding")
    await visit.connect()
    await review(visit, "3")
    visit.wallet.chain_id = 1  # and it says nothing of it
    await visit.page.click("#review .primary")
    await visit.see("Switch the wallet", "#review .primary")
    assert visit.wallet.sent == []


async def test_a_chain_that_the_page_has_added_is_no_second_opinion(open_site: Served, visit: Visit) -> None:
    visit.wallet.chain_id = 1
    visit.wallet.known_chains = {1}
    await visit.go(open_site, "funding")
    await visit.connect()
    await visit.page.click("#switch-chain")
    await visit.page.wait_for_selector("#wrong-chain", state="detached")
    await review(visit, "1")
    assert "your wallet was told of this chain by this page" in await visit.text("#review")
    await visit.page.reload()
    await visit.page.wait_for_selector("#connect.account")
    await review(visit, "1")
    assert "your wallet was told of this chain by this page" in await visit.text("#review")


async def test_a_transaction_that_no_node_knows_can_be_put_away(open_site: Served, visit: Visit) -> None:
    await visit.go(open_site, "funding")
    await visit.connect()
    await review(visit, "1")
    visit.wallet.loses = True
    await visit.confirm()
    await visit.see("The chain's node does not know it", ".transaction")
    await visit.page.click(".transaction button")
    await visit.page.wait_for_selector(".transaction", state="detached")


async def test_a_transaction_that_was_sped_up_is_followed(
    open_site: Served, visit: Visit, mine: Callable[[int], None]
) -> None:
    url = open_site.world.url
    rpc(url, "evm_setAutomine", False)
    await visit.go(open_site, "funding")
    await visit.connect()
    await review(visit, "1")
    await visit.confirm()
    await visit.until("waiting")
    sent = rpc(url, "eth_getTransactionByHash", visit.wallet.sent[0])
    assert isinstance(sent, dict)
    faster = {"from": ME, "to": sent["to"], "data": sent["input"], "value": sent["value"], "gas": sent["gas"]}
    rpc(url, "eth_sendTransaction", {**faster, "nonce": sent["nonce"], "gasPrice": hex(10**12)})
    mine(4)
    await visit.until("final")
    assert "did nothing" not in await visit.text(".transaction")
    assert open_site.world.run.campaign.contribution_of(ME) == ETHER


async def test_another_accounts_position_is_not_shown_for_ones_own(open_site: Served, visit: Visit) -> None:
    await visit.wallet_is(KEYS[8].address)
    await visit.go(open_site, "funding")
    await visit.connect()
    await visit.see("Deposited1 ETH", "#position .facts > div")

    async def never(route: Route) -> None:
        """No answer."""

    await visit.page.route(f"{open_site.world.url}/**", never)
    await visit.wallet.switch_account(visit.page, ME.lower())
    await visit.see("Reading the chain", "#position")


# --- nodes ----------------------------------------------------------------------------------------------------------


async def test_a_node_that_moves_a_tokens_decimal_point_is_found_out(
    stage_now: Stage, sites: Sites, visit: Visit, tmp_path: Path
) -> None:
    token = deploy_token(stage_now.chain.url, "DollarToken", ME)
    world = make_world(stage_now.chain.url, tmp_path / "nonces", asset=token, goal=10**6, cap=10**13)

    def eight(call: dict[str, Any], answer: object) -> object:
        asks = call["method"] == "eth_call" and call["params"][0]["data"] == DECIMALS
        return f"0x{word(8)}" if asks else answer

    await visit.page.route(f"{stage_now.chain.url}/**", spoiling(eight))
    await visit.go(sites.serve(world, FolderStore(tmp_path / "store")), "funding")
    await visit.connect()
    await visit.page.fill("#amount", "10")  # a hundred times as much as the person means
    await visit.page.click("#deposit-button")
    await visit.see("Two nodes tell different things of this run", "#review")
    assert await visit.page.locator("#review .primary").count() == 0
    assert visit.wallet.asked.count("eth_signTypedData_v4") == 0


async def test_a_node_whose_clock_is_ahead_makes_no_signature_last(
    stage_now: Stage, sites: Sites, visit: Visit, tmp_path: Path
) -> None:
    url = stage_now.chain.url
    world = make_world(url, tmp_path / "nonces", asset=deploy_token(url, "DollarToken", ME), goal=10**6, cap=10**13)

    def ahead(call: dict[str, Any], answer: Any) -> Any:
        if call["method"] != "eth_getBlockByNumber" or answer is None:
            return answer
        return {**answer, "timestamp": hex(int(answer["timestamp"], 16) + 10**9)}

    await visit.page.route(f"{url}/**", spoiling(ahead))
    await visit.go(sites.serve(world, FolderStore(tmp_path / "store")), "funding")
    await visit.connect()
    await review(visit, "10")
    await visit.confirm()
    await visit.until("mined")
    sent = rpc(url, "eth_getTransactionByHash", visit.wallet.sent[0])
    head = rpc(url, "eth_getBlockByNumber", "latest", False)
    assert isinstance(sent, dict)
    assert isinstance(head, dict)
    until = int(sent["input"][10 + 3 * 64 : 10 + 4 * 64], 16)  # validBefore
    assert until - int(head["timestamp"], 16) <= 3600


async def test_a_node_that_stands_still_is_said_to(open_site: Served, visit: Visit) -> None:
    def base(call: dict[str, Any], answer: object) -> object:
        return "0x2105" if call["method"] == "eth_chainId" else answer  # a local chain may stand still

    head = rpc(open_site.world.url, "eth_getBlockByNumber", "latest", False)
    assert isinstance(head, dict)
    await visit.page.clock.install(time=int(head["timestamp"], 16))
    await visit.page.route(f"{open_site.world.url}/**", spoiling(base))
    await visit.go(open_site)
    assert await visit.page.locator("#late").count() == 0
    await visit.page.clock.fast_forward("50:00:00")
    await visit.see("The newest block that the node knows is 2 days old", "#late")


# --- tokens and texts -----------------------------------------------------------------------------------------------


async def test_a_token_that_changes_no_allowance_but_from_zero_can_be_paid(
    stage_now: Stage, sites: Sites, visit: Visit, tmp_path: Path
) -> None:
    url = stage_now.chain.url
    token = deploy_token(url, "ZeroFirstToken", ME)
    world = make_world(url, tmp_path / "nonces", asset=token)
    allow = f"0x095ea7b3{word(world.run.address)}{word(ETHER)}"
    rpc(url, "eth_sendTransaction", {"from": ME, "to": token, "data": allow})
    await visit.go(sites.serve(world, FolderStore(tmp_path / "store")), "funding")
    await visit.connect()
    await review(visit, "3")
    await visit.confirm()
    await visit.page.wait_for_selector(".transaction[data-state=mined] >> text=Deposit 3 ZERO")
    assert world.run.campaign.contribution_of(ME) == 3 * ETHER
    allowed = world.run.asset.make_call("allowance", ME, world.run.address)
    assert world.run.chain.call(allowed) == (0,)


@pytest.mark.parametrize(("name", "units"), [("BareToken", 3), ("WordToken", 300)])
async def test_a_token_without_a_text_for_a_symbol_can_be_paid(
    stage_now: Stage, sites: Sites, visit: Visit, tmp_path: Path, name: str, units: int
) -> None:
    token = deploy_token(stage_now.chain.url, name, ME)
    world = make_world(stage_now.chain.url, tmp_path / "nonces", asset=token, goal=10, cap=1000)
    await visit.go(sites.serve(world, FolderStore(tmp_path / "store")), "funding")
    await visit.connect()
    await review(visit, "3")
    shown = "3 WORD" if name == "WordToken" else f"3 token {token[:6].lower()}"
    assert shown in await visit.text("#review")
    await visit.confirm()
    await visit.page.wait_for_selector(".transaction[data-state=mined] >> text=Deposit 3")
    assert world.run.campaign.contribution_of(ME) == units


async def test_a_token_that_calls_itself_by_the_coins_name_is_told_from_it(
    stage_now: Stage, sites: Sites, visit: Visit, tmp_path: Path
) -> None:
    token = deploy_token(stage_now.chain.url, "FalseEther", ME)
    world = make_world(stage_now.chain.url, tmp_path / "nonces", asset=token)
    await visit.go(sites.serve(world, FolderStore(tmp_path / "store")))
    await visit.see("0 ETH (a token)", "#progress")
    shown = await visit.page.get_attribute("#terms .copy", "title")
    assert shown is not None
    assert shown.lower() == token.lower()


async def test_marks_that_turn_text_around_are_shown_as_what_they_are(
    stage_now: Stage, sites: Sites, visit: Visit, tmp_path: Path
) -> None:
    url = stage_now.chain.url
    token = deploy_token(url, "TurningToken", ME)
    texts = {"name": "safe \u202emodel\u2066", "data_licence": "C\u200bC0\u0007"}
    world = make_world(url, tmp_path / "nonces", asset=token, **texts)
    await visit.go(sites.serve(world, FolderStore(tmp_path / "store")))
    everything = await visit.page.evaluate("document.documentElement.textContent + document.title")
    for mark in "\u202e\u2066\u200b\u0007":
        assert mark not in everything
    assert await visit.text("#run-name") == "safe \\u202emodel\\u2066"
    assert "\\u202eDLO" in await visit.text("#progress")


async def test_the_largest_figures_and_longest_texts_fit_a_phone(
    stage_now: Stage, sites: Sites, visit: Visit, tmp_path: Path
) -> None:
    most = (1 << 127) - 1
    token = deploy_token(stage_now.chain.url, "BareToken", ME)
    texts = {"name": "W" * 300, "data_licence": "L" * 90, "weights_licence": "L" * 90, "config_cid": "b" * 90}
    sums = {"provider_stake": 0, "signer_bond": most, "wage_per_credit": (1 << 80) - 1}
    world = make_world(stage_now.chain.url, tmp_path / "nonces", asset=token, goal=most - 1, cap=most, **texts, **sums)
    world.by(2).registry.register(KEYS[3].address, KEYS[3].address, "p" * 300 + ":1", 0)
    await visit.page.set_viewport_size({"width": 320, "height": 740})
    await visit.go(sites.serve(world, FolderStore(tmp_path / "store")))
    await visit.connect()
    for tab in ("overview", "funding", "training", "providers", "audit"):
        await visit.page.evaluate(f"location.hash = '{tab}'")
        await visit.page.wait_for_selector(f".tabs a[href='#{tab}'][aria-current]")
        if tab == "providers":
            await visit.page.fill("#provider-lookup", "#0")
            await visit.page.press("#provider-lookup", "Enter")
            await visit.see("ppp", "#mine")
        await visit.page.wait_for_load_state("networkidle")
        assert await visit.page.evaluate("document.documentElement.scrollWidth") <= 320, tab
    await visit.page.evaluate("location.hash = 'funding'")
    await review(visit, "1000")
    assert await visit.page.evaluate("document.querySelector('#review').scrollWidth") <= 320


async def test_entries_that_are_wrong_are_marked_and_their_reasons_named(open_site: Served, visit: Visit) -> None:
    await visit.go(open_site)
    assert "Missing to the goal: 4 ETH." in await visit.text("#progress")
    await visit.go(open_site, "funding")

    async def marked(entry: str) -> str:
        """The texts that describe a wrong entry."""
        field = visit.page.locator(entry)
        assert await field.get_attribute("aria-invalid") == "true"
        names = (await field.get_attribute("aria-describedby") or "").split()
        return " ".join([await visit.text(f"#{name}") for name in names])

    await visit.page.fill("#amount", "0")
    assert "above zero" in await marked("#amount")
    await visit.page.fill("#lookup", "0x12")
    await visit.page.press("#lookup", "Enter")
    assert "40 hex digits" in await marked("#lookup")
    await visit.page.fill("#lookup", ME)
    await visit.page.press("#lookup", "Enter")
    assert await visit.page.get_attribute("#lookup", "aria-invalid") == "false"
    await visit.page.evaluate("location.hash = 'providers'")
    await visit.page.fill("#provider-lookup", "#77")
    await visit.page.press("#provider-lookup", "Enter")
    await visit.see("is no provider of this run", "#mine")
    assert "no provider of this run" in await marked("#provider-lookup")
    await visit.page.goto(f"{open_site.url}?run=0x12")
    await visit.see("is not an address", "main")
    assert "40 hex digits" in await marked("#run")


async def test_a_page_within_a_page_signs_nothing(plain_site: str, open_site: Served, visit: Visit) -> None:
    query = urlencode({"rpc": open_site.world.url, "run": open_site.world.run.address})
    await visit.page.goto(f"{plain_site}config.json")  # a server that sends no policy, and a page that it does not know
    await visit.page.evaluate(FRAME, f"{plain_site}?{query}#funding")
    inside = visit.page.frame_locator("iframe")
    await inside.locator("#connect:not([disabled])").click()
    await inside.get_by_text("This page is shown within another page").wait_for()
    assert visit.wallet.asked == []
    assert all("404" in error for error in visit.errors)  # the icon of a page that is none
    visit.errors.clear()
