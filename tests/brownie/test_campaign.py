"""What a contract developer does first with Brownie: create a run, fund it, see it fail and take the money back."""

import pytest
from brownie import Wei, chain, reverts

from tests.run_parameters import DEPOSIT_S


def test_the_factory_wires_a_run_of_its_own_clones(accounts, factory, parts, parameters, Campaign):
    created = factory.createRun(parameters(), {"from": accounts[0]})
    event = created.events["RunCreated"]
    assert event["creator"] == accounts[0]
    assert factory.isRun(event["campaign"])
    addresses = Campaign.at(event["campaign"]).addresses()
    assert addresses[0] == event["campaign"]
    assert len(set(addresses)) == len(parts)
    assert not set(addresses) & {part.address for part in parts.values()}
    assert created.gas_used < 16_700_000


@pytest.mark.parametrize(("name", "value"), [("goal", 0), ("cap", 1), ("tailEpochs", 1), ("epochLength", 60)])
def test_the_factory_refuses_parameters_that_it_cannot_keep(accounts, factory, parameters, name, value):
    with reverts(f"BadParameter: {name.encode().ljust(32, bytes(1))!r}"):
        factory.createRun(parameters(**{name: value}), {"from": accounts[0]})


def test_deposits_add_up_to_what_was_raised(accounts, campaign):
    for funder, amount in [(7, "1 ether"), (8, "2 ether"), (7, "0.5 ether")]:
        campaign.deposit(Wei(amount), {"from": accounts[funder], "value": amount})
    assert campaign.raised() == campaign.balance() == Wei("3.5 ether")
    assert campaign.contributionOf(accounts[7]) == Wei("1.5 ether")
    assert campaign.contributionOf(accounts[8]) == Wei("2 ether")


def test_a_run_below_its_goal_gives_everything_back_once(accounts, campaign):
    before = accounts[8].balance()
    campaign.deposit("2 ether", {"from": accounts[8], "value": "2 ether"})
    with reverts("NotFailed: "):
        campaign.refund({"from": accounts[8]})
    chain.sleep(DEPOSIT_S + 1)
    chain.mine()
    assert campaign.failed()
    refund = campaign.refund({"from": accounts[8]})
    assert refund.events["Refunded"]["amount"] == Wei("2 ether")
    assert campaign.balance() == 0
    with reverts("NothingDue: "):
        campaign.refund({"from": accounts[8]})
    assert before > accounts[8].balance() > before - Wei("0.1 ether")


def test_no_deposit_over_the_cap_or_after_the_deadline(accounts, campaign):
    with reverts(f"CapExceeded: {Wei('10 ether')}"):
        campaign.deposit("11 ether", {"from": accounts[7], "value": "11 ether"})
    chain.sleep(DEPOSIT_S + 1)
    chain.mine()
    with reverts("DepositsClosed: "):
        campaign.deposit("1 ether", {"from": accounts[7], "value": "1 ether"})
