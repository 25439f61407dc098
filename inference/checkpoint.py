"""Which checkpoint to serve, and loading it: only one that is attested on chain, and only if every byte is as
attested.
"""

from __future__ import annotations

from dataclasses import dataclass

from commonweight.chain.events import ReportSubmitted
from commonweight.chain.run import Run
from commonweight.chain.structs import Checkpoint
from commonweight.errors import InferenceError
from commonweight.protocol.fields import digest_bytes, hex32


@dataclass(frozen=True)
class Attested:
    """An attested checkpoint: the sha256 of its manifest, the CID of its directory, and what its epoch's report says."""

    manifest_sha256: bytes
    cid: str
    epoch: int
    round: int
    loss_micro: int


def find_attested(run: Run, choice: str) -> Attested:
    """The checkpoint "latest", or the one whose manifest has the sha256 `choice` (0x-hex), from final blocks only.

    Raises InferenceError when there is none.
    """
    block = run.chain.finalized_block().number
    count = run.checkpoints.count(block=block)
    found: Checkpoint | None = None
    if choice == "latest":
        found = run.checkpoints.checkpoint_at(count - 1, block=block) if count else None
    elif run.checkpoints.is_attested(wanted := digest_bytes(choice), block=block):
        checkpoints = (run.checkpoints.checkpoint_at(at, block=block) for at in reversed(range(count)))
        found = next(one for one in checkpoints if one.manifest_sha256 == wanted)
    if found is None:
        raise InferenceError(
            f"The checkpoint {choice} is not attested by this run" if count else "This run has no attested checkpoint",
            "its hash is not in the run's CheckpointRegistry at the last final block",
            "wait until an epoch is final, or name an attested checkpoint",
        )
    return Attested(found.manifest_sha256, _cid(run, found, block), found.epoch, found.round, found.loss_micro)


def _cid(run: Run, checkpoint: Checkpoint, block: int) -> str:
    """Where the report says that the checkpoint is. The registry keeps digests only."""
    wanted = checkpoint.manifest_sha256
    reports = (event.report for event in run.events_of(ReportSubmitted, to_block=block))
    cids = [r.checkpoint_cid for r in reports if r.epoch == checkpoint.epoch and r.checkpoint == wanted]
    if not cids:
        raise InferenceError(
            f"The place of checkpoint {hex32(wanted)} is not known",
            "the node has no event of its report",
            "use an RPC address that keeps old events",
        )
    return cids[-1]
