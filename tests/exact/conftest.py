"""The golden round as the material of exact tests."""

import pytest

from tests.golden import golden_round


@pytest.fixture(scope="session")
def made() -> golden_round.GoldenRound:
    """One whole round of three members."""
    return golden_round.build()
