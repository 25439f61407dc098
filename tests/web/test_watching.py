"""The round under way, as a real signer tells it to the site and the site to the page."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from commonweight.cli.dashboard import Live
from commonweight.cli.watching import Watch
from commonweight.errors import ChainError
from commonweight.net import Identity
from oracle.phases import SendAnchor
from tests.oracle.office import DOMAIN, RUN, SIGNERS, Chain, Crew, Office, commit
from tests.oracle.test_coordinator import gather, until
from tests.web.conftest import Sites, Stage, Visit

SESSION = pytest.mark.asyncio(loop_scope="session")
MakeWatch = Callable[[dict[str, str]], Watch]


@pytest.fixture
def make_watch() -> MakeWatch:
    """A watch on signers by address."""
    return lambda signers: Watch(Identity(os.urandom(32), RUN, DOMAIN, "observer"), signers)


@pytest_asyncio.fixture(loop_scope="session")
async def signer(tmp_path: Path) -> AsyncIterator[str]:
    """Where a signer listens in whose round two of three members have handed in their work."""
    office, crew = Office(tmp_path, Chain()), {i: Crew(i) for i in range(3)}
    await gather(office, crew)
    await commit(office, crew[0])
    await commit(office, crew[1])
    await until(office, SendAnchor)
    server = office.api.server()
    host, port = await server.start("127.0.0.1", 0)
    yield f"{host}:{port}"
    await server.close()


@pytest.mark.unit
@SESSION
async def test_the_coordinators_word_counts_and_is_asked_for_rarely(signer: str, make_watch: MakeWatch) -> None:
    watch = make_watch({SIGNERS[1]: "127.0.0.1:1", SIGNERS[0]: signer})
    told = await asyncio.to_thread(watch.told)
    assert told["signer"] == told["coordinator"] == SIGNERS[0]
    states = [{"index": i, "state": "committed" if i < 2 else "training"} for i in range(3)]
    assert told["members"] == states
    assert await asyncio.to_thread(watch.told) is told


@pytest.mark.unit
@SESSION
async def test_why_nothing_is_known_is_told(signer: str, make_watch: MakeWatch) -> None:
    silent = make_watch({SIGNERS[0]: "127.0.0.1:1"})
    assert "127.0.0.1:1" in str((await asyncio.to_thread(silent.told))["error"])
    stranger = make_watch({SIGNERS[1]: signer})  # another key answers there
    assert (await asyncio.to_thread(stranger.told))["error"]
    assert "--peers" in str((await asyncio.to_thread(make_watch({}).told))["error"])

    def fail() -> Watch:
        raise ChainError("The chain does not answer.")

    assert Live(fail).told() == {"error": "The chain does not answer."}


_WORDS = """(rows) => rows.map((row) =>
    [...row.childNodes].filter((n) => !/sign|note/.test(n.className)).map((n) => n.textContent).join("").trim()
)"""


@pytest.mark.browser
@SESSION
async def test_the_page_shows_the_round_under_way(
    signer: str, make_watch: MakeWatch, stage_now: Stage, sites: Sites, visit: Visit
) -> None:
    live = Live(lambda: make_watch({SIGNERS[0]: signer}))
    await visit.go(sites.serve(stage_now.staged.world, stage_now.staged.store, live), "training")
    await visit.see("A signer says: round 1", "#live-now")
    await visit.page.wait_for_selector("#members table .member.committed")
    await visit.page.wait_for_selector("#members table .member.missing")  # from the evidence, which comes on its own
    words = await visit.page.locator("#members table .member").evaluate_all(_WORDS)
    assert words == ["handed in", "handed in", "in the round", "missing"]


@pytest.mark.browser
@SESSION
async def test_a_signer_that_does_not_answer_is_named_as_missing(
    make_watch: MakeWatch, stage_now: Stage, sites: Sites, visit: Visit
) -> None:
    live = Live(lambda: make_watch({SIGNERS[0]: "127.0.0.1:1"}))
    await visit.go(sites.serve(stage_now.staged.world, stage_now.staged.store, live), "training")
    await visit.see("The state within the round cannot be had", "#live-missing")
    await visit.see("counted", "#members table")  # what is published is still there
