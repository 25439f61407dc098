"""Signers and keys that change while work is under way: what was signed before stays signed."""

from pathlib import Path

import pytest

from commonweight.chain.client import Chain
from commonweight.chain.keys import Key
from commonweight.chain.run import Run
from commonweight.protocol.offices import Offices
from oracle.db import Database
from oracle.watch import Watcher
from tests.chain.scenario import KEYS, make_world
from tests.oracle.office import SIGNERS
from tests.oracle.test_agree import Clerk, clerks, proposed, votes

__all__ = ["clerks"]

pytestmark = pytest.mark.unit


@pytest.mark.chain
def test_the_view_has_every_signer_set_whenever_it_was_looked(anvil_url: str, tmp_path: Path) -> None:
    world = make_world(anvil_url, tmp_path / "nonces")
    world.fund()
    run = Run.at(Chain([anvil_url], confirmations=0), world.run.address)
    db, watcher = Database(tmp_path / "data", run=run.address, signer=SIGNERS[0]), Watcher(run)
    first = watcher.look(None)
    assert first is not None
    assert first.view.offices == Offices(((run.first_block, first.view.signers),))
    watcher.apply(first, db)
    world.rotate(*KEYS[5:7], Key.from_hex("0x" + "77" * 32))
    rotated = run.chain.block_number()
    second, fresh = watcher.look(first.view), Watcher(run).look(None)
    assert second is not None
    assert fresh is not None
    assert second.view.offices.sets == (*first.view.offices.sets, (rotated, second.view.signers))
    assert fresh.view.offices == second.view.offices
    assert second.view.offices.ever == {*first.view.signers, *second.view.signers}


async def test_rounds_of_a_coordinator_that_left_office_are_reported(clerks: list[Clerk]) -> None:
    for clerk in clerks:
        clerk.office.rotate(*SIGNERS[1:])
    made = await proposed(clerks[1])
    assert made.rounds == [1, 2]
    assert made.report.epoch_credits > 0
    await votes(clerks[2], SIGNERS[1], made.report, made.evidence)


async def test_documents_of_a_signer_that_left_office_are_still_copied(clerks: list[Clerk]) -> None:
    """A signer that begins anew after the rotation copies the log of another."""
    source, office = clerks[1].office, clerks[2].office
    rows = source.seat.db.documents_after(0, 10_000)
    signed = {row.digest for row in rows if row.signer == SIGNERS[0]}
    office.seat.db.write("DELETE FROM documents")
    office.crash()
    clerk = Clerk(office)
    office.rotate(*SIGNERS[1:])
    clerk.copy_from(source)
    assert signed
    assert signed == {row.digest for row in office.seat.db.documents_after(0, 10_000) if row.signer == SIGNERS[0]}
