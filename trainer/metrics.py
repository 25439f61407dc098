"""What a provider's monitoring sees: Prometheus metrics of one member, on a registry of its own, out of status lines.

docs/cli.md lists them. A round counts as missed when this member was in its plan and the record does not count it.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, start_http_server

from commonweight.errors import UsageError
from commonweight.metrics import new_registry
from commonweight.net import split_address
from commonweight.protocol.canonical import Json
from trainer.earnings import Earned

PHASES = ("join", "wait", "train", "commit", "anchor", "exchange", "record", "paused", "show", "stopped")
_NAME = "commonweight_provider_"


class Metrics:
    """The metrics of one process. `hear` takes a status line, `earned` the credits; `serve` opens the port."""

    def __init__(self) -> None:
        self.registry = new_registry()
        r = self.registry
        self._round = Gauge(_NAME + "round", "Round under way or done last", registry=r)
        self._phase = Gauge(_NAME + "phase", "1 for the phase that it is in", ["phase"], registry=r)
        self._rounds = Counter(_NAME + "rounds", "Rounds decided, by outcome", ["outcome"], registry=r)
        self._refused = Counter(_NAME + "refusals", "What was not taken, by reason", ["reason"], registry=r)
        self._tokens = Counter(_NAME + "tokens", "Tokens counted in records", registry=r)
        self._speed = Gauge(_NAME + "tokens_per_second", "Training speed", registry=r)
        self._loss = Gauge(_NAME + "loss_nats", "Training loss, nats a token", registry=r)
        self._bytes = Counter(_NAME + "bytes", "Frame bytes on the wire", ["direction"], registry=r)
        self._receipt = Gauge(_NAME + "last_receipt_timestamp_seconds", "Unix time, 0 for none yet", registry=r)
        self._bans = Counter(_NAME + "bans", "Bans found on chain", registry=r)
        self._credits = Gauge(_NAME + "credits", "Credits, final or pending", ["state"], registry=r)
        for phase in PHASES:
            self._phase.labels(phase)
        for outcome in ("counted", "missed", "idle"):
            self._rounds.labels(outcome)
        self._seen = {"bytes_sent": 0, "bytes_received": 0}

    def serve(self, address: str) -> None:
        """Answer scrapes at host:port. Raises UsageError when the port is taken."""
        host, port = split_address(address)
        try:
            start_http_server(port, addr=host, registry=self.registry)
        except OSError as problem:
            raise UsageError(
                f"Prometheus cannot be answered at {address}", str(problem), "name another address by --metrics"
            ) from None

    def hear(self, line: Mapping[str, Json]) -> None:
        """Take in a status line."""
        phase, refused = line["phase"], line.get("refused")
        self._round.set(_integer(line, "round"))
        for each in PHASES:
            self._phase.labels(each).set(each == phase)
        for name, direction in (("bytes_sent", "sent"), ("bytes_received", "received")):
            self._bytes.labels(direction).inc(max(0, _integer(line, name) - self._seen[name]))
            self._seen[name] = _integer(line, name)
        if phase == "train" and line.get("tokens_per_s") is not None:
            self._speed.set(_integer(line, "tokens_per_s"))
        if phase == "train" and line.get("loss_micro") is not None:
            self._loss.set(_integer(line, "loss_micro") / 1e6)
        if isinstance(refused, str):
            self._refused.labels(refused).inc()
            if refused == "banned":
                self._bans.inc()
        if line.get("receipt") is True:
            self._receipt.set(_integer(line, "time_ms") / 1000)
        if "counted" in line:
            missed = "missed" if line.get("planned", True) else "idle"
            self._rounds.labels("counted" if line["counted"] is True else missed).inc()
            self._tokens.inc(_integer(line, "tokens"))

    def earned(self, earned: Earned) -> None:
        """Take in what the chain says."""
        self._credits.labels("final").set(earned.final)
        self._credits.labels("pending").set(earned.pending)


def _integer(line: Mapping[str, Json], name: str) -> int:
    value = line.get(name)
    return value if isinstance(value, int) else 0
