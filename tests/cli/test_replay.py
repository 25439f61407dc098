"""`audit replay` does providers' work again from the published files, `audit scores` measures signers' scores again.

Honest ones come out bit for bit, and who lied is found.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from commonweight.audit.lineage import load_checkpoint
from commonweight.audit.payloads import published_payload
from commonweight.audit.settings import AuditSettings
from commonweight.cli.replaying import decoded_payload, replay_work
from commonweight.cli.rescoring import LOSS, SCORES, rescore
from commonweight.errors import UsageError
from commonweight.exact.arrays import F32
from commonweight.exact.round import recompute_round
from commonweight.protocol.contribution import judge
from commonweight.protocol.records import Plan, Record
from tests.cli.conftest import InProcess, User
from tests.cli.schema import differences, schemas
from tests.cli.trained import Trained, trained_run
from trainer.inner import InnerOptimizer
from trainer.scoring import Update, score

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
    (tmp_path / "empty").mkdir()
    found = replay_work(settings_of(trained, tmp_path / "empty"), "0")
    assert found.exit_code == 3


def test_as_a_command(trained: Trained, user: User, quick_user: InProcess) -> None:
    arguments = ("audit", "replay", "--run", trained.run.address, "--rpc", trained.world.url, "--confirmations", "0")
    arguments += ("--store", str(trained.store.folder))
    done = user.run(*arguments, "--provider", "0", "--round", "1", "--json")
    assert done.code == 0
    assert done.json["verdict"] == "verified"
    refuted = quick_user.run("audit", "scores", *arguments[2:], "--provider", "2", "--round", "3")
    assert refuted.code == 1
    assert "own_gain_micro" in refuted.out
    assert refuted.out.rstrip().endswith("refuted")


# --- scores ----------------------------------------------------------------------------------------------------------


def test_a_false_score_that_fits_its_outcome_is_found(trained: Trained) -> None:
    found, measured = rescore(settings_of(trained))
    refuted = [check for check in found.checks if check.verdict == "refuted"]
    assert [(check.name, check.subject) for check in refuted] == [(SCORES, "round 3"), (LOSS, "epoch 1")]
    assert "provider 2 by signer 0x" in refuted[0].detail
    assert "own_gain_micro is " in refuted[0].detail
    assert "heldout_gain_micro" not in refuted[0].detail
    shown = {(each.verdict.round, each.verdict.index): each for each in measured}
    assert [place for place, each in shown.items() if not each.agrees] == [(3, 2)]
    lie = shown[3, 2].to_json()
    assert differences(schemas()["audit", "scores"]["scores"][0], lie) == []
    assert dict(shown[3, 2].verdict.scores)["own_gain_micro"] - shown[3, 2].scores.own_gain == 500_000
    assert lie["outcome"] == "pass"
    notes = next(check.detail for check in found.checks if check.subject == "round 4")
    assert "provider 0 by signer 0x" in notes
    assert ": within 1500 micro-nats" in notes
    assert notes.count(": equal") == 2  # no more than three notes are shown


def test_a_made_up_loss_is_found(trained: Trained) -> None:
    by_name = {(check.name, check.subject): check for check in rescore(settings_of(trained), epoch=0)[0].checks}
    assert by_name[LOSS, "epoch 0"].verdict == "ok", "within the tolerance"
    by_name = {(check.name, check.subject): check for check in rescore(settings_of(trained), epoch=1)[0].checks}
    assert by_name[LOSS, "epoch 1"].verdict == "refuted"
    said, measured = map(int, re.findall(r"\d+", by_name[LOSS, "epoch 1"].detail))
    assert measured - said == 500_000
    assert not [check for check in rescore(settings_of(trained), number=3)[0].checks if check.name == LOSS]


def test_noise_of_the_honest_norm_is_refused_by_its_score(trained: Trained) -> None:
    """It neither helps nor hurts, but the round's update does, of which it does not even do an eighth."""
    files = trained.rounds[1][4]
    plan, record = Plan.from_body(files.plan.body), Record.from_body(files.record.body)
    base = load_checkpoint(trained.store, trained.layout, plan.base, plan.base_cid)
    payloads = {
        entry.index: published_payload(trained.store, trained.layout, plan, entry.index, entry.payload_cid)
        for entry in record.counted
    }
    parts = recompute_round(trained.config, plan, record, base, payloads).parts
    reference, honest = np.concatenate([part.x for part in parts]), decoded_payload(payloads[0], plan, trained.layout)
    noise = np.random.default_rng(4).normal(size=honest.size).astype(np.float32)
    noise *= np.float32(np.linalg.norm(honest) / np.linalg.norm(noise))
    optimizer, steps = InnerOptimizer(trained.config), record.counted[0].steps

    def judged(payload: F32) -> str:
        update = Update(base.weights, payload, reference)
        found = score(optimizer.model, trained.corpus, trained.config, plan, 0, steps, b"\x07" * 32, update)
        return judge(found, trained.config.verification)

    assert judged(honest) == ""
    assert judged(np.float32(0.5) * honest) == ""  # half of the work is found by replays alone
    assert judged(noise) == "the payload does less than an eighth of its steps' share in the round's update"


def test_honest_scores_come_out_to_the_micro_nat(trained: Trained) -> None:
    found, measured = rescore(settings_of(trained), number=2, provider="1")
    assert found.verdict == "verified", found.checks
    assert [(m.verdict.round, m.verdict.index) for m in measured] == [(2, 1)]
    assert measured[0].scores.named() == measured[0].verdict.scores


def test_a_score_whose_payload_is_gone_is_incomplete_by_name(trained: Trained, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(trained.store.folder, store)
    record = Record.from_body(trained.rounds[0][2].record.body)
    cid = record.counted[0].payload_cid
    next(store.rglob(cid)).unlink()
    found, measured = rescore(settings_of(trained, store), epoch=0)
    assert found.exit_code == 3
    assert {m.verdict.round for m in measured} == {1}
    assert cid in next(c.detail for c in found.checks if c.verdict == "unavailable")


@pytest.mark.parametrize(("epoch", "number"), [(7, None), (0, 3)])
def test_scores_of_what_was_never_reported_are_a_usage_error(
    trained: Trained, epoch: int | None, number: int | None
) -> None:
    with pytest.raises(UsageError, match=r"no report that counts|not in"):
        rescore(settings_of(trained), epoch, number)
