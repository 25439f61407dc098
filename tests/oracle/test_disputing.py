"""A signer's word on challenged credits: one for ever, kept before it is given, and never another's."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commonweight.chain.challenges import Case
from commonweight.errors import OracleError, RuleBroken
from commonweight.protocol.dispute_documents import JudgedRound, Judgement
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.keys import recover_address
from commonweight.protocol.structs import DisputeVerdict
from commonweight.store import raw_cid
from oracle import disputing
from oracle.db import EquivocationError
from oracle.disputing import Disputing
from oracle.hearing import retry_s
from tests.oracle.office import RUN, SIGNERS, START_S, Chain, Office

pytestmark = pytest.mark.unit

RIGHT = Judgement.of(RUN, 0, 2, 5, 5, (JudgedRound(1, "verified"),))
WRONG = Judgement.of(RUN, 0, 2, 5, 5, (JudgedRound(1, "refuted"),))
UNKNOWN = Judgement.of(RUN, 0, 2, 5, 5, (JudgedRound(1, "incomplete"),))


class Bench:
    """One signer with a challenge; what verifying again brings is set by the test."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.office = Office(folder, Chain())
        self.period = self.office.params.dispute_period
        self.found: Judgement | None = RIGHT
        self.times = 0
        monkeypatch.setattr(disputing, "recheck", self.recheck)
        self.answers: tuple[bytes, ...] = ()
        self.case = Case(0, 2, "0x" + "99" * 20, b"\x01" * 32, START_S + self.period, 50)
        self.look()

    async def recheck(self, *_: Any) -> Judgement:
        self.times += 1
        if self.found is None:
            raise OracleError("the worker died")
        return self.found

    def look(self) -> None:
        self.disputing = Disputing(self.office.desk)
        case = replace(self.case, answers=self.answers)
        self.office.desk.seen = replace(self.office.view(), cases=(case,))

    def crash(self) -> None:
        self.office.crash()
        self.look()

    def verdict(self, judgement: Judgement, **changes: Any) -> DisputeVerdict:
        config = self.office.desk.view.config_digest
        made = DisputeVerdict(config, 0, 2, judgement.convicted is True, digest_bytes(judgement.sha256))
        return replace(made, **changes)

    async def vote(self, verdict: DisputeVerdict) -> bytes:
        return await self.disputing.vote(verdict.to_body())


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


async def test_what_was_found_is_in_the_store_and_signed(bench: Bench) -> None:
    with pytest.raises(RuleBroken, match="not judged"):
        await bench.vote(bench.verdict(RIGHT))
    assert await bench.disputing.verify()
    assert not await bench.disputing.verify()
    signature = await bench.vote(bench.verdict(RIGHT))
    digest = bench.verdict(RIGHT).digest(bench.office.seat.domain)
    assert recover_address(digest, signature) == bench.office.seat.address
    kept = bench.office.seat.store.get(raw_cid(digest_bytes(RIGHT.sha256)))
    assert Judgement.from_bytes(kept) == RIGHT


@pytest.mark.parametrize(
    "changes", [{"convicted": True}, {"evidence_sha256": b"\x07" * 32}, {"config_digest": b"\x08" * 32}]
)
async def test_no_other_verdict_is_signed(bench: Bench, changes: dict[str, Any]) -> None:
    await bench.disputing.verify()
    with pytest.raises(RuleBroken, match="another verdict"):
        await bench.vote(bench.verdict(RIGHT, **changes))


async def test_a_crash_after_signing_leaves_the_word(bench: Bench) -> None:
    await bench.disputing.verify()
    signature = await bench.vote(bench.verdict(RIGHT))
    bench.found, bench.answers = WRONG, (b"\x03" * 32,)
    bench.crash()
    assert not await bench.disputing.verify()
    assert await bench.vote(bench.verdict(RIGHT)) == signature


async def test_even_without_what_was_found_there_is_no_second_word(bench: Bench) -> None:
    """The promise alone holds: whatever is lost beside it, or found afterwards, no other verdict is signed."""
    await bench.disputing.verify()
    await bench.vote(bench.verdict(RIGHT))
    bench.office.seat.db.write("DELETE FROM meta WHERE key='hearing/0/2'")
    bench.found, bench.answers = WRONG, (b"\x03" * 32,)
    bench.crash()
    await bench.disputing.verify()
    with pytest.raises(EquivocationError):
        await bench.vote(bench.verdict(WRONG))
    for config in (b"\xcd" * 32, b"\xce" * 32):  # nor under another set of signers
        bench.office.desk.seen = replace(bench.office.desk.view, config_digest=config)
        with pytest.raises(EquivocationError):
            await bench.vote(bench.verdict(WRONG))


async def test_a_new_set_of_signers_gets_the_same_word(bench: Bench) -> None:
    await bench.disputing.verify()
    first = await bench.vote(bench.verdict(RIGHT))
    bench.office.desk.seen = replace(bench.office.desk.view, config_digest=b"\xce" * 32)
    assert await bench.vote(bench.verdict(RIGHT)) != first


async def test_nobody_is_convicted_unheard(bench: Bench) -> None:
    bench.found = WRONG
    await bench.disputing.verify()
    with pytest.raises(RuleBroken, match="not judged"):
        await bench.vote(bench.verdict(WRONG))
    bench.answers = (b"\x03" * 32,)
    bench.look()
    assert await bench.disputing.verify()
    assert bench.times == 2
    await bench.vote(bench.verdict(WRONG))


async def test_what_cannot_be_had_is_looked_for_again_and_never_signed(bench: Bench) -> None:
    bench.found = UNKNOWN
    await bench.disputing.verify()
    bench.office.chain.now_ms += 400 * bench.period
    bench.look()
    assert await bench.disputing.verify()
    assert bench.times == 2
    with pytest.raises(RuleBroken, match="not judged"):
        await bench.vote(bench.verdict(UNKNOWN))


async def test_a_recheck_that_fails_rests_a_while(bench: Bench) -> None:
    bench.found = None
    with pytest.raises(OracleError):
        await bench.disputing.verify()
    assert not await bench.disputing.verify()
    assert bench.times == 1


def both(bench: Bench) -> None:
    """Two challenges, as the signer sees them now."""
    later = replace(bench.case, index=1)
    bench.office.desk.seen = replace(bench.office.view(), cases=(bench.case, later))


async def test_a_case_that_cannot_be_had_for_long_keeps_no_other_from_being_verified(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To look for it takes longer than until it is looked for again."""
    tried: list[int] = []

    async def recheck(_: object, epoch: int, index: int) -> Judgement:
        tried.append(index)
        bench.office.chain.now_ms += 1000 * (retry_s(bench.period) + 1)
        both(bench)
        return replace(UNKNOWN if index == 2 else RIGHT, index=index)

    monkeypatch.setattr(disputing, "recheck", recheck)
    both(bench)
    while len(tried) < 4 and await bench.disputing.verify():
        pass
    assert tried == [2, 1, 2, 2]


async def test_a_verdict_that_finds_no_quorum_keeps_no_other_from_the_chain(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signer that is asked takes its time to give none."""
    asked: list[int] = []
    sent: list[int] = []

    async def ask(_: object, peer: str, method: str, params: dict[str, Any], *__: Any, **___: Any) -> Any:
        index = DisputeVerdict.from_body(params["verdict"]).index
        asked.append(index)
        bench.office.chain.now_ms += 20_000
        both(bench)
        return None if index == 2 else (peer, b"\x11" * 65)

    async def recheck(_: object, epoch: int, index: int) -> Judgement:
        return replace(RIGHT, index=index)

    def submit(verdict: DisputeVerdict, signatures: list[bytes]) -> Any:
        sent.append(verdict.index)
        return SimpleNamespace(tx_hash=bytes(32), block_number=bench.office.chain.number)

    monkeypatch.setattr(disputing, "ask_vote", ask)
    monkeypatch.setattr(disputing, "recheck", recheck)
    monkeypatch.setattr(type(bench.office.desk), "peers", {SIGNERS[1]: "127.0.0.1:2"})
    bench.office.seat.run.disputes = SimpleNamespace(submit_verdict=submit)  # type: ignore[misc, assignment]
    both(bench)
    while await bench.disputing.verify():
        pass
    for _ in range(20):
        await bench.disputing.step()
        bench.office.chain.now_ms += 1000
        both(bench)
    assert 1 in sent
    assert set(asked) == {1, 2}
