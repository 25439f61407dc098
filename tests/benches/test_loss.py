"""The page of loss per byte shows the committed results, and its bytes are those that members send each other."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import bench_loss
from benches.block import read_block
from benches.loss import ALONE, SYNCHRONOUS, Row, make_plan
from benches.loss_picture import picture
from benches.wire import round_bytes, synchronous_bytes, traded_bytes

from commonweight.net.traffic import PROCESS_TRAFFIC
from commonweight.protocol.fields import Fields
from commonweight.protocol.typed import Domain
from tests.trainer.conftest import tiny_config
from tests.trainer.exchange_rig import Network, Rig
from trainer.recheck import ONE_IN

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]


def lines() -> list[bench_loss.Line]:
    body = json.loads((ROOT / "bench-results" / "loss.json").read_text())
    return [bench_loss.Line.read(Fields(row, "row")) for row in body["rows"]]


def test_the_tables_and_the_picture_are_those_of_the_results() -> None:
    assert read_block(bench_loss.DOCUMENT, "loss") == bench_loss.table(lines())
    assert read_block(bench_loss.DOCUMENT, "goals") == bench_loss.goals(lines())
    assert bench_loss.PICTURE.read_text() == picture(bench_loss.points(lines()), bench_loss.GOALS)


def test_a_share_lies_between_the_ends_of_its_own_seed() -> None:
    def played(loss_micro: int, seed: int) -> dict[str, int | str]:
        return {"seed": seed, "loss_micro": loss_micro, "sent": 100, "received": 7, "encoded": 90, "rounds": 3,
                "weights": "0x" + "00" * 32}  # fmt: skip

    found = bench_loss.read_lines({
        Row("one", ALONE): [played(3_000_000, 0), played(2_000_000, 1)],
        Row("all", SYNCHRONOUS): [played(2_000_000, 0), played(1_000_000, 1)],
        Row("half", "rounds"): [played(2_500_000, 0), played(1_250_000, 1), played(1_000_000, 2)],
        Row("another's end", "rounds", inner="muon"): [played(2_500_000, 0)],
    })  # fmt: skip
    assert [line.share_milli for line in found] == [(0, 0), (1000, 1000), (500, 750)]
    assert (found[2].seeds, found[2].sent, found[2].all_bytes) == ((0, 1), 100, 107)


async def test_counted_bytes_are_those_of_an_exchange_over_tls() -> None:
    rig = Rig(tiny_config("0x" + "00" * 32), Domain(31337, "0x" + "0c" * 20), 4, span_s=60.0)
    async with Network(rig, "tls"):
        before = PROCESS_TRAFFIC.totals()
        await rig.run()
        after = PROCESS_TRAFFIC.totals()
        results = [len(rig.exchanges[0].results[part].data) for part in range(4)]
    payloads = [[len(part) for part in rig.payloads[i].parts] for i in range(4)]
    both = sum(
        now.get("part", 0) - then.get("part", 0)
        for now, then in (
            (after.sent_by_method, before.sent_by_method), (after.received_by_method, before.received_by_method),
        )
    )  # fmt: skip
    counted = traded_bytes(rig.plan, payloads, results)
    frames = 2 * 2 * 3  # a member's requests and answers, each way
    assert abs(both / 4 - counted.all) <= 24 * frames, "numbers of other lengths: ids and measured times"
    assert counted.encoded == 2 * 3 * (sum(payloads[0]) + sum(results)) / 4


def test_a_star_carries_one_payload_up_and_one_result_down_besides_what_is_drawn() -> None:
    payloads, results = [[1000] * 4] * 4, [1600] * 4
    butterfly, star = (
        round_bytes(make_plan(tiny_config("0x" + "00" * 32, topology=topology), 1, 6), payloads, results)
        for topology in ("butterfly", "star")
    )
    drawn = 2 * 3 * 1000 / ONE_IN
    assert star.encoded == 4 * 1000 + 4 * 1600 + drawn
    assert butterfly.encoded == 4 * 1000 + 2 * 3 * (1000 + 1600) + drawn * 3 / 4, "a reducer has its part already"
    assert 4 * 1000 + drawn / 2 < star.sent < 4 * 1000 + drawn / 2 + 4 * 1500, "no result leaves a member"


def test_synchronous_training_moves_three_halves_of_the_vector_each_way_among_four() -> None:
    assert synchronous_bytes(1000, 4).all == 2 * 1.5 * 4 * 1000
