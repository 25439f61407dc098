"""Addresses that ask for a tunnel, and what is said without one."""

import asyncio

import pytest

from commonweight.errors import PeerUnreachable
from commonweight.net import Dialer, Identity, check_address, parse_multiaddr
from commonweight.protocol.documents import Domain

pytestmark = pytest.mark.unit
RELAY, PEER = "12D3KooWGepHdHMT14GWuQQTtXM98wcbw3f6XuvAhYPHUaVkqS7c", "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"


@pytest.mark.parametrize(
    ("text", "route"),
    [
        (f"/p2p/{PEER}", ()),
        (f"/ip4/203.0.113.7/tcp/4001/p2p/{PEER}", (("ip4", "203.0.113.7"), ("tcp", "4001"))),
        (
            f"/dns4/relay.example.org/tcp/4001/p2p/{RELAY}/p2p-circuit/p2p/{PEER}",
            (("dns4", "relay.example.org"), ("tcp", "4001"), ("p2p", RELAY), ("p2p-circuit", "")),
        ),
        (f"/ip6/::1/tcp/1/p2p/{PEER}", (("ip6", "::1"), ("tcp", "1"))),
    ],
)
def test_an_address_ends_in_an_identity_and_says_the_way_there(text: str, route: tuple[tuple[str, str], ...]) -> None:
    found = parse_multiaddr(text)
    assert (found.identity, found.route, str(found)) == (PEER, route, text)
    check_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "/", "", "/p2p", "/p2p/", f"p2p/{PEER}", f"/p2p/{PEER}/", "/p2p/0OIl", f"/ip4/1.2.3/tcp/1/p2p/{PEER}",
        f"/ip4/::1/tcp/1/p2p/{PEER}", f"/ip4/1.2.3.4/tcp/65536/p2p/{PEER}", f"/ip4/1.2.3.4/tcp/-1/p2p/{PEER}",
        "/ip4/1.2.3.4/tcp/1", f"/unix/p2p/{PEER}", f"/dns4/a b/tcp/1/p2p/{PEER}", f"/p2p/{RELAY}/p2p-circuit",
        f"/dns4/{'a' * 600}/tcp/1/p2p/{PEER}", f"/p2p/{PEER}\n",
    ],
)  # fmt: skip
def test_what_is_no_such_address_is_refused_by_name(text: str) -> None:
    with pytest.raises(PeerUnreachable):
        parse_multiaddr(text)


@pytest.mark.parametrize("text", ["gpu-1.example.org:7700", "signer_0:1", "203.0.113.7:65535", "[2001:db8::7]:7700"])
def test_a_host_that_can_exist_is_taken(text: str) -> None:
    check_address(text)


@pytest.mark.parametrize(
    "text", ["", "foo bar:7700", "\u00fcn\u00efcode:7700", "a/b:7700", "[1:2]:7700", "[fe80::1%eth0]:7700", "http://a:7700"]
)
def test_a_host_that_cannot_exist_is_refused(text: str) -> None:
    with pytest.raises(PeerUnreachable, match="is not an address"):
        check_address(text)


def test_without_a_tunnel_it_is_said_what_is_missing() -> None:
    async def work() -> None:
        dialer = Dialer(Identity(b"\x22" * 32, "0x" + "ca" * 20, Domain(31337, "0x" + "0c" * 20), "member", 7))
        with pytest.raises(PeerUnreachable, match="libp2p") as refused:
            await dialer.call(f"/p2p/{PEER}", "0x" + "11" * 20, "ping")
        assert "--p2p" in refused.value.fix

    asyncio.run(work())
