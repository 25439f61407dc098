"""Every cheat as a real member among honest ones: refused by real signers when drawn, paid nothing for its epoch."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from commonweight.chain.ledger_view import LedgerView
from commonweight.protocol.canonical import loads_object
from commonweight.protocol.records import Commitment, Verdict
from tests.adversaries.cheating import CHEATS
from tests.oracle.network import Network
from tests.oracle.test_e2e_run import evidence_of
from tests.trainer.conftest import data_dir as data_dir

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(2400)]

LAST_ONLY = ("x1.05 in the last state only", "x1.05 in the payload only", "made-up residual")
LATE = "one step in fifty skipped"
GROUPS = [[cheat.name for cheat in CHEATS if cheat.name != LATE][at::4] for at in range(4)]
BATCH = 16
"""The work of a smaller batch rounds down to no credits."""
PARAMS = {"epoch_length": 100, "report_span": 80, "last_epoch": 20, "later": 30}


def failed(net: Network, index: int) -> list[dict[str, Any]]:
    """The signers' verdicts against a member, from their logs."""
    verdicts = [line for number in range(3) for line in net.said(number, "verdict", member=index)]
    return [line for line in verdicts if line["outcome"] != "pass"]


def doubted(net: Network, index: int, outcome: str) -> list[dict[str, Any]]:
    """What the signers say of a payload of this member that is like another."""
    return [line for number in range(3) for line in net.said(number, "structure", member=index, outcome=outcome)]


def play(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, cheats: list[str], **training: object) -> None:
    with Network(tmp_path, data, params=PARAMS, training={"batch": BATCH, **training}) as net:
        net.start_signers()
        honest = [net.add(f"honest-{n}") for n in range(2)]
        monkeypatch.setenv("ACCOMPLICE", str(honest[0].folder))
        liars = {name: net.add(f"liar-{n}", adversary=f"cheat:{name}") for n, name in enumerate(cheats)}
        for name, liar in liars.items():
            net.wait(f"{name} is caught", partial(failed, net, net.index(liar)), 900)
        for member in honest:
            assert failed(net, net.index(member)) == []
            assert doubted(net, net.index(member), "fail") == [], "text that repeats itself"
        seen = len(net.credited())
        net.wait_credited(seen + 2, 600)
        view = LedgerView.of(net.run)
        assert all(view.leaf(net.index(member)) is not None for member in honest)
        paid_for_nothing(net, {net.index(liar): name for name, liar in liars.items()})


def paid_for_nothing(net: Network, liars: dict[int, str]) -> None:
    """In every final epoch: a verdict against a cheat refuses all that it did in it; where all segments are false, none
    passes.
    """
    caught: set[int] = set()
    for epoch in net.credited():
        evidence = evidence_of(net, net.reports()[epoch][0].report.evidence_cid)
        verdicts = [Verdict.from_body(s.body) for files in evidence.rounds.values() for s in files.verdicts]
        signed = [s for files in evidence.rounds.values() for s in files.commitments]
        leaves = {s.digest: Commitment.from_body(s.body).trace.leaves for s in signed}
        lines = loads_object(evidence.credits)["lines"]
        assert isinstance(lines, list)
        for index, name in liars.items():
            own = [v for v in verdicts if v.index == index and v.check == "replay"]
            against = [v for v in own if v.outcome != "pass"]
            if name not in (*LAST_ONLY, LATE) and name not in NEEDS_A_PAST:
                false = [v for v in own if leaves[v.commitment] > HONEST_UP_TO.get(name, 0)]
                assert all(v.outcome != "pass" for v in false), (name, [(v.segment, v.outcome) for v in own])
            if against:
                caught.add(index)
                earned = [line for line in lines if isinstance(line, dict) and line["index"] == index]
                assert all(line["credits"] == "0" for line in earned), (name, earned)
    assert caught


HONEST_UP_TO = {"forged trace": 2, "states out of order": 3}
"""A round that was cut short may have no state between its ends, or one, which has no other order: so many states that
there is nothing false.
"""
NEEDS_A_PAST = {cheat.name for cheat in CHEATS if cheat.needs}
"""Their first round, or one in which the accomplice was late, is honest."""


@pytest.mark.parametrize("cheats", GROUPS, ids=lambda cheats: ", ".join(cheats))
def test_cheats_are_refused_and_honest_work_is_paid(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch, cheats: list[str]
) -> None:
    play(tmp_path, data_dir, monkeypatch, cheats)


def test_one_step_in_fifty_is_found_when_its_segment_is_drawn(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(tmp_path, data_dir, monkeypatch, [LATE], h=50, trace_every=10)
