"""Hosts on one machine: network namespaces whose links have a rate, and where it is asked for, a delay and losses.

The rate is the kernel's (a token bucket on each end of a link). Delay and loss are too where the kernel has netem;
elsewhere the links are TUN devices and `benches.switch` carries every packet. All of it lives in namespaces of the
process that called `enter`, needs no rights beyond theirs and is gone when that process is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from benches.results import ROOT

INTERFACE = "eth0"
_INSIDE = "COMMONWEIGHT_BENCH_INSIDE"
_QUEUE_MS = 100


@dataclass(frozen=True)
class Link:
    """What a host's link carries: Mbit/s up and down, one way delay in ms, and packets lost in a million."""

    up: int
    down: int
    delay_ms: int = 0
    loss_ppm: int = 0

    @property
    def name(self) -> str:
        """As a table shows it."""
        far = f", {2 * self.delay_ms} ms there and back" if self.delay_ms else ""
        lost = f", {self.loss_ppm / 10_000:g} % lost" if self.loss_ppm else ""
        return f"{self.up} Mbit/s up, {self.down} down{far}{lost}"


@dataclass(frozen=True)
class Place:
    """Where a process runs: words before its command, and its address."""

    prefix: tuple[str, ...] = ()
    address: str = "127.0.0.1"
    interface: str = "lo"


class LinksError(Exception):
    """Hosts cannot be made here; says why."""


def enter() -> None:
    """Go on in network, mount and process namespaces of our own, as their root. Starts the program anew, once.

    Raises LinksError where that is not allowed.
    """
    if os.environ.get(_INSIDE):
        _run("mount", "-t", "tmpfs", "tmpfs", "/run")
        _run("ip", "link", "set", "lo", "up")
        return
    missing = [name for name in ("unshare", "ip", "tc") if shutil.which(name) is None]
    if missing:
        raise LinksError(f"{', '.join(missing)} is not in PATH; install util-linux and iproute2")
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    words = ["unshare", *user, "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        raise LinksError("namespaces are not allowed to this user; run it as root")
    os.environ[_INSIDE] = "1"
    os.execvp("unshare", [*words, sys.executable, *sys.argv])  # noqa: S606 (it is to be this process)


@dataclass
class Hosts:
    """`count` hosts behind equal links, and last one, the office, whose link has no limit."""

    count: int
    link: Link
    places: list[Place] = field(default_factory=list)
    _switch: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        names = [f"host{number}" for number in range(self.count + 1)]
        self.places = [
            Place(("ip", "netns", "exec", name), f"10.78.0.{number + 1}", INTERFACE)
            for number, name in enumerate(names)
        ]
        for name in names:
            _run("ip", "netns", "add", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        far = bool(self.link.delay_ms or self.link.loss_ppm)
        if far and not _netem():
            self._by_switch(names)
        else:
            self._by_bridge(names)
        return self

    def __exit__(self, *_: object) -> None:
        if self._switch is not None:
            self._switch.kill()
            self._switch.wait()
        for number in range(self.count + 1):
            _run("ip", "netns", "delete", f"host{number}")
        subprocess.run(["ip", "link", "delete", "switch"], capture_output=True, check=False)

    def _by_bridge(self, names: Sequence[str]) -> None:
        """Pairs of interfaces to a bridge, shaped at both ends."""
        _run("ip", "link", "add", "switch", "type", "bridge")
        _run("ip", "link", "set", "switch", "up")
        for number, (name, place) in enumerate(zip(names, self.places, strict=True)):
            port = f"port{number}"
            _run("ip", "link", "add", port, "type", "veth", "peer", "name", INTERFACE, "netns", name)
            _run("ip", "link", "set", port, "master", "switch")
            _run("ip", "link", "set", port, "up")
            _run("ip", "-n", name, "address", "add", f"{place.address}/24", "dev", INTERFACE)
            _run("ip", "-n", name, "link", "set", INTERFACE, "up")
            if number < self.count:
                self._shape(["-n", name], INTERFACE, self.link.up)
                self._shape([], port, self.link.down)

    def _shape(self, where: Sequence[str], device: str, rate: int) -> None:
        parent = ["root"]
        if self.link.delay_ms or self.link.loss_ppm:
            far = ["delay", f"{self.link.delay_ms / 2}ms", "loss", f"{self.link.loss_ppm / 20_000}%", "limit", "20000"]
            _run("tc", *where, "qdisc", "add", "dev", device, "root", "handle", "1:", "netem", *far)
            parent = ["parent", "1:"]
        burst = max(16_000, rate * 1_000_000 // 8 // 100)  # what the rate gives in a hundredth of a second
        _run("tc", *where, "qdisc", "add", "dev", device, *parent, "handle", "2:", "tbf", "rate", f"{rate}mbit",
             "burst", f"{burst}b", "latency", f"{_QUEUE_MS}ms")  # fmt: skip

    def _by_switch(self, names: Sequence[str]) -> None:
        """TUN devices; one process carries all packets."""
        for name in names:
            _run("ip", "-n", name, "tuntap", "add", "dev", INTERFACE, "mode", "tun")
        link = self.link
        numbers = [self.count, link.up, link.down, link.delay_ms, link.loss_ppm, _QUEUE_MS]
        self._switch = subprocess.Popen(
            [sys.executable, "-m", "benches.switch", *map(str, numbers), *names], cwd=ROOT / "scripts"
        )
        for name, place in zip(names, self.places, strict=True):
            _run("ip", "-n", name, "address", "add", f"{place.address}/24", "dev", INTERFACE)
            _run("ip", "-n", name, "link", "set", INTERFACE, "up")
            by = time.monotonic() + 10
            while "NO-CARRIER" in _run("ip", "-n", name, "link", "show", INTERFACE):
                if time.monotonic() > by:
                    raise LinksError("the switch does not open its devices")
                time.sleep(0.05)


def _netem() -> bool:
    """Whether this kernel can delay."""
    words = ["tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "0ms"]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        return False
    _run("tc", "qdisc", "delete", "dev", "lo", "root")
    return True


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LinksError(f"`{' '.join(words)}` failed: {done.stderr.strip()}")
    return done.stdout
