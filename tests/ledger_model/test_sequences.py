"""Random sequences on Anvil and Ganache against the model of section 4, with ETH and with a token.

Nothing here is left to chance from run to run: the sequences are drawn from their names. A failure prints the shortest
sequence that was found, ready to be put into KNOWN.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from commonweight.chain.local import Kind, start_local
from tests.ledger_model.actors import ACCOUNTS
from tests.ledger_model.chain import Node
from tests.ledger_model.draw import Move
from tests.ledger_model.play import Mismatch, Stage, script
from tests.ledger_model.prefixes import LEFT_EARLY, PREFIXES, ROTATED_BEFORE_A_REPORT, USUAL

LENGTH = 20
# Sequences that must come out so, whatever else the drawing reaches: prefix, moves, what becomes of each.
KNOWN: list[tuple[str, list[tuple[Move, str]]]] = [
    (
        "a new set while a report is pending",
        [
            (("withdraw_bond", 1, 0, 0, USUAL), "BondLocked"),
            (("withdraw_bond", None, 0, 0, USUAL), "done"),
            (("withdraw_bond", 1, 0, 0, 0), "NotSigner"),
        ],
    ),
    (
        "a conviction waits",
        [
            (("claim_compute", 1, 0, 1, USUAL), "done"),
            (("enforce", 1, 0, 0, USUAL), "done"),
            (("enforce", 1, 0, 0, USUAL), "NotConvicted"),
            (("claim_compute", 1, 0, 0, USUAL), "RootTooOld"),
            (("pay_revenue", 1, 0, 1_999, 0), "done"),
            (("close", None, 0, 0, USUAL), "done"),
            (("claim_compute", 1, 0, 1, USUAL), "done"),
        ],
    ),
    (
        "a hidden tree in a crowd",
        [
            (("answer", 1, 0, 0, USUAL), "done"),
            (("descend", 1, 0, 1, 4), "done"),
            (("answer", 1, 0, 0, USUAL), "done"),
            (("prove_leaf", 1, 0, 0, USUAL), "done"),
            (("close_game", 1, 0, 0, USUAL), "done"),
            (("pay_owed", 1, 0, 0, USUAL), "done"),
        ],
    ),
    (
        "a hidden tree in a crowd",
        [
            (("timeout", None, 0, 0, USUAL), "done"),
            (("close_game", 1, 0, 0, USUAL), "TooEarly"),
            (("close_game", None, 0, 0, USUAL), "done"),
            (("close", None, 0, 0, USUAL), "done"),
            (("report", 1, 3, 0, 0), "BondNotFull"),
        ],
    ),
    (
        "an honest report is pending",
        [
            (("equivocate", 1, 0, 0, 0), "done"),
            (("equivocate", 1, 0, 0, 0), "AlreadyProved"),
            (("equivocate", 1, 1, 0, 0), "NothingDue"),
            (("post_bond", 1, 0, 1, 0), "done"),
            (("equivocate", 1, 1, 0, 0), "done"),
            (("post_bond", 1, 0, 0, USUAL), "done"),
            (("equivocate", 1, 1, 0, 0), "done"),
            (("post_bond", 1, 0, 0, USUAL), "done"),
            (("equivocate", 1, 1, 0, 0), "AlreadyProved"),
        ],
    ),
]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Kind], Node]]:
    """Starts a new chain with enough accounts."""
    with contextlib.ExitStack() as stack:

        def fresh(kind: Kind) -> Node:
            chain = stack.enter_context(start_local(kind, directory=tmp_path, block_time_s=None, accounts=ACCOUNTS))
            return stack.enter_context(contextlib.closing(Node(chain.url, kind)))

        yield fresh


def play(stage: Stage, prefixes: Sequence[str], sequences: int, first: int = 0) -> None:
    """So many sequences, spread over the prefixes."""
    node, asset = stage.node, stage.asset
    for place, name in enumerate(prefixes):
        numbers = range(first + place, first + sequences, len(prefixes))
        stage.start(PREFIXES[name])
        for number in numbers:
            try:
                stage.sequence(Random(f"{name}/{asset}/{number}"), LENGTH)
            except Mismatch as mismatch:
                pytest.fail(f"sequence {number}: {script(name, asset, node.kind, mismatch)}", pytrace=False)


@pytest.mark.chain
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("asset", ["eth", "token"])
def test_anvil(start: Callable[[Kind], Node], asset: str) -> None:
    play(Stage(start("anvil"), asset), list(PREFIXES), 100)


@pytest.mark.chain
@pytest.mark.timeout(1_200)
def test_ganache(start: Callable[[Kind], Node]) -> None:
    # Its EVM takes half a second for all views: they are compared at the middle and the end of each sequence.
    stage = Stage(start("ganache"), "eth", compare_every=LENGTH // 2)
    play(stage, ["after two epochs with revenue", "a conviction waits"], 6)


@pytest.mark.chain
@pytest.mark.timeout(1_200)
def test_known_sequences(start: Callable[[Kind], Node]) -> None:
    stage = Stage(start("anvil"), "eth")
    for prefix, moves in KNOWN:
        stage.start(PREFIXES[prefix])
        assert stage.replay([move for move, _ in moves]) == [outcome for _, outcome in moves]


@pytest.mark.chain
@pytest.mark.timeout(1_200)
def test_stake_freed_before_the_end_stays_free(start: Callable[[Kind], Node]) -> None:
    stage = Stage(start("anvil"), "eth")
    stage.start(LEFT_EARLY)
    assert stage.replay([("withdraw_stake", 1, 0, 1, 3)]) == ["done"]


@pytest.mark.chain
@pytest.mark.timeout(1_200)
def test_bond_waits_for_no_report_that_its_signer_cannot_have_signed(start: Callable[[Kind], Node]) -> None:
    stage = Stage(start("anvil"), "eth")
    stage.start(ROTATED_BEFORE_A_REPORT)
    assert stage.replay([("withdraw_bond", 1, 0, 0, USUAL)]) == ["done"]


@pytest.mark.chain
@pytest.mark.slow
@pytest.mark.timeout(10_800)
@pytest.mark.parametrize("asset", ["eth", "token"])
def test_many(start: Callable[[Kind], Node], asset: str) -> None:
    play(Stage(start("anvil"), asset), list(PREFIXES), 1_000, first=1_000)
