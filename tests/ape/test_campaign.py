"""What a contract developer does first with Ape: create a run, fund it, see it fail and take the money back."""

import ape
import pytest

from tests.run_parameters import DEPOSIT_S, ETHER


def test_the_factory_wires_a_run_of_its_own_clones(accounts, project, factory, parts, parameters):
    created = factory.createRun(parameters(), sender=accounts[0])
    (event,) = created.decode_logs(factory.RunCreated)
    assert event.creator == accounts[0]
    assert factory.isRun(event.campaign)
    addresses = project.Campaign.at(event.campaign).addresses()
    assert addresses.campaign == event.campaign
    assert len(set(addresses)) == len(parts)
    assert not set(addresses) & {part.address for part in parts.values()}
    assert created.gas_used < 16_700_000


@pytest.mark.parametrize(("name", "value"), [("goal", 0), ("cap", 1), ("tailEpochs", 1), ("epochLength", 60)])
def test_the_factory_refuses_parameters_that_it_cannot_keep(accounts, factory, parameters, name, value):
    with ape.reverts(factory.BadParameter, name=name.encode().ljust(32, bytes(1))):
        factory.createRun(parameters(**{name: value}), sender=accounts[0])


def test_deposits_add_up_to_what_was_raised(accounts, campaign):
    for funder, amount in [(7, ETHER), (8, 2 * ETHER), (7, ETHER // 2)]:
        campaign.deposit(amount, sender=accounts[funder], value=amount)
    assert campaign.raised() == campaign.balance == 7 * ETHER // 2
    assert campaign.contributionOf(accounts[7]) == 3 * ETHER // 2
    assert campaign.contributionOf(accounts[8]) == 2 * ETHER


def test_a_run_below_its_goal_gives_everything_back_once(accounts, chain, campaign):
    before = accounts[8].balance
    campaign.deposit(2 * ETHER, sender=accounts[8], value=2 * ETHER)
    with ape.reverts(campaign.NotFailed):
        campaign.refund(sender=accounts[8])
    chain.mine(deltatime=DEPOSIT_S + 1)
    assert campaign.failed()
    refund = campaign.refund(sender=accounts[8])
    (event,) = refund.decode_logs(campaign.Refunded)
    assert event.amount == 2 * ETHER
    assert campaign.balance == 0
    with ape.reverts(campaign.NothingDue):
        campaign.refund(sender=accounts[8])
    assert before > accounts[8].balance > before - ETHER // 10


def test_no_deposit_over_the_cap_or_after_the_deadline(accounts, chain, campaign):
    with ape.reverts(campaign.CapExceeded, room=10 * ETHER):
        campaign.deposit(11 * ETHER, sender=accounts[7], value=11 * ETHER)
    chain.mine(deltatime=DEPOSIT_S + 1)
    with ape.reverts(campaign.DepositsClosed):
        campaign.deposit(ETHER, sender=accounts[7], value=ETHER)
