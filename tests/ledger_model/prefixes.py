"""Where sequences start: far enough into a run that twenty steps reach what matters."""

from __future__ import annotations

from tests.ledger_model.actors import CROWD
from tests.ledger_model.draw import Move

USUAL = 5  # the third choice of a step without a mistake
FUNDED_AT = 500


def _bonds(count: int = 4) -> list[Move]:
    return [("post_bond", 1, 0, 0, USUAL)] * count


def _funded(providers: int = 4) -> list[Move]:
    deposits: list[Move] = [("deposit", 1, 0, 1_199, 0), ("deposit", 1, 1, 776, 0), ("deposit", 1, 2, 530, 0)]
    registers: list[Move] = [("register", 1, 0, 7 * k, USUAL) for k in range(providers)]
    return [*deposits, *registers, *_bonds(), ("pay_wages", FUNDED_AT, 0, 0, 0)]


def _close() -> list[Move]:
    return [("close", None, 0, 0, USUAL)]


def _report(seed: int, lie: int = 0) -> list[Move]:
    return [*_close(), ("report", 1, seed, lie, 0)]


def _final(seed: int) -> list[Move]:
    return [*_report(seed), ("finalize", None, 0, 0, USUAL)]


REVENUE: list[Move] = [("pay_revenue", 1, 0, 1_233, 0)]
CHANNEL: list[Move] = [("fund_channel", 1, 0, 777, USUAL)]
TWO_EPOCHS = [*_funded(), *_final(4), *REVENUE, *CHANNEL, *_final(7), *REVENUE]
MORE_WAGES, HIDDEN = 100, 105  # the lies of steps.LIES, by their number

PREFIXES: dict[str, list[Move]] = {
    "a new campaign": [],
    "funded": _funded(),
    "after two epochs with revenue": TWO_EPOCHS,
    "an honest report is pending": [*TWO_EPOCHS, *_report(12)],
    "a dishonest report is pending": [*TWO_EPOCHS, *_report(12, MORE_WAGES)],
    "a conviction waits": [*TWO_EPOCHS, ("doubt", 1, 0, 1, USUAL), ("judge", 1, 0, 1, 0)],
    "an escrow that wages use up": [*_funded(), *_final(4), *_final(7)],
    "after a void epoch": [*_funded(), *_final(4), *REVENUE, *_close(), ("void", None, 0, 0, USUAL), *REVENUE],
    "a new set while a report is pending": [
        *[
            *_funded(),
            *_report(4),
            ("propose", 1, 0, 0, 0),
            ("apply", None, 0, 0, USUAL),
            ("finalize", None, 0, 0, USUAL),
        ],
        *[*_bonds(3), *REVENUE],
    ],
    "a hidden tree in a crowd": [
        *_funded(CROWD),
        *_final(4),
        *REVENUE,
        *_report(9, HIDDEN),
        ("open_game", 1, 0, 0, USUAL),
    ],
    "the last epoch": [
        *_funded(),
        *_final(4),
        *REVENUE,
        *_final(7),
        *_final(8),
        *REVENUE,
        *_final(9),
        *_final(10),
        *REVENUE,
        *_close(),
    ],
}

# Starting points of single sequences.
LEFT_EARLY: list[Move] = [
    *[*_funded(), *_final(4), ("leave", 1, 3, 0, USUAL), *_final(7), *_final(8), *_final(9), *_final(10)],
    *[*_close(), ("void", None, 0, 0, USUAL)],
]
ROTATED_BEFORE_A_REPORT: list[Move] = [
    *[*_funded(), *_close(), ("propose", 1, 0, 0, 0), ("apply", None, 0, 0, USUAL), ("void", None, 0, 0, USUAL)]
]
