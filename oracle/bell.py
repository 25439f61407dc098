"""A bell that wakes whoever waits for something to change: long polls, the coordinator, the verifier."""

import asyncio


class Bell:
    """`ring()` wakes every waiter; `wait()` returns at the next ring or when the time is over. For one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], None] = {}  # in the order of their coming

    def ring(self) -> None:
        """Something has changed."""
        waiting, self._waiting = self._waiting, {}
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self, timeout_s: float) -> None:
        """Wait for the next ring, at most `timeout_s`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = None
        try:
            await asyncio.wait({future}, timeout=max(0.0, timeout_s))
        finally:
            self._waiting.pop(future, None)
            future.cancel()
