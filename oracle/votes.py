"""Asking another signer for its signature under something that this one has signed."""

from collections.abc import Mapping

from commonweight.errors import FormatError, PeerError
from commonweight.protocol.canonical import Json
from commonweight.protocol.fields import Fields
from commonweight.protocol.keys import recover_address
from oracle.desk import Desk
from oracle.logs import logger

_VOTE_S, _FILE_S = 30.0, 0.01


def vote_patience_s(files: int) -> float:
    """How long a vote on a report may take, by the number of its evidence's files: a vote verifies all of them."""
    return _VOTE_S + _FILE_S * files


async def ask_vote(
    desk: Desk,
    peer: str,
    method: str,
    params: Mapping[str, Json],
    digest: bytes,
    *,
    timeout_s: float,
    body: bytes = b"",
) -> tuple[str, bytes] | None:
    """(peer, its signature under `digest`), checked; None when it gives none."""
    try:
        reply = await desk.dialer.call(desk.peers[peer], peer, method, {**params}, body, timeout_s=timeout_s)
        signature = bytes.fromhex(Fields({**reply.params}, "vote").text("signature", 132).removeprefix("0x"))
        if recover_address(digest, signature) != peer:
            raise FormatError("a vote is signed by another key")
    except (PeerError, FormatError, ValueError) as problem:
        logger("votes").warning("no vote", method=method, peer=peer, error=str(problem))
        return None
    return peer, signature
