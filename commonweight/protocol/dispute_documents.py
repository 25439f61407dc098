"""What is said in a dispute over credits (specification 4.5): the challenge, the answer, and the signers' judgement.

All three are canonical JSON files that the chain names by SHA-256 alone. They are at most `MAX_BYTES` long, one block
of the content store, so that their CID follows from that digest and nobody has to be asked where they are.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from commonweight.errors import FormatError
from commonweight.protocol.canonical import Json, JsonObject, dumps, loads, sha256_hex
from commonweight.protocol.fields import U32, U64, Fields, lower_address

__all__ = ["MAX_BYTES", "OUTCOMES", "RULE", "Exhibit", "JudgedRound", "Judgement", "Plea", "judge"]

MAX_BYTES = 1 << 20
RULE = 1
VERIFIED, REFUTED, INCOMPLETE = OUTCOMES = ("verified", "refuted", "incomplete")
_MAX_FILES = 1000


@dataclass(frozen=True)
class Exhibit:
    """A file that a plea rests on, by content."""

    name: str
    size: int
    sha256: str
    cid: str

    def to_json(self) -> JsonObject:
        """{name, size, sha256, cid}."""
        return {"name": self.name, "size": self.size, "sha256": self.sha256, "cid": self.cid}

    @classmethod
    def read(cls, f: Fields) -> "Exhibit":
        """Reads what `to_json` writes."""
        return cls(f.text("name", 255), f.integer("size"), f.digest("sha256"), f.cid("cid"))


@dataclass(frozen=True)
class Plea:
    """What one side says about a provider's credits of an epoch: `side` is challenge or answer, `account` whose."""

    SCHEMAS: ClassVar[dict[str, str]] = {"challenge": "commonweight.challenge.v1", "answer": "commonweight.answer.v1"}

    side: str
    run: str
    epoch: int
    index: int
    account: str
    statement: str
    files: tuple[Exhibit, ...]

    def to_bytes(self) -> bytes:
        """The file. FormatError when it is longer than one block."""
        data = dumps({
            "schema": self.SCHEMAS[self.side], "run": lower_address(self.run), "epoch": self.epoch, "index": self.index,
            "account": lower_address(self.account), "statement": self.statement,
            "files": [file.to_json() for file in self.files],
        })  # fmt: skip
        if len(data) > MAX_BYTES:
            raise FormatError(f"A {self.side} is too long", f"{len(data)} bytes", "put the rest into a file")
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> "Plea":
        """Reads what `to_bytes` writes."""
        f = Fields(loads(data, MAX_BYTES), "plea")
        side = {schema: side for side, schema in cls.SCHEMAS.items()}[f.choice("schema", tuple(cls.SCHEMAS.values()))]
        plea = cls(
            side, f.address("run"), f.integer("epoch"), f.integer("index", 0, U32), f.address("account"),
            f.text("statement", 100_000), f.objects("files", Exhibit.read, 0, _MAX_FILES),
        )  # fmt: skip
        f.done()
        return plea


@dataclass(frozen=True)
class JudgedRound:
    """What doing a round's work again has shown: verified, refuted or incomplete."""

    round: int
    outcome: str

    def to_json(self) -> JsonObject:
        """{round, outcome}."""
        return {"round": self.round, "outcome": self.outcome}

    @classmethod
    def read(cls, f: Fields) -> "JudgedRound":
        """Reads what `to_json` writes."""
        return cls(f.integer("round", 1), f.choice("outcome", OUTCOMES))


def judge(listed: int, earned: int | None, rounds: Iterable[JudgedRound]) -> bool | None:
    """Rule 1: whether credits are convicted; None when that cannot be said, and then nobody is.

    `listed` are the credits that the report gives, `earned` what the published evidence gives, None when it cannot be
    had or does not hold: that is no fault of the provider's. One round that was refuted convicts, as the contract
    knows only the whole epoch's credits.
    """
    outcomes = {judged.outcome for judged in rounds}
    if listed == 0:
        return False
    if earned is None:
        return None
    if listed > earned or REFUTED in outcomes:
        return True
    return None if INCOMPLETE in outcomes else False


@dataclass(frozen=True)
class Judgement:
    """The work behind a provider's credits of an epoch, verified again, and what follows by the rule.

    It depends on the work alone, so that all who do it again write the same bytes; make it by `of`.
    """

    SCHEMA: ClassVar[str] = "commonweight.judgement.v1"

    run: str
    epoch: int
    index: int
    listed: int
    earned: int | None
    rounds: tuple[JudgedRound, ...]

    @classmethod
    def of(
        cls, run: str, epoch: int, index: int, listed: int, earned: int | None, rounds: Iterable[JudgedRound]
    ) -> "Judgement":
        """The judgement with no more than its grounds: of a conviction the first refuted round, or no round when the
        list alone convicts. What comes after a false round begins from a state that nobody can know.
        """
        every = tuple(sorted(rounds, key=lambda judged: judged.round))
        if judge(listed, earned, every):
            alone = judge(listed, earned, ())
            every = () if alone else tuple(judged for judged in every if judged.outcome == REFUTED)[:1]
        return cls(lower_address(run), epoch, index, listed, earned, every)

    @property
    def convicted(self) -> bool | None:
        """What follows by the rule; None when nothing does."""
        return judge(self.listed, self.earned, self.rounds)

    @property
    def sha256(self) -> str:
        """What the verdict on chain names."""
        return sha256_hex(self.to_bytes())

    def to_json(self) -> JsonObject:
        """The file's fields; credits as decimal strings."""
        return {
            "schema": self.SCHEMA, "rule": RULE, "run": self.run, "epoch": self.epoch, "index": self.index,
            "listed": str(self.listed), "earned": None if self.earned is None else str(self.earned),
            "rounds": [judged.to_json() for judged in self.rounds], "convicted": self.convicted,
        }  # fmt: skip

    def to_bytes(self) -> bytes:
        """The file."""
        return dumps(self.to_json())

    @classmethod
    def from_bytes(cls, data: bytes) -> "Judgement":
        """Reads what `to_bytes` writes; FormatError for another rule, or a conclusion that does not follow."""
        return cls.from_json(loads(data, MAX_BYTES))

    @classmethod
    def from_json(cls, value: Json) -> "Judgement":
        """Reads what `to_json` gives; FormatError as for `from_bytes`."""
        f = Fields(value, "judgement")
        f.choice("schema", (cls.SCHEMA,))
        f.integer("rule", RULE, RULE)
        run, epoch, index = f.address("run"), f.integer("epoch"), f.integer("index", 0, U32)
        listed = f.decimal("listed", U64)
        raw = f.take("earned")
        earned = None if raw is None else Fields({"earned": raw}, "judgement").decimal("earned", U64)
        judged = cls(run, epoch, index, listed, earned, f.objects("rounds", JudgedRound.read, 0, 100_000))
        if f.take("convicted") != judged.convicted:
            raise FormatError("A judgement's conclusion does not follow from it")
        f.done()
        return judged
