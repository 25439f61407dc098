"""`audit recheck`: credits that were carried into an epoch are those of earlier rounds, which are done again too."""

from __future__ import annotations

from pathlib import Path

import pytest

from commonweight.cli.rechecking import recheck_credits
from tests.chain.scenario import make_params
from tests.cli.test_replay import settings_of
from tests.cli.trained import Trained, trained_run

pytestmark = [pytest.mark.chain, pytest.mark.slow, pytest.mark.timeout(900)]
HONEST, CHEAT = 0, 1
STAKE = make_params(0).provider_stake


def more_stake(staged: Trained, epoch: int) -> None:
    """After the first epoch everybody can be credited for what waited."""
    if epoch == 0:
        for index in (HONEST, CHEAT):
            staged.world.by(index + 1).registry.add_stake(10 * STAKE)


def test_the_rounds_behind_carried_credits_are_verified_again(tmp_path: Path) -> None:
    """A stake that is less than a credit's value lets all credits wait; the next epoch lists and answers for them."""
    with trained_run(tmp_path / "run", batch=1024, credit_value=2 * STAKE, after=more_stake) as staged:
        standing = staged.standings[0]
        for index in (HONEST, CHEAT):
            assert standing.members[index].carried > 0, standing
            assert standing.members[index].since == 0
        settings = settings_of(staged)
        first, judged = recheck_credits(settings, str(HONEST), 0)
        assert (judged.listed, judged.rounds, judged.convicted) == (0, (), False)
        second, judged = recheck_credits(settings, str(HONEST), 1)
        assert judged.listed == judged.earned
        assert judged.listed > standing.members[HONEST].carried
        assert [(r.round, r.outcome) for r in judged.rounds] == [(n, "verified") for n in (1, 2, 3, 4)]
        assert judged.convicted is False
        assert first.verdict == second.verdict == "verified"
        # its false round is one of the first epoch; the credits of the second epoch hold some of it
        refuted, judged = recheck_credits(settings, str(CHEAT), 1)
        assert refuted.verdict == "refuted"
        assert judged.convicted is True
        assert [(r.round, r.outcome) for r in judged.rounds] == [(2, "refuted")]
