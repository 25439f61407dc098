"""The coordinator is lost for good, and the signers name another one, as docs/oracle.md says."""

from pathlib import Path

import pytest

from commonweight.audit.settings import AuditSettings
from commonweight.audit.verify import verify
from commonweight.chain.ledger_view import LedgerView
from tests.oracle.network import Network
from tests.trainer.conftest import data_dir as data_dir

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]


def test_another_signer_coordinates_and_the_first_one_comes_back_as_a_follower(tmp_path: Path, data_dir: Path) -> None:
    with Network(tmp_path, data_dir, params={"epoch_length": 90, "report_span": 60}) as net:
        net.start_signers()
        members = [net.add(f"member-{n}") for n in range(3)]
        net.recorded(240, 2)
        new = net.run.oracle.signers()[1]
        net.kill_signer(0, restart=False)
        for number in (2, 1):
            net.signers[number].argv += ["--coordinator", new]
            assert net.signers[number].end() == 0
            net.signers[number].start()
        first = net.recorded(240, 1, coordinator=1)[0]["round"]
        assert net.said(1, "phase", phase="checking")
        net.signers[0].argv += ["--coordinator", new]
        net.signers[0].start()
        net.recorded(240, 3, coordinator=1)
        net.wait_credited(2)
        assert not [line for line in net.said(0, "planned") if line["round"] >= first]
        net.same_checkpoints(*members)
        reports = net.reports()
        assert all(len(found) == 1 for found in reports.values())
        view = LedgerView.of(net.run)
        assert all(view.leaf(net.index(member)) is not None for member in members)
        found = verify(AuditSettings(net.run.address, (net.local.url,), str(net.store_dir)))
        assert found.verdict != "refuted", [check for check in found.checks if check.verdict != "ok"]
