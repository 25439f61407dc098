"""The coordinator: one signer's process that runs the rounds. `oracle.phases` says what comes next; this does it.

Every effect is idempotent and leaves a fact behind (a promised plan, anchor or record; a root on chain), from which the
next `facts()` follows. So the loop below is all there is: look, decide, do, until the training is over.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import takewhile

from commonweight.chain.events import RoundAnchored
from commonweight.errors import CommonweightError, OracleError
from commonweight.protocol.fields import digest_bytes, hex32
from commonweight.protocol.merkle import anchor_root
from commonweight.protocol.records import Anchor, Plan, Record
from oracle.closing import Closing
from oracle.desk import Desk
from oracle.learning import Learning
from oracle.logs import logger
from oracle.offending import Offending
from oracle.phases import AnchorRecord, Close, Decide, Facts, Finish, Open, SendAnchor, Step, Wait, decide
from oracle.planning import bounds, make_plan, ready_members
from oracle.recount import OK, Recount
from oracle.rounds import Doc
from oracle.seat import in_thread
from oracle.uploads import Uploads

_ANCHOR_GAS = 250_000
_TICK_S = 0.25
_ALONE_MS = 3_000
_EXPLAIN_MS = 10_000
_GIVE_UP_MS, _ASK_AGAIN_S = 60_000, 2.0


class Coordinator:
    """Plans rounds, anchors them, collects payloads and signs records. One per run; restart it at any time."""

    def __init__(self, desk: Desk, offending: Offending, uploads: Uploads, recount: Recount) -> None:
        self._desk = desk
        self._seat = desk.seat
        self._uploads = uploads
        self._closing = Closing(desk, offending)
        self._recount = recount
        self._ground: str | None = None
        self._waiting: dict[str, int] = {}
        self.learning = Learning(desk)
        self._log = logger("coordinator")
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._made: int | None = None
        self._checking: asyncio.Task[None] | None = None
        self._pulls: set[asyncio.Task[None]] = set()
        self._pulled = 0
        self._started_ms = self._seat.now_ms()
        self.phase = "starting"

    async def run(self) -> None:
        """Rounds until the training is over. A step that fails is logged and tried again."""
        while True:
            try:
                await self.take_over()
                facts = await self.facts()
                step = decide(facts)
                self._enter(step.phase, facts.plan.round if facts.plan else None)
                if isinstance(step, Finish):
                    return
                await self._do(step, facts)
            except CommonweightError as error:
                self._desk.metrics.failures.labels("coordinate").inc()
                self._log.warning("step failed", error=str(error))
                await asyncio.sleep(_TICK_S)

    def _enter(self, phase: str, round_: int | None) -> None:
        if phase != self.phase:
            self._log.info("phase", phase=phase, round=round_)
            self.phase = phase
            self._desk.bell.ring()

    # --- facts -------------------------------------------------------------------------------------------------------

    async def facts(self) -> Facts:
        """What is known now, from disk, chain and clock."""
        seat, rounds, now = self._seat, self._desk.rounds, self._seat.now_ms()
        plan, record = self.open_plan(), self._last_record()
        pending = self._pending_records()
        members = seat.db.members()
        ready = ready_members(members, self._desk.view, self._offenders(), self._absent(record), now)
        facts = Facts(
            now, bounds(seat.params, seat.config), ready, max((members[i].joined_ms for i in ready), default=0),
            self.learning.pace().train_ms, self.made(), record is not None, bool(pending),
        )  # fmt: skip
        forgotten = record is not None and bool(pending) and pending[0].body.round < record.body.round
        if pending and (forgotten or self._record_cannot_wait(pending[0].body, plan, now)):
            self._start(f"record/{pending[0].body.round}", lambda: self._anchor_record(pending[0]))
        if plan is None:
            return facts
        anchor = seat.promised(f"anchor/{plan.body.round}")
        roots, over = await self._roots(plan)
        return replace(
            facts, plan=plan.body, anchor=None if anchor is None else Anchor.from_body(anchor.body),
            receipted=bool(rounds.only(plan)), anchored=bool(roots), window_over=over,
            complete=over and self._closing.complete(plan, roots),
        )  # fmt: skip

    def open_plan(self) -> Doc[Plan] | None:
        """This coordinator's plan that has no record yet."""
        plan = self._desk.rounds.last_plan()
        if plan is None or plan.signer != self._seat.address:
            return None
        return None if self._desk.rounds.record(plan.body.round) is not None else plan

    def made(self) -> int:
        """How many rounds have made a checkpoint."""
        if self._made is None:
            last = self._last_record()
            self._made = self._desk.rounds.lineup(None if last is None else last.digest).made
        return self._made

    def _offenders(self) -> frozenset[int]:
        return frozenset(row.member for row in self._seat.db.offences())

    def _absent(self, record: Doc[Record] | None) -> dict[int, int]:
        """Members that the last record misses, and since when."""
        plan = None if record is None else self._desk.rounds.plan(record.body.round)
        if record is None or plan is None:
            return {}
        late = self._seat.db.late(record.body.round)
        missing = {m.index for m in record.body.missing if m.commitment is None} - set(late)
        return dict.fromkeys(missing, plan.body.commit_by_ms)

    def _pending_records(self) -> list[Doc[Record]]:
        """Records that the chain does not have, the oldest first.

        Usually the last one at most; an older one when this process was killed before an anchor that should have
        carried it, and another signer anchored the commitments.
        """
        db, found = self._seat.db, []
        settled = before = int(db.get_meta("records_final") or "0")
        last, rounds = self._last_record(), self._desk.rounds
        line = iter(()) if last is None else rounds.lineage(last.digest)
        known = {r.body.round: r for r in takewhile(lambda r: r.body.round > settled, line)}
        for number in range(settled + 1, max(known, default=0) + 1):
            record = known.get(number)
            if record is not None and not self._record_anchored(record):
                found.append(record)
            elif not found and number == settled + 1 and (record is None or self._desk.rounds.anchored_record(number)):
                settled = number
        if settled != before:
            db.set_meta("records_final", str(settled))
        return found

    def _record_anchored(self, record: Doc[Record]) -> bool:
        """Whether the chain has the record, finalised or in a transaction of ours that can still become so."""
        if self._desk.rounds.anchored_record(record.body.round) is not None:
            return True
        mined = self._seat.db.get_meta(f"mined/record/{record.body.round}")
        return mined is not None and int(mined) > self._desk.view.finalized.number

    def _record_cannot_wait(self, record: Record, plan: Doc[Plan] | None, now_ms: int) -> bool:
        """Whether the next round's anchor would come too late for this record's epoch, or not soon."""
        if plan is not None:
            return plan.body.epoch > record.epoch
        last = self._desk.rounds.plan(record.round)
        return last is not None and now_ms > last.body.record_by_ms + _ALONE_MS

    # --- taking over -------------------------------------------------------------------------------------------------

    async def take_over(self) -> None:
        """Find the last record of other coordinators that is right, before anything is built on it.

        Whoever is replaced may have been replaced because it lies. A record whose payloads cannot be had is given up
        after a minute: nobody could ever check what goes on from it. What a report attests was checked by a quorum.
        """
        plan = self._desk.rounds.last_plan()
        if self._ground is not None:
            return
        if plan is not None and plan.signer == self._seat.address:  # it was found before this process began
            self._ground = plan.body.previous_record or ""
            return
        self._enter("checking", None if plan is None else plan.body.round)
        await self._hear_all()
        ground, unknown = self._settled()
        if self._desk.view.reported_round and not ground:
            raise OracleError(
                f"round {self._desk.view.reported_round} is reported, and its record is not known here", "",
                "wait until the others' logs are read, and name all that have coordinated by --coordinator OLD,NEW",
            )  # fmt: skip
        for record in reversed(unknown):
            if self._recount.result(record.body.round) is not None or not await self._is_right(record):
                self._log.warning("a record is passed over", round=record.body.round, signer=record.signer)
                break
            ground = record.digest
        self._ground = ground

    def _settled(self) -> tuple[str, list[Doc[Record]]]:
        """The last record that was found right or is reported ("" for none) and those that go on from it, newest first.

        The newest record whose line is known here, and of that line no round that a quorum cannot see alike.
        """
        rounds, view = self._desk.rounds, self._desk.view
        last = rounds.last_record()
        for number in range(0 if last is None else last.body.round, 0, -1):
            newest = rounds.record(number)
            if newest is None:
                continue
            ground, unknown = "", list[Doc[Record]]()
            for record in rounds.lineage(newest.digest):
                if record.body.round <= view.reported_round:
                    return ground or record.digest, unknown
                if not rounds.agreed(record, view.signers, view.quorum):
                    self._log.warning("signers see a round differently", round=record.body.round, signer=record.signer)
                    ground, unknown = "", []
                elif not ground and self._recount.result(record.body.round) == OK:
                    ground = record.digest
                elif not ground:
                    unknown.append(record)
            if rounds.is_whole(newest.digest):
                return ground, unknown
        return "", []

    async def _hear_all(self) -> None:
        """Wait until the logs of all signers that answer are read: what is not known here would be passed over."""
        until_ms = self._seat.now_ms() + _GIVE_UP_MS
        while set(self._desk.peers) - self._desk.heard and self._seat.now_ms() < until_ms:
            await self._desk.bell.wait(_TICK_S)

    async def _is_right(self, record: Doc[Record]) -> bool:
        plan = self._desk.rounds.by_digest(Plan, record.body.plan)
        until_ms = self._waiting.setdefault(record.digest, self._seat.now_ms() + _GIVE_UP_MS)
        if plan is not None and until_ms < plan.body.anchor_by_ms:
            return False  # a record long before its time: what is anchored is not known yet
        found: bool | None = None
        while plan is not None and found is None and self._seat.now_ms() < until_ms:
            if self._seat.now_ms() >= plan.body.anchor_by_ms:  # by a clock that is behind the other's it comes early
                roots, _ = await self._roots(plan)
                found = await self._recount.holds(plan, record, roots)
            if found is None:
                await asyncio.sleep(_ASK_AGAIN_S)
        return bool(found)

    def _last_record(self) -> Doc[Record] | None:
        """What this coordinator goes on from: its own newest record, or one of those before that it has found right."""
        last = self._desk.rounds.last_record()
        if last is None or last.signer == self._seat.address:
            return last
        return self._desk.rounds.by_digest(Record, self._ground) if self._ground else None

    # --- steps -------------------------------------------------------------------------------------------------------

    async def _do(self, step: Step, facts: Facts) -> None:
        match step:
            case Wait():
                if step.phase == "exchange":
                    self._pull_missing(facts.now_ms)
                await self._desk.bell.wait(min(_TICK_S, max(0.01, (step.until_ms - facts.now_ms) / 1000)))
            case Open():
                await self._open(step.members)
            case Decide():
                self._decide()
            case SendAnchor():
                await self._send_anchor(facts)
            case Close():
                await self._close()
            case AnchorRecord():
                for record in self._pending_records()[:1]:
                    self._start(f"record/{record.body.round}", partial(self._anchor_record, record))
                await self._desk.bell.wait(_TICK_S)

    async def _open(self, members: tuple[int, ...]) -> None:
        seat, rounds = self._seat, self._desk.rounds
        record, previous = self._last_record(), rounds.last_plan()
        if record is None:
            genesis = await in_thread(self._desk.checkpoints.genesis)
            base, base_cid = genesis.sha256, genesis.cid
        else:
            base, base_cid = record.body.checkpoint, record.body.checkpoint_cid
        plan = make_plan(
            campaign=seat.campaign, config=seat.config, params=seat.params, pace=self.learning.pace(),
            previous=None if previous is None else previous.body, base=base, base_cid=base_cid,
            previous_record=None if record is None else record.digest, members=members, step_us=self.learning.speeds(),
            signers=len(self._desk.view.signers), now_ms=seat.now_ms(),
        )  # fmt: skip
        signed = seat.promise(f"plan/{plan.round}", Plan.KIND, plan.to_body())
        seat.keep(signed, seat.address, round_=plan.round)
        self._desk.metrics.round.set(plan.round)
        self._desk.metrics.members.set(len(plan.members))
        self._log.info("planned", round=plan.round, epoch=plan.epoch, members=list(plan.indices), by=plan.commit_by_ms)
        self._desk.bell.ring()

    def _decide(self) -> None:
        """Fix the commitments to anchor: every receipted one, whoever gave the receipt, but of who has made two."""
        seat, plan = self._seat, self.open_plan()
        assert plan is not None
        digests, number = sorted(self._desk.rounds.only(plan)), plan.body.round
        root = anchor_root([digest_bytes(d) for d in digests])
        anchor = Anchor(seat.campaign, number, plan.body.deadline_s, tuple(digests), hex32(root))
        signed = seat.promise(f"anchor/{number}", Anchor.KIND, anchor.to_body())
        seat.keep(signed, seat.address, round_=number)

    def _pull_missing(self, now_ms: int) -> None:
        """In the second half of the exchange, ask those who have not sent their payload for it."""
        plan = self.open_plan()
        assert plan is not None
        half_ms = (plan.body.anchor_by_ms + plan.body.exchange_by_ms) // 2
        if now_ms < half_ms or plan.body.round == self._pulled:
            return
        self._pulled = plan.body.round
        offenders = self._offenders()
        for c in self._desk.rounds.receipted(plan).values():
            if c.body.index not in offenders and not self._desk.payloads.holds(c.body):
                task = asyncio.create_task(self._uploads.pull(c.body))
                self._pulls.add(task)
                task.add_done_callback(self._pulls.discard)

    async def _send_anchor(self, facts: Facts) -> None:
        plan, anchor = facts.plan, facts.anchor
        assert plan is not None
        assert anchor is not None
        record = self._last_record()
        if record is not None and self._record_anchored(record):
            record = None
        self._start(f"anchor/{plan.round}", lambda: self._anchor(anchor, record))
        await self._desk.bell.wait(_TICK_S)

    async def _close(self) -> None:
        plan = self.open_plan()
        assert plan is not None
        started_ms = self._seat.now_ms()
        roots, _ = await self._roots(plan)
        record = await self._closing.close(plan, roots)
        self._checking = asyncio.create_task(self._check_reducers(plan, record))
        self._made = self.made() + (1 if record.counted else 0)
        self.learning.learn(plan, record, started_ms)
        self._log.info(
            "recorded", round=record.round, counted=[c.index for c in record.counted],
            refused=[r.index for r in record.refused], missing=[m.index for m in record.missing],
        )  # fmt: skip
        self._desk.bell.ring()

    async def _check_reducers(self, plan: Doc[Plan], record: Record) -> None:
        """After the record is out: whoever signed a wrong part is found by computing it."""
        try:
            await self._closing.check_reducers(plan, record)
        except CommonweightError as error:
            self._log.warning("reducers not checked", round=record.round, error=str(error))

    # --- the chain ---------------------------------------------------------------------------------------------------

    async def _roots(self, document: Doc[Plan]) -> tuple[set[bytes], bool]:
        """Roots of a round that are on chain, and whether its window is over there. Asked until it is, then kept."""
        plan = document.body
        db, key = self._seat.db, f"roots/{plan.round}"
        kept = db.get_meta(key)
        if kept is not None:
            return {bytes.fromhex(text) for text in kept.split()}, True
        if self._seat.now_ms() <= plan.commit_by_ms:
            return set(), False
        candidates = {digest_bytes(a.body.root) for a in self._desk.rounds.explained(document)}
        chain, oracle = self._seat.run.chain, self._seat.run.oracle

        final = self._desk.view.finalized.number
        known = {a.root for a in db.anchors(round_=plan.round) if a.deadline == plan.deadline_s} - {bytes(32)}

        def ask() -> tuple[set[bytes], set[bytes], bool]:
            over = chain.timestamp() * 1000 >= plan.anchor_by_ms
            anchored = {r for r in candidates if oracle.is_anchored(plan.round, plan.deadline_s, r)}
            return anchored, known | self._fresh_roots(plan, final) if over else set(), over

        roots, found, over = await in_thread(ask)
        if found - roots and self._seat.now_ms() < max(plan.record_by_ms, self._started_ms + _EXPLAIN_MS):
            return roots, False  # another signer has anchored commitments that are still on their way here
        if over and (roots or not candidates):
            db.set_meta(key, " ".join(sorted(root.hex() for root in roots)))
        return roots, over

    def _fresh_roots(self, plan: Plan, after: int) -> set[bytes]:
        """Roots of a round that anybody has anchored in blocks after this one. Blocks."""
        run = self._seat.run
        latest = run.chain.block().number
        if latest <= after:
            return set()
        fresh = run.events_of(RoundAnchored, from_block=after + 1, to_block=latest)
        mine = [e for e in fresh if (e.round, e.deadline) == (plan.round, plan.deadline_s)]
        return {e.commitments_root for e in mine} - {bytes(32)}

    def _start(self, purpose: str, work: Callable[[], int]) -> None:
        """Send a transaction in the background, one at a time for each purpose."""
        if not self._desk.may_send:
            return
        self._sending = {name: task for name, task in self._sending.items() if not task.done()}
        if purpose not in self._sending:
            self._sending[purpose] = asyncio.create_task(self._guarded(purpose, work))

    async def _guarded(self, purpose: str, work: Callable[[], int]) -> None:
        try:
            block = await in_thread(work)
            self._seat.db.set_meta(f"mined/{purpose}", str(block))
            self._log.info("anchored", purpose=purpose, block=block)
        except CommonweightError as error:
            self._desk.metrics.failures.labels("anchor").inc()
            self._log.warning("anchoring failed", purpose=purpose, error=str(error))
            await asyncio.sleep(_TICK_S)
        finally:
            self._desk.bell.ring()

    def _anchor(self, anchor: Anchor, record: Doc[Record] | None) -> int:
        """Blocks. Whatever somebody else anchored as the record, ours goes next to it, unless it is there already."""
        number, hash_ = (record.body.round, digest_bytes(record.digest)) if record is not None else (0, bytes(32))
        if number and self._seat.run.oracle.record_of(number) == hash_:
            number, hash_ = 0, bytes(32)
        return self._send(anchor.round, anchor.deadline, digest_bytes(anchor.root), number, hash_)

    def _anchor_record(self, record: Doc[Record]) -> int:
        deadline = self._seat.run.chain.timestamp()
        return self._send(record.body.round, deadline, bytes(32), record.body.round, digest_bytes(record.digest))

    def _send(self, round_: int, deadline_s: int, root: bytes, record_round: int, record_hash: bytes) -> int:
        """Blocks until mined. Gas is given, not estimated: the latest block may still lie before the deadline."""
        call = self._seat.run.oracle.make_call("anchorRound", round_, deadline_s, root, record_round, record_hash)
        return self._seat.run.chain.send(call, gas=_ANCHOR_GAS).block_number
