"""What a provider is shown: history with reasons, the live line, Prometheus metrics, all out of status lines."""

import io
import json
import logging
import socket
import urllib.request
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from commonweight.errors import UsageError
from trainer.board import Board
from trainer.earnings import Earned
from trainer.history import History, read_history
from trainer.metrics import PHASES, Metrics
from trainer.showing import Line, OnceAMinute, log_handler
from trainer.status import Status

pytestmark = pytest.mark.unit
RUN = "0x" + "ca" * 20


def line(phase: str, number: int, sent: int = 0, received: int = 0, **more: object) -> dict[str, object]:
    return {
        "time_ms": 1000 * number, "pid": 1, "round": number, "phase": phase, "step": 0, "steps": 0, "loss_micro": None,
        "tokens_per_s": None, "bytes_sent": sent, "bytes_received": received, **more,
    }  # fmt: skip


def history(*lines: dict[str, object]) -> History:
    made = History()
    for each in lines:
        made.take(each)
    return made


COUNTED = (
    line("join", 0, 10, 10),
    line("wait", 0, 100, 10),
    line("train", 1, 100, 20, step=4, steps=8, loss_micro=5_000_000, tokens_per_s=1200),
    line("commit", 1, 150, 20, receipt=True),
    line("exchange", 1, 5_000_000, 20),
    line("record", 1, 5_000_100, 3_000_020, counted=True, tokens=512, planned=True),
)


def test_a_round_is_told_with_what_it_cost() -> None:
    (found,) = history(*COUNTED).rounds.values()
    assert (found.outcome, found.steps, found.planned_steps, found.tokens) == ("counted", 4, 8, 512)
    assert (found.bytes_sent, found.bytes_received) == (5_000_000, 3_000_010)
    assert (found.refused, found.loss_micro, found.tokens_per_s) == ("", 5_000_000, 1200)


@pytest.mark.parametrize(
    ("lines", "outcome", "refused"),
    [
        ([line("commit", 3, refused="too-late", why="w"), line("record", 3, counted=False)], "not-counted", "too-late"),
        (
            [line("commit", 3, refused="bad-trace"), line("record", 3, counted=False, refused="refused-bad-trace")],
            "not-counted",
            "refused-bad-trace",
        ),
        ([line("record", 3, counted=False, planned=False)], "idle", ""),
        ([line("train", 3), line("stopped", 3, refused="banned", why="until")], "stopped", "banned"),
        ([line("train", 3)], "open", ""),
        # one signer refused, another gave the receipt that counted
        ([line("commit", 3, refused="stale"), line("record", 3, counted=True, tokens=1)], "counted", ""),
    ],
)
def test_each_refusal_has_its_reason(lines: list[dict[str, object]], outcome: str, refused: str) -> None:
    (found,) = history(*lines).rounds.values()
    assert (found.outcome, found.refused) == (outcome, refused)


def test_a_restart_begins_its_bytes_anew_and_loses_none() -> None:
    again = {**line("train", 1, 70), "pid": 2}
    (found,) = history(line("train", 1, 100), line("commit", 1, 150), again).rounds.values()
    assert found.bytes_sent == 220


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from([*line("x", 0), "counted", "refused", "planned"]), st.none() | st.integers() | st.text() | st.booleans() | st.just("train"))))  # fmt: skip  # noqa: E501
def test_no_line_can_break_the_history(lines: list[dict[str, object]]) -> None:
    assert len(history(*lines).rounds) <= 1000


def test_the_history_is_read_from_the_file_and_its_torn_end(tmp_path: Path) -> None:
    path = tmp_path / "status.jsonl"
    Status(path, RUN, 0).say("train", 7, step=3, steps=4, loss=2.5, refused="training-failed", why="no disk")
    with path.open("ab") as file:
        file.write(b'{"round": 8, "phase": "tr')
    (found,) = read_history(path).rounds.values()
    assert (found.round, found.steps, found.refused, found.why) == (7, 3, "training-failed", "no disk")
    assert read_history(tmp_path / "none.jsonl").rounds == {}


def test_only_the_newest_rounds_are_kept() -> None:
    kept = History(keep=3)
    for number in range(1, 10):
        kept.take(line("train", number))
    assert list(kept.rounds) == [7, 8, 9]


def test_what_only_shows_cannot_end_a_round(tmp_path: Path) -> None:
    status, heard = Status(tmp_path / "status.jsonl", RUN, 0), []

    def broken(_: object) -> None:
        raise ValueError("the terminal is gone")

    status.listeners += [broken, heard.append]
    status.say("wait", 1)
    assert [one["phase"] for one in heard] == ["wait"]


# --- the live line ----------------------------------------------------------------------------------------------------


def test_the_line_tells_round_time_speed_bytes_credits_and_the_last_refusal() -> None:
    shown = Line()
    assert shown.text(0) == "starting"
    shown.hear(line("record", 6, 1_000_000, counted=False, refused="missing-no-anchor"))
    shown.hear(line("train", 7, 3_500_000, 2_000_000, step=5, steps=8, tokens_per_s=12_345, deadline_ms=90_400))
    shown.earned(Earned(1000, 24))
    assert shown.text(60.0) == (
        "round 7 | train 5/8 | 30 s left | round 6: missing-no-anchor | credits 1,000 + 24 pending | 12,345 tok/s"
        " | sent 2.5 of 3.5 MB | received 2.0 of 2.0 MB"
    )
    shown.hear(line("commit", 7, 3_500_000, 2_000_000, deadline_ms=90_400))
    assert "12,345 tok/s" in shown.text(200.0)
    assert "| 0 s left |" in shown.text(200.0)


def test_logs_go_above_the_line_on_a_terminal_and_are_plain_elsewhere() -> None:
    seen = io.StringIO()
    handler = log_handler(Console(file=seen, force_terminal=True, width=40))
    handler.handle(logging.LogRecord("x", logging.INFO, "", 0, "[bold]a %s" + " long" * 20, ("b",), None))
    assert "[bold]a b" in seen.getvalue()
    assert seen.getvalue().count("\n") == 1
    assert type(log_handler(Console(file=seen, force_terminal=False))) is logging.StreamHandler


# --- metrics ----------------------------------------------------------------------------------------------------------


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("commonweight_provider_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_exposition_says_what_the_lines_said() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    metrics = Metrics()
    metrics.serve(address)
    with pytest.raises(UsageError, match="cannot be answered"):
        Metrics().serve(address)
    for each in COUNTED:
        metrics.hear(each)  # type: ignore[arg-type]
    for each in (
        line("commit", 2, 6_000_000, 3_000_020, refused="too-late", why="w"),
        line("record", 2, 6_000_000, 3_000_020, counted=False, tokens=0, planned=True),
        line("record", 3, 6_000_000, 3_000_020, counted=False, tokens=0, planned=False),
        line("stopped", 3, 6_000_000, 3_000_020, refused="banned", why="w"),
    ):
        metrics.hear(each)  # type: ignore[arg-type]
    metrics.earned(Earned(9, 4))
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
        found = samples(answer.read().decode())
    expected = {
        ("round",): 3, ("rounds_total", "counted"): 1, ("rounds_total", "missed"): 1, ("rounds_total", "idle"): 1,
        ("refusals_total", "too-late"): 1, ("refusals_total", "banned"): 1, ("bans_total",): 1, ("tokens_total",): 512,
        ("tokens_per_second",): 1200, ("loss_nats",): 5, ("bytes_total", "sent"): 6_000_000,
        ("bytes_total", "received"): 3_000_020, ("last_receipt_timestamp_seconds",): 1, ("credits", "final"): 9,
        ("credits", "pending"): 4, **{("phase", phase): phase == "stopped" for phase in PHASES},
    }  # fmt: skip
    assert found == expected
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    assert all(f"`commonweight_provider_{key[0]}" in page for key in expected), "every metric is documented"


def test_status_lines_are_json_as_before(tmp_path: Path) -> None:
    status = Status(tmp_path / "status.jsonl", RUN, 0)
    status.say("wait", 1)
    assert "refused" not in json.loads((tmp_path / "status.jsonl").read_text())


# --- curves -----------------------------------------------------------------------------------------------------------


def test_curves_are_written_for_tensorboard_and_go_on_after_a_restart(tmp_path: Path) -> None:
    for lines in (COUNTED, (line("train", 2, step=4, steps=8, loss_micro=4_000_000), line("record", 2, counted=False))):
        board = Board(tmp_path)
        for each in lines:
            board.hear(each)  # type: ignore[arg-type]
        board.earned(Earned(9, 4))
        board.close()
    found = curves(tmp_path)
    assert found["train/loss_nats"] == {500: 5.0, 1500: 4.0}
    assert found["train/tokens_per_second"] == {500: 1200.0}
    assert found["round/counted"] == {1000: 1.0, 2000: 0.0}
    assert found["round/tokens"] == {1000: 512.0, 2000: 0.0}
    assert found["round/sent_bytes"][1000] == 5_000_000.0
    assert found["credits/final"] == {1000: 9.0, 2000: 9.0}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file"):
        Board(tmp_path / "file")


def curves(folder: Path) -> dict[str, dict[int, float]]:
    """Read event files: frames of a little-endian length, its check, the event and its check (tf record files)."""
    from tensorboardX.proto.event_pb2 import Event  # a second, in each process that collects this file

    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 8], "little")
            event = Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_what_is_said_again_and_again_is_shown_once_a_minute() -> None:
    once, shown = OnceAMinute(), []
    for second in range(150):
        record = logging.LogRecord("n", logging.WARNING, "p", 1, "round not finished: %s", ("full",), None)
        record.created = 1000.0 + second
        if once.filter(record):
            shown.append(record.getMessage())
        other = logging.LogRecord("n", logging.WARNING, "p", 1, "second %d", (second,), None)
        assert once.filter(other)
    more = " (and 59 times more since it was last said)"
    assert shown == ["round not finished: full", "round not finished: full" + more, "round not finished: full" + more]
