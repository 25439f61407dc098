"""What `commonweight dashboard` sends: compressed, with the right caching, under a policy that names what it allows."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from commonweight.cli.dashboard import PAGE, Site, make_server
from commonweight.errors import UsageError
from commonweight.store import Cid, FolderStore, cid_of
from tests.conftest import ROOT

IMPORT = re.compile(r'^import .*? from "([^"]+)";', re.MULTILINE)
RUN = "0x" + "ab" * 20


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """The address of a running site."""
    config = {"rpc": ["http://rpc.example:8545/key"], "run": RUN, "gateways": [".", "https://gateway.example"]}
    server = make_server(Site(config, FolderStore(tmp_path / "store")), "127.0.0.1:0")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers, trust_env=False, verify=False, timeout=60)


@pytest.mark.unit
def test_text_is_compressed_and_asked_for_again_by_its_tag(site: str) -> None:
    answer = get(f"{site}/js/main.js", **{"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.content == (PAGE / "js" / "main.js").read_bytes()
    assert int(answer.headers["content-length"]) < len(answer.content) / 2
    plain = get(f"{site}/js/main.js", **{"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == answer.content
    again = get(f"{site}/js/main.js", **{"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""


@pytest.mark.unit
def test_what_carries_its_version_is_kept_for_good(site: str) -> None:
    (vendored,) = PAGE.glob("vendor/*.js")
    assert "immutable" in get(f"{site}/vendor/{vendored.name}").headers["cache-control"]
    assert get(f"{site}/vendor/VENDORED.json").headers["cache-control"] == "no-cache"
    assert get(f"{site}/config.json").headers["cache-control"] == "no-store"


@pytest.mark.unit
def test_the_policy_allows_exactly_the_addresses_that_the_page_is_told(site: str) -> None:
    policy = get(f"{site}/").headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'self' {inline_hash()}"
    assert rules["require-trusted-types-for"] == "'script'"
    assert rules["connect-src"] == "'self' http://rpc.example:8545 https://gateway.example"
    told = get(f"{site}/?rpc=https://other.example/key&run={RUN}").headers["content-security-policy"]
    assert "https://other.example" in told.split("connect-src")[1]
    evils = ("https://a.example;script-src *", "https://a.example x", "javascript:alert(1)", "https://a\r\nX: y")
    for evil in evils:
        answer = httpx.get(f"{site}/", params={"rpc": evil}, trust_env=False, verify=False)
        found = answer.headers["content-security-policy"]
        assert found == policy


def inline_hash() -> str:
    """The one script within the page, as a policy names it."""
    (script,) = re.findall(r"<script>(.*?)</script>", (PAGE / "index.html").read_text(), re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@pytest.mark.unit
def test_the_pages_own_policy_names_the_script_within_it_by_its_hash() -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', (PAGE / "index.html").read_text())
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["script-src"] == f"'self' {inline_hash()}"


@pytest.mark.unit
def test_the_page_carries_what_it_is_told_as_text_and_nothing_else(tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script>'
    config: dict[str, object] = {"rpc": ["http://rpc.example:8545/key"], "run": RUN, "live": evil}
    page = Site(config, FolderStore(tmp_path / "store")).find("/").body.decode()
    (told,) = re.findall(r'<meta name="served" content="([^"]+)">', page)
    assert json.loads(html.unescape(told)) == config
    assert evil not in page
    assert '<link rel="preconnect" href="http://rpc.example:8545" crossorigin>' in page
    assert "config.json" not in page.partition("<body>")[0]  # nothing is fetched that is there


@pytest.mark.unit
def test_content_comes_by_cid_as_raw_blocks_for_any_page(site: str, tmp_path: Path) -> None:
    cid = FolderStore(tmp_path / "store").put(b"evidence")
    answer = get(f"{site}/ipfs/{cid}?format=raw")
    assert answer.content == b"evidence"
    assert answer.headers["content-type"] == "application/vnd.ipld.raw"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["access-control-allow-origin"] == "*"
    absent = FolderStore(tmp_path / "other").put(b"another")
    assert get(f"{site}/ipfs/{absent}").status_code == 404
    assert "is not available" in get(f"{site}/ipfs/{absent}").json()["error"]


@pytest.mark.unit
def test_content_that_nobody_has_keeps_nobody_from_what_is_here(tmp_path: Path) -> None:
    searched, done = threading.Semaphore(0), threading.Event()

    class Searching(FolderStore):
        """Searches for what it has not until the test is over."""

        def load_block(self, cid: Cid) -> bytes:
            searched.release()
            done.wait(60)
            return super().load_block(cid)

        def load_held(self, cid: Cid) -> bytes:
            return super().load_block(cid)

    store = Searching(tmp_path / "store")
    here, site = store.put(b"evidence"), Site({}, store)
    asked = [threading.Thread(target=site.find, args=(f"/ipfs/{cid_of(b'%d' % number)}",)) for number in range(8)]
    for thread in asked:
        thread.start()
    assert all(searched.acquire(timeout=60) for _ in asked)
    try:
        assert site.find(f"/ipfs/{here}").body == b"evidence"
        assert b"ask again later" in site.find(f"/ipfs/{cid_of(b'one more')}").body
    finally:
        done.set()
        for thread in asked:
            thread.join()
    assert b"is not available" in site.find(f"/ipfs/{cid_of(b'one more')}").body


@pytest.mark.unit
@pytest.mark.parametrize("path", ["/../main.py", "/%2e%2e/cli/main.py", "/js/../../abi/ERC20.json", "/nothing", "/js"])
def test_nothing_but_the_pages_files_is_served(site: str, path: str) -> None:
    request = httpx.Request("GET", httpx.URL(site).copy_with(raw_path=path.encode()))
    with httpx.Client(trust_env=False, verify=False) as client:
        assert client.send(request).status_code == 404


@pytest.mark.unit
def test_an_address_that_is_taken_or_none_is_explained(tmp_path: Path) -> None:
    site = Site({}, FolderStore(tmp_path / "store"))
    server = make_server(site, "127.0.0.1:0")
    with pytest.raises(UsageError, match="cannot be listened on"):
        make_server(site, f"127.0.0.1:{server.server_address[1]}")
    server.server_close()
    with pytest.raises(UsageError, match="not an address to listen on"):
        make_server(site, "somewhere")


@pytest.mark.unit
def test_the_command_serves_what_it_is_told_and_ends_on_interrupt(tmp_path: Path) -> None:
    words = ["--run", RUN, "--rpc", "http://127.0.0.1:1", "--store", str(tmp_path / "s"), "--listen", "127.0.0.1:0"]
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "commonweight.cli.main", "dashboard", *words, "--json"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        while lines[-1].rstrip() != "}":
            lines.append(process.stdout.readline())
        said = json.loads("".join(lines))
        told = {"rpc": ["http://127.0.0.1:1"], "gateways": ["."], "run": RUN, "live": "live.json"}
        assert get(f"{said['url']}config.json").json() == told
        assert "chain" in get(f"{said['url']}live.json").json()["error"]  # none answers there, and it says so
        assert "<title>Commonweight" in get(said["url"]).text
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    finally:
        process.kill()
        process.communicate()


@pytest.mark.unit
def test_vendored_files_are_those_that_are_listed() -> None:
    folder = PAGE / "vendor"
    listed = json.loads((folder / "VENDORED.json").read_text())
    assert {entry["file"] for entry in listed} | {"VENDORED.json"} == {path.name for path in folder.iterdir()}
    for entry in listed:
        assert hashlib.sha256((folder / entry["file"]).read_bytes()).hexdigest() == entry["sha256"], entry["file"]
        assert entry["version"] in entry["file"]
        assert entry["version"] in entry["source"]


@pytest.mark.unit
def test_the_generated_files_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "export_web.py"), "--check"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.unit
def test_the_page_names_no_foreign_origin_and_preloads_what_its_first_look_imports() -> None:
    page = (PAGE / "index.html").read_text()
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
    assert len(gzip.compress(page.encode(), 9)) < 4000
    preloaded = set(re.findall(r'modulepreload" href="([^"]+)"', page))
    assert len(preloaded) + 1 <= 12  # with the style sheet: two waves over a browser's six connections
    assert preloaded == _reachable("js/main.js")


def _reachable(start: str) -> set[str]:
    """The modules that a module imports at once, itself included."""
    found: set[str] = set()
    queue = [PAGE / start]
    while queue:
        path = queue.pop()
        name = path.relative_to(PAGE).as_posix()
        if name not in found:
            found.add(name)
            queue += [(path.parent / at).resolve() for at in IMPORT.findall(path.read_text())]
    return found
