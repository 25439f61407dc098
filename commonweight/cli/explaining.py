"""`commonweight provider credits --explain`: for each round why credits were given or not, who checked what, and where
the evidence is.

Everything comes from the chain and from the evidence that a report names; each file that is read has the digest that
the report signs for. Nothing is verified beyond that: `commonweight audit verify` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from commonweight.errors import FormatError, StoreError
from commonweight.protocol.canonical import Json, JsonObject, loads, loads_object, sha256_hex
from commonweight.protocol.documents import Signed
from commonweight.protocol.evidence import INDEX, STANDING
from commonweight.protocol.fields import hex32
from commonweight.protocol.outcome_documents import Verdict
from commonweight.protocol.standing import Standing
from commonweight.store import ContentStore, parse_cid

if TYPE_CHECKING:
    from commonweight.chain.events import ReportSubmitted
    from commonweight.chain.ledger_view import LedgerView

SCHEMA = "commonweight.explained.v1"
COLUMNS = ("Epoch", "Round", "Tokens", "Credits", "Why", "Checked", "Evidence")
_MAX_BYTES = 1 << 26
_GIVEN = "counted, and no check speaks against it"


@dataclass
class _Directory:
    """An epoch's evidence in the store: files by path, with the digests that the report signs for."""

    store: ContentStore
    cid: str
    digests: Mapping[str, str]

    @classmethod
    def open(cls, store: ContentStore, cid: str, sha256: str) -> _Directory:
        raw = store.get_file(parse_cid(cid), INDEX, _MAX_BYTES, sha256)
        digests: dict[str, str] = {}
        files = loads_object(raw, _MAX_BYTES).get("files")
        for entry in files if isinstance(files, list) else []:
            if isinstance(entry, dict):
                digests[str(entry.get("path"))] = str(entry.get("sha256"))
        return cls(store, cid, digests)

    def read(self, path: str) -> bytes:
        """A file that the index names; StoreError when it cannot be had, FormatError when it is not there."""
        if path not in self.digests:
            raise FormatError(f"The evidence has no file {path}")
        data = self.store.get_file(parse_cid(self.cid), path, _MAX_BYTES)
        if sha256_hex(data) != self.digests[path]:
            raise FormatError(f"The evidence file {path} is not the one that was attested")
        return data

    def paths(self, prefix: str) -> list[str]:
        """Files whose paths begin so, ascending."""
        return sorted(path for path in self.digests if path.startswith(prefix))


def explain(view: LedgerView, store: ContentStore, index: int, epochs: int) -> list[JsonObject]:
    """What the last `epochs` reports say about a provider, oldest first (docs/cli.md has the fields)."""
    return [_epoch(view, store, index, view.reports[e]) for e in sorted(view.reports)[-epochs:]]


def _epoch(view: LedgerView, store: ContentStore, index: int, event: ReportSubmitted) -> JsonObject:
    known = view.epochs.get(event.epoch)
    state = "open to challenge" if known is None else "final" if known.final else "void"
    report = event.report
    found: JsonObject = {
        "epoch": event.epoch,
        "state": state,
        "evidence": {"cid": report.evidence_cid, "sha256": hex32(report.evidence_sha256)},
        "unread": "",
    }
    try:
        directory = _Directory.open(store, report.evidence_cid, hex32(report.evidence_sha256))
        found |= _sums(directory, index)
        found["rounds"] = _rounds(directory, index)
    except (StoreError, FormatError) as problem:
        found["unread"] = str(problem)
    return found


def _sums(directory: _Directory, index: int) -> JsonObject:
    """From lines to the list: what came over, was listed, and waits for what; how often the provider is replayed."""
    credits_ = loads_object(directory.read("credits.json"), _MAX_BYTES)
    standing = Standing.load(directory.read(STANDING)).members.get(index)

    def amount(name: str) -> Json:
        amounts = credits_.get(name)
        return amounts.get(str(index), "0") if isinstance(amounts, dict) else "0"

    limits, repeaters = credits_.get("stake_limits"), credits_.get("repeaters")
    return {
        "carried_in": amount("carried_in"),
        "credited": amount("credited"),
        "carried": amount("carried"),
        "over_stake": amount("over_stake"),
        "stake_limit": limits.get(str(index)) if isinstance(limits, dict) else None,
        "repeater": isinstance(repeaters, list) and index in repeaters,
        "replay_rate_bps": None if standing is None else standing.rate_bps,
        "draws_passed": 0 if standing is None else standing.passed,
        "draws_failed": 0 if standing is None else standing.failed,
    }


def _rounds(directory: _Directory, index: int) -> list[Json]:
    lines = loads_object(directory.read("credits.json"), _MAX_BYTES).get("lines")
    return [
        _round(directory, index, line)
        for line in (lines if isinstance(lines, list) else [])
        if isinstance(line, dict) and line.get("index") == index
    ]


def _round(directory: _Directory, index: int, line: JsonObject) -> JsonObject:
    number, refused = line.get("round"), str(line.get("refused"))
    checks: list[Json] = [_check(directory, path) for path in directory.paths(f"verdicts/{number}-{index}-")]
    offences = [
        path for path in directory.paths("offences/") if "offence" in refused and _accuses(directory, path, index)
    ]
    given = line.get("credits") != "0"
    return {
        "round": number,
        "given": given,
        "credits": line.get("credits"),
        "tokens": line.get("tokens"),
        "flops": line.get("flops"),
        "bandwidth": line.get("bandwidth"),
        "latency": line.get("latency"),
        "why": refused or (_GIVEN if given else "the work rounds down to no credits"),
        "checks": checks,
        "record": f"records/{number}.json",
        "commitments": [*directory.paths(f"commitments/{number}-{index}-")],
        "offences": [*offences],
    }


def _check(directory: _Directory, path: str) -> JsonObject:
    verdict = Verdict.from_body(Signed.from_bytes(directory.read(path)).body)
    return {
        "check": verdict.check,
        "signer": verdict.signer,
        "segment": None if verdict.segment is None else verdict.segment.start,
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "exact": verdict.exact if verdict.check == "replay" else None,
        "scores": dict(verdict.scores) or None,
        "evidence": path,
    }


def _accuses(directory: _Directory, path: str, index: int) -> bool:
    body = loads(directory.read(path), _MAX_BYTES)
    inner = body.get("body") if isinstance(body, dict) else None
    return isinstance(inner, dict) and inner.get("index") == index


def rows(epochs: list[JsonObject]) -> list[list[object]]:
    """One row a round for people; what could not be read has a row of its own."""
    table: list[list[object]] = []
    for epoch in epochs:
        if epoch["unread"]:
            table.append([epoch["epoch"], None, None, None, f"not readable: {epoch['unread']}", None, None])
            continue
        rounds = epoch["rounds"]
        for entry in rounds if isinstance(rounds, list) else []:
            assert isinstance(entry, dict)
            checks = entry["checks"] if isinstance(entry["checks"], list) else []
            named = [check for check in checks if isinstance(check, dict)]
            where = [str(check["evidence"]) for check in named] or [str(entry["record"])]
            table.append(
                [epoch["epoch"], entry["round"], entry["tokens"], entry["credits"], entry["why"],
                 "\n".join(_said(check) for check in named) or "nothing was drawn", "\n".join(where)]
            )  # fmt: skip
    return table


def _said(check: JsonObject) -> str:
    """A check in a few words: what, the outcome, by whom, and why not."""
    what = str(check["check"]) if check["segment"] is None else f"replay of segment {check['segment']}"
    bits = ", bit for bit" if check["exact"] else ""
    reason = f" ({check['reason']})" if check["reason"] else ""
    return f"{what}: {check['outcome']}{bits} by {str(check['signer'])[:10]}{reason}"


def notes(epochs: list[JsonObject]) -> list[str]:
    """One sentence or more an epoch: where its evidence is, and what became of the sum."""
    said = []
    for epoch in epochs:
        evidence = epoch["evidence"]
        assert isinstance(evidence, dict)
        text = f"Epoch {epoch['epoch']} ({epoch['state']}), evidence {evidence['cid']}"
        if epoch["unread"]:
            said.append(text + ".")
            continue
        text += f": {epoch['credited']} credits listed"
        if epoch["carried_in"] != "0":
            text += f", {epoch['carried_in']} of them or of what waits came over from earlier reports"
        if epoch["over_stake"] != "0":
            text += f", {epoch['over_stake']} wait because the stake covers no more: add to it"
        elif epoch["carried"] != "0":
            text += f", {epoch['carried']} wait for a place on the next list"
        if isinstance(rate := epoch["replay_rate_bps"], int):
            text += f". {rate / 100:.0f} % of its rounds are replayed from now on"
        if epoch["repeater"]:
            text += ". A replay failed again: the stake may be slashed"
        said.append(text + ".")
    return said
