"""Inner steps: torch's AdamW, bit for bit the same again, and never a state that is not finite."""

import math

import numpy as np
import pytest
import torch

from commonweight.errors import DeviceFull, DeviceLost, TrainingError, UsageError
from commonweight.exact.genesis import genesis
from commonweight.exact.trace import State
from commonweight.protocol.runconfig import RunConfig
from tests.trainer.conftest import tiny_config
from trainer.data import Corpus
from trainer.engine import Engine
from trainer.inner import InnerOptimizer, configure_torch
from trainer.muon import POLYNOMIALS, orthogonal, turns
from trainer.replay import compare

pytestmark = pytest.mark.unit
SEED = bytes(range(32))
NO_CARD = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no card")
TORCH_WARNS = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")  # what its compiler itself still uses


def fresh(config: RunConfig) -> State:
    return State.fresh(genesis(config.model, config.genesis_seed_bytes))


def run(config: RunConfig, corpus: Corpus, start: State, first: int, steps: int, engine: Engine | None = None) -> State:
    configure_torch(config.training.threads)
    optimizer = InnerOptimizer(config, engine or Engine())
    optimizer.load(start)
    for step in range(first, first + steps):
        optimizer.advance(corpus.batch(SEED, 0, step, config.training.batch, config.training.seq_len))
    return optimizer.state(start.residual)


def test_muon_steps_hidden_matrices_as_torch_does_and_the_others_as_adamw(corpus: Corpus, config: RunConfig) -> None:
    inner = {"optimizer": "muon", "lr": "0.01", "clip": "1e6", "warmup": 0, "weight_decay": "0.2", "momentum": "0.9"}
    config = tiny_config(corpus.manifest.sha256, inner=inner)
    ours, start = run(config, corpus, fresh(config), 0, 4), fresh(config)

    model = InnerOptimizer(config).model
    model.load_flat(start.weights)
    turned = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for p in model.parameters() if all(p is not other for other in turned)]
    assert len(turned) == 7 * config.model.num_layers
    groups = [{"params": [p], "weight_decay": 0.2 if p.ndim > 1 else 0.0} for p in others]
    muon = torch.optim.Muon(turned, lr=0.01, weight_decay=0.2, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95), eps=1e-8, foreach=False)
    for step in range(4):
        muon.zero_grad(set_to_none=False)
        adamw.zero_grad(set_to_none=False)
        model.loss(torch.from_numpy(corpus.batch(SEED, 0, step, 2, 16))).backward()
        muon.step()
        adamw.step()
    moved, theirs = ours.weights - start.weights, model.export_flat() - start.weights
    assert np.linalg.norm(moved - theirs) < 0.02 * np.linalg.norm(theirs), "torch's iterations are in bfloat16"
    for entry in model.layout.tensors:
        assert np.any(ours.m[entry.offset : entry.stop])
        assert np.any(ours.v[entry.offset : entry.stop]) != turns(entry), "Muon keeps one moment"


def test_an_orthogonal_step_has_singular_values_of_about_one() -> None:
    for shape in ((48, 20), (20, 48), (32, 32)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        found = torch.linalg.svdvals(orthogonal(x))
        assert float(found[:-4].min()) > 0.4, "small ones take more iterations"
        assert float(found.max()) < 1.3
        u, _, vt = torch.linalg.svd(x, full_matrices=False)
        assert float((orthogonal(x) * (u @ vt)).sum()) > 0.9 * float(found.square().sum()) ** 0.5 * min(shape) ** 0.5


def one_by_one(x: torch.Tensor) -> torch.Tensor:
    """The iterations as they are written, each on the whole matrix."""
    y = x.T if x.shape[0] > x.shape[1] else x
    y = y / (torch.linalg.vector_norm(y) + 1e-7)
    for a, b, c in POLYNOMIALS:
        gram = y @ y.T
        y = a * y + (b * gram + c * gram @ gram) @ y
    return y.T if x.shape[0] > x.shape[1] else y


@pytest.mark.parametrize("shape", [(48, 100), (100, 48), (40, 50), (257, 259), (256, 700), (771, 257)])
@pytest.mark.parametrize("least", [1.0, 1e-3, 1e-8])
def test_iterations_on_a_gram_matrix_are_those_on_the_whole(shape: tuple[int, int], least: float) -> None:
    u, _, vt = torch.linalg.svd(
        torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64), full_matrices=False
    )
    x = u @ torch.diag(torch.logspace(0, math.log10(least), min(shape), dtype=torch.float64)) @ vt
    expected = one_by_one(x)
    found = orthogonal(x.float())
    assert found.dtype == torch.float32
    assert float((found - expected).norm()) < 1e-4 * float(expected.norm()), "a replay's tolerance is ten times that"
    rough = orthogonal(x.float(), torch.bfloat16)
    assert rough.dtype == torch.float32
    assert float((rough - expected).norm()) < 0.3 * float(expected.norm()), "eight bits"


def test_a_matrix_of_zeros_stays_one() -> None:
    assert not orthogonal(torch.zeros(20, 30)).any()


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


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_run_resumed_from_a_state_has_the_same_bits(corpus: Corpus, name: str) -> None:
    config = tiny_config(corpus.manifest.sha256, inner={"optimizer": name})
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


@pytest.mark.parametrize("engine", [
    pytest.param(Engine(compiled=True), marks=[pytest.mark.slow, TORCH_WARNS]),
    pytest.param(Engine("cuda"), marks=NO_CARD),
    pytest.param(Engine("cuda", compiled=True), marks=[pytest.mark.slow, TORCH_WARNS, NO_CARD]),
], ids=lambda engine: f"{engine.device}{'-compiled' * engine.compiled}")  # fmt: skip
@pytest.mark.timeout(1200)  # compiling
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_another_engine_comes_to_what_a_replay_accepts(corpus: Corpus, engine: Engine, name: str) -> None:
    config = tiny_config(corpus.manifest.sha256, inner={"optimizer": name})
    start = fresh(config)
    plain, other = run(config, corpus, start, 0, 5), run(config, corpus, start, 0, 5, engine)
    assert not engine.exact
    assert compare(start, other, plain).within(config)
    assert not np.array_equal(other.weights, start.weights)


def test_bfloat16_is_the_runs_choice_and_near_float32(corpus: Corpus) -> None:
    full = tiny_config(corpus.manifest.sha256)
    half = tiny_config(corpus.manifest.sha256, dtype="bfloat16")
    start = fresh(full)
    one, other = run(full, corpus, start, 0, 4), run(half, corpus, start, 0, 4)
    off = np.linalg.norm(other.weights - one.weights) / np.linalg.norm(one.weights - start.weights)
    assert 1e-5 < off < 0.2, "sums are rounded otherwise, but it is the same descent"


def test_what_goes_wrong_on_a_card_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee documentation")
    with pytest.raises(DeviceFull, match=r"no memory left on cuda:1.*2.00 GiB[.]"), Engine("cuda:1").watched():
        raise full
    for others_words in (
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        f"backend failed: {full}",
    ):
        with pytest.raises(DeviceFull, match="no memory left on cuda"), Engine("cuda").watched():
            raise RuntimeError(others_words)
    with pytest.raises(DeviceLost, match="cuda has failed"), Engine("cuda").watched():
        raise RuntimeError("CUDA error: unspecified launch failure\nCompile with `TORCH_USE_CUDA_DSA`")
    for engine, other in ((Engine("cuda"), RuntimeError("shapes differ")), (Engine(), RuntimeError("CUDA error: x"))):
        with pytest.raises(RuntimeError) as same, engine.watched():
            raise other
        assert same.value is other
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 << 30, 8 << 30))
    Engine("cuda").require_memory(3 << 30)
    with pytest.raises(UsageError, match=r"does not fit into cuda.*3.0 GiB of 8.0 GiB are free"):
        Engine("cuda").require_memory((3 << 30) + 1)
    Engine().require_memory(1 << 60)


def test_what_is_not_there_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for device in ("tpu", "cuda:x", "cpu:0", ""):
        with pytest.raises(UsageError, match="There is no device"):
            Engine(device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="device cuda:1 is not there") as problem:
        Engine("cuda:1").require()
    assert ("built without CUDA" in problem.value.why) == ("built for CUDA" in problem.value.fix)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UsageError, match="cannot be compiled") as problem:
        Engine(compiled=True).require()
    assert "g++" in problem.value.why
