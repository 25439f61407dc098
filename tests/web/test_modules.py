"""The page's own arithmetic and formats against golden vectors and against Python's."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode

from commonweight.chain.abi import all_errors, interface
from commonweight.cli.amounts import format_amount
from commonweight.cli.dashboard import PAGE
from commonweight.errors import PeerError
from commonweight.exact.codecs import encoded_size
from commonweight.net import check_address
from commonweight.protocol.canonical import dumps
from commonweight.protocol.offences import RULES
from commonweight.protocol.parts import block_count, part_ranges
from commonweight.protocol.structure import WRONG_START
from commonweight.store import Cid, FolderStore, cid_of
from commonweight.store.dagpb import Link, encode_file
from oracle import closing
from tests.conftest import ROOT
from tests.store import bombs

pytestmark = pytest.mark.unit
GOLDEN = ROOT / "tests" / "golden"


def node(script: str, data: object) -> Any:
    """What a script prints as JSON; it may import the page's modules from `page` and finds `data`."""
    text = (
        "import { readFileSync } from 'node:fs';\n"
        f"const page = (name) => import({json.dumps(PAGE.as_uri())} + '/js/' + name);\n"
        "const show = (value) => JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? `${v}` : v));\n"
        f"const data = JSON.parse(readFileSync(0, 'utf8'));\n{script}"
    )
    command = ["node", "--no-warnings", "--input-type=module", "-e", text]
    done = subprocess.run(command, input=json.dumps(data), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def golden(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text())


def test_times_and_amounts_in_what_contracts_refuse_are_told_as_such() -> None:
    script = """
    const { explain } = await page('errors.js');
    const run = { asset: { symbol: 'TOK', decimals: 6 } };
    console.log(show(await Promise.all(data.map(async (hex) => (await explain({ data: hex }, run)).why))));
    """
    errors = {e.name: e.selector for e in all_errors().values()}
    told = node(script, [
        "0x" + (errors["CapExceeded"] + encode(["uint256"], [1_500_000])).hex(),
        "0x" + (errors["BanNotLonger"] + encode(["uint64"], [1_796_000_000])).hex(),
        "0x" + (errors["WrongEpoch"] + encode(["uint64"], [7])).hex(),
    ])  # fmt: skip
    assert "(room: 1.5 TOK)" in told[0]
    assert "(banned until: 30 Nov 2026, 00:53 UTC)" in told[1]
    assert "(expected: 7)" in told[2]


def test_trees_proofs_and_lists_are_those_of_the_golden_vectors() -> None:
    trees, listed = golden("sumtree.json")["trees"], golden("creditslist.json")
    script = """
    const { climb, decodeList, depthFor, hasher, makeTree } = await page('ledger.js');
    const { keccak256 } = await (await page('crypto.js')).ethers();
    const hashing = hasher(keccak256);
    const trees = data.trees.map(({ depth, leaves, proofs }) => {
      const made = new Map(leaves.map((l) => [l.index, { ...l, C: BigInt(l.C), D: BigInt(l.D), W: BigInt(l.W) }]));
      const tree = makeTree(made, depth, hashing);
      const climbs = [...made].map(([index, l]) => climb(hashing.leaf(l), index, tree.proof(index), hashing));
      const again = Object.fromEntries(Object.keys(proofs).map((index) => [index, tree.proof(Number(index))]));
      return { root: tree.root, climbs, proofs: again };
    });
    const depths = data.depths.map(([count, previous]) => depthFor(count, previous));
    const refused = data.refused.filter((hex) => { try { decodeList(hex); return false; } catch { return true; } });
    console.log(show({ trees, depths, refused, list: Object.fromEntries(decodeList(data.packed)) }));
    """
    refused = ["0x00", "0x" + "00" * 12, "0x" + ("00000001" + "00" * 7 + "01") * 2]
    depths = [(0, 0), (1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (2, 7), (2**20, 0), (2**20 + 1, 0)]
    got = node(script, {"trees": trees, "packed": listed["packed"], "refused": refused, "depths": depths})
    for made, tree in zip(got["trees"], trees, strict=True):
        assert made["root"] == {"hash": tree["root"], "sum": tree["sum"]}
        assert made["proofs"] == tree["proofs"]
        assert all(root == made["root"] for root in made["climbs"])
    assert got["list"] == listed["credits"]
    assert got["refused"] == refused
    assert got["depths"] == [1, 1, 1, 2, 2, 3, 7, 20, 21]


def test_documents_are_canonical_and_their_digests_those_of_the_golden_vectors() -> None:
    accepted = golden("canonical.json")["accepted"]
    script = """
    const { canonical } = await page('verify.js');
    console.log(show(data.map((value) => '0x' + Buffer.from(canonical(value)).toString('hex'))));
    """
    assert node(script, [case["value"] for case in accepted]) == [case["bytes"] for case in accepted]


def test_a_signed_document_is_checked_as_the_golden_vector_is_signed() -> None:
    typed = golden("typed.json")
    script = """
    const { checkDocument } = await page('verify.js');
    const run = { chainId: BigInt(data.chain_id), campaign: '', addresses: { oracle: data.document_verifying_contract },
                  params: { signers: [data.address] } };
    const found = [];
    const checks = checkDocument({ run, log: { of: () => [] } }, JSON.stringify(data.document));
    for await (const one of checks) found.push(one);
    console.log(show(found));
    """
    checks = {check["name"]: check for check in node(script, typed)}
    assert checks["It is signed by who may sign it"]["ok"] is True
    assert checks["It is signed by who may sign it"]["detail"] == f"{typed['address']}, signer in office"
    assert checks["Its digest, by which others name it"]["detail"] == typed["document_sha256"]
    assert checks["It names this run"]["ok"] is False  # the vector's body names none


def test_amounts_are_those_of_the_command_line() -> None:
    draw = random.Random(7)
    values = [(draw.randrange(10 ** draw.randrange(1, 40)), draw.choice([0, 6, 8, 18])) for _ in range(300)]
    script = """
    const { exact, parseAmount } = await page('money.js');
    console.log(show(data.map(([value, decimals]) => {
      const text = exact(BigInt(value), decimals);
      return [text, BigInt(value) === 0n ? '0' : parseAmount(text, decimals)];
    })));
    """
    got = node(script, [(str(value), decimals) for value, decimals in values])
    for (value, decimals), (text, back) in zip(values, got, strict=True):
        assert f"{text} ETH" == format_amount(value, "ETH", decimals)
        assert back == str(value)


def test_a_comma_that_may_divide_thousands_is_not_taken_for_a_decimal_one() -> None:
    script = """
    const { parseAmount } = await page('money.js');
    const read = (text) => { try { return parseAmount(text, 6); } catch (error) { return error.message; } };
    console.log(show(data.map(read)));
    """
    doubtful, *clear = node(script, ["1,500", "1,5", "1,50", "1,5000", "1.500", ",500"])
    assert "thousands" in doubtful
    assert clear == ["1500000", "1500000", "1500000", "1500000", "500000"]


def test_amounts_are_shortened_for_reading_and_never_made_larger() -> None:
    script = """
    const { bytes, nats, percent, readable } = await page('money.js');
    console.log(show([
      readable(5999523809523809523n, 18), readable(1n, 18), readable(1234567000000n, 6), readable(0n, 18),
      percent(1n, 3n), percent(1n, 10_000n), percent(2n, 2n), nats(2384499n), nats(500n), bytes(999n), bytes(67421458n),
    ]));
    """
    assert node(script, None) == [
        "≈ 5.999523", "< 0.000001", "1\u202f234\u202f567", "0", "33.3 %", "< 0.1 %", "100 %", "2.384", "0.001",
        "999 bytes", "67.4 MB",
    ]  # fmt: skip


def test_times_beyond_all_dates_are_told() -> None:
    script = """
    const { span, when } = await page('views/parts.js');
    console.log(show([when(2n ** 64n - 1n), when(8640000000000n), when(0n), when(1700000000), span(2n ** 64n - 1n)]));
    """
    never, last, first, plain, long = node(script, None)  # a ban may end with the last number there is
    assert never == "the end of time"
    assert last == "13 Sept 275760, 00:00 UTC"
    assert first == "1 Jan 1970, 00:00 UTC"
    assert plain == "14 Nov 2023, 22:13 UTC"
    assert long.endswith(" days")


def test_marks_that_nobody_sees_are_shown_and_joined_letters_stay_joined() -> None:
    plain = ["tab\tand\nline", "می\u200cروم", "👩\u200d🚀", "1\u202f000\u00a0kB"]
    unseen = ["a\u202eb", "\u200bx", "\u0000", "\u2028", "\U000e0041"]
    script = "const { visible } = await page('dom.js'); console.log(show(data.map(visible)));"
    assert node(script, plain + unseen) == [*plain, "a\\u202eb", "\\u200bx", "\\u0000", "\\u2028", "\\ue0041"]


def test_credits_that_move_between_epochs_are_told_for_whom_they_move() -> None:
    script = """
    const { movedOf } = await page('views/rounds.js');
    console.log(show(data.map((index) => movedOf({ carried_in: { 3: '12' }, carried: { 3: '1500', 4: '1' } }, index))));
    """
    told = node(script, [3, 4, 5])
    assert [[words.split(" credits ")[0] for words in mine] for mine in told] == [["12", "1\u202f500"], ["1"], []]
    assert "of earlier epochs" in told[0][0]


def test_a_place_that_the_page_takes_is_one_that_a_provider_takes() -> None:
    peer = "12D3KooWGRUNhUHAdTfVmM3mN9AbVyvZ2qpTyZRNRjmoKWJJzTQm"
    good = [
        "gpu.example.org:7700", "203.0.113.7:1", "[2001:db8::7]:65535",
        f"/p2p/{peer}", f"/ip6/2001:db8::7/tcp/1/p2p/{peer}", f"/dns4/a.org/tcp/1/p2p/{peer}/p2p-circuit/p2p/{peer}",
    ]  # fmt: skip
    bad = [
        "", ":7700", "host", "foo bar:7700", "\u00fcnic\u00f6de:7700", "a/b:7700", "host:",
        "host:0", "host:65536", "host:7e3", "0.0.0.0:7700", "[::]:7700",
        "/", "/p2p/", f"p2p/{peer}", f"/p2p/{peer[:30]}", f"/p2p/{peer}/", f"/p2p/{peer}/p2p-circuit",
        "/ip4/203.0.113.7/tcp/4001", f"/ip4/2001:db8::7/tcp/1/p2p/{peer}", f"/ip4/203.0.113.7/tcp/0/p2p/{peer}",
        f"/tcp/65536/p2p/{peer}", f"/udp/1/p2p/{peer}", f"/ip4/0.0.0.0/tcp/1/p2p/{peer}", f"/ip6/::/tcp/1/p2p/{peer}",
    ]  # fmt: skip
    script = "const { peerProblem } = await page('views/entries.js'); console.log(show(data.map(peerProblem)));"
    told = node(script, [*good, *bad, f"{'a' * 252}:700", f"{'a' * 253}:700"])
    assert [place for place, problem in zip(good, told, strict=False) if problem] == []
    assert [place for place, problem in zip(bad, told[len(good) :], strict=False) if not problem] == []
    assert told[-2:] == ["", "It is longer than 256 bytes."]
    for place in good:
        check_address(place)
    for place in bad:
        with pytest.raises(PeerError):
            check_address(place)


def test_epochs_are_named_as_people_do() -> None:
    script = """
    const { spread } = await page('views/newest.js');
    console.log(show(data.map(spread)));
    """
    assert node(script, [[3], [4, 3], [9, 1, 6, 5, 4], [1, 3]]) == [
        "epoch 3", "epochs 3 to 4", "epochs 1, 4 to 6 and 9", "epochs 1 and 3",
    ]  # fmt: skip


def test_the_abi_is_read_and_written_as_python_does() -> None:
    entry = interface("RevenueDistributor").function("claimCompute", 3)
    leaf = (7, "0x" + "ab" * 20, 2**200, 5, 2**255)
    proof = [(b"\x01" * 32, 9), (b"\x02" * 32, 2**256 - 1)]
    kinds = ["uint64", "(uint32,address,uint256,uint256,uint256)", "(bytes32,uint256)[]"]
    script = """
    const { decode, encodeCall } = await page('abi.js');
    const { FUNCTIONS } = await page('generated/abi.js');
    const [epoch, leaf, proof] = decode(FUNCTIONS['RevenueDistributor.claimCompute'][1], data);
    const back = encodeCall('RevenueDistributor.claimCompute', [epoch, leaf, proof]);
    let cut = false;
    try { decode(FUNCTIONS['RevenueDistributor.claimCompute'][1], data.slice(0, -64)); } catch { cut = true; }
    console.log(show({ epoch, leaf, proof, back, cut }));
    """
    data = encode(kinds, (3, leaf, proof)).hex()
    got = node(script, "0x" + data)
    assert got["leaf"] == {"index": 7, "provider": leaf[1], "C": str(2**200), "D": "5", "W": str(2**255)}
    assert got["proof"][1] == {"hash": "0x" + "02" * 32, "sum": str(2**256 - 1)}
    assert got["back"] == "0x" + entry.selector.hex() + data
    assert got["cut"] is True


READ = """
const { Content } = await page('content.js');
const blocks = new Map(data.blocks.map(([cid, hex]) => [cid, Buffer.from(hex, 'hex')]));
globalThis.location = { href: 'http://here/' };
globalThis.fetch = async (url) => new Response(blocks.get(url.split('/ipfs/')[1].split('?')[0]));
const content = new Content(['http://there']);
const outcome = async (read) => {
  try { return await read(); } catch (error) { return `${error.constructor.name}: ${error.message}`; }
};
const length = async (cid) => (await content.file(cid)).length;
const count = async (cid) => (await content.directory(cid)).size;
console.log(show({
  files: await Promise.all(data.files.map((cid) => outcome(() => length(cid)))),
  directories: await Promise.all(data.directories.map((cid) => outcome(() => count(cid)))),
}));
"""


def read_by_the_page(store: FolderStore, files: list[Cid], directories: list[Cid]) -> Any:
    """Lengths of files and sizes of directories, or errors, from the blocks of a store."""
    blocks = [(str(b.cid), b.data.hex()) for cid in dict.fromkeys([*files, *directories]) for b in store.blocks(cid)]
    return node(READ, {"blocks": blocks, "files": files, "directories": directories})


def test_content_is_read_as_by_the_store(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    sizes = [0, 1, 2**20, 2**20 + 1, 3 * 2**20 + 7]
    files = [store.put(random.Random(size).randbytes(size)) for size in sizes] + [
        bombs.file_of(store, chunk, links, count) for chunk, links, count in ((4096, 16, 3), (2**18, 20, 1), (50, 9, 2))
    ]
    counts = [0, 3, 6000]
    directories = [store.put_directory({f"{i:050}": b"x" for i in range(count)}) for count in counts]
    got = read_by_the_page(store, files, directories)
    assert got == {"files": [*sizes, 4096 * 16**3, 20 * 2**18, 50 * 81], "directories": counts}


def test_trees_without_end_are_refused_by_the_page(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    entry = [Link(cid_of(b""), "00name", 0)]
    store.put(b"")
    lying = bombs.put(store, encode_file([Link(store.put(b"xy"), "", 1)], [1]))
    files = [bombs.empty_files(store), bombs.file_of(store, 1, 1024, 2), lying]
    got = read_by_the_page(store, files, [bombs.shards(store, []), bombs.shards(store, entry)])
    said = ["too large", "too large", "malformed", "not a directory", "too large"]
    for outcome, words in zip(got["files"] + got["directories"], said, strict=True):
        assert outcome.startswith("NotHere: ")
        assert words in outcome


def test_content_identifiers_are_those_of_the_store() -> None:
    data = [dumps({"n": n}) for n in range(20)]
    cids = [str(cid_of(block, codec)) for block in data for codec in (0x55, 0x70)]
    script = """
    const { cidOf, parseCid } = await page('content.js');
    console.log(show(data.map((cid) => { const { codec, digest } = parseCid(cid); return cidOf(codec, digest); })));
    """
    assert node(script, cids) == cids


def test_traffic_counts_what_a_runs_members_send() -> None:
    script = """
    const { traffic } = await page('evidence.js');
    const counted = data.map(({ steps, bytes }) => ({ steps, payloadBytes: BigInt(bytes) }));
    const run = (topology, codec, result_codec) => traffic(counted, 1000n, { topology, codec, result_codec });
    const [same, coarser] = [run('butterfly', 'int8', 'int8'), run('butterfly', 'int1', 'ternary')];
    console.log(show([same, coarser, run('star', 'int1', 'ternary')]));
    """
    both, out, star = node(script, [{"steps": 10, "bytes": 600}, {"steps": 20, "bytes": 600}])
    synchronous = 2 * 1 * 4 * 1000 * (10 + 20) // 2
    assert both == {"ways": "2", "star": False, "sent": "1200", "synchronous": str(synchronous)}
    assert out == {"ways": "1", "star": False, "sent": "600", "synchronous": str(synchronous // 2)}
    assert star == {"ways": "2", "star": True, "sent": "1200", "synchronous": str(synchronous)}


def test_a_payload_is_as_long_as_the_codecs_make_it() -> None:
    draw = random.Random(3)
    cases = []
    for codec in ("fp32", "fp16", "int8", "int4", "int2", "int1", "ternary", "topk2"):
        for block in (8, 64, 256, 512, 65536):
            parameters = draw.randrange(1, 3_000_000)
            cases.append((parameters, draw.randint(1, min(90, block_count(parameters, block))), codec, block))
    script = """
    const { payloadBytes } = await page('evidence.js');
    const of = ([parameters, parts, codec, block]) => payloadBytes(parameters, parts, { codec, block });
    console.log(show(data.map(of)));
    """
    expected = [
        str(sum(encoded_size(part.size, codec, block) for part in part_ranges(parameters, block, parts)))
        for parameters, parts, codec, block in cases
    ]
    assert node(script, [*cases, (1000, 3, "int3", 64)]) == [*expected, None]


KEPT = """
const { Content } = await page('content.js');
globalThis.location = { href: 'http://here/' };
const blocks = new Map(data.map(([cid, length]) => [cid, new Uint8Array(length)]));
let asked = [];
globalThis.fetch = async (url) => {
  const cid = url.split('/ipfs/')[1].split('?')[0];
  asked.push([...blocks.keys()].indexOf(cid));
  return new Response(blocks.get(cid));
};
const content = new Content(['http://there']);
const cids = [...blocks.keys()];
const read = async (places) => {
  asked = [];
  for (const place of places) await content.block(cids[place]);
  return asked;
};
const all = cids.map((_, place) => place);
console.log(show([await read(all), await read([cids.length - 1, 0]), await read([0, 2, 1])]));
"""


def test_of_the_content_that_was_read_what_was_used_last_is_kept() -> None:
    lengths = [(1 << 20) + place for place in range(40)]  # more than is kept
    got = node(KEPT, [(str(cid_of(bytes(length))), length) for length in lengths])
    assert got == [list(range(40)), [0], [2, 1]]


LISTS = """
const { Content } = await page('content.js');
const content = new Content(['http://127.0.0.1:9']);
const loads = [];
const list = async (name, size) => content.keep(name, async () => {
  loads.push(name);
  return new Map(Array.from({ length: size }, (_, place) => [place, place]));
});
for (let time = 0; time < 3; time += 1) for (const [name, size] of data) await list(name, size);
console.log(show(loads));
"""


def test_the_lists_of_a_report_with_very_many_files_are_read_once() -> None:
    lists = [["index", 200_000], ["directory", 20], ["records", 90_000]]
    assert node(LISTS, lists) == [name for name, _ in lists]


REFUSALS = """
const { RpcError } = await page('rpc.js');
const { views } = await page('run.js');
const asked = [['0x', 'Campaign.raised']];
const ask = (error) => views({ batch: async () => [new RpcError(error)] }, asked, 'latest', { settle: true })
  .then((told) => told, ({ message }) => message);
console.log(show(await Promise.all(data.map(ask))));
"""


def test_what_a_node_refuses_is_not_taken_for_what_a_contract_refuses() -> None:
    contract = [
        {"code": 3, "message": "execution reverted", "data": "0x"},
        {"code": -32000, "message": "VM Exception while processing transaction: revert"},
        {"code": -32000, "message": "invalid opcode: INVALID"},
        {"code": -32015, "message": "VM execution error."},
    ]
    itself = [{"code": -32005, "message": "request rate exceeded"}, {"code": -32000, "message": "header not found"}]
    assert node(REFUSALS, contract + itself) == [[None]] * 4 + [error["message"] for error in itself]


PAGES = """
const { Pages } = await page('pages.js');
const { RpcError } = await page('rpc.js');
const run = { chainId: 1n, campaign: '0x' };
const hash = (number) => `0x${number}`;
/** Logs at every `each`th block; what a node refuses is told by `limits`. */
async function read({ blocks, each, most = 1e9, logs: mostLogs = 1e9, atOnce = 1e9, ...wrong }) {
  const { lags = false, strays = false, head = hash(blocks) } = wrong;
  let [asked, underWay, told, forked] = [0, 0, [], false];
  const batch = async ([[, [{ fromBlock, toBlock }]]]) => {
    const [from, to] = [Number(fromBlock), Number(toBlock)];
    asked += 1;
    underWay += 1;
    await new Promise((resolve) => setImmediate(resolve));
    const refused = underWay > atOnce;
    underWay -= 1;
    const found = [];
    const end = forked ? Math.min(to, blocks - 64) : to;
    for (let at = Math.ceil(from / each) * each; at <= end && found.length <= mostLogs; at += each) {
      found.push({ blockNumber: `0x${(strays ? at + blocks : at).toString(16)}` });
    }
    if (refused || to - from + 1 > most || found.length > mostLogs) throw new RpcError({ code: -32005, message: 'no' });
    return [found, lags && to === blocks ? null : { number: toBlock, hash: hash(to) }];
  };
  const rpc = { urls: ['http://a'], distrust: () => {}, batch };
  const pages = new Pages(rpc, run, [], BigInt(blocks), (at) => told.push(at));
  const target = { number: `0x${blocks.toString(16)}`, hash: head };
  const final = BigInt(blocks - 64);
  try {
    const logs = await pages.read(1n, target, final);
    forked = true;  // what was not final has gone
    const again = await pages.read(1n, target, final);  // as after a look whose other half failed
    forked = false;
    const rest = await pages.read(final + 1n, target, final);
    const places = logs.map(({ blockNumber }) => Number(blockNumber));
    const whole = places.length === Math.floor(blocks / each) && places.every((at, place) => at === (place + 1) * each);
    const kept = again.length === Math.floor((blocks - 64) / each);
    return { asked, right: whole && kept && told.every((at) => at <= BigInt(blocks)), rest: rest.length };
  } catch (error) { return `${error.constructor.name}: ${error.message}`; }
}
console.log(show(await Promise.all(data.map(read))));
"""


def test_pages_hold_every_event_once_whatever_a_node_limits() -> None:
    year = 365 * 24 * 3600 // 2  # blocks of two seconds
    few, many = {"blocks": year, "each": 10_000}, {"blocks": 100_000, "each": 3}
    limited = [{**few, "most": 2_000}, {**few, "most": 10_000}, {**few, "logs": 100}, {**many, "logs": 1_000}]
    got = node(PAGES, [*limited, {**many, "most": 500, "atOnce": 2}, {**many, "most": 1}])
    assert all(one["right"] for one in got[:5]), got
    assert [one["rest"] for one in got[:5]] == [0, 0, 0, 21, 21]
    whole = [one["asked"] for one in got[:5]]
    assert all(asked < most for asked, most in zip(whole, [8_400, 2_200, 60, 120, 700], strict=True)), whole
    assert got[5]["right"]  # block by block, if it must be
    wrongs: list[dict[str, object]] = [{"lags": True}, {"strays": True}, {"head": "0x"}]
    refused = node(PAGES, [{**many, "most": 500, **wrong} for wrong in wrongs])
    assert all(words.startswith("Nonsense: The node tells events") for words in refused)


def test_rounds_that_counted_nobody_are_looked_for_where_work_was_anchored() -> None:
    script = """
    const { epochsWithRounds } = await page('evidence.js');
    const anchored = data.map(([epoch, commitmentsRoot]) => ({ epoch: BigInt(epoch), commitmentsRoot }));
    console.log(show(epochsWithRounds([[4, 5n], [0, 0n], [1, 3n], [2, 3n], [3, 3n]], anchored)));
    """
    root, none = "0x" + "ab" * 32, "0x" + "00" * 32
    assert node(script, []) == [4, 1]
    assert node(script, [[1, root], [2, root], [3, none], [9, root]]) == [4, 2, 1]


def test_every_reason_of_a_record_for_not_counting_work_is_in_words() -> None:
    words = (PAGE / "js" / "views" / "rounds.js").read_text()
    of_members = set(RULES) - {"omission", "wrong-record"}  # those are coordinators' offences
    closings = {closing.BELOW, closing.TWO, closing.LOST, closing.LATE, closing.ABSENT, closing.UNANCHORED}
    reasons = of_members | closings | {WRONG_START}
    assert {name for name in reasons if f'"{name}": "' not in words and f'  {name}: "' not in words} == set()
