"""What a doctor looks at on the machine itself."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from commonweight.checks import available_memory, clock, folder, free_to_listen, memory
from commonweight.quantities import show_size, when
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
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert free_to_listen(f"127.0.0.1:{taken.getsockname()[1]}").why == "Address already in use"


def test_no_more_memory_is_available_than_a_control_group_leaves(tmp_path: Path) -> None:
    """A process that takes more is killed, however much the machine has."""
    meminfo, own, groups = tmp_path / "meminfo", tmp_path / "own", tmp_path / "groups"
    meminfo.write_text("MemAvailable: 100 kB\n")
    own.write_text("1:name=systemd:/\n0::/outer/inner\n")
    (groups / "outer" / "inner").mkdir(parents=True)
    assert available_memory(meminfo, groups, own) == 100 * 1024
    for group, most, now in ((groups / "outer", "50000", 30000), (groups / "outer" / "inner", "max", 10)):
        (group / "memory.max").write_text(most + "\n")
        (group / "memory.current").write_text(f"{now}\n")
        (group / "memory.stat").write_text("anon 1\ninactive_file 4000\n")
    assert available_memory(meminfo, groups, own) == 50000 - 30000 + 4000, "what files fill is given up"
    own.unlink()
    assert available_memory(meminfo, groups, own) == 100 * 1024
    assert available_memory(tmp_path / "none", groups, own) is None


def test_what_is_there_is_said_beside_what_is_needed(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemAvailable: {3 << 19} kB\n")
    assert memory(200 << 20, meminfo).what == "At least 200 MiB of memory is available (1.5 GiB is)"
    lacking = memory(4 << 30, meminfo)
    assert (lacking.what, lacking.why) == ("At least 4.0 GiB of memory is available", "1.5 GiB is")
    disk = list(folder(tmp_path, 1 << 30))[1]
    assert disk.what == f"At least 1.0 GiB of disk is free ({show_size(shutil.disk_usage(tmp_path).free)} is)"


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


def test_a_time_beyond_the_calendar_is_said_as_it_is() -> None:
    assert when(0) == "1970-01-01 00:00:00 UTC"
    assert when(2**64 - 1) == f"Unix time {2**64 - 1}"


def test_a_pause_that_cannot_be_is_refused_before_it_is_written(quick_user: InProcess) -> None:
    for length in ("9999999d", "999999999999999999999d", "1y"):
        done = quick_user.run("provider", "pause", "--for", length, "--data-dir", "d")
        assert (done.code, length in done.err) == (2, True)
    assert not (quick_user.home / "d").exists()
    assert quick_user.run("provider", "pause", "--for", "36525d", "--data-dir", "d").code == 0
