"""Trees that somebody published: `leaves.jsonl` in the evidence that a report names.

Fetched beside the watching, since a store may take its time and deadlines do not wait. Whether a tree is the one that
was signed is decided by its root, so that nothing here has to be trusted.
"""

import threading
import time
from dataclasses import dataclass, field

from commonweight.chain.ledger_view import FiledReport
from commonweight.chain.structs import Leaf
from commonweight.errors import CommonweightError
from commonweight.protocol.evidence import leaves_from_lines
from commonweight.store import ContentStore, parse_cid

MAX_BYTES = 1 << 28
_RETRY_S = 30.0


@dataclass
class _Errand:
    """One fetch; `leaves` is written once, before `done` is set."""

    done: threading.Event = field(default_factory=threading.Event)
    leaves: list[Leaf] | None = None
    ended_at: float = 0.0


class Published:
    """Looks for trees in a content store. `patience_s` is how long the first question about a report waits."""

    def __init__(self, store: ContentStore | None, patience_s: float) -> None:
        self._store = store
        self._patience_s = patience_s
        self._errands: dict[bytes, _Errand] = {}

    def __call__(self, filed: FiledReport) -> list[Leaf] | None:
        """The leaves that are published for a report, None when there are none, or none yet."""
        if self._store is None:
            return None
        errand = self._errands.get(filed.event.digest)
        failed = errand is not None and errand.done.is_set() and errand.leaves is None
        if errand is None or (failed and time.monotonic() > errand.ended_at + _RETRY_S):
            errand = self._errands[filed.event.digest] = _Errand()
            cid = filed.event.report.evidence_cid
            threading.Thread(target=_fetch, args=(self._store, cid, errand), daemon=True).start()
            errand.done.wait(self._patience_s)
        return errand.leaves if errand.done.is_set() else None


def _fetch(store: ContentStore, cid: str, errand: _Errand) -> None:
    try:
        found = store.get(store.resolve(parse_cid(cid), "leaves.jsonl"), max_bytes=MAX_BYTES)
        errand.leaves = list(leaves_from_lines(found))
    except (CommonweightError, OSError, ValueError):  # not to be had, or nonsense: there is the game
        pass
    finally:
        errand.ended_at = time.monotonic()
        errand.done.set()
