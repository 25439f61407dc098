"""How alike honest payloads are on text that repeats itself, and what tells them from copies.

`python scripts/bench_copies.py` trains members of `nano` from genesis with the real arithmetic, on ordinary text and on
one sentence again and again. At some rounds it takes the cosines of all payloads, asks the rule which of them it
doubts, and replays a segment of each member, and of copies in the place of each, as a signer does. Figures go into
bench-results/copies.json, the table into docs/verification.md.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from bench_scores import DOCUMENT, MEMBERS, Crowd, cosine_bps
from benches.block import write_block
from benches.results import WORKING, machine, write_result

from commonweight.exact.arrays import F32
from commonweight.exact.codecs import decode, encode
from commonweight.exact.copies import alike, memory_steps
from commonweight.exact.payload import Payload
from commonweight.exact.round import apply_parts
from commonweight.exact.trace import State
from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.records import Plan
from commonweight.protocol.runconfig import Verification
from trainer.data import Corpus
from trainer.preparation import prepare
from trainer.replay import compare

SETTINGS: Mapping[int, Sequence[int]] = {5: (2, 6), 20: (1, 3)}
"""H -> the rounds at which everything is measured; the last one ends the run."""
SEGMENT = 5
SENTENCE = "The quick brown fox jumps over the lazy dog. "
SHARES = (0.0, 0.2, 0.45)
"""How much noise, by norm, those who copy put upon what they copy."""
Measured = Mapping[str, object]


def text(folder: Path, *, repeating: bool) -> Corpus:
    """The standard library's source, or two hundred documents of one sentence each, again and again."""
    data = folder / ("repeating" if repeating else "ordinary")
    if not (data / "manifest.json").exists():
        sources = None
        if repeating:
            documents = folder / "documents"
            documents.mkdir(parents=True, exist_ok=True)
            for number in range(200):
                (documents / f"{number:03d}.txt").write_text(f"{number}\n{SENTENCE * 40}\n")
            sources = [documents]
        prepare(sources, data)
    return Corpus.open(data)


def measure(name: str, crowd: Crowd, marks: Sequence[int]) -> list[JsonObject]:
    """Train to the last marked round; what was found at the marked ones."""
    found: list[JsonObject] = []
    older: Mapping[int, F32] = {}
    for number in range(1, marks[-1] + 1):
        plan = crowd.plan(number)
        first, payloads, parts = crowd.round(plan)
        if number in marks:
            found.append({"text": name, "h": plan.h, "round": number, **examine(crowd, plan, first, payloads, older)})
            print(found[-1], file=sys.stderr)
        older = {index: made.decoded for index, made in payloads.items()}
        crowd.checkpoint = apply_parts(crowd.config, crowd.checkpoint, parts)
    return found


def examine(
    crowd: Crowd, plan: Plan, first: Mapping[int, State], payloads: Mapping[int, Payload], older: Mapping[int, F32]
) -> JsonObject:
    """Cosines of honest payloads and of copies, how many of each the rule doubts, and what replays of them find."""
    rule, memory = crowd.config.verification, memory_steps(crowd.config.training.inner.memory)
    bound = rule.copy_cosine_bps if plan.h >= memory else rule.copy_cosine_short_bps
    new = {index: made.decoded for index, made in payloads.items()}
    pairs = {
        "round": [(new[i], new[j]) for i in new for j in range(i)],
        "before": [(new[i], old) for i in new for j, old in older.items() if i != j],
        "own": [(new[i], older[i]) for i in new if i in older and plan.h >= memory],
    }
    honest = {
        name: max((cosine_bps(a, b) for a, b in some), default=None) for name, some in pairs.items()
    }  # fmt: skip
    beside = {i: [other for j, other in new.items() if j != i] + compared(i, older, plan.h, memory) for i in new}
    doubted = sum(any(alike(new[i], other, bound) for other in beside[i]) for i in new)
    noise = np.random.default_rng(plan.round).normal(size=new[1].size).astype(np.float32)
    noise *= np.float32(np.linalg.norm(new[1]) / np.linalg.norm(noise))
    codec, block = plan.codec, plan.block
    disguised = {share: encode(new[1] + np.float32(share) * noise, codec, block) for share in SHARES}
    copies = {
        str(share): alike(decode(data, noise.size, codec, block), new[1], bound) for share, data in disguised.items()
    }  # fmt: skip
    own = [replayed(crowd, plan, index, index, first) for index in new]
    others = [replayed(crowd, plan, index, (index + 1) % MEMBERS, first) for index in new]
    return {
        "bound_bps": bound, "cosines_bps": cast("JsonObject", honest), "doubted": doubted,
        "copies_doubted": cast("JsonObject", copies),
        "honest_rel_l2": f"{max(own):.1e}", "copy_rel_l2": f"{min(others):.1e}",
    }  # fmt: skip


def compared(index: int, older: Mapping[int, F32], h: int, memory: int) -> list[F32]:
    """The older payloads that a member's is compared with: others', and its own when momentum has forgotten them."""
    return [old for other, old in older.items() if other != index or h >= memory]


def replayed(crowd: Crowd, plan: Plan, index: int, whose: int, first: Mapping[int, State]) -> float:
    """The distance that a replay finds when `index` shows the states of `whose` around the round's first segment.

    Who shows another's states shows that one's first state, too: it is the base with that one's optimizer state.
    """
    claimed = crowd.train(plan, plan.member(whose).data_start, first[whose], SEGMENT)
    again = crowd.train(plan, plan.member(index).data_start, first[whose], SEGMENT)
    return compare(first[whose], claimed, again).rel_l2


def table(found: Sequence[Measured]) -> str:
    """The document's table."""
    lines = ["| text | H | round | in the round | another's before | its own before | bound | honest payloads doubted "]
    lines[0] += "| copies with 0 / 20 / 45 % noise doubted | replay of honest work | of a copy |"
    lines.append("| --- " * 11 + "|")
    for entry in cast("Sequence[dict[str, object]]", found):
        cosines = cast("dict[str, int | None]", entry["cosines_bps"])
        shown = ["" if value is None else f"{value / 1e4:.3f}" for value in cosines.values()]
        copies = " / ".join(
            "yes" if seen else "no" for seen in cast("dict[str, bool]", entry["copies_doubted"]).values()
        )
        bound = f"{cast('int', entry['bound_bps']) / 1e4:g}"
        cells = [
            str(entry["text"]), str(entry["h"]), str(entry["round"]), *shown, bound,
            f"{entry['doubted']} of {MEMBERS}", copies, str(entry["honest_rel_l2"]), str(entry["copy_rel_l2"]),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Measure, write, print. Exit code 1 when a replay does not tell honest work from copies."""
    folder = WORKING / "copies"
    found: list[JsonObject] = []
    for name, repeating in (("ordinary", False), ("repeating", True)):
        corpus = text(folder, repeating=repeating)
        for h, marks in SETTINGS.items():
            found += measure(name, Crowd.start(h, corpus), marks)
    tolerance = float(Verification().tolerance_rel_l2)
    write_result("copies", {"machine": machine(), "members": MEMBERS, "rounds": list(found)})
    write_block(DOCUMENT, "copies", table(found))
    print(table(found))
    told = all(
        float(str(e["honest_rel_l2"])) <= tolerance < float(str(e["copy_rel_l2"]))
        and cast("dict[str, bool]", e["copies_doubted"])["0.0"]
        for e in found
    )
    return 0 if told else 1


if __name__ == "__main__":
    sys.exit(main())
