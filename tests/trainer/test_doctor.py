"""`provider doctor` on a real run: it names what is wrong with its cure, and asks a signer whether it is reached."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from commonweight.chain.keys import Key
from commonweight.chain.run import Run
from commonweight.errors import PeerRefused
from commonweight.net import Caller, Dialer, Identity, Server, split_address
from commonweight.protocol.fields import lower_address
from tests.trainer.world import ROOT, World, command, free_port

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]


def ask(world: World, name: str, key: Key, listen: str, *more: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code and findings by what was looked at."""
    keystore = world.folder / f"{name}.json"
    if not keystore.exists():
        world._keystore(name, key)
    argv = [*command(), "provider", "doctor", *world._common(keystore, name), "--listen", listen, *more, "--json"]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("COMMONWEIGHT_")}
    done = subprocess.run(argv, env={**kept, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120)
    found = json.loads(done.stdout)
    assert found["ok"] is (done.returncode == 0)
    return done.returncode, {f["what"]: f for f in found["findings"]}


def wrong(findings: dict[str, dict[str, Any]]) -> set[str]:
    for finding in findings.values():
        assert finding["ok"] or (finding["why"] and finding["fix"]), finding
    return {what for what, finding in findings.items() if not finding["ok"]}


@contextmanager
def serving(identity: Identity, listen: str) -> Iterator[None]:
    """Another process with the same key, as far as anybody can see."""

    async def anybody(_: Caller) -> None:
        return None

    async def serve() -> None:
        server = Server(identity, {}, anybody)
        await server.start(*split_address(listen))
        begun.set()
        await asyncio.to_thread(over.wait)
        await server.close()

    begun, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert begun.wait(10)
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_each_failure_has_its_cure_and_a_signer_says_whether_we_are_reached(tmp_path: Path, data_dir: Path) -> None:
    with World(tmp_path, data_dir) as world:
        key, listen = next(world._keys), f"127.0.0.1:{free_port()}"
        code, found = ask(world, "ada", key, listen)
        assert code == 1
        assert wrong(found) == {"The key is registered", "Others can reach this provider"}

        registry = Run.at(world.chain(key), world.run.addresses.campaign).registry
        registry.register(key.address, key.address, listen, world.run.params.provider_stake)
        code, found = ask(world, "ada", key, listen)  # no signer runs yet
        assert wrong(found) == {"More than half of the signers answer", f"Others can reach this provider at {listen}"}

        world.start_signers()
        signer, place = next(iter(world.config.signers_peers.items()))
        identity = Identity(key.private_key, lower_address(world.run.address), world.run.oracle.domain(), "member", 0)

        def answered() -> bool:
            return ask(world, "ada", key, listen)[0] == 0

        world.wait("all is well", answered)

        with serving(identity, listen):
            code, found = ask(world, "ada", key, f"127.0.0.1:{free_port()}")
        assert "No other process uses this key" in wrong(found)
        assert "never start a second one" in found["No other process uses this key"]["fix"]

        elsewhere = f"127.0.0.1:{free_port()}"
        code, found = ask(world, "ada", key, elsewhere)
        assert wrong(found) == {
            "The registered address is the one that is listened on", f"Others can reach this provider at {listen}",
        }  # fmt: skip

        async def twice() -> str:
            dialer = Dialer(identity)
            try:
                for _ in range(2):
                    await dialer.call(place, signer, "reach", {"peer": elsewhere})
            except PeerRefused as refused:
                return refused.code
            finally:
                await dialer.close()
            return ""

        assert asyncio.run(twice()) == "too-often"
