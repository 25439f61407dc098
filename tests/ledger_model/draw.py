"""Draws sequences: what is likely where the run stands, when it would be due, and now and then anything at any time."""

from __future__ import annotations

from random import Random

from tests.ledger_model.disputes import Standing
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
    """How likely each step is where the run stands, in tenths; what can only be refused keeps a tenth of a chance."""
    w = dict.fromkeys(STEPS, 15)
    w |= {
        "pay_revenue": 80,
        "claim_capital": 30,
        "fund_channel": 40,
        "post_bond": 30,
        "propose": 8,
        "add_stake": 8,
        "ban": 8,
    }
    disputes, epochs, open_ = run.disputes, run.epochs, run.epochs.open
    dues = (run.registry.dues, run.signers.dues, disputes.dues)
    undecided = [c for c in disputes.challenges.values() if not c.over]
    reported = [disputes.standing(e) for e in epochs.reports.values()]
    hot = Standing.PENDING in reported or Standing.DEFAULTED in reported
    possible = {
        ("deposit", "refund"): not run.campaign.shares_fixed,
        ("claim_compute", "doubt"): bool(run.ledger.finals),
        ("claim_unspent",): run.campaign.ended,
        ("report", "void"): open_ is not None and open_.report is None,
        ("finalize", "prove_leaf", "prove_list", "open_game"): hot,
        ("answer", "descend", "timeout", "close_game"): disputes.open_games > 0,
        ("judge", "enforce", "defend", "close_challenge"): bool(undecided),
        ("settle", "request_withdrawal", "withdraw", "cancel_withdrawal"): bool(run.payments.channels),
        ("apply",): run.signers.proposed is not None,
        ("pay_owed",): any(sum(d.owed.values()) for d in dues),
        ("claim_fee",): sum(run.campaign.fees.values()) > 0,
        ("claim_server",): sum(run.payments.server_owed.values()) > 0,
        ("equivocate",): bool(reported),
    }
    w |= {
        "deposit": 400,
        "refund": 200 if run.campaign.failed else 30,
        "claim_compute": 100,
        "doubt": 50,
        "claim_unspent": 80,
    }
    w |= {"report": 400, "void": 80, "finalize": 220, "prove_leaf": 70, "prove_list": 40, "open_game": 80}
    w |= {
        "answer": 160,
        "descend": 120,
        "timeout": 80,
        "close_game": 120,
        "judge": 120,
        "settle": 80,
        "pay_owed": 90,
        "apply": 80,
    }
    if any(run.signers.bonds[signer] for signer in run.signers.liable_for):
        w |= {"withdraw_bond": 60}
    if any(c.convicted for c in undecided):
        w |= {"enforce": 250, "judge": 40}
    if open_ is None:
        w |= {"close": 300 if run.campaign.shares_fixed else 15, "withdraw_stake": 40, "leave": 30}
    if epochs.finished_at:
        w |= {"close": 10, "withdraw_stake": 80, "withdraw_bond": 80}
    for names, may in possible.items():
        if not may:
            w |= dict.fromkeys(names, 1)
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
    a, b, c = (random.randrange(10_000) for _ in range(3))
    if name == "report":  # honest and flawless most of the time
        b = random.choice((*[0] * 9, random.randrange(50, 100), *[random.randrange(100, 10_000)] * 3))
    if random.random() < 0.6:  # the usual variant of a step, signed by the usual quorum
        c = 96 * (c // 96) + 5 if name not in ("report", "judge", "ban", "propose") else 0
    return name, max(1, wait), a, b, c
