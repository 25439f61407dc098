"""An offence in a request: whole on the other side, however many members it is about, and each content sent once."""

from dataclasses import replace

import pytest

from commonweight.errors import FormatError
from commonweight.net import Dialer, Method, Reply, Request, Server, offences
from commonweight.net.blobs import BODY_LIMIT
from commonweight.protocol.canonical import MAX_BYTES, dumps, loads_object, sha256_hex
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import packed
from commonweight.protocol.keys import address_of
from commonweight.protocol.offences import Blob, Offence, part_blob
from commonweight.store.cid import cid_of
from tests.net.serving import RUN, SERVER_KEY, authorise, identity

pytestmark = pytest.mark.unit
SERVER = address_of(SERVER_KEY)
MEMBERS, PARTS = 1000, 40
SIGNATURE = "0x" + "11" * 65


def evidence(members: int = MEMBERS, parts: int = PARTS) -> tuple[Offence, dict[str, bytes]]:
    """As of a false record: a document of some length and a part by every member. Every other part is the same."""
    committed = packed([bytes(40)] * parts)
    documents = tuple(
        Signed("commitment", {"index": index, "parts": committed}, SIGNATURE)
        for index in range(members)
    )
    blobs = {part_blob(index): b"%d" % (index if index % 2 else 0) * 100 for index in range(members)}
    named = tuple(Blob(name, sha256_hex(data), str(cid_of(data))) for name, data in blobs.items())
    return Offence(RUN, "wrong-record", 1, None, SERVER, 0, documents, named), blobs


async def test_evidence_about_a_thousand_members_arrives() -> None:
    taken: list[tuple[Offence, dict[str, bytes]]] = []

    async def take(request: Request) -> Reply:
        size = request.params["index_size"]
        assert isinstance(size, int)
        taken.append(offences.unpack(request.body, size))
        return Reply()

    server = Server(identity(SERVER_KEY, "signer", None), {"offence": Method(take, BODY_LIMIT)}, authorise)
    host, port = await server.start("127.0.0.1", 0)
    dialer, (offence, blobs) = Dialer(identity()), evidence()
    index_size, body = offences.pack(offence, blobs)
    await dialer.call(f"{host}:{port}", SERVER, "offence", {"index_size": index_size}, body)
    assert taken == [(offence, blobs)]
    await dialer.close()
    await server.close()


def test_what_is_the_same_is_sent_once() -> None:
    offence, blobs = evidence(10, 1)
    index_size, body = offences.pack(offence, blobs)
    documents = sum(len(document.to_bytes()) for document in offence.documents)
    assert len(body) == index_size + documents + sum(map(len, set(blobs.values())))


def refused(index: dict[str, object], rest: bytes) -> str:
    encoded = dumps(index)
    with pytest.raises(FormatError) as problem:
        offences.unpack(encoded + rest, len(encoded))
    return problem.value.what


def test_what_is_not_an_offence_with_all_its_pieces_is_refused() -> None:
    offence, blobs = evidence(3, 1)
    index_size, body = offences.pack(offence, blobs)
    index, rest = loads_object(body[:index_size]), body[index_size:]
    whole, pieces = index["offence"], index["pieces"]
    assert isinstance(whole, dict)
    assert isinstance(pieces, list)
    names = whole["documents"]
    assert isinstance(names, list)
    assert "twice" in refused({**index, "offence": {**whole, "documents": [names[0], names[0]]}}, rest)
    assert "does not come" in refused({**index, "offence": {**whole, "documents": ["0x" + "00" * 32]}}, rest)
    assert "not an object" in refused({**index, "offence": [1]}, rest)
    assert "add up" in refused(index, rest + b"x")
    assert "fields" in refused({**index, "more": 1}, rest)
    stray = replace(offence, blobs=(replace(offence.blobs[0], sha256="0x" + "00" * 32),)).to_body()
    assert "blob that does not come" in refused({**index, "offence": {**stray, "documents": names}}, rest)
    for size in (0, len(body)):
        with pytest.raises(FormatError):
            offences.unpack(body, size)


def test_an_offence_that_would_be_no_document_is_refused() -> None:
    """Signers keep it under their signature, and nobody could read that."""
    large = tuple(Signed("record", {"index": n, "text": "x" * (MAX_BYTES // 2)}, SIGNATURE) for n in range(2))
    offence = replace(evidence(1, 1)[0], documents=large, blobs=())
    index_size, body = offences.pack(offence, {})
    with pytest.raises(FormatError, match="longer than a document"):
        offences.unpack(body, index_size)


def test_one_content_under_many_names_costs_no_more_than_a_body_may() -> None:
    data = bytes(1 << 20)
    named = tuple(Blob(part_blob(index), sha256_hex(data), str(cid_of(data))) for index in range(257))
    offence = replace(evidence(1, 1)[0], blobs=named)
    index_size, body = offences.pack(offence, {blob.name: data for blob in named})
    with pytest.raises(FormatError, match="too long together"):
        offences.unpack(body, index_size)
