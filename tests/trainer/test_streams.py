"""Text out of the `datasets` library: by the library itself where it is installed, else by what we call of it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from commonweight.errors import DataError
from trainer.data import Corpus
from trainer.preparation import prepare
from trainer.streams import documents

pytestmark = pytest.mark.unit
TEXTS = [f"document {number}: " + "lorem ipsum " * 20 for number in range(40)]


class Library:
    """What `datasets` offers of itself to us; counts what is read of the stream."""

    def __init__(self) -> None:
        self.read = 0

    def load_dataset(self, name: str, *, split: str, streaming: bool) -> Iterator[dict[str, object]]:
        assert streaming, "a whole data set is never downloaded"
        if name != "some/texts":
            raise FileNotFoundError(f"Couldn't find a dataset {name}")
        for text in TEXTS:
            self.read += 1
            yield {"text": text, "id": self.read, "split": split}


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library()
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=library.load_dataset))  # type: ignore[arg-type]
    return library


def test_a_stream_is_prepared_like_files_of_the_same_text(library: Library, tmp_path: Path) -> None:
    folder = tmp_path / "text"
    folder.mkdir()
    for number, text in enumerate(TEXTS):
        (folder / f"{number}.txt").write_text(text)
    from_files = prepare([folder], tmp_path / "files").manifest
    from_stream = prepare(None, tmp_path / "stream", stream=documents("some/texts", "train", "text")).manifest
    assert from_stream.to_bytes() == from_files.to_bytes()
    assert Corpus.open(tmp_path / "stream", from_stream.sha256).manifest == from_stream


def test_no_more_of_a_stream_is_read_than_is_wanted(library: Library, tmp_path: Path) -> None:
    size = len(TEXTS[0]) * 10
    done = prepare(None, tmp_path / "some", stream=documents("some/texts", "train", "text"), max_bytes=size)
    manifest = done.manifest
    assert library.read <= 11
    assert (done.ended, done.left.documents) == (False, 0)
    assert 0 < manifest.train.tokens + manifest.heldout.tokens <= size + 10


def test_what_is_wrong_with_a_data_set_is_said(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no text in its column 'words'") as problem:
        list(documents("some/texts", "train", "words"))
    assert "id, split, text" in problem.value.why
    with pytest.raises(DataError, match="cannot be read") as problem:
        list(documents("other/texts", "train", "text"))
    assert "Couldn't find" in problem.value.why
    monkeypatch.setitem(sys.modules, "datasets", None)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="not installed") as problem:
        documents("some/texts", "train", "text")
    assert "pip install datasets" in problem.value.fix


def test_the_library_itself_streams_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="the datasets library is not installed")
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in TEXTS))
    manifest = prepare(None, tmp_path / "out", stream=documents(str(folder), "train", "text")).manifest
    texts = b"".join((tmp_path / "out" / shard.name).read_bytes() for shard in manifest.train.shards)
    assert TEXTS[0].encode() in texts or manifest.heldout.tokens > 0
    assert manifest.train.tokens + manifest.heldout.tokens == sum(len(text) + 1 for text in TEXTS)
