"""Draws sequences: what is likely where the run stands, when it would be due, and now and then anything at any time."""

from __future__ import annotations

from random import Random

from tests.ledger_model.epochs import State
from tests.ledger_model.run import Run
from tests.ledger_model.steps import STEPS

Move = tuple[str, int | None, int, int, int]  # step, seconds to wait (None: until it is due), three choices
LONG = 2_500


def due(run: Run, name: str) -> int | None:
    """The first time at which a step may go through, if that is a matter of time."""
    epochs, p = run.epochs, run.p
    open_ = epochs.open
    times: list[int] = []
    match name:
        case "close":
            times = [p.epoch_end(epochs.next)] + ([epochs.span_end(open_)] if open_ and not open_.report else [])
            return max(times)
        case "finalize" if epochs.pending:
            return epochs.pending.open_until
        case "void" if open_:
            return epochs.span_end(open_)
        case "refund":
            return p.deposit_deadline
        case "apply" if run.signers.proposed:
            return run.signers.proposed_at
        case "withdraw":
            times = [c.withdrawal_at for c in run.payments.channels.values() if c.withdrawal_at]
        case "timeout":
            times = [n.asked_at + p.answer_time for n in run.disputes.nodes.values() if not n.answered_at]
        case "close_game":
            for g in run.disputes.games:
                node, epoch = run.disputes.nodes[g.digest, g.level, g.position], epochs.reports[g.digest]
                late = run.disputes.answer_deadline(epoch, node)
                times.append(late if not node.answered_at else max(g.moved_at, node.answered_at) + p.answer_time)
        case "close_challenge":
            times = [c.until + 1 for c in run.disputes.challenges.values() if not c.over]
        case "withdraw_stake":
            times = [f.final_at + p.dispute_period for f in run.ledger.finals.values()]
            times += [epochs.finished_at + p.dispute_period] if epochs.finished_at else []
        case "withdraw_bond":
            times = [e.settled_at + p.dispute_period for e in epochs.all if e.settled_at]
        case "doubt":
            times = [f.final_at + p.dispute_period for f in run.ledger.finals.values()]
        case _:
            return None
    future = [t for t in times if t > run.now]
    return min(future) if future else None


def weights(run: Run) -> dict[str, int]:
    """How likely each step is where the run stands."""
    w = dict.fromkeys(STEPS, 2)
    w |= {"pay_revenue": 8, "claim_compute": 9, "claim_capital": 4, "fund_channel": 4, "settle": 6, "post_bond": 5, "doubt": 4}
    funded = run.campaign.shares_fixed
    open_ = run.epochs.open
    if not funded:
        w |= {"deposit": 40, "register": 10, "refund": 6 if not run.campaign.failed else 20, "post_bond": 8}
    elif open_ is None:
        w |= {"close": 30, "withdraw_stake": 4, "claim_unspent": 4}
        if run.epochs.finished_at:
            w |= {"close": 2, "claim_unspent": 10, "withdraw_stake": 8, "withdraw_bond": 8}
    elif open_.state == State.CLOSED:
        w |= {"report": 40, "void": 8}
    else:
        w |= {"finalize": 22, "open_game": 8, "prove_leaf": 7, "prove_list": 4}
    if run.ledger.finals:
        w |= {"doubt": 7, "leave": 3, "withdraw_stake": 3}
    if run.disputes.open_games:
        w |= {"answer": 16, "descend": 12, "timeout": 8, "close_game": 14, "prove_leaf": 12, "open_game": 6}
    if any(not c.over for c in run.disputes.challenges.values()):
        w |= {"judge": 16, "enforce": 3, "close_challenge": 4, "defend": 3}
    if any(c.convicted and not c.over for c in run.disputes.challenges.values()):
        w |= {"enforce": 20, "judge": 4}
    if any(sum(d.owed.values()) for d in (run.registry.dues, run.signers.dues, run.disputes.dues)):
        w["pay_owed"] = 9
    if run.signers.proposed:
        w["apply"] = 8
    if run.payments.channels:
        w |= {"settle": 8, "request_withdrawal": 3, "withdraw": 3, "claim_server": 3}
    return w


def draw(random: Random, run: Run) -> Move:
    """The next move."""
    chances = weights(run)
    name = random.choices(list(chances), list(chances.values()))[0]
    at, kind = due(run, name), random.random()
    if at is not None and at - run.now > 0 and kind < (0.1 if name == "doubt" else 0.85):
        wait = at - run.now + random.choice((-1, 0, 0, 0, 0, 1, 7))
    else:
        wait = random.choice((1, 1, 2, 5, 19)) if kind < 0.95 else random.randrange(1, LONG)
    choice = [random.randrange(10_000) for _ in range(3)]
    if name == "report":  # honest and flawless most of the time
        choice[1] = random.choice((*[0] * 9, random.randrange(50, 100), *[random.randrange(100, 10_000)] * 3))
    if random.random() < 0.6:  # the usual variant of a step, signed by the usual quorum
        choice[2] = 96 * (choice[2] // 96) + 5 if name not in ("report", "judge", "ban", "propose") else 0
    return name, max(1, wait), *choice
