"""Members under an owner's caps, as real processes: upload, hours, metrics, history, and the line on a terminal."""

import json
import subprocess
import sys
import urllib.request
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.trainer.world import WORTH, Provider, World, command, free_port

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
RATE = 1_000_000
_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


def status_of(world: World, member: Provider) -> dict[str, Any]:
    argv = member.argv[member.argv.index("--run") : member.argv.index("--listen")]
    kept = [word for pair in zip(argv[::2], argv[1::2], strict=True) if pair[0] != "--password-file" for word in pair]
    done = subprocess.run(
        [*command(), "provider", "status", *kept, "--rounds", "50", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def scraped(address: str) -> dict[tuple[str, ...], float]:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_a_member_keeps_to_what_its_owner_allows_and_tells_what_came_of_it(tmp_path: Path, data_dir: Path) -> None:
    metrics = f"127.0.0.1:{free_port()}"
    now = datetime.now().astimezone()
    closed = "-".join((now + timedelta(hours=hours)).strftime("%H:%M") for hours in (9, 10))
    with World(tmp_path, data_dir, epoch_s=90, training=WORTH) as world:
        world.start_signers()
        ada = world.add("ada", extra=["--max-upload", "8Mbit", "--metrics", metrics, "--max-memory", "64GB"])
        bob = world.add("bob", prefix=[sys.executable, "-c", _TERMINAL])
        cid = world.add("cid", extra=["--schedule", closed])
        small = world.add("small", extra=["--max-memory", "0.1MB"])

        world.wait("cid rests", lambda: cid.phase()[1] == "paused", 300)
        world.wait("a model too large is refused", lambda: not small.alive, 300)
        assert "does not fit" in small.log_text()
        first = world.wait("ada is counted", ada.counted, 300)[0]
        world.wait("and again", lambda: [r for r in ada.counted() if r > first], 300)
        assert cid.alive
        assert cid.counted() == []

        lines = ada.lines()
        sent = lines[-1]["bytes_sent"] - lines[0]["bytes_sent"]
        assert sent <= RATE * ((lines[-1]["time_ms"] - lines[0]["time_ms"]) / 1000 + 1.1)

        found = scraped(metrics)
        assert found["commonweight_provider_rounds_total", "counted"] >= 2
        assert found["commonweight_provider_bytes_total", "sent"] > 0
        assert found[("commonweight_provider_last_receipt_timestamp_seconds",)] > 1.7e9

        told = world.wait("itemised credits", lambda: (s := status_of(world, ada))["itemised"] and s, 400)
        own = {entry["round"]: entry for entry in told["rounds"]}
        credited = [line for line in told["itemised"] if int(line["credits"]) > 0]
        assert credited
        assert all(own[line["round"]]["outcome"] == "counted" for line in credited)
        assert all(own[line["round"]]["tokens"] == line["tokens"] for line in credited)
        assert "MB | received" in ada.log_text(), "a line a round where there is no terminal"
        assert "tok/s | sent" in world.wait("bob's line is drawn", lambda: "\x1b[" in bob.log_text() and bob.log_text())
