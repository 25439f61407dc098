"""A member of several ranks without chain and peers: `torchrun ... ranks.py DATA FOLDER [OPTIMIZER | die]`.

Rank 0 trains a round as a member does, replays every segment on one device as a signer does, and prints what it found.
With `die`, rank 1 is killed in the middle of the steps.
"""

import json
import os
import signal
import sys
from pathlib import Path

from commonweight.errors import RanksLost
from commonweight.exact.checkpoint import genesis_checkpoint
from commonweight.protocol.records import Commitment, sign_body
from commonweight.protocol.typed import Domain
from tests.trainer.conftest import KEYS, make_plan, tiny_config
from trainer import sharded
from trainer.data import Corpus
from trainer.diloco import RoundTrainer, payload_of
from trainer.inner import InnerOptimizer
from trainer.journal import Journal
from trainer.replay import compare, replay_segment
from trainer.settings import is_follower


def member(data: Path, folder: Path, optimizer_name: str) -> dict[str, object]:
    corpus = Corpus.open(data)
    inner = {"optimizer": optimizer_name, "cooldown": 3}
    config = tiny_config(corpus.manifest.sha256, inner=inner, max_rounds=3)
    plan = make_plan(config, "0x" + "0b" * 32, members=2)
    journal, base = Journal(folder), genesis_checkpoint(config).weights
    round_ = journal.open_round(sign_body(plan, KEYS[-1], Domain(31337, "0x" + "0c" * 20)))
    optimizer = sharded.ShardedOptimizer(config)
    trainer = RoundTrainer(config, corpus, journal, 1, make=lambda _: optimizer)
    trainer.warm_up()
    work = trainer.train(round_, base, lambda done, seconds: False, lambda step, loss: print("step", step, flush=True))
    optimizer.close()
    trace, single = round_.trace, InnerOptimizer(config)
    assert trace is not None
    Commitment.from_body(work.commitment.to_body()).trace.check(
        [part.digest for part in work.commitment.parts], work.commitment.steps, config.training.trace_every
    )
    worst, exact = 0.0, []
    for number in range(len(trace.states) - 1):
        start, claimed = journal.load_state(trace.states[number]), journal.load_state(trace.states[number + 1])
        every = config.training.trace_every
        steps = range(number * every, min((number + 1) * every, work.commitment.steps))
        result = compare(start, claimed, replay_segment(single, corpus, plan, 1, start, steps))
        assert result.within(config), result
        worst, exact = max(worst, result.rel_l2, result.norm_ratio), [*exact, result.exact]
    last = journal.load_state(trace.states[-1])
    payload = payload_of(config, plan, base, last.weights, last.residual)
    return {"worst": worst, "exact": exact, "steps": work.commitment.steps, "loss": work.loss,
            "payload": payload.digests == work.payload.digests,
            "kept": len(exact) + 1, "leaves": len(trace.states)}  # fmt: skip


def main() -> None:
    data, folder, word = Path(sys.argv[1]), Path(sys.argv[2]), (sys.argv[3:] or ["adamw"])[0]
    if is_follower():
        if word == "die":
            honest, taken = sharded.ShardedOptimizer._advance, []

            def advance(self, batch, pace):
                taken.append(1)
                if len(taken) == 4:
                    os.kill(os.getpid(), signal.SIGKILL)
                return honest(self, batch, pace)

            sharded.ShardedOptimizer._advance = advance  # type: ignore[method-assign]
        sharded.follow()
        return
    try:
        print("found", json.dumps(member(data, folder, "adamw" if word == "die" else word)), flush=True)
    except RanksLost as lost:
        print("lost", lost.what, flush=True)
        sys.exit(lost.exit_code)


if __name__ == "__main__":
    main()
