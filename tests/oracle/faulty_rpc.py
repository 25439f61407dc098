"""A node's RPC that is there and cannot be relied on: a proxy in front of the real one, whose faults are switched."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import httpx

FAULTS = ("", "silent", "garbage", "errors", "lag", "lies")


class FaultyRpc:
    """`fault` is one of FAULTS; `url` is its address.

    "silent" answers nothing for a while, "garbage" no JSON, "errors" the node's own kind of errors, "lag" as a node
    that knows nothing newer than `lag` blocks ago, "lies" other hashes for blocks and no logs.
    """

    def __init__(self, upstream: str, lag: int = 20) -> None:
        self.upstream, self.lag, self.fault = upstream, lag, ""
        self.asked = 0
        self._client = httpx.Client(timeout=30, trust_env=False, verify=False)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                raw = proxy.answer(body)
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._client.close()

    def answer(self, body: bytes) -> bytes:
        self.asked += 1
        if self.fault == "silent":
            time.sleep(12)
        if self.fault == "garbage":
            return b"<html>502 Bad Gateway</html>"
        request = json.loads(body)
        asked = request["method"]
        if self.fault == "errors":
            error = {"code": -32603, "message": "internal error"}
            return json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode()
        if self.fault == "lag":
            request = self._earlier(request)
        reply = self._client.post(self.upstream, json=request).json()
        if self.fault == "lag" and asked == "eth_blockNumber":
            reply = {**reply, "result": reply["result"]["number"]}
        if self.fault == "lies":
            reply = self._lie(request, reply)
        return json.dumps(reply).encode()

    def _head(self) -> int:
        asked = {"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []}
        return int(self._client.post(self.upstream, json=asked).json()["result"], 16)

    def _earlier(self, request: dict[str, Any]) -> dict[str, Any]:
        """The same request to a node that knows nothing newer."""
        at = hex(max(0, self._head() - self.lag))
        params = [at if p in ("latest", "finalized", "safe", "pending") else p for p in request["params"]]
        if request["method"] == "eth_blockNumber":
            return {**request, "method": "eth_getBlockByNumber", "params": [at, False]}
        return {**request, "params": params}

    def _lie(self, request: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
        found = reply.get("result")
        if request["method"] == "eth_getLogs":
            return {**reply, "result": []}
        if request["method"].startswith("eth_getBlock") and isinstance(found, dict):
            return {**reply, "result": {**found, "hash": "0x" + "ab" * 32}}
        return reply
