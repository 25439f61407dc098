"""A checker by someone who has only read the specification: `python stranger.py RPC STORE CAMPAIGN`.

It imports nothing of ours. From a node's JSON-RPC and the folder of blocks it rebuilds, for each reported epoch, the
credit tree (section 4.3) from the credits lists, and the credits (section 6.5) from the records and verdicts in the
evidence, and prints one JSON object: per epoch the root on chain, the root rebuilt, the list on chain, and the
credits regenerated.
"""

import base64
import hashlib
import json
import sys
import urllib.request
from pathlib import Path

from Crypto.Hash import keccak as keccak_module
from eth_abi.abi import decode

REPORT = (
    "(bytes32,uint64,uint32,bytes32,bytes32,uint256,uint8,uint64,bytes32,string,bytes32,bytes32,string,uint64,uint64,"
    "uint64,bytes32)"
)
SUBMITTED = f"ReportSubmitted(uint64,uint32,bytes32,{REPORT},bytes,address[],bytes[],uint256)"
CLOSED = "EpochClosed(uint64,uint256,uint256,uint32,uint64)"
REGISTERED = "ProviderRegistered(uint32,address,address,address,string,uint256)"


def keccak(data):
    return keccak_module.new(digest_bits=256, data=data).digest()


def word(value):
    return value.to_bytes(32, "big")


# --- the chain -------------------------------------------------------------------------------------------------------


def rpc(url, method, *params):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        found = json.loads(answer.read())
    if "error" in found:
        raise SystemExit(f"{method}: {found['error']}")
    return found["result"]


def logs(url, address, signature):
    query = {
        "address": address,
        "topics": ["0x" + keccak(signature.encode()).hex()],
        "fromBlock": "0x0",
        "toBlock": "latest",
    }
    return [
        ([bytes.fromhex(t[2:]) for t in log["topics"]], bytes.fromhex(log["data"][2:]))
        for log in rpc(url, "eth_getLogs", query)
    ]


def call(url, address, signature, types, argument=b""):
    data = "0x" + (keccak(signature.encode())[:4] + argument).hex()
    return decode(types, bytes.fromhex(rpc(url, "eth_call", {"to": address, "data": data}, "latest")[2:]))


# --- the content store -----------------------------------------------------------------------------------------------


class Blocks:
    def __init__(self, folder):
        self.folder = Path(folder) / "blocks"

    def block(self, cid):
        data = (self.folder / cid[-2:] / cid).read_bytes()
        text = cid[1:].upper()
        binary = base64.b32decode(text + "=" * (-len(text) % 8))
        if hashlib.sha256(data).digest() != binary[4:]:
            raise SystemExit(f"{cid} is not what it names")
        return data, binary[1]

    def files(self, cid, prefix=""):
        found = {}
        for name, child in self.links(cid):
            data, codec = self.block(child)
            if codec == 0x55:
                found[prefix + name] = data
            else:
                found.update(self.files(child, prefix + name + "/"))
        return found

    def links(self, cid):
        data, _ = self.block(cid)
        found = []
        for number, value in fields(data):
            if number == 2:
                link = dict(fields(value))
                found.append((link[2].decode(), "b" + base64.b32encode(link[1]).decode().rstrip("=").lower()))
        return found


def fields(data):
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        size, at = varint(data, at)
        if key & 7 == 0:
            yield key >> 3, size
        else:
            yield key >> 3, data[at : at + size]
            at += size


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at


# --- section 4.3 -----------------------------------------------------------------------------------------------------


def tree(leaves, depth):
    """(root hash, sum) over {index: (provider, C, D, W)}."""
    level = []
    for index in range(1 << depth):
        if index in leaves and leaves[index][1]:
            provider, c, d, w = leaves[index]
            tag = keccak(b"commonweight.leaf.v1")
            level.append((keccak(keccak(tag + word(index) + bytes(12) + provider + word(c) + word(d) + word(w))), c))
        else:
            level.append((bytes(32), 0))
    tag = keccak(b"commonweight.node.v1")
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=True)
        level = [(keccak(tag + a + word(s) + b + word(t)), s + t) for (a, s), (b, t) in pairs]
    return level[0]


# --- section 6 -------------------------------------------------------------------------------------------------------


def parameters(model):
    """Elements of all distinct tensors of a Llama model whose output and input embeddings are one."""
    h, heads, kv, hd = model["hidden_size"], model["num_heads"], model["num_kv_heads"], model["head_dim"]
    layer = 2 * h + h * heads * hd * 2 + h * kv * hd * 2 + 3 * h * model["intermediate_size"]
    embeddings = model["vocab_size"] * h * (1 if model["tie_embeddings"] else 2)
    return embeddings + model["num_layers"] * layer + h


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) // 2


def credits_of(files):
    """Credits by index out of an epoch's evidence, without a cap."""
    config = json.loads(files["config.json"])
    p, rule = parameters(config["model"]), config["verification"]
    records = [json.loads(data)["body"] for path, data in files.items() if path.startswith("records/")]
    verdicts = [json.loads(data)["body"] for path, data in files.items() if path.startswith("verdicts/")]
    votes = {}
    for v in verdicts:
        key = (v["round"], v["index"], v["check"], v["signer"])
        votes[key] = votes.get(key, True) and v["outcome"] == "pass"

    def balance(number, index, check):
        cast = [good for (r, i, c, _), good in votes.items() if (r, i, c) == (number, index, check)]
        return len(cast), 2 * sum(cast) - len(cast)

    out = {e["index"] for r in records for e in r["counted"] if balance(r["round"], e["index"], "replay")[1] < 0}
    totals = {}
    for record in records:
        for entry in record["counted"]:
            index = entry["index"]
            checks = [balance(record["round"], index, check) for check in ("structure", "replay", "contribution")]
            if index in out or any(cast and lead <= 0 for cast, lead in checks):
                continue
            links = [measured for by, of, *measured in record["links"] if of == index and by != index]
            bandwidth = latency = 0
            if links:
                bps = median([size * 8_000_000 // transfer_us for size, transfer_us, _ in links])
                bandwidth = min(100, 100 * bps // rule["bandwidth_ref_bps"])
                latency = min(100, 100 * rule["latency_ref_us"] // max(1, median([rtt_us for _, _, rtt_us in links])))
            earned = 6 * p * entry["tokens"] * (800 + bandwidth + latency) // 10**12
            totals[index] = totals.get(index, 0) + earned
    return {index: amount for index, amount in totals.items() if amount}


def check_files(files, sha256):
    if hashlib.sha256(files["index.json"]).digest() != sha256:
        raise SystemExit("index.json is not what the report names")
    listed = {f["path"]: (f["size"], f["sha256"]) for f in json.loads(files["index.json"])["files"]}
    found = {p: (len(d), "0x" + hashlib.sha256(d).hexdigest()) for p, d in files.items() if p != "index.json"}
    if listed != found:
        raise SystemExit("the evidence is not what index.json lists")


def main(url, store, campaign):
    addresses = call(url, campaign, "addresses()", ["(" + ",".join(["address"] * 8) + ")"])[0]
    _, registry, oracle, ledger = addresses[:4]
    accounts = {}
    for topics, data in logs(url, registry, REGISTERED):
        del data
        accounts[int.from_bytes(topics[1], "big")] = topics[2][12:]
    closed = {}
    for topics, data in logs(url, oracle, CLOSED):
        acc, _, count, _ = decode(["uint256", "uint256", "uint32", "uint64"], data)
        closed[int.from_bytes(topics[1], "big")] = (acc, count)
    blocks, leaves, depth, result = Blocks(store), {}, 0, []
    for topics, data in logs(url, oracle, SUBMITTED):
        epoch = int.from_bytes(topics[1], "big")
        _, _, report, packed, _, _, wage = decode(
            ["uint32", "bytes32", REPORT, "bytes", "address[]", "bytes[]", "uint256"], data
        )
        acc, count = closed[epoch]
        listed = {}
        for at in range(0, len(packed), 12):
            listed[int.from_bytes(packed[at : at + 4], "big")] = int.from_bytes(packed[at + 4 : at + 12], "big")
        for index, amount in listed.items():
            _, c, d, w = leaves.get(index, (None, 0, 0, 0))
            leaves[index] = (accounts[index], c + amount, d + amount * acc, w + amount * wage)
        while depth < 1 or 1 << depth < count:
            depth += 1
        root, total = tree(leaves, depth)
        stored = call(url, ledger, "rootOf(uint64)", ["bytes32"], word(epoch))[0]
        files = blocks.files(report[9])
        check_files(files, report[10])
        lines = [json.loads(line) for line in files["leaves.jsonl"].splitlines()]
        written = {e["index"]: (bytes.fromhex(e["provider"][2:]), int(e["C"]), int(e["D"]), int(e["W"])) for e in lines}
        result.append(
            {
                "epoch": epoch,
                "root_on_chain": stored.hex(),
                "root_rebuilt": root.hex(),
                "sum_reported": report[5],
                "sum_rebuilt": total,
                "listed": listed,
                "regenerated": credits_of(files),
                "leaves_equal": written == leaves,
            }
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
