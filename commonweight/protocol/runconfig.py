"""The run configuration `run.json`: all of training, checking and serving, named on chain by its SHA-256.

Outside data comes in through pydantic (strict, nothing unknown) and leaves as frozen dataclasses. Real numbers are
decimal text: floats have no place in hashed documents. `RunConfig.load` takes only the canonical bytes with every
field present; `RunConfig.parse` takes a partial object and fills in defaults, for whoever writes a new
configuration.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from commonweight.errors import ConfigError
from commonweight.protocol.canonical import Json, JsonObject, dumps, loads_object, sha256_hex
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.modelconfig import PRESETS, ModelConfig, Real, real_between, unknown_preset
from commonweight.protocol.wrongfields import in_words

__all__ = [
    "CODECS",
    "METHODS",
    "SCHEMA",
    "WRONG",
    "Aggregation",
    "DataSource",
    "Inner",
    "Outer",
    "RunConfig",
    "Serving",
    "Timing",
    "Training",
    "Verification",
]

SCHEMA = "commonweight.run.v1"
WRONG = "The run configuration is wrong"
CODECS = ("fp32", "fp16", "int8", "int4", "int2", "int1", "ternary", "topk2")
METHODS = ("clipped-mean", "mean", "trimmed-mean", "median")

Digest = Annotated[str, Field(pattern=r"^0x[0-9a-f]{64}$")]
Address = Annotated[str, Field(pattern=r"^0x[0-9a-f]{40}$")]
Peer = Annotated[str, Field(max_length=256, pattern=r"^[^\s]+:[0-9]{1,5}$")]
Units = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,38})$")]
Milliseconds = Annotated[int, Field(ge=10, le=10**9)]
Codec = Literal["fp32", "fp16", "int8", "int4", "int2", "int1", "ternary", "topk2"]

_TEXTS: dict[object, str] = {
    Real: 'a number in quotes, like "3e-3"',
    Units: 'a whole number in quotes, like "1000"',
    Digest: '"0x" and 64 digits, 0 to 9 or a to f',
    Address: '"0x" and 40 digits, 0 to 9 or a to f',
    Peer: 'host:port, like "oracle.example.org:7700"',
}

_STRICT = ConfigDict(extra="forbid", strict=True)
_COARSE: JsonObject = {"tolerance_rel_l2": "5e-2", "tolerance_norm_ratio": "5e-2"}  # docs/verification.md
_SIGNS: JsonObject = {"copy_cosine_bps": 8_400, "copy_cosine_short_bps": 8_400}
"""Signs of vectors at an angle t agree as if their cosine were 1 - 2 t / pi: what 0.97 is to int1."""
_UNSEEN: JsonObject = {"contribution_rate_bps": 10_000}  # where nothing can be replayed, everything is scored


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """The data manifest, by content.

    `private_credit_bps` is null where members train on the manifest's training split. A number makes it a run on
    private shards: each member trains on shards of its own that never leave its machine, nothing can be replayed, and
    work is credited with that share of what replayed work is, in basis points.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    manifest_cid: Annotated[str, Field(pattern=r"^[A-Za-z0-9]{0,128}$")]
    manifest_sha256: Digest
    private_credit_bps: Annotated[int, Field(ge=0, le=10_000)] | None = None


@dataclass(frozen=True, kw_only=True)
class Inner:
    """The inner optimizer; `warmup` counts optimizer steps over which the rate rises linearly, `cooldown` rounds at the
    end of a run of `max_rounds` over which it falls linearly (arXiv 2502.15938), to a tenth; 0 keeps it as it is.

    `momentum` is that of `muon`, whose other settings are those of AdamW for the tensors that it does not step.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    optimizer: Literal["adamw", "sgd", "muon"] = "muon"
    lr: Real = "3e-3"
    betas: tuple[Real, Real] = ("0.9", "0.95")
    momentum: Real = "0.95"
    eps: Real = "1e-8"
    weight_decay: Real = "0.1"
    clip: Real = "1.0"
    warmup: Annotated[int, Field(ge=0, le=10**9)] = 20
    cooldown: Annotated[int, Field(ge=0, le=2**40)] = 0

    @property
    def memory(self) -> str:
        """The decay of the longest momentum."""
        return max(self.momentum, self.betas[0], key=float) if self.optimizer == "muon" else self.betas[0]


@dataclass(frozen=True, kw_only=True)
class Outer:
    """The outer optimizer: SGD with Nesterov momentum."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    lr: Real = "1.0"
    momentum: Real = "0.4"


@dataclass(frozen=True, kw_only=True)
class Aggregation:
    """How the members' parts become one; `trim_bps` is the share cut off at each end by trimmed-mean."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    method: Literal["clipped-mean", "mean", "trimmed-mean", "median"] = "clipped-mean"
    trim_bps: Annotated[int, Field(ge=0, le=4999)] = 1000


@dataclass(frozen=True, kw_only=True)
class Training:
    """One round: H inner steps of `batch` windows of `seq_len` tokens, then an exchange in `codec`.

    `carry_residual`: a member's steps begin at the base less its residual, which so is part of what it sends next.
    `overlap`: steps of the next round that a member may take from where it stands, until the base of that round is
    there; 0 has it wait. `topology`: who reduces the payloads, the members among themselves (`butterfly`) or the
    coordinator alone, to which all go anyway (`star`: less traffic for each member, more for the coordinator).
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    h: Annotated[int, Field(ge=1, le=100_000)] = 30
    topology: Literal["butterfly", "star"] = "butterfly"
    batch: Annotated[int, Field(ge=1, le=2**16)] = 8
    seq_len: Annotated[int, Field(ge=2, le=2**20)] = 96
    inner: Inner = field(default_factory=Inner)
    outer: Outer = field(default_factory=Outer)
    codec: Codec = "int1"
    codec_version: Literal[1] = 1
    result_codec: Codec = "ternary"
    block: Annotated[int, Field(ge=8, le=65536, multiple_of=8)] = 512
    error_feedback: bool = True
    carry_residual: bool = True
    overlap: Annotated[int, Field(ge=0, le=100_000)] = 0
    trace_every: Annotated[int, Field(ge=1, le=100_000)] = 5
    dtype: Literal["float32", "bfloat16"] = "float32"
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    aggregation: Aggregation = field(default_factory=Aggregation)
    min_members: Annotated[int, Field(ge=1, le=10_000)] = 2
    max_rounds: Annotated[int, Field(ge=1, le=2**40)] | None = None

    def pace(self, number: int, done: int) -> float:
        """What the inner rate is multiplied by at the step after `done` steps of round `number`, both of a plan.

        Rounds that made no checkpoint have numbers too: those beyond `max_rounds` are as the last one. It is a tenth at
        least: members that hardly move do not drift apart, and honest payloads would be as alike as copies.
        """
        if self.max_rounds is None or not self.inner.cooldown:
            return 1.0
        left = max(self.max_rounds - number, 0) + 1 - min(done, self.h - 1) / self.h
        return min(1.0, max(0.1, left / self.inner.cooldown))


@dataclass(frozen=True, kw_only=True)
class Timing:
    """First budgets of a round in milliseconds (the coordinator adapts them) and the first ban for slowness."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    train: Milliseconds = 60_000
    exchange: Milliseconds = 30_000
    record: Milliseconds = 15_000
    slow_ban: Milliseconds = 30_000


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Rates, tolerances and references of the verification (section 6 of the specification)."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    replay_rate_bps: Annotated[int, Field(ge=1, le=10_000)] = 10_000
    replay_rate_min_bps: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    contribution_rate_bps: Annotated[int, Field(ge=0, le=10_000)] = 1_000
    contribution_windows: Annotated[int, Field(ge=2, le=10_000)] = 32
    contribution_margin_micro: Annotated[int, Field(ge=0, le=10**9)] = 10_000
    copy_cosine_bps: Annotated[int, Field(ge=1, le=10_000)] = 9_000
    copy_cosine_short_bps: Annotated[int, Field(ge=1, le=10_000)] = 9_700
    copy_window: Annotated[int, Field(ge=0, le=1_000)] = 8
    credit_value_floor: Units = "0"
    tolerance_rel_l2: Real = "1e-3"
    tolerance_norm_ratio: Real = "1e-3"
    state_wait_ms: Milliseconds = 10_000
    loss_tolerance_micro: Annotated[int, Field(ge=0, le=10**9)] = 2000
    max_part_norm: Real = "1e6"
    heldout_windows: Annotated[int, Field(ge=1, le=10**6)] = 128
    bandwidth_ref_bps: Annotated[int, Field(ge=1, le=10**15)] = 100_000_000
    latency_ref_us: Annotated[int, Field(ge=1, le=10**9)] = 50_000


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What inference costs: smallest units of the asset per token, prompt and completion alike, as a decimal string."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    price_per_token: Units = "1000000000000"  # noqa: S105
    max_completion_tokens: Annotated[int, Field(ge=1, le=2**20)] = 256


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The whole of run.json. `signers_peers` maps signers' addresses (lower case) to host:port."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    schema: Literal["commonweight.run.v1"] = "commonweight.run.v1"
    name: Annotated[str, Field(min_length=1, max_length=100)]
    model: ModelConfig
    genesis_seed: Digest
    data: DataSource
    training: Training = field(default_factory=Training)
    timing_ms: Timing = field(default_factory=Timing)
    verification: Verification = field(default_factory=Verification)
    serving: Serving = field(default_factory=Serving)
    signers_peers: dict[Address, Peer] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: Mapping[str, Json]) -> "RunConfig":
        """Reads an object, filling in defaults: a model of `{"preset": name}` takes its sizes from the preset, a run
        in bfloat16 wider tolerances, one that sends signs alone lower bounds of likeness, one on private shards scores
        every payload; and a drawn state may take the longer to come the larger the model is.

        Raises ConfigError that names the field.
        """
        whole = dict(value)
        model = whole.get("model")
        if isinstance(model, dict) and isinstance(preset := model.get("preset"), str) and preset != "custom":
            if preset not in PRESETS:
                raise unknown_preset(preset[:32])
            whole["model"] = {**PRESETS[preset].to_json(), **model}
        training, rules = whole.get("training", {}), whole.get("verification", {})
        source = whole.get("data")
        unseen = isinstance(source, dict) and source.get("private_credit_bps") is not None
        if isinstance(training, dict) and isinstance(rules, dict):
            usual: JsonObject = {}
            if training.get("codec", Training.codec) == "int1":
                usual |= _SIGNS
            if training.get("dtype") == "bfloat16":
                usual |= _COARSE
            if unseen:
                usual |= _UNSEEN
            whole["verification"] = {**usual, **rules}
        try:
            config = _adapter().validate_json(json.dumps(whole))
        except ValidationError as error:
            raise ConfigError(WRONG, *in_words(error.errors()[0], cls, _TEXTS)) from error
        if isinstance(rules, dict) and "state_wait_ms" not in rules:
            wait_ms = usual_state_wait_ms(config.model.parameters())
            config = replace(config, verification=replace(config.verification, state_wait_ms=wait_ms))
        config._check()
        return config

    @classmethod
    def load(cls, data: bytes) -> "RunConfig":
        """Reads run.json: canonical bytes with every field present. Raises ConfigError or CanonicalJsonError."""
        config = cls.parse(loads_object(data, 2**20))
        if config.to_bytes() != data:
            raise ConfigError(
                "The run configuration leaves fields out",
                "its hash would not say what they are",
                "write it with `RunConfig.to_bytes`",
            )
        return config

    def to_json(self) -> JsonObject:
        """The object, with every field."""
        value = _plain(self)
        assert isinstance(value, dict)
        return value

    def to_bytes(self) -> bytes:
        """run.json."""
        return dumps(self.to_json())

    @cached_property
    def sha256(self) -> str:
        """The configuration's digest, 0x-hex; its bytes are RunParams.configSha256."""
        return sha256_hex(self.to_bytes())

    @property
    def private(self) -> bool:
        """Whether members train on shards that never leave them."""
        return self.data.private_credit_bps is not None

    @property
    def credit_bps(self) -> int:
        """The share of a credit that verified work earns, in basis points: all of it where it can be replayed."""
        return 10_000 if self.data.private_credit_bps is None else self.data.private_credit_bps

    @property
    def genesis_seed_bytes(self) -> bytes:
        """The 32 bytes of the genesis seed."""
        return digest_bytes(self.genesis_seed)

    def tokens(self, steps: int) -> int:
        """Training tokens of a number of inner steps."""
        return steps * self.training.batch * self.training.seq_len

    def _check(self) -> None:
        """What spans fields."""
        self.model.check()
        training, inner = self.training, self.training.inner
        if training.seq_len > self.model.max_seq_len:
            raise ConfigError("training.seq_len exceeds model.max_seq_len", f"{training.seq_len}", "shorten it")
        if training.trace_every > training.h:
            raise ConfigError("training.trace_every exceeds training.h", f"{training.trace_every}", "lower it")
        if training.overlap % training.trace_every or training.overlap + training.trace_every > training.h:
            raise ConfigError(
                "training.overlap is not a whole number of trace segments, one fewer than a round has at most",
                f"{training.overlap} of {training.h} steps, {training.trace_every} to a segment",
                "the base comes in between two segments, and at least one has to follow it",
            )
        if training.carry_residual and not training.error_feedback:
            raise ConfigError(
                "training.carry_residual needs training.error_feedback",
                "without it there is no residual",
                "switch error feedback on, or carrying off",
            )
        if inner.cooldown > (training.max_rounds or 0):
            rounds = "no training.max_rounds" if training.max_rounds is None else f"{training.max_rounds} rounds"
            raise ConfigError(
                "training.inner.cooldown is longer than the run",
                f"it takes {inner.cooldown} rounds, and the run has {rounds}",
                "set training.max_rounds to at least as many, or leave the cooldown out",
            )
        real_between("training.inner.lr", inner.lr, 1e-12, 1e3)
        for beta in inner.betas:
            real_between("training.inner.betas", beta, 0.0, 0.999999)
        real_between("training.inner.momentum", inner.momentum, 0.0, 0.999999)
        real_between("training.inner.eps", inner.eps, 1e-20, 1.0)
        real_between("training.inner.weight_decay", inner.weight_decay, 0.0, 10.0)
        real_between("training.inner.clip", inner.clip, 0.0, 1e6)
        real_between("training.outer.lr", training.outer.lr, 1e-6, 100.0)
        real_between("training.outer.momentum", training.outer.momentum, 0.0, 0.9999)
        real_between("verification.tolerance_rel_l2", self.verification.tolerance_rel_l2, 0.0, 1.0)
        real_between("verification.tolerance_norm_ratio", self.verification.tolerance_norm_ratio, 0.0, 1.0)
        real_between("verification.max_part_norm", self.verification.max_part_norm, 1e-6, 1e18)


def usual_state_wait_ms(parameters: int) -> int:
    """How long a signer waits for drawn states unless a run says otherwise: ten seconds, and what two of them, 16 bytes
    a parameter each, take at 20 Mbit/s.
    """
    return min(10**9, 10_000 + -(-2 * 16 * parameters * 8 * 1000 // 20_000_000))


def _adapter() -> TypeAdapter[RunConfig]:
    return TypeAdapter(RunConfig)


def _plain(value: object) -> Json:
    """Dataclasses and tuples as JSON values."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | str):
        return value
    return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}  # type: ignore[arg-type]
