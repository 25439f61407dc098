"""Verdicts that can stand in a report: by the round's drawing block, about anchored work, true to their scores.

Any signer signs what it likes. What could not stand in the evidence would spoil every report, so that it counts for
nothing here: neither as a draw that is done nor as a word for or against a member.
"""

from commonweight.errors import FormatError
from commonweight.protocol.evidence_check import Seed, check_verdict
from commonweight.protocol.records import Commitment, Plan, Record, Verdict
from oracle.db import Database
from oracle.desk import Desk
from oracle.rounds import Doc


def fitting(desk: Desk, number: int, *, member: int | None = None) -> list[Doc[Verdict]]:
    """The verdicts of a round, or of one member in it, that can stand; none while its seed is not known."""
    known, plan = desk.rounds.verdicts(number, member=member), desk.rounds.plan(number)
    seed = None if plan is None else kept_seed(desk.seat.db, plan.body)
    if not known or plan is None or seed is None:
        return []
    anchored = desk.rounds.anchored(number, desk.rounds.finalized_roots(number))
    bodies = {digest: commitment.body for digest, commitment in anchored.items()}
    written = desk.rounds.record(number)
    record = None if written is None else written.body
    return [verdict for verdict in known if _fits(desk, verdict.body, plan.body, record, bodies, seed)]


def kept_seed(db: Database, plan: Plan) -> Seed | None:
    """The block that draws a round's checks, if it was seen before."""
    kept = db.get_meta(seed_key(plan))
    if kept is None:
        return None
    block, hash_ = kept.split()
    return Seed(int(block), bytes.fromhex(hash_))


def seed_key(plan: Plan) -> str:
    """Where the database keeps it."""
    return f"seed/{plan.round}/{plan.anchor_by_ms}"


def _fits(
    desk: Desk, verdict: Verdict, plan: Plan, record: Record | None, commitments: dict[str, Commitment], seed: Seed
) -> bool:
    try:
        check_verdict(verdict, plan, record, commitments, seed, desk.seat.config, desk.view.offices)
    except FormatError:
        return False
    return True
