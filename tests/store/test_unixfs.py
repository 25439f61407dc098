"""Blocks and CIDs of files and directories, against fixed vectors of the IPFS network and against the written
formats.
"""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonweight.errors import FormatError, StoreError
from commonweight.store.cid import DAG_PB, Block, cid_bytes, cid_from_bytes, cid_of, codec_of, parse_cid
from commonweight.store.dagpb import Link, decode, encode_directory, encode_file
from commonweight.store.entries import Entry
from commonweight.store.hamt import murmur3
from commonweight.store.unixfs import CHUNK_BYTES, MAX_DIRECTORY_BYTES, add_directory, add_file, car_header, car_section

pytestmark = pytest.mark.unit

EMPTY_FILE = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
HELLO_WORLD = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
EMPTY_DIRECTORY = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"


def add(data: bytes) -> tuple[Entry, list[Block]]:
    blocks: list[Block] = []
    return add_file(io.BytesIO(data), blocks.append), blocks


def test_known_cids() -> None:
    assert add(b"")[0].cid == EMPTY_FILE
    assert add(b"hello world")[0].cid == HELLO_WORLD
    assert add_directory({}, lambda block: None).cid == EMPTY_DIRECTORY


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 5_000_000])
def test_a_file_is_cut_into_raw_leaves_of_one_mebibyte_under_one_node(size: int) -> None:
    data = bytes(i % 251 for i in range(1000)) * (size // 1000 + 1)
    entry, blocks = add(data[:size])
    assert entry.size == size
    leaves = [block.data for block in blocks if codec_of(block.cid) != DAG_PB]
    assert b"".join(leaves) == data[:size]
    assert all(len(leaf) == CHUNK_BYTES for leaf in leaves[:-1])
    assert blocks[-1].cid == entry.cid
    assert entry.tsize == sum(len(block.data) for block in blocks)
    if size > CHUNK_BYTES:
        node = decode(blocks[-1].data)
        assert node.filesize == size
        assert sum(node.blocksizes) == size
        assert len(node.links) == len(leaves)


def test_over_1024_chunks_make_a_second_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commonweight.store.unixfs.CHUNK_BYTES", 1)
    _, exact = add(bytes(1024))
    assert len([b for b in exact if codec_of(b.cid) == DAG_PB]) == 1
    entry, over = add(bytes(1025))
    nodes = [decode(b.data) for b in over if codec_of(b.cid) == DAG_PB]
    assert [len(node.links) for node in nodes] == [1024, 1, 2]
    assert nodes[-1].filesize == 1025
    assert entry.size == 1025


def test_directory_links_are_sorted_by_bytes_and_keep_sizes() -> None:
    file_entry, _ = add(b"x")
    blocks: list[Block] = []
    entry = add_directory({"b": file_entry, "a": file_entry, "Z": file_entry, "ä": file_entry}, blocks.append)
    assert [link.name for link in decode(blocks[0].data).links] == ["Z", "a", "b", "ä"]
    assert entry.tsize == len(blocks[0].data) + 4


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\x00b"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(StoreError):
        add_directory({name: add(b"x")[0]}, lambda block: None)


def test_a_directory_is_sharded_beyond_256_kibibytes() -> None:
    entry, blocks = add(b"x")[0], []
    for count, sharded in ((5000, False), (5300, True)):
        blocks.clear()
        directory = add_directory({f"{i:06}": entry for i in range(count)}, blocks.append)
        assert (len(blocks) > 1) == sharded
        assert all(len(block.data) <= MAX_DIRECTORY_BYTES for block in blocks)
        assert directory.tsize == sum(len(block.data) for block in blocks) + count
        assert decode(blocks[-1].data).is_directory


def test_murmur3_vectors() -> None:
    """Published values of MurmurHash3 x64 128, its first half."""
    assert murmur3(b"").hex() == "0000000000000000"
    assert murmur3(b"hello").hex() == "cbd8a7b341bd9b02"
    assert murmur3(b"hello, world").hex() == "342fac623a5ebc8e"
    assert murmur3(b"The quick brown fox jumps over the lazy dog.").hex() == "cd99481f9ee902c9"


@pytest.mark.parametrize(
    "cid",
    [
        "",
        "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn",
        EMPTY_FILE.upper(),
        EMPTY_FILE[:-1],
        EMPTY_FILE + "a",
        EMPTY_FILE[:-1] + "v",  # the same bytes with another unused bit
        "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua",  # dag-cbor
    ],
)
def test_other_forms_of_cids_are_refused(cid: str) -> None:
    with pytest.raises(FormatError):
        parse_cid(cid)


@given(st.binary(max_size=200))
def test_cids_round_trip(data: bytes) -> None:
    for codec in (0x55, 0x70):
        cid = cid_of(data, codec)
        assert cid_from_bytes(cid_bytes(cid)) == cid == parse_cid(cid)


@given(st.binary(max_size=300))
def test_decoding_garbage_never_fails_otherwise_than_by_name(data: bytes) -> None:
    try:
        node = decode(data)
    except FormatError:
        return
    assert node.kind in (0, 1, 2, 5)


@given(st.lists(st.tuples(st.text(max_size=8), st.integers(0, 2**50)), max_size=8))
def test_nodes_round_trip(items: list[tuple[str, int]]) -> None:
    links = [Link(cid_of(name.encode()), name, size) for name, size in items]
    node = decode(encode_file(links, [size for _, size in items]))
    assert list(node.links) == links
    assert node.blocksizes == tuple(size for _, size in items)
    assert sorted(link.name for link in decode(encode_directory(links)).links) == sorted(name for name, _ in items)


def test_a_file_node_whose_sizes_do_not_add_up_is_refused() -> None:
    good = encode_file([Link(cid_of(b"x"), "", 1)], [1])
    assert decode(good).filesize == 1
    with pytest.raises(FormatError, match="add up"):
        decode(encode_file([Link(cid_of(b"x"), "", 1)], []))


def test_the_car_header_has_one_length_and_holds_the_root() -> None:
    header = car_header(cid_of(b"x"))
    assert len(header) == len(car_header(cid_of(b"y", DAG_PB))) == 59
    assert cid_bytes(cid_of(b"x")) in header
    assert header.endswith(b"version\x01")
    assert car_section(Block(cid_of(b"x"), b"x")) == bytes((37,)) + cid_bytes(cid_of(b"x")) + b"x"
