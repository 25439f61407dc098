"""What a watcher's monitoring sees, if it is asked for: Prometheus metrics, all named `commonweight_watcher_...`."""

from typing import Protocol

from commonweight.audit.watcher.moves import Move
from commonweight.audit.watcher.reading import Seen
from commonweight.errors import UsageError


class Metrics(Protocol):
    """Told what happens."""

    def looked(self, seen: Seen) -> None:
        """A look was made."""

    def judged(self, genuine: bool) -> None:
        """A report was compared with its true tree."""

    def moved(self, move: Move) -> None:
        """A move was mined."""

    def missed(self) -> None:
        """Something could not be done in time."""

    def failed(self) -> None:
        """A look or a move failed and will be tried again."""


class NoMetrics:
    """Counts nothing."""

    def looked(self, seen: Seen) -> None:
        """Nothing."""

    def judged(self, genuine: bool) -> None:
        """Nothing."""

    def moved(self, move: Move) -> None:
        """Nothing."""

    def missed(self) -> None:
        """Nothing."""

    def failed(self) -> None:
        """Nothing."""


class Prometheus:
    """Counts, and answers scrapes at host:port from the start. Raises UsageError when that cannot be."""

    def __init__(self, host: str, port: int) -> None:
        try:
            from prometheus_client import Counter, Gauge, start_http_server

            from commonweight.metrics import new_registry
        except ImportError:
            raise UsageError(
                "Metrics need a library that is not installed.", "", "pip install 'commonweight[oracle]'"
            ) from None
        self.registry = r = new_registry()
        self._head = Gauge("commonweight_watcher_head_block", "Newest block looked at", registry=r)
        self._head_time = Gauge("commonweight_watcher_head_timestamp_seconds", "Its time", registry=r)
        self._games = Gauge("commonweight_watcher_open_games", "Open root games", registry=r)
        self._reports = Counter("commonweight_watcher_reports", "Reports compared, by verdict", ["verdict"], registry=r)
        self._moves = Counter("commonweight_watcher_moves", "Moves mined, by kind", ["move"], registry=r)
        self._missed = Counter("commonweight_watcher_missed", "Moves that came too late or cannot be made", registry=r)
        self._failures = Counter("commonweight_watcher_failures", "Looks or moves that failed", registry=r)
        for verdict in ("true", "false"):
            self._reports.labels(verdict)
        try:
            start_http_server(port, addr=host, registry=r)
        except OSError as error:
            raise UsageError(
                f"Metrics cannot be served at {host}:{port}.", str(error), "Choose another port."
            ) from None

    def looked(self, seen: Seen) -> None:
        """A look was made."""
        self._head.set(seen.head.number)
        self._head_time.set(seen.head.timestamp)
        self._games.set(sum(len(case.plays) for case in seen.cases))

    def judged(self, genuine: bool) -> None:
        """A report was compared with its true tree."""
        self._reports.labels("true" if genuine else "false").inc()

    def moved(self, move: Move) -> None:
        """A move was mined."""
        self._moves.labels(move.name).inc()

    def missed(self) -> None:
        """Something could not be done in time."""
        self._missed.inc()

    def failed(self) -> None:
        """A look or a move failed and will be tried again."""
        self._failures.inc()
