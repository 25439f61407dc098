"""`provider credits --explain`: why each credit was given or not, who checked, and where the evidence is."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from commonweight.chain.ledger_view import LedgerView
from commonweight.cli.earning import _silent
from commonweight.cli.explaining import explain, notes, rows
from commonweight.cli.main import execute
from commonweight.store import FolderStore, parse_cid
from tests.audit.staging import Staged
from tests.chain.scenario import KEYS, SIGNERS
from tests.cli.schema import command_of, differences, schemas

pytestmark = pytest.mark.chain


def test_a_provider_sees_why_each_credit_was_given_or_not(run: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["provider", "credits", KEYS[4].address, "--run", run.run.address, "--rpc", run.world.url,
                 "--store", str(run.store.folder), "--explain"]  # fmt: skip
    monkeypatch.setenv("COMMONWEIGHT_STATE_DIR", str(run.store.folder.parent / "state"))
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert execute([*arguments, "--json"]) == 0
    body = json.loads(said.getvalue())
    assert differences(schemas()[command_of(arguments)], body) == []
    first, second = body["epochs"]
    assert [entry["given"] for entry in first["rounds"]] == [True, True]
    assert [(entry["given"], entry["why"]) for entry in second["rounds"]] == [(False, "missing: no-commitment")] * 2
    assert first["credited"] == str(sum(int(entry["credits"]) for entry in first["rounds"])) != "0"
    for entry in first["rounds"]:
        checks = {check["check"]: check for check in entry["checks"]}
        assert set(checks) == {"replay", "contribution"}
        assert checks["contribution"]["scores"]["lead_micro"] == 14_000
        directory = parse_cid(first["evidence"]["cid"])
        for path in [entry["record"], *entry["commitments"], *(check["evidence"] for check in entry["checks"])]:
            assert run.store.get_file(directory, path)
    human = io.StringIO()
    with contextlib.redirect_stdout(human):
        assert execute(arguments) == 0
    words = " ".join(human.getvalue().split())
    assert "missing: no-commitment" in words
    assert first["evidence"]["cid"] in words


def test_silent_reports_are_told_from_none_at_all() -> None:
    assert _silent(2, 0, 3) == _silent(0, 0, 3) == "No report says anything of provider 0 yet."
    assert _silent(9, 0, 3) == "The last 3 reports say nothing of provider 0; --epochs N goes further back."
    assert _silent(9, 0, 1).startswith("The last report says nothing of provider 0;")


def test_a_pending_report_is_explained_too_with_its_signers(closed_run: Staged) -> None:
    closed_run.report(1)
    told = explain(LedgerView.of(closed_run.run), closed_run.store, 0, 1)
    assert [epoch["state"] for epoch in told] == ["open to challenge"]
    named = " ".join(str(row[5]) for row in rows(told))
    assert any(signer.address.lower()[:10] in named for signer in SIGNERS)
    assert all("credits listed" in line for line in notes(told))


def test_evidence_that_is_gone_or_altered_is_named_and_explains_nothing(run: Staged, tmp_path: Path) -> None:
    view = LedgerView.of(run.run)
    empty = FolderStore(tmp_path / "empty")
    told = explain(view, empty, 0, 9)
    assert [bool(epoch["unread"]) for epoch in told] == [True, True]
    assert all("rounds" not in epoch for epoch in told)
    assert all("not readable" in str(row[4]) for row in rows(told))
    event = view.reports[1]
    view.reports[1] = replace(event, report=replace(event.report, evidence_sha256=b"\x01" * 32))  # type: ignore[index]
    assert explain(view, run.store, 0, 1)[0]["unread"]
    shutil.rmtree(tmp_path / "empty")
