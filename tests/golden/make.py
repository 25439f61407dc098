"""Writes the golden vectors of docs/protocol.md, or compares them with what the code makes (`--check`).

Usage: python tests/golden/make.py [--check]. The vectors are committed; a change of one is a change of protocol.
"""

import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from commonweight.exact.aggregate import Contribution, aggregate_part  # noqa: E402
from commonweight.exact.arrays import F32, array_digest, to_bytes  # noqa: E402
from commonweight.exact.codecs import decode, encode, encoded_size  # noqa: E402
from commonweight.exact.genesis import genesis  # noqa: E402
from commonweight.exact.layout import Layout  # noqa: E402
from commonweight.exact.norms import dot, norm2  # noqa: E402
from commonweight.exact.offences import Context, check  # noqa: E402
from commonweight.exact.outer import outer_step  # noqa: E402
from commonweight.exact.payload import departure, make_payload, merged  # noqa: E402
from commonweight.net.identity import Identity, check_client_hello, check_server_hello  # noqa: E402
from commonweight.net.wire import PREFIX  # noqa: E402
from commonweight.protocol import creditslist, merkle  # noqa: E402
from commonweight.protocol.canonical import Json, JsonObject, dumps, sha256_hex  # noqa: E402
from commonweight.protocol.contribution import Scores, score_draws  # noqa: E402
from commonweight.protocol.credits import (  # noqa: E402
    EpochCredits,
    RoundEvidence,
    bandwidth_score,
    credit,
    itemise,
    latency_score,
    next_leaves,
    total_by_index,
    wage_scaled,
)
from commonweight.protocol.data import DataManifest, Shard, Split, Tokenizer, locate, sample_windows, windows  # noqa: E402
from commonweight.protocol.documents import DOCUMENT_TYPE, Signed, sign  # noqa: E402
from commonweight.protocol.draws import doubted_segment, draw_round  # noqa: E402
from commonweight.protocol.evidence import AnchoredRoot, Evaluation, Evidence, RoundFiles  # noqa: E402
from commonweight.protocol.evidence_check import (  # noqa: E402
    Facts,
    Seed,
    check_evidence,
    credits_of,
    draws_of,
    leaves_of,
    standing_of,
)
from commonweight.protocol.fields import f64_hex  # noqa: E402
from commonweight.protocol.keys import address_of, sign_digest  # noqa: E402
from commonweight.protocol.listing import make_list, share_cap  # noqa: E402
from commonweight.protocol.modelconfig import PRESETS  # noqa: E402
from commonweight.protocol.offences import Blob, Offence, part_blob  # noqa: E402
from commonweight.protocol.offices import Offices  # noqa: E402
from commonweight.protocol.parts import part_ranges  # noqa: E402
from commonweight.protocol.records import Anchor, Segment, Verdict, open_signed  # noqa: E402
from commonweight.protocol.runconfig import CODECS, METHODS, Aggregation  # noqa: E402
from commonweight.protocol.standing import Exposure, Standing  # noqa: E402
from commonweight.protocol.structs import (  # noqa: E402
    BAN_TYPE,
    REPORT_TYPE,
    ROTATION_TYPE,
    VERDICT_TYPE,
    VOUCHER_TYPE,
    Ban,
    DisputeVerdict,
    Report,
    Rotation,
    Voucher,
    config_digest,
)
from commonweight.protocol.sumtree import Leaf, SumTree, depth_for, leaf_hash  # noqa: E402
from commonweight.protocol.typed import DOMAIN_TYPE, Domain, typehash  # noqa: E402
from tests.golden import golden_round as g  # noqa: E402

KEY = g.COORDINATOR_KEY


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def typed() -> dict[str, bytes]:
    """EIP-712: domain, type hashes, digests and signatures of each struct."""
    report = Report(
        b"\x01" * 32,
        3,
        1,
        b"\x02" * 32,
        b"\x03" * 32,
        107,
        2,
        7,
        b"\x04" * 32,
        "bafyevidence",
        b"\x05" * 32,
        b"\x06" * 32,
        "bafycheckpoint",
        12,
        2_345_678,
        9_999,
        b"\x07" * 32,
    )
    ban = Ban(b"\x01" * 32, 5, b"\x08" * 32, 1_800_000_000)
    voucher, payments = Voucher(b"\x09" * 32, 10**18), Domain(31337, "0x" + "0d" * 20)
    document = sign("receipt", {"hello": "world"}, KEY, g.DOMAIN)
    structs: dict[str, Json] = {}
    rotation = Rotation(
        b"\x01" * 32, 2, tuple(f"0x{i:040x}" for i in (1, 2, 3)), tuple(f"0x{i:040x}" for i in (4, 5, 6))
    )
    dispute = DisputeVerdict(b"\x01" * 32, 3, 5, True, b"\x0a" * 32)
    for name, kind, body, domain in (
        ("Report", REPORT_TYPE, report, g.DOMAIN),
        ("Ban", BAN_TYPE, ban, g.DOMAIN),
        ("Rotation", ROTATION_TYPE, rotation, g.DOMAIN),
        ("Verdict", VERDICT_TYPE, dispute, g.DOMAIN),
        ("Voucher", VOUCHER_TYPE, voucher, payments),
    ):
        digest = body.digest(domain)
        structs[name] = {
            "type": kind,
            "typehash": _hex(typehash(kind)),
            "struct_hash": _hex(body.struct_hash()),
            "digest": _hex(digest),
            "signature": _hex(sign_digest(digest, KEY)),
            "domain_separator": _hex(domain.separator),
            "verifying_contract": domain.contract,
        }
    value: Json = {
        "key": _hex(KEY),
        "address": address_of(KEY),
        "chain_id": 31337,
        "domain_type": DOMAIN_TYPE,
        "domain_typehash": _hex(typehash(DOMAIN_TYPE)),
        "structs": structs,
        "report": report.to_body(),
        "ban": ban.to_body(),
        "voucher": {"channel_id": _hex(voucher.channel_id), "cumulative": str(voucher.cumulative)},
        "rotation": {
            "config_digest": _hex(rotation.config_digest),
            "quorum": rotation.quorum,
            "signers": list(rotation.signers),
            "transmitters": list(rotation.transmitters),
        },
        "verdict": {
            "config_digest": _hex(dispute.config_digest),
            "epoch": str(dispute.epoch),
            "index": dispute.index,
            "convicted": dispute.convicted,
            "evidence_sha256": _hex(dispute.evidence_sha256),
        },
        "config_digest": {
            "config_sha256": _hex(b"\x0b" * 32),
            "rotation": 1,
            "quorum": 2,
            "signers": list(rotation.signers),
            "digest": _hex(config_digest(b"\x0b" * 32, 1, 2, rotation.signers)),
        },
        "document_type": DOCUMENT_TYPE,
        "document_typehash": _hex(typehash(DOCUMENT_TYPE)),
        "document": document.to_json(),
        "document_sha256": document.digest,
        "document_domain_separator": _hex(g.DOMAIN.separator),
        "document_verifying_contract": g.DOMAIN.contract,
    }
    return {"typed.json": dumps(value)}


def canonical() -> dict[str, bytes]:
    """Canonical JSON: values and their bytes, and texts that are refused."""
    values: list[Json] = [
        {},
        [],
        "",
        0,
        -1,
        2**53 - 1,
        True,
        None,
        {"b": 1, "a": [1, {"z": None, "y": False}]},
        {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7},
        '\b\t\n\f\r"\\/\u0001\u007f',
    ]
    accepted: list[Json] = [
        {"value": value, "bytes": _hex(dumps(value)), "sha256": sha256_hex(dumps(value))} for value in values
    ]
    refused: list[Json] = [
        '{"a":1,"a":2}',
        "1.0",
        "1e3",
        "NaN",
        "-0",
        "9007199254740992",
        '{"b":1,"a":2}',
        "[1, 2]",
        " 1",
        "01",
        '"\\u0061"',
        "[1]x",
    ]
    return {"canonical.json": dumps({"accepted": accepted, "refused": refused})}


def trees() -> dict[str, bytes]:
    """RFC 9162 trees, the sum tree of the specification and a larger one, and the credits list."""
    cases: list[Json] = []
    for size in (1, 2, 3, 5, 8):
        leaves = [hashlib.sha256(bytes([number])).digest() for number in range(size)]
        proofs: list[Json] = [[_hex(node) for node in merkle.proof(leaves, index)] for index in range(size)]
        cases.append({"leaves": [_hex(leaf) for leaf in leaves], "root": _hex(merkle.root(leaves)), "proofs": proofs})
    spec = [Leaf(0, "0x" + "11" * 20, 100, 0, 2**64), Leaf(2, "0x" + "22" * 20, 7, 5 * 2**64, 0)]
    many = [Leaf(i, f"0x{i:040x}", 10 + i, i * 2**64, 3 * i) for i in (1, 3, 4, 9, 30)]
    credited = {0: 5, 3: 2**64 - 1, 4_000_000_000: 1}
    packed = creditslist.encode(credited)
    return {
        "merkle.json": dumps({"trees": cases, "empty_root": _hex(merkle.root([]))}),
        "sumtree.json": dumps({"trees": [_tree(spec, 2), _tree(many, 5), _tree([], 0), _tree([], 3)]}),
        "creditslist.json": dumps(
            {
                "credits": {str(k): str(v) for k, v in credited.items()},
                "packed": _hex(packed),
                "hash": _hex(creditslist.list_hash(packed)),
                "empty_hash": _hex(creditslist.list_hash(b"")),
            }
        ),
    }


def _leaf(leaf: Leaf) -> dict[str, Json]:
    return {"index": leaf.index, "provider": leaf.provider, "C": str(leaf.C), "D": str(leaf.D), "W": str(leaf.W)}


def _tree(leaves: list[Leaf], depth: int) -> Json:
    tree = SumTree(leaves, depth)
    return {
        "depth": depth,
        "root": _hex(tree.root),
        "sum": str(tree.sum),
        "leaves": [_leaf(leaf) | {"hash": _hex(leaf_hash(leaf))} for leaf in leaves],
        "proofs": {
            str(i): [{"hash": _hex(s.hash), "sum": str(s.sum)} for s in tree.proof(i)]
            for i in [leaf.index for leaf in leaves] + ([0] if depth == 3 else [])
        },
    }


def selection() -> dict[str, bytes]:
    """The data manifest, window selection, parts and draws."""
    manifest = DataManifest(
        Tokenizer("bytes"),
        256,
        1,
        Split(
            (
                Shard("train-0.bin", 1000, "0x" + "01" * 32, "bafkreione"),
                Shard("train-1.bin", 96, "0x" + "02" * 32, "bafkreitwo"),
            )
        ),
        Split((Shard("heldout-0.bin", 200, "0x" + "03" * 32, "bafkreithree"),)),
    )
    total, seed = windows(manifest.train, 8), hashlib.sha256(b"selection").digest()
    chosen: list[Json] = []
    for start, step in ((0, 0), (0, 1), (total - 2, 0), (10**9, 3)):
        picked = sample_windows(seed, start, step, 4, total)
        places: list[Json] = [
            {"shard": w.shard, "offset": w.offset} for w in (locate(manifest.train, 8, n) for n in picked)
        ]
        chosen.append({"data_start": start, "step": step, "batch": 4, "windows": list(picked), "places": places})
    draws: list[Json] = []
    for segments, rate, signers in (
        ({0: 4, 1: 4, 2: 3, 7: 4}, 10_000, 3),
        ({0: 4, 1: 1}, 10_000, 4),
        (dict.fromkeys(range(40), 5), 2_500, 3),
    ):
        drawn = draw_round(seed, 12, segments, rate, signers)
        draws.append(
            {
                "seed": _hex(seed),
                "round": 12,
                "segments": {str(k): v for k, v in segments.items()},
                "rate_bps": rate,
                "signers": signers,
                "draws": [{"index": d.index, "segment": d.segment, "position": d.position} for d in drawn],
            }
        )
    doubted: list[Json] = [
        {
            "seed": _hex(seed),
            "round": 12,
            "index": index,
            "segments": count,
            "segment": doubted_segment(seed, 12, index, count),
        }
        for index, count in ((0, 4), (1, 4), (7, 1000))
    ]
    spans: list[Json] = [
        {"numel": n, "block": b, "parts": p, "ranges": [[s.start, s.stop] for s in part_ranges(n, b, p)]}
        for n, b, p in ((1000, 128, 3), (885_888, 128, 4), (17, 8, 3))
    ]
    return {
        "data-manifest.json": manifest.to_bytes(),
        "data.json": dumps(
            {"manifest_sha256": manifest.sha256, "seed": _hex(seed), "seq_len": 8, "windows": total, "selected": chosen}
        ),
        "draws.json": dumps({"draws": draws, "doubted": doubted}),
        "parts.json": dumps({"parts": spans}),
    }


def _special(size: int) -> F32:
    """Numbers that are hard on codecs: zeros of both signs, subnormals, ties, outliers, a block of zeros."""
    x = g.wander("special", size, 1.0)
    x[8:16] = 0.0
    x[16] = -0.0
    x[24:32] = np.float32(1e-45) * np.arange(8, dtype=np.float32)
    x[32:40] = np.array([127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5], np.float32)
    x[40:48] *= np.float32(1e30)
    x[48:56] *= np.float32(1e-30)
    return x


def _residual(carried: bool) -> JsonObject:
    """A member's round after one that left a residual, added afterwards or carried."""
    base, residual, move = g.wander("base", 77, 1.0), g.wander("residual", 77, 0.01), g.wander("move", 77, 0.02)
    begin = departure(base, residual) if carried else base
    local = begin - move
    made = make_payload(base, local, None if carried else residual, 2, "int1", 8, True)
    return {
        "carry_residual": carried, "codec": "int1", "block": 8, "base": _hex(to_bytes(base)),
        "residual": _hex(to_bytes(residual)), "begin": _hex(to_bytes(begin)), "local": _hex(to_bytes(local)),
        "parts": [_hex(part) for part in made.parts], "new_residual": _hex(to_bytes(made.new_residual)),
    }  # fmt: skip


def _overlap(carried: bool) -> JsonObject:
    """Where a member goes on that went ahead of its base, of those who add and of those who carry their residual."""
    base, residual, first = g.wander("base", 77, 1.0), g.wander("residual", 77, 0.01), g.wander("first", 77, 1.0)
    local = first - g.wander("move", 77, 0.02)
    taken_in = merged(base, residual if carried else None, first, local)
    return {
        "carry_residual": carried, "base": _hex(to_bytes(base)), "residual": _hex(to_bytes(residual)),
        "first": _hex(to_bytes(first)), "local": _hex(to_bytes(local)), "merged": _hex(to_bytes(taken_in)),
    }  # fmt: skip


def arithmetic() -> dict[str, bytes]:
    """Genesis, codecs, norms, aggregation and the outer step."""
    result: dict[str, bytes] = {}
    nano = genesis(PRESETS["nano"], bytes(32))
    layout = Layout.from_model(PRESETS["nano"])
    result["genesis.json"] = dumps(
        {
            "model": PRESETS["nano"].to_json(),
            "seed": _hex(bytes(32)),
            "numel": layout.numel,
            "tensors": [{"name": s.name, "shape": list(s.shape), "offset": s.offset} for s in layout.tensors],
            "weights_digest": array_digest(nano),
            "first": _hex(to_bytes(nano[:8])),
            "last": _hex(to_bytes(nano[-8:])),
        }
    )
    x = _special(77)
    result["codecs/input.f32"] = to_bytes(x)
    codecs: list[Json] = []
    for codec in CODECS:
        data = encode(x, codec, 8)
        result[f"codecs/{codec}.bin"] = data
        back = decode(data, x.size, codec, 8)
        result[f"codecs/{codec}.f32"] = to_bytes(back)
        codecs.append(
            {
                "codec": codec,
                "block": 8,
                "count": x.size,
                "size": encoded_size(x.size, codec, 8),
                "encoded_sha256": sha256_hex(data),
                "decoded_digest": array_digest(back),
                "norm2_f64": f64_hex(norm2(back)),
                "sizes_of_1000": {str(block): encoded_size(1000, codec, block) for block in (8, 128, 512)},
            }
        )
    result["codecs.json"] = dumps({"codecs": codecs})
    result["overlap.json"] = dumps({"cases": [_overlap(carried) for carried in (False, True)]})
    result["residual.json"] = dumps({"cases": [_residual(carried) for carried in (False, True)]})
    y = g.wander("other", 77, 3.0)
    result["norms.json"] = dumps(
        {
            "x": _hex(to_bytes(x)),
            "y": _hex(to_bytes(y)),
            "norm2_x_f64": f64_hex(norm2(x)),
            "norm2_y_f64": f64_hex(norm2(y)),
            "dot_f64": f64_hex(dot(x, y)),
            "dot_self_negative_f64": f64_hex(dot(y, -y)),
        }
    )
    rows = [g.wander(f"row {i}", 40, 1.0) + g.wander("trend", 40, 1.0) for i in range(8)]
    rows[3] = rows[3] * np.float32(100.0)
    rows[4] = -rows[0]
    rows[6] = g.wander("noise 3", 40, 3.0)
    weights = [160, 112, 160, 160, 160, 40, 160, 80]
    cases: list[Json] = []
    for method in METHODS:
        for members in (1, 2, 4, 5, 8):
            rule = Aggregation(method=method, trim_bps=2500)  # type: ignore[arg-type]
            given = [Contribution(i, row, w) for i, (row, w) in enumerate(zip(rows, weights, strict=True))][:members]
            out = aggregate_part(given, rule, 800)
            cases.append(
                {
                    "method": method,
                    "trim_bps": 2500,
                    "members": members,
                    "planned_tokens": 800,
                    "result": _hex(to_bytes(out.x)),
                    "kept": list(out.kept),
                    "clipped": list(out.clipped),
                }
            )
    result["aggregate.json"] = dumps(
        {"rows": [_hex(to_bytes(row)) for row in rows], "weights": list(weights), "cases": cases}
    )
    w, buf = outer_step(x, y, rows[0][:1].repeat(77), "0.7", "0.9")
    result["outer.json"] = dumps(
        {
            "w": _hex(to_bytes(x)),
            "buf": _hex(to_bytes(y)),
            "g": _hex(to_bytes(rows[0][:1].repeat(77))),
            "lr": "0.7",
            "momentum": "0.9",
            "new_w": _hex(to_bytes(w)),
            "new_buf": _hex(to_bytes(buf)),
        }
    )
    return result


def whole_round() -> dict[str, bytes]:
    """The documents, payloads and checkpoint of one round."""
    made = g.build()
    result = {
        "round/run.json": made.config.to_bytes(),
        "round/plan.json": made.plan.to_bytes(),
        "round/anchor.json": made.anchor.to_bytes(),
        "round/record.json": made.record.to_bytes(),
        "round/verdict.json": made.verdict.to_bytes(),
        "round/genesis-manifest.json": made.parent_manifest.to_bytes(),
        "round/manifest.json": made.manifest.to_bytes(),
        "round/offence.json": offence(made).to_bytes(),
    }
    for name, data in made.parent.to_files(made.layout).items():
        result[f"round/genesis-{name}"] = data
    for name, data in made.checkpoint.to_files(made.layout).items():
        result[f"round/{name}"] = data
    for index in g.MEMBERS:
        result[f"round/commitment-{index}.json"] = made.commitments[index].to_bytes()
        result[f"round/receipt-{index}.json"] = made.receipts[index].to_bytes()
        result[f"round/part-0-{index}.json"] = made.parts[index].to_bytes()
        result[f"round/payload-{index}.bin"] = b"".join(made.payloads[index].parts)
    for part, reduced in enumerate(made.reduced):
        result[f"round/result-{part}.json"] = made.results[part].to_bytes()
        result[f"round/result-{part}.bin"] = reduced.encoded
    first = g.MEMBERS[0]
    result[f"round/state-{first}-1.safetensors"] = made.states[first][1].to_bytes()
    result["round/trace.json"] = dumps(
        {
            "index": first,
            "every": made.config.training.trace_every,
            "states": [s.digests.to_json() for s in made.states[first]],
            "leaves": [_hex(leaf) for leaf in made.builders[first].leaves()],
            "root": made.commitment_bodies[first].trace.root,
            "proof_of_leaf_1": list(made.builders[first].proof(1)),
            "keys": {str(i): address_of(g.member_key(i)) for i in g.MEMBERS},
            "coordinator": address_of(KEY),
            "chain_id": g.DOMAIN.chain_id,
            "credit_oracle": g.DOMAIN.contract,
        }
    )
    result.update(credit_vectors(made))
    return result


def offence(made: g.GoldenRound) -> Signed:
    """Member 2 signs the part of member 0 as its own: not what it committed to."""
    index = g.MEMBERS[1]
    message = g.PartMessage(g.RUN, 1, made.plan.digest, made.plan_body.base, 1, index, made.payloads[0].digests[1])
    documents = (made.plan, made.commitments[index], g.sign_body(message, g.member_key(index), g.DOMAIN))
    data = made.payloads[0].parts[1]
    body = Offence(
        g.RUN,
        "payload-mismatch",
        1,
        index,
        None,
        1,
        documents,
        (Blob(part_blob(index), sha256_hex(data), g.cid_for(data)),),
    )
    return sign(Offence.KIND, body.to_body(), KEY, g.DOMAIN)


def credit_vectors(made: g.GoldenRound) -> dict[str, bytes]:
    """Scores, the rule over the golden round, the cap, wages and the next leaves."""
    verdict = open_signed(Verdict, made.verdict, g.DOMAIN)
    rule = made.config.verification
    lines = itemise([RoundEvidence(made.record_body, (verdict,), frozenset({5}))], 10**9, rule)
    listing = make_list(total_by_index(lines), {}, 0, lambda _: None, 1_000)
    credited = listing.credited
    accounts = {index: f"0x{index + 1:040x}" for index in (0, 2, 5)}
    leaves = next_leaves([Leaf(0, accounts[0], 50, 7, 9)], credited, 3 << 64, 2 << 60, accounts)
    cases: list[Json] = [
        {
            "P": p,
            "tokens": t,
            "bandwidth": b,
            "latency": r,
            "share_bps": s,
            "credits": str(credit(p, t, b, r, s)),
        }
        for p, t, b, r, s in (
            (885_888, 15_360, 0, 0, 10_000),
            (885_888, 15_360, 100, 100, 10_000),
            (10**9, 10**6, 37, 99, 10_000),
            (1, 1, 100, 100, 10_000),
            (10**9, 10**6, 37, 99, 2_500),
            (885_888, 15_360, 100, 100, 1),
            (10**9, 10**6, 37, 99, 0),
        )
    ]
    scores: list[Json] = [
        {
            "bps": b,
            "reference_bps": rb,
            "bandwidth": bandwidth_score(b, rb),
            "rtt_us": r,
            "reference_us": rr,
            "latency": latency_score(r, rr),
        }
        for b, rb, r, rr in ((0, 10, 1, 10), (5, 10, 20, 10), (10, 10, 10, 10), (99, 10, 33, 10))
    ]
    caps: list[Json] = []
    for totals, cap in (({0: 10, 1: 10, 2: 11}, 31), ({0: 10, 1: 10, 2: 11}, 30), ({3: 1, 4: 1, 5: 1}, 2), ({1: 7}, 0)):
        caps.append(
            {
                "totals": {str(k): str(v) for k, v in totals.items()},
                "cap": str(cap),
                "credited": {str(k): str(v) for k, v in share_cap(totals, cap).items()},
            }
        )
    return {
        "credits.json": dumps(
            {
                "credit": cases,
                "scores": scores,
                "caps": caps,
                "wage": {
                    "wage_per_credit": "1000",
                    "unlocked_escrow": "123456",
                    "oracle_bps": 250,
                    "epoch_credits": "997",
                    "wage_scaled": str(wage_scaled(1000, 123_456, 250, 997)),
                },
                "leaves": {
                    "before": [_leaf(Leaf(0, accounts[0], 50, 7, 9))],
                    "credited": {str(k): str(v) for k, v in credited.items()},
                    "acc": str(3 << 64),
                    "wage": str(2 << 60),
                    "after": [_leaf(leaf) for leaf in leaves],
                },
            }
        ),
        "round/credits.json": dumps(
            EpochCredits(0, 10**9, 1_000, lines, {}, listing, 0, dict.fromkeys(credited), (), {}).to_json()
        ),
    }


def every_codec_and_method() -> dict[str, bytes]:
    """The outcome of the golden round under each codec and aggregation, with error feedback and without."""
    cases: list[Json] = []
    for codec in CODECS:
        for method in METHODS:
            for feedback in (True, False):
                made = g.build(codec, method, feedback)
                cases.append(
                    {
                        "codec": codec,
                        "method": method,
                        "error_feedback": feedback,
                        "payloads": {str(i): list(made.payloads[i].digests) for i in g.MEMBERS},
                        "norm2_f64": {
                            str(i): [f64_hex(part.norm2) for part in made.payloads[i].committed] for i in g.MEMBERS
                        },
                        "new_residuals": {str(i): made.payloads[i].new_residual_digest for i in g.MEMBERS},
                        "results": [part.digest for part in made.reduced],
                        "weights_digest": made.checkpoint.weights_digest,
                        "momentum_digest": array_digest(made.checkpoint.momentum),
                    }
                )
    return {"rounds.json": dumps({"rounds": cases})}


def signer_keys() -> list[bytes]:
    """The keys of three signers, the coordinator among them, in ascending order of their addresses."""
    return sorted([KEY, *(hashlib.sha256(b"golden signer %d" % i).digest() for i in (1, 2))], key=address_of)


def evidence() -> dict[str, bytes]:
    """A whole evidence directory of one epoch that `check_evidence` accepts, and what the chain would say about it."""
    made, keys, seed = g.build(), signer_keys(), Seed(1234, b"\x5e" * 32)
    offices = Offices(((0, tuple(address_of(key) for key in keys)),))
    commitments = {made.commitments[i].digest: made.commitment_bodies[i] for i in g.MEMBERS}
    verdicts = []
    for draw in draws_of(made.plan_body, commitments, seed, made.config, offices, Standing()):
        key = keys[draw.position]
        body = Verdict(
            g.RUN,
            0,
            1,
            draw.index,
            made.commitments[draw.index].digest,
            address_of(key),
            "replay",
            Segment(draw.segment, draw.segment + 1),
            "pass",
            True,
            0.0,
            1.0,
            (),
            seed.block,
            "0x" + seed.hash.hex(),
            "",
        )
        verdicts.append(g.sign_body(body, key, g.DOMAIN))
    for scored in score_draws(seed.hash, made.record_body, made.config.verification, len(keys)):
        key = keys[scored.position]
        scores = Scores(60_000 + scored.index, 5_000, 30_000, 4_000, 14_000, 3_000, 52_000, 4_500)
        body = Verdict(
            g.RUN, 0, 1, scored.index, made.commitments[scored.index].digest, address_of(key), "contribution", None,
            "pass", False, None, None, scores.named(), seed.block, "0x" + seed.hash.hex(), "",
        )  # fmt: skip
        verdicts.append(g.sign_body(body, key, g.DOMAIN))
    rounds = {
        1: RoundFiles(
            made.plan,
            made.record,
            tuple(made.commitments.values()),
            tuple((address_of(KEY), signed) for signed in made.receipts.values()),
            made.results,
            tuple(verdicts),
            made.manifest.to_bytes(),
        )
    }
    anchor = Anchor.from_body(made.anchor.body)
    root = AnchoredRoot(anchor.round, anchor.deadline, anchor.root, anchor.commitments)
    accounts = {index: f"0x{index + 1:040x}" for index in range(10)}
    facts = Facts(
        domain=g.DOMAIN,
        run=g.RUN,
        config=made.config,
        epoch_of=lambda _: 0,
        anchor_window=4,
        offices=offices,
        keys=lambda i: {address_of(g.member_key(i))},
        roots=lambda _: {(root.deadline, root.root)},
        records_of=lambda _: {made.record.digest},
        seed=lambda _: seed,
        credited=(),
        attested=None,
        leaves=(),
        accounts=accounts,
        acc=0,
        wage_of=lambda n: wage_scaled(1000, 123_456, 250, n),
        cap=1000,
        standing=Standing(),
        standing_at=lambda _: Standing(),
        stakes=dict.fromkeys(accounts, 10**6),
        exposed=Exposure(3000 << 64, {0: 100}),
    )
    context = Context(g.DOMAIN, g.RUN, made.config, made.layout.numel, facts.keys, offices.ever)
    evaluation = Evaluation(1, made.manifest.sha256, g.cid_for(made.manifest.to_bytes()), 3_456_789, 1000)
    draft = Evidence(g.RUN, 0, 1, made.config.to_bytes(), rounds, (root,), (offence(made),), evaluation, b"", (), b"")
    earned = credits_of(draft, facts, {1: frozenset({g.MEMBERS[1]})})
    whole = replace(
        draft, credits=dumps(earned.to_json()), leaves=leaves_of(earned, facts),
        standing=standing_of(earned, facts).to_bytes(),
    )  # fmt: skip
    check_evidence(whole, facts, lambda claimed: check(claimed, {}, context))
    amount = sum(earned.credited.values())
    tree = SumTree(whole.leaves, depth_for(10))
    chain: Json = {
        "chain_id": g.DOMAIN.chain_id,
        "credit_oracle": g.DOMAIN.contract,
        "campaign": g.RUN,
        "epoch": 0,
        "attempt": 1,
        "signers": list(offices.at(seed.block)),
        "member_keys": {str(i): address_of(g.member_key(i)) for i in g.MEMBERS},
        "accounts": {str(i): account for i, account in accounts.items()},
        "provider_count": 10,
        "acc": "0",
        "wage": str(facts.wage_of(amount)),
        "wage_per_credit": "1000",
        "unlocked_escrow": "123456",
        "oracle_bps": 250,
        "cap": "1000",
        "stakes": {str(i): str(stake) for i, stake in facts.stakes.items()},
        "revocable": {str(i): str(amount) for i, amount in facts.exposed.revocable.items()},
        "value": str(facts.exposed.value),
        "draw_block": seed.block,
        "draw_hash": "0x" + seed.hash.hex(),
        "record": made.record.digest,
        "anchored": [{"round": 1, "deadline": root.deadline, "root": root.root}],
        "evidence_sha256": whole.sha256,
        "credits_list": _hex(creditslist.encode(earned.credited)),
        "epoch_credits": str(amount),
        "root": _hex(tree.root),
        "sum": str(tree.sum),
        "depth": tree.depth,
    }
    return {"evidence-chain.json": dumps(chain), **{f"evidence/{path}": data for path, data in whole.files.items()}}


def frames() -> dict[str, bytes]:
    """Bytes of frames: both hellos of a connection, a request with a body, its reply, a refusal."""
    certificate, nonce, server, client = "0x" + "ce" * 32, "0x" + "20" * 32, KEY, g.member_key(2)
    common: dict[str, Json] = {"run": g.RUN, "cert_sha256": certificate, "nonce": nonce, "time_ms": 1_700_000_000_000}
    hello = sign("tls", {**common, "side": "server", "role": "signer", "index": None}, server, g.DOMAIN)
    answer = sign(
        "tls", {**common, "side": "client", "role": "member", "index": 2, "to": address_of(server)}, client, g.DOMAIN
    )
    mine = Identity(client, g.RUN, g.DOMAIN, "member", 2)
    check_server_hello(hello.to_json(), mine, address_of(server), certificate, 1.0, 1_700_000_000.0)
    check_client_hello(
        answer.to_json(), Identity(server, g.RUN, g.DOMAIN, "signer"), certificate, nonce, 1.0, 1_700_000_000.0
    )
    cases: dict[str, tuple[dict[str, Json], bytes]] = {
        "server_hello": ({"hello": hello.to_json()}, b""),
        "client_hello": ({"hello": answer.to_json()}, b""),
        "welcome": ({"status": "ok", "params": {}}, b""),
        "request": ({"id": 1, "method": "part", "params": {"part": 0}}, b"payload"),
        "reply": ({"id": 1, "status": "ok", "params": {"taken": True}}, b""),
        "refusal": ({"id": 1, "status": "wrong-plan", "params": {"what": "w", "why": "y", "fix": "f"}}, b""),
    }
    made: dict[str, Json] = {}
    for name, (header, body) in cases.items():
        text = dumps(header)
        made[name] = {
            "header": header,
            "body": _hex(body),
            "frame": _hex(PREFIX.pack(len(text), len(body)) + text + body),
        }
    return {"frames.json": dumps({"frames": made})}


MAKERS: tuple[Callable[[], Mapping[str, bytes]], ...] = (
    typed,
    canonical,
    trees,
    selection,
    arithmetic,
    whole_round,
    every_codec_and_method,
    evidence,
    frames,
)


def vectors() -> dict[str, bytes]:
    """Every golden file by its path under tests/golden."""
    result: dict[str, bytes] = {}
    for maker in MAKERS:
        result.update(maker())
    return result


def differences() -> list[str]:
    """The files that are missing or differ from what the code makes."""
    return [
        name for name, data in vectors().items() if not (HERE / name).is_file() or (HERE / name).read_bytes() != data
    ]


def main() -> int:
    """Writes the vectors; with --check only compares, and names what differs."""
    if "--check" in sys.argv[1:]:
        wrong = differences()
        print("golden vectors differ: " + ", ".join(wrong) if wrong else "golden vectors are as committed")
        return 1 if wrong else 0
    for name, data in vectors().items():
        path = HERE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    print(f"wrote {len(vectors())} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
