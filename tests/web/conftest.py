"""One chain, one site and one browser for the session; every test gets its own page and the chain as it was.

The browser is the system's Chromium. Where it is missing, these tests fail and name the command that installs it.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import http.server
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from commonweight.chain.local import LocalChain, start_local
from commonweight.cli.dashboard import PAGE, Live, Site, make_server
from commonweight.store import ContentStore, FolderStore
from tests.audit.staging import Staged, stage
from tests.chain.scenario import ETHER, KEYS, World, make_world
from tests.conftest import put_back, rpc
from tests.web.wallet import Wallet

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
REPORT_VIOLATIONS = "addEventListener('securitypolicyviolation', e => console.error(`policy: ${e.violatedDirective}`))"
SLOW_MS = 30_000  # how long a condition may take on a machine that does much else; nothing waits for it in vain


@dataclass(frozen=True)
class Served:
    """A site that serves one run."""

    url: str
    world: World
    site: Site


@dataclass(frozen=True)
class Stage:
    """The runs of the session. `open` takes deposits; `staged` has a final epoch and one whose report is pending."""

    chain: LocalChain
    open: World
    staged: Staged


class Sites:
    """Serves runs, each from a server of its own on a free port."""

    def __init__(self) -> None:
        self._servers: list[Any] = []

    def serve(self, world: World, store: ContentStore, live: Live | None = None) -> Served:
        """Serve a run's page."""
        served: dict[str, object] = {"rpc": [world.url], "run": world.run.address, "gateways": ["."]}
        if live is not None:
            served["live"] = "live.json"
        site = Site(served, store, live)
        server = make_server(site, "127.0.0.1:0")
        threading.Thread(target=functools.partial(server.serve_forever, poll_interval=0.05), daemon=True).start()
        self._servers.append(server)
        return Served(f"http://127.0.0.1:{server.server_address[1]}/", world, site)

    def close(self) -> None:
        """Stop all servers."""
        for server in self._servers:
            server.shutdown()
            server.server_close()


@pytest.fixture(scope="session")
def stage_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A chain with both runs."""
    folder = tmp_path_factory.mktemp("web")
    with start_local("anvil", directory=folder / "chain", block_time_s=None) as chain:
        staged = stage(chain.url, folder)
        staged.play_epoch(0)
        staged.report(0)
        staged.world.finalize(0)
        staged.serve(10**15)
        staged.missing = (3,)
        staged.play_epoch(1)
        staged.report(1)
        world = make_world(chain.url, folder / "open", goal=5 * ETHER, cap=10 * ETHER, name="A small model")
        world.by(8).campaign.deposit(ETHER)
        yield Stage(chain, world, staged)


@pytest.fixture
def stage_now(stage_once: Stage) -> Iterator[Stage]:
    """The session's stage; the chain is put back afterwards, whatever a test did to it."""
    snapshot = rpc(stage_once.chain.url, "evm_snapshot")
    yield Stage(stage_once.chain, stage_once.open, copy.copy(stage_once.staged))
    rpc(stage_once.chain.url, "evm_setAutomine", True)
    put_back(functools.partial(rpc, stage_once.chain.url), snapshot)


@pytest.fixture
def sites() -> Iterator[Sites]:
    """Sites that end with the test."""
    found = Sites()
    yield found
    found.close()


@pytest.fixture
def open_site(stage_now: Stage, sites: Sites, tmp_path: Path) -> Served:
    """The page of the run that takes deposits; nothing is published of it yet."""
    return sites.serve(stage_now.open, FolderStore(tmp_path / "store"))


@pytest.fixture
def staged_site(stage_now: Stage, sites: Sites) -> Served:
    """The page of the run that trains, with its content store."""
    return sites.serve(stage_now.staged.world, stage_now.staged.store)


@pytest.fixture
def plain_site() -> Iterator[str]:
    """The same files from a web server that knows nothing of them."""
    handler = functools.partial(Quiet, directory=str(PAGE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and logs nothing."""

    def log_message(self, *words: object) -> None:
        """Nothing."""


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The browser's program."""
    if not CHROMIUM.exists():
        pytest.fail("Chromium is not installed: run `tools/chromium.sh` as root (`make test` does it).", pytrace=False)
    return CHROMIUM


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: Path) -> AsyncIterator[Browser]:
    """The session's Chromium."""
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield found
        await found.close()


@dataclass
class Visit:
    """A person with a browser at a page. `errors` are console errors, exceptions and violations of the policy."""

    page: Page
    context: BrowserContext
    wallet: Wallet
    errors: list[str] = field(default_factory=list)

    async def go(self, site: Served, tab: str = "overview", query: str = "") -> None:
        """Open a part of the page and wait until it shows the chain."""
        await self.page.goto(f"{site.url}{query}#{tab}")
        await self.page.wait_for_selector("body[data-block]")

    async def look(self) -> None:
        """Let the page look at the chain now, as it does when its tab comes to the front, and not at its next turn."""
        await self.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    async def see(self, text: str, where: str = "body") -> None:
        """Wait until a text is shown."""
        await self.look()
        await self.page.locator(where, has_text=text).first.wait_for()

    async def text(self, where: str) -> str:
        """The text of an element."""
        return await self.page.locator(where).first.inner_text()

    async def connect(self) -> None:
        """Connect the wallet by the button in the head."""
        await self.page.click("#connect")
        await self.page.click("#picker .wallets button")
        await self.page.wait_for_selector("#connect.account")

    async def wallet_is(self, account: str) -> None:
        """Before connecting: the account that the wallet offers."""
        self.wallet.accounts = [account.lower()]

    async def confirm(self) -> None:
        """Confirm what the review shows, and wait until it is sent."""
        await self.page.click("#review .primary")
        await self.page.wait_for_selector("#review", state="hidden")

    async def until(self, state: str) -> None:
        """Wait until a transaction is in a state."""
        await self.look()
        await self.page.wait_for_selector(f".transaction[data-state={state}]")


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, stage_now: Stage) -> AsyncIterator[Visit]:
    """A fresh visitor with account 0 in the wallet. Afterwards the console must be free of errors."""
    context = await browser.new_context(viewport={"width": 1200, "height": 900}, color_scheme="light")
    context.set_default_timeout(SLOW_MS)
    accounts = [key.address.lower() for key in KEYS]
    wallet = Wallet(stage_now.chain.url, accounts, stage_now.chain.chain_id, {stage_now.chain.chain_id})
    await wallet.join(context, await asyncio.to_thread((HERE / "wallet.js").read_text))
    page = await context.new_page()
    found = Visit(page, context, wallet)
    page.on("console", lambda m: found.errors.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.errors.append(str(error)))
    await page.add_init_script(REPORT_VIOLATIONS)
    yield found
    # The page asks on while it closes: a handler may be half way through its answer then.
    await page.unroute_all(behavior="ignoreErrors")
    await context.close()
    assert found.errors == []


@pytest.fixture
def mine(stage_now: Stage) -> Callable[[int], None]:
    """Mines blocks."""

    def blocks(count: int) -> None:
        for mined in range(0, count, 250):  # a slow machine takes its time for each
            rpc(stage_now.chain.url, "anvil_mine", hex(min(250, count - mined)))

    return blocks
