"""A development chain as a child process: Anvil or Ganache out of `node_modules`, with a block timer and funded keys.

The child is in a process group of its own, so that Ctrl-C in a terminal reaches only us and we stop it in order;
should we die without doing so, the kernel stops it (PR_SET_PDEATHSIG, set by a one-line launcher in the thread that
waits for the child). With `detached=True` it stays until someone stops its process id: that is `commonweight dev up`.
"""

from __future__ import annotations

import atexit
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from commonweight.errors import ChainError

Kind = Literal["anvil", "ganache"]
MNEMONIC = "test test test test test test test test test test test junk"  # the well-known development phrase
CHAIN_IDS: dict[str, int] = {"anvil": 31337, "ganache": 1337}
READY_S = 30.0
STOP_S = 10.0

# argv: parent pid, command... The signal is asked for after fork in the child itself, so that no Python code runs
# between fork and exec of a threaded parent; the check of the parent closes the gap before it.
_LAUNCHER = (
    "import ctypes,os,signal,sys\n"
    "if sys.platform=='linux': ctypes.CDLL(None).prctl(1,signal.SIGKILL)\n"
    "if os.getppid()!=int(sys.argv[1]): sys.exit(1)\n"
    "os.execvp(sys.argv[2],sys.argv[2:])\n"
)


@dataclass(frozen=True)
class DevAccount:
    """A funded development account. The key is public knowledge: never use it on a chain that matters."""

    address: str
    key: str = field(repr=False)


@dataclass
class LocalChain:
    """A running development chain. Use it as a context manager, or call `stop()`; stopping twice is fine."""

    kind: Kind
    url: str
    chain_id: int
    pid: int
    log_path: Path
    accounts: tuple[DevAccount, ...]
    _process: subprocess.Popen[bytes] = field(repr=False)
    _scratch: Path | None = field(default=None, repr=False)

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Stop the process: SIGTERM (both chains then write their state), after ten seconds SIGKILL to its group."""
        _end(self._process)
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        atexit.unregister(self.stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def dev_accounts(count: int) -> tuple[DevAccount, ...]:
    """The first `count` accounts of the development phrase, the same on both chains."""
    from eth_account import Account

    Account.enable_unaudited_hdwallet_features()
    found = (Account.from_mnemonic(MNEMONIC, account_path=f"m/44'/60'/0'/0/{i}") for i in range(count))
    return tuple(DevAccount(str(a.address), "0x" + bytes(a.key).hex()) for a in found)


def start_local(
    kind: Kind,
    *,
    directory: Path | None = None,
    port: int | None = None,
    block_time_s: int | None = 1,
    accounts: int = 10,
    state: Path | None = None,
    detached: bool = False,
) -> LocalChain:
    """Start a chain and return when it answers.

    `directory` gets the log (a temporary one that `stop()` removes if None); `port` None takes a free one;
    `block_time_s` None mines a block for each transaction instead of on a timer; `state` is where the chain's data
    survives a restart (a file for Anvil, a folder for Ganache). Raises ChainError if the program is not there or does
    not come up.
    """
    scratch = tempfile.mkdtemp(prefix="commonweight-chain-") if directory is None else None
    folder = Path(scratch) if scratch else Path(str(directory))
    folder.mkdir(parents=True, exist_ok=True)
    command = _anvil_command if kind == "anvil" else _ganache_command
    log_path = folder / f"{kind}.log"
    for attempt in range(5):
        chosen = _free_port(port)
        process = _spawn(command(chosen, block_time_s, accounts, state), log_path, detached)
        url = f"http://127.0.0.1:{chosen}"
        try:
            ready = _wait_ready(process, chosen)
        except BaseException:
            _end(process)
            raise
        if ready:
            chain = LocalChain(
                kind,
                url,
                CHAIN_IDS[kind],
                process.pid,
                log_path,
                dev_accounts(accounts),
                process,
                Path(scratch) if scratch else None,
            )
            if not detached:
                atexit.register(chain.stop)
            return chain
        if port is not None or attempt == 4:
            break
    tail = log_path.read_text(errors="replace")[-500:].strip()
    if scratch:
        shutil.rmtree(scratch, ignore_errors=True)
    raise ChainError(
        f"The local chain ({kind}) did not start.",
        tail or "It ended without saying why.",
        "Free the port or choose another, and run `npm ci` if node_modules is not complete.",
    )


def start_anvil(*, directory: Path | None = None, port: int | None = None, block_time_s: int | None = 1) -> LocalChain:
    """`start_local("anvil", ...)`."""
    return start_local("anvil", directory=directory, port=port, block_time_s=block_time_s)


def start_ganache(
    *, directory: Path | None = None, port: int | None = None, block_time_s: int | None = 1
) -> LocalChain:
    """`start_local("ganache", ...)`."""
    return start_local("ganache", directory=directory, port=port, block_time_s=block_time_s)


def stop_pid(pid: int) -> bool:
    """Stop a detached chain by its process id; False if there is none. Waits until it has gone."""

    def send(number: int) -> bool:
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            return False
        return True

    if not pid_runs(pid) or not send(signal.SIGTERM):
        return False
    deadline = time.monotonic() + STOP_S
    while pid_runs(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    if pid_runs(pid):
        send(signal.SIGKILL)
    return True


def pid_runs(pid: int) -> bool:
    """Whether a process with this id runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:  # a zombie of ours has ended too
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return True


def _anvil_command(port: int, block_time_s: int | None, accounts: int, state: Path | None) -> list[str]:
    command = [_program("anvil"), "--host", "127.0.0.1", "--port", str(port), "--quiet", "--mnemonic", MNEMONIC]
    command += [
        "--accounts",
        str(accounts),
        "--balance",
        "10000",
        "--chain-id",
        str(CHAIN_IDS["anvil"]),
        "--slots-in-an-epoch",
        "1",
    ]
    if block_time_s is not None:
        command += ["--block-time", str(block_time_s)]
    if state is not None:
        command += ["--state", str(state)]
    return command


def _ganache_command(port: int, block_time_s: int | None, accounts: int, state: Path | None) -> list[str]:
    command = [*_ganache_program(), "--server.host", "127.0.0.1", "--server.port", str(port), "--logging.quiet", "true"]
    command += [
        "--wallet.mnemonic",
        MNEMONIC,
        "--wallet.totalAccounts",
        str(accounts),
        "--wallet.defaultBalance",
        "10000",
    ]
    command += [
        "--chain.chainId",
        str(CHAIN_IDS["ganache"]),
        "--chain.hardfork",
        "shanghai",
        "--miner.blockGasLimit",
        "30000000",
    ]
    if block_time_s is not None:
        command += ["--miner.blockTime", str(block_time_s)]
    if state is not None:
        command += ["--database.dbPath", str(state)]
    return command


def find_programs(kind: Kind) -> list[str]:
    """The command that starts a kind of chain. Raises ChainError if it is not installed."""
    return [_program("anvil")] if kind == "anvil" else _ganache_program()


def _node_modules() -> list[Path]:
    places = [*Path.cwd().resolve().parents, Path.cwd().resolve(), *Path(__file__).resolve().parents]
    return [p / "node_modules" for p in reversed(places) if (p / "node_modules").is_dir()]


def _program(name: str) -> str:
    for modules in _node_modules():
        for binary in sorted(modules.glob(f"@foundry-rs/{name}-*/bin/{name}*")):
            if os.access(binary, os.X_OK):
                return str(binary)
    found = shutil.which(name)
    if found is None:
        raise ChainError(
            f"The program {name} is not there.", "It is in no node_modules above here and not on PATH.", "Run `npm ci`."
        )
    return found


def _ganache_program() -> list[str]:
    node = shutil.which("node")
    for modules in _node_modules():
        script = modules / "ganache" / "dist" / "node" / "cli.js"
        if node is not None and script.is_file():
            return [node, str(script)]
    found = shutil.which("ganache")
    if found is None:
        raise ChainError(
            "The program ganache is not there.",
            "It is in no node_modules above here and not on PATH.",
            "Install Node 20 and run `npm ci`.",
        )
    return [found]


def _free_port(wanted: int | None) -> int:
    """A free port, or the wanted one if it is free: else another chain there would be taken for ours."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted or 0))
        except OSError as error:
            raise ChainError(
                f"The local chain cannot listen on port {wanted}.",
                error.strerror or "",
                "Free the port, or choose another.",
            ) from None
        return int(probe.getsockname()[1])


def _spawn(command: list[str], log_path: Path, detached: bool) -> subprocess.Popen[bytes]:
    def launch(full: list[str]) -> subprocess.Popen[bytes]:
        with log_path.open("ab") as log:
            return subprocess.Popen(full, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    if detached:
        return launch(command)
    return _launch_in_waiting_thread(lambda: launch(dying_with_us(command)))


def dying_with_us(command: Sequence[str]) -> list[str]:
    """The command by way of a launcher, so that the kernel kills it when the thread that started it has ended."""
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command]


def _launch_in_waiting_thread(launch: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """PR_SET_PDEATHSIG fires when the *thread* that forked ends, so a thread is kept for as long as the child lives."""
    started: list[subprocess.Popen[bytes]] = []
    failed: list[OSError] = []
    done = threading.Event()

    def body() -> None:
        try:
            started.append(launch())
        except OSError as error:
            failed.append(error)
        finally:
            done.set()
        if started:
            started[0].wait()

    threading.Thread(target=body, name="local-chain", daemon=True).start()
    done.wait()
    if failed:
        raise failed[0]
    return started[0]


def _wait_ready(process: subprocess.Popen[bytes], port: int) -> bool:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []})
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            if "result" in json.load(connection.getresponse()):
                return process.poll() is None
        except (OSError, ValueError, http.client.HTTPException):
            time.sleep(0.02)
        finally:
            connection.close()
    _end(process)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
