"""Replays: drawn by a block that nobody knew, fetched from the member at once, executed by the worker, signed.

A draw belongs to the signer at its position. Others take it over when that signer stays silent, and check again what it
found failed, so that neither a dead signer nor a lying one decides alone. The state that a member shows is checked
against its commitment before it is used, and kept until the draw is done.
"""

import asyncio
import sqlite3
from dataclasses import replace

from commonweight.errors import CommonweightError, FormatError, OracleError, PeerError
from commonweight.protocol.documents import Signed
from commonweight.protocol.evidence_check import Seed, draws_of
from commonweight.protocol.fields import digest_bytes, hex32
from commonweight.protocol.records import Commitment, Plan, Segment, Verdict
from oracle.db import Draw, Shown
from oracle.desk import Desk
from oracle.logs import logger
from oracle.rounds import Doc
from oracle.seat import in_thread
from oracle.standings import Standings
from oracle.states import Known, States
from oracle.verdicts import fitting, kept_seed, seed_key
from oracle.watch import View
from oracle.worker import ReplayResult, Worker, WorkerError

_TAKE_OVER_MS = 20_000
_ROOT_WAIT_MS = 10_000
_SWEEP_MS = 60_000
_ANEW_MS = 10_000
_LAST_VERDICTS = 64
_TRIES = 4
_UNEXPLAINED, _LATE_ROUNDS, _LOOK_AGAIN_MS = "unexplained", 256, 2_000


class Replaying:
    """Draws, fetches and replays for one signer."""

    def __init__(self, desk: Desk, worker: Worker, standings: Standings) -> None:
        self._desk = desk
        self._seat = desk.seat
        self._worker = worker
        self._standings = standings
        self._states = States(desk)
        self._fetching: dict[tuple[int, int, int], asyncio.Task[str]] = {}
        self._resting: dict[tuple[int, int, int], tuple[int, int]] = {}  # after failures here: until when, and how many
        self._passed: dict[tuple[int, int, int], int] = {}  # others' draws, and of how many verdicts most pass them
        self._again_ms = self._sweep_ms = self._anew_ms = 0
        self._log = logger("replay")

    # --- drawing -----------------------------------------------------------------------------------------------------

    async def draw(self) -> None:
        """Draw for every round whose seed is final; start to fetch what this signer has to replay."""
        db, view = self._seat.db, self._desk.view
        number = int(db.get_meta("drawn") or "0") + 1
        while (plan := self._desk.rounds.plan(number)) is not None or self._desk.rounds.passed_over(number):
            if plan is None:
                db.set_meta("drawn", str(number))
                number += 1
                continue
            seed, waited = await self.seed(plan.body), self._seat.now_ms() > plan.body.anchor_by_ms + _ROOT_WAIT_MS
            if seed is None and self._desk.rounds.passed_over(number):
                pass  # it may be as far off as the run's end, and nothing of it counts
            elif seed is None or not (waited or self._roots_known(plan)):
                break
            else:
                await self._draw_round(plan, seed, view)
            db.set_meta("drawn", str(number))
            number += 1
        await self._draw_again(view)
        self._take_over()
        self._sweep()
        for draw in db.open_draws("wanted"):
            self._start_fetch(draw)
        self._desk.metrics.waiting_draws.set(len(db.open_draws("wanted")))

    async def _draw_round(self, plan: Doc[Plan], seed: Seed, view: View) -> None:
        """Draw among what is anchored as far as it is known here; noted as unexplained where that may not be all.

        A signer that comes back when the wait for roots is over has had no time to ask what they stand for.
        """
        number, db = plan.body.round, self._seat.db
        anchored = self._desk.rounds.anchored(number, self._desk.rounds.finalized_roots(number))
        bodies = {digest: c.body for digest, c in anchored.items()}
        explained = self._roots_known(plan)
        standing = await self._standings.at(view, seed.block)
        drawn = draws_of(plan.body, bodies, seed, self._seat.config, view.offices, standing) if bodies else ()
        late = {other for other in self._unexplained() if other > number - _LATE_ROUNDS} - {number}
        with db.transaction():
            db.keep_draws(number, {(d.index, d.segment, d.position) for d in drawn})
            for d in drawn:
                state = "other" if view.turns(self._seat.address, d.position, seed.block) else "wanted"
                db.add_draw(Draw(number, d.index, d.segment, d.position, seed.block, seed.hash, state))
            db.set_meta(_UNEXPLAINED, " ".join(map(str, sorted(late if explained else late | {number}))))

    async def _draw_again(self, view: View) -> None:
        """Draw for rounds whose roots are all explained by now, and were not when they were drawn."""
        if self._seat.now_ms() < self._again_ms:
            return
        self._again_ms = self._seat.now_ms() + _LOOK_AGAIN_MS
        for number in sorted(self._unexplained()):
            plan = self._desk.rounds.plan(number)
            seed = None if plan is None else kept_seed(self._seat.db, plan.body)
            if plan is not None and seed is not None and self._roots_known(plan):
                await self._draw_round(plan, seed, view)

    def _unexplained(self) -> set[int]:
        """Rounds that were drawn though nobody had said yet what some anchored root stands for."""
        return set(map(int, (self._seat.db.get_meta(_UNEXPLAINED) or "").split()))

    async def seed(self, plan: Plan) -> Seed | None:
        """The first finalised block after a round's anchor window, once there is one."""
        kept = kept_seed(self._seat.db, plan)
        if kept is not None:
            return kept
        after_s = plan.anchor_by_ms // 1000
        if self._desk.view.finalized.timestamp <= after_s:
            return None
        found = await in_thread(lambda: self._seat.run.chain.first_block_after(after_s))
        if found is None:
            return None
        self._seat.db.set_meta(seed_key(plan), f"{found.number} {found.hash.hex()}")
        return Seed(found.number, found.hash)

    def _roots_known(self, plan: Doc[Plan]) -> bool:
        """Whether the leaves of every anchored root have come in."""
        known = {digest_bytes(a.body.root) for a in self._desk.rounds.explained(plan)}
        return not self._desk.rounds.finalized_roots(plan.body.round) - known

    def _take_over(self) -> None:
        """Make draws of others mine: those that stay undone, and those that not more signers passed than failed."""
        view, others = self._desk.view, self._seat.db.open_draws("other")
        known = self._seat.db.verdict_counts(others[0].round) if others else {}
        passed_before, self._passed = self._passed, {}
        if self._seat.now_ms() >= self._anew_ms:  # whether a verdict stands can change with the round's record, too
            passed_before, self._anew_ms = {}, self._seat.now_ms() + _ANEW_MS
        for draw in others:
            key, count = (draw.round, draw.member, draw.segment), known.get((draw.round, draw.member), 0)
            if passed_before.get(key) == count:  # nobody has said anything since
                self._passed[key] = count
                continue
            plan = self._desk.rounds.plan(draw.round)
            if plan is None:
                continue
            made = [v.body for v in fitting(self._desk, draw.round, member=draw.member)]
            made = [v for v in made if v.segment is not None and v.segment.start == draw.segment]
            passed = sum(v.outcome == "pass" for v in made)
            if passed > len(made) - passed:
                self._passed[key] = count
                continue
            turns = view.turns(self._seat.address, draw.position, draw.seed_block)
            silent_ms = self._seat.now_ms() - plan.body.anchor_by_ms
            if made or silent_ms > turns * _TAKE_OVER_MS:
                self._seat.db.set_draw(draw, "wanted")

    def _sweep(self) -> None:
        """Let go of states that no draw needs any more: a member may show one and never the other, or show them for a
        round that was closed without this draw.
        """
        now_ms = self._seat.now_ms()
        if now_ms < self._sweep_ms or not all(task.done() for task in self._fetching.values()):
            return
        self._sweep_ms = now_ms + _SWEEP_MS
        wanted = {(draw.round, draw.member, draw.segment): draw for draw in self._seat.db.open_draws("wanted")}
        self._fetching = {key: task for key, task in self._fetching.items() if key in wanted}
        self._resting = {key: rest for key, rest in self._resting.items() if key in wanted or rest[0] > now_ms}
        self._states.keep_only(self._seat.db.all_shown(), wanted.values())

    # --- fetching ----------------------------------------------------------------------------------------------------

    def _start_fetch(self, draw: Draw) -> None:
        key = (draw.round, draw.member, draw.segment)
        rests_ms, _ = self._resting.get(key, (0, 0))
        if key not in self._fetching and self._seat.now_ms() >= rests_ms:
            self._fetching[key] = asyncio.create_task(self._fetch(draw))
            self._fetching[key].add_done_callback(lambda _: self._desk.bell.ring())

    async def _fetch(self, draw: Draw) -> str:
        """Put what a replay needs on disk; returns "", or why it cannot be had in time."""
        kept = self._seat.db.shown(draw)
        if kept is not None and self._whole(kept):
            return ""
        commitment = self._commitment(draw)
        if commitment is None:
            return "the commitment is not known"
        plan = self._desk.rounds.plan(draw.round)
        assert plan is not None
        async with self._states.fetching(draw, plan.body) as known:
            return await self._fetch_until(draw, commitment.body, known)

    async def _fetch_until(self, draw: Draw, commitment: Commitment, known: Known) -> str:
        """The same while there is time, whatever the member says first."""
        until = self._until()
        why, had = "no answer in time", dict[int, str]()
        while (left := until - self._seat.clock()) > 0:
            try:
                self._seat.db.set_shown(draw, await self._show(draw, commitment, known, until, had))
                return ""
            except PeerError as silent:
                why = str(silent)
            except FormatError as forged:
                return f"forged: {forged}"
            await asyncio.sleep(min(0.5, max(0.0, left)))
        return why

    def _until(self) -> float:
        """When the wait for states that are asked for now is over."""
        return self._seat.clock() + self._seat.config.verification.state_wait_ms / 1000

    async def _show(
        self, draw: Draw, commitment: Commitment, known: Known, until: float, had: dict[int, str]
    ) -> Shown:  # fmt: skip
        """The state at the start of the segment, and the leaf at its end; `had` are states that came before, by leaf.

        The claimed state at the end is fetched too unless this member's last replay was exact: then an equal leaf will
        do. Where a member that went ahead takes the base in, the trace's first state is needed as well. Raises
        PeerError, or FormatError for what is forged.
        """

        async def state(leaf: int) -> str:
            if leaf not in had or not self._states.path(had[leaf]).exists():
                had[leaf] = await self._states.state(draw, commitment, leaf, known, until)
            return had[leaf]

        start = await state(draw.segment)
        claimed = "" if self._exact_before(draw) else await state(draw.segment + 1)
        _, leaf = await self._states.leaf(draw, commitment, draw.segment + 1, until)
        first = await state(0) if self._takes_base_in(draw, commitment) else ""
        return Shown(hex32(leaf), start, claimed, first)

    def _takes_base_in(self, draw: Draw, commitment: Commitment) -> bool:
        """Whether the drawn segment begins where a member that went ahead has put its steps on the base.

        Whether this one did is for the replay to see, by the first state: nothing else that a signer may lack yet, or
        know otherwise than the others, has a part in it.
        """
        training = self._seat.config.training
        here = draw.segment * training.trace_every == training.overlap > 0
        return here and commitment.trace.previous is not None

    def _exact_before(self, draw: Draw) -> bool:
        """Whether the last verdict on this member that anybody has given was an exact replay."""
        kept = self._seat.db.newest_documents(Verdict.KIND, draw.member, _LAST_VERDICTS)
        found = (Verdict.from_body(Signed.from_bytes(row.signed).body) for row in kept)
        last = next((verdict for verdict in found if verdict.check == "replay"), None)
        return last is not None and last.exact

    # --- replaying ---------------------------------------------------------------------------------------------------

    async def step(self) -> bool:
        """Do one draw whose states are here, or cannot be had. Returns whether there was one."""
        for draw in self._seat.db.open_draws("wanted"):
            key = (draw.round, draw.member, draw.segment)
            task = self._fetching.get(key)
            if task is None or not task.done():
                continue
            if (found := self._fetched(key, task)) is None:
                continue
            shown = self._seat.db.shown(draw)
            if shown is not None and not self._whole(shown):  # states that members share may go with another's draw
                self._seat.db.drop_shown(draw)
                del self._fetching[key]
                self._start_fetch(draw)
                continue
            try:
                verdict = await self._judge(draw, found)
            except (WorkerError, CommonweightError) as trouble:  # ours, not the member's: tried again
                self._desk.metrics.failures.labels("replay").inc()
                self._log.warning("replay failed here", round=draw.round, member=draw.member, error=str(trouble))
                continue
            self._sign(draw, verdict)
            self._fetching.pop(key, None)
            for digest in self._seat.db.drop_shown(draw):
                self._states.drop(digest)
            return True
        return False

    def _fetched(self, key: tuple[int, int, int], task: asyncio.Task[str]) -> str | None:
        """What a fetch has come to, as `_fetch` tells; None where it failed here, as on a full disk: it begins anew
        after a rest. What nobody foresaw may be the member's doing, and must not keep its round open for good.
        """
        _, tries = self._resting.pop(key, (0, 0))
        try:
            return task.result()
        except Exception as trouble:  # noqa: BLE001 - see above
            self._desk.metrics.failures.labels("fetch").inc()
            self._log.warning("states cannot be fetched here", round=key[0], member=key[1], error=str(trouble))
            if tries + 1 >= _TRIES and not isinstance(trouble, OracleError | OSError | sqlite3.Error):
                return f"it cannot be fetched: {trouble}"
            self._resting[key] = self._seat.now_ms() + min(60_000, 1000 << min(tries, 6)), tries + 1
            self._fetching.pop(key, None)
            return None

    async def aside(self, draw: Draw) -> Verdict | None:
        """What the replay of a segment that was not drawn finds, unsigned; None while the state is on its way.

        This signer's own word on that very segment is its word here, too. Raises WorkerError, or what else goes wrong
        here.
        """
        key, start = (draw.round, draw.member, draw.segment), draw.segment
        said = [v.body for v in self._desk.rounds.verdicts(draw.round, member=draw.member)]
        own = (v for v in said if v.signer == self._seat.address and v.segment == Segment(start, start + 1))
        if (made := next(own, None)) is not None:
            return made
        wanted = (other for other in self._seat.db.draws(draw.round) if other.state == "wanted")
        if any((other.member, other.segment) == (draw.member, start) for other in wanted):
            return None  # to be replayed in any case
        self._start_fetch(draw)
        task = self._fetching.get(key)
        if task is None or not task.done():
            return None
        shown = self._seat.db.shown(draw)
        if shown is not None and not self._whole(shown):  # states that members share may go with another's draw
            self._seat.db.drop_shown(draw)
            self._fetching.pop(key, None)
            return None
        if (found := self._fetched(key, task)) is None:
            return None
        verdict = await self._judge(draw, found)
        self._fetching.pop(key, None)
        for digest in self._seat.db.drop_shown(draw):
            self._states.drop(digest)
        return verdict

    def _whole(self, shown: Shown) -> bool:
        """Whether the files of what a member has shown are here."""
        return all(self._states.path(digest).exists() for digest in shown.files)

    async def _judge(self, draw: Draw, trouble: str) -> Verdict:
        commitment, plan = self._commitment(draw), self._desk.rounds.plan(draw.round)
        assert commitment is not None
        assert plan is not None
        shown = self._seat.db.shown(draw)
        if shown is None:
            outcome = "fail" if trouble.startswith("forged") else "unavailable"
            return self._verdict(draw, commitment, plan, outcome, None, trouble)
        result = await self._replay(draw, commitment, plan, shown)
        if not shown.claimed and not (result.passed and result.leaf == shown.leaf):
            claimed = await self._claimed_end(draw, commitment.body, plan.body)
            if not claimed:
                return self._verdict(draw, commitment, plan, "unavailable", None, "the state at the end was not shown")
            shown = replace(shown, claimed=claimed)
            self._seat.db.set_shown(draw, shown)
            result = await self._replay(draw, commitment, plan, shown)
        return self._verdict(draw, commitment, plan, "pass" if result.passed else "fail", result, result.reason)

    async def _replay(self, draw: Draw, commitment: Doc[Commitment], plan: Doc[Plan], shown: Shown) -> ReplayResult:
        body = commitment.body
        base = await in_thread(lambda: self._desk.checkpoints.get(plan.body.base, plan.body.base_cid))
        plan_path = self._desk.files.path(await in_thread(lambda: self._desk.files.put(plan.signed.to_bytes())))
        began = self._seat.clock()
        last = draw.segment + 2 == body.trace.leaves
        result = await self._worker.replay(
            plan=plan_path, index=draw.member, steps=body.steps, segment=draw.segment, base=base.weights,
            state=self._states.path(shown.start), claimed=self._states.path(shown.claimed) if shown.claimed else None,
            first=self._states.path(shown.first) if shown.first else None,
            parts=[part.digest for part in body.parts] if last else None,
            residual=body.trace.new_residual if last else None,
        )  # fmt: skip
        self._desk.metrics.replay_seconds.inc(max(0.0, self._seat.clock() - began))
        return result

    async def _claimed_end(self, draw: Draw, commitment: Commitment, plan: Plan) -> str:
        """The state at the end of a segment whose replay led elsewhere; "" when the member does not show it in time."""
        try:
            async with self._states.fetching(draw, plan) as known:
                return await self._states.state(draw, commitment, draw.segment + 1, known, self._until())
        except (PeerError, FormatError) as problem:
            self._log.info("the claimed state cannot be had", member=draw.member, error=str(problem))
            return ""

    def _verdict(
        self, draw: Draw, commitment: Doc[Commitment], plan: Doc[Plan], outcome: str, result: ReplayResult | None,
        reason: str,
    ) -> Verdict:  # fmt: skip
        return Verdict(
            run=self._seat.campaign, epoch=plan.body.epoch, round=draw.round, index=draw.member,
            commitment=commitment.digest, signer=self._seat.address, check="replay",
            segment=Segment(draw.segment, draw.segment + 1), outcome=outcome,
            exact=result.exact if result else False, rel_l2=result.rel_l2 if result else None,
            norm_ratio=result.norm_ratio if result else None, scores=(), seed_block=draw.seed_block,
            seed_hash=hex32(draw.seed_hash), reason=reason[:500],
        )  # fmt: skip

    def _sign(self, draw: Draw, verdict: Verdict) -> None:
        """One verdict per draw and signer, on disk before it is shown."""
        slot = f"verdict/{draw.round}/{draw.member}/{draw.segment}"
        with self._seat.db.transaction():
            signed: Signed = self._seat.promise(slot, Verdict.KIND, verdict.to_body())
            self._seat.keep(signed, self._seat.address, round_=draw.round, member=draw.member)
            self._seat.db.set_draw(draw, "done")
        self._desk.metrics.verdicts.labels(verdict.outcome).inc()
        self._log.info(
            "verdict", round=draw.round, member=draw.member, segment=draw.segment, outcome=verdict.outcome,
            exact=verdict.exact, reason=verdict.reason,
        )  # fmt: skip
        self._desk.bell.ring()

    def _commitment(self, draw: Draw) -> Doc[Commitment] | None:
        """The anchored commitment of a draw: the one whose digest sorts last, where a member has two."""
        anchored = self._desk.rounds.anchored(draw.round, self._desk.rounds.finalized_roots(draw.round))
        own = [c for _, c in sorted(anchored.items()) if c.body.index == draw.member]
        return own[-1] if own else None
