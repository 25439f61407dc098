"""A server in a process of its own, for the tests of the transport.

It prints its port, and serves `echo`, `seen` (for observers, too), `hold` (never answers), `keep` (never answers, with
a body), `later` and `at_last` (after a second and a half), `fail`, `refuse`, `big` (a long body), `connections` and
`memory` (its peak in KiB).
The member with index 13 is banned.
"""

import asyncio
from pathlib import Path
from typing import Any

from commonweight.errors import ConfigError, PeerRefused
from commonweight.net import Caller, Identity, Limits, Method, Reply, Request, Server
from commonweight.protocol.documents import Domain

DOMAIN = Domain(31337, "0x" + "0c" * 20)
RUN = "0x" + "ca" * 20
SERVER_KEY = b"\x11" * 32
MEMBER_KEY = b"\x22" * 32
OTHER_KEY = b"\x33" * 32


def identity(key: bytes = MEMBER_KEY, role: str = "member", index: int | None = 0, run: str = RUN) -> Identity:
    return Identity(key, run, DOMAIN, role, index)


async def echo(request: Request) -> Reply:
    return Reply({"params": request.params, "caller": request.caller.address}, request.body)


async def hold(request: Request) -> Reply:
    await asyncio.Event().wait()
    return Reply()


async def later(request: Request) -> Reply:
    await asyncio.sleep(1.5)
    return Reply(request.params)


async def fail(request: Request) -> Reply:
    raise RuntimeError("a secret detail")


async def refuse(request: Request) -> Reply:
    if request.params.get("config"):
        raise ConfigError("The configuration is wrong", "it is a test", "do not ask")
    raise PeerRefused("not-now", "Not now", "it is a test", "ask later")


async def big(request: Request) -> Reply:
    size = request.params["size"]
    assert isinstance(size, int)
    return Reply({}, b"\x01" * size)


async def memory(request: Request) -> Reply:
    return Reply({"peak_kib": _peak_kib()})


def _peak_kib() -> int:
    """Of this process; ru_maxrss is never less than that of the process which started it."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


async def authorise(caller: Caller) -> None:
    if caller.index == 13:
        raise PeerRefused("banned", "This member is banned", "it is a test")


METHODS = {
    "echo": Method(echo, 32 << 20),
    "seen": Method(echo, observable=True),
    "hold": Method(hold),
    "keep": Method(hold, 32 << 20),
    "later": Method(later),
    "at_last": Method(later, ends_itself=True),
    "fail": Method(fail),
    "refuse": Method(refuse),
    "big": Method(big),
    "memory": Method(memory),
}


def serve(given: dict[str, Any]) -> None:
    """Serve by a key (hex), a run and limits, until a signal ends it."""
    asyncio.run(_serve(bytes.fromhex(given["key"]), given["run"], Limits(**given["limits"])))


async def _serve(key: bytes, run: str, limits: Limits) -> None:
    async def connections(_request: Request) -> Reply:
        return Reply({"open": server.connections})

    methods = {**METHODS, "connections": Method(connections)}
    server = Server(identity(key, "signer", None, run), methods, authorise, limits)
    _, port = await server.start("127.0.0.1", 0)
    print(port, flush=True)
    await asyncio.Event().wait()
