"""What an auditor learns of a run on private shards: scores are measured again, steps cannot be, a false list shows.

docs/adr/0020-work-on-private-shards.md says so; these are the commands, on a run whose members trained on text of
their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from commonweight.cli.rechecking import recheck_credits
from commonweight.cli.replaying import PRIVATE, replay_work
from commonweight.cli.rescoring import SCORES, rescore
from commonweight.protocol.contribution import PrivateScores
from commonweight.protocol.dispute_documents import INCOMPLETE
from tests.cli.test_replay import settings_of
from tests.cli.trained import CHEATS, SCORE_LIES, Trained, trained_run

pytestmark = [pytest.mark.chain, pytest.mark.slow, pytest.mark.timeout(900)]
SHARE_BPS, FRIEND, GIFT = 5_000, 3, 1_000


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """Two final epochs; in the second a corrupt quorum lists more for a friend than its evidence gives."""
    honest = Trained.report

    def generous(self: Trained, epoch: int, *given: Any, **more: Any) -> None:
        honest(self, epoch, *given, **more, more={FRIEND: GIFT} if epoch == 1 else None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trained, "report", generous)
        with trained_run(tmp_path_factory.mktemp("private"), batch=1024, private_bps=SHARE_BPS) as staged:
            yield staged


def test_every_score_is_measured_again_and_a_false_one_is_found(trained: Trained) -> None:
    found, measured = rescore(settings_of(trained), epoch=0)
    assert found.verdict == "verified", found.checks
    assert {(m.verdict.round, m.verdict.index) for m in measured} == {(r, i) for r in (1, 2) for i in range(4)}
    for each in measured:
        assert isinstance(each.scores, PrivateScores)
        assert each.scores.named() == each.verdict.scores
    (lie, size) = next((place, size) for place, size in SCORE_LIES.items() if size > 100_000)
    found, measured = rescore(settings_of(trained), number=lie[0], provider=str(lie[1]))
    assert found.verdict == "refuted"
    (check,) = [check for check in found.checks if check.name == SCORES]
    assert "heldout_gain_micro is " in check.detail
    assert [m.agrees for m in measured] == [False]
    assert (
        dict(measured[0].verdict.scores)["heldout_gain_micro"] - dict(measured[0].scores.named())["heldout_gain_micro"]
        == size
    )


@pytest.mark.parametrize("number", [None, 1])
def test_steps_that_nobody_else_can_take_are_said_to_be_so(trained: Trained, number: int | None) -> None:
    found = replay_work(settings_of(trained), "0", number)
    assert found.exit_code == 3
    assert PRIVATE in [check.detail for check in found.checks if check.verdict == "unavailable"]
    assert not any(check.verdict == "refuted" for check in found.checks)


def test_a_doubt_ends_without_a_verdict_also_about_who_cheats(trained: Trained) -> None:
    for index in (0, next(index for number, index in CHEATS if number <= 2)):
        found, judged = recheck_credits(settings_of(trained), str(index), 0)
        assert found.exit_code == 3
        assert PRIVATE in [check.detail for check in found.checks if check.verdict == "unavailable"]
        assert judged.listed == judged.earned > 0
        assert [(r.round, r.outcome) for r in judged.rounds] == [(1, INCOMPLETE), (2, INCOMPLETE)]
        assert judged.convicted is None


def test_a_list_that_its_own_evidence_does_not_give_convicts_all_the_same(trained: Trained) -> None:
    found, judged = recheck_credits(settings_of(trained), str(FRIEND), 1)
    assert found.verdict == "refuted"
    assert judged.earned is not None
    assert judged.listed == judged.earned + GIFT
    assert judged.convicted is True
