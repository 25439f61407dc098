"""The client of pinning services, against a server that speaks the public API: tokens, pages, states, refusals."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from commonweight.errors import ConfigError, StoreError
from commonweight.store import Cid, cid_of
from commonweight.store.pinning import PinningService, open_pinning, read_token

pytestmark = pytest.mark.unit

TOKEN = "a-secret-token"
CIDS = [cid_of(b"%d" % number) for number in range(25)]
PAGE = 10


@dataclass
class Shelf:
    """What the server keeps: the OpenAPI document's PinStatus objects, the newest last."""

    pins: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    nonsense: bytes | None = None

    def add(self, pin: dict[str, Any], status: str = "queued") -> dict[str, Any]:
        number = len(self.pins)
        made = {
            "requestid": f"a/b {number}", "status": status, "created": f"2026-01-01T00:00:{number:02d}.000Z",
            "pin": pin, "delegates": ["/ip4/192.0.2.1/tcp/4001/p2p/12D3KooWExample"], "info": {"status_details": "ok"},
        }  # fmt: skip
        self.pins.append(made)
        return made


class Handler(BaseHTTPRequestHandler):
    """GET, POST /pins and GET, DELETE /pins/{requestid} of the Pinning Service API 1.0."""

    shelf: Shelf

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: object) -> None:
        raw = self.shelf.nonsense if self.shelf.nonsense is not None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def refuse(self, status: int, reason: str, details: str) -> None:
        self.answer(status, {"error": {"reason": reason, "details": details}})

    def allowed(self) -> bool:
        self.shelf.tokens.append(self.headers.get("Authorization", ""))
        if self.shelf.tokens[-1] == f"Bearer {TOKEN}":
            return True
        self.refuse(401, "UNAUTHORIZED", "Access token is missing or invalid")
        return False

    def found(self) -> dict[str, Any] | None:
        request = unquote(urlsplit(self.path).path.removeprefix("/psa/pins/"))
        return next((pin for pin in self.shelf.pins if pin["requestid"] == request), None)

    def do_GET(self) -> None:
        if not self.allowed():
            return
        url = urlsplit(self.path)
        if url.path == "/psa/pins":
            self.answer(200, self.page({name: values[0] for name, values in parse_qs(url.query).items()}))
        elif (pin := self.found()) is not None:
            self.answer(200, pin)
        else:
            self.refuse(404, "NOT_FOUND", "The specified resource was not found")

    def page(self, query: dict[str, str]) -> dict[str, Any]:
        statuses = query.get("status", "pinned").split(",")
        match = [pin for pin in reversed(self.shelf.pins) if pin["status"] in statuses]
        if "cid" in query:
            match = [pin for pin in match if pin["pin"]["cid"] in query["cid"].split(",")]
        if "name" in query:
            assert query["match"] == "partial"
            match = [pin for pin in match if query["name"] in (pin["pin"].get("name") or "")]
        if "before" in query:
            match = [pin for pin in match if pin["created"] < query["before"]]
        return {"count": len(match), "results": match[: min(PAGE, int(query["limit"]))]}

    def do_POST(self) -> None:
        if not self.allowed():
            return
        pin = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(202, self.shelf.add(pin))

    def do_DELETE(self) -> None:
        if not self.allowed():
            return
        pin = self.found()
        if pin is None:
            self.refuse(404, "NOT_FOUND", "The specified resource was not found")
            return
        self.shelf.pins.remove(pin)
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def shelf() -> Iterator[tuple[Shelf, str]]:
    shelf = Shelf()
    handler = type("Bound", (Handler,), {"shelf": shelf})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield shelf, f"http://127.0.0.1:{server.server_address[1]}/psa/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def service(shelf: tuple[Shelf, str]) -> Iterator[PinningService]:
    service = PinningService(shelf[1], TOKEN)
    yield service
    service.close()


def test_a_pin_is_added_looked_up_listed_and_removed(shelf: tuple[Shelf, str], service: PinningService) -> None:
    made = service.add(CIDS[0], "run/1/evidence", ["/ip4/192.0.2.7/tcp/4001"])
    assert (made.status, made.cid, made.name) == ("queued", CIDS[0], "run/1/evidence")
    assert shelf[0].pins[0]["pin"]["origins"] == ["/ip4/192.0.2.7/tcp/4001"]
    shelf[0].pins[0]["status"] = "pinned"
    assert service.status(made.request).status == "pinned"
    assert [pin.request for pin in service.list()] == [made.request]
    service.remove(made.request)
    assert list(service.list()) == []
    service.remove(made.request)  # it is gone already


def test_what_is_not_pinned_yet_is_listed_too_on_every_page(shelf: tuple[Shelf, str], service: PinningService) -> None:
    for number, cid in enumerate(CIDS):
        status = ("queued", "pinning", "pinned", "failed")[number % 4]
        shelf[0].add({"cid": cid, "name": f"run/{number}"}, status)
    shelf[0].add({"cid": "QmNotOfOurForm"}, "pinned")  # somebody else's, without a name
    assert {pin.cid for pin in service.list(name="run/")} == set(CIDS)
    assert len(list(service.list())) == len(CIDS) + 1
    assert [pin.cid for pin in service.list(cids=[CIDS[3]])] == [CIDS[3]]
    assert all(pin.status == "failed" for pin in service.list(statuses=["failed"]))


def test_keep_asks_once_and_again_after_a_failure(shelf: tuple[Shelf, str], service: PinningService) -> None:
    first = service.keep(CIDS[0], "run/1")
    assert service.keep(CIDS[0], "run/1") == first
    shelf[0].pins[0]["status"] = "failed"
    again = service.keep(CIDS[0], "run/1")
    assert again.status == "queued"
    assert len(shelf[0].pins) == 1


def test_a_wrong_token_is_said_and_never_shown(shelf: tuple[Shelf, str]) -> None:
    service = PinningService(shelf[1], "another-secret")
    with pytest.raises(StoreError, match="UNAUTHORIZED") as refused:
        list(service.list())
    assert "another-secret" not in str(refused.value)
    assert "another-secret" not in repr(service)
    service.close()


@pytest.mark.parametrize("nonsense", [b"", b"[]", b"{}", b"\xff\xfe", b'{"count": 1, "results": [{}]}'])
def test_nonsense_is_an_error_by_name(shelf: tuple[Shelf, str], service: PinningService, nonsense: bytes) -> None:
    shelf[0].nonsense = nonsense
    with pytest.raises(StoreError, match="nonsense"):
        list(service.list())


def test_a_service_that_is_not_there_is_an_error_by_name() -> None:
    service = PinningService("http://127.0.0.1:9", TOKEN, timeout_s=2)
    with pytest.raises(StoreError, match="did not answer"):
        service.add(Cid(CIDS[0]), "name")
    service.close()


def test_the_token_comes_from_file_or_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert read_token({}, file) == TOKEN
    assert read_token({"COMMONWEIGHT_PIN_TOKEN_FILE": str(file)}) == TOKEN
    assert read_token({"COMMONWEIGHT_PIN_TOKEN": TOKEN}) == TOKEN
    for environment in ({}, {"COMMONWEIGHT_PIN_TOKEN": "two words"}, {"COMMONWEIGHT_PIN_TOKEN_FILE": "/nowhere"}):
        with pytest.raises(ConfigError):
            read_token(environment)


def test_a_token_is_never_sent_in_the_clear(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="in the clear"):
        PinningService("http://pins.example", TOKEN)
    open_pinning("https://pins.example", None, {"COMMONWEIGHT_PIN_TOKEN": TOKEN}).close()
