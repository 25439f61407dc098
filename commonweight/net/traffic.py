"""Counters of bytes on the wire: frames as they are sent and received, by method and in total.

A frame counts with its 12 bytes of lengths, its header and its body. TLS adds 22 bytes to every 16 KiB and about 1.5
kB to each connection, which is not counted.
"""

import threading
from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TrafficTotals:
    """A snapshot: total bytes, and bytes and frames by method (both directions apart)."""

    bytes_sent: int
    bytes_received: int
    sent_by_method: dict[str, int]
    received_by_method: dict[str, int]


@dataclass
class Traffic:
    """Counts for a connection or a process; a connection's counts go to `parent` as well. Safe over threads."""

    parent: "Traffic | None" = None
    _sent: Counter[str] = field(default_factory=Counter)
    _received: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_sent(self, method: str, size: int) -> None:
        """Count bytes that were written."""
        with self._lock:
            self._sent[method] += size
        if self.parent is not None:
            self.parent.add_sent(method, size)

    def add_received(self, method: str, size: int) -> None:
        """Count bytes that were read."""
        with self._lock:
            self._received[method] += size
        if self.parent is not None:
            self.parent.add_received(method, size)

    def totals(self) -> TrafficTotals:
        """The counts so far."""
        with self._lock:
            return TrafficTotals(self._sent.total(), self._received.total(), dict(self._sent), dict(self._received))


PROCESS_TRAFFIC = Traffic()
"""What the whole process has sent and received, unless a server or connection was given counters of its own."""
