"""Replay: execute a segment of anybody's inner steps again, from the state that its trace commits to, and compare.

`python -m trainer.replay` is the worker that the oracle keeps in a process of its own, on `--device DEVICE` and with
`--compile` if asked to; with `--require` it only says whether it could run there: one JSON object a line on stdin,
one a line on stdout with the same "id", until stdin ends. Operations: `replay`, `evaluate`, `contribution`. What is
wrong with a request comes back as {"ok": false, "error": {...}}; the worker goes on. Before an answer that takes longer
there is every few seconds a line {"id": ..., "busy_ms": ...}: the processor time that this process has taken so far, so
that whoever waits can tell much work from none.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from commonweight.errors import CommonweightError, DeviceLost, FormatError, PayloadError, TrainingError, UsageError
from commonweight.exact.arrays import F32, from_bytes, require_finite
from commonweight.exact.codecs import decode
from commonweight.exact.layout import Layout
from commonweight.exact.norms import norm2
from commonweight.exact.payload import Payload
from commonweight.exact.trace import State
from commonweight.protocol.canonical import Json, JsonObject
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import Fields, f64_hex, hex32
from commonweight.protocol.parts import part_ranges
from commonweight.protocol.records import Plan
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.safetensors import read
from commonweight.protocol.trace import final_leaf, leaf_count, leaf_steps
from trainer.data import Corpus
from trainer.diloco import batch_of, payload_of, setting_out, weights_ahead
from trainer.engine import PLAIN, Engine
from trainer.evaluate import heldout_loss_micro
from trainer.inner import InnerOptimizer, configure_torch
from trainer.scoring import Update, score

FAR = 1e9
"""What stands for a difference beyond all comparison, as verdicts hold finite numbers only."""
_BUSY_S = 5.0


@dataclass(frozen=True)
class Comparison:
    """A replayed segment beside the claimed one.

    `rel_l2` is the largest, over weights, m and v, of |claimed - replayed| / |replayed - start|; `norm_ratio` the
    largest deviation from 1 of |claimed - start| / |replayed - start|. `exact` means equal bits.
    """

    exact: bool
    rel_l2: float
    norm_ratio: float

    def within(self, config: RunConfig) -> bool:
        """Whether the run's tolerances allow it."""
        rules = config.verification
        near = self.rel_l2 <= float(rules.tolerance_rel_l2) and self.norm_ratio <= float(rules.tolerance_norm_ratio)
        return self.exact or near


def replay_segment(
    optimizer: InnerOptimizer, corpus: Corpus, plan: Plan, index: int, begun: State, steps: range,
    threads: int | None = None,
) -> State:  # fmt: skip
    """The state after the inner steps `steps` (numbers within the round) of a member.

    `begun` is the state in which they begin, out of `setting_out`. `threads` other than the run's are those that the
    member trained with. Raises TrainingError when the steps diverge.
    """
    configure_torch(threads or optimizer.config.training.threads)
    optimizer.load(begun)
    before = begun.step - steps.start
    for step in steps:
        pace = optimizer.config.training.pace(plan.round, step)
        optimizer.advance(batch_of(optimizer.config, corpus, plan, index, before, step), pace=pace)
    return optimizer.state(begun.residual)


def compare(start: State, claimed: State, replayed: State) -> Comparison:
    """Compare what a member claims that a segment led to with what it led to here."""
    if claimed.step != replayed.step or claimed.digests.residual != replayed.digests.residual:
        return Comparison(False, FAR, FAR)
    worst_l2 = worst_ratio = 0.0
    for name in ("weights", "m", "v"):
        before, theirs, ours = (getattr(state, name) for state in (start, claimed, replayed))
        change, claim, apart = norm2(ours - before), norm2(theirs - before), norm2(theirs - ours)
        if change > 0.0:
            worst_l2 = max(worst_l2, math.sqrt(apart / change))
            worst_ratio = max(worst_ratio, abs(math.sqrt(claim / change) - 1.0))
        elif apart > 0.0:
            return Comparison(False, FAR, FAR)
    return Comparison(claimed.digests == replayed.digests, min(worst_l2, FAR), min(worst_ratio, FAR))


class _Request(Fields):
    """A request's fields; one that is null counts as left out."""

    def __init__(self, value: Json) -> None:
        if not isinstance(value, dict):
            raise FormatError("A request is a JSON object", f"this one is {type(value).__name__}")
        given: JsonObject = {key: item for key, item in value.items() if item is not None}
        super().__init__(given, "request")
        self._names = frozenset(given)

    def has(self, name: str) -> bool:
        """Whether an optional field is given."""
        return name in self._names


class Worker:
    """Answers requests. The last configuration and data set stay open, with the optimizer that was built for them."""

    def __init__(self, engine: Engine = PLAIN) -> None:
        self._engine = engine
        self._opened: tuple[str, str] | None = None

    def answer(self, request: Json) -> JsonObject:
        """The answer to one request, without its id; raises CommonweightError or OSError when it cannot be done."""
        f = _Request(request)
        f.integer("id")
        operation = f.choice("op", ("replay", "evaluate", "contribution"))
        self._open(f.text("config", 4096), f.text("data", 4096))
        if operation == "replay":
            result = self._replay(f)
        elif operation == "evaluate":
            result = self._evaluate(f)
        else:
            result = self._contribution(f)
        f.done()
        return result

    def _open(self, config: str, data: str) -> None:
        if self._opened != (config, data):
            self._opened = None  # whatever of it cannot be had, nothing of the one before is taken for it
            self.config = RunConfig.load(Path(config).read_bytes())
            self.corpus = Corpus.open(Path(data), self.config.data.manifest_sha256)
            self.layout = Layout.from_model(self.config.model)
            self.optimizer = InnerOptimizer(self.config, self._engine)
            self._opened = (config, data)
        configure_torch(self.config.training.threads)

    # --- operations --------------------------------------------------------------------------------------------------

    def _replay(self, f: _Request) -> JsonObject:
        """Replay one segment; for the last one also recompute the payload, and the residual that is left over, from the
        claimed last state.

        `first` is the trace's first state, given at the segment in which a member that went ahead takes the base in.
        """
        config, plan, index, segment = self.config, self._plan(f), f.integer("index"), f.integer("segment")
        base, start = self._weights(f, "base"), self._state(f, "state")
        claimed, first = self._optional_state(f, "claimed"), self._optional_state(f, "first")
        parts = f.digests("parts", 1, plan.parts) if f.has("parts") else None
        residual = f.digest("residual") if f.has("residual") else None
        planned = plan.member(index).steps
        total = f.integer("steps", 1, planned) if f.has("steps") else planned
        every, last = config.training.trace_every, segment + 2 == leaf_count(total, config.training.trace_every)
        steps = range(leaf_steps(segment, total, every), leaf_steps(segment + 1, total, every))
        shown = start if segment == 0 else first
        ahead_of = None if shown is None else weights_ahead(base, shown.weights)
        begun = setting_out(config, base, start, steps.start, ahead_of)
        try:
            replayed = replay_segment(self.optimizer, self.corpus, plan, index, begun, steps)
            reached = replayed if claimed is None else claimed
            result = compare(begun, reached, replayed)
            payload = payload_of(config, plan, base, reached.weights, reached.residual) if last else None
        except (TrainingError, PayloadError) as problem:
            return _verdict(Comparison(False, FAR, FAR), f"the steps cannot be done again: {problem.what}", None, None)
        reason = "" if result.within(config) else "the claimed state is not what these steps lead to"
        if parts is not None and payload is not None and payload.digests != parts:
            reason = reason or "the payload is not what the last state encodes to"
        if residual is not None and payload is not None and payload.new_residual_digest != residual:
            reason = reason or "the residual is not what the payload leaves of the last state"
        return _verdict(result, reason, reached, payload)

    def _evaluate(self, f: _Request) -> JsonObject:
        """Held-out loss of a weights file."""
        weights = self._weights(f, "weights")
        with self._engine.watched():
            self.optimizer.model.load_flat(weights)
            loss_micro, tokens = heldout_loss_micro(self.optimizer.model, self.corpus, self.config)
        return {"loss_micro": loss_micro, "tokens": tokens}

    def _contribution(self, f: _Request) -> JsonObject:
        """The scores of a member's payload, beside the round's canonical update."""
        plan, index, base = self._plan(f), f.integer("index"), self._weights(f, "base")
        steps, seed = f.integer("steps", 1, plan.member(index).steps), bytes.fromhex(f.text("seed", 64))
        codec, training = plan.codec, self.config.training
        payload = self._vector(f, "parts", plan, base.size, codec)
        update = Update(base, payload, self._vector(f, "results", plan, base.size, training.result_codec))
        with self._engine.watched():
            scores = score(self.optimizer.model, self.corpus, self.config, plan, index, steps, seed, update)
        return {"scores": dict(scores.named())}

    # --- what requests name ------------------------------------------------------------------------------------------

    def _plan(self, f: Fields) -> Plan:
        return Plan.from_body(Signed.from_bytes(Path(f.text("plan", 4096)).read_bytes()).body)

    def _weights(self, f: Fields, name: str) -> F32:
        tensors = read(Path(f.text(name, 4096)).read_bytes())
        if any(tensor.dtype != "F32" for tensor in tensors.values()):
            raise FormatError(f"{name} is not a file of float32 weights")
        arrays = {key: from_bytes(tensor.data).reshape(tensor.shape) for key, tensor in tensors.items()}
        flat = self.layout.flatten(arrays)
        require_finite(flat, f"The weights file {name}")
        return flat

    def _state(self, f: Fields, name: str) -> State:
        return State.from_bytes(Path(f.text(name, 4096)).read_bytes(), self.layout.numel)

    def _optional_state(self, f: _Request, name: str) -> State | None:
        return self._state(f, name) if f.has(name) else None

    def _vector(self, f: Fields, name: str, plan: Plan, numel: int, codec: str) -> F32:
        """The decoded vector of the encoded parts whose paths are given."""
        paths, ranges = f.items(name, plan.parts, plan.parts), part_ranges(numel, plan.block, plan.parts)
        pieces = [
            decode(Path(str(path)).read_bytes(), at.size, codec, plan.block)
            for path, at in zip(paths, ranges, strict=True)
        ]
        whole: NDArray[np.float32] = np.concatenate(pieces)
        return whole


def serve(requests: TextIO, answers: TextIO, engine: Engine = PLAIN) -> None:
    """Answer every line of `requests` on a line of `answers`, until it ends, or the device does."""
    worker, works = Worker(engine), True
    for line in requests:
        number: Json = None
        try:
            request = json.loads(line)
            number = request.get("id") if isinstance(request, dict) else None
            with _telling(number, answers):
                answer: JsonObject = {"id": number, "ok": True} | worker.answer(request)
        except CommonweightError as problem:
            answer = {"id": number, "ok": False, "error": {**problem.to_json()}}
            works = not isinstance(problem, DeviceLost)
        except (OSError, ValueError, KeyError, TypeError) as problem:
            error: JsonObject = {"error": type(problem).__name__, "what": "The request is refused", "why": str(problem)}
            answer = {"id": number, "ok": False, "error": error | {"fix": "see the worker's protocol"}}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if not works:
            return


@contextmanager
def _telling(number: Json, answers: TextIO) -> Iterator[None]:
    """Tell every few seconds how much processor time has gone by, until the block ends."""
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(_BUSY_S):
            answers.write(json.dumps({"id": number, "busy_ms": round(time.process_time() * 1000)}) + "\n")
            answers.flush()

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()


def _verdict(result: Comparison, reason: str, reached: State | None, payload: Payload | None) -> JsonObject:
    leaf = None if reached is None else reached.digests.leaf()
    if reached is not None and payload is not None:
        leaf = final_leaf(reached.digests, payload.digests, payload.new_residual_digest)
    return {
        "outcome": "fail" if reason else "pass",
        "exact": result.exact,
        "rel_l2_f64": f64_hex(result.rel_l2),
        "norm_ratio_f64": f64_hex(result.norm_ratio),
        "reason": reason,
        "leaf": None if leaf is None else hex32(leaf),
        "parts": None if payload is None else list(payload.digests),
    }


def main() -> int:
    """Serve stdin and stdout. With --require exit code 2, and the error on stderr, where that could not be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--compile", action="store_true", help="compile the inner steps")
    parser.add_argument("--require", action="store_true", help="look whether this can be had, and end")
    options = parser.parse_args()
    try:
        engine = Engine(options.device, options.compile)
        if options.require:
            engine.require()
        else:
            serve(sys.stdin, sys.stdout, engine)
    except UsageError as problem:
        sys.stderr.write(json.dumps(problem.to_json()) + "\n")
        return problem.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
