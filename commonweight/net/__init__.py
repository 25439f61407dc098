"""Authenticated, encrypted requests between the processes of a run: TLS 1.3 bound to registered keys, framed,
bounded.
"""

from commonweight.net.identity import Caller, Identity
from commonweight.net.limits import Limits
from commonweight.net.peer import DEFAULT_MAX_REPLY, MAX_ADDRESS, Dialer, Peer, check_address, connect, split_address
from commonweight.net.server import Handler, Method, Reply, Request, Server
from commonweight.net.traffic import PROCESS_TRAFFIC, Traffic, TrafficTotals
from commonweight.net.tunnel import Admit, Multiaddr, Tunnel, is_multiaddr, parse_multiaddr
from commonweight.net.upload import UploadCap

__all__ = [
    "DEFAULT_MAX_REPLY",
    "MAX_ADDRESS",
    "PROCESS_TRAFFIC",
    "Admit",
    "Caller",
    "Dialer",
    "Handler",
    "Identity",
    "Limits",
    "Method",
    "Multiaddr",
    "Peer",
    "Reply",
    "Request",
    "Server",
    "Traffic",
    "TrafficTotals",
    "Tunnel",
    "UploadCap",
    "check_address",
    "connect",
    "is_multiaddr",
    "parse_multiaddr",
    "split_address",
]
