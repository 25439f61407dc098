"""What must be true of a simulated run, round by round and at its end."""

from __future__ import annotations

from commonweight.exact.offences import Context, check
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.keys import address_of
from commonweight.protocol.offences import Offence
from commonweight.protocol.records import Record
from commonweight.store import parse_cid
from tests.crowd.clock import START_S
from tests.crowd.crowd import Crowd
from tests.crowd.weather import Weather
from tests.oracle.office import DOMAIN, RUN, member_key

RULES = {"wrong-base", "wrong-round"}


class Books:
    """Follows a crowd through its rounds."""

    def __init__(self, crowd: Crowd, weather: Weather | None = None) -> None:
        self.crowd, self.weather = crowd, weather
        self.left_out_until: dict[int, int] = {}
        self.counted = self.planned = self.redone = self.owed = self.slow = 0
        self.longest = 0.0

    async def follow(self, rounds: int) -> None:
        for number in range(1, rounds + 1):
            record = await self.crowd.recorded(number)
            self.round(number, record)

    def round(self, number: int, record: Record) -> None:
        """One round, when its record is there."""
        crowd, plan, doc = self.crowd, self.crowd.plan(number), self.crowd.record_doc(number)
        assert plan is not None
        assert doc is not None
        began_ms, took_ms = plan.received_ms, doc.received_ms - plan.received_ms
        span_ms = plan.body.record_by_ms - began_ms
        assert took_ms <= 1.1 * span_ms, f"round {number} took {took_ms} ms of {span_ms}"
        self.longest = max(self.longest, took_ms / span_ms)
        cheats = {one.index for one in crowd.members if not one.honest}
        assert set(crowd.ledger.bans) <= cheats
        refused = {entry.index: entry.reason for entry in record.refused if entry.index not in cheats}
        assert not refused, f"round {number} refuses honest members: {refused}"
        counted = {entry.index for entry in record.counted}
        self.planned += len(plan.body.members)
        self.counted += len(counted)
        self.redone += not counted
        if counted and self.weather is not None:
            self._owed(number, record, began_ms, doc.received_ms, counted)
        members = crowd.lead.desk.seat.db.members()
        self.slow += sum(m.slow_until_ms > self.left_out_until.get(i, 0) for i, m in members.items())
        self.left_out_until = {i: m.slow_until_ms for i, m in members.items()}

    def _owed(self, number: int, record: Record, began_ms: int, over_ms: int, counted: set[int]) -> None:
        """Whoever was well for the whole round, and a heartbeat before it, is planned and counted."""
        assert self.weather is not None
        start, stop = began_ms / 1000 - START_S, over_ms / 1000 - START_S
        for one in self.crowd.members:
            if not one.honest or self.left_out_until.get(one.index, 0) > began_ms:
                continue
            if self.weather.well(one.index, start, stop):
                self.owed += 1
                reasons = {m.index: m.reason for m in record.missing}
                why = reasons.get(one.index, "not planned")
                assert one.index in counted, f"round {number} does not count {one.name}, which was well: {why}"

    def end(self, rounds: int) -> None:
        """Nobody has another checkpoint than the record's, and every record recomputes."""
        for number in range(1, rounds + 1):
            record = self.crowd.record(number)
            assert record is not None
            held = {one.lines.checkpoints[number] for one in self.crowd.members if number in one.lines.checkpoints}
            assert held <= {record.checkpoint}, f"round {number} is forked"
            for signer in self.crowd.signers:
                assert signer.recount.result(number) in ("ok", *((None,) if number > rounds - 3 else ()))

    def evidence(self) -> dict[int, str]:
        """Check, as an outsider, every ban on chain by what was published; the broken rule by member."""
        crowd = self.crowd
        context = Context(
            DOMAIN, RUN, crowd.config, crowd.config.model.parameters(), lambda i: {address_of(member_key(i))},
            crowd.ledger.in_office,
        )  # fmt: skip
        rules = {}
        for index, ban in crowd.ledger.bans.items():
            kept = crowd.lead.desk.seat.db.document(ban.evidence_sha256)
            assert kept is not None
            signed = Signed.from_bytes(kept.signed)
            assert digest_bytes(signed.digest) == ban.evidence_sha256
            offence = Offence.from_body(signed.body)
            store = crowd.lead.desk.seat.store
            blobs = {blob.name: store.get(parse_cid(blob.cid), sha256=blob.sha256) for blob in offence.blobs}
            check(offence, blobs, context)
            assert offence.index == index
            rules[index] = offence.rule
        return rules
