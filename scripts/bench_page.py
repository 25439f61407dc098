"""How soon the page can be used on a slow link: bench-results/page.json, and the table of docs/page.md.

`python scripts/bench_page.py` brings up `commonweight dev up`, opens the page that it serves in Chromium with an empty
cache over a link that the browser itself slows down, and takes times from the start of the navigation: to the run's
first figures, to all of them and to a deposit form that answers a keystroke. Every request waits one round trip; the
browser slows neither the setting up of connections nor preflights, so over a real link each of these adds one, side by
side with the page's own files. `--show` tells what went over the wire.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benches.block import write_block
from benches.results import ROOT, machine, write_result
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.progress import Progress

from commonweight.protocol.canonical import JsonObject

DOCUMENT = ROOT / "docs" / "page.md"
GOAL_MS = 1_000
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
WAIT_MS = 60_000

# Marks, in milliseconds since the navigation began, when each thing is first there to be read or used.
MARKS = """
globalThis.marks = {};
const mark = (name) => {
  if (name in globalThis.marks) return;
  globalThis.marks[name] = performance.now();
  document.documentElement.setAttribute(`data-mark-${name}`, "");
};
const check = () => {
  if (document.querySelector("#progress .figure")) mark("first_figures");
  if (document.body?.dataset.block) mark("all_figures");
  const amount = document.getElementById("amount");
  if (amount && !("form" in globalThis.marks)) {
    amount.value = "1.x";
    amount.dispatchEvent(new Event("input"));
    if (document.getElementById("amount-note").textContent) mark("form");
  }
};
new MutationObserver(check).observe(document, { subtree: true, childList: true, attributes: true });
new PerformanceObserver((seen) => { for (const e of seen.getEntries()) globalThis.marks[e.name] ??= e.startTime; })
  .observe({ type: "paint", buffered: true });
"""


@dataclass(frozen=True)
class Link:
    """What the browser lets through: kbit/s each way, and what each request waits."""

    name: str
    down_kbit_s: int
    up_kbit_s: int
    round_trip_ms: int


LINKS = (Link("slow 4G", 1_600, 750, 150), Link("fast 4G", 9_000, 1_500, 150))
VIEWS = {"overview": "all_figures", "funding": "form"}  # what must be there for the view to be usable


@dataclass
class Wire:
    """What went over the wire until the view was usable."""

    requests: dict[str, tuple[float, str]] = field(default_factory=dict)
    ends: dict[str, tuple[float, int]] = field(default_factory=dict)
    connections: set[int] = field(default_factory=set)
    preflights: int = 0

    def listen(self, session: Any) -> None:
        """Count from now on."""
        session.on("Network.requestWillBeSent", self._sent)
        session.on("Network.responseReceived", lambda e: self.connections.add(e["response"].get("connectionId", 0)))
        session.on("Network.loadingFinished", self._done)

    def _sent(self, event: dict[str, Any]) -> None:
        request, url = event["request"], event["request"]["url"]
        self.preflights += request["method"] == "OPTIONS"
        body = request.get("postData")
        asked = json.loads(body) if body else []
        calls = f"{len(asked) if isinstance(asked, list) else 1} calls" if body else ""
        self.requests[event["requestId"]] = (event["timestamp"], f"{request['method']} {url} {calls}")

    def _done(self, event: dict[str, Any]) -> None:
        self.ends[event["requestId"]] = (event["timestamp"], int(event["encodedDataLength"]))

    def to_json(self) -> JsonObject:
        """Counts and bytes."""
        return {
            "requests": len(self.requests), "preflights": self.preflights, "connections": len(self.connections),
            "bytes": sum(size for _, size in self.ends.values()),
        }  # fmt: skip

    def lines(self) -> Iterator[str]:
        """One line a request: when it began and ended in ms, its bytes, what it was."""
        begin = min((at for at, _ in self.requests.values()), default=0.0)
        for request, (at, what) in sorted(self.requests.items(), key=lambda item: item[1][0]):
            end, size = self.ends.get(request, (begin, 0))
            yield f"{(at - begin) * 1000:7.0f} {(end - begin) * 1000:7.0f} {size:7} {what}"


def main() -> int:
    """Measure, write, print. Exit code 1 when a view on the slow link misses the goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visits", type=int, default=7, help="visits of each view over each link; the median counts")
    parser.add_argument("--url", help="measure this page instead of bringing one up; nothing is written")
    parser.add_argument("--show", action="store_true", help="print what the last visit of each sent and got")
    options = parser.parse_args()
    load_before = f"{os.getloadavg()[0]:.1f}"  # of the machine, one minute: what else it did
    with development(options.url) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        console = Console(stderr=True)
        visit(browser, url, LINKS[0], "funding")  # the first visit also warms the server
        rows: list[JsonObject] = []
        with Progress(console=console) as progress:
            wanted = [(link, view) for link in LINKS for view in VIEWS]
            for link, view in progress.track(wanted, description="views"):
                row, wire = measure(browser, url, link, view, options.visits)
                rows.append(row)
                if options.show:
                    print(f"{link.name}, {view}", *wire.lines(), sep="\n")
        version = browser.version
        browser.close()
    print(table(rows))
    if options.url is None:
        setting: JsonObject = {
            "goal_ms": GOAL_MS, "browser": f"Chromium {version}", "cache": "empty",
            "links": [vars(link) for link in LINKS], "visits": options.visits, "load_before": load_before,
        }  # fmt: skip
        write_result("page", {"machine": machine(), "setting": setting, "rows": [*rows]})
        write_block(DOCUMENT, "page", table(rows))
    slow = [int(str(row["usable_ms"])) for row in rows if row["link"] == LINKS[0].name]
    return 0 if max(slow) <= GOAL_MS else 1


@contextmanager
def development(url: str | None) -> Iterator[str]:
    """The page of a development run of its own, or the one named."""
    if url is not None:
        yield url
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "commonweight.cli.main", "dev"]
        place = ["--dir", folder, "--json"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        try:
            said = subprocess.run(
                [*command, "up", "--deposits", "1h", *place], env=environment, stdout=subprocess.PIPE, check=True
            )
            yield str(json.loads(said.stdout)["page"])
        finally:
            subprocess.run([*command, "down", *place], env=environment, stdout=subprocess.DEVNULL, check=True)


def measure(browser: Browser, url: str, link: Link, view: str, visits: int) -> tuple[JsonObject, Wire]:
    """Medians over the visits, and the wire of the last."""
    seen = [visit(browser, url, link, view) for _ in range(visits)]
    names = ("first-contentful-paint", "first_figures", "all_figures", "form")
    medians = {name: [marks[name] for marks, _ in seen if name in marks] for name in names}
    usable = [round(marks[VIEWS[view]]) for marks, _ in seen]
    wire = seen[-1][1]
    row: JsonObject = {
        "link": link.name, "view": view, "usable_ms": round(statistics.median(usable)), "fastest_ms": min(usable),
        "each_ms": [*usable],
        **{f"{name.replace('-', '_')}_ms": round(statistics.median(found)) for name, found in medians.items() if found},
        **wire.to_json(),
    }  # fmt: skip
    return row, wire


def visit(browser: Browser, url: str, link: Link, view: str) -> tuple[dict[str, float], Wire]:
    """One visit with an empty cache: the marks in ms since navigation, and the wire up to when it was usable."""
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script(MARKS)
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", {
        "offline": False, "latency": link.round_trip_ms, "downloadThroughput": link.down_kbit_s * 125,
        "uploadThroughput": link.up_kbit_s * 125,
    })  # fmt: skip
    wire = Wire()
    wire.listen(session)
    page.goto(f"{url}#{view}", wait_until="commit")
    page.wait_for_selector(f"html[data-mark-{VIEWS[view]}]", state="attached", timeout=WAIT_MS)
    marks: dict[str, float] = page.evaluate("globalThis.marks")
    context.close()
    return marks, wire


def table(rows: list[JsonObject]) -> str:
    """Markdown: medians in milliseconds by link and view."""
    lines = [
        "| link | view | first paint | first figures | usable | fastest | requests | bytes |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        cells = (
            row["link"], row["view"], row.get("first_contentful_paint_ms", "–"), row.get("first_figures_ms", "–"),
            row["usable_ms"], row["fastest_ms"], row["requests"], row["bytes"],
        )  # fmt: skip
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
