"""`commonweight run estimate`: what a run would take and cost, with every assumption named; asks nobody anything."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated

import typer

from commonweight.cli.options import JsonOption
from commonweight.cli.output import Output
from commonweight.errors import UsageError
from commonweight.quantities import show_size

if TYPE_CHECKING:
    from commonweight.estimate import Estimate, Gpu, Plan, Shape

_COUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:e[0-9]{1,3})?)\s*([kmbt]?)", re.IGNORECASE)
_MAKERS = re.compile(r"^(nvidia)?(geforce)?(rtx|tesla)?")
_POWERS = {"": 0, "k": 3, "m": 6, "b": 9, "t": 12}


def estimate(
    ctx: typer.Context,
    model: Annotated[
        str | None, typer.Option("--model", help="A preset or a published model, like 1B or llama-3.1-405b.")
    ] = None,
    parameters: Annotated[
        str | None, typer.Option("--parameters", help="Or its number of parameters, like 1.4T.", metavar="N")
    ] = None,
    active: Annotated[
        str | None,
        typer.Option(
            "--active", help="Parameters that one token uses (mixture of experts; default: all).", metavar="N"
        ),
    ] = None,
    tokens: Annotated[str | None, typer.Option("--tokens", help="Tokens to train on, like 15.6T.", metavar="N")] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", help="Or the dollars to spend, gas aside, like 160M.", metavar="N")
    ] = None,
    gpu: Annotated[str, typer.Option("--gpu", help="h100, h200, b200, a100, 4090 or 3090.")] = "h100",
    gpus: Annotated[int, typer.Option("--gpus", help="GPUs of one member.")] = 1,
    members: Annotated[int, typer.Option("--members", help="Members of a round.")] = 16,
    h: Annotated[int, typer.Option("--steps", help="Inner steps of a round.")] = 100,
    trace_every: Annotated[
        int | None, typer.Option("--trace-every", help="Steps between states that can be replayed (default: 5).")
    ] = None,
    trace_rate: Annotated[
        float, typer.Option("--trace-rate", help="How fast a member hashes and writes such a state, GB/s.")
    ] = 2.0,
    step_tokens: Annotated[
        str, typer.Option("--step-tokens", help="Tokens of one inner step of one member.", metavar="N")
    ] = "1M",
    seq_len: Annotated[int, typer.Option("--seq-len", help="Tokens of one window.")] = 4096,
    topology: Annotated[
        str, typer.Option("--topology", help="Who reduces: members (butterfly) or the coordinator (star).")
    ] = "butterfly",
    codec: Annotated[
        str, typer.Option("--codec", help="fp32, fp16, int8, int4, int2, int1, ternary or topk2.")
    ] = "int8",
    results: Annotated[
        str | None, typer.Option("--results", help="The same of what is reduced (default: --codec).")
    ] = None,
    upload: Annotated[float, typer.Option("--up", help="A member's upload, Mbit/s.")] = 1000.0,
    download: Annotated[float, typer.Option("--down", help="A member's download, Mbit/s.")] = 1000.0,
    coordinator: Annotated[float, typer.Option("--coordinator", help="The coordinator's link, Gbit/s.")] = 100.0,
    rtt: Annotated[float, typer.Option("--rtt", help="Round trip between members, ms.")] = 50.0,
    window: Annotated[float, typer.Option("--window", help="The anchor's window, seconds.")] = 120.0,
    overlap: Annotated[
        bool, typer.Option("--overlap", help="Anchor and exchange while the next steps are computed.")
    ] = False,
    replays: Annotated[
        float, typer.Option("--replays", help="Part of a member's rounds of which a segment is replayed, percent.")
    ] = 10.0,
    mfu: Annotated[float, typer.Option("--mfu", help="Part of the GPU's peak that training reaches, percent.")] = 40.0,
    availability: Annotated[
        float, typer.Option("--availability", help="Part of paid time in which GPUs train, percent.")
    ] = 90.0,
    hour_price: Annotated[float, typer.Option("--hour-price", help="Dollars of a GPU-hour.")] = 2.0,
    epoch_days: Annotated[float, typer.Option("--epoch-days", help="Days of an epoch.")] = 1.0,
    funders: Annotated[int, typer.Option("--funders", help="How many people fund it.")] = 1000,
    gas_gwei: Annotated[float, typer.Option("--gas-gwei", help="Price of gas.")] = 1.0,
    ether_price: Annotated[float, typer.Option("--ether-price", help="Dollars of one ether.")] = 3000.0,
    as_json: JsonOption = False,
) -> None:
    """Estimate FLOPs, GPU-hours, traffic, round times, memory, gas and price of a run."""
    from commonweight import estimate as core
    from commonweight.protocol.runconfig import Training

    plan = core.Plan(
        shape=_shape(model, parameters, active),
        gpu=_gpu(gpu),
        tokens=None if tokens is None else parse_count(tokens),
        budget=None if budget is None else parse_count(budget),
        members=members,
        gpus=gpus,
        h=h,
        trace_every=min(Training.trace_every, h) if trace_every is None else trace_every,
        trace_rate=trace_rate * 1e9,
        topology=topology,
        step_tokens=int(parse_count(step_tokens)),
        seq_len=seq_len,
        codec=codec,
        result_codec=results or codec,
        upload_bps=upload * 1e6,
        download_bps=download * 1e6,
        coordinator_bps=coordinator * 1e9,
        rtt_s=rtt / 1000,
        window_s=window,
        overlap=overlap,
        replay_bps=round(replays * 100) if math.isfinite(replays) else -1,
        mfu=mfu / 100,
        availability=availability / 100,
        hour_price=hour_price,
        epoch_s=epoch_days * 86_400,
        funders=funders,
        gas_price_gwei=gas_gwei,
        ether_price=ether_price,
    )
    try:
        found = core.estimate(plan)
    except (OverflowError, ZeroDivisionError, ValueError):
        fix = "Give values that a run could have."
        raise UsageError("This plan has no figures.", "They are beyond counting", fix) from None
    given = {name for name in ctx.params if (source := ctx.get_parameter_source(name)) and source.name != "DEFAULT"}
    output, assumed = Output(as_json=as_json), assumptions(plan, given)
    if as_json:
        output.result({"assumptions": [dict(zip(("name", "value", "source"), a, strict=True)) for a in assumed],
                       "figures": {**vars(found), "credits": str(found.credits)}})  # fmt: skip
        return
    output.result({}, title=f"{plan.shape.name}: what is assumed", rows=[(n, f"{v} ({s})") for n, v, s in assumed])
    output.result({}, title="What follows", rows=figures(plan, found))


def parse_count(text: str) -> float:
    """A number, with K, M, B or T for thousands to trillions. Raises UsageError."""
    match = _COUNT.fullmatch(text.strip())
    value = math.inf if match is None else float(match[1]) * float(10 ** _POWERS[match[2].lower()])
    if value == math.inf:
        raise UsageError(f"{text!r} is not a number.", "A number is like 12000, 1.4T, 160M or 1e12", "Write it so.")
    return value


def assumptions(plan: Plan, given: set[str]) -> list[tuple[str, str, str]]:
    """Every assumption of a plan: name, value, where it comes from; `given` are the command's parameters that were."""

    from commonweight.protocol.runconfig import Verification

    def told(*names: str) -> str:
        count = len(given.intersection(names))
        return "as told" if count == len(names) else "partly as told" if count else "default"

    size = "as told" if "parameters" in given else "of the model"
    used = "as told" if "active" in given else "all of them"
    fleet = f"{_counted(plan.members, 'member')} of {_counted(plan.gpus, 'GPU')}"
    return [
        ("parameters", _short(plan.shape.parameters), size),
        ("used by a token", _short(plan.shape.active), used),
        ("GPU", f"{plan.gpu.name}, {plan.gpu.peak_flops / 1e12:g} TFLOP/s dense bf16", f"{told('gpu')}; data sheet"),
        ("MFU", f"{100 * plan.mfu:g} %",
         f"{told('mfu')}; Llama 3.1 405B reports 38 to 43 %, INTELLECT-1 36 to 41 %"),
        ("optimizer", "its own FLOPs are left out", _optimizer(plan)),
        ("availability", f"{100 * plan.availability:g} %",
         f"{told('availability')}; Llama 3.1 405B reports above 90 %"),
        ("GPU-hour", f"${plan.hour_price:,.2f}", told("hour_price")),
        ("fleet", fleet, told("members", "gpus")),
        ("round", (f"{_counted(plan.h, 'inner step')} of {_short(plan.step_tokens)} tokens in windows of "
                   f"{plan.seq_len}"), told("h", "step_tokens", "seq_len")),
        ("trace", f"a state every {_counted(plan.trace_every, 'step')}",
         "as told" if "trace_every" in given else "the run's template"),
        ("hashing", f"states are hashed and written at {plan.trace_rate / 1e9:g} GB/s, beside the next steps",
         f"{told('trace_rate')}; SHA-256 of three arrays at once, 1.7 GB/s a core with instructions for it"),
        ("topology", "the coordinator reduces" if plan.topology == "star" else "members reduce", told("topology")),
        ("codec", f"{plan.codec}, results {plan.result_codec}, blocks of {plan.block}",
         told("codec") if plan.codec == plan.result_codec else told("codec", "results")),
        ("link", f"{plan.upload_bps / 1e6:g} Mbit/s up, {plan.download_bps / 1e6:g} down, {plan.rtt_s * 1e3:g} ms",
         told("upload", "download", "rtt")),
        ("coordinator's link", f"{plan.coordinator_bps / 1e9:g} Gbit/s", told("coordinator")),
        ("anchor's window", f"{plan.window_s:g} s", "as told" if "window" in given else "the run's template"),
        ("anchor, exchange", "while the next steps are computed" if plan.overlap else "after the steps",
         told("overlap")),
        ("replays", f"{plan.replay_bps / 100:g} % of a member's rounds have a segment drawn",
         "as told" if "replays" in given else "the run's template, after honest history; at first more"),
        ("scores", (f"{Verification.contribution_rate_bps / 100:g} % of payloads, on "
                    f"{Verification.contribution_windows} windows"), "the run's template"),
        ("signers' fee", f"{plan.oracle_bps / 100:g} % of wages", "the run's template"),
        ("epoch", _counted(plan.epoch_s / 86_400, "day"), told("epoch_days")),
        ("funders", f"{plan.funders}", told("funders")),
        ("gas", f"{plan.gas_price_gwei:g} gwei, an ether ${plan.ether_price:,.0f}",
         f"{told('gas_gwei', 'ether_price')}; gas as in docs/gas.md"),
    ]  # fmt: skip


def _optimizer(plan: Plan) -> str:
    """What is left out of the FLOPs."""
    from commonweight.estimate import muon_share

    if not plan.shape.width:
        return "AdamW has hardly any; Muon's grow with the width of matrices, which is not known here"
    return f"AdamW has hardly any, Muon at most {100 * muon_share(plan.shape, plan.step_tokens):.2g} % of the others"


def figures(plan: Plan, found: Estimate) -> list[tuple[str, str]]:
    """The figures in words."""
    gas = " on top of the budget" if plan.budget is not None else ""
    fits = "fits" if found.gpu_memory_bytes <= plan.gpu.memory_bytes else "does not fit"
    return [
        ("tokens", f"{_short(found.tokens)}, {found.tokens / plan.shape.active:.1f} a parameter used"),
        ("FLOPs", f"{found.flops:.3g}"),
        ("GPU-hours", f"{found.gpu_hours:,.0f}"),
        ("duration", f"{found.days:,.1f} days, {_counted(found.rounds, 'round')}, {_counted(found.epochs, 'epoch')}"),
        ("rounds an epoch", _creditable(plan, found)),
        ("round", (f"{_time(found.compute_s)} computing, {_time(found.trace_s)} waiting for states to be hashed, "
                  f"{_time(found.exchange_s)} exchanging, {_time(found.round_s)} in all{_spared(plan, found)}")),
        ("time computing", f"{100 * found.computing:.1f} %"),
        ("a member sends", (f"{_bytes(found.allreduce_bytes)} all-reduce, {_bytes(found.upload_bytes)} to "
                           f"the coordinator, {_bytes(found.replay_bytes)} for replays, a round")),
        ("it receives", f"{_bytes(found.allreduce_bytes + found.download_bytes)} a round"),
        ("the coordinator", f"takes and gives {_bytes(found.coordinator_bytes)} a round"),
        ("against fp32 a step", f"{found.synchronous_ratio:,.0f} times less"),
        ("memory of a member", (f"{show_size(found.memory_bytes)}, {show_size(found.gpu_memory_bytes)} a GPU: "
                               f"{fits} {show_size(plan.gpu.memory_bytes)}")),
        ("disk of a member", (f"{_bytes(found.disk_bytes)} a round, of them {_counted(found.trace_states, 'state')} of "
                              f"{_bytes(found.state_bytes)}")),
        ("signers compute", (f"{_few(found.signers_gpu_hours)} GPU-hours, "
                             f"{100 * found.signers_flops / found.flops:.2g} % of what members do")),
        ("credits", f"at most {found.credits:,}"),
        ("price of compute", f"${found.compute_price:,.0f}"),
        ("signers' fee", f"${found.oracle_price:,.0f}"),
        ("gas", f"{found.gas:,}, ${found.gas_price:,.0f}{gas}"),
        ("price in all", f"${found.price:,.0f}"),
    ]  # fmt: skip


def _spared(plan: Plan, found: Estimate) -> str:
    """What to do where steps wait for more than a round's last state."""
    last_s = found.state_bytes / plan.trace_rate
    return "" if found.trace_s <= 1.01 * last_s else ": a greater --trace-every spares most of that waiting"


def _creditable(plan: Plan, found: Estimate) -> str:
    """How many rounds an epoch has, and whether its report can credit them all."""
    of = min(plan.members, found.most_members)
    text = f"{found.epoch_rounds:,}; a report credits up to {found.report_rounds:,} of {_counted(of, 'member')}"
    if plan.members > of:
        text += f", which is as many as a round takes of {plan.members:,}"
    if found.epoch_rounds > found.report_rounds:
        text += f". THE REST IS NEVER PAID: more --steps, or --epoch-days of at most {_longest_epoch(found):g}"
    return text


def _longest_epoch(found: Estimate) -> float:
    """Days of an epoch whose rounds a report can all credit, to two digits, rounded down."""
    days = found.report_rounds * found.days / found.rounds
    unit = 10.0 ** (math.floor(math.log10(days)) - 1)
    return math.floor(days / unit) * unit


def _shape(model: str | None, parameters: str | None, active: str | None) -> Shape:
    from dataclasses import replace

    from commonweight.estimate import SHAPES, Shape

    if (model is None) == (parameters is None):
        why = "Neither was given" if model is None else "Both were given"
        raise UsageError("Which model?", why, "Name one of --model and --parameters.")
    if model is not None and model not in SHAPES:
        raise UsageError(f"There is no model {model} here.", "", f"Choose from {', '.join(SHAPES)}.")
    count = int(parse_count(parameters or "0"))
    found = SHAPES[model] if model is not None else Shape(f"{parameters} parameters", count, count)
    return found if active is None else replace(found, active=int(parse_count(active)))


def _gpu(name: str) -> Gpu:
    """A listed card, also by its full name, like RTX 4090."""
    from commonweight.estimate import GPUS

    found = GPUS.get(_MAKERS.sub("", re.sub(r"[^a-z0-9]", "", name.lower())))
    if found is None:
        raise UsageError(f"There is no GPU {name} here.", "", f"Choose from {', '.join(GPUS)}.")
    return found


def _counted(count: float, name: str) -> str:
    return f"{count:,.15g} {name}{'' if count == 1 else 's'}"


def _bytes(count: int) -> str:
    for unit, power in (("TB", 12), ("GB", 9), ("MB", 6), ("kB", 3)):
        if count >= 10**power:
            return f"{count / 10**power:,.2f} {unit}"
    return f"{count} B"


def _short(value: float) -> str:
    for suffix, power in (("T", 12), ("B", 9), ("M", 6), ("K", 3)):
        if value >= 10**power:
            return f"{value / 10**power:.4g}{suffix}"
    return f"{value:g}"


def _few(value: float) -> str:
    """A number of which small ones show two digits."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
