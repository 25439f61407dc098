"""What every service tells Prometheus: its own figures, all of them in the documentation, and nothing beside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from commonweight.audit.watcher.metrics import Prometheus
from inference.api import Metrics as ServerMetrics
from oracle.metrics import Metrics as OracleMetrics
from trainer.metrics import Metrics as ProviderMetrics

pytestmark = pytest.mark.unit
DOCS = Path(__file__).resolve().parents[2] / "docs"


def server() -> CollectorRegistry:
    made = ServerMetrics()
    made.answers.labels("paid").inc()
    return made.registry


@pytest.mark.parametrize(
    "made",
    [
        server,
        lambda: OracleMetrics().registry,
        lambda: ProviderMetrics().registry,
        lambda: Prometheus("127.0.0.1", 0).registry,
    ],
    ids=["server", "oracle", "provider", "watcher"],
)
def test_no_series_tells_when_a_counter_was_made(made: Callable[[], CollectorRegistry]) -> None:
    said = generate_latest(made()).decode()
    assert "_total" in said
    assert "_created" not in said


def test_every_figure_of_a_server_is_documented() -> None:
    page = (DOCS / "cli.md").read_text()
    for family in ServerMetrics().registry.collect():
        assert f"`{family.name}" in page, family.name
