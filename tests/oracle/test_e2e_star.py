"""A whole run whose rounds the coordinator reduces, between real processes, with Muon and the coarsest codecs."""

from pathlib import Path

import pytest

from commonweight.audit.lineage import lineage
from commonweight.audit.settings import AuditSettings
from commonweight.audit.verify import verify
from commonweight.cli.replaying import replay_work
from commonweight.protocol.records import Plan, Record, Verdict
from tests.oracle.network import Network
from tests.oracle.test_e2e_run import evidence_of
from tests.trainer.conftest import data_dir as data_dir

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
TRAINING = {
    "topology": "star", "codec": "int1", "result_codec": "ternary", "carry_residual": True, "block": 512,
    "inner": {"optimizer": "muon"},
}  # fmt: skip


def test_a_run_in_a_star_is_credited_and_audited(tmp_path: Path, data_dir: Path) -> None:
    with Network(tmp_path, data_dir, training=TRAINING) as net:
        net.start_signers()
        first, second, killed = (net.add(f"member-{n}") for n in range(3))
        net.recorded(240, 2)
        killed.kill()
        late = net.add("late")
        net.recorded(240, 4)
        killed.start()
        epochs = net.wait_credited(2, 400)
        counted, replayed = set[int](), 0
        for epoch in epochs:
            evidence = evidence_of(net, net.reports()[epoch][0].report.evidence_cid)
            for files in evidence.rounds.values():
                plan, record = Plan.from_body(files.plan.body), Record.from_body(files.record.body)
                assert not plan.reducers
                assert not files.results
                assert not record.links
                counted |= {entry.index for entry in record.counted}
                verdicts = [Verdict.from_body(signed.body) for signed in files.verdicts]
                replays = [verdict for verdict in verdicts if verdict.check == "replay"]
                assert all(v.outcome == "pass" and v.exact for v in replays if v.outcome != "unavailable")
                replayed += sum(v.outcome == "pass" for v in replays)
        assert counted >= {net.index(member) for member in (first, second, late)}
        assert replayed > 0
        settings = AuditSettings(net.run.address, (net.local.url,), str(net.store_dir))
        for report in (verify(settings), lineage(settings), replay_work(settings, str(net.index(first)))):
            assert report.verdict == "verified", [check for check in report.checks if check.verdict != "ok"]
