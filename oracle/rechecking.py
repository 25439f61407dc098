"""Verifying challenged credits again: the same command that everybody has, in a process of its own.

`commonweight audit recheck` reads the chain and the content store and nothing of this signer's, so that what it finds
can be found by anybody. It may run long; killed, it is begun again.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Sequence

from commonweight.errors import CommonweightError, OracleError
from commonweight.protocol.dispute_documents import Judgement
from oracle.seat import Seat

COMMAND: tuple[str, ...] = (sys.executable, "-m", "commonweight.cli.main", "audit", "recheck")
_NICENESS = 5
_LONGEST_S = 7 * 86_400


async def recheck(seat: Seat, epoch: int, index: int, *, command: Sequence[str] = COMMAND) -> Judgement:
    """The judgement on a provider's credits of an epoch. Raises OracleError when none came."""
    s = seat.settings
    settings = {
        "RUN": s.campaign, "RPC": ",".join(s.rpc_urls), "STORE": s.store, "DATA_DIR": str(seat.folder("recheck")),
        "CONFIRMATIONS": "" if s.confirmations is None else str(s.confirmations),
    }  # fmt: skip
    rest = {name: value for name, value in os.environ.items() if not name.startswith("COMMONWEIGHT_")}
    environment = {**rest, **{f"COMMONWEIGHT_{name}": value for name, value in settings.items()}}
    arguments = ("--epoch", str(epoch), "--provider", str(index), "--json")
    log_path = s.data_dir / "recheck.log"
    with log_path.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command, *arguments, *s.replays_on,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log,
            env={**environment, "OMP_NUM_THREADS": "1", **s.visible_cards},
        )  # fmt: skip
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, process.pid, _NICENESS)
    try:
        async with asyncio.timeout(_LONGEST_S):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    try:
        found = Judgement.from_json(json.loads(out)["judgement"])
    except (ValueError, LookupError, TypeError, CommonweightError) as problem:
        why = out.decode(errors="replace")[:300] or f"it ended with {process.returncode}"
        raise OracleError(f"epoch {epoch} could not be verified again", why, f"see {log_path}") from problem
    if (found.run, found.epoch, found.index) != (seat.campaign, epoch, index):
        raise OracleError("a judgement is on something else", f"{found.epoch}, {found.index}", f"see {log_path}")
    return found
