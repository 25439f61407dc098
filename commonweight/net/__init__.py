"""Authenticated, encrypted requests between the processes of a run: TLS 1.3 bound to registered keys, framed,
bounded.
"""

from commonweight.net.identity import Caller, Identity
from commonweight.net.limits import Limits
from commonweight.net.peer import DEFAULT_MAX_REPLY, Dialer, Peer, connect, split_address
from commonweight.net.server import Handler, Method, Reply, Request, Server
from commonweight.net.traffic import PROCESS_TRAFFIC, Traffic, TrafficTotals
from commonweight.net.upload import UploadCap

__all__ = [
    "DEFAULT_MAX_REPLY",
    "PROCESS_TRAFFIC",
    "Caller",
    "Dialer",
    "Handler",
    "Identity",
    "Limits",
    "Method",
    "Peer",
    "Reply",
    "Request",
    "Server",
    "Traffic",
    "TrafficTotals",
    "UploadCap",
    "connect",
    "split_address",
]
