"""Inner steps: torch's AdamW, bit for bit the same again, and never a state that is not finite."""

import math

import numpy as np
import pytest
import torch

from commonweight.errors import TrainingError
from commonweight.exact.genesis import genesis
from commonweight.exact.trace import State
from commonweight.protocol.runconfig import RunConfig
from tests.trainer.conftest import tiny_config
from trainer.data import Corpus
from trainer.inner import InnerOptimizer, configure_torch

pytestmark = pytest.mark.unit
SEED = bytes(range(32))


def fresh(config: RunConfig) -> State:
    return State.fresh(genesis(config.model, config.genesis_seed_bytes))


def run(config: RunConfig, corpus: Corpus, start: State, first: int, steps: int) -> State:
    configure_torch(config.training.threads)
    optimizer = InnerOptimizer(config)
    optimizer.load(start)
    for step in range(first, first + steps):
        optimizer.advance(corpus.batch(SEED, 0, step, config.training.batch, config.training.seq_len))
    return optimizer.state(start.residual)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_step_is_that_of_torch(corpus: Corpus, config: RunConfig, name: str) -> None:
    inner = {"optimizer": name, "lr": "0.01", "clip": "0.5", "warmup": 3, "weight_decay": "0.2"}
    config = tiny_config(corpus.manifest.sha256, inner=inner)
    ours = run(config, corpus, fresh(config), 0, 6)

    model = InnerOptimizer(config).model
    model.load_flat(fresh(config).weights)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.2}, {"params": vectors, "weight_decay": 0.0}]
    if name == "adamw":
        theirs: torch.optim.Optimizer = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95), eps=1e-8, foreach=False)
    else:
        theirs = torch.optim.SGD(groups, lr=0.01, momentum=0.9, foreach=False)
        for group in theirs.param_groups:
            group["weight_decay"] = 0.0
    for step in range(6):
        theirs.zero_grad(set_to_none=False)
        model.loss(torch.from_numpy(corpus.batch(SEED, 0, step, 2, 16))).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5, foreach=False)
        for group in theirs.param_groups:
            group["lr"] = 0.01 * min(1.0, (step + 1) / 3)
        if name == "sgd":
            with torch.no_grad():
                for matrix in matrices:
                    matrix.mul_(1 - theirs.param_groups[0]["lr"] * 0.2)
        theirs.step()
    assert np.allclose(ours.weights, model.export_flat(), atol=2e-6)
    assert not np.allclose(ours.weights, fresh(config).weights, atol=1e-3)


def test_a_run_resumed_from_a_state_has_the_same_bits(corpus: Corpus, config: RunConfig) -> None:
    whole = run(config, corpus, fresh(config), 0, 5)
    half = run(config, corpus, fresh(config), 0, 2)
    resumed = run(config, corpus, half, 2, 3)
    assert resumed.step == whole.step == 5
    for name in ("weights", "m", "v"):
        assert getattr(resumed, name).tobytes() == getattr(whole, name).tobytes()


def test_training_lowers_the_loss(corpus: Corpus, config: RunConfig) -> None:
    optimizer = InnerOptimizer(config)
    optimizer.load(fresh(config))
    losses = [optimizer.advance(corpus.batch(SEED, 0, step, 2, 16)) for step in range(40)]
    assert losses[0] == pytest.approx(math.log(256), abs=0.2)
    assert sum(losses[-5:]) / 5 < losses[0] - 1


def test_a_step_that_diverges_is_an_error(corpus: Corpus, config: RunConfig) -> None:
    optimizer = InnerOptimizer(config)
    weights = fresh(config).weights.copy()
    weights[5] = np.inf
    optimizer.load(State.fresh(weights))
    with pytest.raises(TrainingError, match="diverged"):
        optimizer.advance(corpus.batch(SEED, 0, 0, 2, 16))
