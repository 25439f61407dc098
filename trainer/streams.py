"""Text out of the `datasets` library, document by document, without downloading a whole data set.

The library is not among our dependencies: who prepares a run's data installs it. What comes out is prepared into hashed
shards like any other text, so whoever trains needs neither the library nor the data set's host.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from commonweight.errors import DataError


def documents(dataset: str, split: str, column: str) -> Iterator[bytes]:
    """The UTF-8 texts of a column, in the data set's order; `dataset` is a name or a folder. Raises DataError."""
    try:
        library: Any = importlib.import_module("datasets")
    except ImportError:
        raise DataError(
            "The library `datasets` is not installed here",
            f"the data set {dataset} is read by it",
            "pip install datasets, or name files or folders of text instead",
        ) from None
    return _texts(library, dataset, split, column)


def _texts(library: Any, dataset: str, split: str, column: str) -> Iterator[bytes]:
    try:
        for number, row in enumerate(library.load_dataset(dataset, split=split, streaming=True)):
            if not isinstance(row.get(column), str):
                raise DataError(
                    f"The data set {dataset} has no text in its column {column!r}",
                    f"row {number} has the columns {', '.join(sorted(row))}",
                    "name the right one by --column",
                )
            yield row[column].encode()
    except (OSError, ValueError, RuntimeError) as problem:
        raise DataError(
            f"The data set {dataset} cannot be read", str(problem), "check its name, --split, and the network"
        ) from problem
