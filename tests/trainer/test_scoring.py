"""What scores take is what the estimate reckons for them."""

import numpy as np
import pytest

import trainer.scoring
from commonweight.estimate import SCORE_PASSES
from commonweight.exact.genesis import genesis
from tests.trainer.conftest import make_plan, tiny_config
from trainer.data import Corpus
from trainer.model import Llama
from trainer.scoring import Update, score, window_losses

pytestmark = pytest.mark.unit


def test_a_score_takes_as_many_passes_over_its_windows_as_the_estimate_says(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, passes = tiny_config(corpus.manifest.sha256), list[int]()

    def counted(model: Llama, windows: object) -> list[float]:
        passes.append(len(windows))  # type: ignore[arg-type]
        return window_losses(model, windows)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer.scoring, "window_losses", counted)
    base = genesis(config.model, config.genesis_seed_bytes)
    update = Update(base, np.full_like(base, 1e-4), np.full_like(base, 2e-4))
    score(Llama(config.model), corpus, config, make_plan(config, "0x" + "0b" * 32, members=2), 1, 6, bytes(32), update)
    windows, own = config.verification.contribution_windows, 6 * config.training.batch
    assert own < windows, "a member is scored on no more windows than it has trained on"
    assert sorted(passes) == sorted([own] * 3 + [windows] * (SCORE_PASSES - 3))
