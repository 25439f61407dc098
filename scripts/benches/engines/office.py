"""Takes the copies of payloads that members give to the coordinator, and throws them away."""

from __future__ import annotations

import asyncio

from benches.engines.butterfly import DOMAIN, RUN, admit_all, key_of
from benches.engines.lockstep import Line, Message
from commonweight.net import Identity, Method, Reply, Request, Server


async def serve(line: Line, hello: Message) -> None:
    """Until the benchmark ends."""
    identity = Identity(key_of(int(hello["index"])), RUN, DOMAIN, "member", int(hello["index"]))
    server = Server(identity, {"payload": Method(_taken, 4 * int(hello["numel"]) + 65_536)}, admit_all)
    host, port = await server.start(str(hello["address"]), 0)
    line.say(here=f"{host}:{port}")
    while True:
        await asyncio.to_thread(line.hear)


async def _taken(_: Request) -> Reply:
    return Reply()


if __name__ == "__main__":
    _line = Line()
    asyncio.run(serve(_line, _line.hear()))
