"""Where simulated processes keep their files: in memory where there is such a folder, as power never fails here."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(dir=shared, prefix="crowd-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The log of a thousand rounds helps nobody."""
    logger = logging.getLogger("commonweight")
    level, before = logger.level, structlog.get_config()["wrapper_class"]
    logger.setLevel(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    logger.setLevel(level)
    structlog.configure(wrapper_class=before)
