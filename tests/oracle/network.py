"""A whole run with several signers and short epochs: chain, store, signers and members as real processes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from commonweight.chain.keys import Key
from commonweight.chain.structs import RunParams
from tests.trainer.world import Process, World


class Network(World):
    """Three signers, two of whom make a quorum; epochs of some seconds. `params` changes the run's parameters."""

    def __init__(
        self, folder: Path, data_dir: Path, *, signers: int = 3, kind: str = "anvil",
        params: dict[str, Any] | None = None, **config: object,
    ) -> None:  # fmt: skip
        super().__init__(folder, data_dir, signers=signers, **config)
        self.kind = kind
        self.param_changes = params or {}

    def _params(self, config_cid: str, signers: list[Key], transmitters: list[Key]) -> RunParams:
        params = super()._params(config_cid, signers, transmitters)
        short = replace(
            params, epoch_length=40, last_epoch=1, tail_epochs=2, report_span=24, attempt_length=8, challenge_window=3,
            answer_time=1, anchor_window=3, dispute_period=60,
        )  # fmt: skip
        return replace(short, **self.param_changes)

    def oracle_log(self, number: int) -> str:
        """A signer's log."""
        log: Process = self.signers[number]
        return log.log.read_text(errors="replace") if log.log.exists() else ""
