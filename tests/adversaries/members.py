"""Dishonest members: the honest `Member` with one thing done differently.

`install(name)` puts one in the place of the honest member, so that everything else of the process (command line, keys,
sockets, state) is the product itself. `python -m tests.adversaries.liar ...` and `python -m tests.adversaries.as_member
NAME ...` run the real command line that way.
"""

from dataclasses import replace

import numpy as np

import trainer.train
from commonweight.errors import PeerUnreachable
from commonweight.exact.trace import State
from commonweight.net import Reply
from commonweight.protocol.canonical import sha256_hex
from commonweight.protocol.documents import Signed, sign
from commonweight.protocol.records import Commitment, Plan
from trainer.allreduce import Exchange, OwnPart
from trainer.checkpoint import Held
from trainer.diloco import Enough, Progress, Work
from trainer.journal import RoundFolder
from trainer.member import Member

OTHER = "0x" + "0e" * 32


class Liar(Member):
    """Rule 4: commits to its work and then sends, under its signature, other bytes."""

    def own_part(self, folder: RoundFolder) -> OwnPart:
        honest = super().own_part(folder)

        def part(number: int) -> tuple[Signed, bytes]:
            message, payload = honest(number)
            false = payload[:-1] + bytes([payload[-1] ^ 1])
            body = {**message.body, "digest": sha256_hex(false)}
            return sign("part", body, self.identity.key, self.identity.domain), false

        return part


class Damager(Member):
    """Sends honest messages with damaged bytes: an accident as far as anybody can prove."""

    def own_part(self, folder: RoundFolder) -> OwnPart:
        honest = super().own_part(folder)

        def part(number: int) -> tuple[Signed, bytes]:
            message, payload = honest(number)
            return message, bytes(len(payload))

        return part


class WrongBase(Member):
    """Rule 2: commits to work for another base than the plan's."""

    def commitment(self, folder: RoundFolder, body: Commitment) -> Signed:
        return super().commitment(folder, replace(body, base=OTHER))


class WrongRound(Member):
    """Rule 2: commits to work for another round than the plan's."""

    def commitment(self, folder: RoundFolder, body: Commitment) -> Signed:
        return super().commitment(folder, replace(body, round=body.round + 1))


class Equivocator(Member):
    """Commits, gets its receipt, and then signs a second commitment to another payload for the same round."""

    def __post_init__(self) -> None:
        super().__post_init__()
        honest = self.signers.commit

        async def twice(commitment: Signed) -> Signed:
            receipt = await honest(commitment)
            await honest(self.second)
            return receipt

        self.signers.commit = twice  # type: ignore[method-assign]

    def commitment(self, folder: RoundFolder, body: Commitment) -> Signed:
        trace, parts = folder.trace, (replace(body.parts[0], digest=OTHER), *body.parts[1:])
        assert trace is not None
        changed = trace.finish([part.digest for part in parts], body.trace.new_residual)
        second = replace(body, parts=parts, trace=changed)
        self.second = sign("commitment", second.to_body(), self.identity.key, self.identity.domain)
        return super().commitment(folder, body)


class Silent(Member):
    """Commits, gets its receipt, and never sends a byte of its payload."""

    def __post_init__(self) -> None:
        super().__post_init__()

        async def unreachable(*arguments: object, **names: object) -> Reply:
            raise PeerUnreachable("this member keeps silent")

        async def nothing(*arguments: object) -> None:
            return None

        self.book.call = unreachable  # type: ignore[method-assign]
        self.signers.upload = nothing  # type: ignore[method-assign]


class _Forger(Member):
    """Commits consistently to a payload that its steps did not lead to: only replay or aggregation can tell."""

    def forge(self, change: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def train(self, folder: RoundFolder, base: Held, enough: Enough, progress: Progress) -> Work:
        optimizer_state, forge, start = self.trainer.journal.store_state, self.forge, base.checkpoint.weights

        def store(state: State, known):
            if "m" not in known:  # else it is the first state
                self.moved = (start + forge(state.weights - start)).astype(np.float32)
                state = replace(state, weights=self.moved)
            return optimizer_state(state, known)

        from trainer import diloco

        honest_payload = diloco.payload_of

        def payload(config, plan: Plan, weights, local, residual):
            return honest_payload(config, plan, weights, self.moved, residual)

        self.trainer.journal.store_state = store  # type: ignore[method-assign]
        diloco.payload_of = payload  # type: ignore[assignment]
        try:
            return super().train(folder, base, enough, progress)
        finally:
            self.trainer.journal.store_state = optimizer_state  # type: ignore[method-assign]
            diloco.payload_of = honest_payload


class SignFlip(_Forger):
    """Sends the opposite of its pseudo-gradient."""

    def forge(self, change: np.ndarray) -> np.ndarray:
        return -change


class Hundredfold(_Forger):
    """Sends a hundred times its pseudo-gradient."""

    def forge(self, change: np.ndarray) -> np.ndarray:
        return change * np.float32(100.0)


class Noise(_Forger):
    """Sends noise of its pseudo-gradient's size."""

    def forge(self, change: np.ndarray) -> np.ndarray:
        return np.random.default_rng(0).normal(0, float(change.std()), change.shape)


class FalseReducer(Member):
    """Signs reduced parts that nobody's payloads aggregate to."""

    def exchange(self, plan: Signed, keys) -> Exchange:
        exchange = super().exchange(plan, keys)
        honest = exchange._aggregate

        def aggregate(part, decoded):
            reduced = honest(part, decoded)
            false = reduced.encoded[:-1] + bytes([reduced.encoded[-1] ^ 1])
            return replace(reduced, encoded=false, digest=sha256_hex(false))

        exchange._aggregate = aggregate  # type: ignore[method-assign]
        return exchange


ADVERSARIES: dict[str, type[Member]] = {
    "liar": Liar,
    "damager": Damager,
    "wrong-base": WrongBase,
    "wrong-round": WrongRound,
    "equivocator": Equivocator,
    "silent": Silent,
    "sign-flip": SignFlip,
    "hundredfold": Hundredfold,
    "noise": Noise,
    "false-reducer": FalseReducer,
}


def install(name: str) -> None:
    """From now on this process's member is the named adversary."""
    trainer.train.Member = ADVERSARIES[name]  # type: ignore[misc]
