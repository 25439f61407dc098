"""Connections without manners: TLS by hand, frames by hand, for peers that do not keep to the protocol."""

import asyncio
import ssl
import struct
from collections.abc import Awaitable, Callable

from commonweight.net import Identity, Limits, Traffic
from commonweight.net.identity import client_context, client_hello, peer_certificate_sha256
from commonweight.net.peer import split_address
from commonweight.net.stream import Stream
from commonweight.net.wire import Frame, Wire
from commonweight.protocol.canonical import JsonObject, dumps
from commonweight.protocol.documents import Signed

PREFIX = struct.Struct(">IQ")


def frame(header: "JsonObject | bytes", body: bytes = b"") -> bytes:
    encoded = header if isinstance(header, bytes) else dumps(header)
    return PREFIX.pack(len(encoded), len(body)) + encoded + body


async def listen(serve: "Callable[[Raw], Awaitable[None]]", context: ssl.SSLContext) -> tuple[str, asyncio.Server]:
    """A TLS server by hand: its address, and itself."""

    class Accepted(Stream):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.task = asyncio.ensure_future(serve(Raw(self)))

    server = await asyncio.get_running_loop().create_server(Accepted, "127.0.0.1", 0, ssl=context)
    return f"127.0.0.1:{server.sockets[0].getsockname()[1]}", server


class Raw:
    """A TLS connection on which anything can be sent."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    @classmethod
    async def open(cls, address: str, context: ssl.SSLContext | None = None) -> "Raw":
        host, port = split_address(address)
        loop = asyncio.get_running_loop()
        return cls((await loop.create_connection(Stream, host, port, ssl=context or client_context()))[1])

    @property
    def certificate(self) -> str:
        return peer_certificate_sha256(self.stream.transport.get_extra_info("ssl_object"))

    async def receive(self) -> Frame:
        async def admit(_header: JsonObject, _size: int) -> None:
            return

        wire = Wire(self.stream, Limits(), Traffic(), "raw")
        received = await wire.receive(1 << 24, admit, 30, lambda _: "raw")
        if received is None:
            raise EOFError
        return received

    def write(self, data: bytes) -> None:
        self.stream.write(data)

    async def nonce(self) -> tuple[str, str]:
        """The server's address and nonce, from its hello."""
        hello = (await self.receive()).header["hello"]
        assert isinstance(hello, dict)
        body = hello["body"]
        assert isinstance(body, dict)
        return str(body["run"]), str(body["nonce"])

    async def greet(self, identity: Identity, to: str, **changes: float) -> JsonObject:
        """Say hello as `identity`; the server's answer."""
        _, nonce = await self.nonce()
        return await self.say(client_hello(identity, to, self.certificate, nonce, **changes))

    async def say(self, hello: Signed) -> JsonObject:
        self.write(frame({"hello": hello.to_json()}))
        return (await self.receive()).header

    async def gone(self, timeout_s: float = 20) -> None:
        """Wait until the other side has closed; raises TimeoutError when it does not."""
        async with asyncio.timeout(timeout_s):
            try:
                while await self.stream.some(1 << 16):
                    pass
            except (ConnectionError, ssl.SSLError):
                pass
        await self.close()

    async def close(self) -> None:
        self.stream.abort()
        await asyncio.sleep(0)  # let the transport close its socket
