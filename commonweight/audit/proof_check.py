"""The checker of proofs: what `audit check-proof` does with the file that `audit proof` wrote.

Nothing in the file is believed. Events are read from the node by transaction and log index; evidence files count only
when the report on chain binds them, through the digest of `index.json` and the digests in it; and of the provider's
own files none that the index lists may be left out, so that a failed check cannot be kept back.
"""

from collections.abc import Mapping
from typing import TypeVar

from commonweight.audit.deployment import CODE, check_deployment
from commonweight.audit.findings import Findings
from commonweight.chain.events import (
    ChainEvent,
    Deposited,
    EpochFinal,
    ProviderRegistered,
    ReportSubmitted,
    RoundAnchored,
    decode_events,
)
from commonweight.chain.run import Run
from commonweight.chain.types import Block
from commonweight.errors import FormatError, Refuted
from commonweight.protocol import creditslist
from commonweight.protocol.canonical import Json, dumps, loads, sha256_hex
from commonweight.protocol.credits import RoundEvidence, itemise
from commonweight.protocol.documents import Signed, recover
from commonweight.protocol.evidence import INDEX, AnchoredRoot
from commonweight.protocol.evidence import SCHEMA as EVIDENCE_SCHEMA
from commonweight.protocol.fields import U32, Fields, digest_bytes, hex32
from commonweight.protocol.records import Commitment, Record, Verdict, open_signed
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.sumtree import Leaf, Sibling, require

SCHEMA = "commonweight.proof.v1"
CONTRIBUTION, CREDITS = "contribution", "credits"
PLACE, DEPOSITS, LEAF, LISTED, WORK = "proof-block", "deposits", "credit-leaf", "credits-lists", "work"
MAX_FILE_BYTES = 1 << 26
E = TypeVar("E", bound=ChainEvent)


def own_files(files: Mapping[str, object], index: int) -> list[str]:
    """The files of an epoch's evidence that concern one provider, with what they need to be judged."""
    wanted = {INDEX, "config.json", "anchors.json", "credits.json"}
    for path in files:
        folder = path.partition("/")[0]
        if folder == "records" or (folder in ("commitments", "verdicts") and _of(path, index)):
            wanted.add(path)
    return sorted(wanted)


def check_body(run: Run, block: Block, proof: Mapping[str, Json], findings: Findings) -> None:
    """Check a proof that was read from a file; FormatError when it has not the form of one."""
    fields = Fields(dict(proof), "proof")
    fields.choice("schema", (SCHEMA,))
    kind = fields.choice("kind", (CONTRIBUTION, CREDITS))
    findings.equal(PLACE, "the chain", fields.integer("chain_id"), run.chain.chain_id)
    findings.equal(PLACE, "the run", fields.address("run"), run.address.lower())
    number, named = fields.integer("block"), fields.digest("block_hash")
    with findings.checking(PLACE):
        findings.equal(PLACE, f"block {number}", named, hex32(run.chain.block(number).hash))
        findings.expect(PLACE, number <= block.number, f"block {number} is not final yet")
    with findings.checking(CODE):
        check_deployment(run, block, findings)
    checker = _Checker(run, findings, number)
    if kind == CONTRIBUTION:
        checker.contribution(fields)
    else:
        checker.credits(fields)
    fields.done()


class _Checker:
    """The checks of one proof; `last` is the last block that it may rest on."""

    def __init__(self, run: Run, findings: Findings, last: int) -> None:
        self._run = run
        self._findings = findings
        self._last = last

    def contribution(self, fields: Fields) -> None:
        """Every deposit it names is on chain, by this address, once, and they add up."""
        account, amount = fields.address("account"), fields.decimal("amount")
        self._findings.equal(DEPOSITS, "the asset", fields.address("asset"), self._run.params.asset.lower())
        total, seen = 0, set()
        for position, entry in enumerate(fields.items("deposits", 1, 100_000)):
            deposit = Fields(entry, f"proof.deposits[{position}]")
            named = deposit.decimal("amount")
            with self._findings.checking(DEPOSITS):
                event = self._event(Deposited, deposit)
                place, by = f"the deposit in block {event.block}", event.funder.lower()
                self._findings.equal(DEPOSITS, f"{place}, the funder", account, by)
                self._findings.equal(DEPOSITS, f"{place}, the amount", named, event.amount)
                first = (event.block, event.log_index) not in seen
                self._findings.expect(DEPOSITS, first, f"the deposit in block {event.block} is counted twice")
                seen.add((event.block, event.log_index))
                total += event.amount
        self._findings.equal(DEPOSITS, "the whole contribution", amount, total)

    def credits(self, fields: Fields) -> None:
        """The leaf lies under the final root, its credits are the lists' sum, and each list follows from the work."""
        index, account, epoch = fields.integer("index", 0, U32), fields.address("account"), fields.integer("epoch")
        registered, final = fields.take("registered"), fields.take("final")
        depth = fields.integer("depth", 1, 32)
        leaf = fields.child("leaf", lambda f: Leaf(index, account, f.decimal("C"), f.decimal("D"), f.decimal("W")))
        siblings = fields.objects("siblings", _sibling, 0, 32)
        work = fields.items("work", 1, 100_000)
        with self._findings.checking(LEAF):
            event = self._event(ProviderRegistered, Fields(registered, "proof.registered"))
            self._findings.equal(LEAF, "the registered provider's index", index, event.index)
            self._findings.equal(LEAF, "the registered provider's account", account, event.account.lower())
            end = self._event(EpochFinal, Fields(final, "proof.final"))
            self._findings.equal(LEAF, "the final epoch", epoch, end.epoch)
            require(end.root, end.sum, depth, leaf, siblings)
            self._findings.expect(LEAF, True, "")
        total, epochs = 0, []
        for position, entry in enumerate(work):
            part = Fields(entry, f"proof.work[{position}]")
            epochs.append(part.integer("epoch"))
            subject = f"epoch {epochs[-1]}"
            place, files = part.take("report"), part.take("files")
            part.done()
            with self._findings.checking(LISTED, subject):
                report = self._event(ReportSubmitted, Fields(place, f"{part.where}.report"))
                self._findings.equal(LISTED, "the reported epoch", epochs[-1], report.epoch, subject)
                listed = creditslist.decode(report.credits).get(index, 0)
                total += listed
                self._findings.expect(LISTED, True, "", subject)
                with self._findings.checking(WORK, subject):
                    self._work(report, index, listed, _texts(files), subject)
        ordered = epochs == sorted(set(epochs)) and (not epochs or epochs[-1] <= epoch)
        self._findings.expect(LISTED, ordered, "the epochs of the proof are not in order")
        self._findings.equal(LISTED, "the sum of the lists", total, leaf.C)

    def _work(self, report: ReportSubmitted, index: int, listed: int, files: Mapping[str, bytes], subject: str) -> None:
        """The provider's credit lines regenerated from its records, commitments and verdicts."""
        equal = self._findings.equal
        paths = self._bound_files(report, index, files, subject)
        config = RunConfig.load(files["config.json"])
        equal(WORK, "the configuration", config.sha256, hex32(self._run.params.config_sha256), subject)
        rounds = []
        for path in paths:
            if not path.startswith("records/"):
                continue
            signed = Signed.from_bytes(files[path])
            record = open_signed(Record, signed, self._run.oracle.domain())
            anchored = signed.digest in self._anchored_records(record.round)
            self._findings.expect(WORK, anchored, f"the record of round {record.round} is not anchored", subject)
            self._commitments(record, index, files, subject)
            verdicts = tuple(
                open_signed(Verdict, Signed.from_bytes(files[name]), self._run.oracle.domain())
                for name in paths
                if name.startswith(f"verdicts/{record.round}-{index}-")
            )
            rounds.append(RoundEvidence(record, verdicts))
        lines = itemise(rounds, config.model.parameters(), config.verification, config.credit_bps)
        mine = [dumps(line.to_json()) for line in lines if line.index == index]
        itemised = Fields(loads(files["credits.json"], MAX_FILE_BYTES), "credits.json")
        published = [dumps(line) for line in itemised.items("lines", 0, 1 << 20) if _index_of(line) == index]
        equal(WORK, "the provider's credit lines", published, mine, subject)
        credited = itemised.take("credited")
        amount = credited.get(str(index)) if isinstance(credited, dict) else None
        equal(WORK, "the credits that the lines give", str(listed), amount, subject)

    def _bound_files(self, report: ReportSubmitted, index: int, files: Mapping[str, bytes], subject: str) -> list[str]:
        """The provider's files, after making sure that the report binds them and that none is kept back."""
        data = files.get(INDEX, b"")
        self._findings.equal(
            WORK, f"the digest of {INDEX}", sha256_hex(data), hex32(report.report.evidence_sha256), subject
        )
        fields = Fields(loads(data, MAX_FILE_BYTES), INDEX)
        fields.choice("schema", (EVIDENCE_SCHEMA,))
        listed = dict(
            fields.objects("files", lambda f: (f.text("path"), (f.integer("size"), f.digest("sha256"))), 0, 100_000)
        )
        expected = own_files({INDEX: None, **listed}, index)
        if sorted(files) != expected:
            raise Refuted("The proof does not hold the provider's files", f"{sorted(set(files) ^ set(expected))[:5]}")
        for path in expected:
            if path != INDEX and listed.get(path) != (len(files[path]), sha256_hex(files[path])):
                raise Refuted(f"The file {path} is not the one that was attested")
        return expected

    def _commitments(self, record: Record, index: int, files: Mapping[str, bytes], subject: str) -> None:
        """The counted commitment is the provider's own, signed, and under an anchored root."""
        entry = record.counted_member(index)
        if entry is None:
            return
        where = f"the commitment of round {record.round}"
        names = [name for name in files if name.startswith(f"commitments/{record.round}-{index}-")]
        signed = next((s for s in (Signed.from_bytes(files[n]) for n in names) if s.digest == entry.commitment), None)
        if signed is None:
            raise Refuted(f"The proof does not hold {where}")
        open_signed(Commitment, signed, self._run.oracle.domain())
        owner = self._run.registry.index_of_key(recover(signed, self._run.oracle.domain()))
        self._findings.equal(WORK, f"who signed {where}", owner, index, subject)
        roots = Fields({"anchors": loads(files["anchors.json"], MAX_FILE_BYTES)}, "anchors.json")
        under = [
            anchor
            for anchor in roots.objects("anchors", AnchoredRoot.read, 0, 100_000)
            if anchor.round == record.round and signed.digest in anchor.commitments
        ]
        on_chain = any(
            self._run.oracle.is_anchored(anchor.round, anchor.deadline, digest_bytes(anchor.root)) for anchor in under
        )
        self._findings.expect(WORK, on_chain, f"{where} was not anchored", subject)

    def _anchored_records(self, number: int) -> set[str]:
        events = self._run.events_of(RoundAnchored, to_block=self._last)
        return {hex32(event.record_hash) for event in events if event.record_round == number}

    def _event(self, kind: type[E], place: Fields) -> E:
        """The event at a place that the proof names; Refuted when there is another one or none."""
        number, named = place.integer("block"), place.digest("block_hash")
        tx, log_index = place.digest("tx"), place.integer("log_index")
        place.done()
        names = self._run.contract_names
        # not from the receipt: Ganache counts the logs of a receipt from zero in each transaction
        logs = self._run.chain.logs(list(names), from_block=number, to_block=number)
        here = [log for log in logs if (log.tx, log.log_index) == (digest_bytes(tx), log_index)]
        events = list(decode_events(here, names))
        event = events[0] if events else None
        if not isinstance(event, kind) or event.block != number or number > self._last:
            raise Refuted(f"There is no {kind.__name__} event of this run at the place that the proof names", tx)
        if hex32(event.block_hash) != named or self._run.chain.block(number).hash != event.block_hash:
            raise Refuted(f"Block {number} is not the one that the proof names", "the chain was reorganised")
        return event


def _of(path: str, index: int) -> bool:
    """Whether a file named R-I-… concerns provider I."""
    parts = path.partition("/")[2].removesuffix(".json").split("-")
    return len(parts) > 1 and parts[1] == str(index)


def _listed(fields: Fields) -> tuple[str, tuple[int, str]]:
    return fields.text("path"), (fields.integer("size"), fields.digest("sha256"))


def _sibling(fields: Fields) -> Sibling:
    return Sibling(digest_bytes(fields.digest("hash")), fields.decimal("sum"))


def _texts(value: Json) -> dict[str, bytes]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise FormatError("The files of a proof are not texts by name")
    return {name: str(text).encode() for name, text in value.items()}


def _index_of(line: Json) -> Json:
    return line.get("index") if isinstance(line, dict) else None
