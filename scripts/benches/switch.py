"""Carries packets between the TUN devices of several namespaces, with a rate, a delay and losses.

    python -m benches.switch HOSTS UP DOWN DELAY_MS LOSS_PPM QUEUE_MS NAME...

The first HOSTS of the named namespaces have links of UP and DOWN Mbit/s; the others' have no limit. The n-th has the
address 10.78.0.n, counted from 1. A packet waits for the sender's link, takes DELAY_MS, waits for the receiver's link;
one that would wait longer than QUEUE_MS for either is dropped, as in a router's queue. Standard library only.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI, _CLONE_NEWNET = 0x400454CA, 0x0001, 0x1000, 0x40000000
_DEVICE = b"eth0"
_LARGEST = 65_536


def main() -> None:
    """Until killed."""
    hosts, up, down, delay_ms, loss_ppm, queue_ms = map(int, sys.argv[1:7])
    devices = [open_device(name) for name in sys.argv[7:]]
    delay, queue, loss = delay_ms / 1000, queue_ms / 1000, loss_ppm / 1e6
    up_s, down_s = 8 / (up * 1e6), 8 / (down * 1e6)
    up_free, down_free = [0.0] * len(devices), [0.0] * len(devices)
    places = {device: number for number, device in enumerate(devices)}
    waiting: list[tuple[float, int, int, bytes]] = []
    sent, chance = 0, random.Random(7).random
    while True:
        left = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for device in select.select(devices, [], [], left)[0]:
            packet, source = os.read(device, _LARGEST), places[device]
            if packet[0] >> 4 != 4 or not 1 <= packet[19] <= len(devices):
                continue  # IPv6 greetings of the kernel
            target, now = packet[19] - 1, time.monotonic()
            if source < hosts:
                if up_free[source] > now + queue or (loss and chance() < loss):
                    continue
                up_free[source] = max(now, up_free[source]) + len(packet) * up_s
                now = up_free[source]
            now += delay
            if target < hosts:
                if down_free[target] > now + queue:
                    continue
                down_free[target] = now = max(now, down_free[target]) + len(packet) * down_s
            sent += 1
            heapq.heappush(waiting, (now, sent, target, packet))
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, target, packet = heapq.heappop(waiting)
            os.write(devices[target], packet)


def open_device(name: str) -> int:
    """The TUN device of a namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    home, there = os.open("/proc/self/ns/net", os.O_RDONLY), os.open(f"/run/netns/{name}", os.O_RDONLY)
    _enter(libc, there)
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH14x", _DEVICE, _IFF_TUN | _IFF_NO_PI))
    _enter(libc, home)
    os.close(home)
    os.close(there)
    return device


def _enter(libc: ctypes.CDLL, namespace: int) -> None:
    if libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


if __name__ == "__main__":
    main()
