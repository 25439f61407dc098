"""Section 4.4 played to its end by the watcher against a corrupt quorum, on a real chain: a test for each case."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commonweight.audit.watcher.metrics import NoMetrics
from commonweight.audit.watcher.reading import Reader
from commonweight.audit.watcher.service import Watcher, WatchSettings
from commonweight.chain.client import Chain
from commonweight.chain.events import (
    EpochClosed,
    EpochFinal,
    GameOpened,
    ProviderRegistered,
    ReportSubmitted,
    topic_of,
)
from commonweight.chain.local import start_local
from commonweight.chain.sending import Fees
from commonweight.chain.structs import EpochState, Leaf
from commonweight.errors import ChainError, TransactionStuck
from tests.audit.corrupt import (
    FIRST,
    FRIEND,
    SECOND,
    SECOND_WATCHER,
    WATCHER,
    Corrupt,
    Forge,
    Log,
    account,
    altered,
    drain,
    entries,
    register,
    swap,
)
from tests.chain.scenario import ETHER, KEYS, SIGNERS
from tests.conftest import put_back

pytestmark = [pytest.mark.chain, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corrupt]:
    folder = tmp_path_factory.mktemp("watcher")
    with start_local("anvil", directory=folder / "chain", block_time_s=None) as chain:
        yield Corrupt.start(chain.url, folder)


@pytest.fixture
def run(staged: Corrupt) -> Iterator[Corrupt]:
    chain = staged.world.run.chain
    snapshot = chain.rpc("evm_snapshot")
    yield copy.copy(staged)
    put_back(chain.rpc, snapshot)


def has_fallen(run: Corrupt, bounty: int = ETHER // 5) -> None:
    """The report is void, both signers' bonds are gone, a tenth of them is the watcher's and paid, and the honest next
    report is accepted.
    """
    oracle = run.world.run.oracle
    assert run.state() == EpochState.VOID
    assert sorted(run.bonds()) == [0, 0, ETHER]
    paid = run.world.run.asset.balance_of(KEYS[WATCHER].address)
    assert run.owed() == 0
    assert paid > 10_000 * ETHER + bounty - ETHER // 50  # gas
    assert run.world.run.disputes.open_games() == 0
    for key in SIGNERS:
        missing = run.params.signer_bond - oracle.bond_of(key.address)
        if missing:
            oracle.post_bond(key.address, missing)
    run.world.close(2)
    run.world.report(2, SECOND)
    watcher, log = run.watcher()
    drain(watcher)
    assert [line["event"] for line in log.events("report is true")] == ["report is true"]
    run.world.finalize(2)
    assert run.state(2) == EpochState.FINAL


def one_fast(cases: Mapping[str, object]) -> list[Any]:
    """The cases' names, all but the last one for the slow tests."""
    names = list(cases)
    return [*(pytest.param(name, marks=pytest.mark.slow) for name in names[:-1]), names[-1]]


WRONG: dict[str, Forge] = {
    "omission of new credits": swap(5, 33, 1),
    "omission of a whole leaf": lambda ls: [replace(ls[0], C=ls[0].C + ls[2].C), *(ls[i] for i in (1, 33))],
    "altered history": altered(0, D=1),
    "wrong provider": altered(1, provider=account(7)),
    "unregistered index": swap(4, 0, 60),
    "wrong D": altered(2, D=12345),
    "wrong W": altered(33, W=1),
    "wrong W with no new credits": altered(0, W=0),
}


@pytest.mark.parametrize("what", one_fast(WRONG))
def test_a_published_tree_with_a_wrong_leaf_falls_at_once(run: Corrupt, what: str) -> None:
    run.file(WRONG[what], publish=True)
    watcher, log = run.watcher(store=True)
    drain(watcher)
    assert log.moves() == ["ProveWrongLeaf", "TakeDue"]
    assert watcher.alarmed
    has_fallen(run)


BAD_LISTS = {
    "a wrong length": entries((1, 10), (2, 25)) + b"\x00",
    "zero credits": entries((1, 35), (2, 0)),
    "an index twice": entries((1, 10), (1, 25)),
    "a descending list": entries((2, 10), (1, 25)),
    "an unregistered index within the tree": entries((1, 10), (45, 25)),
    "an unregistered index beyond the tree": entries((1, 10), (4_000_000_000, 25)),
    "an index registered after the closing": entries((1, 10), (40, 25)),
}


@pytest.mark.parametrize("what", one_fast(BAD_LISTS))
def test_a_malformed_list_falls_by_its_position(run: Corrupt, what: str) -> None:
    if "after the closing" in what:
        register(run.world, [40])
    run.file(packed=BAD_LISTS[what])
    watcher, log = run.watcher()
    drain(watcher)
    assert log.moves() == ["ProveBadList", "TakeDue"]
    has_fallen(run)


@pytest.mark.slow
def test_a_list_whose_sum_is_not_the_reports_falls(run: Corrupt) -> None:
    """The list says less than the root's sum: whatever tree was signed, some leaf in it is wrong."""
    run.file(swap(1, 2, 1), packed=entries((1, 10), (2, 20), (33, 4)), publish=True)
    watcher, log = run.watcher(store=True)
    drain(watcher)
    assert log.moves() == ["ProveWrongLeaf", "TakeDue"]
    has_fallen(run)


def test_nonsense_where_text_should_be_blinds_nobody(run: Corrupt) -> None:
    run.file(swap(5, 0, 33), evidence_cid=b"\xff\xfe\x00".decode("utf-8", "surrogateescape"))
    watcher, log = run.watcher(store=True)
    drain(watcher)
    run.answer_all()
    drain(watcher)
    run.answer_all()
    drain(watcher)
    assert log.moves() == ["OpenGame", "Descend", "ProveWrongLeaf", "CloseGame", "TakeDue", "TakeDue"]
    has_fallen(run)


@pytest.mark.slow
def test_a_hidden_tree_with_no_answer_falls_by_default(run: Corrupt) -> None:
    run.file(swap(5, 0, 33))
    watcher, log = run.watcher()
    drain(watcher)
    assert log.moves() == ["OpenGame"]
    run.later(run.params.answer_time)
    drain(watcher)
    assert log.moves() == ["OpenGame", "TimeoutAnswer"]
    assert run.state() == EpochState.VOID
    assert run.bonds() == [ETHER] * 3
    run.later(run.params.dispute_period)
    drain(watcher)
    assert log.moves() == ["OpenGame", "TimeoutAnswer", "CloseGame", "TakeDue", "TakeDue"]
    has_fallen(run)


@pytest.mark.parametrize(
    "wrong",
    [
        swap(5, 0, 33),
        pytest.param(altered(33, D=1), marks=pytest.mark.slow),
        pytest.param(swap(1, 2, 39), marks=pytest.mark.slow),
    ],
    ids=["both", "D", "other"],
)
def test_a_hidden_tree_that_is_answered_falls_by_its_leaf(run: Corrupt, wrong: Forge) -> None:
    run.file(wrong)
    watcher, log = run.watcher()
    drain(watcher)
    assert run.answer_all() == 1
    drain(watcher)
    assert run.answer_all() == 1
    drain(watcher)
    assert log.moves() == ["OpenGame", "Descend", "ProveWrongLeaf", "CloseGame", "TakeDue", "TakeDue"]
    has_fallen(run)


@pytest.mark.slow
def test_a_tree_published_late_ends_the_game(run: Corrupt) -> None:
    event = run.file(swap(5, 0, 33))
    watcher, log = run.watcher(store=True)
    drain(watcher)
    assert log.moves() == ["OpenGame"]
    tree = run.tree
    assert tree is not None
    watcher, log = run.watcher()
    run.answer_all()
    drain(watcher)
    assert log.moves()[0] == "Descend"
    assert event.digest


@pytest.mark.slow
def test_answers_that_stop_half_way_are_a_default(run: Corrupt) -> None:
    run.file(swap(5, 0, 33))
    watcher, log = run.watcher()
    drain(watcher)
    run.answer_all()
    drain(watcher)
    run.later(run.params.answer_time)
    drain(watcher)
    assert log.moves() == ["OpenGame", "Descend", "TimeoutAnswer"]
    run.later(run.params.dispute_period - run.params.answer_time)
    run.answer_all()  # too late to save the report, in time to save the bonds, were it true
    drain(watcher)
    assert log.moves()[3:] == ["ProveWrongLeaf", "CloseGame", "TakeDue", "TakeDue"]
    has_fallen(run)


@pytest.mark.slow
def test_a_friend_who_lets_the_game_default_saves_no_bond(run: Corrupt) -> None:
    """The friend opens, nobody answers, the friend voids; the watcher joins late and goes on where the friend stops."""
    event = run.file(swap(5, 0, 33))
    friend = run.world.by(FRIEND).disputes
    friend.open_game(event.report, run.params.challenge_bond)
    run.later(run.params.answer_time)
    friend.timeout_answer(1)
    watcher, log = run.watcher()
    drain(watcher)
    assert log.moves() == ["OpenGame"]
    run.later(run.params.dispute_period - run.params.answer_time)
    run.answer_all()
    drain(watcher)
    run.later(run.params.answer_time)
    friend.close_game(1)  # lost on purpose
    assert log.moves() == ["OpenGame", "Descend"]
    run.later(run.params.dispute_period)
    drain(watcher)
    assert log.moves() == ["OpenGame", "Descend", "CloseGame", "TakeDue", "TakeDue"]
    has_fallen(run)


@pytest.mark.slow
def test_a_bad_list_after_a_friendly_default(run: Corrupt) -> None:
    event = run.file(packed=BAD_LISTS["an index twice"])
    friend = run.world.by(FRIEND).disputes
    friend.open_game(event.report, run.params.challenge_bond)
    run.later(run.params.answer_time)
    friend.timeout_answer(1)
    watcher, log = run.watcher()
    drain(watcher)
    assert log.moves() == ["ProveBadList", "TakeDue"]
    friend.close_game(1)
    has_fallen(run)


@pytest.mark.slow
def test_the_ledger_may_go_on_while_a_default_is_not_settled(run: Corrupt) -> None:
    run.file(swap(5, 0, 33))
    watcher, log = run.watcher()
    drain(watcher)
    run.later(run.params.answer_time)
    drain(watcher)
    run.world.close(2)
    run.world.report(2, {5: 9})
    run.world.finalize(2)
    run.answer_all()
    drain(watcher)
    run.answer_all()
    again, log_again = run.watcher()  # from nothing but the chain
    drain(again)
    assert log.moves() == ["OpenGame", "TimeoutAnswer", "Descend"]
    assert log_again.moves() == ["ProveWrongLeaf", "CloseGame", "TakeDue", "TakeDue"]
    assert sorted(run.bonds()) == [0, 0, ETHER]


def test_a_false_challenge_is_answered_and_pays(run: Corrupt) -> None:
    event, before = run.file(), run.owed()
    challenger = run.world.by(FRIEND).disputes
    challenger.open_game(event.report, run.params.challenge_bond)
    watcher, log = run.watcher()
    drain(watcher)
    assert log.moves() == ["AnswerNode"]
    shown = run.tree
    assert shown is not None
    first = [shown.node(1, place) for place in range(32)]
    challenger.descend(1, first, 3)
    drain(watcher)
    assert log.moves() == ["AnswerNode", "AnswerNode"]
    run.later(run.params.answer_time)
    drain(watcher)
    assert log.moves()[2] == "CloseGame"
    assert run.owed() > before or log.moves()[3:] == ["TakeDue"]
    assert run.bonds() == [ETHER] * 3
    assert run.world.run.disputes.owed_to(run.world.run.addresses.distributor) >= run.params.challenge_bond // 2
    run.world.finalize(1)
    assert run.state() == EpochState.FINAL


@pytest.mark.slow
def test_an_honest_report_that_nobody_answered_in_time_keeps_its_bonds(run: Corrupt) -> None:
    event = run.file()
    challenger = run.world.by(FRIEND).disputes
    challenger.open_game(event.report, run.params.challenge_bond)
    run.later(run.params.answer_time)
    challenger.timeout_answer(1)
    watcher, log = run.watcher()  # was away until now
    drain(watcher)
    assert log.moves() == ["AnswerNode"]
    run.later(run.params.answer_time)
    drain(watcher)
    assert log.moves()[:2] == ["AnswerNode", "CloseGame"]
    run.later(run.params.dispute_period)
    assert run.bonds() == [ETHER] * 3


@pytest.mark.slow
def test_answers_only_where_they_pay(run: Corrupt) -> None:
    event = run.file()
    run.world.by(FRIEND).disputes.open_game(event.report, run.params.challenge_bond)
    run.world.run.chain.rpc(
        "anvil_setNextBlockBaseFeePerGas", hex(10**6)
    )  # a thousandth of the tip: three times is less
    run.later(1)
    watcher, log = run.watcher(answers="paid")
    drain(watcher)
    assert log.moves() == []
    assert "not answered" in log.events("missed")[0]["what"]
    run.world.run.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(20 * 10**9))
    run.later(1)
    drain(watcher)
    assert log.moves() == ["AnswerNode"]


def test_equivocation_seen_in_released_signatures(run: Corrupt, tmp_path: Path) -> None:
    event = run.file()
    other = replace(event.report, loss_micro=7)
    signature = SIGNERS[0].sign_digest(other.digest(run.world.run.oracle.domain()))
    released = tmp_path / "released.jsonl"
    released.write_text(json.dumps({"report": other.to_body(), "signatures": ["0x" + signature.hex()]}) + "\n")
    watcher, log = run.watcher(released=(released,))
    drain(watcher)
    assert log.moves() == ["ProveEquivocation", "TakeDue"]
    assert run.world.run.oracle.bond_of(SIGNERS[0].address) == 0
    assert run.state() == EpochState.REPORTED  # voids nothing
    run.world.run.oracle.post_bond(SIGNERS[0].address, 1)
    second, told = run.watcher(released=(released,))
    drain(second)
    assert told.moves() == []  # one unit, which would settle nothing, is not worth the gas
    assert told.events("not made") == []
    run.world.run.oracle.post_bond(SIGNERS[0].address, ETHER)
    drain(second)
    drain(second)
    assert told.moves() == []
    assert told.events("not made")[0]["error"] == "AlreadyProved"


@pytest.mark.slow
def test_equivocation_over_a_reorganisation_is_kept_through_a_crash(run: Corrupt, tmp_path: Path) -> None:
    """The chain forgets the first of two reports; the journal does not."""
    chain, journal = run.world.run.chain, tmp_path / "journal.jsonl"
    fork = chain.rpc("evm_snapshot")
    first = run.file()
    watcher, log = run.watcher(journal=journal)
    drain(watcher)
    assert log.moves() == []
    put_back(chain.rpc, fork)
    run.file(loss_micro=7, attempt=first.attempt)
    with journal.open("ab") as torn:
        torn.write(b'{"report": {"epo')
    again, told = run.watcher(journal=journal)
    drain(again)
    assert told.moves() == ["ProveEquivocation", "ProveEquivocation", "TakeDue"]
    assert sorted(run.bonds()) == [0, 0, ETHER]


def test_two_watchers_pay_for_one_proof(run: Corrupt) -> None:
    run.file(swap(5, 0, 33), publish=True)
    (first, told), (second, heard) = run.watcher(store=True), run.watcher(SECOND_WATCHER, store=True)
    run.world.run.chain.rpc("evm_setAutomine", False)
    chain = run.world.run.chain
    try:
        seen = second._reader.look()
        (move, *_) = second._plan(seen)
        from commonweight.audit.watcher.sending import Refused, call_of, perform

        call = call_of(run.world.by(WATCHER), move)
        chain.rpc(
            "eth_sendTransaction",
            {"from": KEYS[WATCHER].address, "to": call.address, "data": "0x" + call.data.hex(), "gas": hex(3_000_000)},
        )
        outcome = perform(run.world.by(SECOND_WATCHER), move, seen)  # the first one's waits to be mined
    finally:
        chain.rpc("evm_setAutomine", True)
        chain.rpc("evm_mine")
    assert isinstance(outcome, Refused)
    drain(second)
    assert heard.moves() == []
    assert chain.transaction_count(KEYS[SECOND_WATCHER].address) == seen.nonce
    drain(first)
    assert told.moves() == ["TakeDue"]
    has_fallen(run)


@pytest.mark.slow
def test_what_is_not_mined_yet_is_waited_for_and_not_sent_again(run: Corrupt) -> None:
    """A watcher that ended before its game was mined, and the next one, which sees no game on chain."""
    run.file(swap(5, 0, 33))
    chain, account = run.world.run.chain, KEYS[WATCHER].address
    sender = run.world.by(WATCHER)
    hasty = sender.with_key_of(sender.chain.with_fees(Fees(give_up_s=1.0)))
    chain.rpc("evm_setAutomine", False)
    try:
        for _ in range(2):
            watcher = Watcher(hasty, None, WatchSettings(), Log([]), NoMetrics())
            with pytest.raises(TransactionStuck):
                watcher.step()
        assert chain.transaction_count(account, "pending") == chain.transaction_count(account) + 1
    finally:
        chain.rpc("evm_setAutomine", True)
        chain.rpc("evm_mine")
    drain(Watcher(hasty, None, WatchSettings(), Log([]), NoMetrics()))
    assert len(list(run.world.run.events_of(GameOpened))) == 1


@pytest.mark.slow
def test_two_watchers_both_get_their_bond_back(run: Corrupt) -> None:
    run.file(swap(5, 0, 33))
    (first, told), (second, heard) = run.watcher(), run.watcher(SECOND_WATCHER)
    drain(first)
    drain(second)
    assert told.moves() == heard.moves() == ["OpenGame"]
    run.answer_all()
    drain(second)
    run.answer_all()
    drain(first)
    drain(second)
    assert told.moves()[1] == "ProveWrongLeaf"  # shown in the other's game
    assert heard.moves() == ["OpenGame", "Descend", "CloseGame", "TakeDue"]
    assert run.world.run.disputes.open_games() == 0


@pytest.mark.slow
def test_a_reorganisation_is_played_on_from_what_is_there(run: Corrupt) -> None:
    chain = run.world.run.chain
    before = chain.rpc("evm_snapshot")
    run.file(swap(5, 0, 33))
    filed = chain.rpc("evm_snapshot")
    watcher, log = run.watcher()
    drain(watcher)
    put_back(chain.rpc, filed)  # the game is gone, the report is not
    run.later(1)
    drain(watcher)
    assert log.moves() == ["OpenGame", "OpenGame"]
    assert len(list(run.world.run.events_of(GameOpened))) == 1
    put_back(chain.rpc, before)
    run.file()  # with the false one, the signers have signed two
    drain(watcher)
    assert log.moves() == ["OpenGame", "OpenGame", "ProveEquivocation", "ProveEquivocation", "TakeDue"]
    assert len(log.events("report is true")) == 1


@pytest.mark.slow
def test_a_node_that_has_lost_logs_makes_no_false_challenge(run: Corrupt, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a registration the report would seem false; the contracts' state says that logs are missing."""
    run.file()
    inner, lost_kind = Chain.logs, [EpochFinal]

    def losing(self: Chain, *args: Any, **more: Any) -> Iterator[Any]:
        for entry in inner(self, *args, **more):
            lost = entry.topics[0] == topic_of(lost_kind[0]) and entry.block < filed.block
            if not lost:
                yield entry

    filed = run.filed()
    monkeypatch.setattr(Chain, "logs", losing)
    for kind in (EpochFinal, ProviderRegistered, EpochClosed, ReportSubmitted):
        lost_kind[:] = [kind]  # type: ignore[list-item]
        with pytest.raises(ChainError):
            run.watcher()[0].step()
    assert run.world.run.disputes.open_games() == 0


@pytest.mark.slow
def test_too_late_is_said_and_costs_nothing(run: Corrupt) -> None:
    run.file(swap(5, 0, 33))
    run.later(run.params.challenge_window - 4)
    watcher, log = run.watcher()
    count = run.world.run.chain.transaction_count(KEYS[WATCHER].address)
    drain(watcher)
    drain(watcher)
    assert [line["what"] for line in log.events("missed")] == [
        f"OpenGame comes too late: its deadline is {log.events('report is false')[0]['open_until']}"
    ]
    assert run.world.run.chain.transaction_count(KEYS[WATCHER].address) == count


@pytest.mark.slow
def test_a_false_root_that_became_final_is_said(run: Corrupt) -> None:
    run.file(swap(5, 0, 33))
    run.world.finalize(1)
    run.world.close(2)
    root = run.world.run.ledger.latest().root
    run.world.report(2, {5: 9}, prev_root=root, root=b"\x66" * 32)
    watcher, log = run.watcher()
    drain(watcher)
    assert log.moves() == []
    assert "last final root is false" in log.events("missed")[0]["what"]


@pytest.mark.slow
def test_without_a_key_it_says_what_to_do(run: Corrupt) -> None:
    run.file(swap(5, 0, 33))
    watcher, log = run.watcher(None)
    assert watcher.step() is False
    assert watcher.step() is False
    (asked,) = log.events("a key is needed")
    assert (asked["move"], asked["command"], asked["level"]) == ("OpenGame", "the command", "error")
    assert watcher.alarmed
    run.answer_all() if run.world.run.disputes.open_games() else None


@pytest.mark.slow
def test_true_reports_raise_no_alarm(run: Corrupt) -> None:
    run.file()
    watcher, log = run.watcher(None)
    watcher.step()
    assert not watcher.alarmed
    assert [line["event"] for line in log.lines if line["level"] != "debug"] == ["report is true"]
    assert isinstance(Reader(run.world.run, None, lambda filed: None).look().cases[0].filed.leaves[0], Leaf)
    assert set(FIRST) == {0, 2, 33}
