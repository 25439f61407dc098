"""A Kubo node as content store, over its RPC API (https://docs.ipfs.tech/reference/kubo/rpc/).

Content is cut into blocks here and sent as one CARv1 file to `dag/import`, so that the CIDs are ours whatever the
node's own import settings are; the node pins the root. Content is read back block by block with `block/get`, and each
block is hashed before use: the node is not trusted. Works with any node that speaks this API, also with gateways of
it that ask for a password in the address (`https://user:password@host`), which is never shown.
"""

import ipaddress
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from commonweight.errors import StoreError
from commonweight.store.base import MAX_BLOCK_BYTES, ContentStore, unavailable
from commonweight.store.cid import Block, Cid, parse_cid
from commonweight.store.entries import Emit
from commonweight.store.unixfs import car_header, car_section

_SPOOL_BYTES = 16 << 20
_MAX_ORIGINS = 20


class KuboStore(ContentStore):
    """A content store on an IPFS node. `fetch_timeout_s` is how long the node may look for a block in its network."""

    def __init__(self, url: str, fetch_timeout_s: float = 30.0) -> None:
        """`url` is the address of the RPC API, with or without `/api/v0`; nothing is sent until the first call."""
        address = httpx.URL(url.rstrip("/").removesuffix("/api/v0") + "/api/v0/")
        self.where = str(address.copy_with(userinfo=b"", path="/"))
        self._fetch_timeout_s = fetch_timeout_s
        # reading waits longer than the node searches, so that the node's own answer arrives
        timeout = httpx.Timeout(fetch_timeout_s + 30.0, connect=10.0)
        local = address.host in ("localhost", "127.0.0.1", "::1")  # never by way of a proxy
        self._http = httpx.Client(base_url=address, timeout=timeout, follow_redirects=False, trust_env=not local)

    def close(self) -> None:
        """Close the connections to the node."""
        self._http.close()

    def load_block(self, cid: Cid) -> bytes:
        """The node's bytes for a block; more than the allowed size is not read."""
        params = {"arg": parse_cid(cid), "timeout": f"{self._fetch_timeout_s:g}s"}
        try:
            with self._http.stream("POST", "block/get", params=params) as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise unavailable(cid, [self.where], _reason(answer))
                data = bytearray()
                for piece in answer.iter_raw(1 << 16):
                    data += piece
                    if len(data) > MAX_BLOCK_BYTES:
                        break
                return bytes(data)
        except httpx.HTTPError as problem:
            raise unavailable(cid, [self.where], _network(problem)) from problem

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
            lines = self._post("dag/import", {"pin-roots": "true"}, {"file": ("content.car", car)}).splitlines()
            for root_info in (json.loads(line).get("Root") for line in lines if line.strip()):
                if root_info and root_info.get("PinErrorMsg"):
                    raise StoreError(f"{self.where} did not keep {root}", str(root_info["PinErrorMsg"]))

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
        except (StoreError, ValueError, KeyError, TypeError):
            return ()
        found = [address for address in known or () if isinstance(address, str) and _is_public(address)]
        return tuple(found[:_MAX_ORIGINS])

    def _post(self, method: str, params: dict[str, str], files: "dict[str, tuple[str, object]] | None" = None) -> bytes:
        try:
            answer = self._http.post(method, params=params, files=files)  # type: ignore[arg-type]
        except httpx.HTTPError as problem:
            raise StoreError(
                f"The IPFS node {self.where} did not take part in {method}",
                _network(problem),
                "check that the node runs and that --store names its RPC address",
            ) from problem
        if answer.status_code != 200:
            raise StoreError(f"The IPFS node {self.where} refused {method}", _reason(answer), "see the node's log")
        return answer.content


def _reason(answer: httpx.Response) -> str:
    try:
        return str(json.loads(answer.content)["Message"])[:300]
    except (ValueError, KeyError, TypeError):
        return f"HTTP status {answer.status_code}"


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
