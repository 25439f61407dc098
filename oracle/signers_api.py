"""What a signer answers to the other signers: its log of documents, and requests to sign reports, bans and verdicts."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

from commonweight.errors import FormatError, PeerRefused
from commonweight.net import Reply, Request, offences
from commonweight.protocol.canonical import JsonObject, dumps
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import Fields
from commonweight.protocol.offences import Offence
from oracle.desk import Desk
from oracle.packing import unpack
from oracle.seat import in_thread
from oracle.votes import vote_patience_s

LONGEST_POLL_MS = 10_000
_SYNC_PAGE, _SYNC_BYTES = 200, 32 << 20
"""Documents of a page of the log, and their bytes; one that is longer comes alone."""


@dataclass(frozen=True)
class Voting:
    """What other signers ask this one to sign; each answers with the signature or raises."""

    report: Callable[[str, JsonObject, Mapping[str, bytes]], Awaitable[bytes]]
    ban: Callable[[JsonObject, Offence, Mapping[str, bytes]], Awaitable[bytes]]
    dispute: Callable[[JsonObject], Awaitable[bytes]]


class SignersApi:
    """The methods that only signers may call."""

    def __init__(self, desk: Desk, voting: Voting) -> None:
        self._desk = desk
        self._seat = desk.seat
        self._voting = voting
        self._verifying: set[str] = set()

    async def sync(self, request: Request) -> Reply:
        """This signer's documents after a sequence number, in the order in which they came."""
        self._signers_only(request)
        f = Fields(request.params, "sync")
        after, wait_ms = f.integer("after"), f.integer("wait_ms", 0, LONGEST_POLL_MS)
        f.done()
        until = asyncio.get_running_loop().time() + wait_ms / 1000
        while not (rows := self._seat.db.documents_after(after, _SYNC_PAGE)):
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                break
            await self._desk.bell.wait(left)
        sizes = accumulate(len(row.signed) for row in rows)
        rows = [row for row, size in zip(rows, sizes, strict=True) if size <= _SYNC_BYTES] or rows[:1]
        body: JsonObject = {
            "log": self.log_name(), "last": rows[-1].seq if rows else after,
            "documents": [{"seq": r.seq, "document": Signed.from_bytes(r.signed).to_json()} for r in rows],
        }  # fmt: skip
        return Reply({}, dumps(body))

    def log_name(self) -> str:
        """The name of this signer's document log: a new database has another one."""
        name = self._seat.db.get_meta("log")
        if name is None:
            name = secrets.token_hex(16)
            self._seat.db.set_meta("log", name)
        return name

    async def propose(self, request: Request) -> Reply:
        """A report to check and sign, with its evidence: index.json and the files that it lists, in its order."""
        self._signers_only(request)
        f = Fields(request.params, "propose")
        report, index_size = f.take("report"), f.integer("index_size", 0, len(request.body))
        f.done()
        if not isinstance(report, dict):
            raise FormatError("A proposed report is not an object")
        caller = request.caller.address
        if caller in self._verifying:  # it may take minutes, in which nobody may have others' requests wait
            raise PeerRefused("busy", "A report of this signer is being verified here", "", "ask again later")
        self._verifying.add(caller)
        try:
            files = await in_thread(lambda: unpack(request.body, index_size))
            async with asyncio.timeout(vote_patience_s(len(files))):
                signature = await self._voting.report(caller, report, files)
        finally:
            self._verifying.discard(caller)
        return Reply({"signature": "0x" + signature.hex()})

    async def ban(self, request: Request) -> Reply:
        """A ban to check and sign."""
        self._signers_only(request)
        f = Fields(request.params, "ban")
        ban, index_size = f.take("ban"), f.integer("index_size", 0, len(request.body))
        f.done()
        if not isinstance(ban, dict):
            raise FormatError("A proposed ban is not an object")
        offence, blobs = await in_thread(partial(offences.unpack, request.body, index_size))
        signature = await self._voting.ban(ban, offence, blobs)
        return Reply({"signature": "0x" + signature.hex()})

    async def dispute(self, request: Request) -> Reply:
        """A verdict on challenged credits to sign, if it is this signer's own too."""
        self._signers_only(request)
        f = Fields(request.params, "dispute")
        verdict = f.take("verdict")
        f.done()
        if not isinstance(verdict, dict):
            raise FormatError("A proposed verdict is not an object")
        signature = await self._voting.dispute(verdict)
        return Reply({"signature": "0x" + signature.hex()})

    def _signers_only(self, request: Request) -> None:
        if request.caller.role != "signer":
            raise PeerRefused("not-yours", "Only signers may ask this")
