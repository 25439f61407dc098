"""What goes wrong is said as what, why and what to do, with the documented exit code."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from commonweight.chain.client import Chain
from commonweight.chain.deploy import write_deployment
from commonweight.chain.keys import create_keystore
from commonweight.errors import WrongChain
from inference.server import settle_now
from inference.settings import ServeSettings
from oracle.seat import connect_chain
from oracle.settings import OracleSettings
from tests.chain.scenario import KEYS
from tests.cli.conftest import Crowd, InProcess, User
from trainer.settings import ProviderSettings

NOBODY = "http://127.0.0.1:1"
ID = "/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
UNKNOWN = "0x00000000000000000000000000000000000A11cE"
MISTYPED = "0x00000000000000000000000000000000000A11Ce"
CHECKSUM = "The case of its letters is a checksum, and does not fit: a digit is wrong or missing."
REACHED = "Write it like 203.0.113.7:7700, or as `commonweight provider address` prints it."


WRONG = {
    "nosuch": ("No such command 'nosuch'.", "", "`commonweight --help` explains it."),
    "fund deposit --bogus": ("No such option: --bogus.", "", "`commonweight fund deposit --help` explains it."),
    "fund deposit": ("Missing argument 'amount'.", "", "`commonweight fund deposit --help` explains it."),
    "fund deposit 1": (
        "Which run is meant?",
        "No run was named.",
        "Name its campaign address by --run (`commonweight run list` shows the runs).",
    ),
    "fund deposit 1 --run 0x12": (
        "run from the command line cannot be '0x12'.",
        "'0x12' is not an address. An address is 0x and 40 hex digits.",
        "Correct it.",
    ),
    f"fund deposit 1 --run {MISTYPED}": (
        f"run from the command line cannot be '{MISTYPED}'.",
        f"'{MISTYPED}' is not an address. {CHECKSUM}",
        "Copy it again from where it comes.",
    ),
    **{
        f"{line} {MISTYPED} --run {UNKNOWN}": (
            f"'{MISTYPED}' is not an address.",
            CHECKSUM,
            "Copy it again from where it comes.",
        )
        for line in (
            "provider register --payout",
            "provider register --signing-key",
            "provider status",
            "fund position",
            "fund deposit 1 --unsigned x.json --from",
            "oracle bond --signer",
            "infer channel show",
            "infer ask hello --server",
        )
    },
    f"provider register --run {UNKNOWN} --keystore none.json --peer foo": (
        "'foo' is not an address.",
        "it has to be host:port.",
        REACHED,
    ),
    f"provider register --run {UNKNOWN} --keystore none.json --peer /ip4/203.0.113.7": (
        "'/ip4/203.0.113.7' is not an address.",
        "a libp2p address ends in /p2p/ and the peer's identity.",
        REACHED,
    ),
    f"provider start --run {UNKNOWN} --keystore none.json --listen h:1 --advertise foo": (
        "'foo' is not an address.",
        "it has to be host:port.",
        REACHED,
    ),
    **{
        f"{command} {address}": (f"Nobody can connect to {address}.", "it means all addresses of one machine.", REACHED)
        for command, address in (
            (f"provider register --run {UNKNOWN} --keystore none.json --peer", "0.0.0.0:7700"),
            (f"provider register --run {UNKNOWN} --keystore none.json --peer", "[::]:7700"),
            (
                f"provider start --run {UNKNOWN} --keystore none.json --listen h:1 --advertise",
                f"/ip4/0.0.0.0/tcp/1{ID}",
            ),
        )
    },
    f"oracle start --run {UNKNOWN} --keystore k.json --transmitter t.json --listen 127.0.0.1:0": (
        "A signer cannot listen at 127.0.0.1:0.",
        "Port 0 takes another port each time, and the others ask at the one in the run's configuration.",
        "Name that one by --listen.",
    ),
    **{
        f"provider start --run {UNKNOWN} --keystore none.json --listen {listen}": (
            f"listen from the command line cannot be '{listen}'.",
            "It must be HOST:PORT, with a port up to 65535 (0 takes a free one).",
            "Correct it there.",
        )
        for listen in ("7800", "127.0.0.1:99999", ":7800")
    },
    f"provider start --run {UNKNOWN} --keystore k.json --listen h:1 --signer-peers nope.json": (
        "nope.json cannot be read.",
        "No such file or directory.",
        'Give a file like {"0x...": "host:port"}.',
    ),
    f"provider start --run {UNKNOWN} --keystore k.json --listen h:1 --threads -1": (
        "There cannot be -1 threads.",
        "",
        "give --threads 1 or more, or leave it out.",
    ),
    "dev reset --dir .": (
        "Nothing in HOME is deleted.",
        "`commonweight dev up` did not make this folder.",
        "Name the one that it made by --dir.",
    ),
    f"fund deposit 1 --run {UNKNOWN}": (
        "A key is needed and none was named.",
        "",
        "Name a keystore by --keystore; `commonweight key new` makes one.",
    ),
    f"run show --run {UNKNOWN} --rpc localhost:8545": (
        "rpc from the command line cannot be 'localhost:8545'.",
        "It must be http or https addresses, separated by commas.",
        "Correct it there.",
    ),
    f"provider register --run {UNKNOWN} --keystore none.json --peer h:1": (
        "A password is needed and there is none.",
        "There is neither a password file nor a terminal to ask on.",
        "Use --password-file, or set COMMONWEIGHT_PASSWORD_FILE to a file's name.",
    ),
    "config view --role king": (
        "There is no role king.",
        "Roles are provider, oracle, infer, audit.",
        "Name one of them.",
    ),
    f"audit proof --run {UNKNOWN}": ("Whose proof?", "", "Name one of --funder and --provider."),
    f"audit export --run {UNKNOWN} --out x --format pdf": (
        "'pdf' are not formats.",
        "",
        "Choose from csv, jsonl, sqlite.",
    ),
    f"oracle start --run {UNKNOWN} --keystore k.json": (
        "Who pays for the transactions?",
        "No transmitter was named.",
        "Name its keystore by --transmitter.",
    ),
    f"provider start --run {UNKNOWN} --keystore k.json": (
        "Where shall this provider listen?",
        "",
        "Name host and port by --listen, or a libp2p relay by --p2p.",
    ),
    "run create --config none.toml --keystore k.json": (
        "The run's file none.toml cannot be read.",
        "No such file or directory.",
        "Check its name; `commonweight run template` prints one to start from.",
    ),
    "dev up --chain bitcoin": ("There is no chain bitcoin.", "", "Choose anvil or ganache."),
}


def in_words(what: str, why: str, fix: str) -> str:
    """An error as it is printed."""
    return f"Error: {what}\n" + (f"  Why: {why}\n" if why else "") + f"  What to do: {fix}\n"


@pytest.mark.unit
@pytest.mark.parametrize("line", WRONG)
def test_wrong_usage(quick_user: InProcess, line: str) -> None:
    done = quick_user.run(*line.split())
    assert (done.out, done.err.replace(str(quick_user.home), "HOME")) == ("", in_words(*WRONG[line]))
    assert done.code == (1 if "password" in done.err else 2)


@pytest.mark.unit
@pytest.mark.parametrize("line", ["version --json", "version", "run template", "nosuch --json"])
def test_what_a_full_stdout_does_not_take_is_said_on_stderr(user: User, line: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            user.command(*line.split()), env=user.environment, stdin=subprocess.DEVNULL, stdout=full,
            stderr=subprocess.PIPE, text=True, timeout=60, cwd=user.home, check=False,
        )  # fmt: skip
    full_up = (
        "The result cannot be written to stdout.",
        "No space left on device.",
        "Make room there or name another place; look at what it has done before you repeat it.",
    )
    assert done.stderr == in_words(*(WRONG["nosuch"] if "nosuch" in line else full_up))
    assert done.returncode == 2


@pytest.mark.unit
def test_a_wrong_password_is_said_without_it(user: User) -> None:
    create_keystore(user.home / "key.json", "right", fast=True)
    (user.home / "password").write_text("hunter2\n")
    done = user.run(
        "fund",
        "deposit",
        "1",
        "--run",
        UNKNOWN,
        "--keystore",
        "key.json",
        "--password-file",
        "password",
        "--rpc",
        NOBODY,
    )
    assert done.code == 1
    assert done.out == ""
    assert done.err == (
        "Error: The keystore key.json cannot be opened.\n  Why: The password is wrong.\n"
        "  What to do: Give the file with this keystore's password by --password-file.\n"
    )


@pytest.mark.unit
def test_a_dead_rpc_is_incomplete_and_shows_no_token(user: User) -> None:
    done = user.run("run", "show", "--run", UNKNOWN, "--rpc", NOBODY + "/secret-token", COMMONWEIGHT_PATIENCE_S="0")
    assert done.code == 3
    assert done.err == (
        "Error: The chain cannot be reached.\n  Why: http://127.0.0.1:1: no connection.\n"
        "  What to do: Check the RPC address and that its node runs, or name several by --rpc, separated by commas.\n"
    )


@pytest.mark.unit
@pytest.mark.parametrize(("result", "error"), [([], "RpcUnavailable"), ("0x12", "NodeFailed")])
def test_a_node_that_talks_nonsense_refutes_nothing(
    quick_user: InProcess, result: object, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Chain.__init__.__kwdefaults__, "patience_s", 0)

    class Mad(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["method"]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"result": "0x1" if asked == "eth_chainId" else result}).encode())

        def log_message(self, *args: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Mad) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        (quick_user.home / "store").mkdir()
        named = ("--run", UNKNOWN, "--rpc", url, "--store", "store", "--json")
        done = quick_user.run("audit", "verify", *named)
        server.shutdown()
    assert done.code == 3
    assert done.json["error"] == error


@pytest.mark.unit
def test_a_fault_of_the_program_is_no_verdict(quick_user: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise TypeError("int() can't convert non-string with explicit base")

    monkeypatch.setattr("commonweight.cli.audit.Session", broken)
    for command in (("audit", "verify"), ("audit", "lineage")):
        done = quick_user.run(*command, "--run", UNKNOWN, "--json")
        assert done.code == 70
        assert done.json["error"] == "Fault"
        assert done.json["why"] == "TypeError: int() can't convert non-string with explicit base"
        assert "in broken" in done.err  # for the report of it
        assert "report" in done.json["fix"]


@pytest.mark.chain
def test_an_unknown_run_is_refused(crowd: Crowd) -> None:
    chain_id = crowd.world.run.chain.chain_id
    done = crowd.user.run("run", "show", "--run", UNKNOWN)
    assert done.code == 2
    assert done.err == (
        f"Error: There is no run at {UNKNOWN}.\n  Why: Chain {chain_id} has no contract at this address.\n"
        "  What to do: Check the address (`commonweight run list` shows the runs) and the RPC address.\n"
    )


@pytest.mark.chain
def test_an_audits_error_is_not_taken_for_a_refutation(crowd: Crowd) -> None:
    """1 is the verdict `refuted`: what kept an audit from a verdict ends with another code."""
    home, run = crowd.user.home, crowd.world.run
    (home / "store").mkdir()
    (home / "empty.json").write_text("{}")
    (home / "garbage.json").write_text("garbage")
    (home / "cut.json").write_text(json.dumps({"schema": "commonweight.proof.v1", "run": run.address}))
    proof = {"schema": "commonweight.proof.v1", "run": run.registry.address}
    (home / "registry.json").write_text(json.dumps(proof))
    for line, code, said in (
        (f"verify --run {UNKNOWN}", 2, "There is no run at"),
        (f"verify --run {run.registry.address}", 2, "The contract there is not a campaign"),
        (f"export --out x --run {UNKNOWN}", 2, "There is no run at"),
        (f"verify --store nowhere --run {run.address}", 2, "nowhere does not exist"),
        (f"lineage --store nowhere --run {run.address}", 2, "nowhere does not exist"),
        ("check-proof empty.json", 2, "empty.json is not a proof"),
        ("check-proof garbage.json", 2, "garbage.json is not JSON"),
        ("check-proof cut.json", 2, "cut.json is not a proof"),
        ("check-proof registry.json", 2, "The contract there is not a campaign"),
        (f"recheck --epoch 0 --provider {UNKNOWN} --confirmations 0", 3, "UnknownProvider"),
        ("watch --once --keystore none.json", 3, "none.json cannot be read"),
    ):
        done = crowd.user.run("audit", *line.split())
        assert (done.code, said in done.err) == (code, True), (line, done.err)
    assert not (home / "nowhere").exists()


@pytest.mark.chain
def test_a_contracts_refusal_comes_by_name(crowd: Crowd) -> None:
    done = crowd.run(0, "fund", "refund")
    assert done.code == 1
    assert done.err == (
        "Error: Campaign.refund was refused by the contract.\n"
        "  Why: NotFailed: refunds are for runs whose deadline passed below the goal.\n"
        "  What to do: Use `commonweight fund claim` for a run that succeeded.\n"
    )


@pytest.mark.chain
def test_another_chain_is_refused(crowd: Crowd) -> None:
    serves = f"serves chain {crowd.world.run.chain.chain_id}, not chain 99"
    proof = crowd.user.home / "proof.json"
    proof.write_text(json.dumps({"schema": "commonweight.proof.v1", "run": crowd.world.run.address}))
    for line in (
        "run show",
        "provider start --keystore 0.json --listen 127.0.0.1:0",
        "oracle start --keystore 0.json --transmitter 1.json --listen 127.0.0.1:7500",
        "infer serve --keystore 0.json",
        "audit verify",
        "audit proof --funder " + UNKNOWN,
        "audit check-proof proof.json",
    ):
        done = crowd.user.run(*line.split(), COMMONWEIGHT_CHAIN_ID="99")
        assert (done.code, serves in done.err) == (2, True), line
    looked = crowd.user.run(*["provider", "doctor", "--keystore", "0.json", "--listen", "127.0.0.1:0", "--json"],
                            COMMONWEIGHT_CHAIN_ID="99")  # fmt: skip
    assert serves in next(f["why"] for f in looked.json["findings"] if f["what"] == "The RPC answers")


@pytest.mark.chain
def test_what_a_service_connects_to_is_the_configured_chain(crowd: Crowd) -> None:
    """Each service's own connection, made from its settings object, refuses another chain."""
    home, world = crowd.user.home, crowd.world
    where = {"campaign": world.run.address, "rpc_urls": (world.url,), "store": "store", "data_dir": home / "data"}
    where |= {"keystore": home / "0.json", "password_file": home / "password", "chain_id": 99}
    connections: dict[str, Callable[[], object]] = {
        "provider": lambda: ProviderSettings(listen="127.0.0.1:0", **where).connect().block(),  # type: ignore[arg-type]
        "oracle": lambda: connect_chain(
            OracleSettings(listen="127.0.0.1:0", transmitter=home / "1.json", **where), None  # type: ignore[arg-type]
        ).block(),
        "server": lambda: settle_now(ServeSettings(**where)),  # type: ignore[arg-type]
    }
    for name, connect in connections.items():
        with pytest.raises(WrongChain, match="not chain 99"):
            connect()
        assert name


@pytest.mark.unit
@pytest.mark.parametrize("bps", ["20000", "-1"])
def test_a_part_above_the_whole_is_refused(quick_user: InProcess, bps: str) -> None:
    done = quick_user.run("data", "prepare", "--out", "d", "--heldout-bps", bps)
    assert (done.code, "'--heldout-bps'" in done.err) == (2, True)
    assert not (quick_user.home / "d").exists()


@pytest.mark.unit
@pytest.mark.parametrize(
    "line", ["infer serve --max-tokens 0", "infer serve --settle-every -5", "infer ask x --max-tokens -1"]
)
def test_what_a_server_could_not_do_is_refused(quick_user: InProcess, line: str) -> None:
    done = quick_user.run(*line.split())
    assert (done.code, "greater than or equal to 1" in done.err, line.split()[-2] in done.err) == (2, True, True)


@pytest.mark.unit
def test_few_documents_are_held_out_as_they_come_and_that_is_said(quick_user: InProcess) -> None:
    for folder, sizes in (("few", (9_000, 100)), ("many", (100,) * 2_000)):
        (quick_user.home / folder).mkdir()
        for number, size in enumerate(sizes):
            text = f"{number} " + "word " * (size // 5)
            (quick_user.home / folder / f"{number}.txt").write_text(text)
        done = quick_user.run("data", "prepare", folder, "--out", f"{folder}-out")
        assert done.code == 0, done.err
        found = re.search(r"([0-9.]+) % is held out, not 5 %", done.err)
        assert (found is not None) == (folder == "few")


@pytest.mark.unit
@pytest.mark.parametrize(
    "line",
    [
        "provider pause --data-dir /proc/x",
        "provider pause --data-dir file",
        "data prepare --out /proc/x texts",
        "data prepare --out file texts",
    ],
)
def test_what_the_system_refuses_is_said_with_its_place(quick_user: InProcess, line: str) -> None:
    (quick_user.home / "file").write_text("")
    (quick_user.home / "texts").mkdir()
    for number in range(50):
        (quick_user.home / "texts" / f"{number}.txt").write_text(f"Text number {number}.")
    done = quick_user.run(*line.split())
    place = re.escape(line.split()[3])
    assert done.code == 2
    assert re.search(rf"Error: {place}\S* cannot be used\.\n  Why: [A-Z].*\n  What to do: Name another", done.err)


@pytest.mark.chain
def test_what_the_system_refuses_an_audit_is_no_verdict(crowd_with: Callable[..., Crowd]) -> None:
    crowd = crowd_with()
    crowd.ok(8, "fund", "deposit", "1", "--yes")
    proof = ("audit", "proof", "--funder", KEYS[8].address, "--confirmations", "0")
    for line in (
        (*proof, "--out", "/proc/x.json"),
        (*proof, "--data-dir", "/proc/x"),
        ("audit", "watch", "--once", "--data-dir", "/proc/x"),
    ):
        done = crowd.user.run(*line)
        assert (done.code, "Error: /proc/x" in done.err) == (2, True), done.err


@pytest.mark.chain
def test_a_service_that_cannot_listen_says_so_at_once(crowd_with: Callable[..., Crowd]) -> None:
    crowd = crowd_with()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        for line in ("provider start", "oracle start --transmitter 1.json"):
            done = crowd.run(0, *line.split(), "--listen", place)
            assert done.code == 2
            assert done.err == in_words(
                f"{place} cannot be listened on.",
                "Address already in use.",
                "Stop what uses the port, or choose another --listen.",
            )


@pytest.mark.unit
def test_a_chain_that_does_not_answer_is_named_while_it_is_tried_again(
    quick_user: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commonweight.cli.session._SILENCE_S", 0.05)
    for line in ("run show", "audit verify", "provider credits " + UNKNOWN, "audit proof --funder " + UNKNOWN):
        began = time.monotonic()
        where = ("--run", UNKNOWN, "--rpc", NOBODY + "/secret-token")
        done = quick_user.run(*line.split(), *where, COMMONWEIGHT_PATIENCE_S="1")
        assert time.monotonic() - began < 4, "its patience is out once, not call by call"
        assert done.code == 3
        assert done.err.startswith("No answer from http://127.0.0.1:1 yet: trying again for 1 s.\nError: The chain")


@pytest.mark.unit
def test_with_json_an_error_is_json_alone_on_stdout(user: User) -> None:
    for arguments, code, kind in (
        (("fund", "deposit", "--json"), 2, "UsageError"),
        (("run", "show", "--run", UNKNOWN, "--rpc", NOBODY, "--json"), 3, "RpcUnavailable"),
    ):
        done = user.run(*arguments, COMMONWEIGHT_PATIENCE_S="0")
        assert done.code == code
        assert done.err == ""
        found = json.loads(done.out)
        assert found["error"] == kind
        assert set(found) == {"error", "what", "why", "fix"}


@pytest.mark.unit
def test_ctrl_c_ends_cleanly(user: User, tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            user.command("run", "show", "--run", UNKNOWN, "--rpc", url),
            env=user.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        connection, _ = silent.accept()  # now it waits for the answer
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        connection.close()
    assert (process.returncode, out, err) == (130, "", "Interrupted.\n")


@pytest.mark.unit
def test_without_a_terminal_nothing_is_done_unasked(user: User) -> None:
    done = user.run("key", "new", "key.json")
    assert done.code == 1
    assert not (user.home / "key.json").exists()


@pytest.mark.chain
def test_an_address_that_is_no_factory_has_no_runs(crowd: Crowd) -> None:
    run = crowd.world.run
    why = f"Chain {run.chain.chain_id} has no contract at this address."
    other = "The contract there is not a factory."
    for address, said in ((KEYS[0].address, why), (UNKNOWN, why), (run.address, other)):
        done = crowd.user.run("run", "list", "--factory", address)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"Error: There is no factory at {address}.\n  Why: {said}\n")


@pytest.mark.chain
def test_the_deployments_of_the_settings_are_audited(crowd_with: Callable[..., Crowd]) -> None:
    crowd = crowd_with()
    chain_id = crowd.world.run.chain.chain_id
    none = crowd.user.run("audit", "deployment")
    assert none.code == 2
    assert f"No deployments file is known for chain {chain_id}." in none.err
    assert "--file" in none.err and "--factory" not in none.err
    write_deployment(crowd.world.deployment, crowd.user.home / "own")
    assert crowd.user.ok("audit", "deployment", COMMONWEIGHT_DEPLOYMENTS="own")["verdict"] == "verified"
    named = crowd.user.run("audit", "deployment", "--file", "nowhere.json")
    assert named.code == 2
    assert "--factory" not in named.err


@pytest.mark.chain
def test_nobody_is_asked_about_what_the_contracts_refuse(
    crowd_with: Callable[..., Crowd], monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = crowd_with()
    asked: list[str] = []
    monkeypatch.setattr("commonweight.cli.session.confirm", lambda question, yes: asked.append(question))
    text = crowd.user.run("run", "template").out.replace("quorum = 2", "quorum = 1")
    text = text.replace("members = [", f'members = [{{signer = "{KEYS[5].address}", peer = "h:1"}}')
    text = text.replace('manifest_sha256 = ""', f'manifest_sha256 = "0x{"ab" * 32}"')
    for wrong, code, said in (
        (text.replace('data_licence = "CC0-1.0"', f'data_licence = "{"x" * 30_000}"'), 1, "CloneArgumentsTooLong"),
        (text.replace("quorum = 1", "quorum = 0"), 2, "signers.quorum in run.toml cannot be 0."),
    ):
        (crowd.user.home / "run.toml").write_text(wrong)
        refused = crowd.run(0, "run", "create", "--config", "run.toml")
        assert (refused.code, said in refused.err) == (code, True), refused.err
    for amount, said in (("11", "of the cap of 10 ETH, 10 ETH are left"), ("0", "ZeroAmount")):
        refused = crowd.run(8, "fund", "deposit", amount)
        assert (refused.code, said in refused.err) == (1, True), refused.err
    crowd.world.warp(crowd.world.run.params.deposit_deadline + 1)
    refused = crowd.run(8, "fund", "deposit", "1")
    assert (refused.code, "DepositsClosed: they were open until" in refused.err) == (1, True), refused.err
    assert asked == []
