"""Closing the books: what a signer lets go of once final reports have come to a round.

Its draws are closed. What was kept to make its record and to check it (payload parts, of whoever came to nothing too,
and canonical parts) is dropped: the content store has what evidence names, and members begin from what is attested.
"""

from oracle.desk import Desk


def close_books(desk: Desk) -> None:
    """Let go of what final reports have come to, once for each epoch."""
    db, view = desk.seat.db, desk.view
    for epoch, final in view.final.items():
        if not final or epoch in desk.settled or epoch not in view.reports:
            continue
        if db.get_meta(f"settled/{epoch}") is None:
            rounds = db.report_rounds(epoch, view.reports[epoch].digest)
            if rounds is None:
                continue
            db.close_draws(rounds)
            _drop_rounds(desk, max(rounds, default=0))
            db.set_meta(f"settled/{epoch}", "1")
        desk.settled.add(epoch)


def _drop_rounds(desk: Desk, upto: int) -> None:
    """All parts of all rounds up to one: reports take rounds in order, so none of them is still to be reported."""
    desk.payloads.forget(upto)
    dropped = int(desk.seat.db.get_meta("dropped") or "0")
    for number in range(dropped + 1, upto + 1):
        record = desk.rounds.record(number)
        for digest in () if record is None else record.body.results:
            desk.files.drop(digest)
    desk.seat.db.set_meta("dropped", str(max(dropped, upto)))
