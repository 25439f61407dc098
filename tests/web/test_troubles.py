"""What the page says where the browser, a second tab, a node or this site's own server does not do its part."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from playwright.async_api import Route

from tests.chain.scenario import ETHER, KEYS
from tests.conftest import rpc
from tests.web.conftest import Served, Visit

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
ME = KEYS[0].address
KEEPS_NOTHING = """for (const store of ["localStorage", "sessionStorage"]) {
  Object.defineProperty(window, store, { get: () => { throw new DOMException("denied", "SecurityError"); } });
}"""
COPIES_NOTHING = "Object.defineProperty(Navigator.prototype, 'clipboard', { get: () => undefined })"
SPOKEN = """() => {
  globalThis.heard = [];
  new MutationObserver(() => heard.push(document.getElementById("spoken").textContent))
    .observe(document.getElementById("spoken"), { childList: true });
}"""


async def send(visit: Visit, amount: str) -> None:
    """Deposit an amount, up to the wallet's answer."""
    await visit.page.fill("#amount", amount)
    await visit.page.click("#deposit-button")
    await visit.page.wait_for_selector("#review .primary")
    await visit.confirm()


def forget(visit: Visit, words: str) -> None:
    """Take out what the browser itself says on the console of an answer that was meant to fail."""
    visit.errors[:] = [error for error in visit.errors if words not in error]


# --- browsers and tabs ----------------------------------------------------------------------------------------------


async def test_what_one_tab_has_sent_another_shows_and_never_forgets(open_site: Served, visit: Visit) -> None:
    await visit.go(open_site, "funding")
    await visit.connect()
    other = await visit.context.new_page()
    await other.goto(open_site.url)
    await other.wait_for_selector("#connect:not([disabled])")
    rpc(open_site.world.url, "evm_setAutomine", False)
    await send(visit, "1")
    await visit.until("waiting")
    await other.wait_for_selector(".transaction[data-state=waiting]")
    rpc(open_site.world.url, "anvil_mine", "0x1")
    await other.bring_to_front()
    await other.wait_for_selector(".transaction[data-state=mined]")
    await visit.page.reload()
    await visit.page.wait_for_selector(".transaction[data-state=mined]")


async def test_a_browser_that_keeps_nothing_can_fund_and_is_told(open_site: Served, visit: Visit) -> None:
    await visit.page.add_init_script(KEEPS_NOTHING)
    await visit.go(open_site, "funding")
    await visit.connect()
    await send(visit, "1")
    await visit.see("after a reload it no longer knows of this transaction", ".transaction")
    await visit.until("mined")
    assert open_site.world.run.campaign.contribution_of(ME) == ETHER


async def test_what_cannot_be_copied_is_not_called_copied(open_site: Served, visit: Visit) -> None:
    """As on a phone that reads the page over plain http."""
    await visit.page.add_init_script(COPIES_NOTHING)
    await visit.go(open_site, "audit")
    button = visit.page.locator("#contracts .copy").first
    await button.click()
    await visit.see("does not let the page copy", "#spoken")
    campaign = open_site.world.run.address.lower()
    assert await visit.page.evaluate("getSelection().toString()") == campaign
    assert campaign in await button.inner_text()


async def test_what_is_said_within_a_dialog_can_be_heard_there(open_site: Served, visit: Visit) -> None:
    await visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await visit.go(open_site, "funding")
    await visit.connect()
    await visit.page.fill("#amount", "1")
    await visit.page.click("#deposit-button")
    await visit.page.wait_for_selector("#review .primary")
    await visit.page.locator("#review .copy").first.click()
    await visit.see("Copied contract address.", "#review #spoken")  # what lies outside is inert
    await visit.page.keyboard.press("Escape")
    await visit.page.click("#deposit-button")
    await visit.page.wait_for_selector("#review .primary")
    await visit.confirm()
    await visit.see("Deposit 1 ETH", "#spoken")


# --- transactions ---------------------------------------------------------------------------------------------------


async def test_what_becomes_of_a_transaction_is_said_aloud_and_dismissed_by_the_keyboard(
    open_site: Served, visit: Visit, mine: Callable[[int], None]
) -> None:
    url = open_site.world.url
    await visit.go(open_site, "funding")
    await visit.connect()
    await visit.page.evaluate(SPOKEN)
    await send(visit, "1")
    await visit.until("mined")
    await visit.page.wait_for_function("heard.some((text) => /^Deposit 1 ETH: Mined in block/.test(text))")
    rpc(url, "evm_setAutomine", False)
    await send(visit, "2")
    await visit.until("waiting")
    rpc(url, "evm_increaseTime", 4000)  # past the deadline
    mine(1)
    await visit.until("failed")
    await visit.see("Refused: nothing was moved, only the network fee is paid.", ".transaction[data-state=failed]")
    await visit.page.wait_for_function("heard.some((text) => /^Deposit 2 ETH: Refused/.test(text))")
    mine(3)
    await visit.until("final")
    for left in (1, 0):
        await visit.page.locator(".transaction button").first.focus()
        await visit.page.keyboard.press("Enter")
        await visit.page.wait_for_function(f"document.querySelectorAll('.transaction').length === {left}")
        assert await visit.page.evaluate("document.activeElement.matches('.transaction button, #main')")


async def test_whose_transaction_it_is_is_said_to_another_account(open_site: Served, visit: Visit) -> None:
    await visit.go(open_site, "funding")
    await visit.connect()
    await send(visit, "1")
    await visit.until("mined")
    assert " by " not in await visit.text(".transaction")
    await visit.wallet.switch_account(visit.page, KEYS[9].address.lower())
    await visit.see(f"Deposit 1 ETH by {ME[:8].lower()}", ".transaction")


async def test_what_is_under_way_is_named_before_more_is_sent(open_site: Served, visit: Visit) -> None:
    rpc(open_site.world.url, "evm_setAutomine", False)
    await visit.go(open_site, "funding")
    await visit.connect()
    await send(visit, "1")
    await visit.until("waiting")
    await visit.page.reload()
    await visit.page.wait_for_selector("#connect.account")
    await visit.page.fill("#amount", "1")
    await visit.page.click("#deposit-button")
    await visit.page.wait_for_selector("#review .primary")
    assert "Still under way\nDeposit 1 ETH" in await visit.text("#review")


async def test_what_was_asked_of_the_wallet_before_a_reload_is_not_forgotten(open_site: Served, visit: Visit) -> None:
    """As on a phone that drops the page while the wallet is in front."""
    await visit.go(open_site, "funding")
    await visit.connect()
    visit.wallet.keeps = asyncio.Event()
    await visit.page.fill("#amount", "1")
    await visit.page.click("#deposit-button")
    await visit.page.click("#review .primary")
    await visit.see("Deposited1 ETH", "#position .facts > div")  # sent and mined, and the page has not heard of it
    assert await visit.page.locator(".transaction").count() == 0
    await visit.page.reload()
    await visit.see("Look in the wallet whether it was sent", ".transaction[data-state=asked]")
    visit.wallet.keeps.set()
    visit.wallet.keeps = None
    await visit.page.click("#deposit-button")  # the amount is still there
    await visit.page.wait_for_selector("#review .primary")
    assert "Still under way\nDeposit 1 ETH" in await visit.text("#review")
    visit.wallet.declines.append("eth_sendTransaction")
    await visit.page.click("#review .primary")
    await visit.see("You declined in the wallet. Nothing was sent.", "#review")
    await visit.page.keyboard.press("Escape")
    await visit.page.click(".transaction button")
    await visit.page.wait_for_selector(".transaction", state="detached")


async def test_why_a_wallet_does_not_change_its_chain_stays_to_be_read(
    open_site: Served, visit: Visit, mine: Callable[[int], None]
) -> None:
    visit.wallet.chain_id = 1
    visit.wallet.unable.add("wallet_switchEthereumChain")
    await visit.go(open_site, "funding")
    await visit.connect()
    await visit.page.click("#switch-chain")
    await visit.see("The wallet does not support this method. Change to", "#wrong-chain [role=alert]")
    block = await visit.page.get_attribute("body", "data-block")
    mine(1)
    await visit.look()
    await visit.page.wait_for_selector(f"body:not([data-block='{block}'])")
    assert "does not support" in await visit.text("#wrong-chain")


# --- nodes ----------------------------------------------------------------------------------------------------------


async def refuse(route: Route) -> None:
    """A node that takes no more questions today, as some say it: an error for each call."""
    asked = json.loads(route.request.post_data or "[]")
    error = {"code": -32005, "message": "daily request count exceeded"}
    told = [{"jsonrpc": "2.0", "id": c["id"], "error": error} for c in (asked if isinstance(asked, list) else [asked])]
    body = json.dumps(told if isinstance(asked, list) else told[0])
    await route.fulfill(body=body, headers={"access-control-allow-origin": "*"})


async def test_a_node_that_refuses_is_no_run_that_is_not_there_and_the_next_is_asked(
    open_site: Served, visit: Visit
) -> None:
    url = open_site.world.url
    await visit.page.route(f"{url}/**", refuse)
    await visit.page.goto(open_site.url)
    await visit.see("The node refuses to answer.", "#trouble")
    told = await visit.text("#trouble")
    assert "daily request count exceeded" in told
    assert "Nothing further was sent" not in told  # nothing was to be sent
    await visit.page.unroute(f"{url}/**")
    await visit.page.route(f"{url}/tired", refuse)
    await visit.page.goto(f"{open_site.url}?rpc={url}/tired,{url}")
    await visit.see("1 ETH", "#progress")


async def test_a_node_that_is_asked_too_much_is_said_to_and_still_asked_in_one_go(
    open_site: Served, visit: Visit
) -> None:
    url, sizes = open_site.world.url, list[int]()

    async def busy(route: Route) -> None:
        body = '{"jsonrpc": "2.0", "error": {"code": 429, "message": "Too Many Requests"}}'
        await route.fulfill(status=429, body=body, headers={"access-control-allow-origin": "*"})

    async def count(route: Route) -> None:
        asked = json.loads(route.request.post_data or "[]")
        sizes.append(len(asked) if isinstance(asked, list) else 1)
        await route.continue_()

    await visit.page.route(f"{url}/**", busy)
    await visit.page.goto(open_site.url)
    await visit.see("it is asked too much", "#trouble")
    await visit.page.unroute(f"{url}/**")
    await visit.page.route(f"{url}/**", count)
    await visit.see("1 ETH", "#progress")
    assert max(sizes) > 20
    forget(visit, "429")


async def test_a_node_that_fails_for_a_moment_leaves_the_page_usable(open_site: Served, visit: Visit) -> None:
    url, failed = open_site.world.url, asyncio.Event()

    async def fail_once(route: Route) -> None:
        if "eth_getTransactionReceipt" in (route.request.post_data or "") and not failed.is_set():
            failed.set()
            await route.abort()
        else:
            await route.continue_()

    await visit.go(open_site, "funding")
    await visit.connect()
    await send(visit, "1")
    await visit.until("mined")
    await visit.page.route(f"{url}/**", fail_once)
    await visit.page.reload()
    await visit.page.wait_for_selector("#connect.account")
    await asyncio.wait_for(failed.wait(), 30)
    await visit.page.click(".tabs a[href='#training']")
    await visit.page.wait_for_selector("#members")
    forget(visit, "ERR_FAILED")


# --- this site's server ---------------------------------------------------------------------------------------------


async def test_a_module_without_which_nothing_can_be_shown_is_said_to_be_missing(
    open_site: Served, visit: Visit
) -> None:
    await visit.page.route("**/js/ledger.js", lambda route: route.abort())
    await visit.page.goto(open_site.url)
    await visit.see("A file of this page did not come", "#run-line")
    await visit.page.unroute("**/js/ledger.js")
    await visit.page.reload()
    await visit.page.wait_for_selector("body[data-block]")
    forget(visit, "ERR_FAILED")


async def test_files_that_do_not_come_for_long_are_said(open_site: Served, visit: Visit) -> None:
    await visit.page.clock.install()
    held = list[Route]()

    def hold(route: Route) -> None:
        held.append(route)

    await visit.page.route("**/js/ledger.js", hold)
    await visit.page.goto(open_site.url, wait_until="commit")
    await visit.see("Reading the chain", "#run-line")
    await visit.page.clock.fast_forward(15_000)
    await visit.see("The files of this page are slow to come.", "#run-line")
    await held[0].continue_()
    await visit.page.wait_for_selector("body[data-block]")


@pytest.mark.parametrize("file", ["views/training.js", "visitor.js"])
async def test_a_part_of_the_page_that_does_not_come_is_said(open_site: Served, visit: Visit, file: str) -> None:
    await visit.page.route(f"**/js/{file}", lambda route: route.abort())
    await visit.go(open_site)
    await visit.page.click(".tabs a[href='#training']")
    await visit.see("A part of this page did not come.", "#missing")
    await visit.see("This part has not come.", "main")  # and not what another tab shows
    async with visit.page.expect_navigation():
        await visit.page.click("#reload")
    await visit.page.unroute(f"**/js/{file}")
    await visit.page.wait_for_selector("#members")
    forget(visit, "ERR_FAILED")


async def test_a_part_that_comes_later_is_no_longer_said_to_be_missing(open_site: Served, visit: Visit) -> None:
    await visit.page.route("**/js/views/training.js", lambda route: route.abort())
    await visit.go(open_site)
    await visit.page.click(".tabs a[href='#training']")
    await visit.see("A part of this page did not come.", "#missing")
    await visit.page.unroute("**/js/views/training.js")
    await visit.page.wait_for_selector("#members")
    await visit.page.wait_for_selector("#missing", state="detached")
    forget(visit, "ERR_FAILED")


async def test_a_piece_of_evidence_that_is_not_what_was_signed_is_said_for_all_to_see(
    staged_site: Served, visit: Visit
) -> None:
    await visit.go(staged_site, "audit")
    await visit.page.click("#files-0 summary")
    await visit.page.wait_for_selector("#files-0 button")
    await visit.page.route("**/ipfs/**", lambda route: route.fulfill(body=b"something else"))
    await visit.page.click("#files-0 button >> text=credits.json")
    await visit.see("is something else", "#files-0 li .problem")
