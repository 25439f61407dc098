"""Prepared data: deterministic, disjoint, hashed, and refused by name when a shard is missing or altered."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from commonweight.errors import DataError
from commonweight.protocol.data import data_seed, windows
from commonweight.store import open_store
from trainer.data import MANIFEST, MAX_SHARD_BYTES, Corpus, fetch, publish
from trainer.preparation import Amount, _shard_tokens, prepare

pytestmark = pytest.mark.unit


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "text"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number}.txt").write_text(f"document {number}: " + "lorem ipsum dolor " * (5 + number))
    (folder / "twice.txt").write_text((folder / "7.txt").read_text())
    (folder / "ignored.bin").write_bytes(bytes(1000))
    return folder


def test_the_same_text_gives_the_same_shards(sources: Path, tmp_path: Path) -> None:
    first = prepare([sources], tmp_path / "a", shard_tokens=5000).manifest
    second = prepare(sorted(sources.glob("*.txt"), reverse=True), tmp_path / "b", shard_tokens=5000).manifest
    assert first.to_bytes() == (tmp_path / "a" / MANIFEST).read_bytes()
    assert len(first.train.shards) > 1
    assert Corpus.open(tmp_path / "a", first.sha256).manifest == first
    assert second.to_bytes() == first.to_bytes()


def test_no_document_is_on_both_sides_and_duplicates_count_once(sources: Path, tmp_path: Path) -> None:
    manifest = prepare([sources], tmp_path / "d", heldout_bps=3000).manifest
    train = (tmp_path / "d" / manifest.train.shards[0].name).read_bytes().split(b"\0")[:-1]
    heldout = (tmp_path / "d" / manifest.heldout.shards[0].name).read_bytes().split(b"\0")[:-1]
    assert not set(train) & set(heldout)
    assert len(train) + len(heldout) == 60
    assert len(heldout) > 1


def test_the_size_cap_holds_and_what_it_leaves_out_is_said(sources: Path, tmp_path: Path) -> None:
    some = prepare([sources], tmp_path / "d", heldout_bps=3000, max_bytes=20_000)
    every = prepare([sources], tmp_path / "e", heldout_bps=3000)
    assert some.manifest.train.tokens + some.manifest.heldout.tokens == some.taken.bytes + some.taken.documents
    assert some.taken.bytes <= 20_000
    assert every.taken == Amount(60, some.taken.bytes + some.left.bytes)
    assert (every.left, some.left.documents) == (Amount(0, 0), 60 - some.taken.documents)
    assert some.ended


def test_one_text_is_never_divided_and_nothing_is_left_behind(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "d" / ".preparing").mkdir(parents=True)
    (tmp_path / "d" / ".preparing" / "index.sqlite3").write_bytes(b"of one that was killed")
    prepare([sources], tmp_path / "d", heldout_bps=3000)
    assert {file.suffix for file in (tmp_path / "d").iterdir()} == {".bin", ".json"}
    with (sources / "huge.txt").open("wb") as huge:
        huge.truncate(2**28 + 1)
    with pytest.raises(DataError, match=r"huge\.txt is too large for one document"):
        prepare([sources], tmp_path / "e")
    assert not list((tmp_path / "e").iterdir())


def test_a_file_that_changes_meanwhile_is_an_error_by_name(sources: Path, tmp_path: Path) -> None:
    def told(name: str, done: int, total: int) -> None:
        if name == "Writing shards":
            for number in range(60):
                (sources / f"{number}.txt").write_text("another text")

    (sources / "long.txt").write_text("lorem ipsum " * 200_000)
    with pytest.raises(DataError, match=r"\.txt changed while it was prepared"):
        prepare([sources], tmp_path / "d", told=told)
    assert not (tmp_path / "d" / MANIFEST).exists()


def test_much_text_has_larger_shards_and_none_is_too_large_to_fetch(sources: Path, tmp_path: Path) -> None:
    assert _shard_tokens(2**32, 2) == 2**20
    assert _shard_tokens(2**32 + 1, 2) == 2**21
    assert _shard_tokens(2**50, 4) * 4 == MAX_SHARD_BYTES
    with pytest.raises(DataError, match="too large"):
        prepare([sources], tmp_path / "d", shard_tokens=MAX_SHARD_BYTES + 1)


def test_progress_ends_with_all_of_the_text(sources: Path, tmp_path: Path) -> None:
    said: list[tuple[str, int, int]] = []
    done = prepare([sources], tmp_path / "d", told=lambda *step: said.append(step))
    assert said[-1] == ("Writing shards", done.taken.bytes, done.taken.bytes)


@pytest.mark.parametrize("damage", ["missing", "altered", "short"])
def test_a_damaged_shard_is_an_error_by_name(sources: Path, tmp_path: Path, damage: str) -> None:
    manifest = prepare([sources], tmp_path / "d", shard_tokens=5000, heldout_bps=3000).manifest
    shard = tmp_path / "d" / manifest.train.shards[1].name
    raw = shard.read_bytes()
    if damage == "missing":
        shard.unlink()
    else:
        shard.write_bytes(raw[:-1] if damage == "short" else raw[:100] + b"X" + raw[101:])
    with pytest.raises(DataError, match=r"train-00001\.bin is " + ("missing" if damage == "missing" else "altered")):
        Corpus.open(tmp_path / "d")


def test_another_runs_manifest_is_refused(sources: Path, tmp_path: Path) -> None:
    prepare([sources], tmp_path / "d", heldout_bps=3000)
    with pytest.raises(DataError, match="not this run's manifest"):
        Corpus.open(tmp_path / "d", "0x" + "00" * 32)


def test_batches_cover_all_windows_once_before_any_repeats(sources: Path, tmp_path: Path) -> None:
    manifest = prepare([sources], tmp_path / "d", shard_tokens=3000, heldout_bps=3000).manifest
    corpus = Corpus.open(tmp_path / "d")
    seed, seq_len = bytes.fromhex(data_seed(bytes(32))[2:]), 16
    total = windows(manifest.train, seq_len)
    batch = next(size for size in (8, 7, 6, 5, 4, 3, 2, 1) if total % size == 0)
    rows = [row.tobytes() for step in range(total // batch) for row in corpus.batch(seed, 0, step, batch, seq_len)]
    expected: Counter[bytes] = Counter()
    for shard in corpus.train:
        for start in range(0, len(shard) - seq_len, seq_len):
            expected[np.asarray(shard[start : start + seq_len + 1], dtype=np.int64).tobytes()] += 1
    assert Counter(rows) == expected
    assert corpus.batch(seed, 0, 1, batch, seq_len).tobytes() == corpus.batch(seed, batch, 0, batch, seq_len).tobytes()


def test_published_data_is_fetched_and_mended(sources: Path, tmp_path: Path) -> None:
    manifest = prepare([sources], tmp_path / "d", shard_tokens=5000, heldout_bps=3000).manifest
    store = open_store(tmp_path / "store")
    cid = publish(store, tmp_path / "d")
    fetch(store, cid, manifest.sha256, tmp_path / "e")
    (tmp_path / "e" / "train-00000.bin").write_bytes(b"other")
    fetch(store, cid, manifest.sha256, tmp_path / "e")
    assert Corpus.open(tmp_path / "e", manifest.sha256).manifest == manifest


def test_unigram_entropy_is_that_of_the_heldout_bytes(sources: Path, tmp_path: Path) -> None:
    manifest = prepare([sources], tmp_path / "d", heldout_bps=3000).manifest
    raw = b"".join((tmp_path / "d" / shard.name).read_bytes() for shard in manifest.heldout.shards)
    expected = -sum(n / len(raw) * math.log(n / len(raw)) for n in Counter(raw).values())
    assert Corpus.open(tmp_path / "d").unigram_entropy() == pytest.approx(expected, rel=1e-12)


def test_a_tokenizers_file_is_used_and_kept(sources: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train([str(p) for p in sources.glob("*.txt")], trainers.BpeTrainer(vocab_size=300, special_tokens=["?"]))
    tokenizer.save(str(tmp_path / "tok.json"))
    manifest = prepare([sources], tmp_path / "d", tokenizer=tmp_path / "tok.json", heldout_bps=3000).manifest
    assert manifest.tokenizer.kind == "tokenizers"
    assert manifest.vocab_size == tokenizer.get_vocab_size()
    corpus = Corpus.open(tmp_path / "d")
    text = tokenizer.decode(corpus.heldout[0][:20].astype(int).tolist())
    assert "lorem" in text
