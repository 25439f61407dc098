"""A funder's life on the page: deposit, wait, refund, claim, and everything that can go wrong on the way."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from playwright.async_api import Route

from commonweight.chain.structs import Milestone
from commonweight.store import FolderStore
from tests.chain.scenario import ETHER, KEYS, make_world
from tests.conftest import rpc
from tests.web.conftest import Served, Sites, Stage, Visit
from tests.web.tokens import deploy_token

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
ME = KEYS[0].address


async def deposit(visit: Visit, amount: str) -> None:
    """Type an amount and open the review."""
    await visit.page.fill("#amount", amount)
    await visit.page.click("#deposit-button")
    await visit.page.wait_for_selector("#review .primary")


async def test_from_deposit_to_claim(open_site: Served, visit: Visit, mine: Callable[[int], None]) -> None:
    await visit.go(open_site, "funding")
    await visit.page.fill("#amount", "4.5")
    await visit.page.click("#deposit-button")  # not connected yet: the picker comes first, and the amount stays
    await visit.page.click("#picker .wallets button")
    await visit.page.wait_for_selector("#review .primary")
    assert await visit.page.input_value("#amount") == "4.5"
    review = await visit.text("#review")
    assert "4\u202f500\u202f000\u202f000\u202f000\u202f000\u202f000 capital shares" in review
    assert "you take back exactly 4.5 ETH after" in review
    assert "gas" in review
    shown = await visit.page.get_attribute("#review .copy", "title")
    assert shown == open_site.world.run.address  # checksummed
    assert "eth_sendTransaction" not in visit.wallet.asked  # nothing is asked before it was read
    await visit.confirm()
    await visit.until("mined")
    assert open_site.world.run.campaign.contribution_of(ME) == 45 * ETHER // 10
    await visit.see("4.5 ETH", "#position")
    assert await visit.page.input_value("#amount") == ""
    mine(3)
    await visit.until("final")
    await visit.page.click(".transaction button")
    await visit.page.wait_for_selector(".transaction", state="detached")

    world = open_site.world
    world.warp(world.run.params.deposit_deadline + 1)
    world.run.distributor.pay_revenue(ETHER)
    await visit.page.click("#claim-button")
    await visit.page.wait_for_selector("#review .primary")
    due = world.run.distributor.claimable_capital(ME)
    assert 0 <= 6 * ETHER // 10 * 45 // 55 - due <= 1
    before = rpc(world.url, "eth_getBalance", ME, "latest")
    await visit.confirm()
    await visit.until("mined")
    assert world.run.distributor.claimable_capital(ME) == 0
    assert int(str(rpc(world.url, "eth_getBalance", ME, "latest")), 16) > int(str(before), 16)
    await visit.page.wait_for_selector("#claim-button", state="detached")


async def test_a_failed_campaign_gives_everything_back(open_site: Served, visit: Visit) -> None:
    world = open_site.world
    world.run.campaign.deposit(ETHER)
    world.warp(world.run.params.deposit_deadline + 1)
    await visit.go(open_site, "funding")
    await visit.connect()
    await visit.page.click("#refund-button")
    await visit.see("You get1 ETH", "#review .facts > div")
    await visit.page.wait_for_selector("#review .primary")
    await visit.confirm()
    await visit.until("mined")
    assert world.run.campaign.contribution_of(ME) == 0
    await visit.see("1 ETH taken back already", "#refund")
    assert await visit.page.locator("#claim, #unspent").count() == 0  # neither ever comes to a failed run
    await visit.page.click(".tabs a[href='#overview']")
    await visit.page.wait_for_selector("#escrow")
    legend = await visit.page.locator("#escrow .legend li").all_inner_texts()
    assert [text.split("\n") for text in legend] == [
        ["to be taken back by the funders", "1 ETH"], ["taken back already", "1 ETH"],
    ]  # fmt: skip


async def test_a_goal_that_is_met_while_deposits_go_on_is_said_to_be(open_site: Served, visit: Visit) -> None:
    await visit.go(open_site)
    await visit.see("collecting money", "#run-line")
    open_site.world.run.campaign.deposit(4 * ETHER)
    await visit.see("goal met, still collecting", "#run-line")
    assert "If it is not reached" not in await visit.text("#progress")
    await visit.go(open_site, "funding")
    await visit.connect()
    await visit.see("The goal was met, so there are no refunds", "#position")
    await deposit(visit, "1")
    review = await visit.text("#review")
    assert "Taking it back\nis not possible" in review
    assert "you take back exactly" not in review


async def test_the_unspent_comes_back_when_a_milestone_is_missed(
    stage_now: Stage, sites: Sites, visit: Visit, tmp_path: Path
) -> None:
    milestones = (Milestone.open(4000), Milestone(0, 10**9, 1, 6000))
    world = make_world(stage_now.chain.url, tmp_path / "nonces", milestones=milestones)
    world.fund(6 * ETHER)
    world.settle(0, {})
    assert world.run.campaign.ended()
    await visit.go(sites.serve(world, FolderStore(tmp_path / "store")), "funding")
    await visit.connect()
    await visit.page.click("#unspent-button")
    await visit.page.wait_for_selector("#review .primary")
    await visit.confirm()
    await visit.until("mined")
    assert world.run.campaign.unspent_of(ME) == 0
    await visit.page.click(".tabs a[href='#overview']")
    await visit.page.wait_for_selector("#escrow")
    legend = [text.split("\n") for text in await visit.page.locator("#escrow .legend li").all_inner_texts()]
    assert legend[-2:] == [
        ["to be taken back by the funders", "each takes out its own share", "0 ETH"], ["taken back already", "6 ETH"],
    ]  # fmt: skip


async def test_a_wallet_on_another_chain_is_moved(open_site: Served, visit: Visit, stage_now: Stage) -> None:
    visit.wallet.chain_id = 1
    visit.wallet.known_chains = {1}
    await visit.go(open_site, "funding")
    await visit.connect()
    await visit.see("Your wallet is on another chain", "#wrong-chain")
    visit.wallet.declines.append("wallet_switchEthereumChain")
    await visit.page.click("#switch-chain")  # declined: quiet, and the button stays
    await visit.see("Nothing has changed", "#spoken")
    assert await visit.page.locator(".notice.bad").count() == 0
    await visit.page.click("#switch-chain")
    await visit.page.wait_for_selector("#wrong-chain", state="detached")
    assert visit.wallet.chain_id == stage_now.chain.chain_id
    assert visit.wallet.added[0]["rpcUrls"] == [stage_now.chain.url]
    await visit.wallet.switch_chain(visit.page, 1)
    await deposit(visit, "1")  # the review itself offers the way back
    assert "Ethereum" in await visit.text("#review")
    await visit.page.click("#review .primary")
    await visit.see("Confirm in your wallet", "#review .primary")
    assert visit.wallet.sent == []


async def test_a_declined_signature_sends_nothing_and_can_be_repeated(open_site: Served, visit: Visit) -> None:
    await visit.go(open_site, "funding")
    await visit.connect()
    await deposit(visit, "2")
    visit.wallet.declines.append("eth_sendTransaction")
    await visit.page.click("#review .primary")
    await visit.see("You declined in the wallet. Nothing was sent.", "#review")
    assert visit.wallet.sent == []
    assert await visit.page.input_value("#amount") == "2"
    await visit.confirm()
    await visit.until("mined")


async def test_another_account_has_another_position(open_site: Served, visit: Visit) -> None:
    await visit.go(open_site, "funding")
    await visit.connect()
    await visit.see("Deposited0 ETH", "#position .facts > div")
    await visit.wallet.switch_account(visit.page, KEYS[8].address.lower())
    await visit.see("Deposited1 ETH", "#position .facts > div")
    await visit.page.fill("#lookup", ME)
    await visit.page.click(".lookup button")
    await visit.see("This is not the account that is connected.", "#position")
    await visit.page.fill("#lookup", "")
    await visit.page.click(".lookup button")
    await visit.page.wait_for_selector("#not-mine", state="detached")
    await visit.page.reload()  # the wallet is remembered, and asked without a prompt
    await visit.page.wait_for_selector("#connect.account")
    await visit.see("Deposited1 ETH", "#position .facts > div")
    assert visit.wallet.asked.count("eth_requestAccounts") == 1


async def test_a_pending_transaction_survives_a_reload(
    open_site: Served, visit: Visit, mine: Callable[[int], None]
) -> None:
    rpc(open_site.world.url, "evm_setAutomine", False)
    await visit.go(open_site, "funding")
    await visit.connect()
    await deposit(visit, "1")
    await visit.confirm()
    await visit.until("waiting")
    await visit.page.reload()
    await visit.until("waiting")
    mine(1)
    await visit.until("mined")
    mine(3)
    await visit.until("final")


async def test_a_reorganisation_takes_a_transaction_back(open_site: Served, visit: Visit) -> None:
    await visit.go(open_site, "funding")
    await visit.connect()
    await deposit(visit, "1")
    await visit.confirm()
    await visit.until("mined")
    await visit.see("Deposited1 ETH", "#position .facts > div")
    rpc(open_site.world.url, "evm_setAutomine", False)
    rpc(open_site.world.url, "anvil_reorg", 1, [])
    await visit.see("A reorganisation took its block away", ".transaction")
    await visit.see("Deposited0 ETH", "#position .facts > div")
    assert open_site.world.run.campaign.contribution_of(ME) == 0


async def test_a_replaced_transaction_is_said_to_have_done_nothing(
    open_site: Served, visit: Visit, mine: Callable[[int], None]
) -> None:
    rpc(open_site.world.url, "evm_setAutomine", False)
    await visit.go(open_site, "funding")
    await visit.connect()
    await deposit(visit, "1")
    await visit.confirm()
    await visit.until("waiting")
    sent = rpc(open_site.world.url, "eth_getTransactionByHash", visit.wallet.sent[0])
    assert isinstance(sent, dict)
    faster = {"from": ME, "to": ME, "value": "0x0", "nonce": sent["nonce"], "gasPrice": hex(10**12)}
    rpc(open_site.world.url, "eth_sendTransaction", faster)
    mine(4)
    await visit.until("replaced")


async def test_a_chain_that_does_not_answer_is_said_and_the_figures_stay(open_site: Served, visit: Visit) -> None:
    async def fail(route: Route) -> None:
        await route.abort()

    await visit.page.clock.install()
    await visit.go(open_site)
    await visit.page.route(f"{open_site.world.url}/**", fail)
    await visit.see("The chain cannot be read", "#trouble")
    await visit.see("What you see is as of block", "#trouble")
    assert "1 ETH" in await visit.text("#progress")
    old = await visit.text("#age")
    assert await visit.page.locator("[role=alert] #age").count() == 0  # it would be read out each time
    await visit.page.clock.fast_forward("50:00:00")
    await visit.page.locator("#age").filter(has_not_text=old).wait_for()
    await visit.page.unroute(f"{open_site.world.url}/**")
    await visit.page.wait_for_selector("#trouble", state="detached")
    assert all("net::ERR_FAILED" in error for error in visit.errors)
    visit.errors.clear()


async def test_a_node_that_names_another_contract_is_found_out_before_anything_is_sent(
    stage_now: Stage, sites: Sites, visit: Visit, tmp_path: Path
) -> None:
    world = make_world(stage_now.chain.url, tmp_path / "nonces")
    registry, thief = world.run.registry.address[2:].lower(), "ab" * 20

    async def lie(route: Route) -> None:
        asked = (route.request.post_data or "").replace(thief, registry)  # a liar who keeps to his story
        answer = await (await route.fetch(post_data=asked)).text()
        await route.fulfill(body=answer.replace(registry, thief), headers={"access-control-allow-origin": "*"})

    await visit.page.route(f"{stage_now.chain.url}/**", lie)
    await visit.go(sites.serve(world, FolderStore(tmp_path / "store")), "providers")
    await visit.connect()
    await visit.page.fill("#signing-key", KEYS[3].address)
    await visit.page.fill("#peer", "gpu.example.org:7700")
    await visit.page.click("#register-button")
    await visit.see("Two nodes tell different things of this run", "#review")
    assert await visit.page.locator("#review .primary").count() == 0
    assert visit.wallet.sent == []


async def test_a_node_that_answers_nonsense_or_lags_behind_is_said_and_the_figures_stay(
    open_site: Served, visit: Visit
) -> None:
    pattern = f"{open_site.world.url}/**"

    def answering(change: Callable[[dict[str, object]], object]) -> Callable[[Route], Awaitable[None]]:
        async def answer(route: Route) -> None:
            asked = json.loads(route.request.post_data or "[]")
            calls = asked if isinstance(asked, list) else [asked]
            told = [{"jsonrpc": "2.0", "id": call["id"], "result": change(call)} for call in calls]
            body = json.dumps(told if isinstance(asked, list) else told[0])
            await route.fulfill(body=body, headers={"access-control-allow-origin": "*"})

        return answer

    await visit.page.route(pattern, answering(lambda call: "<html>"))
    await visit.page.goto(open_site.url)
    await visit.see("The chain's answer makes no sense", "#trouble")
    await visit.page.unroute(pattern)
    await visit.see("1 ETH", "#progress")
    await visit.page.wait_for_selector("#trouble", state="detached")
    old = {"hash": f"0x{'77' * 32}", "number": "0x1", "timestamp": "0x1"}
    await visit.page.route(pattern, answering(lambda call: old))
    await visit.see("knows blocks up to 1 only", "#trouble")
    assert "1 ETH" in await visit.text("#progress")


async def test_the_contracts_errors_come_by_name_in_plain_words(open_site: Served, visit: Visit) -> None:
    world = open_site.world
    await visit.go(open_site, "funding")
    await visit.connect()
    rpc(world.url, "evm_increaseTime", 4000)  # no block yet: only the contract can know that it is too late
    await visit.page.fill("#amount", "1")
    await visit.page.click("#deposit-button")
    await visit.see("DepositsClosed", "#review .problem")
    await visit.see("deposits ended with the cap or the deadline", "#review .problem")
    await visit.see("Funds can no longer be added to this run.", "#review .problem")
    assert visit.wallet.sent == []


REFUSED = {
    "0": "above zero",
    "1.2.3": "like 1.5",
    "abc": "like 1.5",
    "9.000000000000000001": "More than the room that is left: 9 ETH.",
    "0.0000000000000000001": "18 decimal places",
}


async def test_an_amount_that_cannot_be_is_explained_at_once(open_site: Served, visit: Visit) -> None:
    await visit.go(open_site, "funding")
    await visit.connect()
    for typed, words in REFUSED.items():
        await visit.page.fill("#amount", typed)
        await visit.see(words, "#amount-note")
        await visit.page.click("#deposit-button")
        assert await visit.page.locator("#review[open]").count() == 0


async def test_an_authorisation_is_preferred_where_the_token_takes_it_and_leaves_no_allowance(
    stage_now: Stage, sites: Sites, visit: Visit, tmp_path: Path
) -> None:
    token = deploy_token(stage_now.chain.url, "DollarToken", ME)
    world = make_world(stage_now.chain.url, tmp_path / "nonces", asset=token, goal=10**6, cap=10**13)
    await visit.go(sites.serve(world, FolderStore(tmp_path / "store")), "funding")
    await visit.connect()
    await deposit(visit, "12.5")
    review = await visit.text("#review")
    assert "by one signature and one transaction" in review
    assert "no allowance is left behind" in review
    assert "depositWithAuthorization" in review
    visit.wallet.declines.append("eth_sendTransaction")  # the signature is not asked for twice
    await visit.page.click("#review .primary")
    await visit.see("You declined in the wallet. Nothing was sent.", "#review")
    await visit.confirm()
    await visit.until("mined")
    assert world.run.campaign.contribution_of(ME) == 12_500_000
    assert visit.wallet.asked.count("eth_signTypedData_v4") == 1
    assert len(visit.wallet.sent) == 1
    allowed = world.run.asset.make_call("allowance", ME, world.run.address)
    assert world.run.chain.call(allowed) == (0,)
    await visit.page.fill("#amount", "1000000")
    await visit.page.click("#deposit-button")
    await visit.see("Not enough funds. Your account holds 999987.5 PUSD.", "#amount-note")


@pytest.mark.slow
async def test_a_wallet_that_signs_no_typed_data_allows_instead(
    stage_now: Stage, sites: Sites, visit: Visit, tmp_path: Path
) -> None:
    token = deploy_token(stage_now.chain.url, "DollarToken", ME)
    world = make_world(stage_now.chain.url, tmp_path / "nonces", asset=token, goal=10**6, cap=10**13)
    await visit.go(sites.serve(world, FolderStore(tmp_path / "store")), "funding")
    await visit.connect()
    visit.wallet.unable.add("eth_signTypedData_v4")
    await deposit(visit, "3")
    await visit.confirm()
    await visit.page.wait_for_selector(".transaction[data-state=mined] >> text=Deposit 3 PUSD")
    assert world.run.campaign.contribution_of(ME) == 3_000_000
    assert len(visit.wallet.sent) == 2


async def test_a_permit_makes_a_token_deposit_one_transaction(
    stage_now: Stage, sites: Sites, visit: Visit, tmp_path: Path
) -> None:
    token = deploy_token(stage_now.chain.url, "PermitToken", ME)
    world = make_world(stage_now.chain.url, tmp_path / "nonces", asset=token, goal=10**6, cap=10**9)
    await visit.go(sites.serve(world, FolderStore(tmp_path / "store")), "funding")
    await visit.connect()
    await deposit(visit, "12.5")
    review = await visit.text("#review")
    assert "12.5 PUSD" in review
    assert "depositWithPermit" in review
    await visit.confirm()
    await visit.until("mined")
    assert world.run.campaign.contribution_of(ME) == 12_500_000
    assert visit.wallet.asked.count("eth_signTypedData_v4") == 1
    assert len(visit.wallet.sent) == 1


async def test_a_token_without_permits_takes_an_allowance_of_exactly_the_amount(
    stage_now: Stage, sites: Sites, visit: Visit, tmp_path: Path
) -> None:
    token = deploy_token(stage_now.chain.url, "OldToken", ME)
    world = make_world(stage_now.chain.url, tmp_path / "nonces", asset=token)
    await visit.go(sites.serve(world, FolderStore(tmp_path / "store")), "funding")
    await visit.connect()
    await deposit(visit, "3")
    await visit.see("This token needs two transactions", "#review")
    await visit.confirm()
    await visit.page.wait_for_selector(".transaction[data-state=mined] >> text=Deposit 3 OLD")
    assert world.run.campaign.contribution_of(ME) == 3 * ETHER
    assert len(visit.wallet.sent) == 2
    allowed = world.run.asset.make_call("allowance", ME, world.run.address)
    assert world.run.chain.call(allowed) == (0,)


async def test_a_link_with_settings_of_its_own_is_pointed_out(
    open_site: Served, visit: Visit, stage_now: Stage
) -> None:
    await visit.go(open_site, query=f"?run={stage_now.staged.run.address}")
    await visit.see("This link brings its own settings", "#notices")
    await visit.see("nano", "#run-name")


async def test_a_run_that_is_not_there_is_said_by_name(open_site: Served, visit: Visit) -> None:
    await visit.page.goto(f"{open_site.url}?run=0x{'12' * 20}")
    await visit.see("There is no such run", "#trouble")
    await visit.page.goto(f"{open_site.url}?run=0x12")
    await visit.see("is not an address", "main")
    stored = await visit.page.evaluate("JSON.stringify(localStorage)")
    assert json.loads(stored) == {}
