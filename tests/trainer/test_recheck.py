"""Accusations against records: what proves a record wrong is followed, and who accuses in vain is not heard again."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commonweight.errors import ChainError, PeerRefused
from commonweight.protocol.canonical import sha256_hex
from commonweight.protocol.documents import Signed
from commonweight.protocol.keys import address_of
from commonweight.protocol.offences import Blob, Offence, part_blob
from commonweight.protocol.records import sign_body
from tests.golden import golden_round as g
from trainer.journal import Journal
from trainer.recheck import Accused
from trainer.registry import Provider

pytestmark = pytest.mark.unit

COORDINATOR = address_of(g.COORDINATOR_KEY)
PART = 1


@dataclass
class Hearer:
    """What `Accused` needs of a member: the records that it followed, its journal, and the golden round's chain."""

    journal: Journal
    outcomes: Sequence[Any]
    config: Any
    identity: Any = field(default_factory=lambda: SimpleNamespace(domain=g.DOMAIN, run=g.RUN))
    down: bool = False

    @property
    def chain(self) -> "Hearer":
        return self

    def provider(self, index: int) -> Provider | None:
        if self.down:
            raise ChainError("The node does not answer")
        return Provider(index, address_of(g.member_key(index)), "", 0, False)

    def signers(self) -> tuple[str, ...]:
        return (COORDINATOR,)


@pytest.fixture(scope="module")
def made() -> g.GoldenRound:
    return g.build()


@pytest.fixture
def hearer(made: g.GoldenRound, tmp_path: Path) -> Hearer:
    """It has followed the honest record, and one whose part 1 does not follow from the payloads."""
    followed = [SimpleNamespace(signed=record) for record in (made.record, false_record(made))]
    return Hearer(Journal(tmp_path), followed, made.config)


def false_record(made: g.GoldenRound) -> Signed:
    body = made.record_body
    results = (body.results[0], "0x" + "77" * 32, body.results[2])
    return sign_body(replace(body, results=results), g.COORDINATOR_KEY, g.DOMAIN)


def against(made: g.GoldenRound, record: Signed, **changes: Any) -> tuple[Offence, dict[str, bytes]]:
    """An accusation of the record with everything that a true one has."""
    blobs = {part_blob(i): made.payloads[i].parts[PART] for i in g.MEMBERS}
    named = tuple(Blob(name, sha256_hex(data), "") for name, data in blobs.items())
    documents = (made.plan, record, *made.commitments.values())
    offence = Offence(g.RUN, "wrong-record", 1, None, COORDINATOR, PART, documents, named)
    return replace(offence, **changes), blobs


async def test_a_false_record_is_refused_once_it_is_proven(made: g.GoldenRound, hearer: Hearer) -> None:
    false = false_record(made)
    await Accused(hearer).take(2, *against(made, false))  # type: ignore[arg-type]
    assert "member 2" in (hearer.journal.refused(false.digest) or "")
    assert hearer.journal.refused(made.record.digest) is None


async def test_who_accuses_in_vain_changes_nothing_and_is_not_heard_again(made: g.GoldenRound, hearer: Hearer) -> None:
    accused, false = Accused(hearer), false_record(made)  # type: ignore[arg-type]
    with pytest.raises(PeerRefused) as vain:
        await accused.take(2, *against(made, made.record))
    assert vain.value.code == "not-proven"
    assert hearer.journal.refused(made.record.digest) is None, "the record stands"
    with pytest.raises(PeerRefused) as again:  # true this time, and yet it costs this member no proof
        await accused.take(2, *against(made, false))
    assert again.value.code == "not-followed"
    assert hearer.journal.refused(false.digest) is None
    await accused.take(5, *against(made, false))
    assert hearer.journal.refused(false.digest), "the others are heard as before"


async def test_half_of_the_evidence_proves_nothing(made: g.GoldenRound, hearer: Hearer) -> None:
    false = false_record(made)
    whole, blobs = against(made, false)
    for sender, (offence, shown) in enumerate((
        (replace(whole, documents=whole.documents[:-1]), blobs),  # a commitment is missing
        (whole, {**blobs, part_blob(0): blobs[part_blob(2)]}),  # bytes that were not committed to
        (replace(whole, part=0), blobs),  # another part, which is right
        (replace(whole, signer=address_of(g.member_key(0))), blobs),  # another than who signed the record
    )):  # fmt: skip
        with pytest.raises(PeerRefused) as vain:
            await Accused(hearer).take(sender, offence, shown)  # type: ignore[arg-type]
        assert vain.value.code == "not-proven", sender
    assert hearer.journal.refused(false.digest) is None


async def test_what_is_not_about_a_followed_record_is_not_looked_at(made: g.GoldenRound, hearer: Hearer) -> None:
    other = sign_body(replace(made.record_body, results=("0x" + "66" * 32,) * 3), g.COORDINATOR_KEY, g.DOMAIN)
    accused = Accused(hearer)  # type: ignore[arg-type]
    hearer.down = True  # so that a proof would fail
    for offence, blobs in (
        against(made, other),
        against(made, false_record(made), rule="wrong-reduction"),
        against(made, false_record(made), documents=(made.record, false_record(made))),
    ):
        with pytest.raises(PeerRefused) as refused:
            await accused.take(2, offence, blobs)
        assert refused.value.code == "not-followed"
    hearer.down = False
    await accused.take(2, *against(made, false_record(made)))
    assert hearer.journal.refused(false_record(made).digest), "which is held against nobody"


async def test_trouble_of_our_own_node_is_held_against_nobody(made: g.GoldenRound, hearer: Hearer) -> None:
    accused, false = Accused(hearer), false_record(made)  # type: ignore[arg-type]
    hearer.down = True
    with pytest.raises(ChainError):
        await accused.take(2, *against(made, false))
    hearer.down = False
    await accused.take(2, *against(made, false))
    assert hearer.journal.refused(false.digest)
