"""Which checkpoint to serve, and loading it: only one that is attested on chain, and only if every byte is as
attested.
"""

from __future__ import annotations

from dataclasses import dataclass

from commonweight.chain.events import ReportSubmitted
from commonweight.chain.run import Run
from commonweight.chain.structs import Checkpoint as ChainCheckpoint
from commonweight.errors import ContentMismatch, InferenceError
from commonweight.exact.arrays import F32
from commonweight.exact.checkpoint import OUTER_FILE, WEIGHTS_FILE, read_flat
from commonweight.exact.layout import Layout
from commonweight.protocol.data import DataManifest
from commonweight.protocol.fields import digest_bytes, hex32, lower_address
from commonweight.protocol.outcome_documents import Manifest, ManifestFile
from commonweight.protocol.runconfig import RunConfig
from commonweight.store import ContentStore, parse_cid

LATEST = "latest"


@dataclass(frozen=True)
class Attested:
    """An attested checkpoint: its manifest's sha256, its directory's CID, and what its epoch's report says."""

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
    found: ChainCheckpoint | None = None
    if choice == LATEST:
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
    return _placed(run, found, block)


def find_newer(run: Run, than: Attested) -> Attested | None:
    """The newest checkpoint, from final blocks only, if its epoch is a later one. Raises InferenceError."""
    block = run.chain.finalized_block().number
    count = run.checkpoints.count(block=block)
    found = run.checkpoints.checkpoint_at(count - 1, block=block) if count else None
    if found is None or found.epoch <= than.epoch or found.manifest_sha256 == than.manifest_sha256:
        return None
    return _placed(run, found, block)


def load_config(run: Run, store: ContentStore) -> RunConfig:
    """run.json, verified against the sha256 that the chain names."""
    params = run.params
    return RunConfig.load(store.get(parse_cid(params.config_cid), 2**20, hex32(params.config_sha256)))


def load_data_manifest(config: RunConfig, store: ContentStore) -> DataManifest:
    """The manifest of the training data, which names the tokenizer; verified against run.json."""
    if not config.data.manifest_cid:
        raise InferenceError(
            "The run does not publish its data manifest", "run.json names no CID for it", "the tokenizer is not known"
        )
    return DataManifest.load(store.get(parse_cid(config.data.manifest_cid), 2**26, config.data.manifest_sha256))


def load_weights(run: Run, config: RunConfig, store: ContentStore, attested: Attested) -> F32:
    """The weights float32 [N] of an attested checkpoint, after verifying its manifest and every file that it names.

    Raises ContentMismatch, ContentUnavailable or FormatError: nothing else than what was attested is ever served.
    """
    directory = parse_cid(attested.cid)
    manifest = Manifest.load(store.get_file(directory, "manifest.json", 2**16, hex32(attested.manifest_sha256)))
    if manifest.run != lower_address(run.address) or manifest.config != config.sha256:
        raise ContentMismatch(
            f"The checkpoint {hex32(attested.manifest_sha256)} belongs to another run",
            f"its manifest names run {manifest.run} and configuration {manifest.config}",
            "tell the run's signers: they have attested a checkpoint that is not theirs",
        )
    layout = Layout.from_model(config.model)

    def flat(name: str, file: ManifestFile) -> F32:
        return read_flat(layout, store.get(parse_cid(file.cid), file.size, file.sha256), name)

    flat(OUTER_FILE, manifest.outer)  # verified, and out of memory again before the weights come
    return flat(WEIGHTS_FILE, manifest.weights)


def _placed(run: Run, checkpoint: ChainCheckpoint, block: int) -> Attested:
    cid = _cid(run, checkpoint, block)
    return Attested(checkpoint.manifest_sha256, cid, checkpoint.epoch, checkpoint.round, checkpoint.loss_micro)


def _cid(run: Run, checkpoint: ChainCheckpoint, block: int) -> str:
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
