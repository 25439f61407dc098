"""The command line serves, asks, pays, shows, settles and withdraws, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from commonweight.chain.keys import create_keystore
from tests.inference.site import DELAY_S, PASSWORD, SERVER_KEY, START_S, Site, make_site
from tests.waiting import wait_for

pytestmark = [pytest.mark.chain, pytest.mark.timeout(600)]
_COMMAND = [sys.executable, "-c", "from commonweight.cli.main import app; app()"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with make_site("ganache", tmp_path_factory.mktemp("site")) as made:
        yield made


class Shell:
    """Runs `commonweight infer` with the settings of a site from the environment."""

    def __init__(self, site: Site, home: Path, keystore: Path) -> None:
        self.home = home
        self.environment = {
            **os.environ,
            "COMMONWEIGHT_RUN": site.run.address,
            "COMMONWEIGHT_RPC": site.world.url,
            "COMMONWEIGHT_STORE": str(site.folder / "store"),
            "COMMONWEIGHT_KEYSTORE": str(keystore),
            "COMMONWEIGHT_PASSWORD_FILE": str(site.folder / "password"),
            "COMMONWEIGHT_DATA_DIR": str(home / "data"),
            "COMMONWEIGHT_STATE_DIR": str(home / "state" / "nonces"),
            "HOME": str(home),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*_COMMAND, "infer", *words], env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *words: str, status: int = 0) -> dict[str, object]:
        """The JSON object that a command prints, alone on stdout."""
        process = self.start(*words, "--json")
        out, errors = process.communicate(timeout=120)
        assert process.returncode == status, errors.decode()
        found = json.loads(out)
        assert isinstance(found, dict)
        return found


def make_shell(site: Site, name: str) -> tuple[Shell, str]:
    """A shell with a funded key of its own, and the key's address."""
    home = site.folder / name
    home.mkdir()
    (site.folder / "password").write_text(PASSWORD)
    key = SERVER_KEY if name == "server" else site.payer().key
    create_keystore(home / "key.json", PASSWORD, key=key, fast=True)
    return Shell(site, home, home / "key.json"), key.address


def test_serve_ask_show_settle_withdraw(site: Site) -> None:
    (serving, server_address), (asking, _) = make_shell(site, "server"), make_shell(site, "user")
    process = serving.start("serve", "--listen", "127.0.0.1:0", "--settle-every", "100000")
    info = site.folder / "server" / "data" / "server.json"
    try:
        wait_for(lambda: info.exists() or process.poll() is not None, START_S)
        assert process.poll() is None, process.communicate()[1].decode()
        url = json.loads(info.read_text())["url"]
        opened = asking.run("channel", "open", server_address, "0.01", "--yes")
        assert opened["deposited"] == str(10**16)
        answers = [asking.run("ask", "def f(", "--url", url, "--max-tokens", "8", "--seed", "1") for _ in range(2)]
        assert answers[0]["text"] == answers[1]["text"] and answers[0]["checkpoint"] == site.checkpoint
        text = str(answers[0]["text"])
        cut = asking.run(
            "ask", "def f(", "--url", url, "--max-tokens", "8", "--seed", "1", "--stop", text[3:], "--stop", "~~~~"
        )
        assert (cut["text"], cut["finish"]) == (text[: text.index(text[3:])], "stop")
        assert int(str(cut["paid"])) < int(str(answers[0]["paid"]))
        says = ("ask", "hello", "--url", url, "--max-tokens", "4", "--seed", "1")
        chats = [
            asking.run(*says, *more)
            for more in (("--chat",), ("--chat", "--system", "be brief"), ("--system", "be brief"))
        ]
        framed = [len(rest) for rest in ("user: hello\nassistant:", "system: be brief\nuser: hello\nassistant:")]
        assert [chat["prompt_tokens"] for chat in chats] == [framed[0], framed[1], framed[1]]
        assert chats[1]["text"] == chats[2]["text"]
        assert "--stop is empty" in str(asking.run(*says, "--stop", "", status=2))
        answers += [cut, *chats]
        paid = sum(int(str(answer["paid"])) for answer in answers)
        refused = asking.run("ask", "x", "--url", url, "--max-amount", "0.000000000001", status=1)
        spent = [sum(int(str(answer["paid"])) for answer in answers[: n + 1]) for n in range(len(answers))]
        assert [int(str(answer["left"])) for answer in answers] == [10**16 - so_far for so_far in spent]
        assert "more than you allow" in str(refused)
        assert "the limit is 0.000000000001 ETH" in str(refused) and "--max-amount" in str(refused)
        second = serving.start("serve", "--listen", "127.0.0.1:0", "--data-dir", str(site.folder / "second"))
        said = second.communicate(timeout=START_S)[1].decode()
        assert second.returncode == 1 and "Another server with this key" in said and f"process {process.pid}" in said
        for data in ("server/data", "second"):
            beside = serving.run("settle", "--data-dir", str(site.folder / data))
            assert beside["settled"] == "0" and beside["transactions"] == []
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert "cannot be reached" in str(asking.run("ask", "x", "--url", url, status=3))
    assert "is not the address of a server" in str(asking.run("ask", "x", "--url", "somewhere", status=2))
    assert asking.run("channel", "show", server_address)["settled"] == "0"
    settled = serving.run("settle")
    assert settled["settled"] == str(paid) and int(str(settled["cut"])) == paid // 10
    assert serving.run("settle")["settled"] == "0"
    assert not (site.folder / "server" / "data" / "nonces").exists(), "what a key has sent is known in one place"
    assert list((site.folder / "server" / "state" / "nonces").glob(f"*{server_address.lower()}*"))
    asked_back = asking.run("channel", "withdraw", server_address)
    assert asked_back["withdrawal_amount"] == str(10**16 - paid)
    site.world.warp(site.run.chain.timestamp() + DELAY_S)
    assert asking.run("channel", "withdraw", server_address)["held"] == "0"


def test_a_device_that_is_not_there_is_refused_before_anything_is_loaded(site: Site) -> None:
    (site.folder / "deviceless").mkdir()
    shell = Shell(site, site.folder / "deviceless", site.folder / "server" / "key.json")
    shell.environment["CUDA_VISIBLE_DEVICES"] = ""
    for device, said in (("tpu", "There is no device 'tpu'"), ("cuda", "The device cuda is not there")):
        process = shell.start("serve", "--listen", "127.0.0.1:0", "--device", device)
        _, errors = process.communicate(timeout=START_S)
        assert process.returncode == 2 and said in errors.decode()
    assert not (site.folder / "deviceless" / "data").exists()


def test_ctrl_c_ends_the_server_with_status_0_and_nothing_on_stdout(site: Site) -> None:
    (site.folder / "again").mkdir(exist_ok=True)
    shell = Shell(site, site.folder / "again", site.folder / "server" / "key.json")
    process = shell.start("serve", "--listen", "127.0.0.1:0")
    info = site.folder / "again" / "data" / "server.json"
    try:
        wait_for(lambda: info.exists() or process.poll() is not None, START_S)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == 0, errors.decode()
    assert out == b"" and not info.exists()
    assert all(json.loads(line)["event"] for line in errors.decode().splitlines())
