"""An offence as the body of a request: an index, and then the pieces that it lists, each content once.

The index is the offence's document with every document in it named by the SHA-256 of its bytes, and the pieces' sizes.
Nothing of it is in the request's header, which is too short for the commitments of many members.
"""

from collections.abc import Mapping

from commonweight.errors import FormatError
from commonweight.net.blobs import BODY_LIMIT, read_size, sizes_of, split_blobs
from commonweight.protocol.canonical import MAX_BYTES, JsonObject, dumps, loads, sha256_hex
from commonweight.protocol.fields import Fields
from commonweight.protocol.offences import Offence
from commonweight.protocol.round_documents import MAX_MEMBERS

MAX_PIECES = 2 * MAX_MEMBERS + 8
"""A plan, a record, and everybody's commitment and part."""
_SIGNED_BYTES = 1 << 10  # what a signature adds


def pack(offence: Offence, blobs: Mapping[str, bytes]) -> tuple[int, bytes]:
    """An offence and its blobs as one body; the size of the index comes back, too."""
    documents = [document.to_bytes() for document in offence.documents]
    names = [sha256_hex(document) for document in documents]
    pieces = dict(zip(names, documents, strict=True)) | {blob.sha256: blobs[blob.name] for blob in offence.blobs}
    named: JsonObject = {**offence.to_body(), "documents": [*names]}
    index = dumps({"offence": named, "pieces": sizes_of(pieces)})
    return len(index), b"".join([index, *pieces.values()])


def unpack(body: bytes, index_size: int) -> tuple[Offence, dict[str, bytes]]:
    """What `pack` packed; whether the blobs are what they are named is for `exact.offences.check`.

    FormatError when it is not that, when the offence would be longer than a document can be, or when its blobs would be
    longer than a body if each were written out.
    """
    f = Fields(loads(body[:index_size]), "offence")
    named = f.take("offence")
    if not isinstance(named, dict):
        raise FormatError("An offence is not an object")
    names = [str(name) for name in Fields(named, "offence").items("documents", 1, MAX_MEMBERS + 8)]
    pieces = split_blobs(body[index_size:], f.objects("pieces", read_size, 1, MAX_PIECES))
    f.done()
    if len(set(names)) != len(names) or not set(names) <= set(pieces):
        raise FormatError("An offence names a document twice, or one that does not come with it")
    if index_size + sum(len(pieces[name]) for name in names) + _SIGNED_BYTES > MAX_BYTES:
        raise FormatError("An offence is longer than a document can be", f"{MAX_BYTES} bytes")
    offence = Offence.from_body({**named, "documents": [loads(pieces[name]) for name in names]})
    if any(blob.sha256 not in pieces for blob in offence.blobs):
        raise FormatError("An offence names a blob that does not come with it")
    blobs = {blob.name: pieces[blob.sha256] for blob in offence.blobs}
    if sum(len(data) for data in blobs.values()) > BODY_LIMIT:
        raise FormatError("The blobs of an offence are too long together", f"{BODY_LIMIT} bytes")
    return offence, blobs
