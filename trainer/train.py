"""The provider's loop: join, take a plan, train, commit, wait for the anchor, exchange, take the record, step, again.

    run(settings)
      every round:  next_plan -> ready_base -> take_steps -> commit -> wait_for_anchor -> exchange -> next_checkpoint

Each step can be repeated: after a crash the loop comes back to where the files in the data directory say it was.
SIGTERM ends the inner steps at the next trace boundary, finishes the round with what was done, waits for its draws
(`trainer.leaving`), and leaves; a second one leaves at once. It leaves by itself when training is over
(`trainer.over`). A pause (`trainer.pausing`) ends the inner steps too, and joins again when it is over.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import TypeVar

from commonweight.errors import (
    ChainError,
    CommonweightError,
    DeviceFull,
    Dismissed,
    FormatError,
    PeerError,
    PeerRefused,
    StoreError,
    TrainingError,
)
from commonweight.memory import keep_freed_memory
from commonweight.protocol.documents import Signed
from commonweight.protocol.records import Plan, Record
from commonweight.protocol.structure import check_plan
from commonweight.schedule import Schedule
from trainer.allreduce import Exchange
from trainer.anchor import wait_for_anchor
from trainer.checkpoint import Base
from trainer.journal import RoundFolder
from trainer.leaving import until_drawn
from trainer.lineage import ready_base
from trainer.member import Member, open_member
from trainer.outcome import (
    confirm,
    look_back,
    made_base,
    next_checkpoint,
    record_by_now,
    settle_earlier,
    wait_for_record,
)
from trainer.over import training_over
from trainer.pausing import paused_until
from trainer.room import FULL
from trainer.settings import ProviderSettings, is_follower
from trainer.showing import log_handler, shown
from trainer.stopping import Stop, until_asked

T = TypeVar("T")
Found = tuple[Signed, Record]
"""A round's record, signed and read."""
_log = logging.getLogger("commonweight.trainer")
_HEARTBEAT_S = 3.0
_SEGMENT_MARGIN = 1.3
_GRACE_S = 5.0
_PAUSE_POLL_S = 0.5
_MOST_UNHEARD = 4
"""So often the wait doubles while nobody can be asked for a plan."""
_ROOM_POLL_S = 5.0
_LINGER = 4
"""Once the record is out, an exchange may go on for this part of its time: what is lacking then, the signers have."""


def run(settings: ProviderSettings) -> None:
    """Train for the run that the settings name, until SIGTERM or SIGINT. Blocks; raises CommonweightError.

    Under torchrun, rank 0 is the member and the others train with it; they end when it does.
    """
    keep_freed_memory()
    if is_follower():
        from trainer.sharded import follow

        follow()
        return
    logging.getLogger("commonweight").addHandler(log_handler())
    logging.getLogger("commonweight").setLevel(settings.log_level.upper())
    asyncio.run(_run(settings))


async def _run(settings: ProviderSettings) -> None:
    stop, task = Stop(), asyncio.current_task()
    assert task is not None

    def asked() -> None:
        if stop.soon.is_set():
            stop.now.set()
            task.cancel()
        else:
            _log.warning("asked to end: the round that is under way is finished first; asked again, it ends at once")
        stop.soon.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked)
    member = await open_member(settings, Member)
    pauses = asyncio.create_task(_follow_pause(settings.data_dir, settings.schedule, stop))
    try:
        async with shown(settings, member):
            await live(member, settings.listen, stop)
        if stop.over:
            _log.warning("%s", stop.over)
        else:
            _log.warning("ended after round %d; start again to go on", member.round)
    finally:
        pauses.cancel()


async def live(member: Member, listen: str, stop: Stop) -> None:
    """Serve, train and leave; raises what ended it otherwise. A `stop.now` must come with a cancellation."""
    heartbeat: asyncio.Task[None] | None = None
    try:
        member.status.say("join", 0)
        await until_asked(member.start(listen), stop)
        heartbeat = asyncio.create_task(_heartbeat(member, stop))
        await rounds(member, stop)
        heartbeat.cancel()
        await member.signers.leave(member.index)
        if stop.why is None:
            await until_drawn(member)
    except asyncio.CancelledError:
        if not stop.now.is_set():
            raise
    finally:
        if heartbeat is not None:
            heartbeat.cancel()
        why, reason = ("", "") if stop.why is None else (str(stop.why), stop.why.reason)
        member.status.say("stopped", member.round, refused=reason, why=why)
        await member.close()
    if stop.why is not None:
        raise stop.why


async def _heartbeat(member: Member, stop: Stop) -> None:
    """Tell the signers again and again that this member is there; who is dismissed ends after the round."""
    while True:
        await asyncio.sleep(_HEARTBEAT_S)
        try:
            async with stop.speaking:
                if not stop.resting.is_set() and not member.room.short:
                    await member.join()
        except Dismissed as dismissed:
            stop.why = dismissed
            stop.soon.set()
            return
        except CommonweightError as problem:
            _log.warning("heartbeat: %s", problem)


async def _follow_pause(folder: Path, schedule: Schedule | None, stop: Stop) -> None:
    """Rest while the pause in the data directory holds, and outside the schedule's windows."""
    while True:
        now = time.time()
        closed = schedule is not None and not schedule.open_at(now)
        stop.rest(closed or now < await asyncio.to_thread(paused_until, folder))
        await asyncio.sleep(_PAUSE_POLL_S)


async def rest(member: Member, stop: Stop) -> None:
    """Tell the signers that this member goes, wait until the pause is over, and join again."""
    async with stop.speaking:
        await member.signers.leave(member.index)
    member.status.say("paused", member.round)
    if await until_asked(stop.awake.wait(), stop):
        member.status.say("join", member.round)
        await until_asked(member.join(), stop)


async def without_room(member: Member, stop: Stop) -> None:
    """Tell the signers that this member goes, wait until there is room on the disk, and join again; unless training is
    over before.
    """
    _log.error("no round is begun: %s; free space there, or keep less: --keep-states, --max-disk", member.room.short)
    member.status.say("paused", member.round, refused="no-room", why=member.room.short)
    while not stop.soon.is_set():
        async with stop.speaking:
            await member.signers.leave(member.index)
        if await asyncio.to_thread(member.room.make) or await end_if_over(member, stop):
            break
        await until_asked(asyncio.sleep(_ROOM_POLL_S), stop)
    if not stop.soon.is_set():
        member.status.say("join", member.round)
        await until_asked(member.join(), stop)


async def rounds(member: Member, stop: Stop) -> None:
    """Round after round, until asked to stop; between two of them a pause may hold, or there may be no room on the
    disk. A disk that is full in the middle of a round costs that round.
    """
    unheard = 0
    while not stop.soon.is_set():
        found: tuple[Signed, Plan] | None = None
        try:
            if stop.resting.is_set():
                await rest(member, stop)
                continue
            if not await asyncio.to_thread(member.room.make):
                await without_room(member, stop)
                continue
            member.status.say("wait", member.round)
            await look_back(member)
            found = await next_plan(member, member.round, stop)
            unheard = 0
            if not _has_a_place(member, found) and await end_if_over(member, stop):
                continue
            if found is not None:
                await one_round(member, *found, stop)
                member.round = found[1].round
                await asyncio.to_thread(_forget, member)
        except (ChainError, PeerError, StoreError, FormatError) as problem:
            if not _has_a_place(member, found) and await end_if_over(member, stop):
                continue
            _log.warning("round not finished, trying again: %s", problem)
            unheard = 0 if found is not None else min(unheard + 1, _MOST_UNHEARD)
            await asyncio.sleep(member.poll_s * 2 ** max(0, unheard - 1))
        except OSError as problem:
            if problem.errno not in FULL:
                raise
            _log.error("round not finished, trying again: %s", problem)
            member.status.say("wait", member.round, refused="no-room", why=str(problem))
            await asyncio.sleep(_ROOM_POLL_S)
    await confirm(member)


def _has_a_place(member: Member, found: tuple[Signed, Plan] | None) -> bool:
    """Whether there is a plan, and this member's work is in it: that round is finished even when no other follows."""
    return found is not None and member.index in found[1].indices and found[1].round > member.joined


async def end_if_over(member: Member, stop: Stop) -> bool:
    """Ask to stop when training is over; True if so."""
    try:
        stop.over = await training_over(member)
    except ChainError as problem:
        _log.info("whether training is over cannot be seen: %s", problem)
    if stop.over:
        stop.soon.set()
    return bool(stop.over)


def _forget(member: Member) -> None:
    """Drop traces of epochs that were settled long enough ago, but for rounds that no final report has come to yet."""
    attested = member.chain.attested()
    if attested is not None:
        member.journal.forget_before(member.chain.unsettled_epoch() - 1, attested[0])


async def next_plan(member: Member, after: int, stop: Stop) -> tuple[Signed, Plan] | None:
    """The newest plan of a later round, checked; None when asked to stop or rest, or when there is none yet."""
    found = await until_asked(member.signers.plan(after), stop, or_to_rest=True)
    if found is not None:
        check_plan(found[1], member.config, member.identity.run)
    return found


async def one_round(member: Member, signed: Signed, plan: Plan, stop: Stop) -> None:
    """Everything of one round, to the checkpoint after it."""
    keys = await member.know_plan(plan)
    await settle_earlier(member, plan)
    base = await made_base(member, plan) or await ready_base(member, plan)
    exchange: Exchange | None = None
    if _takes_part(member, signed, plan):
        exchange = member.exchange(signed, keys)
        folder = member.journal.open_round(signed)
        await commit(member, folder, base, stop)
        member.go_ahead(folder, lambda _, __: stop.leaving, lambda _, __: _go_on(stop))
        outcome = exchanged(member, folder, exchange, stop)
    else:
        outcome = recorded(member, signed, stop)
    record = await _unless_given_up(member, signed, outcome)
    if exchange is not None:
        exchange.abandon()
        if record is None:
            exchange.forget()
    if record is not None:
        await next_checkpoint(member, signed, plan, *record, base, exchange)


async def exchanged(member: Member, folder: RoundFolder, exchange: Exchange, stop: Stop) -> Found | None:
    """The record after the exchange of a round in which this member takes part."""
    await exchange_parts(member, folder, exchange)
    return await recorded(member, folder.plan, stop, folder.body.record_by_ms / 1000 + _GRACE_S)


async def recorded(member: Member, signed: Signed, stop: Stop, until_s: float = 0.0) -> Found | None:
    """A round's record; None when asked to stop before there is one, but not before Unix time `until_s`."""
    plan = Plan.from_body(signed.body)
    member.status.say("record", plan.round, deadline_ms=plan.record_by_ms)
    return await until_asked(wait_for_record(member, signed), stop, until_s - member.clock())


async def _unless_given_up(member: Member, signed: Signed, work: Coroutine[None, None, T]) -> T | None:
    """The result of `work`; None, and `work` is given up, when the round is: whoever coordinates now has planned a
    later one and has no record of this one, or the run's state says that training is over. So it is after a coordinator
    has been replaced, or has gone for good.
    """
    working, given_up = asyncio.create_task(work), asyncio.create_task(_given_up(member, signed))
    try:
        await asyncio.wait({working, given_up}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        round_ = Plan.from_body(signed.body).round
        _log.warning("round %d is given up: %s", round_, given_up.result())
        member.status.say("record", round_, refused="given-up", why=given_up.result())
        return None
    finally:
        for task in (working, given_up):
            task.cancel()
        await asyncio.gather(working, given_up, return_exceptions=True)


async def _given_up(member: Member, signed: Signed) -> str:
    """Returns, and says so, when a later round is planned and, twice in a row, whichever signer answers has no record
    of this one, or when the chain says that training is over.
    """
    without, round_ = 0, Plan.from_body(signed.body).round
    while without < 2:
        try:
            if ended := await asyncio.to_thread(member.chain.ended):
                return ended
            later = await member.signers.plan(round_)
            missing = later is not None and await record_by_now(member, signed) is None
            without = without + 1 if missing else 0
        except (ChainError, PeerError, FormatError) as problem:
            _log.info("whether round %d goes on cannot be asked: %s", round_, problem)
        await asyncio.sleep(member.poll_s)
    return "a later round is planned without its record"


def _takes_part(member: Member, signed: Signed, plan: Plan) -> bool:
    """Whether this member works in a round: not if it has committed to another plan of it, say of a coordinator who has
    lost its office since. It never has two commitments of one round.
    """
    if not _has_a_place(member, (signed, plan)):
        return False
    committed = member.journal.committed_round(plan.round)
    if committed is None or committed.plan.digest == signed.digest:
        return True
    why = f"it committed to another plan of this round, {committed.plan.digest}"
    member.status.say("wait", plan.round, refused="committed-before", why=why)
    return False


# --- train and commit ------------------------------------------------------------------------------------------------


async def commit(member: Member, folder: RoundFolder, base: Base, stop: Stop) -> None:
    """Train unless that is done already, and try to get a receipt for it while that makes sense."""
    plan, commitment = folder.body, folder.commitment
    if commitment is None:
        if stop.leaving or not member.finishing.worth_beginning(plan.commit_by_ms / 1000 - member.clock()):
            refused = "resting" if stop.leaving else "too-late"
            member.status.say("train", plan.round, refused=refused, why="there was no time left to train in")
            return
        commitment = await take_steps(member, folder, base, stop)
        if commitment is None:
            return
    member.status.say("commit", plan.round, deadline_ms=plan.commit_by_ms)
    while True:
        try:
            await member.signers.commit(commitment)
        except (PeerError, FormatError) as problem:
            _log.warning("no receipt for round %d: %s", plan.round, problem)
            final = isinstance(problem, PeerRefused) and problem.code != "wrong-plan"
            if final or member.now_ms() > plan.commit_by_ms:
                code = problem.code if isinstance(problem, PeerRefused) else "no-receipt"
                member.status.say("commit", plan.round, refused=code, why=str(problem))
                return
            await asyncio.sleep(member.poll_s)
        else:
            member.status.say("commit", plan.round, receipt=True, deadline_ms=plan.commit_by_ms)
            return


async def take_steps(member: Member, folder: RoundFolder, base: Base, stop: Stop) -> Signed | None:
    """The inner steps and the commitment to them; fewer steps when time or the process ends before.

    None when they failed. Raises when the base turns out not to be the one that the record names.
    """
    await member.caught_up()
    plan, planned = folder.body, folder.body.member(member.index).steps
    loop = asyncio.get_running_loop()
    tokens, started = member.config.tokens(1), loop.time()
    last_step, first_step = started, 0

    def enough(_: int, segment_s: float) -> bool:
        late = member.clock() + _SEGMENT_MARGIN * segment_s + member.finishing.margin_s > plan.commit_by_ms / 1000
        return late or stop.leaving

    def progress(step: int, loss: float) -> None:
        nonlocal last_step, first_step
        last_step, first_step = loop.time(), first_step or step
        _go_on(stop)
        if step % 5 == 0 or step == planned:
            speed = (step - first_step + 1) * tokens / (loop.time() - started)
            member.status.say("train", plan.round, step=step, steps=planned, loss=loss, tokens_per_s=speed,
                              deadline_ms=plan.commit_by_ms)  # fmt: skip

    member.status.say("train", plan.round, steps=planned, deadline_ms=plan.commit_by_ms)
    try:
        work = await asyncio.to_thread(member.train, folder, base, enough, progress)
    except (TrainingError, DeviceFull) as problem:
        _log.error("round %d is given up: %s", plan.round, problem)
        member.status.say("train", plan.round, refused="training-failed", why=str(problem))
        return None
    except OSError as problem:
        if problem.errno not in FULL:
            raise
        _log.error("round %d is given up: %s", plan.round, problem)
        member.status.say("train", plan.round, refused="no-room", why=str(problem))
        return None
    _log.info("round %d: %d steps, loss %.4f, %.2f s, trace %.1f %%", plan.round, work.commitment.steps, work.loss,
              work.seconds, 100 * work.trace_seconds / max(work.seconds, 1e-9))  # fmt: skip
    await confirm(member)
    signed = await asyncio.to_thread(member.commitment, folder, work.commitment)
    member.finishing.took(loop.time() - last_step)
    return signed


def _go_on(stop: Stop) -> None:
    if stop.now.is_set():
        raise TrainingError("The process was asked to end at once")


# --- anchor and exchange ---------------------------------------------------------------------------------------------


async def exchange_parts(member: Member, folder: RoundFolder, exchange: Exchange) -> None:
    """The exchange of a round while it is of use: a member that comes late to it goes on to the next round."""
    plan = folder.body
    linger_s = (plan.exchange_by_ms - plan.anchor_by_ms) / 1000 / _LINGER
    if not await _unless_recorded(member, folder.plan, _exchange(member, folder, exchange), linger_s):
        _log.info("round %d is recorded already: its exchange is given up", plan.round)
        exchange.abandon()


async def _unless_recorded(member: Member, signed: Signed, work: Coroutine[None, None, None], linger_s: float) -> bool:
    """Whether `work` ended by itself; it is given up `linger_s` after there is a record of the round."""
    recorded, working = asyncio.create_task(wait_for_record(member, signed)), asyncio.create_task(work)
    try:
        await asyncio.wait({recorded, working}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            await asyncio.wait({working}, timeout=linger_s if recorded.exception() is None else None)
        if working.done():
            working.result()
        return working.done()
    finally:
        for task in (recorded, working):
            task.cancel()
        await asyncio.gather(recorded, working, return_exceptions=True)


async def _exchange(member: Member, folder: RoundFolder, exchange: Exchange) -> None:
    """Once the window is over and we have seen the anchor: upload our payload and all-reduce it with the others'.

    A member whose commitment is not anchored still reduces for the others, but nothing of its own leaves it.
    """
    plan, own = folder.body, folder.commitment
    member.status.say("anchor", plan.round, deadline_ms=plan.anchor_by_ms)
    anchored = await wait_for_anchor(member, plan, folder.plan.digest)
    member.status.say("exchange", plan.round, deadline_ms=plan.exchange_by_ms)
    if own is not None and member.index in anchored and anchored[member.index].digest == own.digest:
        folder.release()
        await asyncio.gather(exchange.run(anchored, member.own_part(folder)), upload(member, folder))
    elif anchored:
        _log.warning("round %d: our commitment is not anchored, so nothing leaves this member", plan.round)
        if own is not None:
            member.status.say(
                "exchange", plan.round, refused="not-anchored", why="the signers anchored others' work only"
            )
        await exchange.run(anchored, None)
    else:
        exchange.abandon()


async def upload(member: Member, folder: RoundFolder) -> None:
    """Give the payload to the coordinator, who pins it; try until the exchange is over."""
    plan, part = folder.body, member.own_part(folder)

    async def one(number: int) -> None:
        while member.now_ms() < plan.exchange_by_ms:
            try:
                message, payload = await asyncio.to_thread(part, number)
                await member.signers.upload(plan.round, number, message, payload)
            except TrainingError as problem:
                _log.error("round %d part %d is not uploaded: %s", plan.round, number, problem)
                return
            except PeerRefused as refused:
                if refused.code != "too-early":
                    _log.warning("round %d part %d was not taken: %s", plan.round, number, refused)
                    return
                await asyncio.sleep(0.1)
            except PeerError as problem:
                _log.info("round %d part %d: %s", plan.round, number, problem)
                await asyncio.sleep(member.poll_s)
            else:
                return

    await asyncio.gather(*(one(number) for number in range(plan.parts)))
