"""Random sequences on Anvil and Ganache against the model of section 4, with ETH and with a token.

Nothing here is left to chance from run to run: the sequences are drawn from their names. A failure prints the shortest
sequence that was found, to be given to REPLAY.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

import pytest

from commonweight.chain.local import Kind, start_local
from tests.ledger_model.actors import ACCOUNTS
from tests.ledger_model.chain import Node
from tests.ledger_model.draw import Move
from tests.ledger_model.play import Mismatch, Stage, script
from tests.ledger_model.prefixes import PREFIXES

LENGTH = 20
REPLAY: tuple[str, str, str, list[Move]] | None = None


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Kind, Node]]:
    """A chain of each kind with enough accounts, started when it is first asked for."""
    folder, chains = tmp_path_factory.mktemp("chains"), []

    class Nodes(dict[Kind, Node]):
        def __missing__(self, kind: Kind) -> Node:
            chain = start_local(kind, directory=folder, block_time_s=None, accounts=ACCOUNTS)
            chains.append(chain)
            self[kind] = Node(chain.url, kind)
            return self[kind]

    made = Nodes()
    try:
        yield made
    finally:
        for node in made.values():
            node.close()
        for chain in chains:
            chain.stop()


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
def test_anvil(nodes: dict[Kind, Node], asset: str) -> None:
    play(Stage(nodes["anvil"], asset), list(PREFIXES), 100)


@pytest.mark.chain
@pytest.mark.timeout(1_200)
def test_ganache(nodes: dict[Kind, Node]) -> None:
    # Its EVM takes half a second for all views: they are compared at the middle and the end of each sequence.
    play(Stage(nodes["ganache"], "eth", compare_every=10), ["after two epochs with revenue", "a conviction waits"], 6)


@pytest.mark.chain
@pytest.mark.slow
@pytest.mark.timeout(10_800)
@pytest.mark.parametrize("asset", ["eth", "token"])
def test_many(nodes: dict[Kind, Node], asset: str) -> None:
    play(Stage(nodes["anvil"], asset), list(PREFIXES), 1_000, first=1_000)


@pytest.mark.chain
@pytest.mark.skipif(REPLAY is None, reason="no sequence is given")
def test_replay(nodes: dict[Kind, Node]) -> None:
    assert REPLAY is not None
    name, asset, kind, moves = REPLAY
    stage = Stage(nodes["anvil" if kind == "anvil" else "ganache"], asset)
    stage.start(PREFIXES[name])
    stage.replay(moves)
