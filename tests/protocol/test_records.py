"""The documents of a round: they survive the way there and back, and every wrong field is refused by name."""

import copy
from collections.abc import Callable

import pytest

from commonweight.errors import FormatError, SignatureError
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import packed
from commonweight.protocol.keys import address_of
from commonweight.protocol.offences import Offence
from commonweight.protocol.records import (
    MAX_MEMBERS,
    Anchor,
    Commitment,
    Manifest,
    PartMessage,
    Plan,
    Receipt,
    Record,
    Result,
    Verdict,
    open_signed,
)
from commonweight.protocol.typed import Domain
from tests.golden import golden_round as g
from tests.golden import make

pytestmark = pytest.mark.unit


def documents(made: g.GoldenRound) -> list[tuple[type, Signed]]:
    return [
        (Plan, made.plan),
        (Commitment, made.commitments[2]),
        (Receipt, made.receipts[2]),
        (PartMessage, made.parts[2]),
        (Result, made.results[1]),
        (Anchor, made.anchor),
        (Record, made.record),
        (Verdict, made.verdict),
    ]


def test_every_document_survives_the_way_there_and_back(made: g.GoldenRound) -> None:
    for kind, signed in documents(made):
        read = open_signed(kind, Signed.from_bytes(signed.to_bytes()), g.DOMAIN)
        assert read.to_body() == signed.body
        assert kind.from_body(read.to_body()) == read
    offence = make.offence(made)
    assert Offence.from_body(offence.body).to_body() == offence.body
    assert Manifest.load(made.manifest.to_bytes()) == made.manifest


def test_opening_checks_kind_signer_and_domain(made: g.GoldenRound) -> None:
    coordinator = address_of(g.COORDINATOR_KEY)
    assert open_signed(Plan, made.plan, g.DOMAIN, coordinator) == made.plan_body
    with pytest.raises(SignatureError):
        open_signed(Plan, made.plan, g.DOMAIN, address_of(g.member_key(0)))
    with pytest.raises(SignatureError):
        open_signed(Plan, made.plan, Domain(1, g.DOMAIN.contract), coordinator)
    with pytest.raises(SignatureError):
        open_signed(Record, made.plan, g.DOMAIN)


def test_a_missing_or_an_unknown_field_is_refused_by_name(made: g.GoldenRound) -> None:
    for kind, signed in documents(made):
        for name in signed.body:
            with pytest.raises(FormatError, match=name):
                kind.from_body({k: v for k, v in signed.body.items() if k != name})
        with pytest.raises(FormatError, match="surprise"):
            kind.from_body({**signed.body, "surprise": 1})


def test_a_field_of_another_type_is_refused(made: g.GoldenRound) -> None:
    for kind, signed in documents(made):
        for name in set(signed.body) - {"reason", "scores"}:
            for wrong in (1.5, -1, "0xZZ", {"x": 1}, True if name != "exact" else 1, [None]):
                with pytest.raises(FormatError):
                    kind.from_body({**signed.body, name: wrong})


def change(path: str, value: object) -> Callable[[dict], None]:
    """Sets one value deep in a body."""

    def edit(body: dict) -> None:
        *steps, last = path.split(".")
        place = body
        for step in steps:
            place = place[int(step) if step.isdigit() else step]
        place[int(last) if last.isdigit() else last] = value

    return edit


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        (Plan, "members.0.steps", 11),
        (Plan, "members.0.index", 3),
        (Plan, "reducers.0", 3),
        (Plan, "backups", [0, 5, 0]),
        (Plan, "reducers", [0, 2]),
        (Plan, "commit_by_ms", 1_700_000_010_001),
        (Plan, "anchor_by_ms", 1_700_000_010_000),
        (Plan, "run", "0x" + "C0" * 20),
        (Commitment, "parts", packed([bytes(32) + bytes.fromhex("8000000000000000")])),
        (Commitment, "parts", packed([bytes(32) + bytes.fromhex("7ff8000000000000")])),
        (Commitment, "parts", packed([bytes(32) + bytes.fromhex("7ff0000000000000")])),
        (Commitment, "parts", packed([bytes(32) + bytes.fromhex("bff0000000000000")])),
        (Commitment, "parts", ""),
        (Commitment, "parts", packed([bytes(41)])),
        (Commitment, "parts", packed([bytes(40)])[:-1]),
        (Commitment, "parts", packed([bytes(40)])[:-3] + "B=="),
        (Commitment, "parts", packed([bytes(40)])[:-4] + "\u00e4A=="),
        (Commitment, "parts", packed([bytes(40)] * (MAX_MEMBERS + 1))),
        (Commitment, "parts", [packed([bytes(40)])]),
        (Commitment, "trace.leaves", 1),
        (Result, "members", [0, 5, 2]),
        (Result, "links.0.0", 2),
        (Result, "links.0.2", 0),
        (Result, "links.0.1", True),
        (Result, "links.0", [0, 1, 1]),
        (Result, "links.0", {"index": 0}),
        (Anchor, "root", "0x" + "00" * 32),
        (Record, "counted.0.index", 7),
        (Record, "missing.0.index", 2),
        (Record, "missing.0.reason", "Not a slug"),
        (Record, "results", []),
        (Record, "counted", []),
        (Record, "links.0.0", 2),
        (Record, "links.0", [0, 2, 1, 1, 1, 1]),
        (Verdict, "segment", None),
        (Verdict, "segment.to", 3),
        (Verdict, "check", "structure"),
        (Verdict, "outcome", "maybe"),
        (Verdict, "scores", {"a": "1"}),
    ],
)
def test_contradictions_within_a_document_are_refused(
    made: g.GoldenRound, kind: type, path: str, value: object
) -> None:
    body = copy.deepcopy(dict(documents(made))[kind].body)
    kind.from_body(body)
    change(path, value)(body)
    with pytest.raises(FormatError):
        kind.from_body(body)


def test_an_anchor_sorts_its_commitments(made: g.GoldenRound) -> None:
    body = dict(made.anchor.body)
    body["commitments"] = list(reversed(body["commitments"]))
    with pytest.raises(FormatError):
        Anchor.from_body(body)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"round":1', b'"round":0'),
        (b'"parent":"0x', b'"parent":"0X'),
        (b'"size":', b'"size":-'),
        (b"weights.safetensors", b"weightz.safetensors"),
        (b'{"', b'{ "'),
    ],
)
def test_a_wrong_manifest_is_refused(made: g.GoldenRound, old: bytes, new: bytes) -> None:
    data = made.manifest.to_bytes()
    assert old in data
    with pytest.raises(FormatError):
        Manifest.load(data.replace(old, new, 1))


def test_genesis_has_neither_parent_nor_plan(made: g.GoldenRound) -> None:
    assert made.parent_manifest.parent is None
    with pytest.raises(FormatError):
        Manifest.load(made.parent_manifest.to_bytes().replace(b'"plan":null', b'"plan":"0x' + b"00" * 32 + b'"'))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("rule", "rudeness"),
        ("index", None),
        ("signer", "0x" + "00" * 20),
        ("documents", []),
        ("documents", [{}]),
        ("blobs", [{"name": "x"}]),
    ],
)
def test_a_wrong_offence_is_refused(made: g.GoldenRound, path: str, value: object) -> None:
    body = copy.deepcopy(make.offence(made).body)
    change(path, value)(body)
    with pytest.raises(FormatError):
        Offence.from_body(body)
