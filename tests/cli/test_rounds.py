"""`provider status`: what the signers credited stands beside the rounds that it is of, however old they are."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from commonweight.chain.ledger_view import LedgerView
from commonweight.cli.rounds import itemised, rows
from commonweight.protocol.canonical import dumps
from commonweight.store import cid_of
from tests.chain.scenario import make_params

pytestmark = pytest.mark.unit


def test_credits_of_old_rounds_stay_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """One round an epoch, eight reports; the process here ended in the third."""
    params = make_params(0)
    cids = {epoch: str(cid_of(bytes([epoch]))) for epoch in range(8)}
    files = {
        cid: dumps({"lines": [{"index": 1, "round": epoch + 1, "credits": str(10 * epoch)}]})
        for epoch, cid in cids.items()
    }
    reports = {epoch: SimpleNamespace(report=SimpleNamespace(evidence_cid=cid)) for epoch, cid in cids.items()}
    monkeypatch.setattr(LedgerView, "of", lambda _: SimpleNamespace(reports=reports))
    store = SimpleNamespace(get_file=lambda cid, _name, _most: files[str(cid)])
    session = SimpleNamespace(run=SimpleNamespace(params=params), store=store)

    def times(epoch: int) -> dict[str, object]:
        ended = params.epoch_end(epoch)
        return {"began_ms": 1000 * (ended - 60), "ended_ms": 1000 * (ended - 1), "steps": 1, "planned_steps": 1}

    own: list[dict[str, object]] = [{"round": epoch + 1, "outcome": "counted", **times(epoch)} for epoch in (1, 2)]
    shown = rows(own, itemised(session, 1, own, None))  # type: ignore[arg-type]
    assert [(row[0], row[6]) for row in shown] == [(2, "10"), (3, "20")]
    for last, expected in ((0, set()), (3, {6, 7, 8})):
        assert set(itemised(session, 1, own, last).lines) == expected  # type: ignore[arg-type]
    assert set(itemised(session, 1, [], None).lines) == {7, 8}, "another computer shows the last two"  # type: ignore[arg-type]
