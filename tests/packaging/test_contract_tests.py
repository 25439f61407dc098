"""The contracts' own tests are complete: each function, error, event, refused parameter and attack has its test."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
CONTRACTS = ROOT / "contracts"
FORGE = ROOT / "tests" / "forge"
THREATS = ROOT / "docs" / "threat-model.md"
PARTS = (
    "Campaign", "CheckpointRegistry", "CreditLedger", "CreditOracle", "Disputes", "InferencePayments",
    "ProviderRegistry", "RevenueDistributor", "RunFactory",
)

# What the issue asks to be tried, each by the attack of docs/threat-model.md that does so.
ATTACKS = {
    "a report resubmitted": "test_attack_resubmittedReport",
    "a late report": "test_attack_lateReport",
    "a lapsed oracle": "test_attack_lapsedOracle",
    "a withheld tree": "test_attack_withheldTree",
    "omission": "test_attack_omission",
    "altered history": "test_attack_alteredHistory",
    "a smaller or larger depth": "test_attack_otherDepth",
    "an unregistered index": "test_attack_unregisteredIndex",
    "D changed with no new credits": "test_attack_debtWithNoNewCredits",
    "W changed with no new credits": "test_attack_wageWithNoNewCredits",
    "replay across chains": "test_attack_replayAcrossChains",
    "replay across contracts": "test_attack_replayAcrossContracts",
    "replay across runs": "test_attack_replayAcrossRuns",
    "replay across epoch, attempt and config": "test_attack_replayAcrossEpochsAttemptsAndConfigs",
    "signature malleability": "test_attack_malleableSignature",
    "self-challenge to save a bond": "test_attack_selfChallenge",
    "self-challenge by default": "test_attack_selfChallengeByDefault",
    "challenge spam": "test_attack_challengeSpam",
    "a last-second answer": "test_attack_lastSecondAnswer",
    "revenue before deposits close": "test_attack_revenueBeforeDepositsClose",
    "rounding theft": "test_attack_roundingTheft",
    "dust griefing": "test_attack_dustGriefing",
    "a late credit reaching for earlier revenue": "test_attack_lateCredit",
    "an index reused": "test_attack_indexReused",
    "an exit before a slash": "test_attack_exitBeforeSlash",
    "overflow at the ranges' ends": "test_attack_overflowAtTheEndsOfTheRanges",
    "growth of the accumulator": "test_attack_steepestAccumulator",
}


def _code(path: Path) -> str:
    """A source without its comments, so that a name in prose is no test."""
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)


def _tests() -> str:
    return "\n".join(_code(path) for path in sorted(FORGE.rglob("*.sol")))


def _declared(kind: str) -> Iterator[str]:
    for path in sorted(CONTRACTS.rglob("*.sol")):
        if "mocks" in path.parts:
            continue
        code = _code(path)
        owners = re.findall(r"^(?:abstract )?(?:contract|interface|library) (\w+)", code, flags=re.MULTILINE)
        for name in re.findall(rf"^\s*{kind} (\w+)\(", code, flags=re.MULTILINE):
            assert len(owners) == 1, f"{path.name}: whose is {name}?"
            yield f"{owners[0]}.{name}"


def _state_changing(part: str) -> set[str]:
    entries = json.loads((ROOT / "commonweight" / "abi" / f"{part}.json").read_text())
    abi = entries["abi"] if isinstance(entries, dict) else entries
    functions = [entry for entry in abi if entry["type"] == "function"]
    return {entry["name"] for entry in functions if entry["stateMutability"] in ("nonpayable", "payable")}


@pytest.mark.unit
def test_every_custom_error_is_expected_by_name() -> None:
    errors = list(_declared("error"))
    assert len(errors) > 80
    expects = r"(?:expectRevert|expectPartialRevert|encodeWithSelector)\(\s*(\w+\.\w+)\.selector"
    expected = set(re.findall(expects, _tests()))
    assert [error for error in errors if error not in expected] == []


@pytest.mark.unit
def test_every_event_is_expected_with_its_arguments() -> None:
    events = list(_declared("event"))
    assert len(events) > 55
    # What a test emits there stands for what it expects, and each belongs to the emitter named before it.
    sources = [FORGE / "support" / "EventLog.sol", *sorted((FORGE / "events").glob("*.t.sol"))]
    expected = set(re.findall(r"_by\([^;]+\);\s*emit (\w+\.\w+)\(", "\n".join(_code(path) for path in sources)))
    assert [event for event in events if event not in expected] == []


@pytest.mark.unit
def test_no_test_is_content_with_any_revert() -> None:
    bare = re.compile(r"expectRevert\(\s*\)\s*;")
    assert [str(path.relative_to(ROOT)) for path in FORGE.rglob("*.t.sol") if bare.search(_code(path))] == []


@pytest.mark.unit
def test_every_refused_parameter_is_tried() -> None:
    names = set(re.findall(r'BadParameter\("(\w+)"\)', _code(CONTRACTS / "RunFactory.sol")))
    tried = set(re.findall(r'_refused\(p, "(\w+)"\)', _code(FORGE / "RunFactory" / "createRun.t.sol")))
    assert names
    assert names - tried == set()


@pytest.mark.unit
@pytest.mark.parametrize("part", PARTS)
def test_every_state_changing_function_has_a_file_of_its_own(part: str) -> None:
    # One file tries the initialising of all parts.
    functions = _state_changing(part) - {"initialize"}
    files = {path.name.removesuffix(".t.sol") for path in (FORGE / part).glob("*.t.sol")}
    assert functions - files == set()


@pytest.mark.unit
def test_the_threat_model_names_tests_that_exist() -> None:
    named = set(re.findall(r"`((?:test|invariant)_\w+)`", THREATS.read_text()))
    there = set(re.findall(r"function ((?:test|invariant)_\w+)\(", _tests()))
    assert named - there == set()
    attacks = {name for name in there if name.startswith("test_attack_")}
    assert attacks - named == set(), "attacks that docs/threat-model.md does not name"


@pytest.mark.unit
def test_every_attack_that_the_issue_lists_is_tried() -> None:
    text = THREATS.read_text()
    assert {what: name for what, name in ATTACKS.items() if f"`{name}`" not in text} == {}
