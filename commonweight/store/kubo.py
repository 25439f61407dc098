"""A Kubo node as content store, over its RPC API (https://docs.ipfs.tech/reference/kubo/rpc/).

Content is cut into blocks here and sent as one CARv1 file to `dag/import`, so that the CIDs are ours whatever the
node's own import settings are; the node pins the root. Content is read back block by block with `block/get`, and each
block is hashed before use: the node is not trusted, and has a time and a size for every answer. Works with any node
that speaks this API, also with gateways of it that ask for a password in the address (`https://user:password@host`),
which is never shown.
"""

import ipaddress
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx

from commonweight.asking import Answer, Asker
from commonweight.errors import StoreError
from commonweight.store.base import MAX_BLOCK_BYTES, ContentStore, unavailable
from commonweight.store.cid import Block, Cid, parse_cid
from commonweight.store.entries import Emit
from commonweight.store.unixfs import car_header, car_section

_SPOOL_BYTES = 16 << 20
_MAX_ORIGINS = 20
_MAX_ANSWER_BYTES = 1 << 20
_SEARCHED_S = 30.0  # waited longer than the node searches, so that its own answer arrives


class KuboStore(ContentStore):
    """A content store on an IPFS node. `fetch_timeout_s` is how long the node may look for a block in its network."""

    def __init__(self, url: str, fetch_timeout_s: float = 30.0) -> None:
        """`url` is the address of the RPC API, with or without `/api/v0`; nothing is sent until the first call."""
        self._address = httpx.URL(url.rstrip("/").removesuffix("/api/v0") + "/api/v0/")
        self.where = str(self._address.copy_with(userinfo=b"", path="/"))
        self._fetch_timeout_s = fetch_timeout_s
        self._http = Asker(self._address, fetch_timeout_s + _SEARCHED_S)

    def close(self) -> None:
        """Close the connections to the node."""
        self._http.close()

    def load_block(self, cid: Cid) -> bytes:
        """The node's bytes for a block; more than the allowed size is not read."""
        return self._block(cid, {})

    def load_held(self, cid: Cid) -> bytes:
        """The same, if the node has the block itself."""
        return self._block(cid, {"offline": "true"})

    def _block(self, cid: Cid, options: Mapping[str, str]) -> bytes:
        params = {"arg": parse_cid(cid), "timeout": f"{self._fetch_timeout_s:g}s", **options}
        try:
            answer = self._http.ask("POST", self._address.join("block/get"), MAX_BLOCK_BYTES + 1, params=params)
        except httpx.HTTPError as problem:
            raise unavailable(cid, [self.where], _network(problem)) from problem
        if answer.status != 200:
            raise unavailable(cid, [self.where], _reason(answer))
        return answer.body

    @contextmanager
    def writing(self) -> Iterator[Emit]:
        """Blocks are gathered in a CAR file (on disk when it is large) and imported when the context is left."""
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as car:
            root: Cid | None = None

            def emit(block: Block) -> None:
                nonlocal root
                if root is None:
                    car.write(car_header(block.cid))
                root = block.cid
                car.write(car_section(block))

            yield emit
            if root is None:
                return
            car.seek(0)
            car.write(car_header(root))  # the last block is the root, and every header has the same length
            car.seek(0)
            for line in self._post("dag/import", {"pin-roots": "true"}, {"file": ("content.car", car)}).splitlines():
                if problem := _pin_problem(line):
                    raise StoreError(f"{self.where} did not keep {root}", problem)

    def pin(self, cid: Cid) -> None:
        """Have the node fetch and keep everything under a CID."""
        try:
            self._post("pin/add", {"arg": parse_cid(cid), "timeout": f"{self._fetch_timeout_s:g}s"})
        except StoreError as problem:
            raise unavailable(cid, [self.where], problem.why) from problem

    def unpin(self, cid: Cid) -> None:
        """Have the node forget the pin; a pin that is not there is no error."""
        try:
            self._post("pin/rm", {"arg": parse_cid(cid)})
        except StoreError as problem:
            if "not pinned" not in problem.why:
                raise

    def origins(self) -> tuple[str, ...]:
        """The node's own addresses that the whole network can reach; none when it does not tell them."""
        try:
            known = json.loads(self._post("id", {}))["Addresses"]
        except (StoreError, ValueError, KeyError, TypeError, RecursionError):
            return ()
        listed = known if isinstance(known, list) else []
        found = [address for address in listed if isinstance(address, str) and _is_public(address)]
        return tuple(found[:_MAX_ORIGINS])

    def _post(self, method: str, params: Mapping[str, str], files: Mapping[str, object] | None = None) -> bytes:
        try:
            answer = self._http.ask("POST", self._address.join(method), _MAX_ANSWER_BYTES, params=params, files=files)
        except httpx.HTTPError as problem:
            raise StoreError(
                f"The IPFS node {self.where} did not take part in {method}",
                _network(problem),
                "check that the node runs and that --store names its RPC address",
            ) from problem
        if answer.status != 200:
            raise StoreError(f"The IPFS node {self.where} refused {method}", _reason(answer), "see the node's log")
        return answer.body


def _reason(answer: Answer) -> str:
    try:
        return str(json.loads(answer.body)["Message"])[:300]
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"HTTP status {answer.status}"


def _pin_problem(line: bytes) -> str:
    """Why a root was not pinned, by one line of what `dag/import` answers; "" when it was, or is not spoken of."""
    try:
        root = json.loads(line).get("Root") if line.strip() else None
        return str(root["PinErrorMsg"])[:300] if root and root.get("PinErrorMsg") else ""
    except (ValueError, AttributeError, TypeError, RecursionError):
        return "its answer is not what an import is answered with"


def _is_public(address: str) -> bool:
    """Whether a multiaddress begins with a name, or an IP address that is not of a local network."""
    parts = address.split("/")
    if len(parts) < 3 or len(address) > 500:
        return False
    if parts[1] in ("dns", "dns4", "dns6", "dnsaddr"):
        return True
    try:
        return parts[1] in ("ip4", "ip6") and ipaddress.ip_address(parts[2]).is_global
    except ValueError:
        return False


def _network(problem: httpx.HTTPError) -> str:
    return f"{type(problem).__name__} {problem}".strip()
