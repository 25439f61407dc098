"""Signers and keys that change while work is under way: what was signed before stays signed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commonweight.chain import client
from commonweight.chain.keys import Key
from commonweight.chain.run import Run
from commonweight.errors import SignatureError
from commonweight.protocol.documents import Signed
from commonweight.protocol.keys import address_of
from commonweight.protocol.offices import Offices
from commonweight.protocol.records import sign_body
from oracle.db import Database
from oracle.phases import Finish
from oracle.verdicts import fitting
from oracle.watch import Watcher
from tests.chain.scenario import KEYS, make_world
from tests.oracle.office import DOMAIN, SIGNER_KEYS, SIGNERS, Chain, Crew, Office, commit
from tests.oracle.test_agree import Clerk, clerks, proposed, votes
from tests.oracle.test_coordinator import gather, play, until

__all__ = ["clerks"]

pytestmark = pytest.mark.unit

NEW_KEY = b"\x77" * 32
NO_REPLAY: dict[str, Any] = {"segment": None, "exact": False, "rel_l2": None, "norm_ratio": None}


@pytest.mark.chain
def test_the_view_has_every_signer_set_whenever_it_was_looked(anvil_url: str, tmp_path: Path) -> None:
    world = make_world(anvil_url, tmp_path / "nonces")
    world.fund()
    run = Run.at(client.Chain([anvil_url], confirmations=0), world.run.address)
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


async def test_draws_stay_those_of_the_signers_in_office_when_they_were_drawn(clerks: list[Clerk]) -> None:
    """Two more signers take office after the rounds: their checks were dealt among three."""
    for clerk in clerks:
        before = clerk.office.seat.db.draws(2)
        clerk.office.rotate(*SIGNERS, "0x" + "fe" * 20, "0x" + "ff" * 20)
        plan = clerk.office.desk.rounds.plan(2)
        assert plan is not None
        seed = await clerk.replaying.seed(plan.body)
        assert seed is not None
        await clerk.replaying._draw_round(plan, seed, clerk.office.desk.view)
        assert clerk.office.seat.db.draws(2) == before
    made = await proposed(clerks[0])
    assert made.rounds == [1, 2]
    await votes(clerks[1], SIGNERS[0], made.report, made.evidence)


async def test_verdicts_count_by_who_was_in_office_at_the_draw_or_later(clerks: list[Clerk]) -> None:
    clerk = clerks[0]
    true = clerk.reporting.verdicts(2)[0].body
    clerk.office.offices = Offices(((0, SIGNERS), (true.seed_block - 1, SIGNERS[:2]), (true.seed_block, SIGNERS[1:])))
    clerk.office.rotate(*SIGNERS[1:], address_of(NEW_KEY))
    for key in (*SIGNER_KEYS, NEW_KEY):
        said = replace(true, signer=address_of(key), check="structure", **NO_REPLAY)
        clerk.office.intake.accept(sign_body(said, key, DOMAIN))
    fit = {verdict.signer for verdict in fitting(clerk.office.desk, 2, member=true.index)}
    assert fit >= {*SIGNERS[1:], address_of(NEW_KEY)}
    assert SIGNERS[0] not in fit, "it had left before anything was drawn"


def test_who_comes_into_office_later_takes_draws_over_after_all_who_shared_them(tmp_path: Path) -> None:
    office = Office(tmp_path, Chain())
    newcomers = ("0x" + "00" * 20, "0x" + "ff" * 20)
    office.offices = Offices(((0, SIGNERS), (50, tuple(sorted((*SIGNERS[1:], *newcomers))))))
    view = office.view()
    assert [view.turns(signer, 1, 49) for signer in SIGNERS] == [2, 0, 1]
    assert [view.turns(signer, 1, 50) for signer in view.signers] == [3, 0, 1, 2]
    assert [view.turns(signer, 1, 49) for signer in newcomers] == [3, 6]


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


async def test_work_of_a_member_that_has_another_key_by_now_is_still_copied(tmp_path: Path) -> None:
    chain, crew = Chain(), {i: Crew(i) for i in range(3)}
    first, second = (Office(tmp_path, chain, position, max_rounds=1) for position in range(2))
    await play(first, crew)
    await until(first, Finish)
    chain.now_ms += 5000
    second.new_keys[0] = NEW_KEY
    second.look()
    for row in first.seat.db.documents_after(0, 1000):
        assert await second.collecting._take(Signed.from_bytes(row.signed), SIGNERS[0])
    second.look()
    await second.recount.step()
    assert second.recount.result(1) == "ok"
    assert [c.index for c in second.record(1).counted] == [0, 1, 2]


async def test_a_document_by_a_key_or_signer_not_seen_yet_waits_and_is_not_refused(clerks: list[Clerk]) -> None:
    """Another signer may have seen the block of a rotation first."""
    office = clerks[1].office
    true, result = clerks[0].reporting.verdicts(2)[0].body, office.desk.rounds.results(office.planned(2))[0].body
    by_signer = sign_body(replace(true, signer=address_of(NEW_KEY), check="structure", **NO_REPLAY), NEW_KEY, DOMAIN)
    by_member = sign_body(replace(result, members=result.members[1:]), NEW_KEY, DOMAIN)
    for document in (by_signer, by_member):
        assert not await office.collecting._take(document, SIGNERS[0])
    office.new_keys[result.reducer] = NEW_KEY
    office.rotate(*SIGNERS, address_of(NEW_KEY))
    for document in (by_signer, by_member):
        assert await office.collecting._take(document, SIGNERS[0])
    kept = [verdict.digest for verdict in office.desk.rounds.verdicts(2)]
    assert by_signer.digest in kept


async def test_a_member_commits_by_its_present_key_only(tmp_path: Path) -> None:
    office, crew = Office(tmp_path, Chain()), {i: Crew(i) for i in range(3)}
    await gather(office, crew)
    office.new_keys[0] = NEW_KEY
    office.look()
    with pytest.raises(SignatureError, match="present key"):
        await commit(office, crew[0])
    assert office.desk.rounds.commitments(office.planned(1)) == {}
