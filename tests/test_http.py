"""Connections: kept, replaced, never crossed; what is no HTTP is said to be none."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from inference.http import Answer, Connections

Reply = Callable[[int, asyncio.StreamWriter], Awaitable[None]]


class Raw:
    """A server that writes bytes; counts its connections and requests."""

    def __init__(self, reply: Reply) -> None:
        self.reply, self.connections, self.requests = reply, 0, 0
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                self.requests += 1
                await self.reply(self.requests, writer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()


async def asked(
    server: Raw, count: int, timeout: float = 5, tls: ssl.SSLContext | None = None
) -> list[Answer | Exception]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/v1/chat"
    connections = Connections()
    found: list[Answer | Exception] = []
    for _ in range(count):
        try:
            found.append(await connections.ask("POST", url, b"", b"{}", timeout))
        except (OSError, ValueError) as error:
            found.append(error)
        await asyncio.sleep(0.01)  # the end of a connection has to be seen
    connections.close()
    listening.close()
    return found


def fixed(*pieces: bytes, close: bool = False) -> Reply:
    async def reply(number: int, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if close:
            writer.close()

    return reply


def bodies(found: list[Answer | Exception]) -> list[bytes | str]:
    return [one.body if isinstance(one, Answer) else type(one).__name__ for one in found]


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_connection_is_kept_for_the_next_request() -> None:
    server = Raw(fixed(OK))
    assert bodies(asyncio.run(asked(server, 5))) == [b"ok"] * 5
    assert (server.connections, server.requests) == (1, 5)


@pytest.mark.parametrize(
    ("pieces", "close"),
    [
        ((CHUNKED, b"1\r\no\r\n", b"1\r\nk\r\n0\r\n\r\n"), False),
        ((b"HTTP/1.1 100 Continue\r\n\r\n", OK), False),
        ((b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\no", b"k"), True),
        ((b"HTTP/1.0 200 OK\r\n\r\nok",), True),
        ((OK[:9], OK[9:30], OK[30:]), False),
    ],
    ids=["chunked", "continue first", "ended by closing", "HTTP/1.0", "in pieces"],
)
def test_each_way_of_framing_a_body_is_read(pieces: tuple[bytes, ...], close: bool) -> None:
    assert bodies(asyncio.run(asked(Raw(fixed(*pieces, close=close)), 2))) == [b"ok", b"ok"]


def test_a_connection_that_the_server_closed_is_replaced() -> None:
    server = Raw(fixed(OK, close=True))
    assert bodies(asyncio.run(asked(server, 3))) == [b"ok"] * 3
    assert server.connections == 3


@pytest.mark.parametrize(
    ("pieces", "error"),
    [((OK[:-1],), "ConnectionError"), ((b"SSH-2.0-x\r\n",), "ValueError"), ((), "ConnectionError")],
    ids=["cut in the body", "not HTTP", "nothing"],
)
def test_what_is_no_answer_is_an_error(pieces: tuple[bytes, ...], error: str) -> None:
    assert bodies(asyncio.run(asked(Raw(fixed(*pieces, close=True)), 1))) == [error]


def test_a_late_answer_never_reaches_another_request() -> None:
    async def reply(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 1:
            await asyncio.sleep(0.15)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)

    server = Raw(reply)
    found = bodies(asyncio.run(asked(server, 3, timeout=0.1)))
    assert found == ["TimeoutError", b"2", b"3"]
    assert server.connections == 2


def test_an_answer_that_nobody_asked_for_ends_its_connection() -> None:
    server = Raw(fixed(OK, OK))
    assert bodies(asyncio.run(asked(server, 3))) == [b"ok"] * 3
    assert server.connections > 1


def test_an_address_without_a_server_is_an_os_error() -> None:
    async def ask() -> None:
        await Connections().ask("GET", "http://127.0.0.1:1/v1", b"", b"", 5)

    with pytest.raises(OSError, match="Connect call failed"):
        asyncio.run(ask())


def test_tls_is_spoken_where_the_certificate_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    alias = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(alias, False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "both.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    assert bodies(asyncio.run(asked(Raw(fixed(OK)), 1, tls=context))) == [
        "SSLCertVerificationError"
    ]
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    assert bodies(asyncio.run(asked(Raw(fixed(OK)), 2, tls=context))) == [b"ok", b"ok"]


def test_kept_connections_that_broke_while_the_loop_stood_still_cost_nothing() -> None:
    """As between two levels of a build: what the server closed is not yet seen."""
    server = Raw(fixed(OK))

    async def run() -> list[Answer | BaseException]:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1/chat"
        connections = Connections()

        def ask() -> Awaitable[Answer]:
            return connections.ask("POST", url, b"", b"{}", 5)

        await asyncio.gather(*(ask() for _ in range(8)))
        for writer in server.writers:
            writer.transport.abort()
        found = await asyncio.gather(*(ask() for _ in range(8)), return_exceptions=True)
        connections.close()
        listening.close()
        return found

    found = asyncio.run(run())
    assert [one.body if isinstance(one, Answer) else one for one in found] == [b"ok"] * 8
    assert server.connections == 16


def test_a_kept_connection_that_breaks_again_is_an_error_after_two_tries() -> None:
    async def reply(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 1:
            writer.write(OK)
        else:
            writer.close()

    server = Raw(reply)
    assert bodies(asyncio.run(asked(server, 2))) == [b"ok", "ConnectionError"]
    assert server.requests == 3


def test_an_answer_without_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.http.LARGEST", 1 << 20)
    piece = b"%x\r\n%s\r\n" % (1 << 16, b"x" * (1 << 16))
    server = Raw(fixed(CHUNKED, *[piece] * 64, b"0\r\n\r\n"))
    assert bodies(asyncio.run(asked(server, 1))) == ["ValueError"]
