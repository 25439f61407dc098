"""docs/audit.md names every check that an audit can give, and no other."""

from __future__ import annotations

import importlib
import re

import pytest

from tests.cli.conftest import ROOT

pytestmark = pytest.mark.unit
CHECKS = {
    "commonweight.audit.verify": ("CHAIN", "CONFIGURATION"),
    "commonweight.audit.signers": ("SIGNERS",),
    "commonweight.audit.quorum": ("QUORUM",),
    "commonweight.audit.epochs": ("CLOSINGS", "SIGNATURES", "SUMS", "ROOTS", "CHECKPOINTS"),
    "commonweight.audit.escrow": ("CONTRIBUTIONS", "REFUNDS", "ESCROW", "WAGES", "MILESTONES"),
    "commonweight.audit.pools": ("SPLIT", "CAPITAL", "COMPUTE", "ACCUMULATOR", "POOLS"),
    "commonweight.audit.stakes": ("STAKES", "REGISTRY"),
    "commonweight.audit.disputes": ("DISPUTES",),
    "commonweight.audit.channels": ("CHANNELS", "VOUCHERS"),
    "commonweight.audit.replay": ("EVENTS", "BALANCES", "ANCHORS"),
    "commonweight.audit.deployment": ("CODE", "PARAMETERS"),
    "commonweight.audit.evidence": (
        "FILES", "DOCUMENTS", "WORK", "DRAWS", "CREDITS", "LEAVES", "EVALUATION", "STANDINGS", "ROUNDS", "MANIFEST",
        "OFFENCES",
    ),
    "commonweight.audit.lineage": ("EVIDENCE", "ROUNDS", "TRACES", "ATTESTED", "COPIES"),
    "commonweight.audit.deployed": ("CODE", "TRANSACTIONS", "SOURCES", "FACTORY"),
    "commonweight.audit.proof_check": ("PLACE", "DEPOSITS", "LEAF", "LISTED", "WORK"),
    "commonweight.cli.replaying": ("EVIDENCE", "DATA", "START", "STEPS"),
    "commonweight.cli.rescoring": ("SCORES", "LOSS"),
}  # fmt: skip
_GIVEN = re.compile(r"(?:expect|equal|unavailable|note|seen|checking|failed)\(\s*([A-Z]+)\b")


def test_the_page_names_every_check_and_no_other() -> None:
    named = {getattr(importlib.import_module(module), name) for module, names in CHECKS.items() for name in names}
    text = (ROOT / "docs" / "audit.md").read_text()
    rows = [row for row in re.findall(r"^\|(.*)\|$", text, re.MULTILINE) if "---" not in row]
    told = {check for row in rows for check in re.findall(r"`([a-z-]+)`", "|".join(row.split("|")[:-1]))}
    told |= set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", text))
    assert named <= told
    assert told - named <= {"ok", "refuted", "unavailable", "verified", "incomplete"}


def test_the_list_above_has_every_check_that_the_sources_give() -> None:
    sources = [*(ROOT / "commonweight" / "audit").glob("*.py"), *(ROOT / "commonweight" / "cli").glob("re*.py")]
    given = {name for path in sources for name in _GIVEN.findall(path.read_text())}
    assert given <= {name for names in CHECKS.values() for name in names}
