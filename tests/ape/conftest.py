"""A deployed factory and a run for Ape's tests; Ape itself undoes every test."""

import pytest

from tests.run_parameters import PARTS, as_tuple, run_parameters


@pytest.fixture(scope="session")
def parts(accounts, project):
    """The implementations, by the name of their part."""
    return {part: accounts[0].deploy(getattr(project, contract)) for part, contract in PARTS.items()}


@pytest.fixture(scope="session")
def factory(accounts, project, parts):
    return accounts[0].deploy(project.RunFactory, {part: contract.address for part, contract in parts.items()})


@pytest.fixture
def parameters(accounts, chain, factory):
    """Makes the argument of createRun; keywords change single parameters."""
    (create_run,) = factory.createRun.abis
    components = [component.model_dump() for component in create_run.inputs[0].components]

    def make(**changes):
        signers = [account.address for account in accounts[1:4]]
        transmitters = [account.address for account in accounts[4:7]]
        return as_tuple(components, run_parameters(chain.pending_timestamp, signers, transmitters, **changes))

    return make


@pytest.fixture
def campaign(accounts, project, factory, parameters):
    """The campaign of a new run."""
    created = factory.createRun(parameters(), sender=accounts[0])
    (event,) = created.decode_logs(factory.RunCreated)
    return project.Campaign.at(event.campaign)
