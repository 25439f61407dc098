"""The wallet of the browser tests: accounts that the node itself signs for, and a person who can say no."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import httpx
from playwright.async_api import BrowserContext, Page

OWN = ("eth_requestAccounts", "eth_accounts", "eth_chainId", "wallet_switchEthereumChain", "wallet_addEthereumChain")


class Refusal(Exception):
    """An answer with an error, as EIP-1193 words it."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.body = {"code": code, "message": message, **({} if data is None else {"data": data})}


@dataclass
class Wallet:
    """What the page's provider answers. The person refuses each of `declines` once; `unable` are missing methods.

    One that `loses` takes transactions and sends none; one that `keeps` its answer sends them and says so once that
    is set.
    """

    url: str
    accounts: list[str]
    chain_id: int
    known_chains: set[int] = field(default_factory=set)
    declines: list[str] = field(default_factory=list)
    unable: set[str] = field(default_factory=set)
    loses: bool = False
    keeps: asyncio.Event | None = None
    connected: bool = False
    asked: list[str] = field(default_factory=list)
    added: list[dict[str, Any]] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    async def join(self, context: BrowserContext, script: str) -> None:
        """Put the wallet into every page of a context."""
        await context.expose_binding("walletRequest", self._handle)
        await context.add_init_script(script)

    async def switch_account(self, page: Page, account: str) -> None:
        """The person chooses another account in the wallet."""
        self.accounts = [account, *(a for a in self.accounts if a != account)]
        await page.evaluate("accounts => walletEmit('accountsChanged', accounts)", [account])

    async def switch_chain(self, page: Page, chain_id: int) -> None:
        """The person chooses another chain in the wallet."""
        self.chain_id = chain_id
        await page.evaluate("id => walletEmit('chainChanged', id)", hex(chain_id))

    async def _handle(self, source: dict[str, Any], text: str) -> str:
        asked = json.loads(text)
        method, params = asked["method"], asked["params"]
        self.asked.append(method)
        try:
            if method in self.declines:
                self.declines.remove(method)
                raise Refusal(4001, "User rejected the request.")
            if method in self.unable:
                raise Refusal(4200, "The wallet does not support this method.")
            if method == "eth_sendTransaction" and self.loses:
                return json.dumps({"result": f"0x{'1057' * 16}"})
            result = await (self._own(method, params) if method in OWN else self._forward(method, params))
        except Refusal as refusal:
            return json.dumps({"error": refusal.body})
        if method == "eth_sendTransaction":
            self.sent.append(str(result))
            if self.keeps is not None:
                await self.keeps.wait()
        return json.dumps({"result": result})

    async def _own(self, method: str, params: list[Any]) -> object:
        if method == "eth_requestAccounts":
            self.connected = True
        if method in ("eth_requestAccounts", "eth_accounts"):
            return self.accounts[:1] if self.connected else []
        if method == "eth_chainId":
            return hex(self.chain_id)
        if method == "wallet_addEthereumChain":
            self.added.append(params[0])
            self.known_chains.add(int(params[0]["chainId"], 16))
            return None
        wanted = int(params[0]["chainId"], 16)
        if wanted not in self.known_chains:
            raise Refusal(4902, "Unrecognized chain ID. Try adding the chain first.")
        self.chain_id = wanted
        return None

    async def _forward(self, method: str, params: list[Any]) -> object:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=30) as client:
            answer = (await client.post(self.url, json=body)).json()
        if "error" in answer:  # wallets wrap the node's error
            raise Refusal(-32603, "Internal JSON-RPC error.", answer["error"])
        return answer["result"]
