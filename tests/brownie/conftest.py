"""A deployed factory and a run for Brownie's tests; each test starts from the same chain state."""

import pytest
from brownie import chain

from tests.run_parameters import PARTS, as_tuple, run_parameters


@pytest.fixture(autouse=True)
def isolation(fn_isolation):
    """Every test is undone."""


@pytest.fixture(scope="module")
def parts(accounts, request):
    """The implementations, by the name of their part."""
    import brownie

    project = brownie.project.get_loaded_projects()[0]
    return {part: accounts[0].deploy(project[contract]) for part, contract in PARTS.items()}


@pytest.fixture(scope="module")
def factory(accounts, parts, RunFactory):
    return accounts[0].deploy(RunFactory, tuple(part.address for part in parts.values()))


@pytest.fixture(scope="module")
def parameters(accounts, RunFactory):
    """Makes the argument of createRun; keywords change single parameters."""
    components = next(entry for entry in RunFactory.abi if entry.get("name") == "createRun")["inputs"][0]["components"]

    def make(**changes):
        signers = [account.address for account in accounts[1:4]]
        transmitters = [account.address for account in accounts[4:7]]
        # Not chain.time(): after a snapshot is restored, Anvil goes on from the time of its last block.
        return as_tuple(components, run_parameters(chain[-1].timestamp, signers, transmitters, **changes))

    return make


@pytest.fixture
def campaign(accounts, factory, parameters, Campaign):
    """The campaign of a new run."""
    created = factory.createRun(parameters(), {"from": accounts[0]})
    return Campaign.at(created.events["RunCreated"]["campaign"])
