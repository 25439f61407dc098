"""Challenges of credits: verify the work again, agree on a verdict, put it on chain, and see the case to its end.

Everything follows from the finalised chain and the database, so that a crash loses nothing: what was found is kept
before anything is signed, a signature before anybody sees it, and a signer has one word on a provider's credits of an
epoch for ever.
"""

from functools import partial

from commonweight.chain.challenges import Case
from commonweight.chain.types import Receipt
from commonweight.errors import ContractError, OracleError, RuleBroken, StoreError
from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.dispute_documents import MAX_BYTES
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.keys import sign_digest
from commonweight.protocol.structs import DisputeVerdict
from commonweight.store import raw_cid
from oracle.db import Slot
from oracle.desk import Desk
from oracle.hearing import Hearing, Move, heard, next_move, retry_s
from oracle.logs import logger
from oracle.rechecking import recheck
from oracle.seat import in_thread
from oracle.votes import ask_vote

_TURN_MS = 4_000
_VOTE_S = 20.0
_DONE_BY_ANOTHER = ("NotChallenged", "NotConvicted", "TooEarly")
_ON_CHAIN = (Move.GATHER, Move.ENFORCE, Move.CLOSE)


class Disputing:
    """One signer's part in disputes over credits."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._seat = desk.seat
        self._log = logger("disputes")
        self._due_ms: dict[tuple[Move, tuple[int, int]], int] = {}
        self._failed_s: dict[tuple[int, int], int] = {}

    # --- verifying again ---------------------------------------------------------------------------------------------

    async def verify(self) -> bool:
        """Verify a case again that needs it: the one at which this signer looked least lately, as what cannot be had is
        looked for often, and long. Returns whether there was one.

        Raises OracleError when that fails here; it is tried again after a while, and others are seen to before.
        """
        now_s, rest_s = self._desk.view.latest.timestamp, retry_s(self._seat.params.dispute_period)
        wanted = [
            case
            for case in self._current()
            if self._move(case) == Move.RECHECK and now_s >= self._failed_s.get(case.key, -rest_s) + rest_s
        ]
        if not wanted:
            return False
        case = min(wanted, key=self._looked_s)
        self._failed_s[case.key] = now_s
        await self._verify(case)
        del self._failed_s[case.key]
        return True

    def _looked_s(self, case: Case) -> int:
        """When this signer began to verify a case last, 0 for never."""
        hearing = self._hearing(case)
        return max(0 if hearing is None else hearing.at_s, self._failed_s.get(case.key, 0))

    async def _verify(self, case: Case) -> None:
        """What was not on chain, or whose time was not over, before the work was verified does not count as heard."""
        now_s, period = self._desk.view.latest.timestamp, self._seat.params.dispute_period
        answers, late = len(case.answers), heard(case, now_s, period)
        judgement = await recheck(self._seat, case.epoch, case.index)
        hearing = Hearing(judgement, answers, late, now_s)
        if hearing.decided:
            await in_thread(partial(self._keep, judgement.to_bytes()))
        self._seat.db.set_meta(_key(case.key), hearing.to_text())
        self._log.info(
            "judged", epoch=case.epoch, provider=case.index, convicted=judgement.convicted, listed=judgement.listed,
            earned=judgement.earned, decided=hearing.decided,
        )  # fmt: skip
        if hearing.decided:
            await in_thread(partial(self._copy, case))

    def _copy(self, case: Case) -> None:
        """Keep what both sides have said here too. It decides nothing, so that it may be missing."""
        store = self._seat.store
        for digest in (case.evidence_sha256, *case.answers):
            try:
                store.pin(store.put(store.get(raw_cid(digest), MAX_BYTES)))
            except StoreError as missing:
                self._log.info("not in the store", epoch=case.epoch, provider=case.index, error=str(missing))

    def _keep(self, judgement: bytes) -> None:
        """In the store before anybody can sign a verdict that names it."""
        self._seat.store.pin(self._seat.store.put(judgement))

    # --- agreeing and sending ----------------------------------------------------------------------------------------

    async def step(self) -> bool:
        """Do what has been due on chain here the longest. False: the chain has to be looked at before anything else."""
        moves = [(self._move(case), case) for case in self._current()]
        due = [(move, case) for move, case in moves if move in _ON_CHAIN and self._turn(move, case)]
        if not due:
            return False
        move, case = min(due, key=lambda found: self._due_ms[found[0], found[1].key])
        try:
            if move == Move.GATHER:
                await self._gather(case)
            elif move == Move.ENFORCE:
                await self._send(move, case, partial(self._enforce, case))
            else:
                await self._send(move, case, partial(self._seat.run.disputes.close_challenge, case.epoch, case.index))
        finally:  # what comes to nothing waits, however long it took, and others have their turn
            self._due_ms[move, case.key] = self._seat.now_ms() + _TURN_MS
        return False

    def _turn(self, move: Move, case: Case) -> bool:
        """In turn, so that one signer sends and the next waits for that one; not again while ours is not final."""
        mined = self._seat.db.transaction_block(_purpose(move, case))
        view, now = self._desk.view, self._seat.now_ms()
        if view.position(self._seat.address) < 0 or (mined is not None and mined > view.finalized.number):
            return False
        turn = (view.position(self._seat.address) - case.index) % max(1, len(view.signers))
        return now >= self._due_ms.setdefault((move, case.key), now + turn * _TURN_MS)

    async def _gather(self, case: Case) -> None:
        verdict = self._verdict(case)
        digest = verdict.digest(self._seat.domain)
        votes = {self._seat.address: self._sign(verdict)}
        for peer in self._desk.peers:
            if len(votes) >= self._desk.view.quorum:
                break
            params: JsonObject = {"verdict": verdict.to_body()}
            vote = await ask_vote(self._desk, peer, "dispute", params, digest, timeout_s=_VOTE_S)
            if vote is not None:
                votes[vote[0]] = vote[1]
        if len(votes) < self._desk.view.quorum:
            self._log.warning("no quorum for a verdict", epoch=case.epoch, provider=case.index, votes=sorted(votes))
            return
        signatures = [votes[signer] for signer in sorted(votes)]
        await self._send(Move.GATHER, case, partial(self._seat.run.disputes.submit_verdict, verdict, signatures))

    def _enforce(self, case: Case) -> Receipt:
        reported = self._desk.view.reports[case.epoch]
        return self._seat.run.disputes.enforce_verdict(reported.report, reported.credits, case.index)

    async def _send(self, move: Move, case: Case, work: "partial[Receipt]") -> None:
        try:
            receipt = await in_thread(work)
        except ContractError as refused:
            if refused.name not in _DONE_BY_ANOTHER:
                raise
            self._log.info("already done", step=move.value, epoch=case.epoch, provider=case.index, error=refused.name)
            return
        self._seat.db.set_transaction(_purpose(move, case), receipt.tx_hash, receipt.block_number)
        self._log.info(
            "dispute", step=move.value, epoch=case.epoch, provider=case.index, block=receipt.block_number
        )  # fmt: skip

    # --- voting ------------------------------------------------------------------------------------------------------

    async def vote(self, body: JsonObject) -> bytes:
        """Sign another signer's verdict when it is what this one has found itself. Raises RuleBroken."""
        asked = DisputeVerdict.from_body(body)
        case = next((case for case in self._current() if case.key == (asked.epoch, asked.index)), None)
        if case is None or self._move(case) != Move.GATHER:
            raise RuleBroken(
                "not-judged", f"Provider {asked.index}'s credits of epoch {asked.epoch} are not judged here"
            )
        own = self._verdict(case)
        if asked != own:
            raise RuleBroken("other-verdict", "This signer has come to another verdict", own.evidence_sha256.hex())
        return self._sign(own)

    def _verdict(self, case: Case) -> DisputeVerdict:
        hearing = self._hearing(case)
        if hearing is None or not hearing.decided:
            raise OracleError(f"provider {case.index}'s credits of epoch {case.epoch} are not judged here")
        judgement = hearing.judgement
        return DisputeVerdict(
            self._desk.view.config_digest, case.epoch, case.index, judgement.convicted is True,
            digest_bytes(judgement.sha256),
        )  # fmt: skip

    def _sign(self, verdict: DisputeVerdict) -> bytes:
        """This signer's signature. Its word does not change with the set of signers, for whom it is signed again.

        Raises EquivocationError when it has given another word.
        """
        db, slot = self._seat.db, f"dispute/{verdict.epoch}/{verdict.index}"
        digest = verdict.digest(self._seat.domain)
        with db.transaction():
            db.promise(Slot(slot), verdict.evidence_sha256, lambda: bytes([verdict.convicted]))
            office = Slot(f"{slot}/{verdict.config_digest.hex()}")
            fresh = db.promised(office) is None
            signature = db.promise(office, digest, lambda: sign_digest(digest, self._seat.key))
        if fresh:
            self._log.info("signed", epoch=verdict.epoch, provider=verdict.index, digest=digest.hex())
        return signature

    # --- what is known -----------------------------------------------------------------------------------------------

    def _current(self) -> list[Case]:
        """The last challenge of each provider's credits of an epoch that is not closed."""
        return [case for case in {case.key: case for case in self._desk.view.cases}.values() if not case.closed]

    def _move(self, case: Case) -> Move:
        view = self._desk.view
        final = view.final.get(case.epoch)
        period = self._seat.params.dispute_period
        return next_move(case, final, view.latest.timestamp, period, self._hearing(case))

    def _hearing(self, case: Case) -> Hearing | None:
        text = self._seat.db.get_meta(_key(case.key))
        return None if text is None else Hearing.from_text(text)


def _key(key: tuple[int, int]) -> str:
    return f"hearing/{key[0]}/{key[1]}"


def _purpose(move: Move, case: Case) -> str:
    return f"dispute-{move.value}/{case.epoch}/{case.index}/{case.block}"
