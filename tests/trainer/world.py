"""A whole run on this machine for end-to-end tests: chain, store, signers and members as real processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from commonweight.chain.client import Chain
from commonweight.chain.contracts import Campaign, Factory
from commonweight.chain.deploy import deploy_factory
from commonweight.chain.keys import Key, create_keystore
from commonweight.chain.local import LocalChain, start_local
from commonweight.chain.run import Run
from commonweight.chain.structs import ZERO_ADDRESS, Milestone, RunParams
from commonweight.protocol.runconfig import RunConfig
from commonweight.store import open_store
from trainer.data import Corpus, publish

ROOT = Path(__file__).resolve().parents[2]
ETH = 10**18
PASSWORD = "a password of the tests"
T = TypeVar("T")
WORTH: dict[str, object] = {"h": 20, "batch": 64, "seq_len": 32}
"""A `training` whose rounds are long enough to be worth credits, with the tiny model."""
_PATIENCE_S = 300.0
"""So long that only what hangs is given up, however busy the machine is."""


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@dataclass
class Process:
    """A child process with its log."""

    name: str
    argv: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("COMMONWEIGHT_")}
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
            )
        return self

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            if self.alive:
                self.process.kill()
            self.process.wait()

    def end(self, timeout_s: float = 30) -> int:
        assert self.process is not None
        self.send(signal.SIGTERM)
        return self.process.wait(timeout_s)


@dataclass
class Provider(Process):
    """A member: its data directory tells what it does."""

    folder: Path = Path()
    key: Key = field(default_factory=Key.new)

    def lines(self) -> list[dict[str, Any]]:
        path = self.folder / "status.jsonl"
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def checkpoints(self) -> dict[int, str]:
        """Checkpoint by round, as this member came to it."""
        return {line["round"]: line["checkpoint"] for line in self.lines() if "checkpoint" in line}

    def counted(self) -> list[int]:
        """Rounds in which this member's work was counted."""
        return [line["round"] for line in self.lines() if line.get("counted")]

    def phase(self) -> tuple[int, str, int]:
        """Round, phase and step of the last line."""
        lines = self.lines()
        return (lines[-1]["round"], lines[-1]["phase"], lines[-1]["step"]) if lines else (0, "", 0)

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class World:
    """Chain, signers and providers of one run; leaving it ends them all. `host` is where they listen.

    Epochs last an hour, so that no report is made while members are tried; or `epoch_s` seconds, 75 at least.
    """

    def __init__(
        self, folder: Path, data_dir: Path, *, signers: int = 1, host: str = "127.0.0.1", epoch_s: int = 3600,
        **config: object,
    ) -> None:  # fmt: skip
        self.folder, self.host, self.epoch_s = folder, host, epoch_s
        self.password_file = folder / "password"
        self.password_file.write_text(PASSWORD)
        self.store_dir = folder / "store"
        self.signer_count = signers
        self.data_dir = data_dir
        self.changes = config
        self.providers: dict[str, Provider] = {}
        self.signers: list[Process] = []

    def __enter__(self) -> Self:
        self.local: LocalChain = start_local("anvil", directory=self.folder / "chain", block_time_s=1, accounts=30)
        self._keys = iter([Key.from_hex(account.key) for account in self.local.accounts])
        try:
            self._create()
        except BaseException:
            self.local.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*self.providers.values(), *self.signers]:
            process.kill()
        self.local.stop()

    # --- the run -----------------------------------------------------------------------------------------------------

    def chain(self, key: Key | None = None) -> Chain:
        return Chain([self.local.url], key, state_dir=self.folder / "nonces")

    def _create(self) -> None:
        from tests.trainer.conftest import TINY

        creator, funder = next(self._keys), next(self._keys)
        signers = sorted((next(self._keys) for _ in range(self.signer_count)), key=lambda key: int(key.address, 16))
        transmitters = [next(self._keys) for _ in range(self.signer_count)]
        store = open_store(self.store_dir)
        ports = [free_port(self.host) for _ in signers]
        settings: dict[str, Any] = {
            "name": "world",
            "model": TINY,
            "genesis_seed": "0x" + os.urandom(32).hex(),
            "data": {
                "manifest_cid": str(publish(store, self.data_dir)),
                "manifest_sha256": Corpus.open(self.data_dir).manifest.sha256,
            },
            "training": {
                "h": 40,
                "batch": 2,
                "seq_len": 16,
                "trace_every": 5,
                "block": 64,
                "min_members": 2,
                # cheap steps, and payloads that are no more alike in the first rounds than later on
                "inner": {"optimizer": "adamw"},
                "codec": "int8",
                "result_codec": "int8",
                "carry_residual": False,
            },
            "timing_ms": {"train": 12000, "exchange": 6000, "record": 3000, "slow_ban": 5000},
            "signers_peers": {s.address.lower(): f"{self.host}:{p}" for s, p in zip(signers, ports, strict=True)},
        }
        for section, values in self.changes.items():
            settings[section] = {**settings.get(section, {}), **values} if isinstance(values, dict) else values
        self.config = RunConfig.parse(settings)
        config_cid = str(store.put(self.config.to_bytes()))
        factory = Factory(self.chain(creator), deploy_factory(self.chain(creator)).factory.address)
        params = self._params(config_cid, signers, transmitters)
        created, _ = factory.create_run(params)
        self.run = Run.at(self.chain(), created.campaign)
        Campaign(self.chain(funder), created.campaign, ZERO_ADDRESS).deposit(params.goal)
        for signer, transmitter in zip(signers, transmitters, strict=True):
            Run.at(self.chain(transmitter), created.campaign).oracle.post_bond(signer.address, params.signer_bond)
            self._add_signer(signer, transmitter)

    def _params(self, config_cid: str, signers: list[Key], transmitters: list[Key]) -> RunParams:
        start, short = self.chain().timestamp() + 6, self.epoch_s < 3600
        return RunParams(
            asset=ZERO_ADDRESS, goal=ETH, cap=100 * ETH, deposit_deadline=start, capital_bps=5000,
            wage_per_credit=10**9, oracle_bps=500, server_bps=1000, epoch_start=start, epoch_length=self.epoch_s,
            last_epoch=5, tail_epochs=2, report_span=45 if short else 600, attempt_length=15 if short else 120,
            challenge_window=6 if short else 60, answer_time=1 if short else 10, dispute_period=self.epoch_s,
            anchor_window=2, rotation_delay=self.epoch_s, withdrawal_delay=3600,
            max_credits_per_epoch=10**9, anchor_every=1, evidence_retention=86400, provider_stake=ETH, signer_bond=ETH,
            challenge_bond=ETH, dispute_bond=ETH, quorum=len(signers) // 2 + 1,
            signers=tuple(key.address for key in signers), transmitters=tuple(key.address for key in transmitters),
            config_sha256=bytes.fromhex(self.config.sha256[2:]), config_cid=config_cid, name="world", data_licence="",
            weights_licence="", milestones=(Milestone.open(10_000),),
        )  # fmt: skip

    def _keystore(self, name: str, key: Key) -> Path:
        path = self.folder / f"{name}.json"
        create_keystore(path, PASSWORD, key=key, fast=True)
        return path

    def _common(self, keystore: Path, name: str, rpc: str | None = None) -> list[str]:
        return [
            "--run", self.run.addresses.campaign, "--rpc", rpc or self.local.url, "--store", str(self.store_dir),
            "--keystore", str(keystore), "--password-file", str(self.password_file),
            "--data-dir", str(self.folder / name),
        ]  # fmt: skip

    # --- processes ---------------------------------------------------------------------------------------------------

    def _add_signer(self, signer: Key, transmitter: Key) -> None:
        number = len(self.signers)
        keystore = self._keystore(f"signer-{number}", signer)
        argv = [*command(), "oracle", "start", *self._common(keystore, f"oracle-{number}")]
        argv += ["--transmitter", str(self._keystore(f"transmitter-{number}", transmitter))]
        self.signers.append(Process(f"signer-{number}", argv, self.folder / f"signer-{number}.log"))

    def start_signers(self) -> None:
        for signer in self.signers:
            signer.start()

    def add(
        self,
        name: str,
        adversary: str | None = None,
        ranks: int = 1,
        extra: Sequence[str] = (),
        prefix: Sequence[str] = (),
        runner: Sequence[str] = (),
        host: str | None = None,
        rpc: str | None = None,
        relay: str | None = None,
    ) -> Provider:
        """Register a provider and start its process, which lies when it is an adversary; or several, by torchrun.

        `runner` are the interpreter's words instead of the command line's own; `host` and `rpc` are for one that lives
        elsewhere, `relay` for one that is reached at a libp2p relay only.
        """
        key = next(self._keys)
        address, where = f"{host or self.host}:{free_port(self.host)}", ["--listen"]
        if relay is not None:
            from commonweight.net.libp2p import address_at

            address, where = address_at(self.folder / name, relay), ["--p2p", relay]
        registry = Run.at(self.chain(key), self.run.addresses.campaign).registry
        registry.register(key.address, key.address, address, self.run.params.provider_stake)
        argv = command() if adversary is None else [sys.executable, "-m", "tests.adversaries.as_member", adversary]
        argv = [sys.executable, *runner] if runner else argv
        if ranks > 1:
            argv = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
            argv += ["-m", "--", "commonweight.cli.main"]
        argv += ["provider", "start", *self._common(self._keystore(name, key), name, rpc)]
        argv += [*where, *([] if relay else [address]), "--log-level", "info", *extra]
        provider = Provider(name, [*prefix, *argv], self.folder / f"{name}.log", folder=self.folder / name, key=key)
        self.providers[name] = provider
        provider.start()
        return provider

    def index(self, provider: Provider) -> int:
        return self.run.registry.index_of(provider.key.address)

    # --- waiting -----------------------------------------------------------------------------------------------------

    def wait(self, what: str, condition: Callable[[], T], timeout_s: float = _PATIENCE_S) -> T:
        """Wait until `condition` is true; fails with all logs when it does not become so."""
        until = time.monotonic() + timeout_s
        while not (value := condition()):
            if time.monotonic() > until:
                raise AssertionError(f"waited in vain: {what}\n{self.report()}")
            time.sleep(0.1)
        return value

    def wait_round(self, number: int, *providers: Provider, timeout_s: float = _PATIENCE_S) -> None:
        """Wait until these members have come to the checkpoint of a round."""
        for provider in providers:
            self.wait(f"{provider.name} in round {number}", lambda p=provider: number in p.checkpoints(), timeout_s)

    def same_checkpoints(self, *providers: Provider) -> dict[int, str]:
        """Checkpoints by round, after checking that nobody came to another one."""
        merged: dict[int, str] = {}
        for provider in providers:
            for number, checkpoint in provider.checkpoints().items():
                assert merged.setdefault(number, checkpoint) == checkpoint, f"round {number} is forked"
        return merged

    def empty_rounds(self) -> set[int]:
        """Rounds whose record counts nobody, by what the members say."""
        lines = [line for provider in self.providers.values() for line in provider.lines() if "checkpoint" in line]
        return {line["round"] for line in lines if line["members"] == 0}

    def report(self) -> str:
        pieces = []
        for process in [*self.providers.values(), *self.signers]:
            text = process.log.read_text(errors="replace") if process.log.exists() else ""
            pieces.append(f"--- {process.name} (alive: {process.alive})\n{text[-3000:]}")
        return "\n".join(pieces)


def command() -> list[str]:
    return [sys.executable, "-c", "from commonweight.cli.main import app; app()"]
