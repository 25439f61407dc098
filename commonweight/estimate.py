"""What a run would take: FLOPs, GPU-hours, traffic, round times, memory, gas and price, from a plan alone.

A pure module: `estimate(plan)` asks nobody anything. Each formula says where it comes from; tests compare them with
published runs (INTELLECT-1, arXiv 2412.01152; Llama 3.1 405B, arXiv 2407.21783) and the gas with snapshots/gas.json.
Compute and time are estimates and therefore floats; bytes, gas and credits are exact integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from commonweight.errors import UsageError
from commonweight.exact.codecs import encoded_size
from commonweight.protocol.capacity import most_members, most_rounds
from commonweight.protocol.modelconfig import PRESETS, ModelConfig
from commonweight.protocol.runconfig import CODECS, RunConfig, Training, Verification

PROGRAM_BYTES = 300 << 20  # Python with PyTorch, before a model is there
_DEVICE, _BESIDE = 16, 112  # bytes a parameter
SIGNERS = 4
SCORE_PASSES = 7
"""Forward passes over a payload's windows that its scores take."""
FLOPS_PER_CREDIT = 10**9  # section 2 of the specification
EARNING_FACTOR = 800  # of 1000, before the link's score: section 6.5
EPOCH_LIST_GAS = 197  # each further credited provider in a report
GAS: Mapping[str, int] = {  # snapshots/gas.json
    "create a run": 2_146_761,
    "register a provider": 191_611,
    "post a bond": 32_356,
    "deposit, first by a funder": 54_805,
    "anchor a round": 82_101,
    "close an epoch": 122_169,
    "report, 3 of 4 signers, 10 credited providers": 107_757,
    "finalise an epoch": 333_884,
    "claim by a provider, depth 16, first": 107_060,
    "claim from the capital pool, first": 72_456,
}


@dataclass(frozen=True)
class Gpu:
    """A device: dense bf16 FLOP/s and bytes of memory, both from its data sheet (without sparsity)."""

    name: str
    peak_flops: float
    memory_bytes: int


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("h100", 989.4e12, 80 * 10**9),
        Gpu("h200", 989.4e12, 141 * 10**9),
        Gpu("b200", 2250e12, 192 * 10**9),
        Gpu("a100", 312e12, 80 * 10**9),
        Gpu("4090", 165.2e12, 24 * 10**9),
        Gpu("3090", 71e12, 24 * 10**9),
    )
}


@dataclass(frozen=True)
class Shape:
    """A model: all parameters P, those that one token uses (fewer than P for a mixture of experts), and what attention
    costs. `layers` or `width` 0 leaves attention and activations out, `vocab` 0 the logits.
    """

    name: str
    parameters: int
    active: int
    layers: int = 0
    width: int = 0
    vocab: int = 0

    @classmethod
    def of(cls, model: ModelConfig) -> Shape:
        """The shape of a configured model."""
        count = model.parameters()
        return cls(model.preset, count, count, model.num_layers, model.num_heads * model.head_dim, model.vocab_size)


def _llama(name: str, hidden: int, inter: int, layers: int, heads: int) -> Shape:
    model = ModelConfig(
        preset="custom",
        vocab_size=128_256,
        hidden_size=hidden,
        intermediate_size=inter,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=8,
        head_dim=128,
        max_seq_len=8192,
        tie_embeddings=False,
    )
    return Shape(name, model.parameters(), model.parameters(), layers, hidden, model.vocab_size)


SHAPES = {
    **{name: Shape.of(model) for name, model in PRESETS.items()},
    "intellect-1": _llama("intellect-1", 4096, 14_336, 42, 32),
    "llama-3.1-405b": _llama("llama-3.1-405b", 16_384, 53_248, 126, 128),
}


@dataclass(frozen=True)
class Plan:
    """Everything that an estimate rests on. Rates in bits per second, times in seconds, money in dollars.

    Exactly one of `tokens` and `budget` is given. A member takes `h` inner steps of `step_tokens` tokens a round, and
    after every `trace_every` of them hashes and writes its state, `trace_rate` bytes a second, beside the next ones.
    `mfu` is the part of a device's peak that training reaches while it computes, `availability` the part of the time
    in which devices that are paid for compute at all. Between a round's steps and its exchange lies the anchor's window
    of `window_s`; `overlap` hides both behind the next round's first steps. In a `star` the coordinator reduces, over a
    link of `coordinator_bps` each way; in a `butterfly` it only takes everybody's payload.
    """

    shape: Shape
    gpu: Gpu
    tokens: float | None = None
    budget: float | None = None
    members: int = 16
    gpus: int = 1
    h: int = 100
    trace_every: int = Training.trace_every
    trace_rate: float = 2e9
    topology: str = "butterfly"
    step_tokens: int = 1 << 20
    seq_len: int = 4096
    codec: str = "int8"
    result_codec: str = "int8"
    block: int = 128
    upload_bps: float = 1e9
    download_bps: float = 1e9
    coordinator_bps: float = 1e11
    rtt_s: float = 0.05
    window_s: float = 120.0
    overlap: bool = False
    mfu: float = 0.4
    availability: float = 0.9
    hour_price: float = 2.0
    oracle_bps: int = 500
    replay_bps: int = Verification.replay_rate_min_bps
    epoch_s: float = 86_400.0
    funders: int = 1000
    gas_price_gwei: float = 1.0
    ether_price: float = 3000.0

    def __post_init__(self) -> None:
        if (self.tokens is None) == (self.budget is None):
            why = "Neither was given" if self.tokens is None else "Both were given"
            raise UsageError("How long is the run?", why, "Name one of --tokens and --budget.")
        for name, bound in _BOUNDS.items():
            bound.require(getattr(self, name))
        if self.step_tokens < self.seq_len:
            raise UsageError(
                f"--step-tokens must be at least a window, {self.seq_len}.",
                f"It is {self.step_tokens}, and a step takes whole windows",
                "Name more, or shorter windows by --seq-len.",
            )
        if self.trace_every > self.h:
            raise UsageError(
                f"--trace-every must be at most --steps, {self.h}.", f"It is {self.trace_every}", "Name fewer."
            )
        _PARAMETERS.require(self.shape.parameters)
        replace(_ACTIVE, most=self.shape.parameters).require(self.shape.active)
        for flag, codec in (("--codec", self.codec), ("--results", self.result_codec)):
            if codec not in CODECS:
                raise UsageError(f"{flag} cannot be {codec}.", "", f"Choose from {', '.join(CODECS)}.")
        if self.topology not in ("butterfly", "star"):
            raise UsageError(f"--topology cannot be {self.topology}.", "", "Choose butterfly or star.")


@dataclass(frozen=True)
class _Bound:
    """What a flag of the command may be: finite, above `low` (or that too), at most `most`. All in a plan's units, of
    which one of the flag's own is `unit`.
    """

    flag: str
    unit: float = 1.0
    low: float = 0.0
    low_too: bool = False
    most: float = math.inf

    def require(self, value: float | None) -> None:
        """Raise UsageError for a value that cannot be; None is none."""
        if value is None:
            return
        if not math.isfinite(value):
            raise UsageError(f"{self.flag} must be a finite number.", f"It is {value}", "Correct it.")
        if value < self.low or value > self.most or (value == self.low and not self.low_too):
            least = f"{'at least' if self.low_too else 'above'} {self.low / self.unit:.15g}"
            most = "" if self.most == math.inf else f" and at most {self.most / self.unit:.15g}"
            raise UsageError(f"{self.flag} must be {least}{most}.", f"It is {value / self.unit:.15g}", "Correct it.")


def _at_least(flag: str, low: float, unit: float = 1.0) -> _Bound:
    return _Bound(flag, unit, low, low_too=True)


_BOUNDS: Mapping[str, _Bound] = {
    "tokens": _Bound("--tokens"),
    "budget": _Bound("--budget"),
    "members": _at_least("--members", 1),
    "gpus": _at_least("--gpus", 1),
    "h": _at_least("--steps", 1),
    "trace_every": _at_least("--trace-every", 1),
    "trace_rate": _Bound("--trace-rate", 1e9),
    "step_tokens": _at_least("--step-tokens", 1),
    "seq_len": _at_least("--seq-len", 1),
    "block": _at_least("The block", 1),
    "upload_bps": _Bound("--up", 1e6),
    "download_bps": _Bound("--down", 1e6),
    "coordinator_bps": _Bound("--coordinator", 1e9),
    "rtt_s": _at_least("--rtt", 0, 1e-3),
    "window_s": _at_least("--window", 0),
    "mfu": _Bound("--mfu", 0.01, most=1.0),
    "availability": _Bound("--availability", 0.01, most=1.0),
    "hour_price": _Bound("--hour-price"),
    "oracle_bps": _Bound("The signers' fee", 100, low_too=True, most=10_000),
    "replay_bps": _Bound("The rate of replays", 100, low_too=True, most=10_000),
    "epoch_s": _Bound("--epoch-days", 86_400),
    "funders": _at_least("--funders", 0),
    "gas_price_gwei": _at_least("--gas-gwei", 0),
    "ether_price": _at_least("--ether-price", 0),
}
_PARAMETERS, _ACTIVE = _at_least("--parameters", 1), _at_least("--active", 1)


@dataclass(frozen=True)
class Estimate:
    """The figures. Bytes are those that one member sends: `allreduce_bytes` to other members, of whom it receives as
    many, `upload_bytes` to the coordinator, of whom it gets `download_bytes`. `coordinator_bytes` are what that takes
    in and gives out in a round. A round has `trace_states` of `state_bytes` each, for which its steps wait `trace_s`,
    and leaves `disk_bytes` with a member. `signers_flops` are what replays and scores take. Of an epoch's
    `epoch_rounds` its report credits `report_rounds` at the most; a round has at most `most_members`, and others take
    part in the next one.
    """

    tokens: float
    flops: float
    gpu_hours: float
    days: float
    rounds: int
    epochs: int
    compute_s: float
    trace_s: float
    exchange_s: float
    round_s: float
    computing: float
    allreduce_bytes: int
    upload_bytes: int
    download_bytes: int
    replay_bytes: int
    coordinator_bytes: int
    synchronous_ratio: float
    memory_bytes: int
    gpu_memory_bytes: int
    trace_states: int
    state_bytes: int
    disk_bytes: int
    signers_flops: float
    signers_gpu_hours: float
    credits: int
    compute_price: float
    oracle_price: float
    gas: int
    gas_price: float
    price: float
    epoch_rounds: int
    report_rounds: int
    most_members: int


def flops_per_token(shape: Shape, seq_len: int) -> float:
    """Forward and backward: 6 a parameter (arXiv 2001.08361) and 12 x layers x width x context for attention (PaLM,
    arXiv 2204.02311, appendix B; without discount for the causal mask).
    """
    return 6.0 * shape.active + 12.0 * shape.layers * shape.width * seq_len


def muon_share(shape: Shape, step_tokens: int) -> float:
    """At most so much of a step's other FLOPs do Muon's iterations take, 0 for a shape whose width is not known.

    Five iterations on a matrix of m rows and n >= m columns are 5 (4 m^2 n + 2 m^3) FLOPs, forward and backward
    6 m n a token: with m the width, no more than 5 m / tokens of them.
    """
    return 5.0 * shape.width / step_tokens


def allreduce_bytes(parameters: int, members: int, codec: str, result_codec: str, block: int) -> int:
    """What a member sends in one butterfly all-reduce: its payload's parts to their reducers, and its own reduced part
    to everybody else.
    """
    payload, result = encoded_size(parameters, codec, block), encoded_size(parameters, result_codec, block)
    return (payload + result) * (members - 1) // members


def device_bytes(shape: Shape, windows: int, seq_len: int) -> int:
    """What lies where the steps are taken, in fp32: weights, gradients and both Adam moments (4 bytes each), 34 x
    windows x context x width bytes of activations a layer (arXiv 2205.05198, equation 2 without the attention matrix,
    which a fused kernel does not keep), and the logits with their gradient.
    """
    activations = 34 * windows * seq_len * shape.width * shape.layers
    return _DEVICE * shape.parameters + activations + 2 * 4 * windows * seq_len * shape.vocab


def memory_bytes(shape: Shape, windows: int, seq_len: int) -> int:
    """All that a member needs at its peak: the program, `device_bytes`, and beside them what a round has 112 bytes a
    parameter for, as docs/estimate.md measures: checkpoints while one is named and written, the first state, and what
    of payloads and states passes through. Several ranks share `device_bytes`; the rest is rank 0's, but for a program
    each.
    """
    return PROGRAM_BYTES + device_bytes(shape, windows, seq_len) + _BESIDE * shape.parameters


def round_bytes(
    parameters: int, h: int, trace_every: int, codec: str, block: int, keep_states: int = 1
) -> int:  # fmt: skip
    """What a round leaves on a member's disk at most: its trace states, payload, residual, and the checkpoint after it.

    Of the states every `keep_states`-th stays, and the newest. Each is weights and two moments; the residual is the
    same all round, and zeros are what a member without history begins with.
    """
    segments = math.ceil(h / trace_every)
    states = math.ceil(segments / keep_states) + (keep_states > 1)
    base, zeros, residual = 1, 1, 1
    arrays = 4 * parameters * (base + zeros + residual) + states * state_bytes(parameters)
    return arrays + encoded_size(parameters, codec, block) + checkpoint_bytes(parameters)


def state_bytes(parameters: int) -> int:
    """What a trace state has that no other one of its round has: weights and two moments, float32."""
    return 12 * parameters


def checkpoint_bytes(parameters: int) -> int:
    """Weights and outer momentum, float32."""
    return 8 * parameters


def draws_a_round(members: int, replay_bps: int, signers: int = SIGNERS) -> float:
    """How many segments are replayed a round, on average: one of each member drawn at the rate, and where fewer are
    drawn than there are signers, as many as these (`protocol.draws`).
    """
    rate = replay_bps / 10_000
    more = (
        math.comb(members, drawn) * rate**drawn * (1 - rate) ** (members - drawn) * (signers - drawn)
        for drawn in range(1, min(signers - 1, members) + 1)
    )
    return members * rate + math.fsum(more)


def trace_wait_s(segments: int, segment_s: float, state_s: float) -> float:
    """How long the steps of a round wait for trace states to be hashed and written. On a card each state is copied, and
    the next segment is computed meanwhile; after the last one there is none.
    """
    return (segments - 1) * max(0.0, state_s - segment_s) + state_s


def training_memory(config: RunConfig) -> int:
    """`memory_bytes` of a member of this run."""
    return memory_bytes(Shape.of(config.model), config.training.batch, config.training.seq_len)


def estimate(plan: Plan) -> Estimate:
    """All figures of a plan."""
    each = flops_per_token(plan.shape, plan.seq_len)
    hour_flops = plan.gpu.peak_flops * plan.mfu * 3600
    tokens = plan.tokens if plan.tokens is not None else _affordable(plan, each, hour_flops)
    flops = each * tokens

    parameters, members = plan.shape.parameters, plan.members
    round_tokens = plan.h * plan.step_tokens * members
    rounds = max(1, math.ceil(tokens / round_tokens))
    compute_s = plan.h * plan.step_tokens * each / (plan.gpu.peak_flops * plan.mfu * plan.gpus)
    star = plan.topology == "star"
    traded = 0 if star else allreduce_bytes(parameters, members, plan.codec, plan.result_codec, plan.block)
    upload = encoded_size(parameters, plan.codec, plan.block)
    download = encoded_size(parameters, plan.result_codec, plan.block) if star else 0
    # weights and both moments at a drawn segment's ends, and the error feedback that both have
    draws = draws_a_round(members, plan.replay_bps)
    replay = round(28 * parameters * draws / members)
    up_s = max((traded + upload + replay) * 8 / plan.upload_bps, traded * 8 / plan.download_bps)
    down_s = max(download * 8 / plan.download_bps, members * download * 8 / plan.coordinator_bps)
    exchange_s = max(up_s, members * upload * 8 / plan.coordinator_bps) + down_s + 4 * plan.rtt_s
    exchange_s = 0.0 if members == 1 else exchange_s
    segments = math.ceil(plan.h / plan.trace_every)
    segment_s, state_s = compute_s * plan.trace_every / plan.h, state_bytes(parameters) / plan.trace_rate
    trace_s = trace_wait_s(segments, segment_s, state_s)
    waiting_s = plan.window_s + exchange_s
    round_s = max(compute_s + trace_s, waiting_s) if plan.overlap else compute_s + trace_s + waiting_s

    computing = compute_s / round_s
    gpu_hours = flops / hour_flops / plan.availability / computing
    seconds = rounds * round_s / plan.availability
    epochs = max(1, math.ceil(seconds / plan.epoch_s))
    gas = _gas(plan, rounds, epochs)
    gas_price = gas * plan.gas_price_gwei * 1e-9 * plan.ether_price
    compute_price = gpu_hours * plan.hour_price
    oracle_price = compute_price * plan.oracle_bps / 10_000
    windows = max(1, plan.gpus)
    replayed = draws * plan.trace_every * plan.step_tokens
    scores = members * Verification.contribution_rate_bps / 10_000
    scored = scores * SCORE_PASSES * Verification.contribution_windows * plan.seq_len / 3
    signers_flops = rounds * (replayed + scored) * each
    synchronous = plan.h * allreduce_bytes(parameters, members, "fp32", "fp32", plan.block)
    return Estimate(
        tokens=tokens,
        flops=flops,
        gpu_hours=gpu_hours,
        days=seconds / 86_400,
        rounds=rounds,
        epochs=epochs,
        compute_s=compute_s,
        trace_s=trace_s,
        exchange_s=exchange_s,
        round_s=round_s,
        computing=computing,
        allreduce_bytes=traded,
        upload_bytes=upload,
        download_bytes=download,
        replay_bytes=replay,
        coordinator_bytes=members * (upload + download),
        synchronous_ratio=2 * synchronous / (2 * traded + upload + download + replay) if members > 1 else 1.0,
        memory_bytes=memory_bytes(plan.shape, windows, plan.seq_len),
        gpu_memory_bytes=device_bytes(plan.shape, windows, plan.seq_len) // plan.gpus,
        trace_states=segments,
        state_bytes=state_bytes(parameters),
        disk_bytes=round_bytes(parameters, plan.h, plan.trace_every, plan.codec, plan.block),
        signers_flops=signers_flops,
        signers_gpu_hours=signers_flops / hour_flops / plan.availability,
        credits=6 * parameters * int(tokens) * (EARNING_FACTOR + (0 if star else 200)) // 1000 // FLOPS_PER_CREDIT,
        compute_price=compute_price,
        oracle_price=oracle_price,
        gas=gas,
        gas_price=gas_price,
        price=compute_price + oracle_price + gas_price,
        epoch_rounds=math.ceil(plan.epoch_s * plan.availability / round_s),
        report_rounds=most_rounds(members, SIGNERS, plan.topology),
        most_members=most_members(SIGNERS, plan.topology),
    )


def _affordable(plan: Plan, each: float, hour_flops: float) -> float:
    """How many tokens the budget pays for, gas left aside: what a token costs does not depend on their number."""
    assert plan.budget is not None
    probe = estimate(_with_tokens(plan, float(plan.h * plan.step_tokens * plan.members)))
    per_token = each / hour_flops / plan.availability / probe.computing * plan.hour_price
    return plan.budget / (per_token * (1 + plan.oracle_bps / 10_000))


def _with_tokens(plan: Plan, tokens: float) -> Plan:
    return replace(plan, tokens=tokens, budget=None)


def _gas(plan: Plan, rounds: int, epochs: int) -> int:
    """Creation, deposits, registrations, an anchor a round, three transactions an epoch, and one claim by everybody."""
    report = GAS["report, 3 of 4 signers, 10 credited providers"] + EPOCH_LIST_GAS * max(0, plan.members - 10)
    each_epoch = GAS["close an epoch"] + report + GAS["finalise an epoch"]
    each_funder = GAS["deposit, first by a funder"] + GAS["claim from the capital pool, first"]
    each_member = GAS["register a provider"] + GAS["claim by a provider, depth 16, first"]
    once = GAS["create a run"] + 4 * GAS["post a bond"]
    return (
        once
        + plan.funders * each_funder
        + plan.members * each_member
        + rounds * GAS["anchor a round"]
        + epochs * each_epoch
    )
