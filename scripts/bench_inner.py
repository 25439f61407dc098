"""The inner loop beside a plain PyTorch loop over the same model: tokens a second, and on a GPU the share of its peak.

Writes bench-results/inner.json. Ours is a member's round as it is: deterministic kernels, every trace state hashed and
kept, the payload made and what it commits to. The plain loop is what one writes without us: the same modules with
parameters of their own, autocast where the run says bfloat16, torch.optim.AdamW as it comes and with `fused=True`,
clip_grad_norm_, no determinism asked for, no hash. Where a run has Muon, torch.optim.Muon stands beside that, whose
iterations are always in bfloat16, and its authors' few lines with iterations in float32, as a run in float32 has them.
Rounds of all take turns, so that what else the machine does strikes all; the medians count. A slow machine takes fewer
turns, and shorter ones where not even two would fit, so that all of it ends in twenty minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import torch
from benches.budget import MINUTES, Budget, add_minutes
from benches.member import EmptyRound, TracedRound, round_config
from benches.results import WORKING, Figures, machine, publish
from torch import nn

from commonweight.estimate import GPUS, Shape, flops_per_token
from commonweight.memory import keep_freed_memory
from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.runconfig import RunConfig
from trainer.data import Corpus
from trainer.diloco import batch_of
from trainer.engine import Engine
from trainer.inner import InnerOptimizer, configure_torch
from trainer.model import Llama
from trainer.muon import POLYNOMIALS, turns
from trainer.preparation import prepare

_FOLDER = WORKING / "inner"
_OURS, _PLAIN, _FUSED, _EXACT = "ours", "plain", "fused", "float32"
_CPU, _GPU = ("nano", "micro"), ("124M", "1B")
_OPTIMIZERS = ("adamw", "muon")
_STEPS, _GPU_STEPS = 30, 50
_GPU_TRAINING: JsonObject = {"batch": 32, "seq_len": 1024, "dtype": "bfloat16", "trace_every": 25}
"""A card takes a step in tens of milliseconds: states as frequent as on a CPU would be most of what it does."""


def main() -> int:
    """Measure, write, print. Exit code 1 when a round of ours takes fewer tokens a second than a plain loop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", action="append", help=f"default: {', '.join(_CPU)}; on a GPU {', '.join(_GPU)}")
    parser.add_argument("--optimizer", action="append", choices=_OPTIMIZERS, help="default: each")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--compile", action="store_true", help="torch.compile on both sides")
    parser.add_argument(
        "--steps", type=int, help=f"inner steps of a round, at the most (default: {_STEPS}; on a GPU {_GPU_STEPS})"
    )
    parser.add_argument("--repeats", type=int, default=7)
    add_minutes(parser, "no turn begins but each row's first, of few steps, nor one that would end later")
    options = parser.parse_args()
    budget = Budget(options.minutes or MINUTES)
    keep_freed_memory()  # as a member does; the plain loops have it, too
    engine = Engine(options.device, options.compile)
    engine.require()
    if not (_FOLDER / "data" / "manifest.json").exists():
        prepare(None, _FOLDER / "data", max_bytes=4 << 20)
    steps = options.steps or (_STEPS if engine.kind == "cpu" else _GPU_STEPS)
    corpus, rows = Corpus.open(_FOLDER / "data"), list[JsonObject]()
    presets = options.preset or (_CPU if engine.kind == "cpu" else _GPU)
    kinds = list(product(presets, options.optimizer or _OPTIMIZERS))
    for number, (preset, optimizer) in enumerate(kinds):
        training: JsonObject = {"inner": {"optimizer": optimizer}, **({} if engine.kind == "cpu" else _GPU_TRAINING)}
        share = Budget(budget.left_s() / 60 / (len(kinds) - number))
        config = round_config("inner", preset, corpus.manifest.sha256, {**training, "h": steps})
        row = _compare(config, corpus, engine, options.repeats, share)
        rows.append({"preset": preset, "optimizer": optimizer, **row})
    setting: JsonObject = {
        "device": options.device, "device_name": _name(engine), "compiled": engine.compiled,
        "steps": steps, "repeats": options.repeats, "load": round(os.getloadavg()[0]),
    }  # fmt: skip
    publish("inner", table, {"machine": machine(), "setting": setting, "rows": list(rows)})
    return 0 if all(min(row["ratio_milli"].values()) >= 1000 for row in json.loads(json.dumps(rows))) else 1


def table(body: Figures) -> str:
    """Markdown: tokens a second of all, and of a GPU's peak."""
    lines = [
        "| model | parameters | optimizer | tokens/s, ours | plain | fused AdamW | in float32 | ours to each | peak |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in body["rows"]:
        speed, peak, ratio = row["tokens_per_s"], row["mfu_milli"], row["ratio_milli"]
        speeds = " | ".join(f"{speed[who]:,}" if who in speed else "-" for who in (_OURS, _PLAIN, _FUSED, _EXACT))
        ratios = ", ".join(f"{ratio[who] / 1000:.3f}" for who in (_PLAIN, _FUSED, _EXACT) if who in ratio)
        of_peak = "-" if peak is None else ", ".join(f"{each / 10:.1f} %" for each in peak.values())
        what = f"{row['preset']} | {row['parameters']:,} | {row['optimizer']}"
        lines.append(f"| {what} | {speeds} | {ratios} | {of_peak} |")
    setting = body["setting"]
    steps = sorted({row.get("steps", setting["steps"]) for row in body["rows"]})
    long = " to ".join(str(each) for each in sorted({steps[0], steps[-1]}))
    how = f"On {setting['device_name']}, {body['rows'][0]['dtype']}, rounds of {long} steps"
    turns_taken = min(row.get("turns", setting["repeats"]) for row in body["rows"])
    hashed = f"states hashed every {body['rows'][0]['trace_every']} steps"
    return "\n".join([*lines, "", f"{how}, {hashed}; medians of {turns_taken} or more."])


def _compare(config: RunConfig, corpus: Corpus, engine: Engine, repeats: int, budget: Budget) -> JsonObject:
    """Tokens a second of all, ours as thousandths of theirs, and thousandths of the device's peak."""
    muon = config.training.inner.optimizer == "muon"
    plains = [_PLAIN, _FUSED, *([_EXACT] if muon and config.training.dtype == "float32" else [])]

    def sides(steps: int) -> dict[str, TracedRound | _Plain]:
        shown = replace(config, training=replace(config.training, h=steps))
        return {
            _OURS: TracedRound(shown, corpus, _FOLDER / "ours", make=partial(InnerOptimizer, engine=engine)),
            **{who: _Plain(shown, corpus, engine, who) for who in plains},
        }

    steps = min(config.training.trace_every, config.training.h)
    played = sides(steps)
    times = {who: [_timed(each)] for who, each in played.items()}
    turn = sum(took for (took,) in times.values())
    fit = int(min(1e6, budget.left_s() / (2 * turn)))
    if fit:  # else that short first turn is all that there is time for
        steps = min(config.training.h, steps * fit)
        played.clear()  # their models are not held beside the others
        played = sides(steps)
        times = {who: [] for who in played}
    for number in range(repeats + 1 if fit else 0):
        if number > 1 and not budget.has(turn):
            break
        began = time.monotonic()
        for who, each in played.items():
            took = _timed(each)
            if number:
                times[who].append(took)
        turn = time.monotonic() - began
    tokens = config.tokens(steps)
    speeds = {who: tokens / statistics.median(took) for who, took in times.items()}
    peak = next((gpu.peak_flops for name, gpu in GPUS.items() if name in _name(engine).lower()), None)
    flops = flops_per_token(Shape.of(config.model), config.training.seq_len)
    return {
        "parameters": config.model.parameters(), "batch": config.training.batch, "seq_len": config.training.seq_len,
        "dtype": config.training.dtype, "trace_every": config.training.trace_every, "turns": len(times[_OURS]),
        "steps": steps,
        "tokens_per_s": {who: round(speed) for who, speed in speeds.items()},
        "ratio_milli": {
            who: round(1000 * statistics.median(b / a for a, b in zip(times[_OURS], times[who], strict=True)))
            for who in plains
        },
        "mfu_milli": None if peak is None else {
            who: round(1000 * speed * flops / peak) for who, speed in speeds.items()
        },
    }  # fmt: skip


class _Plain(EmptyRound):
    """The loop that one writes without us."""

    def __init__(self, config: RunConfig, corpus: Corpus, engine: Engine, kind: str) -> None:
        super().__init__(config, corpus, _FOLDER / "plain")
        self.engine = engine
        self.model = Llama(config.model, engine.device)
        self.model.load_flat(self.base)
        _own_parameters(self.model)
        inner = config.training.inner
        layout = {entry.name: entry for entry in self.model.layout.tensors}
        turned = [
            p for name, p in self.model.named_parameters() if inner.optimizer == "muon" and turns(layout[name])
        ]  # fmt: skip
        others = [p for p in self.model.parameters() if all(p is not one for one in turned)]
        lr, decay = float(inner.lr), float(inner.weight_decay)
        self.optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(
            [
                {"params": [p for p in others if p.ndim > 1], "weight_decay": decay},
                {"params": [p for p in others if p.ndim == 1], "weight_decay": 0.0},
            ],
            lr=lr, betas=(float(inner.betas[0]), float(inner.betas[1])), eps=float(inner.eps),
            fused=kind == _FUSED or None,
        )]  # fmt: skip
        if turned and kind == _EXACT:
            self.optimizers.append(_Float32Muon(turned, lr, decay, float(inner.momentum)))
        elif turned:
            self.optimizers.append(torch.optim.Muon(
                turned, lr=lr, weight_decay=decay, momentum=float(inner.momentum), adjust_lr_fn="match_rms_adamw",
            ))  # fmt: skip
        self.loss: Callable[[torch.Tensor], torch.Tensor] = self.model.loss
        if engine.compiled:
            self.loss = torch.compile(self.model.loss)

    def __call__(self) -> None:
        training = self.config.training
        configure_torch(training.threads)
        torch.use_deterministic_algorithms(False)
        for step in range(self.plan.member(0).steps):
            tokens = torch.from_numpy(batch_of(self.config, self.corpus, self.plan, 0, 0, step)).to(self.engine.device)
            with torch.autocast(self.engine.kind, torch.bfloat16, enabled=training.dtype == "bfloat16"):
                loss = self.loss(tokens)
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.model.parameters(), float(training.inner.clip))
            for optimizer in self.optimizers:
                optimizer.step()
        if self.engine.kind == "cuda":
            torch.cuda.synchronize()


class _Float32Muon(torch.optim.Optimizer):
    """Muon as its authors write it down, with iterations in float32."""

    def __init__(self, matrices: list[nn.Parameter], lr: float, weight_decay: float, momentum: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step on every matrix."""
        assert closure is None
        for group in self.param_groups:
            for w in group["params"]:
                m = self.state[w].setdefault("momentum", torch.zeros_like(w))
                m.lerp_(w.grad, 1 - group["momentum"])
                x = w.grad.lerp(m, group["momentum"])
                x = x.T if x.shape[0] > x.shape[1] else x
                x = x / (x.norm() + 1e-7)
                for a, b, c in POLYNOMIALS:
                    gram = x @ x.T
                    x = a * x + (b * gram + c * gram @ gram) @ x
                w.mul_(1 - group["lr"] * group["weight_decay"])
                w.add_(x if x.shape == w.shape else x.T, alpha=-group["lr"] * 0.2 * max(w.shape) ** 0.5)


def _own_parameters(model: Llama) -> None:
    """Give every parameter a tensor and a gradient of its own, as a module has them that nobody flattened."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(parameter.detach().clone()))


def _timed(played: TracedRound | _Plain) -> float:
    """Wall seconds."""
    played.prepare()
    started = time.perf_counter()
    played()
    return time.perf_counter() - started


def _name(engine: Engine) -> str:
    """What the device calls itself."""
    return torch.cuda.get_device_name(engine.device) if engine.kind == "cuda" else "CPU"


if __name__ == "__main__":
    sys.exit(main())
