"""An event loop whose time is a number, and processes in it that can be killed, frozen and thawed at any moment.

Time stands still while anything can run and then jumps to the next timer, so a thousand rounds cost only what they
compute, and the same seed always gives the same run. Every callback belongs to the process in whose context it was
made: those of a dead one never run, those of a frozen one wait. What the code under test sends to a thread runs in a
greenlet instead: at once, in order, and it may wait for simulated time.
"""

from __future__ import annotations

import asyncio
import contextvars
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import greenlet

T = TypeVar("T")
START_S = 1_800_000_000.0


class Process:
    """What shares one fate. `frozen` and `dead` are for the loop to read; use `freeze`, `thaw` and `kill`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = self.frozen = False
        self.backlog: list[asyncio.Handle] = []
        self.waiting: set[greenlet.greenlet] = set()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.on_kill: list[Callable[[], None]] = []

    def freeze(self) -> None:
        """SIGSTOP: nothing of it runs until it is thawed."""
        self.frozen = True

    def thaw(self) -> None:
        """SIGCONT: what fell due meanwhile runs now, in order."""
        self.frozen = False
        backlog, self.backlog = self.backlog, []
        loop = asyncio.get_running_loop()
        for handle in backlog:
            loop.call_soon(_run, handle, context=contextvars.Context())

    def kill(self) -> None:
        """SIGKILL: nothing of it ever runs again; what is on disk stays."""
        self.dead = True
        self.backlog = []
        for waiting in list(self.waiting):
            waiting.throw(greenlet.GreenletExit)
        context = contextvars.copy_context()
        context.run(PROCESS.set, self)
        for task in list(self.tasks):
            context.run(_bury, task)
        for gone in self.on_kill:
            gone()


def _run(handle: asyncio.Handle) -> None:
    """What fell due, unless something that ran before it has taken it back."""
    if not handle.cancelled():
        handle._run()  # type: ignore[attr-defined]


def _bury(task: asyncio.Task[Any]) -> None:
    """Give back what a task that never runs again holds; one that waits in a `finally` has to be told repeatedly."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    for _ in range(20):
        try:
            task.get_coro().close()  # type: ignore[union-attr]
        except BaseException:
            continue
        return


PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("PROCESS", default=None)


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Never waits: moves the time instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise AssertionError("the simulation stands still: nothing is scheduled any more")
        self.loop.now += max(0.0, timeout)
        return []


class _Gate:
    """A callback that runs only as its process may."""

    __slots__ = ("args", "callback", "handle", "process")

    def __init__(self, process: Process, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.process, self.callback, self.args = process, callback, args
        self.handle: asyncio.Handle | None = None

    def __call__(self) -> None:
        if self.process.dead:
            return
        if self.process.frozen and self.handle is not None:
            self.process.backlog.append(self.handle)
            return
        self.callback(*self.args)


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop. `now` is its time, in seconds; `unix` the simulated Unix time."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self._clock_resolution = 1e-6
        self.hub = greenlet.getcurrent()

    def time(self) -> float:
        return self.now

    def unix(self) -> float:
        """Simulated Unix time, in seconds."""
        return START_S + self.now

    # --- whose callback it is ------------------------------------------------------------------------------------

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        gate, context = _gate(callback, args, context)
        handle = super().call_soon(gate or callback, *(() if gate else args), context=context)
        if gate is not None:
            gate.handle = handle
        return handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        gate, context = _gate(callback, args, context)
        handle = super().call_at(when, gate or callback, *(() if gate else args), context=context)
        if gate is not None:
            gate.handle = handle
        return handle

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> asyncio.Task[Any]:
        task = super().create_task(coro, name=name, context=context)
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is not None:
            process.tasks.add(task)
            task.add_done_callback(process.tasks.discard)
        return task

    def start(self, process: Process, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task in a process."""
        context = contextvars.copy_context()
        context.run(PROCESS.set, process)
        return self.create_task(work, context=context)

    # --- threads that are none -----------------------------------------------------------------------------------

    def run_in_executor(self, executor: Any, work: Any, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        done: asyncio.Future[Any] = self.create_future()

        def body() -> None:
            try:
                result = work(*args)
            except greenlet.GreenletExit:
                raise
            except BaseException as problem:
                if not done.done():
                    done.set_exception(problem)
            else:
                if not done.done():
                    done.set_result(result)

        greenlet.greenlet(body, self.hub).switch()
        return done

    def wait_for(self, future: asyncio.Future[T]) -> T:
        """In such a thread: wait, in simulated time, for a future of the loop."""
        me, process = greenlet.getcurrent(), PROCESS.get()
        assert me is not self.hub, "the loop itself cannot wait"
        future.add_done_callback(lambda _: me.switch())
        if process is not None:
            process.waiting.add(me)
        try:
            self.hub.switch()
        finally:
            if process is not None:
                process.waiting.discard(me)
        return future.result()

    def sleep(self, seconds: float) -> None:
        """In such a thread: let simulated time pass."""
        over: asyncio.Future[None] = self.create_future()
        self.call_later(seconds, lambda: None if over.done() else over.set_result(None))
        self.wait_for(over)


def _gate(callback: Any, args: tuple[Any, ...], context: Any) -> tuple[_Gate | None, Any]:
    process = PROCESS.get() if context is None else context.get(PROCESS)
    if process is None:
        return None, context
    return _Gate(process, callback, args), context


def simulate(work: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine in a virtual loop to its end, and then end whatever else is left."""
    loop = VirtualLoop()
    loop.set_exception_handler(_raise_nothing)
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(work(loop))
    finally:
        for task in asyncio.all_tasks(loop):
            _bury(task)
        asyncio.set_event_loop(None)
        loop.close()


def _raise_nothing(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What a killed process leaves behind is nobody's concern; anything else is printed for the reader of a failure."""
    if "exception" in context and not isinstance(context["exception"], GeneratorExit):
        print("in the simulation:", context["message"], repr(context["exception"]))
