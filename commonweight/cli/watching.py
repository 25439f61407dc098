"""What a signer tells whoever asks about the round under way: asked rarely, however many visitors the page has."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from commonweight.errors import CommonweightError
from commonweight.protocol.fields import hex32

if TYPE_CHECKING:
    from commonweight.cli.session import Session
    from commonweight.net import Identity
    from commonweight.protocol.canonical import JsonObject

_FRESH_S = 2.0
_PATIENCE_S = 5.0


@dataclass
class Watch:
    """Signers by address with where they listen. `told` is for any thread."""

    identity: Identity
    signers: Mapping[str, str]
    _lock: Lock = field(default_factory=Lock, repr=False)
    _told: JsonObject = field(default_factory=dict, repr=False)
    _until: float = 0.0

    def told(self) -> JsonObject:
        """The coordinator's status, else that of any signer; `error` says why there is none."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._told = asyncio.run(self._ask())
                self._until = time.monotonic() + _FRESH_S
            return self._told

    async def _ask(self) -> JsonObject:
        from commonweight.net import connect

        why, best = "no signer's address is known here; name it by --peers", None
        for address, place in self.signers.items():
            try:
                peer = await connect(place, address, self.identity, timeout_s=_PATIENCE_S)
                try:
                    status = (await peer.call("status", timeout_s=_PATIENCE_S)).params
                finally:
                    await peer.close()
            except CommonweightError as error:
                why = error.what
                continue
            if status.get("coordinator") == status.get("signer"):
                return status
            best = status
        return best if best is not None else {"error": why}


def watch(session: Session, peers: Mapping[str, str]) -> Watch:
    """A watch on the signers in office of the session's run, under a key made for it: where `peers` or else run.json
    says that they listen. Raises CommonweightError when chain or store cannot tell.
    """
    from commonweight.net import Identity
    from commonweight.protocol.runconfig import RunConfig
    from commonweight.store import parse_cid

    run = session.run
    config = RunConfig.load(session.store.get(parse_cid(run.params.config_cid), sha256=hex32(run.params.config_sha256)))
    known = {**config.signers_peers, **{address.lower(): place for address, place in peers.items()}}
    signers = {a: known[a] for signer in run.oracle.signers() if (a := signer.lower()) in known}
    return Watch(Identity(os.urandom(32), run.address, run.oracle.domain(), "observer"), signers)
