"""A stranger's checker: the golden round and evidence, verified with nothing of ours but docs/protocol.md.

It uses json, hashlib, eth_account and the plain implementations of tests/protocol and tests/exact, and imports nothing
from commonweight.
"""

import base64
import hashlib
import json
import struct
from itertools import pairwise
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak

from tests.exact import reference as arithmetic
from tests.protocol import reference as rules

pytestmark = pytest.mark.unit

GOLDEN = Path(__file__).parent
ROUND = GOLDEN / "round"
EVIDENCE = GOLDEN / "evidence"


def load(path: Path):
    return json.loads(path.read_bytes())


def canonical(value) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha(data: bytes) -> str:
    return "0x" + hashlib.sha256(data).hexdigest()


def raw(digest: str) -> bytes:
    return bytes.fromhex(digest[2:])


def digest_of(document) -> str:
    return sha(canonical(document["body"]))


def signer_of(document, chain_id: int, contract: str) -> str:
    domain = {"name": "Commonweight", "version": "1", "chainId": chain_id, "verifyingContract": contract}
    types = {"Document": [{"name": "kind", "type": "string"}, {"name": "sha256", "type": "bytes32"}]}
    message = encode_typed_data(domain, types, {"kind": document["kind"], "sha256": raw(digest_of(document))})
    return Account.recover_message(message, signature=document["signature"]).lower()


@pytest.fixture(scope="module")
def chain():
    return load(GOLDEN / "evidence-chain.json")


@pytest.fixture(scope="module")
def commitments():
    return {i: load(ROUND / f"commitment-{i}.json") for i in (0, 2, 5)}


def state_leaf(state) -> bytes:
    arrays = b"".join(raw(state[name]) for name in ("weights", "m", "v", "residual"))
    return hashlib.sha256(b"commonweight.state.v1" + struct.pack(">Q", state["step"]) + arrays).digest()


def flat_of(path: Path) -> list[float]:
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    names = [name for name in header if name != "__metadata__"]
    assert names == sorted(names)
    assert start % 8 == 0
    return arithmetic.floats(data[start:])


def test_every_document_is_canonical_and_signed_by_its_author(chain) -> None:
    contract, keys = chain["credit_oracle"], chain["member_keys"]
    authors = {"commitment": "index", "part": "sender", "result": "reducer"}
    checked = 0
    for path in [*ROUND.glob("*.json"), *EVIDENCE.rglob("*.json")]:
        document = load(path)
        if not isinstance(document, dict) or set(document) != {"kind", "body", "signature"}:
            continue
        assert canonical(document) == path.read_bytes()
        signer = signer_of(document, chain["chain_id"], contract)
        if document["kind"] in authors:
            assert signer == keys[str(document["body"][authors[document["kind"]]])]
        else:
            assert signer in chain["signers"]
        assert document["body"]["schema"] == f"commonweight.{document['kind']}.v1"
        assert document["body"]["run"] == chain["campaign"]
        checked += 1
    assert checked > 30


def test_traces_bind_states_payloads_and_residuals(commitments) -> None:
    config, plan, detail = (load(ROUND / name) for name in ("run.json", "plan.json", "trace.json"))
    base = sha(arithmetic.bits(flat_of(ROUND / "genesis-weights.safetensors")))
    parameters = len(flat_of(ROUND / "genesis-weights.safetensors"))
    zeros = sha(bytes(4 * parameters))
    for index, document in commitments.items():
        body, trace = document["body"], document["body"]["trace"]
        assert (body["plan"], body["base"]) == (digest_of(plan), plan["body"]["base"])
        assert trace["leaves"] == 1 + -(-body["steps"] // config["training"]["trace_every"])
        assert trace["first"] == {"step": 0, "weights": base, "m": zeros, "v": zeros, "residual": zeros}
        parts = committed(document)
        final = hashlib.sha256(
            b"commonweight.final.v1" + state_leaf(trace["last"]) + struct.pack(">I", len(parts))
            + b"".join(part[:32] for part in parts) + raw(trace["new_residual"])
        ).digest()  # fmt: skip
        ends = ((state_leaf(trace["first"]), 0, "first_proof"), (final, trace["leaves"] - 1, "last_proof"))
        for leaf, at, proof in ends:
            path = [raw(node) for node in trace[proof]]
            assert rules.merkle_climb(leaf, at, trace["leaves"], path) == raw(trace["root"])
        if index == detail["index"]:
            leaves = [state_leaf(state) for state in detail["states"]]
            assert rules.merkle_root([*leaves[:-1], final]) == raw(detail["root"]) == raw(trace["root"])


def committed(document) -> list[bytes]:
    """Of each part of a commitment its digest and its squared norm: 32 and 8 bytes."""
    data = base64.b64decode(document["body"]["parts"])
    return [data[at : at + 40] for at in range(0, len(data), 40)]


def part_sizes(parameters: int, block: int, parts: int) -> list[int]:
    blocks = -(-parameters // block)
    edges = [min(j * blocks // parts * block, parameters) for j in range(parts + 1)]
    return [b - a for a, b in pairwise(edges)]


def test_the_checkpoint_follows_from_its_parent_and_the_payloads(commitments) -> None:
    plan, record, config = (load(ROUND / name) for name in ("plan.json", "record.json", "run.json"))
    parent = flat_of(ROUND / "genesis-weights.safetensors")
    sizes = part_sizes(len(parent), plan["body"]["block"], plan["body"]["parts"])
    tokens = config["training"]["batch"] * config["training"]["seq_len"]
    planned = sum(member["steps"] * tokens for member in plan["body"]["members"])
    payloads, at = {i: (ROUND / f"payload-{i}.bin").read_bytes() for i in commitments}, 0
    gradient: list[float] = []
    for part, size in enumerate(sizes):
        length = 4 * -(-size // 8) + size
        rows = []
        for index, document in commitments.items():
            data = payloads[index][at : at + length]
            rows.append(arithmetic.decode(data, size, "int8", 8))
            assert raw(sha(data)) + struct.pack(">d", arithmetic.dot(rows[-1], rows[-1])) == committed(document)[part]
        for entry in record["body"]["counted"]:
            digests = b"".join(each[:32] for each in committed(commitments[entry["index"]]))
            assert entry["payload"] == "0x" + hashlib.sha256(digests).hexdigest()
        weights = [entry["tokens"] for entry in record["body"]["counted"]]
        mean, _, _ = arithmetic.aggregate(rows, weights, "clipped-mean", 0, planned)
        encoded = arithmetic.encode(mean, "int8", 8)
        assert sha(encoded) == record["body"]["results"][part]
        assert encoded == (ROUND / f"result-{part}.bin").read_bytes()
        gradient += arithmetic.decode(encoded, size, "int8", 8)
        at += length
    outer = config["training"]["outer"]
    weights_after, momentum_after = arithmetic.outer(
        parent, flat_of(ROUND / "genesis-outer.safetensors"), gradient, outer["lr"], outer["momentum"]
    )
    assert arithmetic.bits(weights_after) == arithmetic.bits(flat_of(ROUND / "weights.safetensors"))
    assert arithmetic.bits(momentum_after) == arithmetic.bits(flat_of(ROUND / "outer.safetensors"))
    manifest = load(ROUND / "manifest.json")
    for name, entry in manifest["files"].items():
        assert (sha((ROUND / name).read_bytes()), (ROUND / name).stat().st_size) == (entry["sha256"], entry["size"])
    assert sha((ROUND / "manifest.json").read_bytes()) == record["body"]["checkpoint"]
    assert manifest["parent"] == sha((ROUND / "genesis-manifest.json").read_bytes()) == plan["body"]["base"]
    assert manifest["config"] == sha((ROUND / "run.json").read_bytes())


def test_the_index_names_every_file_of_the_evidence(chain) -> None:
    index = load(EVIDENCE / "index.json")
    assert sha((EVIDENCE / "index.json").read_bytes()) == chain["evidence_sha256"]
    files = {str(p.relative_to(EVIDENCE)): p.read_bytes() for p in EVIDENCE.rglob("*") if p.is_file()}
    del files["index.json"]
    assert [(f["path"], f["size"], f["sha256"]) for f in index["files"]] == [
        (path, len(data), sha(data)) for path, data in sorted(files.items())
    ]


def test_anchors_records_and_draws_hold(chain) -> None:
    documents = [load(path) for path in (EVIDENCE / "commitments").iterdir()]
    digests = sorted(raw(digest_of(document)) for document in documents)
    anchor = load(EVIDENCE / "anchors.json")[0]
    assert rules.merkle_root(digests) == raw(anchor["root"]) == raw(chain["anchored"][0]["root"])
    assert digest_of(load(EVIDENCE / "records" / "1.json")) == chain["record"]
    config = load(EVIDENCE / "config.json")
    segments = {document["body"]["index"]: document["body"]["trace"]["leaves"] - 1 for document in documents}
    rate = config["verification"]["replay_rate_bps"]
    drawn = rules.draws(raw(chain["draw_hash"]), 1, segments, rate, len(chain["signers"]))
    verdicts = [load(path)["body"] for path in (EVIDENCE / "verdicts").iterdir()]
    replays = [v for v in verdicts if v["check"] == "replay"]
    found = [(v["index"], v["segment"]["from"], chain["signers"].index(v["signer"])) for v in replays]
    assert sorted(found) == sorted(drawn)


def test_scores_are_drawn_and_decide_their_outcome(chain) -> None:
    rule, record = load(EVIDENCE / "config.json")["verification"], load(EVIDENCE / "records" / "1.json")["body"]

    def number(index: int, purpose: bytes) -> int:
        data = b"commonweight.scores.v1" + raw(chain["draw_hash"]) + struct.pack(">QI", 1, index) + purpose
        return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")

    drawn = [
        (entry["index"], number(entry["index"], b"turn") % len(chain["signers"]))
        for entry in record["counted"]
        if number(entry["index"], b"rate") % 10_000 < rule["contribution_rate_bps"]
    ]
    verdicts = [load(path)["body"] for path in (EVIDENCE / "verdicts").iterdir()]
    scored = [v for v in verdicts if v["check"] == "contribution"]
    assert sorted((v["index"], chain["signers"].index(v["signer"])) for v in scored) == drawn != []
    for v in scored:
        s, margin = v["scores"], rule["contribution_margin_micro"]
        passed = (
            s["own_gain_micro"] + 4 * s["own_noise_micro"] > 0
            and s["surplus_micro"] + 4 * s["surplus_noise_micro"] >= 0
            and s["heldout_gain_micro"] + 4 * s["heldout_noise_micro"] + margin >= 0
            and s["lead_micro"] + 4 * s["lead_noise_micro"] + margin >= 0
        )
        assert (v["outcome"] == "pass") is passed


def test_the_standing_follows_from_verdicts_and_credits(chain) -> None:
    rule, written = load(EVIDENCE / "config.json")["verification"], load(EVIDENCE / "standing.json")
    credits = load(EVIDENCE / "credits.json")
    guilty = {load(path)["body"]["index"] for path in (EVIDENCE / "offences").iterdir()}
    verdicts = [load(path)["body"] for path in (EVIDENCE / "verdicts").iterdir()]
    replayed = {v["index"] for v in verdicts if v["check"] == "replay" and v["outcome"] == "pass"}
    value, expected = int(credits["value"]), []
    for index in sorted({v["index"] for v in verdicts} | guilty | {int(i) for i in credits["credited"]}):
        passed = 0 if index in guilty else int(index in replayed)
        at_risk = int(chain["revocable"].get(str(index), "0")) + int(credits["credited"].get(str(index), "0"))
        stake = int(chain["stakes"][str(index)])
        share = -(-at_risk * value * 10_000 // (stake << 64))
        falling = rule["replay_rate_bps"] * 8 // (8 + passed)
        rate = min(10_000, max(1, falling, min(rule["replay_rate_min_bps"], rule["replay_rate_bps"]), share))
        expected.append(
            {"index": index, "passed": passed, "failed": 0, "rate_bps": rate, "carried": "0", "since": None}
        )
    assert written == {"schema": "commonweight.standing.v1", "epoch": 0, "next": 0, "providers": expected}


def median(values: list[int]) -> int:
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) // 2


def test_credits_leaves_and_the_root_follow(chain) -> None:
    record, rule = load(EVIDENCE / "records" / "1.json")["body"], load(EVIDENCE / "config.json")["verification"]
    guilty = {load(path)["body"]["index"] for path in (EVIDENCE / "offences").iterdir()}
    parameters = len(flat_of(ROUND / "weights.safetensors"))
    credited = {}
    for entry in record["counted"]:
        own = [measured for _, index, *measured in record["links"] if index == entry["index"]]
        bps = median([size * 8_000_000 // transfer_us for size, transfer_us, _ in own])
        rtt = median([rtt_us for _, _, rtt_us in own])
        bandwidth = min(100, 100 * bps // rule["bandwidth_ref_bps"])
        latency = min(100, 100 * rule["latency_ref_us"] // rtt)
        if entry["index"] not in guilty:
            credited[entry["index"]] = rules.credits_of(parameters, entry["tokens"], bandwidth, latency)
    written = load(EVIDENCE / "credits.json")
    assert written["credited"] == {str(i): str(c) for i, c in credited.items()}
    total = sum(credited.values())
    assert chain["epoch_credits"] == str(total)
    budget = int(chain["unlocked_escrow"]) * 10_000 // (10_000 + chain["oracle_bps"])
    wage = min(int(chain["wage_per_credit"]) << 64, (budget << 64) // total)
    leaves = {i: (chain["accounts"][str(i)], c, c * int(chain["acc"]), c * wage) for i, c in credited.items()}
    lines = [json.loads(line) for line in (EVIDENCE / "leaves.jsonl").read_text().splitlines()]
    assert {e["index"]: (e["provider"], int(e["C"]), int(e["D"]), int(e["W"])) for e in lines} == leaves
    root, total_sum = rules.sum_root(leaves, chain["depth"])
    assert (root, str(total_sum)) == (raw(chain["root"]), chain["sum"])
    packed = b"".join(struct.pack(">IQ", i, c) for i, c in sorted(credited.items()))
    assert "0x" + packed.hex() == chain["credits_list"]


def test_type_hashes_are_those_of_the_strings_in_the_document() -> None:
    text = (GOLDEN.parents[1] / "docs" / "protocol.md").read_text()
    vectors = load(GOLDEN / "typed.json")
    for entry in vectors["structs"].values():
        assert f"`{entry['type']}`" in text
        assert "0x" + keccak(text=entry["type"]).hex() == entry["typehash"]
        digest = keccak(b"\x19\x01" + raw(entry["domain_separator"]) + raw(entry["struct_hash"]))
        assert "0x" + digest.hex() == entry["digest"]
        recovered = Account._recover_hash(digest, signature=raw(entry["signature"]))
        assert recovered.lower() == vectors["address"]


def test_windows_come_from_the_seed_alone() -> None:
    vectors, manifest = load(GOLDEN / "data.json"), load(GOLDEN / "data-manifest.json")
    total = sum(max(0, shard["tokens"] - 1) // vectors["seq_len"] for shard in manifest["train"]["shards"])
    assert total == vectors["windows"]
    for case in vectors["selected"]:
        first = case["data_start"] + case["step"] * case["batch"]
        assert case["windows"] == [rules.window(raw(vectors["seed"]), first + b, total) for b in range(case["batch"])]
    config, plan = load(ROUND / "run.json"), load(ROUND / "plan.json")
    assert plan["body"]["data_seed"] == sha(b"commonweight.data.v1" + raw(config["genesis_seed"]))


def test_genesis_weights_come_from_the_seed_alone() -> None:
    config, data = load(ROUND / "run.json"), (ROUND / "genesis-weights.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        a, b = entry["data_offsets"]
        bound = 0.034641016151377546
        if name.endswith((".self_attn.o_proj.weight", ".mlp.down_proj.weight")):
            bound /= (2 * config["model"]["num_layers"]) ** 0.5
        count = (b - a) // 4
        plain = [1.0] * count
        if not name.endswith("norm.weight"):
            plain = arithmetic.genesis_tensor(raw(config["genesis_seed"]), name, count, bound)
        assert arithmetic.bits(plain) == data[start + a : start + b], name
