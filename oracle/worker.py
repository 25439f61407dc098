"""The replay worker: one `python -m trainer.replay` process per signer, kept warm, niced, and restarted when it dies.

The service itself never imports torch. Requests go as one JSON object a line to the worker's stdin and come back as one
a line on its stdout, matched by "id"; arrays travel as files named by path. Requests are served in the order of their
arrival. A request may take as long as the worker computes; one that neither answers nor computes for a while, or
answers rubbish, is killed and the next request starts a new one.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from commonweight.errors import CommonweightError, OracleError, UsageError
from commonweight.protocol.canonical import Json, JsonObject
from commonweight.protocol.contribution import FAR, PrivateScores, Scores, scores_of
from commonweight.protocol.fields import Fields
from oracle.settings import NO_CARD, OracleSettings

_MODULE: tuple[str, ...] = (sys.executable, "-m", "trainer.replay")
_LINE_LIMIT = 1 << 20
_NICENESS = 5


class WorkerError(OracleError):
    """The replay worker could not answer: it died, hung, or refused the request."""


@dataclass(frozen=True)
class ReplayResult:
    """What replaying one segment gave: `rel_l2` and `norm_ratio` are of the segment's change, in binary64; `leaf` is
    the data of the trace leaf that it led to, 0x-hex.
    """

    passed: bool
    exact: bool
    rel_l2: float
    norm_ratio: float
    reason: str
    leaf: str | None


@dataclass(frozen=True)
class Evaluation:
    """Held-out loss of a checkpoint: micro-nats per token over `tokens` tokens."""

    loss_micro: int
    tokens: int


def command(settings: OracleSettings) -> tuple[str, ...]:
    """What starts a worker on the signer's device."""
    return (*_MODULE, *settings.replays_on)


def require(settings: OracleSettings) -> None:
    """Raise UsageError when a worker could not run there. Asks a process that loads torch, which takes seconds."""
    environment = {**os.environ, **settings.visible_cards}
    asked = [*command(settings), "--require"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it gave no reason"]
        try:
            f = Fields(json.loads(lines[-1]), "error")
            told = f.text("what", 500), f.text("why", 500), f.text("fix", 500)
        except (ValueError, CommonweightError):
            told = "The replay worker does not start", lines[-1][:500], "pip install 'commonweight[oracle]'"
        raise UsageError(*told)


class Worker:
    """Talks to one worker process. `config` is run.json, `data` the directory with manifest.json and the shards."""

    def __init__(
        self, config: Path, data: Path, log: Path, *, command: Sequence[str] = _MODULE,
        environment: Mapping[str, str] = NO_CARD, timeout_s: float = 120.0,
    ) -> None:  # fmt: skip
        self._common: JsonObject = {"config": str(config), "data": str(data)}
        self._log = log
        self._command, self._environment = tuple(command), environment
        self._timeout_s = timeout_s
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._next_id = 0

    async def replay(
        self, *, plan: Path, index: int, steps: int, segment: int, base: Path, state: Path, claimed: Path | None,
        first: Path | None, parts: Sequence[str] | None, residual: str | None,
    ) -> ReplayResult:  # fmt: skip
        """Execute a segment of a member's work again from `state`; compare with `claimed`, and in the last one with the
        digests of the parts and of the new residual.

        `first` is the trace's first state, where a member that went ahead takes the base in.

        Raises WorkerError when the worker cannot say, which is never the member's fault.
        """
        f = await self._ask("replay", {
            "plan": str(plan), "index": index, "steps": steps, "segment": segment, "base": str(base),
            "state": str(state), "claimed": None if claimed is None else str(claimed),
            "first": None if first is None else str(first),
            "parts": None if parts is None else list(parts), "residual": residual,
        })  # fmt: skip
        return ReplayResult(
            f.choice("outcome", ("pass", "fail")) == "pass", f.boolean("exact"), f.f64("rel_l2_f64"),
            f.f64("norm_ratio_f64"), f.text("reason", 500), f.optional_digest("leaf"),
        )  # fmt: skip

    async def evaluate(self, weights: Path) -> Evaluation:
        """The held-out loss of a weights file. Raises WorkerError."""
        f = await self._ask("evaluate", {"weights": str(weights)})
        return Evaluation(f.integer("loss_micro"), f.integer("tokens", 1))

    async def contribution(
        self, *, plan: Path, index: int, steps: int, base: Path, parts: Sequence[Path], results: Sequence[Path],
        seed: bytes, private: bool,
    ) -> Scores | PrivateScores:  # fmt: skip
        """The scores of a payload (a member's encoded parts) beside the round's canonical parts; those on held-out text
        alone in a run on private shards. Raises WorkerError.
        """
        names = PrivateScores.names() if private else Scores.names()
        f = await self._ask("contribution", {
            "plan": str(plan), "index": index, "steps": steps, "base": str(base), "seed": seed.hex(),
            "parts": [str(path) for path in parts], "results": [str(path) for path in results],
        })  # fmt: skip
        return f.child("scores", lambda inner: scores_of(
            (name, inner.integer(name, -2 * FAR, 2 * FAR)) for name in names
        ))  # fmt: skip

    async def close(self) -> None:
        """End the process."""
        async with self._lock:
            await self._stop()

    # --- one request -------------------------------------------------------------------------------------------------

    async def _ask(self, op: str, params: Mapping[str, Json]) -> Fields:
        async with self._lock:
            self._next_id += 1
            try:
                async with asyncio.timeout(self._timeout_s) as limit:
                    answer = await self._exchange({"id": self._next_id, "op": op, **self._common, **params}, limit)
            except TimeoutError as error:
                await self._stop()
                why = f"it gave no answer and computed nothing for {self._timeout_s:.0f} s"
                raise WorkerError(f"the replay worker hung at {op}", why, f"see {self._log}") from error
            except (OSError, ValueError, CommonweightError) as error:
                await self._stop()
                raise WorkerError(f"the replay worker failed at {op}", str(error), f"see {self._log}") from error
            except asyncio.CancelledError:
                await self._stop()  # its answer would be taken for the next request's
                raise
        if answer.boolean("ok"):
            return answer
        why = json.dumps(answer.take("error"))[:500]
        raise WorkerError(f"the replay worker refused {op}", why, f"see {self._log}")

    async def _exchange(self, request: Mapping[str, Json], limit: asyncio.Timeout) -> Fields:
        """The answer; `limit` is put off whenever the worker has taken processor time."""
        process = await self._running()
        if process.stdin is None or process.stdout is None:
            raise OSError("the worker has no pipes")
        process.stdin.write(json.dumps(request).encode() + b"\n")
        await process.stdin.drain()
        busy_ms = -1
        while line := await process.stdout.readline():
            body = json.loads(line)
            answer = Fields(body, "worker answer")
            if answer.integer("id") != request["id"]:
                raise ValueError("the worker answered another request")
            if "busy_ms" not in body:
                return answer
            if (so_far := answer.integer("busy_ms")) > busy_ms:
                busy_ms = so_far
                limit.reschedule(asyncio.get_running_loop().time() + self._timeout_s)
        raise OSError("the worker ended")

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
                limit=_LINE_LIMIT, env={**os.environ, "OMP_NUM_THREADS": "1", **self._environment},
            )  # fmt: skip
        with contextlib.suppress(OSError):  # a worker that runs at normal priority is still right
            os.setpriority(os.PRIO_PROCESS, self._process.pid, _NICENESS)
        return self._process

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
