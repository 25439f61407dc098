"""The run configuration: canonical, complete, and every value within its bounds."""

import copy

import pytest

from commonweight.errors import CanonicalJsonError, ConfigError
from commonweight.protocol.canonical import Json, JsonObject, dumps
from commonweight.protocol.modelconfig import PRESETS
from commonweight.protocol.runconfig import RunConfig

pytestmark = pytest.mark.unit

MINIMAL = {
    "name": "x",
    "model": {"preset": "nano"},
    "genesis_seed": "0x" + "00" * 32,
    "data": {"manifest_cid": "bafkreiabc", "manifest_sha256": "0x" + "11" * 32},
}


def test_a_configuration_survives_the_way_there_and_back() -> None:
    config = RunConfig.parse(MINIMAL)
    assert RunConfig.load(config.to_bytes()) == config
    assert RunConfig.load(config.to_bytes()).sha256 == config.sha256
    assert config.tokens(20) == 20 * 8 * 96
    assert config.genesis_seed_bytes == bytes(32)


def test_a_run_in_bfloat16_has_wider_tolerances_unless_it_names_its_own() -> None:
    coarse = {**MINIMAL, "training": {"dtype": "bfloat16"}}
    assert RunConfig.parse(MINIMAL).verification.tolerance_rel_l2 == "1e-3"
    found = RunConfig.parse(coarse).verification
    assert (found.tolerance_rel_l2, found.tolerance_norm_ratio) == ("5e-2", "5e-2")
    own = RunConfig.parse({**coarse, "verification": {"tolerance_rel_l2": "3e-2"}})
    assert (own.verification.tolerance_rel_l2, own.verification.tolerance_norm_ratio) == ("3e-2", "5e-2")
    assert RunConfig.load(own.to_bytes()) == own


def test_a_drawn_state_may_take_as_long_as_it_takes_on_a_thin_link_unless_a_run_says_otherwise() -> None:
    wait_ms = RunConfig.parse(MINIMAL).verification.state_wait_ms
    states = 2 * 16 * PRESETS["nano"].parameters()
    assert wait_ms - 10_000 == pytest.approx(states * 8 / 20e6 * 1000, abs=1)
    large = RunConfig.parse({**MINIMAL, "model": {"preset": "1B"}})
    assert large.verification.state_wait_ms > 1000 * wait_ms / 2
    own = RunConfig.parse({**MINIMAL, "verification": {"state_wait_ms": 5000}})
    assert own.verification.state_wait_ms == 5000
    assert RunConfig.load(large.to_bytes()) == large


def test_a_run_on_private_shards_scores_everything_and_credits_what_it_names() -> None:
    public = RunConfig.parse(MINIMAL)
    assert (public.private, public.credit_bps, public.verification.contribution_rate_bps) == (False, 10_000, 1_000)
    data: dict[str, object] = {**MINIMAL["data"], "private_credit_bps": 0}  # type: ignore[dict-item]
    private = RunConfig.parse({**MINIMAL, "data": data})
    assert (private.private, private.credit_bps, private.verification.contribution_rate_bps) == (True, 0, 10_000)
    fewer = {**MINIMAL, "data": {**data, "private_credit_bps": 2_500}, "verification": {"contribution_rate_bps": 5_000}}
    assert (RunConfig.parse(fewer).credit_bps, RunConfig.parse(fewer).verification.contribution_rate_bps) == (
        2_500, 5_000,
    )  # fmt: skip
    coarse = RunConfig.parse({**MINIMAL, "data": data, "training": {"dtype": "bfloat16"}}).verification
    assert (coarse.tolerance_rel_l2, coarse.contribution_rate_bps) == ("5e-2", 10_000)
    assert RunConfig.load(private.to_bytes()) == private
    with pytest.raises(ConfigError, match="private_credit_bps"):
        RunConfig.parse({**MINIMAL, "data": {**data, "private_credit_bps": 10_001}})


def test_presets_have_the_sizes_that_their_names_say() -> None:
    sizes = {"nano": 0.9e6, "micro": 5e6, "25M": 25e6, "125M": 1.1e8, "350M": 3.4e8, "1B": 1.1e9, "7B": 6.7e9}
    assert list(PRESETS) == list(sizes)
    for name, size in sizes.items():
        assert abs(PRESETS[name].parameters() / size - 1) < 0.05
        PRESETS[name].check()


def test_a_file_that_leaves_a_field_out_or_is_not_canonical_is_refused() -> None:
    with pytest.raises(ConfigError):
        RunConfig.load(dumps(MINIMAL))
    with pytest.raises(CanonicalJsonError):
        RunConfig.load(RunConfig.parse(MINIMAL).to_bytes() + b"\n")


def test_what_is_not_kept_cannot_be_carried() -> None:
    training = {"error_feedback": False, "carry_residual": True}
    with pytest.raises(ConfigError, match="carry_residual needs"):
        RunConfig.parse({**MINIMAL, "training": training})
    assert RunConfig.parse({**MINIMAL, "training": {"carry_residual": True}}).training.carry_residual


def test_a_cooldown_is_that_of_a_run_that_ends() -> None:
    inner = {"cooldown": 3}
    for training in ({"inner": inner}, {"inner": inner, "max_rounds": 2}):
        with pytest.raises(ConfigError, match="cooldown is longer than the run"):
            RunConfig.parse({**MINIMAL, "training": training})
    assert RunConfig.parse({**MINIMAL, "training": {"inner": inner, "max_rounds": 3}}).training.inner.cooldown == 3


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema", "commonweight.run.v2"),
        ("name", ""),
        ("model.preset", "giant"),
        ("model.hidden_size", 136),
        ("model.num_kv_heads", 3),
        ("model.rms_eps", "1"),
        ("genesis_seed", "0x00"),
        ("genesis_seed", "0x" + "AA" * 32),
        ("data.manifest_cid", "../x"),
        ("training.h", 0),
        ("training.h", "20"),
        ("training.h", True),
        ("training.seq_len", 129),
        ("training.trace_every", 31),
        ("training.block", 12),
        ("training.codec", "int7"),
        ("training.codec_version", 2),
        ("training.inner.lr", "fast"),
        ("training.inner.lr", "0"),
        ("training.inner.lr", 0.003),
        ("training.inner.lr", "3E-3"),
        ("training.inner.betas", ["0.9"]),
        ("training.inner.betas", ["0.9", "1.0"]),
        ("training.inner.optimizer", "lion"),
        ("training.outer.momentum", "1"),
        ("training.aggregation.method", "max"),
        ("training.aggregation.trim_bps", 5000),
        ("training.dtype", "float16"),
        ("verification.replay_rate_bps", 0),
        ("verification.replay_rate_bps", 10_001),
        ("verification.tolerance_rel_l2", "2"),
        ("timing_ms.train", 0),
        ("serving.price_per_token", "01"),
        ("serving.price_per_token", 5),
        ("signers_peers", {"0x12": "h:1"}),
        ("signers_peers", {"0x" + "ab" * 20: "no port"}),
        ("surprise", 1),
        ("training.surprise", 1),
    ],
)
def test_a_value_out_of_bounds_is_refused(path: str, value: object) -> None:
    whole = copy.deepcopy(RunConfig.parse(MINIMAL).to_json())
    place = whole
    *steps, last = path.split(".")
    for step in steps:
        place = place[step]
    place[last] = value
    with pytest.raises(ConfigError):
        RunConfig.parse(whole)


def test_the_error_names_the_field() -> None:
    with pytest.raises(ConfigError, match=r"training\.h"):
        RunConfig.parse({**MINIMAL, "training": {"h": -1}})


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"training": {"inner": {"lr": 0.003}}}, 'lr cannot be 0.003: it must be a number in quotes, like "3e-3"'),
        ({"training": {"inner": {"lr": "3e-03"}}}, 'training.inner.lr cannot be "3e-03": it must be a number in'),
        ({"training": {"inner": {"betas": ["0.9", 1]}}}, "training.inner.betas.1 cannot be 1: it must be a number in"),
        ({"training": {"inner": {"betas": ["0.9"]}}}, "training.inner.betas.1 is missing"),
        ({"training": {"inner": {"betas": "0.9"}}}, 'training.inner.betas cannot be "0.9": it must be a list'),
        ({"training": {"cooldown": 3}}, "training has no name cooldown; it belongs in training.inner."),
        ({"training": {"price_per_token": "3"}}, "training has no name price_per_token; it belongs in serving."),
        ({"lr": "1"}, "the configuration has no name lr; it belongs in training.inner or training.outer."),
        ({"training": {"serving": {}}}, "training has no name serving; it belongs in the configuration itself."),
        ({"training": {"surprise": 1}}, "training has no name surprise."),
        ({"training": {"h": "30"}}, 'training.h cannot be "30": it must be a whole number, without quotes'),
        ({"training": {"h": 0}}, "training.h cannot be 0: it must be 1 or more"),
        ({"training": {"h": 10**6}}, "training.h cannot be 1000000: it must be 100000 or less"),
        ({"training": {"block": 12}}, "training.block cannot be 12: it must be a multiple of 8"),
        ({"training": {"codec": "int3"}}, 'training.codec cannot be "int3": it must be "fp32", "fp16", "int8",'),
        ({"training": {"error_feedback": 1}}, "training.error_feedback cannot be 1: it must be true or false"),
        ({"training": 3}, "training cannot be 3: it must be a table"),
        ({"serving": {"price_per_token": 5}}, "serving.price_per_token cannot be 5: it must be a whole number in"),
        ({"model": {"preset": "custom"}}, "model.vocab_size is missing"),
        ({"signers_peers": {"0xA": "h:1"}}, '"0x" and 40 digits'),
        ({"signers_peers": {"0x" + "ab" * 20: "h"}}, "must be host:port"),
        ({"name": ""}, 'name cannot be "": it must be text of 1 or more characters'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_words(part: JsonObject, said: str) -> None:
    with pytest.raises(ConfigError) as found:
        RunConfig.parse({**MINIMAL, **part})
    assert said in str(found.value)


def test_a_preset_keeps_its_sizes_but_not_its_vocabulary() -> None:
    config = RunConfig.parse({**MINIMAL, "model": {"preset": "nano", "vocab_size": 1000}})
    assert config.model.vocab_size == 1000
    with pytest.raises(ConfigError):
        RunConfig.parse({**MINIMAL, "model": {"preset": "nano", "num_layers": 5}})


def test_payloads_of_signs_are_copies_at_lower_bounds() -> None:
    def bounds(training: JsonObject, **more: Json) -> tuple[int, int]:
        rules = RunConfig.parse({**MINIMAL, "training": training, **more}).verification
        return rules.copy_cosine_bps, rules.copy_cosine_short_bps

    assert bounds({}) == bounds({"codec": "int1"}) == (8400, 8400)
    assert bounds({"codec": "int8"}) == (9000, 9700)
    assert bounds({}, verification={"copy_cosine_bps": 5000}) == (5000, 8400)
    private: JsonObject = {"manifest_cid": "", "manifest_sha256": "0x" + "00" * 32, "private_credit_bps": 100}
    assert bounds({}, data=private) == (8400, 8400)
    assert bounds({"codec": "int4"}, data=private) == (9000, 9700)
