"""What the coordinator learns from a round: budgets of the next one, members' speeds, and who is left out as slow."""

from commonweight.protocol.canonical import dumps, loads_object
from commonweight.protocol.records import Commitment, Plan, Record
from commonweight.protocol.structure import went_ahead
from oracle.closing import LOST
from oracle.desk import Desk
from oracle.logs import logger
from oracle.pace import Measured, Pace, mostly_late, next_pace, next_speeds, slow_ban
from oracle.rounds import Doc


class Learning:
    """Keeps it in the database: a coordinator that is killed forgets nothing."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._seat = desk.seat
        self._log = logger("coordinator")

    def pace(self) -> Pace:
        """The budgets of the next round."""
        kept = self._seat.db.get_meta("pace")
        return Pace.first(self._seat.config) if kept is None else Pace.from_json(loads_object(kept.encode()))

    def speeds(self) -> dict[int, int]:
        """Microseconds a step, as measured, by member."""
        kept = loads_object((self._seat.db.get_meta("speeds") or "{}").encode())
        return {int(index): us for index, us in kept.items() if isinstance(us, int)}

    def learn(self, plan: Doc[Plan], record: Record, closed_ms: int) -> None:
        """Adapt the budgets and judge slowness by what this round took."""
        db, config, number = self._seat.db, self._seat.config, record.round
        began, steps = plan.received_ms, {member.index: member.steps for member in plan.body.members}
        taken: dict[int, int] = {}
        receipted = self._desk.rounds.receipted(plan)
        for receipt in self._desk.rounds.receipts(number, signer=self._seat.address):
            if receipt.body.commitment in receipted and receipt.body.index not in taken:
                taken[receipt.body.index] = receipt.body.received_ms - began
                steps[receipt.body.index] = self._steps_since(receipted[receipt.body.commitment].body, plan.body)
        late = {index: at - began for index, at in db.late(number).items() if index not in taken}
        exchanged_ms = db.last_payload_ms(number)
        measured = Measured(
            {**taken, **late}, steps, frozenset(late), frozenset(set(plan.body.indices) - set(taken) - set(late)),
            0 if exchanged_ms is None else max(0, exchanged_ms - plan.body.anchor_by_ms),
            self._seat.now_ms() - closed_ms,
        )  # fmt: skip
        speeds = next_speeds(self.speeds(), measured)
        db.set_meta("speeds", dumps({str(index): us for index, us in speeds.items()}).decode())
        db.set_meta("pace", dumps(next_pace(self.pace(), measured, config).to_json()).decode())
        members, silent = db.members(), self._silent(plan.body, record)
        for index in plan.body.indices:
            strikes = members[index].strikes if index in members else 0
            if (index in late and not mostly_late(measured)) or index in silent:
                banned_ms = slow_ban(strikes + 1, config)
                db.member_slow(index, strikes + 1, self._seat.now_ms() + banned_ms)
                self._log.info("slow", member=index, strikes=strikes + 1, left_out_ms=banned_ms)
            elif index in taken and strikes:
                db.member_slow(index, strikes - 1, 0)

    def _steps_since(self, commitment: Commitment, plan: Plan) -> int:
        """Steps that a member has taken since the plan: those that it took ahead cost it nothing of the time."""
        overlap = self._seat.config.training.overlap
        previous = self._desk.rounds.previous_counted(commitment.index, plan) if overlap else None
        return commitment.steps - (overlap if went_ahead(commitment, previous, overlap) else 0)

    def _silent(self, plan: Plan, record: Record) -> set[int]:
        """Members that are alive, as they have spoken since, and yet did not hand over what they committed to.

        When that are most of those who committed, it was the time that did not suffice.
        """
        members = self._seat.db.members()
        lost = {m.index for m in record.missing if m.commitment is not None and m.reason == LOST}
        alive = {i for i in lost if i in members and members[i].seen_ms > plan.exchange_by_ms}
        return alive if 2 * len(alive) <= len(record.counted) + len(lost) else set()
