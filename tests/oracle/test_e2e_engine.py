"""A run whose members and signers do not round alike: some compile the inner steps, others take them as they come."""

import shutil
from pathlib import Path

import pytest

from commonweight.audit.settings import AuditSettings
from commonweight.audit.verify import verify
from commonweight.cli.replaying import replay_work
from commonweight.protocol.records import Record, Verdict
from tests.oracle.network import Network
from tests.oracle.test_e2e_run import evidence_of
from tests.trainer.conftest import data_dir as data_dir
from trainer.engine import Engine

pytestmark = [
    pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1200),
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
]  # fmt: skip


def test_work_on_one_engine_passes_replays_on_another(tmp_path: Path, data_dir: Path) -> None:
    with Network(tmp_path, data_dir) as net:
        for signer in net.signers[1:]:
            signer.argv.append("--compile")
        net.start_signers()
        plain, compiled = net.add("plain"), net.add("compiled", extra=["--compile"])
        epochs = net.wait_credited(2, 900)
        seen, exact, counted = set[str](), set[bool](), set[int]()
        for epoch in epochs:
            evidence = evidence_of(net, net.reports()[epoch][0].report.evidence_cid)
            for files in evidence.rounds.values():
                counted |= {entry.index for entry in Record.from_body(files.record.body).counted}
                for verdict in (Verdict.from_body(signed.body) for signed in files.verdicts):
                    if verdict.check == "replay":
                        assert verdict.outcome in ("pass", "unavailable"), verdict.reason
                        seen.add(verdict.signer)
                        exact.add(verdict.exact)
        assert counted == {net.index(plain), net.index(compiled)}
        assert exact == {True, False}, "two engines round differently, and one as itself"
        assert len(seen) > 1
        settings = AuditSettings(net.run.address, (net.local.url,), str(net.store_dir))
        for report in (
            verify(settings),
            replay_work(settings, str(net.index(compiled)), engine=Engine(compiled=True)),
        ):
            assert report.verdict == "verified", [check for check in report.checks if check.verdict != "ok"]
