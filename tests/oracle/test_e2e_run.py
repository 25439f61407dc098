"""Whole runs between real processes: honest work is credited, nothing else, whoever dies.

`make test` plays one whole run, that of `make demo`; these are for `make test-slow`.
"""

from pathlib import Path

import pytest

from commonweight.audit.settings import AuditSettings
from commonweight.audit.verify import verify
from commonweight.chain.ledger_view import LedgerView
from commonweight.protocol.canonical import loads_object
from commonweight.protocol.creditslist import decode
from commonweight.protocol.evidence import Evidence
from commonweight.protocol.records import Record, Verdict
from commonweight.store import open_store, parse_cid
from tests.oracle.network import Network
from tests.trainer.conftest import data_dir as data_dir

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]


def evidence_of(net: Network, cid: str) -> Evidence:
    store = open_store(net.store_dir)
    return Evidence.load({item.name: store.get(item.cid) for item in store.walk(parse_cid(cid))})


def test_two_epochs_with_a_liar_and_a_dead_signer(tmp_path: Path, data_dir: Path) -> None:
    with Network(tmp_path, data_dir) as net:
        net.start_signers()
        honest = [net.add(f"member-{n}") for n in range(3)]
        liar = net.add("liar", adversary="liar")
        net.recorded(240, 2)
        net.kill_signer(2, restart=False)
        net.wait_credited(1)
        net.signers[2].start()
        epochs = net.wait_credited(2)
        reports = net.reports()
        assert all(len(found) == 1 for found in reports.values())
        assert all(len(found[0].signatures) >= 2 for found in reports.values())

        banned = net.index(liar)
        assert net.run.registry.provider_at(banned).banned_until > 0
        view = LedgerView.of(net.run)
        assert view.leaf(banned) is None
        for member in honest:
            leaf = view.leaf(net.index(member))
            assert leaf is not None
            assert leaf.C > 0
        assert all(epoch.genuine for epoch in view.epochs.values())

        replayed: set[int] = set()
        signers: set[str] = set()
        credited: dict[int, int] = {}
        for epoch in epochs:
            report = reports[epoch][0]
            evidence = evidence_of(net, report.report.evidence_cid)
            verdicts = [Verdict.from_body(s.body) for files in evidence.rounds.values() for s in files.verdicts]
            replayed |= {v.index for v in verdicts if v.outcome == "pass" and v.exact}
            signers |= {v.signer for v in verdicts}
            for index, amount in decode(report.credits).items():
                credited[index] = credited.get(index, 0) + amount
            lines = loads_object(evidence.credits)["lines"]
            assert isinstance(lines, list)
            assert all(line["refused"] for line in lines if isinstance(line, dict) and line["index"] == banned)
            records = [Record.from_body(files.record.body) for files in evidence.rounds.values()]
            assert all(banned not in [c.index for c in record.counted] for record in records)
        assert replayed >= {net.index(member) for member in honest}
        assert len(signers) == 3
        assert {i: view.leaf(i).C for i in credited} == credited  # type: ignore[union-attr]

        found = verify(AuditSettings(net.run.address, (net.local.url,), str(net.store_dir)))
        assert found.verdict == "verified", [c for c in found.checks if c.verdict != "ok"]


def test_the_coordinator_is_killed_in_every_phase(tmp_path: Path, data_dir: Path) -> None:
    with Network(tmp_path, data_dir, params={"epoch_length": 90, "report_span": 60}) as net:
        net.start_signers()
        members = [net.add(f"member-{n}") for n in range(3)]
        for phase in ("training", "anchoring", "window", "exchange", "closing", "planning"):
            before = len(net.said(0, "phase", phase=phase))
            net.wait(
                f"the coordinator {phase}", lambda b=before, p=phase: len(net.said(0, "phase", phase=p)) > b, 240
            )
            net.kill_signer(0)
        done = len(net.said(0, "recorded"))
        net.recorded(240, done + 2)
        checkpoints = net.same_checkpoints(*members)
        assert len(checkpoints) >= 2
        planned = [line["round"] for line in net.said(0, "planned")]
        assert len(planned) == len(set(planned))
        net.wait_credited(1)
        assert all(len(found) == 1 for found in net.reports().values())


def test_an_epoch_on_ganache(tmp_path: Path, data_dir: Path) -> None:
    with Network(tmp_path, data_dir, kind="ganache") as net:
        net.start_signers()
        members = [net.add(f"member-{n}") for n in range(2)]
        net.wait_credited(1)
        view = LedgerView.of(net.run)
        assert all(view.leaf(net.index(member)) is not None for member in members)
        net.same_checkpoints(*members)
