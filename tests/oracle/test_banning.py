"""Bans: who is guilty is banned, whatever becomes of another's ban."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commonweight.errors import ContentUnavailable
from commonweight.protocol.documents import Ban, sign
from commonweight.protocol.offences import Offence
from oracle import banning
from oracle.banning import Banning
from tests.oracle.office import DOMAIN, RUN, SIGNER_KEYS, SIGNERS, Chain, Office

pytestmark = pytest.mark.unit


class Court:
    """A signer that knows an offence of each of three members, and what others make of its bans."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.office = Office(folder, Chain())
        self.asked: list[int] = []
        self.sent: list[int] = []
        self.refused: set[int] = set()
        self.gone: set[int] = set()
        self.takes_ms = 100
        document = sign("plan", {"round": 1}, SIGNER_KEYS[0], DOMAIN)
        for index in range(3):
            self.office.offending._keep(Offence(RUN, "equivocation", index + 1, index, None, None, (document,), ()))
        monkeypatch.setattr(banning, "ask_vote", self._vote)
        monkeypatch.setattr(self.office.offending, "blobs_of", self._blobs)
        self.office.seat.run.oracle.ban_provider = self._send  # type: ignore[method-assign]
        monkeypatch.setattr(type(self.office.desk), "peers", {SIGNERS[1]: "127.0.0.1:2"})
        self.banning = Banning(self.office.desk, self.office.offending)

    async def _vote(self, desk: Any, peer: str, method: str, params: Any, digest: bytes, **_: Any) -> Any:
        index = Ban.from_body(params["ban"]).index
        self.asked.append(index)
        self.office.chain.now_ms += self.takes_ms
        return None if index in self.refused else (peer, b"\x11" * 65)

    async def _blobs(self, offence: Offence) -> dict[str, bytes]:
        assert offence.index is not None
        if offence.index in self.gone:
            self.office.chain.now_ms += self.takes_ms
            raise ContentUnavailable("A blob is gone")
        return {}

    def _send(self, ban: Ban, signatures: list[bytes]) -> Any:
        self.sent.append(ban.index)
        view = self.office.desk.view
        held = [replace(p, banned_until=ban.until) if i == ban.index else p for i, p in enumerate(view.providers)]
        self.office.desk.seen = replace(view, providers=tuple(held))
        return SimpleNamespace(block_number=1)

    async def play(self, seconds: int) -> None:
        """The cycle of a signer for so long."""
        until_ms = self.office.chain.now_ms + 1000 * seconds
        while self.office.chain.now_ms < until_ms:
            with suppress(ContentUnavailable):
                await self.banning.step()
            self.office.chain.now_ms += 500


@pytest.fixture
def court(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Court:
    return Court(tmp_path, monkeypatch)


@pytest.mark.parametrize("takes_ms", [100, 20_000], ids=["refused at once", "no answer"])
@pytest.mark.parametrize("why", ["refused", "gone"])
async def test_a_ban_that_comes_to_nothing_keeps_nobody_else_from_being_banned(
    court: Court, why: str, takes_ms: int
) -> None:
    court.takes_ms = takes_ms
    (court.refused if why == "refused" else court.gone).update({0, 1})
    await court.play(200)
    assert court.sent == [2]
    court.refused, court.gone = set(), set()
    await court.play(200)
    assert sorted(court.sent) == [0, 1, 2], "the others are tried again"
