"""What a signer answers to members, over `commonweight.net`; other signers are answered by `oracle.signers_api`.

Every parameter is read by type and bounds, every body has a limit, every caller is proven and speaks for itself only:
a member for its index. A refusal has a code: `late`, `wrong-plan`, `unknown-member`, `replaced-key`, and the slugs of
the rules.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from commonweight.errors import CommonweightError, PeerRefused, RuleBroken, SignatureError
from commonweight.exact.codecs import encoded_size
from commonweight.net import MAX_ADDRESS, Caller, Limits, Method, Reply, Request, Server, connect, offences
from commonweight.net.blobs import BODY_LIMIT
from commonweight.protocol.canonical import Json, JsonObject, dumps
from commonweight.protocol.documents import Signed, recover
from commonweight.protocol.fields import U32, Fields
from commonweight.protocol.records import Anchor, Commitment, PartMessage, Plan, Receipt, Result, open_signed
from oracle.desk import Desk
from oracle.intake import Intake, NotYetError, TwoDocumentsError
from oracle.offending import INVALID, TARGET, Offending
from oracle.phases import Finish
from oracle.planning import HEARTBEAT_MS
from oracle.rounds import Doc
from oracle.seat import in_thread
from oracle.signers_api import LONGEST_POLL_MS, SignersApi, Voting
from oracle.uploads import Uploads

_REACH_S = 5.0
_REACH_EVERY_S = 5.0


class Api:
    """The methods of one signer."""

    def __init__(
        self, desk: Desk, intake: Intake, offending: Offending, uploads: Uploads, voting: Voting,
        phase: Callable[[], str],
    ) -> None:  # fmt: skip
        self._desk = desk
        self._seat = desk.seat
        self._intake = intake
        self._offending = offending
        self._uploads = uploads
        self.signers = SignersApi(desk, voting)
        self._phase = phase
        self._asked: dict[str, float] = {}
        self._told_roster: tuple[list[object], bytes] = ([], b"")

    def server(self, limits: Limits | None = None, listener: type[Server] = Server) -> Server:
        """A server for these methods; `listener` is the transport."""
        part = encoded_size(self._seat.numel, "fp32", self._seat.config.training.block) + 65536
        methods = {
            "status": Method(self.status, observable=True),
            "join": Method(self.join),
            "leave": Method(self.leave),
            "reach": Method(self.reach),
            "plan": Method(self.plan),
            "commit": Method(self.commit),
            "roster": Method(self.roster),
            "payload": Method(self.payload, part),
            "result": Method(self.result),
            "record": Method(self.record),
            "part": Method(self.part),
            "offence": Method(self.offence, BODY_LIMIT),
            "sync": Method(self.signers.sync),
            "propose": Method(self.signers.propose, BODY_LIMIT, ends_itself=True),  # the longer, the more it verifies
            "ban": Method(self.signers.ban, BODY_LIMIT),
            "dispute": Method(self.signers.dispute),
        }
        return listener(self._desk.dialer.identity, methods, self.authorise, limits)

    async def authorise(self, caller: Caller) -> None:
        """Members by their registered key, signers by the set in office, anybody as an observer (`status` only)."""
        view = self._desk.view
        if caller.role == "signer" and caller.address not in view.signers:
            raise PeerRefused("unknown-signer", f"{caller.address} is not a signer in office")
        if caller.role == "member":
            provider = view.provider(-1 if caller.index is None else caller.index)
            if provider is None or provider.signing_key.lower() != caller.address:
                if provider is not None and caller.address in view.keys.get(caller.index or 0, frozenset()):
                    why = f"provider {caller.index} signs by {provider.signing_key} now"
                    raise PeerRefused("replaced-key", "This key does not count any more", why, "start with that one")
                why = "the registry at the finalised block does not have this key at this index"
                raise PeerRefused("unknown-member", "This member is not known", why, "wait for finality, or register")
            if provider.banned_until > view.latest.timestamp:
                raise PeerRefused("banned", f"Provider {caller.index} is banned", f"until {provider.banned_until}")

    # --- membership --------------------------------------------------------------------------------------------------

    async def status(self, _: Request) -> Reply:
        """Where this signer stands."""
        last = self._desk.rounds.last_plan()
        return Reply(
            {
                "run": self._seat.campaign, "signer": self._seat.address, "coordinator": self._desk.rounds.coordinator,
                "round": last.body.round if last else 0, "phase": self._phase(),
                "finalized_block": self._desk.view.finalized.number, "closed_epoch": self._desk.view.open_epoch,
                "waiting_draws": len(self._seat.db.open_draws("wanted")), "members": self._members(),
            }
        )  # fmt: skip

    def _members(self) -> list[Json]:
        """Members as this signer sees them now: at work, with their work handed in, ready, silent."""
        rounds, now, known = self._desk.rounds, self._seat.now_ms(), self._seat.db.members()
        states = {i: "ready" if now - m.seen_ms <= HEARTBEAT_MS else "silent" for i, m in known.items()}
        last = rounds.last_plan()
        if last is not None and rounds.record(last.body.round) is None:
            done = {c.body.index for c in rounds.receipted(last).values()}
            states |= {i: "committed" if i in done else "training" for i in last.body.indices}
        return [{"index": index, "state": state} for index, state in sorted(states.items())]

    async def join(self, request: Request) -> Reply:
        """A member is ready, or still is."""
        f = Fields(request.params, "join")
        index, have, peer = f.integer("index", 0, U32), f.optional_digest("have"), f.text("peer", MAX_ADDRESS)
        f.done()
        self._must_be(request, index)
        known, now = self._seat.db.members().get(index), self._seat.now_ms()
        self._seat.db.member_seen(index, peer, None if have is None else bytes.fromhex(have[2:]), now)
        if known is None or now - known.seen_ms > HEARTBEAT_MS:  # who is still there is no news
            self._desk.bell.ring()
        return self._standing()

    async def leave(self, request: Request) -> Reply:
        """A member goes; it is not planned again before it joins."""
        f = Fields(request.params, "leave")
        index = f.integer("index", 0, U32)
        f.done()
        self._must_be(request, index)
        known = self._seat.db.members().get(index)
        if known is not None:
            self._seat.db.member_seen(index, known.peer, known.have, 0)
        return self._standing()

    def _standing(self) -> Reply:
        """Where the run stands, for members that come or go."""
        last = self._desk.rounds.last_plan()
        round_, over = last.body.round if last else 0, self._phase() == Finish.phase
        return Reply({"round": round_, "coordinator": self._desk.rounds.coordinator, "over": over})

    async def reach(self, request: Request) -> Reply:
        """Whether this signer gets an answer by the caller's own key at an address: nobody sees it from inside.

        The answer is yes or no, and rare, so that nobody looks around our network through us.
        """
        f = Fields(request.params, "reach")
        address = f.text("peer", MAX_ADDRESS)
        f.done()
        now = asyncio.get_running_loop().time()
        if request.caller.role != "member":
            raise PeerRefused("unknown-member", "Only a member is answered")
        if now < self._asked.get(request.caller.address, 0.0) + _REACH_EVERY_S:
            raise PeerRefused("too-often", "This was asked a moment ago", "", f"ask again in {_REACH_EVERY_S:.0f} s")
        self._asked[request.caller.address] = now
        try:
            peer = await connect(address, request.caller.address, self._desk.dialer.identity, timeout_s=_REACH_S,
                                 tunnel=self._desk.dialer.tunnel)  # fmt: skip
        except CommonweightError:
            return Reply({"reachable": False})
        await peer.close()
        return Reply({"reachable": True})

    # --- a round -----------------------------------------------------------------------------------------------------

    async def plan(self, request: Request) -> Reply:
        """The newest plan after a round, as soon as there is one."""
        f = Fields(request.params, "plan")
        after, wait_ms = f.integer("after"), f.integer("wait_ms", 0, LONGEST_POLL_MS)
        f.done()

        def newest() -> bytes | None:
            last = self._desk.rounds.last_plan()
            return last.signed.to_bytes() if last is not None and last.body.round > after else None

        return await self._poll(newest, wait_ms)

    async def commit(self, request: Request) -> Reply:
        """A commitment, for a receipt. The same commitment gets the same receipt, at any time."""
        f = Fields(request.params, "commit")
        signed = Signed.from_json(f.take("commitment"))
        f.done()
        commitment = Commitment.from_body(signed.body)
        self._must_be(request, commitment.index)
        slot = f"receipt/{commitment.round}/{commitment.index}"
        known = self._seat.promised(slot)
        if known is None:
            received_ms = await self._receive(signed, commitment)
            body = Receipt(self._seat.campaign, commitment.round, signed.digest, commitment.index, received_ms)
            known = self._seat.promise(slot, Receipt.KIND, body.to_body())
            self._desk.metrics.receipts.inc()
        receipt = Receipt.from_body(known.body)
        if receipt.commitment != signed.digest:
            await self._accept(signed, self._plan_or_refuse(commitment.plan), commitment)
            raise PeerRefused("equivocation", "Another commitment of this member has a receipt for this round")
        self._seat.keep(known, self._seat.address, round_=receipt.round, member=receipt.index)
        self._desk.bell.ring()
        return Reply({"receipt": known.to_json()})

    async def _receive(self, signed: Signed, commitment: Commitment) -> int:
        """Take a commitment that has no receipt from here yet, if it is in time; returns when it came, in ms: a receipt
        that says a later time than the one that was judged could be after the deadline, and be none to anybody.
        """
        plan = self._plan_or_refuse(commitment.plan)
        now = self._seat.now_ms()
        if now > plan.body.commit_by_ms:
            if commitment.index in plan.body.indices:
                self._seat.db.add_late(plan.body.round, commitment.index, now)
            late_ms = now - plan.body.commit_by_ms
            raise PeerRefused("late", f"The deadline of round {plan.body.round} is over", f"by {late_ms} ms")
        await self._accept(signed, plan, commitment)
        if len(self._desk.rounds.commitments(plan, member=commitment.index)) > 1:
            raise PeerRefused("equivocation", "Another commitment of this member is known here", "from others' logs")
        return now

    async def _accept(self, signed: Signed, plan: Doc[Plan], commitment: Commitment) -> None:
        """Verify and keep a commitment; what breaks a rule is refused, and an offence where it proves one."""
        provider, signer = self._desk.view.provider(commitment.index), recover(signed, self._seat.domain)
        if provider is None or provider.signing_key.lower() != signer:
            raise SignatureError(f"A commitment is not signed by provider {commitment.index}'s present key", signer)
        try:
            self._intake.accept(signed)
        except TwoDocumentsError as two:
            await self._offending.accuse("equivocation", commitment.round, two.member, [two.first, two.second])
            raise PeerRefused("equivocation", str(two)) from None
        except RuleBroken as broken:
            self._desk.metrics.refused.labels(broken.rule).inc()
            rule = "wrong-target" if broken.rule in TARGET else "invalid-commitment" if broken.rule in INVALID else None
            if rule is not None:
                await self._offending.accuse(rule, plan.body.round, commitment.index, [plan.signed, signed])
            raise PeerRefused(broken.rule, broken.what, broken.why) from None

    async def roster(self, request: Request) -> Reply:
        """Who committed, once an anchor is decided on: commitments, receipts, anchors, and where the members listen."""
        f = Fields(request.params, "roster")
        round_, wait_ms = f.integer("round", 1), f.integer("wait_ms", 0, LONGEST_POLL_MS)
        f.done()

        def roster() -> bytes | None:
            anchors, plan = self._desk.rounds.anchors(round_), self._desk.rounds.plan(round_)
            return None if not anchors or plan is None else self._roster(plan, anchors)

        return await self._poll(roster, wait_ms)

    def _roster(self, plan: Doc[Plan], anchors: list[Doc[Anchor]]) -> bytes:
        """The roster of a round. Every member asks for it, and it changes little: the last one made is kept."""
        rounds, members, view = self._desk.rounds, self._seat.db.members(), self._desk.view
        receipted = rounds.receipted(plan)
        receipts = [r for r in rounds.receipts(plan.body.round) if r.body.commitment in receipted]
        listed: list[Json] = [
            {"index": i, "key": view.providers[i].signing_key.lower(), "peer": members[i].peer}
            for i in plan.body.indices
            if i in members and view.provider(i) is not None
        ]
        signed: list[Doc[Receipt] | Doc[Anchor]] = [*receipts, *anchors]
        names: list[object] = [plan.digest, *receipted, *((doc.digest, doc.signer) for doc in signed), dumps(listed)]
        if self._told_roster[0] != names:
            body: JsonObject = {
                "commitments": [c.signed.to_json() for c in receipted.values()],
                "receipts": [r.signed.to_json() for r in receipts],
                "anchors": [a.signed.to_json() for a in anchors],
                "members": listed,
            }
            self._told_roster = (names, dumps(body))
        return self._told_roster[1]

    async def payload(self, request: Request) -> Reply:
        """A part of the caller's own payload, after the anchor window."""
        f = Fields(request.params, "payload")
        f.integer("round", 1)
        f.integer("part", 0, U32)
        signed = Signed.from_json(f.take("message"))
        f.done()
        self._must_be(request, PartMessage.from_body(signed.body).sender)
        await self._uploads.take(request.caller.address, signed, request.body)
        return Reply()

    async def result(self, request: Request) -> Reply:
        """A reducer's signed result. Its bytes do not come with it: the canonical part is computed here."""
        f = Fields(request.params, "result")
        signed = Signed.from_json(f.take("result"))
        f.done()
        result = open_signed(Result, signed, self._seat.domain, request.caller.address)
        self._must_be(request, result.reducer)
        try:
            self._intake.accept(signed)
        except TwoDocumentsError as two:
            await self._offending.accuse("equivocation", result.round, two.member, [two.first, two.second])
            raise PeerRefused("equivocation", str(two)) from None
        return Reply()

    async def record(self, request: Request) -> Reply:
        """The record of a round, as soon as there is one."""
        f = Fields(request.params, "record")
        round_, wait_ms = f.integer("round", 1), f.integer("wait_ms", 0, LONGEST_POLL_MS)
        f.done()

        def find() -> bytes | None:
            record = self._desk.rounds.record(round_)
            return None if record is None else record.signed.to_bytes()

        return await self._poll(find, wait_ms)

    async def part(self, request: Request) -> Reply:
        """A canonical part, encoded, of a recorded round."""
        f = Fields(request.params, "part")
        round_, part = f.integer("round", 1), f.integer("part", 0, U32)
        f.done()
        record = self._desk.rounds.record(round_)
        digests = () if record is None else record.body.results
        data = self._desk.files.get(digests[part]) if part < len(digests) else None
        if data is None:
            raise PeerRefused("not-here", f"Part {part} of round {round_} is not here")
        return Reply({}, data)

    async def offence(self, request: Request) -> Reply:
        """A lie that a member has seen, with its evidence."""
        f = Fields(request.params, "offence")
        index_size = f.integer("index_size", 0, len(request.body))
        f.done()
        await self._offending.take(*await in_thread(partial(offences.unpack, request.body, index_size)))
        return Reply()

    # --- checks ------------------------------------------------------------------------------------------------------

    async def _poll(self, find: Callable[[], bytes | None], wait_ms: int) -> Reply:
        """What `find` finds, as soon as it finds something; an empty body when the time is over."""
        until = asyncio.get_running_loop().time() + wait_ms / 1000
        while (found := find()) is None:
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                return Reply()
            await self._desk.bell.wait(left)
        return Reply({}, found)

    def _plan_or_refuse(self, digest: str) -> Doc[Plan]:
        try:
            return self._intake.plan_of(digest)
        except (NotYetError, RuleBroken) as unknown:
            raise PeerRefused("wrong-plan", unknown.what, digest, "ask for the newest plan") from None

    def _must_be(self, request: Request, index: int) -> None:
        caller = request.caller
        if caller.role != "member" or caller.index != index:
            raise PeerRefused("not-yours", f"{caller.role} {caller.index} cannot speak for provider {index}")
