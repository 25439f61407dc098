"""The wrappers, events, structs and explanations cover the committed ABIs, neither less nor more."""

from __future__ import annotations

import ast
import dataclasses
import inspect

import pytest

from commonweight.chain import contracts, structs
from commonweight.chain.abi import Interface, all_errors, interface, snake
from commonweight.chain.contracts.base import Contract
from commonweight.chain.events import ChainEvent, event_types
from commonweight.chain.explanations import EXPLANATIONS

pytestmark = pytest.mark.unit
WRAPPERS: list[type[Contract]] = [getattr(contracts, name) for name in contracts.__all__ if name != "Asset"]
# What only another contract of the run may call, or what a struct that is read as a whole holds already.
INTERNAL = {
    "Campaign": {"initialize", "reserve", "settleEpoch"},
    "ProviderRegistry": {"ban", "setChallenged", "slash"},
    "CreditOracle": {"initialize", "voidByFraud", "requireQuorum", "voidUnanswered", "slashSigners", "holdReport"},
    "CreditLedger": {"record", "revoke"},
    "CheckpointRegistry": {"append"},
    "RevenueDistributor": {"receiveWages", "closeEpoch", "finish", "awaitWages", "addDebt"},
    "InferencePayments": set(),
    "Disputes": set(),
    "RunFactory": set(),
}
READERS = {"_one": 1, "_named": 1, "_send": 0, "_pay": 1}


def wrapped_calls(wrapper: type[Contract]) -> list[tuple[str, int]]:
    """(function, number of arguments) of each call in the wrapper's source."""
    found = []
    for source in (inspect.getsource(c) for c in wrapper.__mro__ if issubclass(c, Contract) and c is not Contract):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in READERS:
                skip = READERS[node.func.attr]
                name = node.args[skip]
                if isinstance(name, ast.Constant):
                    found.append((str(name.value), len(node.args) - skip - 1))
    return found


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda w: w.__name__)
def test_every_wrapped_function_is_in_the_abi_with_that_many_arguments(wrapper: type[Contract]) -> None:
    calls = wrapped_calls(wrapper)
    assert calls
    for name, arity in calls:
        interface(wrapper.CONTRACT).function(name, arity)


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda w: w.__name__)
def test_every_public_function_of_the_abi_is_wrapped(wrapper: type[Contract]) -> None:
    wrapped = {name for name, _ in wrapped_calls(wrapper)}
    assert set(interface(wrapper.CONTRACT).functions) - wrapped == INTERNAL[wrapper.CONTRACT]


def test_every_event_of_the_abis_is_known_with_its_fields() -> None:
    place = {f.name for f in dataclasses.fields(ChainEvent)}
    known = event_types()
    found = set()
    for wrapper in WRAPPERS:
        for name, event in interface(wrapper.CONTRACT).events.items():
            key = (wrapper.CONTRACT, name) if (wrapper.CONTRACT, name) in known else ("", name)
            fields = [f.name for f in dataclasses.fields(known[key]) if f.name not in place]
            assert fields == [snake(i["name"]) for i in event.inputs], name
            found.add(key)
    assert found == set(known)


def test_every_struct_of_the_abis_has_the_same_fields() -> None:
    found = set()
    for wrapper in WRAPPERS:
        for name, components in _structs(interface(wrapper.CONTRACT)):
            kind = getattr(structs, {"Verdict": "DisputeVerdict"}.get(name, name))
            fields = [f.name for f in dataclasses.fields(kind)]
            if name in (
                "Ban",
                "Rotation",
                "Verdict",
            ):  # the signed struct also binds the configuration, which the contract fills in
                fields.remove("config_digest")
            assert fields == [snake(c["name"]) for c in components], name
            found.add(name)
    assert {"RunParams", "Report", "EpochInfo", "Leaf", "VoucherClaim"} <= found


def _structs(contract: Interface) -> list[tuple[str, list[dict[str, str]]]]:
    found = []
    for functions in contract.functions.values():
        for function in functions:
            for item in (*function.inputs, *function.outputs):
                if item["type"].startswith("tuple"):
                    name = item["internalType"].removeprefix("struct ").removesuffix("[]").rpartition(".")[2]
                    found.append((name, item["components"]))
    return found


def test_every_error_of_the_abis_is_explained() -> None:
    names = {error.name for error in all_errors().values()}
    tokens = {name for name in names if name.startswith(("ERC20", "ERC2612", "Mock", "InvalidAccountNonce"))}
    assert names - tokens - set(EXPLANATIONS) == set()
    assert set(EXPLANATIONS) - names == set()
    assert all(why and fix for why, fix in EXPLANATIONS.values())
