"""What all scenes of the demo share: the folder, the screen, the processes, the chain, the store and the people."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from commonweight.chain.client import Chain
from commonweight.chain.ledger_view import LedgerView
from commonweight.chain.local import LocalChain
from commonweight.chain.run import Run
from scenes.cast import Cast, Player
from scenes.stage import Child, Processes, Screen, StageError

ROOT = Path(__file__).resolve().parents[2]
COMMONWEIGHT = [str(Path(sys.executable).with_name("commonweight"))]
EPOCH_S = 36


@dataclass
class Demo:
    """What all phases share."""

    directory: Path
    screen: Screen
    processes: Processes
    local: LocalChain
    store: str
    cast: Cast

    def provider_dir(self, player: Player) -> Path:
        """Where a provider's process keeps its state."""
        return self.directory / f"provider-{player.name.split()[0].lower()}"

    def signing(self, player: Player) -> list[str]:
        """The options that give a program its key."""
        return ["--keystore", str(player.keystore), "--password-file", str(self.cast.password_file)]

    def environment(self) -> dict[str, str]:
        """The environment of the programs: one arithmetic thread each, and nothing of Commonweight's from outside.

        Their state is the demo's own too: a new local chain has the addresses of the last one, but none of its past.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COMMONWEIGHT_")}
        own = {"COMMONWEIGHT_STATE_DIR": str(self.directory / "state" / "nonces"), "COMMONWEIGHT_CONFIG": os.devnull}
        return {**kept, **own, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def check_alive(self, children: Sequence[Child]) -> None:
        """Raise StageError if one of the processes has ended."""
        for child in children:
            if not child.alive():
                raise StageError(f"{child.name} ended by itself.", child.tail(), f"Its log is {child.log}.")

    def chain(self, player: Player | None = None) -> Chain:
        """A client of the local chain, signing as `player`."""
        key = player.key if player else None
        return Chain([self.local.url], key, state_dir=self.directory / "nonces")

    def common(self, run: Run) -> list[str]:
        """The options that every long-running command gets."""
        return ["--run", run.addresses.campaign, "--rpc", self.local.url, "--store", self.store]


def credits_of(ledger: LedgerView, index: int) -> int:
    """A provider's credits in the last final tree."""
    leaf = ledger.leaf(index)
    return leaf.C if leaf else 0
