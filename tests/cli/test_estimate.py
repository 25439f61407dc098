"""The estimate's formulas against published runs, its gas against the snapshot, its worked plan against its page."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from commonweight.errors import UsageError
from commonweight.estimate import GAS, GPUS, SHAPES, Plan, allreduce_bytes, estimate, flops_per_token, memory_bytes
from commonweight.protocol.modelconfig import PRESETS
from tests.cli.conftest import ROOT, InProcess

pytestmark = pytest.mark.unit
LLAMA = Plan(
    shape=SHAPES["llama-3.1-405b"], gpu=GPUS["h100"], tokens=15.6e12, members=1, gpus=16_384, seq_len=8192, window_s=0.0
)  # fmt: skip
INTELLECT = Plan(
    shape=SHAPES["intellect-1"], gpu=GPUS["h100"], tokens=1e12, members=14, gpus=8, h=100, step_tokens=128 * 8192,
    seq_len=8192, mfu=0.433, availability=1.0, replay_bps=0, window_s=0.0,
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
    assert memory_bytes(shape, 8, 96) - memory_bytes(replace(shape, layers=0), 8, 96) == 34 * 8 * 96 * 128 * 4
    assert memory_bytes(replace(shape, layers=0), 8, 96) == 32 * shape.parameters


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
    assert after.round_s == after.compute_s + 120.0 + after.exchange_s
    assert beside.round_s == max(after.compute_s, 120.0 + after.exchange_s)


@pytest.mark.parametrize(
    "change",
    [
        *[{"mfu": 0.0}, {"mfu": 1.5}, {"members": 0}, {"budget": 5.0}, {"tokens": None}, {"upload_bps": -1.0}],
        {"window_s": -1.0},
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        estimate(replace(INTELLECT, **change))


def test_the_pages_figures_are_the_commands_own(quick_user: InProcess) -> None:
    page = (ROOT / "docs" / "estimate.md").read_text()
    shown = re.findall(r"```console\n\$ commonweight (.*?)\n\n(.*?)```", page, re.DOTALL)
    assert len(shown) >= 2
    for command, text in shown:
        done = quick_user.run(*shlex.split(command.replace("\\\n", " ")))
        assert done.code == 0, done.err
        assert [line.rstrip() for line in done.out.splitlines()] == [line.rstrip() for line in text.splitlines()]


def test_json_and_errors(quick_user: InProcess) -> None:
    found = quick_user.ok("run", "estimate", "--model", "1B", "--tokens", "20B")
    assert found["figures"]["credits"] == str(6 * PRESETS["1B"].parameters() * 20 * 10**9 // 10**9)
    assert {a["name"] for a in found["assumptions"]} >= {"MFU", "availability", "GPU-hour", "link"}
    for wrong in (["--model", "2B"], ["--parameters", "many"], ["--model", "1B", "--gpu", "abacus"], []):
        assert quick_user.run("run", "estimate", *wrong, "--tokens", "1B").code == 2


def test_the_page_names_every_assumption() -> None:
    page = Path(ROOT / "docs" / "estimate.md").read_text()
    for name in ("MFU", "availability", "GPU-hour", "fleet", "round", "codec", "link", "replays", "funders"):
        assert name in page
