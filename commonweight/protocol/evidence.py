"""The evidence directory of an epoch: what lies where, written and read in one place.

    index.json                              every other file's path, size and sha256
    config.json                             run.json
    plans/R.json  records/R.json            signed documents, canonical JSON
    commitments/R-I-DIGEST.json             every anchored commitment of member I; DIGEST: its first 16 hex digits
    receipts/R-I-SIGNER.json  results/R-PART-REDUCER.json
    verdicts/R-I-CHECK-SEGMENT-SIGNER.json  SEGMENT is the leaf a replay started from, or x
    anchors.json                            anchored roots with their leaves
    checkpoints/R.json                      manifests of the checkpoints that the rounds made
    offences/DIGEST.json                    proven offences in these rounds
    evaluation.json  credits.json  leaves.jsonl  standing.json

Files are a function of their content: the same documents give the same index, in any order.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations, islice
from typing import ClassVar

from commonweight.errors import FormatError
from commonweight.protocol.canonical import Json, JsonObject, dumps, loads, sha256_hex
from commonweight.protocol.documents import Signed
from commonweight.protocol.exchange_documents import MOST_MEASURED
from commonweight.protocol.fields import U32, U64, Fields
from commonweight.protocol.records import (
    MAX_MEMBERS,
    Anchor,
    MeasuredLink,
    Record,
    Result,
    Verdict,
)
from commonweight.protocol.sumtree import Leaf

__all__ = [
    "INDEX",
    "STANDING",
    "AnchoredRoot",
    "Evaluation",
    "Evidence",
    "RoundFiles",
    "heard",
    "leaves_to_lines",
    "measured_links",
]

INDEX = "index.json"
STANDING = "standing.json"
SCHEMA = "commonweight.evidence.v1"
MAX_FILES = 100_000
MAX_BYTES = 1 << 28
"""What a report's evidence can have at the most; signers send it to each other as one body."""
DIGITS = 16
"""Of a commitment's digest, in the name of its file."""
_MOST_CHOICES = 4096


@dataclass(frozen=True)
class AnchoredRoot:
    """A root on chain with its leaves; `deadline` in unix seconds."""

    round: int
    deadline: int
    root: str
    commitments: tuple[str, ...]

    def to_json(self) -> JsonObject:
        """The entry of anchors.json."""
        return {
            "round": self.round, "deadline": self.deadline, "root": self.root, "commitments": list(self.commitments),
        }  # fmt: skip

    @classmethod
    def read(cls, f: Fields) -> "AnchoredRoot":
        """Reads what `to_json` writes; the root must be the one over its commitments."""
        entry = cls(
            f.integer("round", 1), f.integer("deadline"), f.digest("root"), f.digests("commitments", 1, MAX_MEMBERS)
        )
        zero = "0x" + "0" * 40
        Anchor.from_body(Anchor(zero, entry.round, entry.deadline, entry.commitments, entry.root).to_body())
        return entry


@dataclass(frozen=True)
class Evaluation:
    """Held-out loss of the epoch's last checkpoint, micro-nats per token over `tokens` tokens."""

    SCHEMA: ClassVar[str] = "commonweight.evaluation.v1"

    round: int
    checkpoint: str
    checkpoint_cid: str
    loss_micro: int
    tokens: int

    def to_json(self) -> JsonObject:
        """The object of evaluation.json."""
        return {
            "schema": self.SCHEMA, "round": self.round, "checkpoint": self.checkpoint,
            "checkpoint_cid": self.checkpoint_cid, "loss_micro": str(self.loss_micro), "tokens": str(self.tokens),
        }  # fmt: skip

    @classmethod
    def load(cls, data: bytes) -> "Evaluation":
        """Reads evaluation.json."""
        f = Fields(loads(data, 2**12), "evaluation")
        f.choice("schema", (cls.SCHEMA,))
        found = cls(
            f.integer("round"), f.digest("checkpoint"), f.cid("checkpoint_cid"), f.decimal("loss_micro", U64),
            f.decimal("tokens", U64),
        )  # fmt: skip
        f.done()
        return found


@dataclass(frozen=True)
class RoundFiles:
    """The documents of one round. `manifest` is that of the checkpoint it made, None when it made none."""

    plan: Signed
    record: Signed
    commitments: tuple[Signed, ...]
    receipts: tuple[tuple[str, Signed], ...]
    results: tuple[Signed, ...]
    verdicts: tuple[Signed, ...]
    manifest: bytes | None

    @property
    def size(self) -> tuple[int, int]:
        """How many files this round has, and how many bytes."""
        receipts = (signed for _, signed in self.receipts)
        signed = (self.plan, self.record, *self.commitments, *receipts, *self.results, *self.verdicts)
        sizes = [*(len(each.to_bytes()) for each in signed), *(() if self.manifest is None else (len(self.manifest),))]
        return len(sizes), sum(sizes)


@dataclass(frozen=True)
class Evidence:
    """An epoch's evidence. `credits` is credits.json, `leaves` the tree's non-empty leaves after the epoch, `standing`
    standing.json: what each provider brings into the next one.
    """

    run: str
    epoch: int
    attempt: int
    config: bytes
    rounds: Mapping[int, RoundFiles]
    anchors: tuple[AnchoredRoot, ...]
    offences: tuple[Signed, ...]
    evaluation: Evaluation
    credits: bytes
    leaves: tuple[Leaf, ...]
    standing: bytes
    files: Mapping[str, bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        files = self._files()
        listed: list[Json] = [{"path": p, "size": len(d), "sha256": sha256_hex(d)} for p, d in sorted(files.items())]
        index: JsonObject = {
            "schema": SCHEMA, "run": self.run, "epoch": self.epoch, "attempt": self.attempt, "files": listed,
        }  # fmt: skip
        object.__setattr__(self, "files", {INDEX: dumps(index), **files})

    @property
    def sha256(self) -> str:
        """The digest of index.json, which the report names as evidenceSha256."""
        return sha256_hex(self.files[INDEX])

    def _files(self) -> dict[str, bytes]:
        ordered = sorted(self.anchors, key=lambda a: (a.round, a.deadline, a.root))
        files = {
            "config.json": self.config,
            "anchors.json": dumps([anchor.to_json() for anchor in ordered]),
            "evaluation.json": dumps(self.evaluation.to_json()),
            "credits.json": self.credits,
            "leaves.jsonl": leaves_to_lines(self.leaves),
            STANDING: self.standing,
        }
        for number, found in self.rounds.items():
            files.update(_round_files(number, found))
        for offence in self.offences:
            files[f"offences/{offence.digest}.json"] = offence.to_bytes()
        return files

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> "Evidence":
        """Reads a directory; FormatError when a file is missing, too many, altered, or not where it belongs."""
        index = Fields(loads(files.get(INDEX, b""), 2**26), INDEX)
        index.choice("schema", (SCHEMA,))
        run, epoch, attempt = index.address("run"), index.integer("epoch"), index.integer("attempt")
        listed = index.objects("files", lambda f: (f.text("path"), f.integer("size"), f.digest("sha256")), 0, MAX_FILES)
        index.done()
        names = {path for path, _, _ in listed}
        if names | {INDEX} != set(files):
            raise FormatError("The evidence is not what its index lists", str(sorted(names ^ set(files))[:5])[:200])
        for path, size, sha256 in listed:
            if len(files[path]) != size or sha256_hex(files[path]) != sha256:
                raise FormatError(f"The evidence file {path} is not the one that the index names")
        anchors = loads(files.get("anchors.json", b""), 2**26)
        evidence = cls(
            run, epoch, attempt, files.get("config.json", b""), _read_rounds(files), _read_anchors(anchors),
            tuple(_signed(files, "offences").values()), Evaluation.load(files.get("evaluation.json", b"")),
            files.get("credits.json", b""), leaves_from_lines(files.get("leaves.jsonl", b"")), files.get(STANDING, b""),
        )  # fmt: skip
        if dict(evidence.files) != dict(files):
            wrong = sorted(set(evidence.files) ^ set(files)) or [p for p in files if evidence.files.get(p) != files[p]]
            raise FormatError("An evidence file is not where or as it must be", str(wrong[:5])[:200])
        return evidence


def measured_links(results: Iterable[Result], counted: Collection[int]) -> tuple[MeasuredLink, ...]:
    """The record's links out of reducers' signed results: measured by and of counted members.

    What a reducer measured in several results is added up, to what a link can have at the most; of round-trip times the
    smallest counts.
    """
    found: dict[tuple[int, int], MeasuredLink] = {}
    for result in results:
        for link in result.links:
            key = (result.reducer, link.index)
            if result.reducer not in counted or link.index not in counted or result.reducer == link.index:
                continue
            old = found.get(key)
            found[key] = MeasuredLink(
                *key, min(MOST_MEASURED, link.bytes + (old.bytes if old else 0)),
                min(MOST_MEASURED, link.transfer_us + (old.transfer_us if old else 0)),
                min(link.rtt_us, old.rtt_us) if old else link.rtt_us,
            )  # fmt: skip
    return tuple(found[key] for key in sorted(found))


def heard(results: Iterable[Result], record: Record) -> tuple[Result, ...] | None:
    """Those of the results that a record's links were measured by; None when its links follow from no choice of them.

    What a reducer says after the record was signed does not count in it. Of results that no counted member has signed
    nothing is measured; they are kept.
    """
    counted = {entry.index for entry in record.counted}
    by_reducer: dict[int, list[Result]] = {}
    for result in sorted(results, key=lambda result: (result.reducer, result.part)):
        by_reducer.setdefault(result.reducer, []).append(result)
    if not {link.by for link in record.links} <= set(by_reducer):
        return None
    chosen: list[Result] = []
    for reducer, own in by_reducer.items():
        measured = tuple(link for link in record.links if link.by == reducer)
        sizes = range(len(own), -1, -1)
        choices = (choice for size in sizes for choice in combinations(own, size))
        tried = islice(choices, _MOST_CHOICES)
        fitting = next((choice for choice in tried if measured_links(choice, counted) == measured), None)
        if fitting is None:
            return None
        chosen += fitting
    return tuple(chosen)


def leaves_to_lines(leaves: Iterable[Leaf]) -> bytes:
    """leaves.jsonl: a canonical object for each leaf, ascending by index."""
    lines = (
        dumps({"index": leaf.index, "provider": leaf.provider, "C": str(leaf.C), "D": str(leaf.D), "W": str(leaf.W)})
        for leaf in sorted(leaves, key=lambda leaf: leaf.index)
    )
    return b"".join(line + b"\n" for line in lines)


def leaves_from_lines(data: bytes) -> tuple[Leaf, ...]:
    """Reads what `leaves_to_lines` writes."""
    leaves = []
    for number, line in enumerate(data.splitlines()):
        f = Fields(loads(line, 2**12), f"leaves.jsonl:{number + 1}")
        provider = f.address("provider")
        leaves.append(Leaf(f.integer("index", 0, U32), provider, f.decimal("C"), f.decimal("D"), f.decimal("W")))
        f.done()
    return tuple(leaves)


def _round_files(number: int, found: RoundFiles) -> dict[str, bytes]:
    files = {f"plans/{number}.json": found.plan.to_bytes(), f"records/{number}.json": found.record.to_bytes()}
    for signed in found.commitments:
        files[commitment_path(number, signed)] = signed.to_bytes()
    for signer, signed in found.receipts:
        files[f"receipts/{number}-{_number(signed, 'index')}-{signer}.json"] = signed.to_bytes()
    for signed in found.results:
        name = f"{number}-{_number(signed, 'part')}-{_number(signed, 'reducer')}"
        files[f"results/{name}.json"] = signed.to_bytes()
    for signed in found.verdicts:
        verdict = Verdict.from_body(signed.body)
        segment = "x" if verdict.segment is None else str(verdict.segment.start)
        name = f"{number}-{verdict.index}-{verdict.check}-{segment}-{verdict.signer}"
        files[f"verdicts/{name}.json"] = signed.to_bytes()
    if found.manifest is not None:
        files[f"checkpoints/{number}.json"] = found.manifest
    return files


def commitment_path(number: int, signed: Signed) -> str:
    """Where a round's commitment stands in evidence, which has room for one of a member's with equal first digits."""
    return f"commitments/{number}-{_number(signed, 'index')}-{signed.digest[2 : 2 + DIGITS]}.json"


def _number(signed: Signed, name: str) -> int:
    """A field by which a document's file is named; the rest of it is read when it is checked."""
    return Fields(signed.body, signed.kind).integer(name)


def _signed(files: Mapping[str, bytes], folder: str) -> dict[str, Signed]:
    """Signed documents of a folder by file name without ending."""
    prefix = folder + "/"
    return {
        path[len(prefix) : -len(".json")]: Signed.from_bytes(data)
        for path, data in files.items()
        if path.startswith(prefix) and path.endswith(".json")
    }


def _read_rounds(files: Mapping[str, bytes]) -> dict[int, RoundFiles]:
    folders: dict[str, dict[str, dict[str, Signed]]] = {}
    for kind in ("commitments", "receipts", "results", "verdicts"):
        by_round = folders.setdefault(kind, {})
        for name, signed in _signed(files, kind).items():
            by_round.setdefault(name.split("-", 1)[0], {})[name] = signed
    records, rounds = _signed(files, "records"), {}
    for name, plan in _signed(files, "plans").items():
        number = _number(plan, "round")
        if str(number) not in records or _number(records[str(number)], "round") != number:
            raise FormatError(f"The evidence has no record of round {number}")
        own = {kind: by_round.get(str(number), {}) for kind, by_round in folders.items()}
        rounds[number] = RoundFiles(
            plan, records[name], tuple(own["commitments"].values()),
            tuple((n.rsplit("-", 1)[1], s) for n, s in own["receipts"].items()), tuple(own["results"].values()),
            tuple(own["verdicts"].values()), files.get(f"checkpoints/{number}.json"),
        )  # fmt: skip
    return rounds


def _read_anchors(value: Json) -> tuple[AnchoredRoot, ...]:
    fields = Fields({"anchors": value}, "anchors.json")
    return fields.objects("anchors", AnchoredRoot.read, 0, MAX_FILES)
