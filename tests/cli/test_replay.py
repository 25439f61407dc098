"""`audit replay`: what providers did is done again from the published files, bit for bit, and cheats are found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from commonweight.audit.settings import AuditSettings
from commonweight.cli.replaying import replay_work
from commonweight.errors import UsageError
from tests.cli.conftest import User
from tests.cli.trained import Trained, trained_run

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """Two epochs of two rounds, both final."""
    with trained_run(tmp_path_factory.mktemp("replay")) as staged:
        yield staged


def settings_of(staged: Trained, store: Path | None = None) -> AuditSettings:
    return AuditSettings(staged.run.address, (staged.world.url,), str(store or staged.store.folder), 0)


@pytest.mark.parametrize(("provider", "number"), [("0", None), ("0", 1), ("3", 4), ("1", 1)])
def test_honest_work_comes_out_bit_for_bit(trained: Trained, provider: str, number: int | None) -> None:
    found = replay_work(settings_of(trained), provider, number)
    assert found.verdict == "verified", found.checks
    last = [c for c in found.checks if c.name == "steps-replayed"][-1]
    assert "bit for bit" in last.detail
    assert last.subject == f"round {number or 4}"


def test_an_account_names_its_provider(trained: Trained) -> None:
    account = trained.run.registry.account_of(0)
    assert replay_work(settings_of(trained), account, 2).verdict == "verified"


def test_steps_that_were_skipped_are_found(trained: Trained) -> None:
    found = replay_work(settings_of(trained), "1", 2)
    assert found.verdict == "refuted"
    assert "not what these steps lead to" in next(c.detail for c in found.checks if c.verdict == "refuted")


def test_a_scaled_payload_is_found(trained: Trained) -> None:
    assert replay_work(settings_of(trained), "2", 2).verdict == "refuted"


def test_after_work_that_is_not_exact_a_start_is_not_known(trained: Trained) -> None:
    """Its later rounds continue a state that cannot be recomputed: never verified, and never blamed for it either."""
    found = replay_work(settings_of(trained), "1", 3)
    by_subject = {(c.name, c.subject): c.verdict for c in found.checks}
    assert by_subject["steps-replayed", "round 2"] == "refuted"
    assert by_subject["start-state", "round 3"] == "unavailable"
    assert by_subject["steps-replayed", "round 3"] != "refuted"


def test_work_that_was_never_published_is_said_so(trained: Trained) -> None:
    with pytest.raises(UsageError, match="no published work in round 9"):
        replay_work(settings_of(trained), "0", 9)


def test_what_cannot_be_had_is_incomplete(trained: Trained, tmp_path: Path) -> None:
    found = replay_work(settings_of(trained, tmp_path / "empty"), "0")
    assert found.exit_code == 3


def test_as_a_command(trained: Trained, user: User) -> None:
    arguments = ("audit", "replay", "--run", trained.run.address, "--rpc", trained.world.url, "--confirmations", "0")
    arguments += ("--store", str(trained.store.folder))
    done = user.run(*arguments, "--provider", "0", "--round", "1", "--json")
    assert done.code == 0
    assert done.json["verdict"] == "verified"
    refuted = user.run(*arguments, "--provider", "1", "--round", "2")
    assert refuted.code == 1
    assert refuted.out.rstrip().endswith("refuted")
