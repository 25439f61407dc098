"""What a provider changes of its registration on the page: key, payout address, place, stake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.async_api import expect

from commonweight.chain.ledger_view import LedgerView
from commonweight.cli.preparing import SCHEMA
from commonweight.store import FolderStore
from tests.chain.scenario import ETHER, KEYS, make_world
from tests.conftest import rpc
from tests.web.conftest import Served, Sites, Stage, Visit
from tests.web.test_page import serious
from tests.web.tokens import deploy_token

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
ACCOUNT, INDEX = KEYS[2].address, 1
ZERO = "0x" + "00" * 20


def wrong_capitals(address: str) -> str:
    return address.swapcase().replace("X", "x")


async def open_part(visit: Visit, site: Served, part: str) -> None:
    """As provider #1, the form of one change."""
    await visit.go(site, "providers")
    await visit.wallet_is(ACCOUNT)
    await visit.connect()
    await visit.page.click(f"#change-{part} summary")


async def refused(visit: Visit, part: str, field: str, told: dict[str, str]) -> None:
    """Each of these is typed, is answered at its field, and asks the wallet nothing."""
    for typed, words in told.items():
        await visit.page.fill(f"#{field}", typed)
        await visit.page.click(f"#{part}-change")
        await visit.see(words, f"#{field}-note")
        assert await visit.page.evaluate("document.activeElement.id") == field
        assert await visit.page.get_attribute(f"#{field}", "aria-invalid") == "true"
        assert await visit.page.locator("#review[open]").count() == 0
    assert "eth_estimateGas" not in visit.wallet.asked


async def review_of(visit: Visit, part: str, *words: str) -> None:
    """The review of what is entered, which says all of these and by whose account."""
    await visit.page.click(f"#{part}-change")
    await visit.page.wait_for_selector("#review .primary")
    review = await visit.text("#review")
    assert [w for w in (*words, f"provider #{INDEX}", f"From\n{ACCOUNT}") if w not in review] == []
    assert visit.wallet.sent == []


async def test_the_next_key_comes_from_its_computers_file_and_none_comes_back(
    staged_site: Served, visit: Visit, tmp_path: Path, mine: Callable[[int], None]
) -> None:
    world, page, (old, key) = staged_site.world, visit.page, (KEYS[9].address, KEYS[5].address)
    registry = world.by(2).registry
    first = registry.provider_at(INDEX).signing_key
    registry.rotate_key(old)
    entry = {"schema": SCHEMA, "chain_id": world.run.chain.chain_id, "signing_key": key, "peer": "gpu.example.org:7700"}
    other, good = tmp_path / "other.json", tmp_path / "good.json"
    other.write_text(json.dumps({**entry, "run": ACCOUNT}))
    good.write_text(json.dumps({**entry, "run": world.run.address}))
    await open_part(visit, staged_site, "key")
    await refused(
        visit,
        "key",
        "new-key",
        {
            "": "0x and 40 hex digits",
            "0x12": "0x and 40 hex digits",
            ZERO: "The zero address is nobody's",
            old: "This is the key already",
            first: "the provider's key before, and no key comes back",
            registry.provider_at(2).signing_key: "registered already, by provider #2",
            wrong_capitals(key): "its capitals do not fit",
        },
    )
    await page.set_input_files("#new-registration", other)
    await visit.see("It is for another run", "#new-registration-note")
    await page.set_input_files("#new-registration", good)
    await expect(page.locator("#new-key")).to_have_value(key)
    await expect(page.locator("#new-peer")).to_have_value("gpu.example.org:7700")  # a change of its own, and seen
    await expect(page.locator("#new-peer")).to_be_visible()
    await review_of(
        visit,
        "key",
        f"Signing key now\n{old}",
        f"Signing key then\n{key}",
        "can never be used again in this run",
        "is refused once the change is final",
        "stop it, or pause it, when its round is over",
        "function rotateKey",
    )
    visit.wallet.declines.append("eth_sendTransaction")
    await page.click("#review .primary")
    await visit.see("You declined in the wallet. Nothing was sent.", "#review")
    assert registry.provider_at(INDEX).signing_key == old
    await visit.confirm()
    await visit.until("mined")
    assert registry.provider_at(INDEX).signing_key == key
    await page.wait_for_selector(f"#mine .copy[title='{key.lower()}']")
    assert await page.input_value("#new-key") == ""
    assert await page.input_value("#new-peer") == "gpu.example.org:7700"
    mine(3)
    await visit.until("final")


async def test_another_payout_address_takes_what_is_not_claimed_too(staged_site: Served, visit: Visit) -> None:
    world, payout = staged_site.world, KEYS[9].address
    await open_part(visit, staged_site, "payout")
    await refused(
        visit,
        "payout",
        "new-payout",
        {
            "": "0x and 40 hex digits",
            ZERO: "The zero address is nobody's",
            ACCOUNT: "It is paid there already",
            wrong_capitals(payout): "its capitals do not fit",
        },
    )
    await visit.page.fill("#new-payout", payout.lower())
    await review_of(
        visit,
        "payout",
        f"Paid to now\n{ACCOUNT}",
        "\nyour account",
        f"Paid to then\n{payout}",
        "\nnot your account",
        "all wages and revenue not yet claimed, too",
        "claim first",
        "function setPayout",
    )
    await visit.confirm()
    await visit.until("mined")
    assert world.run.registry.provider_at(INDEX).payout == payout
    await visit.page.wait_for_selector(f"#mine .copy[title='{payout.lower()}']")
    leaf = LedgerView.of(world.run).leaf(INDEX)
    assert leaf is not None
    due, before = world.run.distributor.claimable_compute(0, leaf), world.run.chain.balance(payout)
    await visit.page.click("#compute-button")
    await visit.page.wait_for_selector("#review .primary")
    await visit.confirm()
    await visit.page.wait_for_selector(".transaction[data-state=mined] >> text=Claim")
    assert world.run.chain.balance(payout) - before == due > 0  # what was earned before the change


async def test_another_place_is_published(staged_site: Served, visit: Visit) -> None:
    registry = staged_site.world.run.registry
    before = registry.provider_at(INDEX).peer
    place = "/dns4/relay.example.org/tcp/4001/p2p/12D3KooWGRUNhUHAdTfVmM3mN9AbVyvZ2qpTyZRNRjmoKWJJzTQm/p2p-circuit/p2p/"
    place += "12D3KooWGRUNhUHAdTfVmM3mN9AbVyvZ2qpTyZRNRjmoKWJJzTQm"
    await open_part(visit, staged_site, "peer")
    await refused(
        visit,
        "peer",
        "new-peer",
        {
            "": "Write host and port",
            "gpu.example.org": "Write host and port",
            "gpu.example.org:65536": "Write host and port",
            "/ip4/203.0.113.7/tcp/4001": "or the libp2p address",
            f"{'a' * 253}:700": "longer than 256 bytes",
            "0.0.0.0:7700": "all addresses of one machine",
            before: "It is reached there already",
        },
    )
    await visit.page.fill("#new-peer", f" {place} ")
    await review_of(
        visit,
        "peer",
        f"Reached at now\n{before}",
        f"Reached at then\n{place}",
        "within some seconds once this is final",
        "start it again at the new place",
        "function setPeer",
    )
    await visit.confirm()
    await visit.until("mined")
    assert registry.provider_at(INDEX).peer == place
    await visit.see(place, "#mine")


async def test_a_stake_grows_until_its_provider_leaves(staged_site: Served, visit: Visit) -> None:
    world, page = staged_site.world, visit.page
    await open_part(visit, staged_site, "stake")
    await refused(
        visit,
        "stake",
        "more-stake",
        {
            "": "like 1.5",
            "0": "above zero",
            "1,500": "thousands",
            "0.0000000000000000001": "18 decimal places",
        },
    )
    await page.fill("#more-stake", "1000000")
    await page.click("#stake-change")
    await visit.see("Not enough funds", "#review .problem")
    await page.keyboard.press("Escape")
    await page.fill("#more-stake", "0.25")
    await review_of(
        visit,
        "stake",
        "You stake\n0.25 ETH",
        "Stake now\n0.1 ETH",
        "Stake then\n0.35 ETH",
        "doubted and convicted",
        "only as a whole once you have left",
        "function addStake",
    )
    await visit.confirm()
    await visit.until("mined")
    assert world.run.registry.provider_at(INDEX).stake == 35 * ETHER // 100
    await visit.see("0.35 ETH", "#mine .tiles")
    await page.fill("#more-stake", "0.5")
    await page.click("#stake-change")
    await page.wait_for_selector("#review .primary")
    world.by(2).registry.exit()  # while it was read: only the contract knows
    await visit.confirm()
    await visit.until("failed")
    await visit.see("this provider has left already", ".transaction")
    await page.fill("#more-stake", "0.5")
    await page.click("#stake-change")
    await visit.see("AlreadyExited", "#more-stake-note")
    assert world.run.registry.provider_at(INDEX).stake == 35 * ETHER // 100


async def test_a_stake_in_a_token_takes_an_allowance_of_exactly_the_amount(
    stage_now: Stage, sites: Sites, visit: Visit, tmp_path: Path
) -> None:
    token = deploy_token(stage_now.chain.url, "DollarToken", KEYS[0].address)
    million = 10**6
    world = make_world(
        stage_now.chain.url, tmp_path / "nonces", asset=token, goal=million, cap=10**13, provider_stake=million
    )
    world.register(0)
    await visit.go(sites.serve(world, FolderStore(tmp_path / "store")), "providers")
    await visit.connect()
    await visit.page.click("#change-stake summary")
    await visit.page.fill("#more-stake", "1000000")
    await visit.page.click("#stake-change")
    await visit.see("Not enough funds. Your account holds 999999 PUSD.", "#change-stake")
    await visit.page.fill("#more-stake", "2.5")
    await visit.page.click("#stake-change")
    await visit.see("This token needs two transactions", "#review")
    assert "Stake then\n3.5 PUSD" in await visit.text("#review")
    assert visit.wallet.sent == []
    await visit.confirm()
    await visit.page.wait_for_selector(
        ".transaction[data-state=mined] >> text=Add 2.5 PUSD to the stake of provider #0"
    )
    assert world.run.registry.provider_at(0).stake == 3_500_000
    assert len(visit.wallet.sent) == 2
    allowed = world.run.asset.make_call("allowance", KEYS[0].address, world.run.registry.address)
    assert world.run.chain.call(allowed) == (0,)


async def test_the_forms_are_those_of_the_account_that_is_connected(staged_site: Served, visit: Visit) -> None:
    page = visit.page
    loaded = "performance.getEntriesByType('resource').filter(e => e.name.endsWith('/changing.js')).length"
    await visit.go(staged_site, "providers")
    await page.fill("#provider-lookup", "#1")
    await page.press("#provider-lookup", "Enter")
    await visit.see("Provider #1", "#mine")
    await visit.connect()  # no provider
    await visit.see("Lend a computer", "#register")
    assert await page.locator("#changing").count() == 0
    assert await page.evaluate(loaded) == 0
    await visit.wallet.switch_account(page, KEYS[3].address.lower())
    await visit.see("Change provider #2", "#changing")
    await visit.see("Provider #1", "#mine")  # which was looked up
    assert await page.locator("#register").count() == 0
    await page.click("#change-payout summary")
    await page.fill("#new-payout", KEYS[9].address)
    rpc(staged_site.world.url, "evm_mine")
    await visit.look()
    await expect(page.locator("#new-payout")).to_have_value(KEYS[9].address)
    await page.click("#payout-change")
    await page.wait_for_selector("#review .primary")
    await visit.wallet.switch_account(page, ACCOUNT.lower())
    await page.click("#review .primary")
    await visit.see("The wallet has changed to another account since you read this", "#review")
    await page.keyboard.press("Escape")
    await visit.see("Change provider #1", "#changing")
    assert await page.input_value("#new-payout") == ""
    assert visit.wallet.sent == []


async def test_a_change_can_be_made_by_the_keyboard_on_a_phone(staged_site: Served, visit: Visit) -> None:
    page = visit.page
    await page.set_viewport_size({"width": 320, "height": 740})
    await visit.go(staged_site, "providers")
    await visit.wallet_is(ACCOUNT)
    await visit.connect()
    for part in ("key", "payout", "peer", "stake"):
        await page.focus(f"#change-{part} summary")
        await page.keyboard.press("Enter")
    for field in ("new-key", "new-payout", "new-peer", "more-stake"):
        await expect(page.locator(f"#{field}")).to_be_visible()
        await page.press(f"#{field}", "Enter")
        await expect(page.locator(f"#{field}-note")).not_to_have_text("")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 320
    assert await serious(visit) == []
    await page.focus("#change-payout summary")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.id") == "new-payout"
    await page.keyboard.type(KEYS[9].address)
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#review .primary")
    assert await page.evaluate(
        "(({ scrollWidth, clientWidth }) => scrollWidth <= clientWidth)(document.getElementById('review'))"
    )
    assert await serious(visit) == []
    await page.focus("#review .primary")
    await page.keyboard.press("Enter")
    await visit.until("mined")
    assert staged_site.world.run.registry.provider_at(INDEX).payout == KEYS[9].address
