"""A network namespace with one cable to this machine, which can be pulled: a real partition, for tests run as root."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import pytest

HERE, THERE = "10.213.7.1", "10.213.7.2"
_NAME, _CABLE, _END = "cw-island", "cw-here", "cw-there"


class Island:
    """What is run with `prefix` reaches this machine at HERE, and is reached at THERE, while the cable is in."""

    prefix: Sequence[str] = ("ip", "netns", "exec", _NAME)

    def pull(self) -> None:
        """Nothing gets through any more, in either direction; connections stay open."""
        _ip("link", "set", _CABLE, "down")

    def plug(self) -> None:
        """As before."""
        _ip("link", "set", _CABLE, "up")


@contextmanager
def island() -> Iterator[Island]:
    """Make one; skips the test where that is not allowed."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("a network namespace needs root and iproute2")
    for words in (["link", "del", _CABLE], ["netns", "del", _NAME]):
        subprocess.run(["ip", *words], check=False, stderr=subprocess.DEVNULL)  # of a test that was killed
    try:
        _ip("netns", "add", _NAME)
        _ip("link", "add", _CABLE, "type", "veth", "peer", "name", _END, "netns", _NAME)
        _ip("addr", "add", f"{HERE}/30", "dev", _CABLE)
        _ip("link", "set", _CABLE, "up")
        _ip("netns", "exec", _NAME, "ip", "addr", "add", f"{THERE}/30", "dev", _END)
        _ip("netns", "exec", _NAME, "ip", "link", "set", _END, "up")
        _ip("netns", "exec", _NAME, "ip", "link", "set", "lo", "up")
    except subprocess.CalledProcessError:
        pytest.skip("this machine gives no network namespaces")
    try:
        yield Island()
    finally:
        _ip("link", "del", _CABLE)
        _ip("netns", "del", _NAME)


@contextmanager
def forwarded(port: int) -> Iterator[str]:
    """The local port, reachable at HERE; gives host:port."""
    with socket.create_server((HERE, 0)) as listener:
        threading.Thread(target=_forward, args=(listener, port), daemon=True).start()
        yield f"{HERE}:{listener.getsockname()[1]}"


def _forward(listener: socket.socket, port: int) -> None:
    while True:
        try:
            one, _ = listener.accept()
        except OSError:
            return  # it is closed
        threading.Thread(target=_carry, args=(one, port), daemon=True).start()


def _carry(one: socket.socket, port: int) -> None:
    """One connection, both ways, until either side ends it."""
    with one, suppress(OSError), socket.create_connection(("127.0.0.1", port)) as other:
        back = threading.Thread(target=_pump, args=(other, one), daemon=True)
        back.start()
        _pump(one, other)
        back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, stdin=subprocess.DEVNULL, capture_output=True)
