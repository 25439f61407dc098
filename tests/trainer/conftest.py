"""A small run for the trainer's tests: a tiny model, a little text, and its configuration."""

from pathlib import Path

import pytest

from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.data import data_seed
from commonweight.protocol.records import Plan, PlanMember
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.typed import Domain
from trainer.data import Corpus
from trainer.preparation import prepare

TINY: JsonObject = {
    "preset": "custom", "vocab_size": 256, "hidden_size": 32, "intermediate_size": 48, "num_layers": 2,
    "num_heads": 2, "num_kv_heads": 2, "head_dim": 16, "max_seq_len": 32,
}  # fmt: skip


def tiny_config(manifest_sha256: str, **training: object) -> RunConfig:
    """A run of the tiny model; `training` overrides fields of that section."""
    return RunConfig.parse({
        "name": "tiny",
        "model": TINY,
        "genesis_seed": "0x" + "07" * 32,
        "data": {"manifest_cid": "", "manifest_sha256": manifest_sha256},
        "training": {"h": 6, "batch": 2, "seq_len": 16, "trace_every": 2, "block": 64, **training},  # type: ignore[dict-item]
        "verification": {"heldout_windows": 20},
    })  # fmt: skip


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared text: a few hundred short sentences."""
    text = tmp_path_factory.mktemp("text")
    for number in range(200):
        words = " ".join(f"word{(number * k) % 31}" for k in range(1, 60))
        (text / f"{number:03d}.txt").write_text(f"Document {number} says {words}.\n")
    folder = tmp_path_factory.mktemp("data")
    prepare([text], folder, shard_tokens=20_000, heldout_bps=1000)
    return folder


@pytest.fixture(scope="session")
def corpus(data_dir: Path) -> Corpus:
    return Corpus.open(data_dir)


@pytest.fixture(scope="session")
def config(corpus: Corpus) -> RunConfig:
    return tiny_config(corpus.manifest.sha256)


@pytest.fixture
def domain() -> Domain:
    return Domain(31337, "0x" + "0c" * 20)


KEYS = [bytes([7] * 31 + [number + 1]) for number in range(80)]
"""Private keys of test members by index; the last few are signers'."""


def make_plan(config: RunConfig, base: str, members: int = 1, **changes: object) -> Plan:
    """A plan in the far future, with every member a reducer and the next one its backup."""
    start, each, overlap = 10**13, config.training.h * config.training.batch, config.training.overlap
    first, next_ = (0, members) if changes.get("round", 1) == 1 else (members, 2 * members)
    fields: dict[str, object] = {
        "run": "0x" + "aa" * 20, "round": 1, "epoch": 0, "base": base, "base_cid": "bafybase", "config": config.sha256,
        "data_seed": data_seed(config.genesis_seed_bytes),
        "members": tuple(
            PlanMember(i, config.training.h, ((first if overlap else 0) + i) * each,
                       (next_ + i) * each if overlap else None)
            for i in range(members)
        ),
        "h": config.training.h, "overlap": config.training.overlap, "codec": config.training.codec, "codec_version": 1,
        "block": config.training.block,
        "parts": members, "reducers": tuple(range(members)),
        "backups": tuple((i + 1) % members for i in range(members)), "min_members": 1, "commit_by_ms": start,
        "anchor_by_ms": start + 1000, "exchange_by_ms": start + 3000, "record_by_ms": start + 4000,
        "previous_record": None,
    }  # fmt: skip
    return Plan(**(fields | changes))  # type: ignore[arg-type]
