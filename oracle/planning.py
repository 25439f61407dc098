"""Who is in the next round, with what share of it, and until when: the plan's body. Pure but for reading documents."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from commonweight.chain.structs import RunParams
from commonweight.protocol.capacity import most_members, part_count
from commonweight.protocol.data import data_seed
from commonweight.protocol.parts import block_count
from commonweight.protocol.records import Plan, PlanMember
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.structure import next_data_start
from oracle.db import Member
from oracle.pace import Pace, steps_for
from oracle.phases import Bounds
from oracle.watch import View

HEARTBEAT_MS = 15_000
GATHER_MS = 3_000
_BLOCK_MS = 1_500


def bounds(params: RunParams, config: RunConfig) -> Bounds:
    """The first and last possible deadline of a run: a round belongs to the epoch of its deadline."""
    return Bounds(
        params.epoch_start * 1000, params.epoch_end(params.last_epoch) * 1000 - 1000, config.training.min_members,
        config.training.max_rounds, GATHER_MS,
    )  # fmt: skip


def ready_members(
    members: Mapping[int, Member], view: View, offenders: frozenset[int], absent: Mapping[int, int], now_ms: int
) -> tuple[int, ...]:
    """Members that can be planned: registered, not banned, heard of lately, not left out for being slow.

    `absent` tells when a member that was planned and gave nothing was missed: it must have spoken since.
    """
    return tuple(
        index
        for index, member in sorted(members.items())
        if view.may_train(index)
        and index not in offenders
        and now_ms - member.seen_ms <= HEARTBEAT_MS
        and member.slow_until_ms <= now_ms
        and member.seen_ms > absent.get(index, -1)
    )


def make_plan(
    *, campaign: str, config: RunConfig, params: RunParams, pace: Pace, previous: Plan | None, base: str, base_cid: str,
    previous_record: str | None, members: Sequence[int], step_us: Mapping[int, int], signers: int,
    now_ms: int,
) -> Plan:  # fmt: skip
    """The plan of the next round. Data positions go on where the previous plan's end, so that nothing repeats; where
    rounds overlap, a member's own follow from what the previous plan has reserved for it. Of more members than a round
    can have, those who are planned change from round to round.

    `step_us` has measured speeds, of others than these members too; they do not count here.
    """
    commit_by_ms = -(-(now_ms + pace.train_ms) // 1000) * 1000
    commit_by_ms = max(commit_by_ms, params.epoch_start * 1000)
    anchor_by_ms = commit_by_ms + params.anchor_window * 1000
    exchange_by_ms = anchor_by_ms + _BLOCK_MS + pace.exchange_ms
    number = 1 if previous is None else previous.round + 1
    if len(members) > (most := most_members(signers, config.training.topology)):
        first = number * most % len(members)
        members = [*members[first:], *members[:first]][:most]
    parts = part_count(len(members), signers, block_count(config.model.parameters(), config.training.block))
    position = 0 if previous is None else next_data_start(previous, config.training.batch)
    shares = []
    speeds = {index: step_us[index] for index in members if index in step_us}
    reserved = {} if previous is None else {member.index: member.next_start for member in previous.members}
    for index in sorted(members):
        steps = steps_for(index, speeds, config)
        start = reserved.get(index)
        if start is None:
            start, position = position, position + steps * config.training.batch
        shares.append(PlanMember(index, steps, start))
    if config.training.overlap:
        room = config.training.h * config.training.batch
        shares = [replace(share, next_start=position + place * room) for place, share in enumerate(shares)]
    order = sorted(members)
    turn = [order[(number + place) % len(order)] for place in range(parts + 1)]
    if config.training.topology == "star":
        turn = []
    return Plan(
        run=campaign, round=number, epoch=params.epoch_of(commit_by_ms // 1000), base=base, base_cid=base_cid,
        config=config.sha256, data_seed=data_seed(config.genesis_seed_bytes), members=tuple(shares),
        h=config.training.h, overlap=config.training.overlap, codec=config.training.codec,
        codec_version=config.training.codec_version,
        block=config.training.block, parts=parts, reducers=tuple(turn[:parts]), backups=tuple(turn[1:]),
        min_members=config.training.min_members, commit_by_ms=commit_by_ms, anchor_by_ms=anchor_by_ms,
        exchange_by_ms=exchange_by_ms, record_by_ms=exchange_by_ms + pace.record_ms, previous_record=previous_record,
    )  # fmt: skip
