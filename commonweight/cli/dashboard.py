"""`commonweight dashboard`: serves the web page, and the content store by CID, from this computer.

The page is static and works from any web server. What this one adds: its `config.json` names the run, the RPC address
and itself as a content gateway, and the page carries the same within, which saves a round trip; answers are compressed;
the content security policy names exactly the addresses that the page may speak to, and the one script within the page
by its hash; and it passes on what a signer says of the round under way. No figure about money passes through here: the
page asks the chain itself, and hashes every block of content.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Annotated
from urllib.parse import parse_qs, urlsplit

import typer

from commonweight.cli.options import ConfigOption, JsonOption, ListenOption, RpcOption, RunOption, StoreOption
from commonweight.cli.provider import read_peers
from commonweight.cli.session import Session
from commonweight.cli.watching import Watch, watch
from commonweight.errors import CommonweightError, StoreError, UsageError

if TYPE_CHECKING:
    from commonweight.store import ContentStore

PAGE = Path(__file__).resolve().parent.parent / "web"
DEFAULT_LISTEN = "127.0.0.1:8600"
_MAX_SEARCHES = 8
GatewayOption = Annotated[
    str | None,
    typer.Option("--gateway", help="More content gateways for the page, separated by commas.", metavar="URL"),
]
PeersOption = Annotated[
    Path | None,
    typer.Option("--peers", help="JSON file: signer address to HOST:PORT, for the round now (default: the run's own)."),
]
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_DOCUMENTS = ("text/html", "image/svg")  # what a browser can open as a page that runs scripts
_FOREVER = "public, max-age=31536000, immutable"  # what has its version or its hash in its name
_ASK_AGAIN = "no-cache"
_CONTENT = re.compile(r"/ipfs/(b[a-z2-7]{58})")
_ORIGIN = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
_PRELOAD = b'<link rel="preload" href="config.json" as="fetch" crossorigin="anonymous">'
_WITHIN = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
_POLICY = (
    "default-src 'none'; script-src 'self'{scripts}; style-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'; "
    "connect-src 'self'"
)


def dashboard(
    run: RunOption = None,
    rpc: RpcOption = None,
    store: StoreOption = None,
    listen: ListenOption = None,
    gateway: GatewayOption = None,
    peers: PeersOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve the web page of a run until interrupted. Visitors are told the RPC address: give one without a key."""
    session = Session({"run": run, "rpc": rpc, "store": store, "listen": listen}, config=config, as_json=as_json)
    settings = session.settings
    gateways = tuple(part.strip() for part in (gateway or "").split(",") if part.strip())
    served: dict[str, object] = {"rpc": list(settings.rpc), "gateways": [".", *gateways]}
    if settings.run is not None:
        served.update(run=settings.run, live="live.json")
    named = read_peers(peers)
    site = Site(served, session.own_store, Live(lambda: watch(session, named)))
    server = make_server(site, settings.listen or DEFAULT_LISTEN)
    host, port = str(server.server_address[0]), int(server.server_address[1])
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    session.output.result(
        {"url": url, "run": settings.run, "pid": _pid()},
        title=f"The page is at {url}",
        rows=[("run", settings.run or "to be named in the page"), ("to stop", "Ctrl-C")],
    )
    try:
        server.serve_forever(poll_interval=0.2)
    finally:
        server.server_close()


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, ready to be sent; `packed` is the body compressed, None where that would not make it smaller."""

    body: bytes
    kind: str
    caching: str
    tag: str
    packed: bytes | None = None
    status: HTTPStatus = HTTPStatus.OK


def answer(body: bytes, kind: str, caching: str, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    """An answer with its tag and, for text, its compressed form."""
    packed = gzip.compress(body, 9, mtime=0) if kind.startswith(("text/", "application/json", "image/svg")) else None
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return Answer(body, kind, caching, tag, packed if packed is not None and len(packed) < len(body) else None, status)


@dataclass
class Live:
    """What signers tell about the round under way; the watch is made when first asked for, again should that fail."""

    make: Callable[[], Watch]
    _watch: Watch | None = field(default=None, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def told(self) -> Mapping[str, object]:
        """The status, or `error` with the reason why there is none."""
        with self._lock:
            try:
                self._watch = self._watch or self.make()
            except CommonweightError as error:
                return {"error": str(error)}
        return self._watch.told()


@dataclass
class Site:
    """What is served: the page's files, `config.json`, and blocks of a content store."""

    config: Mapping[str, object]
    store: ContentStore
    live: Live | None = None
    page: Path = PAGE
    _searches: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(_MAX_SEARCHES), repr=False)

    def find(self, path: str) -> Answer:
        """The answer for a path."""
        if path == "/config.json":
            return answer(json.dumps(self.config).encode(), _TYPES[".json"], "no-store")
        if path == "/live.json" and self.live is not None:
            return answer(json.dumps(self.live.told()).encode(), _TYPES[".json"], "no-store")
        content = _CONTENT.fullmatch(path)
        if content is not None:
            return self._block(content[1])
        if path in ("/", "/index.html"):
            return self._index((self.page / "index.html").read_bytes())
        file = self._files().get(path)
        if file is None:
            return missing(f"There is no {path[:200]} here.")
        caching = _FOREVER if path.startswith("/vendor/") and file.suffix != ".json" else _ASK_AGAIN
        return _read(file, file.stat().st_mtime_ns, caching)

    def policy(self, query: str) -> str:
        """The content security policy of the page: it may speak to the addresses that it is told, and to no others."""
        told = [part for urls in parse_qs(query).values() for url in urls for part in url.split(",")]
        named = [str(url) for key in ("rpc", "gateways") for url in _listed(self.config.get(key))]
        origins = {origin for url in (*named, *told) if (origin := _origin(url)) is not None}
        index = self.page / "index.html"
        return " ".join([_POLICY.format(scripts=_hashes(index, index.stat().st_mtime_ns)), *sorted(origins)])

    def _index(self, text: bytes) -> Answer:
        """The page with the configuration in the place of its preload, and the first RPC address to connect to."""
        lines = [f'<meta name="served" content="{html.escape(json.dumps(self.config))}">']
        origin = next((found for url in _listed(self.config.get("rpc")) if (found := _origin(str(url)))), None)
        if origin is not None:
            lines.append(f'<link rel="preconnect" href="{html.escape(origin)}" crossorigin>')
        return answer(text.replace(_PRELOAD, "\n  ".join(lines).encode()), _TYPES[".html"], _ASK_AGAIN)

    def _files(self) -> Mapping[str, Path]:
        return {f"/{p.relative_to(self.page).as_posix()}": p for p in self.page.rglob("*") if p.suffix in _TYPES}

    def _block(self, cid: str) -> Answer:
        """A block at once if the store has it; else a few at a time may be searched for in the store's network."""
        from commonweight.store import parse_cid

        try:
            name = parse_cid(cid)
            try:
                data = self.store.held_block(name)
            except StoreError:
                if not self._searches.acquire(blocking=False):
                    return missing(f"{cid} is not here, and other content is being searched for; ask again later.")
                try:
                    data = self.store.get_block(name)
                finally:
                    self._searches.release()
        except CommonweightError as error:
            return missing(str(error))
        return Answer(data, "application/vnd.ipld.raw", _FOREVER, f'"{cid}"')


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD; keeps connections open, since the page is made of many small files."""

    protocol_version = "HTTP/1.1"
    server_version = "commonweight"
    sys_version = ""
    timeout = 30
    disable_nagle_algorithm = True
    site: Site

    def do_GET(self) -> None:
        """Send the answer for the path."""
        self._send(with_body=True)

    def do_HEAD(self) -> None:
        """Send its headers."""
        self._send(with_body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it has there
        """Say nothing: a visitor's address is nobody's business."""

    def _send(self, *, with_body: bool) -> None:
        parts = urlsplit(self.path)
        found = self.site.find(parts.path)
        packed = found.packed if "gzip" in self.headers.get("Accept-Encoding", "") else None
        body = found.body if packed is None else packed
        known = found.status is HTTPStatus.OK and found.tag in self.headers.get("If-None-Match", "")
        self.send_response(HTTPStatus.NOT_MODIFIED if known else found.status)
        self.send_header("ETag", found.tag)
        self.send_header("Cache-Control", found.caching)
        self.send_header("Vary", "Accept-Encoding")
        self.send_header("X-Content-Type-Options", "nosniff")
        if found.kind.startswith(_DOCUMENTS):  # of no meaning for the rest, and half a kilobyte each
            self.send_header("Referrer-Policy", "no-referrer")
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Content-Security-Policy", self.site.policy(parts.query))
        if parts.path.startswith("/ipfs/"):
            self.send_header("Access-Control-Allow-Origin", "*")
        if not known:
            self.send_header("Content-Type", found.kind)
            self.send_header("Content-Length", str(len(body)))
            if packed is not None:
                self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        if with_body and not known:
            self.wfile.write(body)


def make_server(site: Site, listen: str) -> ThreadingHTTPServer:
    """A server that is bound and not yet serving. Raises UsageError for an address that cannot be listened on."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdigit():
        raise UsageError(f"{listen} is not an address to listen on.", "", "Give HOST:PORT, like 127.0.0.1:8600.")
    import socket

    handler = type("SiteHandler", (Handler,), {"site": site})
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    backlog = 128  # a visitor opens six connections at once; one that finds no room waits a second or more to try again
    kind = type("Server", (ThreadingHTTPServer,), {"address_family": family, "request_queue_size": backlog})
    try:
        server: ThreadingHTTPServer = kind((host, int(port)), handler)
    except (OSError, OverflowError) as error:
        raise UsageError(f"{listen} cannot be listened on.", str(error), "Choose another by --listen.") from None
    server.daemon_threads = True
    return server


def missing(why: str) -> Answer:
    """An answer that says what is not here."""
    return answer(json.dumps({"error": why}).encode(), _TYPES[".json"], "no-store", HTTPStatus.NOT_FOUND)


@cache
def _read(file: Path, modified_ns: int, caching: str) -> Answer:
    del modified_ns  # part of the key: an edited file is read again
    return answer(file.read_bytes(), _TYPES[file.suffix], caching)


@cache
def _hashes(file: Path, modified_ns: int) -> str:
    """What the policy says of the scripts within a page: each by the hash of its text."""
    del modified_ns
    digests = (hashlib.sha256(text).digest() for text in _WITHIN.findall(file.read_bytes()))
    return "".join(f" 'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _origin(url: str) -> str | None:
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return None
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme not in ("http", "https") or not _ORIGIN.fullmatch(host):
        return None
    return f"{parts.scheme}://{host}"


def _pid() -> int:
    import os

    return os.getpid()
