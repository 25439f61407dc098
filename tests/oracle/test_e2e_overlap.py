"""A whole run whose rounds overlap, between real processes: it is credited, and everybody can follow it."""

from pathlib import Path

import pytest

from commonweight.audit.lineage import lineage
from commonweight.audit.settings import AuditSettings
from commonweight.audit.verify import verify
from commonweight.cli.replaying import replay_work
from commonweight.protocol.records import Commitment, Record, Verdict
from commonweight.protocol.structure import Previous, went_ahead
from tests.oracle.network import Network
from tests.oracle.test_e2e_run import evidence_of
from tests.trainer.conftest import data_dir as data_dir

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
OVERLAP, EVERY = 10, 5


@pytest.mark.parametrize("carried", [False, True], ids=["residual added", "residual carried"])
def test_a_run_whose_rounds_overlap_is_credited_and_audited(tmp_path: Path, data_dir: Path, carried: bool) -> None:
    training = {"overlap": OVERLAP, "carry_residual": carried, "codec": "int1"}
    with Network(tmp_path, data_dir, training=training) as net:
        net.start_signers()
        first, second, killed = (net.add(f"member-{n}") for n in range(3))
        net.recorded(240, 2)
        killed.kill()
        late = net.add("late")
        net.recorded(240, 4)
        killed.start()
        epochs = net.wait_credited(2, 400)
        ahead, taken_in, last = 0, 0, dict[int, Previous]()
        for epoch in epochs:
            evidence = evidence_of(net, net.reports()[epoch][0].report.evidence_cid)
            for _, files in sorted(evidence.rounds.items()):
                went = {}
                known = {signed.digest: Commitment.from_body(signed.body) for signed in files.commitments}
                for entry in Record.from_body(files.record.body).counted:
                    commitment = known[entry.commitment]
                    went[entry.index] = went_ahead(commitment, last.get(entry.index), OVERLAP)
                    last[entry.index] = (entry.commitment, commitment)
                verdicts = [Verdict.from_body(signed.body) for signed in files.verdicts]
                replays = [v for v in verdicts if v.check == "replay" and v.outcome != "unavailable"]
                assert all(verdict.outcome == "pass" and verdict.exact for verdict in replays)
                assert {v.index for v in verdicts if v.outcome == "unavailable"} <= {net.index(killed)}
                ahead += sum(went.values())
                taken_in += sum(
                    went.get(v.index, False) and v.segment is not None and v.segment.start == OVERLAP // EVERY
                    for v in replays
                )
        assert ahead >= 3, "hardly anybody went ahead"
        print(f"went ahead: {ahead}, drawn where the base comes in: {taken_in}")
        counted = {index for index, (_, commitment) in last.items() if commitment.steps}
        assert counted >= {net.index(member) for member in (first, second, late)}
        settings = AuditSettings(net.run.address, (net.local.url,), str(net.store_dir))
        for report in (verify(settings), lineage(settings), replay_work(settings, str(net.index(first)))):
            assert report.verdict == "verified", [check for check in report.checks if check.verdict != "ok"]
