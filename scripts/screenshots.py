"""Write the pictures of docs/images/ from two pages that are served.

    python scripts/screenshots.py TRAINED OPEN --provider ADDRESS --funder ADDRESS

TRAINED is the page of a run with some final epochs, as `commonweight dev up` has after a few minutes with two
providers; OPEN that of a run that takes deposits. The wallet is a stand-in that knows one account and hands every
question on to the node that the page reads; nothing is signed and nothing is sent. With a palette of 255 colours,
which any program for pictures makes, the files are a third of their size: commit them so.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import httpx
from benches.results import ROOT
from playwright.sync_api import Browser, Page, sync_playwright

IMAGES = ROOT / "docs" / "images"
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
WIDE, NARROW = {"width": 1200, "height": 1200}, {"width": 390, "height": 844}
WALLET = """
(() => {
  const request = async ({ method, params = [] }) => {
    const { result, error } = JSON.parse(await ask(JSON.stringify({ method, params })));
    if (error) throw Object.assign(new Error(error.message), error);
    return result;
  };
  const info = { uuid: "5d2c2f3e-0a55-4c0c-8e52-3f2b7a3d9f10", name: "A wallet", rdns: "org.example.wallet", icon: "" };
  const announce = () => dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail: { info, provider: { request, on() {} } } }));
  addEventListener("eip6963:requestProvider", announce);
})();
"""  # noqa: E501 - a program in another language


def main() -> int:
    """Write the pictures; returns the exit status."""
    parser = argparse.ArgumentParser(description="Write docs/images/page-*.png from pages that are being served.")
    parser.add_argument("trained", help="the page of a run that trains")
    parser.add_argument("open", help="the page of a run that takes deposits")
    parser.add_argument("--provider", required=True, metavar="ADDRESS", help="whose work is shown")
    parser.add_argument("--funder", required=True, metavar="ADDRESS", help="whose position is shown, and whose deposit")
    given = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        views = (
            ("overview", given.trained, None, WIDE, "light"),
            ("training", given.trained, None, WIDE, "light"),
            ("providers", given.trained, given.provider, WIDE, "light"),
            ("audit", given.trained, None, WIDE, "light"),
            ("funding", given.open, given.funder, WIDE, "light"),
        )
        for view, url, account, size, scheme in views:
            page = visit(browser, url, view, account, size, scheme)
            page.screenshot(path=IMAGES / f"page-{view}.png", full_page=view != "overview")
        page = visit(browser, given.trained, "overview", None, NARROW, "dark")
        page.screenshot(path=IMAGES / "page-phone.png")
        page = visit(browser, given.open, "funding", given.funder, NARROW, "light")
        page.fill("#amount", "1.25")
        page.click("#deposit-button")
        page.wait_for_selector("#review .primary")
        page.screenshot(path=IMAGES / "page-review.png")
        browser.close()
    return 0


def visit(browser: Browser, url: str, view: str, account: str | None, size: Any, scheme: Any) -> Page:
    """A part of the page with everything that it reads, and with a wallet where an account is named."""
    context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    node = httpx.get(f"{url.rstrip('/')}/config.json").json()["rpc"][0]
    if account is not None:
        context.expose_function("ask", lambda text: answer(node, account, json.loads(text)))
        context.add_init_script(WALLET)
    page = context.new_page()
    page.goto(f"{url}#{view}")
    page.wait_for_selector("body[data-block]")
    if account is not None:
        page.click("#connect")
        page.click("#picker .wallets button")
        page.wait_for_selector("#connect.account")
    page.wait_for_selector(".loading", state="detached")
    page.wait_for_load_state("networkidle")
    if view == "audit":
        page.locator(".report button", has_text="Check it here").first.click()
        page.wait_for_selector(".report button[disabled]", state="detached")
        page.evaluate("document.activeElement.blur()")
    return page


def answer(node: str, account: str, question: dict[str, Any]) -> str:
    """What the stand-in answers: its account itself, all else the node's words; it signs and sends nothing."""
    if question["method"] in ("eth_accounts", "eth_requestAccounts"):
        return json.dumps({"result": [account]})
    if not question["method"].startswith(("eth_call", "eth_chainId", "eth_gasPrice", "eth_estimateGas")):
        return json.dumps({"error": {"code": 4200, "message": "This wallet only looks."}})
    return httpx.post(node, json={"jsonrpc": "2.0", "id": 1, **question}, timeout=30).text


if __name__ == "__main__":
    sys.exit(main())
