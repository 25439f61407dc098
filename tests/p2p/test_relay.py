"""Through a relay only: connections that end, peers that are gone, processes that are killed, and whole rounds."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from commonweight.errors import PeerError, PeerUnreachable, UsageError
from commonweight.net import Caller, Dialer, Identity, Method, Reply, Request, Server
from commonweight.net.libp2p import Libp2p, address_at
from commonweight.protocol.documents import Domain
from tests.trainer.world import ROOT, World, free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
RUN, DOMAIN = "0x" + "ca" * 20, Domain(31337, "0x" + "0c" * 20)
SERVING = Identity(b"\x11" * 32, RUN, DOMAIN, "member", 1)
ASKING = Identity(b"\x22" * 32, RUN, DOMAIN, "member", 2)
HERE = "/ip4/127.0.0.1/tcp/0"


async def echo(request: Request) -> Reply:
    return Reply({}, request.body)


async def anyone(_: Caller) -> None:
    return None


async def reached(dialer: Dialer, address: str, body: bytes = b"") -> bytes:
    """A reply, however long the reservation at the relay takes."""
    until = time.monotonic() + 120
    while True:
        try:
            return (await dialer.call(address, SERVING.address, "echo", {}, body, timeout_s=60)).body
        except PeerUnreachable:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(1)


def test_what_listens_nowhere_is_reached_and_keeps_its_address(tmp_path: Path) -> None:
    async def work() -> None:
        relay = await Libp2p.start(tmp_path / "relay", listen=HERE)
        inside = await Libp2p.start(tmp_path / "inside", [relay.address])
        outside = await Libp2p.start(tmp_path / "outside", [relay.address])
        server, dialer = Server(SERVING, {"echo": Method(echo, 1 << 24)}, anyone), Dialer(ASKING, tunnel=outside)
        address = inside.address
        assert address == address_at(tmp_path / "inside", relay.address)
        assert "/p2p-circuit/" in address
        try:
            await inside.serve(server.admit)
            body = os.urandom(5_000_000)
            assert await reached(dialer, address, body) == body
            with pytest.raises(PeerError):  # the relay carries; it cannot answer for somebody else
                await dialer.call(address, ASKING.address, "echo")

            await inside.close()
            with pytest.raises(PeerUnreachable):
                await dialer.call(address, SERVING.address, "echo", timeout_s=30)
            inside = await Libp2p.start(tmp_path / "inside", [relay.address])
            assert inside.address == address
            await inside.serve(server.admit)
            await dialer.close()
            assert await reached(dialer, address, b"again") == b"again"
        finally:
            await dialer.close()
            await server.close()
            for each in (inside, outside, relay):
                await each.close()

    asyncio.run(work())


def test_nothing_to_be_reached_by_and_a_relay_that_is_not_there_are_said(tmp_path: Path) -> None:
    async def work() -> None:
        with pytest.raises(UsageError, match="way in"):
            await Libp2p.start(tmp_path / "a")
        with pytest.raises(PeerUnreachable):
            await Libp2p.start(tmp_path / "b", ["/ip4/127.0.0.1/tcp/1"])
        gone = f"/ip4/127.0.0.1/tcp/{free_port()}/p2p/12D3KooWGepHdHMT14GWuQQTtXM98wcbw3f6XuvAhYPHUaVkqS7c"
        with pytest.raises(PeerUnreachable):
            await Libp2p.start(tmp_path / "c", [gone])

    asyncio.run(work())


def test_a_killed_process_leaves_no_daemon(tmp_path: Path) -> None:
    program = (
        "import asyncio, pathlib\nfrom commonweight.net.libp2p import Libp2p\n"
        f"async def go():\n    it = await Libp2p.start(pathlib.Path({str(tmp_path)!r}), listen={HERE!r})\n"
        "    print(it._daemon._child.pid, flush=True)\n    await asyncio.sleep(600)\nasyncio.run(go())\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout is not None
    daemon = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    until = time.monotonic() + 60
    while Path(f"/proc/{daemon}").exists() and time.monotonic() < until:
        time.sleep(0.2)
    assert not Path(f"/proc/{daemon}").exists()


def test_members_that_reach_each_other_only_through_a_relay_make_rounds(tmp_path: Path, data_dir: Path) -> None:
    with World(tmp_path, data_dir) as world:
        signer, port = world.signers[0], free_port()
        signer.argv += ["--p2p-listen", f"/ip4/127.0.0.1/tcp/{port}"]
        world.start_signers()
        identity = address_at(tmp_path / "oracle-0", f"/p2p/{'1' * 46}").rpartition("/")[2]
        relay = f"/ip4/127.0.0.1/tcp/{port}/p2p/{identity}"
        world.wait("the relay", lambda: relay in signer.log.read_text())
        ada, bob, cid = (world.add(name, relay=relay) for name in ("ada", "bob", "cid"))
        world.wait("all are counted in one round", lambda: set(ada.counted()) & set(bob.counted()) & set(cid.counted()))
        checkpoints = world.same_checkpoints(ada, bob, cid)
        assert checkpoints
        for member in (ada, bob, cid):
            assert world.run.registry.provider_at(world.index(member)).peer.startswith(f"{relay}/p2p-circuit/p2p/")
