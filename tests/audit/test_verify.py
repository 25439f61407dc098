"""`audit verify` on a whole run: verified when all is true, and each falsehood refuted under its own name."""

from __future__ import annotations

import gc
import sqlite3
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from commonweight.audit.findings import AuditReport
from commonweight.audit.verify import verify
from commonweight.chain.client import Chain
from commonweight.chain.events import ReportSubmitted
from commonweight.chain.keys import Key
from commonweight.chain.local import start_local
from commonweight.errors import ChainError, Incomplete, UsageError
from commonweight.protocol.canonical import dumps, loads_object
from commonweight.protocol.documents import Signed, sign
from commonweight.protocol.evidence import Evidence, RoundFiles
from commonweight.protocol.outcome_documents import Verdict
from commonweight.protocol.standing import Standing
from commonweight.protocol.typed import keccak256
from commonweight.store import FolderStore, parse_cid
from tests.audit.conftest import settings_of
from tests.audit.staging import Staged, Tamper, stage
from tests.chain.scenario import ETHER, KEYS, SIGNERS, make_world

pytestmark = [pytest.mark.chain, pytest.mark.timeout(600)]


def problems(report: AuditReport) -> dict[tuple[str, str], str]:
    return {(check.name, check.subject): check.verdict for check in report.checks if check.verdict != "ok"}


def test_a_true_run_is_verified(run: Staged) -> None:
    steps: list[tuple[str, int, int]] = []
    report = verify(settings_of(run), lambda *step: steps.append(step))
    assert [check for check in report.checks if check.verdict != "ok"] == []
    assert (report.verdict, report.exit_code) == ("verified", 0)
    assert report.block == run.run.chain.block_number()
    assert steps
    printed = report.to_json()
    assert printed["verdict"] == "verified"
    assert printed["block_hash"] == "0x" + run.run.chain.block(report.block).hash.hex()


def test_a_run_under_way_is_verified(closed_run: Staged) -> None:
    assert problems(verify(settings_of(closed_run))) == {}
    closed_run.report(1)
    report = verify(settings_of(closed_run))
    assert problems(report) == {}
    assert ("roots", "epoch 1") in {(check.name, check.subject) for check in report.checks}


def test_a_true_run_on_ganache_is_verified(tmp_path: Path) -> None:
    with start_local("ganache", directory=tmp_path / "chain", block_time_s=None) as chain:
        staged = stage(chain.url, tmp_path)
        staged.play_epoch(0)
        staged.report(0)
        staged.world.finalize(0)
        staged.serve(10**15)
        staged.claim_all()
        assert problems(verify(settings_of(staged))) == {}


def test_a_void_epoch_and_the_end_of_a_run_are_verified(run: Staged) -> None:
    params = run.run.params
    for epoch in (2, 3):
        run.world.close(epoch)
        run.world.warp(run.run.oracle.epoch_info(epoch).closed_at + params.report_span + 1)
        run.run.oracle.void_epoch(epoch)
    run.serve(10**15)
    run.claim_all()
    for funder in (0, 8, 9):
        run.world.by(funder).campaign.claim_unspent()
    assert problems(verify(settings_of(run))) == {}


def test_a_failed_campaign_with_refunds_is_verified(tmp_path: Path) -> None:
    with start_local("anvil", directory=tmp_path / "chain", block_time_s=None) as chain:
        world = make_world(chain.url, tmp_path / "nonces", goal=9 * ETHER)
        world.fund(ETHER)
        world.run.campaign.refund()
        staged = Staged(world, FolderStore(tmp_path / "store"), None, None, None, "", "")  # type: ignore[arg-type]
        report = verify(settings_of(staged))
    assert set(problems(report)) == {("run-configuration", "")}  # nothing was published
    assert report.exit_code == 3


def test_an_index_on_disk_is_read_on(run: Staged, tmp_path: Path) -> None:
    settings = settings_of(run, data_dir=tmp_path / "index")
    assert verify(settings).verdict == "verified"
    run.serve(10**14)
    assert verify(settings).verdict == "verified"
    (path,) = (tmp_path / "index").iterdir()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'block_hash'", ("00" * 32,))  # another branch of the chain
        db.execute("DELETE FROM logs WHERE event = 'Deposited'")
    db.close()
    assert verify(settings).verdict == "verified"


def test_a_damaged_index_is_an_error_by_name(run: Staged, tmp_path: Path) -> None:
    settings = settings_of(run, data_dir=tmp_path)
    verify(settings)
    (path,) = tmp_path.glob("*.sqlite")
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(UsageError, match="cannot be used"):
        verify(settings)


# --- the store -------------------------------------------------------------------------------------------------------


def evidence_blocks(staged: Staged) -> list[Path]:
    reports = staged.run.events_of(ReportSubmitted)
    cid = parse_cid(next(event.report.evidence_cid for event in reports if event.epoch == 1))
    return [staged.store.folder / "blocks" / block.cid[-2:] / block.cid for block in staged.store.blocks(cid)]


def test_the_evidence_of_one_epoch_is_in_memory_at_a_time(run: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    load, loaded = Evidence.load, list[weakref.ref[Evidence]]()

    def watching(files: Mapping[str, bytes]) -> Evidence:
        gc.collect()
        assert [each for each in loaded if each() is not None] == []
        found = load(files)
        loaded.append(weakref.ref(found))
        return found

    monkeypatch.setattr(Evidence, "load", watching)
    assert problems(verify(settings_of(run))) == {}
    assert len(loaded) == 2


def test_a_damaged_byte_anywhere_in_the_stored_evidence_is_found_and_convicts_nobody(run: Staged) -> None:
    blocks = evidence_blocks(run)
    assert len(blocks) > 20
    for path in blocks[::7]:
        whole = path.read_bytes()
        path.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
        report = verify(settings_of(run))
        assert problems(report)["evidence-files", "epoch 1"] == "unavailable"
        assert (report.verdict, report.exit_code) == ("incomplete", 3)
        path.write_bytes(whole)
    assert verify(settings_of(run)).verdict == "verified"


def test_missing_evidence_is_unavailable_by_name(run: Staged) -> None:
    path = evidence_blocks(run)[3]
    path.unlink()
    report = verify(settings_of(run))
    assert problems(report) == {("evidence-files", "epoch 1"): "unavailable"}
    assert report.exit_code == 3
    assert path.name in next(check.detail for check in report.checks if check.verdict == "unavailable")


def test_an_empty_store_is_incomplete_and_not_refuted(run: Staged, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    report = verify(settings_of(run, store=tmp_path / "empty"))
    assert report.verdict == "incomplete"
    assert {name for name, _ in problems(report)} == {"run-configuration", "evidence-files"}


# --- a corrupt quorum ------------------------------------------------------------------------------------------------


def edited(edit: Callable[[dict[str, object]], None]) -> Tamper:
    """Change credits.json."""

    def tamper(evidence: Evidence) -> Evidence:
        body = loads_object(evidence.credits)
        edit(body)  # type: ignore[arg-type]
        return replace(evidence, credits=dumps(body))

    return tamper


def more_credits(body: dict[str, object]) -> None:
    lines = body["lines"]
    assert isinstance(lines, list)
    lines[0]["credits"] = str(int(lines[0]["credits"]) + 1)


def in_round(change: Callable[[RoundFiles], RoundFiles]) -> Tamper:
    """Change the files of round 3."""

    def tamper(evidence: Evidence) -> Evidence:
        return replace(evidence, rounds={**evidence.rounds, 3: change(evidence.rounds[3])})

    return tamper


def without_a_check(files: RoundFiles) -> RoundFiles:
    """What the first verdict is about has none; several signers may have been drawn for it."""

    def about(signed: Signed) -> tuple[object, ...]:
        verdict = Verdict.from_body(signed.body)
        return verdict.check, verdict.index, verdict.segment

    first = about(files.verdicts[0])
    return replace(files, verdicts=tuple(signed for signed in files.verdicts if about(signed) != first))


def forged(signed: Signed) -> Signed:
    """The same document with another signature of the right form."""
    return Signed(signed.kind, signed.body, signed.signature[:20] + "00" + signed.signature[22:])


def by_signer(staged: Staged, signed: Signed, **changes: object) -> Signed:
    body = {**signed.body, **changes}
    key = next(key for key in SIGNERS if key.address.lower() == signed.body.get("signer", SIGNERS[0].address.lower()))
    return sign(signed.kind, body, key.private_key, staged.run.oracle.domain())  # type: ignore[arg-type]


def favoured(standing: bytes) -> bytes:
    """A friend is replayed less often than its history allows."""
    found = Standing.load(standing)
    index = min(found.members)
    member = replace(found.members[index], rate_bps=1)
    return Standing(found.epoch, found.next, {**found.members, index: member}).to_bytes()


FALSE_EVIDENCE: dict[str, tuple[str, Callable[[Staged], Tamper]]] = {
    "a credit line": ("credits-regenerated", lambda s: edited(more_credits)),
    "the ruleset": ("credits-regenerated", lambda s: edited(lambda body: body.update(ruleset="another"))),
    "a leaf": ("leaves-regenerated", lambda s: lambda e: replace(e, leaves=(replace(e.leaves[0], W=1), *e.leaves[1:]))),
    "a commitment left out": ("anchored-work", lambda s: in_round(lambda r: replace(r, commitments=r.commitments[1:]))),
    "a commitment's signature": (
        "evidence-documents",
        lambda s: in_round(lambda r: replace(r, commitments=(forged(r.commitments[0]), *r.commitments[1:]))),
    ),
    "the plan's signature": ("evidence-documents", lambda s: in_round(lambda r: replace(r, plan=forged(r.plan)))),
    "receipts left out": ("anchored-work", lambda s: in_round(lambda r: replace(r, receipts=()))),
    "the record": (
        "anchored-work",
        lambda s: in_round(lambda r: replace(r, record=by_signer(s, r.record, links=[]))),
    ),
    "a verdict's outcome": (
        "credits-regenerated",
        lambda s: in_round(
            lambda r: replace(
                r,
                verdicts=tuple(
                    by_signer(s, v, outcome="fail", exact=False) if v.body["check"] == "replay" else v
                    for v in r.verdicts
                ),
            )
        ),
    ),
    "a score's outcome": (
        "replay-draws",
        lambda s: in_round(
            lambda r: replace(
                r,
                verdicts=tuple(
                    by_signer(s, v, outcome="fail") if v.body["check"] == "contribution" else v for v in r.verdicts
                ),
            )
        ),
    ),
    "a score left out": (
        "replay-draws",
        lambda s: in_round(
            lambda r: replace(r, verdicts=tuple(v for v in r.verdicts if v.body["check"] != "contribution"))
        ),
    ),
    "a replay rate": ("standings-regenerated", lambda s: lambda e: replace(e, standing=favoured(e.standing))),
    "a verdict left out": ("replay-draws", lambda s: in_round(without_a_check)),
    "a verdict's signature": (
        "evidence-documents",
        lambda s: in_round(lambda r: replace(r, verdicts=(forged(r.verdicts[0]), *r.verdicts[1:]))),
    ),
    "results left out": ("evidence-documents", lambda s: in_round(lambda r: replace(r, results=r.results[1:]))),
    "a manifest": (
        "evidence-documents",
        lambda s: in_round(lambda r: replace(r, manifest=s.rounds[0][2].manifest)),
    ),
    "an anchored root": (
        "anchored-work",
        lambda s: (
            lambda e: replace(e, anchors=(replace(e.anchors[0], deadline=e.anchors[0].deadline + 1), *e.anchors[1:]))
        ),
    ),
    "the configuration": ("evidence-documents", lambda s: lambda e: replace(e, config=b"{}")),
    "the attempt": ("evidence-files", lambda s: lambda e: replace(e, attempt=e.attempt + 1)),
}


@pytest.mark.parametrize("what", FALSE_EVIDENCE)
def test_false_evidence_signed_by_a_quorum_is_refuted_by_name(closed_run: Staged, what: str) -> None:
    name, tamper = FALSE_EVIDENCE[what]
    closed_run.report(1, tamper(closed_run))
    report = verify(settings_of(closed_run))
    assert problems(report).get((name, "epoch 1")) == "refuted", [c for c in report.checks if c.verdict != "ok"]
    assert report.verdict == "refuted"


FALSE_REPORTS: dict[str, tuple[str, dict[str, object]]] = {
    "another root": ("roots", {"root": b"\x01" * 32}),
    "another loss": ("evaluation", {"loss_micro": 1}),
    "another round": ("evaluation", {"round": 3}),
    "another checkpoint": ("checkpoint-manifest", {"checkpoint": b"\x02" * 32}),
    "another digest of the evidence": ("evidence-files", {"evidence_sha256": b"\x03" * 32}),
}


@pytest.mark.parametrize("what", FALSE_REPORTS)
def test_a_false_report_signed_by_a_quorum_is_refuted_by_name(closed_run: Staged, what: str) -> None:
    name, changes = FALSE_REPORTS[what]
    closed_run.report(1, **changes)
    assert problems(verify(settings_of(closed_run)))[name, "epoch 1"] == "refuted"


def test_credits_for_a_friend_are_refuted(closed_run: Staged) -> None:
    evidence, earned = closed_run.evidence(1)
    cid = closed_run.store.put_directory(dict(evidence.files))
    e = evidence.evaluation
    closed_run.world.report(
        1,
        {**earned.credited, 3: 50},
        evidence_cid=cid,
        evidence_sha256=bytes.fromhex(evidence.sha256[2:]),
        checkpoint=bytes.fromhex(e.checkpoint[2:]),
        checkpoint_cid=e.checkpoint_cid,
        round=e.round,
        loss_micro=e.loss_micro,
    )
    found = problems(verify(settings_of(closed_run)))
    assert found["credits-regenerated", "epoch 1"] == "refuted"
    assert ("roots", "epoch 1") not in found  # the tree follows from the list; it is the list that is false


def test_checks_stay_those_of_the_signers_in_office_when_they_were_drawn(closed_run: Staged) -> None:
    """Two more signers take office after the epoch's rounds, before its report."""
    closed_run.world.rotate(*SIGNERS, *(Key.from_hex("0x" + digits * 32) for digits in ("77", "78")))
    closed_run.report(1)
    closed_run.world.finalize(1)
    assert problems(verify(settings_of(closed_run))) == {}


def test_a_root_anchored_without_its_commitments_is_named(tmp_path: Path) -> None:
    with start_local("anvil", directory=tmp_path / "chain", block_time_s=None) as chain:
        staged = stage(chain.url, tmp_path)
        staged.unpublished = b"\x77" * 32
        staged.play_epoch(0)
        staged.report(0)
        report = verify(settings_of(staged))
    assert problems(report) == {("anchored-work", "epoch 0"): "unavailable"}
    assert KEYS[6].address in next(check.detail for check in report.checks if check.name == "anchored-work")


# --- a node or contracts that lie ------------------------------------------------------------------------------------


def test_a_stored_root_that_is_not_the_reported_one_is_refuted(run: Staged) -> None:
    chain, ledger = run.run.chain, run.run.addresses.ledger
    root = run.run.ledger.latest().root
    for slot in range(10):
        place = int.from_bytes(keccak256((1).to_bytes(32, "big") + slot.to_bytes(32, "big")), "big")
        if chain.rpc("eth_getStorageAt", ledger, hex(place), "latest") == "0x" + root.hex():
            chain.rpc("anvil_setStorageAt", ledger, f"0x{place:064x}", "0x" + "ab" * 32)
            break
    else:
        pytest.fail("the root is not where the mapping keeps it")
    found = problems(verify(settings_of(run)))
    assert found["roots", "epoch 1"] == "refuted"


def test_missing_money_is_refuted_and_forced_money_is_only_named(run: Staged) -> None:
    chain, distributor = run.run.chain, run.run.addresses.distributor
    held = chain.balance(distributor)
    chain.rpc("anvil_setBalance", distributor, hex(held + 5))
    report = verify(settings_of(run))
    assert problems(report) == {}
    assert "holds 5 that no call brought in" in next(c.detail for c in report.checks if c.name == "balances")
    chain.rpc("anvil_setBalance", distributor, hex(held - 1))
    assert problems(verify(settings_of(run))) == {("balances", ""): "refuted"}


@pytest.mark.parametrize("part", ["campaign", "oracle", "distributor"])
@pytest.mark.parametrize("where", ["clone", "constants", "implementation"])
def test_other_code_is_refuted(run: Staged, part: str, where: str) -> None:
    chain = run.run.chain
    address = getattr(run.run.addresses, part)
    if where == "implementation":
        address = run.world.deployment.implementations[part].address
    code = bytearray(chain.code(address))
    if where == "implementation":
        code.append(0)
    else:
        code[12 if where == "clone" else -1] ^= 1
    chain.rpc("anvil_setCode", address, "0x" + code.hex())
    if (part, where) == ("campaign", "clone"):
        with pytest.raises(ChainError):  # there is nothing left that could be asked
            verify(settings_of(run))
    else:
        assert problems(verify(settings_of(run)))["deployment-code", ""] == "refuted"


def test_a_run_that_no_factory_of_ours_created_is_refuted(run: Staged) -> None:
    factory = run.world.deployment.factory.address
    run.run.chain.rpc("anvil_setCode", factory, "0x00")
    assert problems(verify(settings_of(run)))["deployment-code", ""] == "refuted"


def test_the_draws_of_rounds_do_not_depend_on_how_far_a_node_is(run: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    block, early = Chain.block, run.run.chain.block(run.run.first_block)
    monkeypatch.setattr(Chain, "block", lambda self, *asked: block(self, *asked) if asked else early)
    assert problems(verify(settings_of(run))) == {}


def test_no_node_no_run_and_no_store_are_errors_by_name(run: Staged) -> None:
    nobody = replace(settings_of(run), rpc_urls=("http://127.0.0.1:1",))
    with pytest.raises(ChainError) as gone:
        verify(nobody)
    assert gone.value.exit_code == 3
    with pytest.raises(UsageError, match="no run"):
        verify(replace(settings_of(run), campaign=KEYS[0].address))
    with pytest.raises(UsageError):
        verify(replace(settings_of(run), store=""))


def test_a_run_that_is_not_final_yet_is_incomplete(tmp_path: Path) -> None:
    with start_local("anvil", directory=tmp_path / "chain", block_time_s=None) as chain:
        staged = stage(chain.url, tmp_path)
        with pytest.raises(Incomplete, match="not final yet"):
            verify(replace(settings_of(staged), confirmations=10_000))
