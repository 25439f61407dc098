"""What a doctor looks at on the machine itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from commonweight.checks import clock, folder, free_to_listen, memory
from tests.cli.conftest import InProcess

pytestmark = pytest.mark.unit


def test_what_the_machine_lacks_is_a_finding(tmp_path: Path) -> None:
    assert clock(100, 105.0).ok
    assert not clock(100, 106.0).ok
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 100 kB\nMemAvailable: 50 kB\n")
    assert memory(50 * 1024, meminfo).ok
    assert not memory(50 * 1024 + 1, meminfo).ok
    assert [f.ok for f in folder(tmp_path, 1)] == [True, True]
    assert [f.ok for f in folder(tmp_path, 1 << 60)] == [True, False]
    assert not free_to_listen("nowhere").ok


def test_the_doctor_of_a_computer_names_what_is_wrong(quick_user: InProcess) -> None:
    done = quick_user.run("doctor", "--rpc", "http://127.0.0.1:1", "--json", COMMONWEIGHT_PATIENCE_S="0")
    wrong = [f for f in done.json["findings"] if not f["ok"]]
    assert done.code == 1
    assert [f["what"] for f in wrong] == ["The chain at http://127.0.0.1:1 answers"]
    assert wrong[0]["fix"].startswith("Check the RPC address")


def test_a_secret_that_others_can_read_is_named(quick_user: InProcess) -> None:
    (quick_user.home / "password").write_text("x")
    quick_user.ok("key", "new", "key.json", "--fast", "--password-file", "password")
    (quick_user.home / "key.json").chmod(0o644)
    arguments = ("--keystore", "key.json", "--rpc", "http://127.0.0.1:1", "--json")
    done = quick_user.run("doctor", *arguments, COMMONWEIGHT_PATIENCE_S="0")
    wrong = {f["what"]: f for f in done.json["findings"] if not f["ok"]}
    assert wrong["key.json is for its owner alone"]["fix"] == "chmod 600 key.json"
