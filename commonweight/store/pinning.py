"""Pins at a remote service, by the IPFS Pinning Service API 1.0 (https://ipfs.github.io/pinning-services-api-spec/).

A service is asked to keep what a CID names; it fetches the content from the network by itself, so the store behind it
must be a node that others reach. The token comes from a file or the environment, never from an argument, and appears
in no error. A service is not trusted with more than keeping: whatever is read back is verified against its CID.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, get_args
from urllib.parse import quote

import httpx
from pydantic import BaseModel, Field, ValidationError

from commonweight.asking import Answer, Asker
from commonweight.errors import ConfigError, StoreError
from commonweight.protocol.canonical import JsonObject
from commonweight.store.cid import Cid, parse_cid

__all__ = ["ENVIRONMENT", "PinningService", "RemotePin", "open_pinning", "read_token"]

ENVIRONMENT = "COMMONWEIGHT_PIN_TOKEN"
ENVIRONMENT_FILE = "COMMONWEIGHT_PIN_TOKEN_FILE"
Status = Literal["queued", "pinning", "pinned", "failed"]
_STATUSES: tuple[Status, ...] = get_args(Status)
_PAGE = 1000
_MAX_NAME = 255
_MAX_ANSWER_BYTES = 16 << 20  # a page of pins with all their delegates
M = TypeVar("M", bound=BaseModel)


class _Pin(BaseModel):
    """The API's Pin, as far as it is read here; fields of later versions are passed over."""

    cid: str = Field(max_length=256)
    name: str | None = Field(None, max_length=_MAX_NAME)


class _PinStatus(BaseModel):
    """The API's PinStatus."""

    requestid: str = Field(max_length=256)
    status: Status
    created: str = Field(max_length=64)
    pin: _Pin
    delegates: list[str] = Field(default_factory=list, max_length=100)

    def to_pin(self) -> RemotePin:
        """As the rest of the project knows it."""
        name = self.pin.name or ""
        return RemotePin(self.requestid, self.status, self.created, self.pin.cid, name, tuple(self.delegates))


class _PinResults(BaseModel):
    """The API's PinResults."""

    count: int = Field(ge=0)
    results: list[_PinStatus] = Field(max_length=_PAGE)


@dataclass(frozen=True)
class RemotePin:
    """One request at a service: what it is about, where it stands, and the service's own multiaddresses.

    `cid` is as the service writes it: requests of others at the same account may be of any form.
    """

    request: str
    status: Status
    created: str
    cid: str
    name: str
    delegates: tuple[str, ...]


class PinningService:
    """Adds, lists, looks up and removes pins. Calls block: an event loop runs them in a thread."""

    def __init__(self, url: str, token: str, timeout_s: float = 30.0) -> None:
        """`url` is the service's endpoint without `/pins`; nothing is sent until the first call."""
        address = httpx.URL(url.rstrip("/") + "/")
        if address.scheme not in ("http", "https") or not address.host:
            raise ConfigError(f"{url} is not the address of a pinning service", "", "give its http(s):// endpoint")
        local = address.host in ("localhost", "127.0.0.1", "::1")
        if address.scheme == "http" and not local:
            raise ConfigError(
                f"{url} would send the token in the clear", "the address is http://", "use the service's https:// one"
            )
        self.where = str(address.copy_with(userinfo=b"", query=None))
        self._address = address
        self._http = Asker(address, timeout_s, {"Authorization": f"Bearer {token}"})

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def add(self, cid: Cid, name: str, origins: Sequence[str] = ()) -> RemotePin:
        """Ask for a pin. `origins` are multiaddresses that have the content. Raises StoreError."""
        pin: JsonObject = {"cid": str(parse_cid(cid)), "name": name[:_MAX_NAME]}
        if origins:
            pin["origins"] = list(origins)
        return self._ask(_PinStatus, "POST", "pins", body=pin).to_pin()

    def status(self, request: str) -> RemotePin:
        """Where a request stands. Raises StoreError."""
        return self._ask(_PinStatus, "GET", _place(request)).to_pin()

    def remove(self, request: str) -> None:
        """Withdraw a request; one that is gone already is no error. Raises StoreError."""
        self._call("DELETE", _place(request), gone=True)

    def list(
        self, *, name: str = "", cids: Sequence[Cid] = (), statuses: Sequence[Status] = _STATUSES
    ) -> Iterator[RemotePin]:
        """All requests with these names, CIDs and states, the newest first. `name` matches what begins with it.

        Raises StoreError.
        """
        params = {"status": ",".join(statuses), "limit": str(_PAGE)}
        if name:
            params |= {"name": name, "match": "partial"}
        if cids:
            params["cid"] = ",".join(cids)
        seen: set[str] = set()
        while True:
            answer = self._ask(_PinResults, "GET", "pins", params=params)
            count, found = answer.count, [one.to_pin() for one in answer.results]
            fresh = [pin for pin in found if pin.request not in seen]
            seen |= {pin.request for pin in fresh}
            yield from (pin for pin in fresh if pin.name.startswith(name))
            if count <= len(found) or not fresh:
                return
            params["before"] = min(pin.created for pin in found)

    def keep(self, cid: Cid, name: str, origins: Sequence[str] = ()) -> RemotePin:
        """The pin of a CID under a name, asked for unless it is there; one that failed is asked for again."""
        for pin in self.list(name=name, cids=[cid]):
            if pin.status != "failed":
                return pin
            self.remove(pin.request)
        return self.add(cid, name, origins)

    # --- one request -------------------------------------------------------------------------------------------------

    def _call(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: JsonObject | None = None,
        gone: bool = False,
    ) -> bytes:  # fmt: skip
        try:
            address = self._address.join(path)
            answer = self._http.ask(method, address, _MAX_ANSWER_BYTES, params=params, json=body)
        except httpx.HTTPError as problem:
            raise StoreError(
                f"The pinning service {self.where} did not answer",
                f"{type(problem).__name__} {problem}".strip(),
                "check its address and the network; it is asked again",
            ) from problem
        if not 200 <= answer.status < 300 and not (gone and answer.status == httpx.codes.NOT_FOUND):
            fix = "check the token" if answer.status in (401, 403) else "see the service's documentation"
            raise StoreError(f"The pinning service {self.where} refused {method} {path}", _reason(answer), fix)
        return answer.body

    def _ask(
        self, kind: type[M], method: str, path: str, *, params: Mapping[str, str] | None = None,
        body: JsonObject | None = None,
    ) -> M:  # fmt: skip
        try:
            return kind.model_validate_json(self._call(method, path, params=params, body=body))
        except ValidationError as problem:
            why = str(problem.errors()[0]["msg"])[:200]
            raise StoreError(f"The pinning service {self.where} answered nonsense", why) from problem


def read_token(environment: Mapping[str, str], file: Path | None = None) -> str:
    """The access token, from `file`, the file that COMMONWEIGHT_PIN_TOKEN_FILE names, or COMMONWEIGHT_PIN_TOKEN.

    Raises ConfigError when there is none.
    """
    named = file or (Path(environment[ENVIRONMENT_FILE]) if environment.get(ENVIRONMENT_FILE) else None)
    try:
        token = environment.get(ENVIRONMENT, "") if named is None else named.read_text()
    except OSError as problem:
        raise ConfigError("The pinning service's token cannot be read", str(problem), "name another file") from problem
    token = token.strip()
    if not token or not token.isascii() or any(letter.isspace() for letter in token):
        raise ConfigError(
            "There is no token for the pinning service",
            "a token is one word" if token else "none was given",
            f"put it into a file and name that by --pin-token-file or {ENVIRONMENT_FILE}",
        )
    return token


def open_pinning(url: str, token_file: Path | None, environment: Mapping[str, str] | None = None) -> PinningService:
    """The service at an address, with the token from file or environment. Raises ConfigError."""
    return PinningService(url, read_token(os.environ if environment is None else environment, token_file))


def _place(request: str) -> str:
    return "pins/" + quote(request, safe="")


def _reason(answer: Answer) -> str:
    """The service's own words: `{"error": {"reason", "details"}}`, or the status."""
    try:
        error = json.loads(answer.body)["error"]
        return f"{error['reason']}: {error.get('details', '')}".strip(": ")[:300]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"HTTP status {answer.status}"
