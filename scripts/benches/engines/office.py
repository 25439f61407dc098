"""What the coordinator does in an exchange: it takes copies of payloads, and in a star it reduces them."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from benches.engines.butterfly import DOMAIN, RUN, admit_all, config_of, key_of, make_plan
from benches.engines.lockstep import Line, Message
from commonweight.exact.round import reduce_part
from commonweight.memory import keep_freed_memory
from commonweight.net import Identity, Method, Reply, Request, Server
from commonweight.protocol.fields import Fields


class Office:
    """Parts by (round, part) and sender, and what they were reduced to. What a butterfly's members give is dropped."""

    def __init__(self, hello: Message) -> None:
        self.config, self.workers = config_of(hello), int(hello["workers"])
        self.star = self.config.training.topology == "star"
        self.parts = defaultdict[tuple[int, int], dict[int, bytes]](dict)
        self.reduced: dict[tuple[int, int], asyncio.Future[bytes]] = {}

    async def taken(self, request: Request) -> Reply:
        """A part of a payload."""
        f = Fields(request.params, "payload")
        place = (f.integer("round"), f.integer("part"))
        assert request.caller.index is not None
        if self.star:
            self.parts[place][request.caller.index] = request.body
            if len(self.parts[place]) == self.workers:
                self._answer(place).set_result(await asyncio.to_thread(self._reduce, *place))
        return Reply()

    async def given(self, request: Request) -> Reply:
        """A reduced part, as soon as it is there."""
        f = Fields(request.params, "reduced")
        return Reply({}, await self._answer((f.integer("round"), f.integer("part"))))

    def _answer(self, place: tuple[int, int]) -> asyncio.Future[bytes]:
        return self.reduced.setdefault(place, asyncio.get_running_loop().create_future())

    def _reduce(self, round_: int, part: int) -> bytes:
        """As the coordinator does it: by the aggregation of the run, norms and all."""
        plan, numel = make_plan(self.config, self.workers, round_, 0, 1), self.config.model.parameters()
        encoded = self.parts.pop((round_, part))
        tokens = {index: self.config.tokens(plan.h) for index in encoded}
        return reduce_part(self.config, plan, numel, part, encoded, tokens).encoded


async def serve(line: Line, hello: Message) -> None:
    """Until the benchmark ends."""
    identity, office = Identity(key_of(int(hello["index"])), RUN, DOMAIN, "member", int(hello["index"])), Office(hello)
    methods = {
        "payload": Method(office.taken, 4 * int(hello["numel"]) + 65_536),
        "reduced": Method(office.given),
    }
    server = Server(identity, methods, admit_all)
    host, port = await server.start(str(hello["address"]), 0)
    line.say(here=f"{host}:{port}")
    while True:
        await asyncio.to_thread(line.hear)


if __name__ == "__main__":
    keep_freed_memory()  # as a coordinator does
    _line = Line()
    asyncio.run(serve(_line, _line.hear()))
