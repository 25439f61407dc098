"""Fixtures of the chain tests: a run on each local chain."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chain.scenario import World, first_world


@pytest.fixture
def world(chain_url: str, tmp_path: Path) -> World:
    """A new run, on Anvil and on Ganache."""
    return first_world(chain_url, tmp_path / "nonces")
