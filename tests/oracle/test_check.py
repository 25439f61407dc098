"""`check` before the start: nothing to complain about where all is well, and each trouble by name with its cure."""

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from commonweight.chain.keys import Key, create_keystore
from commonweight.checks import Finding
from commonweight.errors import OracleError, UsageError
from oracle.check import check
from oracle.seat import take_seat
from oracle.service import status
from oracle.settings import OracleSettings
from tests.oracle.network import Network
from tests.trainer.conftest import data_dir as data_dir
from tests.trainer.world import PASSWORD

pytestmark = [pytest.mark.chain, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Iterator[Network]:
    with Network(tmp_path_factory.mktemp("net"), data_dir) as made:
        yield made


@pytest.fixture
def settings(net: Network, tmp_path: Path) -> OracleSettings:
    """Those of signer 0."""
    listen = net.config.signers_peers[net.run.params.signers[0].lower()]
    return OracleSettings(
        net.run.address, (net.local.url,), str(net.store_dir), net.folder / "signer-0.json",
        net.folder / "transmitter-0.json", tmp_path / "data", listen, password_file=net.password_file,
    )  # fmt: skip


def wrong(findings: tuple[Finding, ...]) -> list[Finding]:
    return [finding for finding in findings if not finding.ok]


def test_a_signer_that_is_ready_has_nothing_to_mend(settings: OracleSettings) -> None:
    findings = check(settings)
    assert wrong(findings) == []
    assert len(findings) >= 12


@pytest.mark.parametrize(
    ("changes", "what", "fix"),
    [
        ({"rpc_urls": ("http://127.0.0.1:9",)}, "The RPC answers", "RPC"),
        ({"campaign": "0x" + "12" * 20}, "The run is there", "Check the address"),
        ({"password_file": Path("/nowhere/password")}, "The keystores open", "Check its name"),
        ({"store": "/proc/nowhere"}, "The content store at /proc/nowhere opens", ""),
        ({"data_dir": Path("/proc/nowhere")}, "/proc/nowhere can be written", "Choose another --data-dir"),
        ({"coordinators": ("0x" + "12" * 20,)}, "The coordinator is a signer", "--coordinator"),
        ({"listen": "no address"}, "no address is free to listen on", "--listen"),
    ],
)
def test_each_trouble_is_named_with_its_cure(
    settings: OracleSettings, changes: dict[str, object], what: str, fix: str
) -> None:
    found = wrong(check(replace(settings, **changes)))  # type: ignore[arg-type]
    assert what in [finding.what for finding in found]
    named = next(finding for finding in found if finding.what == what)
    assert named.why or named.fix
    assert fix in named.fix


def test_a_port_in_use_is_found(settings: OracleSettings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found = wrong(check(replace(settings, listen=f"127.0.0.1:{taken.getsockname()[1]}")))
    assert [finding.fix for finding in found] == ["Stop what uses the port, or choose another --listen."]


def test_a_stranger_and_a_wrong_transmitter_are_found(net: Network, settings: OracleSettings, tmp_path: Path) -> None:
    create_keystore(tmp_path / "stranger.json", PASSWORD, key=Key.new(), fast=True)
    found = wrong(check(replace(settings, keystore=tmp_path / "stranger.json")))
    assert any("is a signer in office" in finding.what for finding in found)
    found = wrong(check(replace(settings, transmitter=tmp_path / "stranger.json")))
    assert {finding.what for finding in found} == {
        "The transmitter is the registered one", "The transmitter can pay for gas",
    }  # fmt: skip
    with pytest.raises(OracleError, match="not a signer of this run"):
        take_seat(replace(settings, keystore=tmp_path / "stranger.json"), os.environ)


def test_a_running_signer_answers_status_without_a_password(net: Network, settings: OracleSettings) -> None:
    net.signers[0].start()
    try:
        net.wait("the signer listens", lambda: bool(net.said(0, "listening")), 60)
        answer = status(replace(settings, password_file=None))
        assert answer["signer"] == net.run.params.signers[0].lower()
        assert answer["coordinator"] == answer["signer"]
        assert answer["phase"] in ("waiting", "starting", "finished")
        assert net.signers[0].end() == 0
    finally:
        net.signers[0].kill()


def test_settings_refuse_what_cannot_work(settings: OracleSettings) -> None:
    with pytest.raises(UsageError):
        replace(settings, rpc_urls=())
