"""The estimate's formulas against published runs, its gas against the snapshot, its worked plan against its page."""

from __future__ import annotations

import json
import math
import re
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commonweight.cli.run import creditable
from commonweight.errors import UsageError
from commonweight.estimate import (
    GAS,
    GPUS,
    PROGRAM_BYTES,
    SCORE_PASSES,
    SHAPES,
    SIGNERS,
    Plan,
    allreduce_bytes,
    device_bytes,
    draws_a_round,
    estimate,
    flops_per_token,
    memory_bytes,
)
from commonweight.protocol.capacity import most_rounds
from commonweight.protocol.draws import draw_round
from commonweight.protocol.modelconfig import PRESETS
from commonweight.protocol.runconfig import CODECS, Training, Verification
from tests.cli.conftest import ROOT, InProcess

pytestmark = pytest.mark.unit
LLAMA = Plan(
    shape=SHAPES["llama-3.1-405b"], gpu=GPUS["h100"], tokens=15.6e12, members=1, gpus=16_384, seq_len=8192,
    window_s=0.0, trace_rate=1e18,
)  # fmt: skip
INTELLECT = Plan(
    shape=SHAPES["intellect-1"], gpu=GPUS["h100"], tokens=1e12, members=14, gpus=8, h=100, step_tokens=128 * 8192,
    seq_len=8192, mfu=0.433, availability=1.0, replay_bps=0, window_s=0.0, trace_rate=1e18,
)  # fmt: skip


def test_llama_3_1_405b_as_published() -> None:
    """arXiv 2407.21783: 3.8e25 FLOPs, MFU 38 to 43 %, above 90 % effective time; model card: 30.84M GPU-hours."""
    assert SHAPES["llama-3.1-405b"].parameters == pytest.approx(405e9, rel=0.005)
    bare = replace(LLAMA, shape=replace(LLAMA.shape, layers=0))  # the report counts 6PD, without attention
    assert estimate(bare).flops == pytest.approx(3.8e25, rel=0.01)
    hours = [estimate(replace(bare, mfu=mfu)).gpu_hours for mfu in (0.43, 0.38)]
    assert hours[0] < 30.84e6 < hours[1] * 1.01
    assert estimate(replace(bare, mfu=0.38)).gpu_hours == pytest.approx(30.84e6, rel=0.03)


def test_intellect_1_as_published() -> None:
    """arXiv 2412.01152: 10B, 1T tokens, up to 112 H100 for 42 days, 400 times less traffic, 83 to 96 % computing,
    36.2 to 41.4 % MFU all in.
    """
    assert INTELLECT.shape.parameters == pytest.approx(10e9, rel=0.03)
    most = 112 * 42 * 24
    for mfu in (0.362, 0.414):
        assert most / 2.5 < estimate(replace(INTELLECT, mfu=mfu, upload_bps=1e15, download_bps=1e15)).gpu_hours < most
    parameters, members = INTELLECT.shape.parameters, INTELLECT.members
    full, small = (allreduce_bytes(parameters, members, codec, codec, 128) for codec in ("fp32", "int8"))
    assert 100 * full / small == pytest.approx(400, rel=0.04)
    # Its links gave 83 % over three continents and 96 % within one country; the MFU falls by just that.
    for rate, computing, mfu in ((0.5e9, 0.83, 0.362), (2.4e9, 0.96, 0.414)):
        found = estimate(replace(INTELLECT, upload_bps=rate, download_bps=rate))
        assert found.computing == pytest.approx(computing, abs=0.02)
        assert found.computing * 0.433 == pytest.approx(mfu, abs=0.01)


def test_attention_is_counted_as_palm_counts_it() -> None:
    shape = SHAPES["llama-3.1-405b"]
    assert flops_per_token(shape, 8192) - 6 * shape.active == 12 * 126 * 16_384 * 8192


def test_memory_is_what_the_trainers_arrays_take() -> None:
    shape = SHAPES["nano"]
    assert shape.parameters == PRESETS["nano"].parameters()
    bare = replace(shape, layers=0, vocab=0)
    assert device_bytes(bare, 8, 96) == 16 * shape.parameters
    for held in (device_bytes, memory_bytes):
        assert held(replace(shape, vocab=0), 8, 96) - held(bare, 8, 96) == 34 * 8 * 96 * 128 * 4
        assert held(replace(shape, layers=0), 8, 96) - held(bare, 8, 96) == 2 * 4 * 8 * 96 * PRESETS["nano"].vocab_size
    assert memory_bytes(bare, 8, 96) == PROGRAM_BYTES + 128 * shape.parameters


def test_a_gpu_holds_its_share_of_what_the_steps_need_and_the_member_all_of_it() -> None:
    found = estimate(replace(INTELLECT, gpus=8))
    assert found.gpu_memory_bytes == device_bytes(INTELLECT.shape, 8, INTELLECT.seq_len) // 8
    assert found.memory_bytes == memory_bytes(INTELLECT.shape, 8, INTELLECT.seq_len)


def test_steps_wait_for_the_last_state_and_for_what_the_others_take_beyond_a_segment() -> None:
    plan = replace(INTELLECT, h=100, trace_every=20, trace_rate=2e9)
    found = estimate(plan)
    state_s = 12 * plan.shape.parameters / 2e9
    assert found.compute_s / 5 > state_s
    assert (found.trace_states, found.state_bytes) == (5, 12 * plan.shape.parameters)
    assert found.trace_s == pytest.approx(state_s)
    assert found.round_s == pytest.approx(found.compute_s + found.trace_s + found.exchange_s)
    often = estimate(replace(plan, trace_every=1))
    assert often.trace_s == pytest.approx(99 * (state_s - found.compute_s / 100) + state_s)
    assert often.computing < found.computing
    assert estimate(replace(plan, h=101)).trace_states == 6


def test_signers_compute_drawn_segments_and_scores() -> None:
    plan = replace(INTELLECT, trace_every=20, replay_bps=100)
    found, each = estimate(plan), flops_per_token(plan.shape, plan.seq_len)
    scores = plan.members * 0.1 * SCORE_PASSES * 32 * plan.seq_len * each / 3
    replays = draws_a_round(plan.members, 100) * 20 * plan.step_tokens * each
    assert found.signers_flops == pytest.approx(found.rounds * (replays + scores))
    assert found.signers_gpu_hours == pytest.approx(found.signers_flops / (989.4e12 * 0.433 * 3600))


@pytest.mark.parametrize(("members", "bps"), [(16, 100), (3, 10_000), (16, 10_000), (1, 300), (16, 0)])
def test_as_many_segments_are_replayed_as_the_protocol_draws(members: int, bps: int) -> None:
    made = [
        len(draw_round(number.to_bytes(32, "big"), number, dict.fromkeys(range(members), 20), bps, SIGNERS))
        for number in range(4000)
    ]
    assert draws_a_round(members, bps) == pytest.approx(sum(made) / len(made), rel=0.2)


def test_gas_is_the_snapshots() -> None:
    snapshot = json.loads((ROOT / "snapshots" / "gas.json").read_text())
    assert {name: snapshot[name] for name in GAS} == dict(GAS)
    many, few = (snapshot[f"report, 3 of 4 signers, {n} credited providers"] for n in (1000, 10))
    assert (many - few) / 990 == pytest.approx(197, abs=2)


def test_a_budget_buys_the_tokens_that_cost_it() -> None:
    plan = Plan(shape=SHAPES["1B"], gpu=GPUS["4090"], budget=50_000, members=30, gas_price_gwei=0)
    tokens = estimate(plan).tokens
    assert estimate(plan).price == pytest.approx(50_000, rel=1e-3)
    again = estimate(replace(plan, budget=None, tokens=tokens))
    assert again.price == pytest.approx(50_000, rel=1e-3)


def test_in_a_star_nothing_goes_between_members_and_the_coordinator_carries_it_all() -> None:
    plan = replace(INTELLECT, codec="int1", result_codec="ternary", block=512, upload_bps=20e6, coordinator_bps=1e10)
    ring, star = estimate(plan), estimate(replace(plan, topology="star"))
    assert star.allreduce_bytes == 0
    assert star.upload_bytes == ring.upload_bytes == star.coordinator_bytes // plan.members - star.download_bytes
    assert star.exchange_s < ring.exchange_s / 2, "a member sends its payload once"
    assert star.synchronous_ratio > 1.8 * ring.synchronous_ratio
    narrow = estimate(replace(plan, topology="star", coordinator_bps=1e7))
    assert narrow.exchange_s > plan.members * star.exchange_s, "everybody waits for the coordinator's link"


def test_overlap_hides_the_shorter_of_the_two() -> None:
    plan = replace(INTELLECT, window_s=120.0)
    after, beside = estimate(plan), estimate(replace(plan, overlap=True))
    assert after.round_s == after.compute_s + after.trace_s + 120.0 + after.exchange_s
    assert beside.round_s == max(after.compute_s + after.trace_s, 120.0 + after.exchange_s)


@pytest.mark.parametrize(
    "change",
    [
        *[{"mfu": 0.0}, {"mfu": 1.5}, {"members": 0}, {"budget": 5.0}, {"tokens": None}, {"upload_bps": -1.0}],
        *[{"window_s": -1.0}, {"tokens": 0.0}, {"ether_price": math.inf}, {"hour_price": math.nan}, {"replay_bps": -1}],
        *[{"trace_every": 0}, {"trace_every": 101}, {"trace_rate": 0.0}, {"trace_rate": math.inf}],
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        estimate(replace(INTELLECT, **change))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--gas-gwei -1", "--gas-gwei must be at least 0. -1"),
        ("--ether-price inf", "--ether-price must be a finite number. inf"),
        ("--hour-price nan", "--hour-price must be a finite number. nan"),
        ("--hour-price 0", "--hour-price must be above 0. 0"),
        ("--up 0", "--up must be above 0. 0"),
        ("--down -2", "--down must be above 0. -2"),
        ("--coordinator 0", "--coordinator must be above 0. 0"),
        ("--funders -5", "--funders must be at least 0. -5"),
        ("--members 0", "--members must be at least 1. 0"),
        ("--rtt -1", "--rtt must be at least 0. -1"),
        ("--rtt nan", "--rtt must be a finite number. nan"),
        ("--mfu 150", "--mfu must be above 0 and at most 100. 150"),
        ("--step-tokens 0", "--step-tokens must be at least 1. 0"),
        ("--step-tokens 1", "--step-tokens must be at least a window, 4096. 1, and a step takes whole windows"),
        ("--active 1T", f"--active must be at least 1 and at most {SHAPES['350M'].parameters}. 1000000000000"),
        ("--active 0", f"--active must be at least 1 and at most {SHAPES['350M'].parameters}. 0"),
    ],
)
def test_the_flag_and_its_bound_are_named(quick_user: InProcess, words: str, said: str) -> None:
    done = quick_user.run("run", "estimate", "--model", "350M", "--tokens", "7B", *words.split(), "--json")
    assert (done.code, f"{done.json['what']} {done.json['why'].removeprefix('It is ')}") == (2, said)


@pytest.mark.parametrize(
    ("words", "what", "why"),
    [
        ("--model 350M --tokens 0", "--tokens must be above 0.", "It is 0"),
        ("--model 350M --budget 0", "--budget must be above 0.", "It is 0"),
        ("--parameters 0 --tokens 1B", "--parameters must be at least 1.", "It is 0"),
        ("--model 350M --parameters 1B --tokens 1B", "Which model?", "Both were given"),
        ("--tokens 1B", "Which model?", "Neither was given"),
        ("--model 350M --tokens 1B --budget 5", "How long is the run?", "Both were given"),
        ("--model 350M", "How long is the run?", "Neither was given"),
        ("--model 350M --tokens 1,000", "'1,000' is not a number.", "A number is like 12000, 1.4T, 160M or 1e12"),
        ("--model 350M --tokens 1e999", "'1e999' is not a number.", "A number is like 12000, 1.4T, 160M or 1e12"),
        ("--model 350M --tokens 1B --mfu 1e-320", "This plan has no figures.", "They are beyond counting"),
    ],
)
def test_what_is_wrong_with_a_plan_is_said(quick_user: InProcess, words: str, what: str, why: str) -> None:
    done = quick_user.run("run", "estimate", *words.split(), "--json")
    assert (done.code, done.json["what"], done.json["why"]) == (2, what, why)


def test_cards_and_codecs_that_are_not_known_are_answered_by_the_list(quick_user: InProcess) -> None:
    plan = ("run", "estimate", "--model", "1B", "--tokens", "1B")
    for flag, value, known in (("--gpu", "RTX 5090", GPUS), ("--codec", "zip", CODECS), ("--results", "zip", CODECS)):
        done = quick_user.run(*plan, flag, value)
        assert (done.code, f"Choose from {', '.join(known)}." in done.err) == (2, True)


@pytest.mark.parametrize("name", ["4090", "RTX 4090", "rtx-4090", "NVIDIA GeForce RTX 4090", "H100"])
def test_a_card_may_have_its_full_name(quick_user: InProcess, name: str) -> None:
    found = quick_user.ok("run", "estimate", "--model", "1B", "--tokens", "1e9", "--gpu", name)
    card = next(a["value"].partition(",")[0] for a in found["assumptions"] if a["name"] == "GPU")
    assert card == ("h100" if name == "H100" else "4090")
    assert found["figures"]["tokens"] == 1e9


def test_only_what_was_given_is_as_told(quick_user: InProcess) -> None:
    words = ("--parameters", "1B", "--budget", "5K", "--members", "1", "--mfu", "40", "--up", "20")
    found = quick_user.ok("run", "estimate", *words)
    sources = {a["name"]: a["source"].partition(";")[0] for a in found["assumptions"]}
    told = {name for name, source in sources.items() if source == "as told"}
    assert told == {"parameters", "MFU"}
    assert {name for name, source in sources.items() if source == "partly as told"} == {"fleet", "link"}
    assert sources["GPU-hour"] == sources["codec"] == sources["funders"] == "default"
    shown = quick_user.run("run", "estimate", *words).out
    assert "1 member of 1 GPU (" in shown
    assert "1 day (" in shown
    assert re.search(r"gas +[0-9,]+, \$[0-9,]+ on top of the budget", shown)


def test_the_traffic_of_a_small_model_is_not_rounded_away(quick_user: InProcess) -> None:
    shown = quick_user.run("run", "estimate", "--model", "nano", "--tokens", "1B", "--codec", "int1").out
    assert " 0.00 " not in shown
    assert re.search(r"it receives +[0-9.]+ (kB|MB) a round", shown)
    assert re.search(r"memory of a member +[0-9]+ MiB", shown)


def test_the_pages_figures_are_the_commands_own(quick_user: InProcess) -> None:
    page = (ROOT / "docs" / "estimate.md").read_text()
    shown = re.findall(r"```console\n\$ commonweight (.*?)\n\n(.*?)```", page, re.DOTALL)
    assert len(shown) >= 2
    for command, text in shown:
        done = quick_user.run(*shlex.split(command.replace("\\\n", " ")))
        assert done.code == 0, done.err
        assert [line.rstrip() for line in done.out.splitlines()] == [line.rstrip() for line in text.splitlines()]


def test_an_epoch_with_more_rounds_than_a_report_credits_is_named(quick_user: InProcess) -> None:
    words = shlex.split("run estimate --model micro --tokens 1T --members 100 --steps 30 --step-tokens 32K --window 30")
    figures = quick_user.ok(*words)["figures"]
    assert figures["epoch_rounds"] > 2 * figures["report_rounds"] > 0
    shown = quick_user.run(*words)
    assert shown.code == 0
    (days,) = re.findall(r"THE REST IS NEVER PAID: more --steps, or --epoch-days of at most ([0-9.e-]+)", shown.out)
    enough = quick_user.run(*words, "--epoch-days", days)
    assert "NEVER PAID" not in enough.out
    for members in ("60", "70", "90", "110", "130"):
        shown = quick_user.run(*words, "--members", members)
        (days,) = re.findall(r"--epoch-days of at most ([0-9.e-]+)", shown.out)
        assert "NEVER PAID" not in quick_user.run(*words, "--members", members, "--epoch-days", days).out
    crowd = quick_user.run(*words, "--members", "5000")
    assert "as many as a round takes of 5,000" in crowd.out


def test_hashing_that_holds_up_the_steps_is_said_with_its_cure(quick_user: InProcess) -> None:
    words = shlex.split("run estimate --model 1B --tokens 20B --gpu h200 --steps 30 --step-tokens 8K --seq-len 1024")
    shown = quick_user.run(*words).out
    assert ": a greater --trace-every spares most of that waiting" in shown
    assert "disk of a member" in shown
    assert "spares" not in quick_user.run(*words, "--steps", "300", "--trace-every", "150").out
    refused = quick_user.run(*words, "--trace-every", "31")
    assert (refused.code, "--trace-every must be at most --steps, 30" in refused.err) == (2, True)
    assert quick_user.run(*words, "--steps", "3").code == 0, "the default is no more than there are steps"


def test_json_and_errors(quick_user: InProcess) -> None:
    found = quick_user.ok("run", "estimate", "--model", "1B", "--tokens", "20B")
    assert found["figures"]["credits"] == str(6 * PRESETS["1B"].parameters() * 20 * 10**9 // 10**9)
    assert {a["name"] for a in found["assumptions"]} >= {"MFU", "availability", "GPU-hour", "link"}
    for wrong in (["--model", "2B"], ["--parameters", "many"], ["--model", "1B", "--gpu", "abacus"], []):
        assert quick_user.run("run", "estimate", *wrong, "--tokens", "1B").code == 2


def test_replays_are_as_many_as_the_template_has_after_honest_history(quick_user: InProcess) -> None:
    words = ("run", "estimate", "--model", "nano", "--tokens", "1B")
    usual, told = (quick_user.ok(*words, *more) for more in ((), ("--replays", "1")))
    size = 28 * PRESETS["nano"].parameters()
    share = draws_a_round(16, Verification.replay_rate_min_bps) / 16
    assert usual["figures"]["replay_bytes"] == round(size * share)
    assert told["figures"]["replay_bytes"] == round(size * draws_a_round(16, 100) / 16)
    shown = {a["name"]: a["value"] for a in usual["assumptions"]}
    assert shown["replays"].startswith(f"{Verification.replay_rate_min_bps / 100:g} % of a member's rounds")
    for wrong in ("101", "-1", "nan", "inf"):
        assert quick_user.run(*words, "--replays", wrong).code == 2


def test_the_page_names_every_assumption() -> None:
    page = Path(ROOT / "docs" / "estimate.md").read_text()
    for name in ("MFU", "availability", "GPU-hour", "fleet", "round", "codec", "link", "replays", "funders"):
        assert name in page


@pytest.mark.parametrize("length", [86_400, 60])
def test_a_new_run_is_told_how_long_its_rounds_must_be(length: int) -> None:
    params: Any = SimpleNamespace(signers=("a", "b", "c", "d"), epoch_length=length)
    said = creditable(params, Training())
    found = re.findall(r"([0-9,]+) with ([0-9]+) members \(of ([0-9]+) s each\)", said)
    assert [int(members) for _, members, _ in found] == [10, 50, 100]
    for count, members, seconds in found:
        assert int(count.replace(",", "")) == most_rounds(int(members), 4, "butterfly")
        assert length / int(seconds) <= int(count.replace(",", "")), "rounds of that length are all credited"
