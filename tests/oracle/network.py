"""A whole run with several signers and short epochs: chain, store, signers and members as real processes."""

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from commonweight.chain.events import ReportSubmitted
from commonweight.chain.keys import Key
from commonweight.chain.local import Kind, start_local
from commonweight.chain.structs import EpochState, RunParams
from tests.trainer.world import Process, World


class Network(World):
    """Three signers, two of whom make a quorum; epochs of some seconds. `params` changes the run's parameters; "later"
    among them puts everything off by so many seconds, for machines that are busy.
    """

    def __init__(
        self, folder: Path, data_dir: Path, *, signers: int = 3, kind: Kind = "anvil",
        params: dict[str, Any] | None = None, **config: object,
    ) -> None:  # fmt: skip
        training = {"h": 20, "batch": 24, "seq_len": 32, "trace_every": 5, "block": 64, "min_members": 2}
        config["training"] = {**training, **config.get("training", {})}  # type: ignore[dict-item]
        super().__init__(folder, data_dir, signers=signers, **config)
        self.kind: Kind = kind
        self.param_changes = params or {}

    def __enter__(self) -> Self:
        self.local = start_local(self.kind, directory=self.folder / "chain", block_time_s=1, accounts=30)
        self._keys = iter([Key.from_hex(account.key) for account in self.local.accounts])
        try:
            self._create()
        except BaseException:
            self.local.stop()
            raise
        return self

    def _params(self, config_cid: str, signers: list[Key], transmitters: list[Key]) -> RunParams:
        params = super()._params(config_cid, signers, transmitters)
        short = replace(
            params, epoch_length=60, last_epoch=5, tail_epochs=2, report_span=45, attempt_length=12,
            challenge_window=3, answer_time=1, anchor_window=4, dispute_period=60,
            epoch_start=params.epoch_start + 10, deposit_deadline=params.deposit_deadline,
        )  # fmt: skip
        changes = dict(self.param_changes)
        later = changes.pop("later", 0)
        short = replace(
            short, epoch_start=short.epoch_start + later, deposit_deadline=short.deposit_deadline + later
        )  # fmt: skip
        return replace(short, **changes)

    # --- signers -------------------------------------------------------------------------------------------------

    def lines(self, number: int) -> list[dict[str, Any]]:
        """What a signer has logged, over restarts; a line that a kill cut off is left out."""
        log: Process = self.signers[number]
        if not log.log.exists():
            return []
        found = []
        for line in log.log.read_text(errors="replace").splitlines():
            if line.startswith("{") and line.endswith("}"):
                found.append(json.loads(line))
        return found

    def said(self, number: int, event: str, **fields: object) -> list[dict[str, Any]]:
        """A signer's log lines of one event with these fields."""
        return [
            line
            for line in self.lines(number)
            if line.get("event") == event and all(line.get(k) == v for k, v in fields.items())
        ]

    def kill_signer(self, number: int, *, restart: bool = True) -> None:
        """SIGKILL, and start again at once."""
        self.signers[number].send(signal.SIGKILL)
        assert self.signers[number].process is not None
        self.signers[number].process.wait()
        if restart:
            self.signers[number].start()

    # --- the chain -----------------------------------------------------------------------------------------------

    def credited(self) -> list[int]:
        """Final epochs with credits."""
        closed = range(self.run.oracle.next_epoch())
        infos = {epoch: self.run.oracle.epoch_info(epoch) for epoch in closed}
        return [e for e, info in infos.items() if info.state == EpochState.FINAL and info.epoch_credits > 0]

    def wait_credited(self, count: int, timeout_s: float = 300) -> list[int]:
        """Wait for that many final epochs with credits."""
        self.wait(f"{count} epochs with credits", lambda: len(self.credited()) >= count, timeout_s)
        return self.credited()

    def reports(self) -> dict[int, list[ReportSubmitted]]:
        """Reports on chain by epoch."""
        found: dict[int, list[ReportSubmitted]] = {}
        for event in self.run.events_of(ReportSubmitted):
            found.setdefault(event.epoch, []).append(event)
        return found

    def recorded(self, timeout_s: float, at_least: int, coordinator: int = 0) -> list[dict[str, Any]]:
        """Wait for that many records."""
        self.wait(
            f"{at_least} records", lambda: len(self.said(coordinator, "recorded")) >= at_least, timeout_s
        )  # fmt: skip
        return self.said(coordinator, "recorded")
