"""Signers who signed two different reports for one epoch and attempt, out of everything that was ever seen signed.

Signatures are seen on chain and in files that signers released. Those on chain are kept in a journal, because a
reorganisation can replace a report by another one, and the first is then to be had nowhere else.
"""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from commonweight.chain.events import ReportSubmitted
from commonweight.errors import FormatError, SignatureError, UsageError
from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.fields import hex32
from commonweight.protocol.keys import recover_address
from commonweight.protocol.structs import Report
from commonweight.protocol.typed import Domain

_MAX_LINE = 1 << 20


@dataclass(frozen=True)
class Vow:
    """A report with one signature on it."""

    report: Report
    signature: bytes


@dataclass(frozen=True)
class Equivocation:
    """Two different reports that `signer` (lower case) signed for one epoch and attempt."""

    signer: str
    first: Vow
    second: Vow


class Vows:
    """Every signature seen, by signer, epoch and attempt; the journal, if there is one, holds one report a line."""

    def __init__(self, domain: Domain, journal: Path | None = None) -> None:
        self._domain = domain
        self._journal = journal
        self._kept: set[bytes] = set()
        self._vows: dict[tuple[str, int, int], dict[bytes, Vow]] = {}
        self.found: list[Equivocation] = []
        if journal is not None and journal.exists():
            for report, signatures in _read(journal, torn=True):
                self._kept.add(report.digest(domain))
                self.add(report, signatures)

    def saw(self, event: ReportSubmitted) -> None:
        """Take in a report on chain, into the journal as well."""
        if event.digest in self._kept:
            return
        if self._journal is not None:
            body = {"report": event.report.to_body(), "signatures": ["0x" + s.hex() for s in event.signatures]}
            _append(self._journal, json.dumps(body).encode())
        self._kept.add(event.digest)
        self.add(event.report, event.signatures)

    def read(self, path: Path) -> None:
        """Take in a file of released signatures, in the journal's own form. Raises UsageError when it is none."""
        try:
            found = list(_read(path, torn=False))
        except OSError as error:
            raise UsageError(f"{path} cannot be read.", error.strerror or "", "Check its name.") from None
        for report, signatures in found:
            self.add(report, signatures)

    def add(self, report: Report, signatures: Iterable[bytes]) -> None:
        """Take in signatures on a report. One that is by nobody proves nothing and is passed over."""
        digest = report.digest(self._domain)
        for signature in signatures:
            try:
                signer = recover_address(digest, signature)
            except SignatureError:
                continue
            said = self._vows.setdefault((signer, report.epoch, report.attempt), {})
            if digest in said:
                continue
            vow = Vow(report, signature)
            if len(said) == 1:  # a third report proves nothing more
                self.found.append(Equivocation(signer, next(iter(said.values())), vow))
            said[digest] = vow


def _append(path: Path, line: bytes) -> None:
    with path.open("ab") as file:
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path, *, torn: bool) -> Iterable[tuple[Report, list[bytes]]]:
    """(report, signatures) of each line. A `torn` file may have been cut off in a line by a crash: that one is passed
    over, since the chain shows it again.
    """
    for number, line in enumerate(path.read_bytes().split(b"\n")):
        if not line.strip():
            continue
        try:
            yield _vow_of(line)
        except (FormatError, ValueError) as problem:
            if not torn:
                raise UsageError(
                    f"Line {number + 1} of {path} is no signed report.",
                    str(problem),
                    'Each line is an object {"report": {...}, "signatures": ["0x..."]}.',
                ) from None


def _vow_of(line: bytes) -> tuple[Report, list[bytes]]:
    body = json.loads(line) if len(line) <= _MAX_LINE else None
    if not isinstance(body, dict) or not isinstance(body.get("signatures"), list):
        raise FormatError("A line of signatures is not an object with a report and its signatures")
    return _report_of(body.get("report")), [_bytes(signature) for signature in body["signatures"]]


def _report_of(body: object) -> Report:
    """A report as `to_body` writes it, with any text as CIDs: a signature counts, whatever nonsense was signed."""
    if not isinstance(body, dict):
        raise FormatError("A line of signatures has no report")
    readers: dict[object, Callable[[object], object]] = {int: lambda v: int(str(v)), str: str, bytes: _bytes}
    values = {}
    for field in fields(Report):
        if field.name not in body:
            raise FormatError(f"A signed report has no {field.name}")
        values[field.name] = readers[field.type](body[field.name])
    return Report(**values)  # type: ignore[arg-type]


def _bytes(text: object) -> bytes:
    return bytes.fromhex(str(text).removeprefix("0x"))


def named(found: Equivocation) -> JsonObject:
    """An equivocation for a log."""
    return {
        "signer": found.signer,
        "epoch": found.first.report.epoch,
        "attempt": found.first.report.attempt,
        "roots": [hex32(found.first.report.root), hex32(found.second.report.root)],
    }
