"""HTTP/1.1 to endpoints: kept connections, one request at a time on each.

httptools (llhttp) reads the answers; this is the rest that a pool of requests needs of HTTP,
and no more. A general client spends three times as long on each request (DECISIONS.md).
"""

import asyncio
import functools
import ssl
from collections import defaultdict
from dataclasses import dataclass
from urllib.parse import urlsplit

import httptools

CONNECT_SECONDS = 10.0
LARGEST = 64 << 20
"""Bytes of an answer at most: more is no completion, and would fill the memory."""


@dataclass(frozen=True)
class Answer:
    """`headers` by lower-case name."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


@dataclass(frozen=True)
class Address:
    """Where a URL's requests go."""

    host: str
    port: int
    tls: bool
    path: str
    shown: str
    """Of the Host header."""


@functools.lru_cache(maxsize=1024)
def parse_address(url: str) -> Address:
    """Raises ValueError for what is no http or https URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"no http or https address: {url}")
    tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    shown = parts.netloc.rpartition("@")[2]
    return Address(parts.hostname, parts.port or (443 if tls else 80), tls, path, shown)


class Connections:
    """Keeps connections for the next request; `close` when done."""

    def __init__(self) -> None:
        self._idle: defaultdict[Address, list[_Connection]] = defaultdict(list)
        self._tls: ssl.SSLContext | None = None

    async def ask(
        self, method: str, url: str, head: bytes, content: bytes, timeout: float
    ) -> Answer:
        """`head`: further header lines, each ended by CR LF; `timeout` in seconds, connecting
        not counted. Raises TimeoutError without an answer in time, OSError for a connection
        that is refused or breaks, ValueError for an answer that is not HTTP or too long. Where a
        kept connection breaks before a byte came, the request goes out once more on a new one."""
        address = parse_address(url)
        start = f"{method} {address.path} HTTP/1.1\r\nHost: {address.shown}\r\n".encode()
        length = b"Content-Length: %d\r\n\r\n" % len(content)
        whole = b"".join((start, head, length, content))
        idle = self._idle[address]
        while idle:
            connection = idle.pop()  # the newest: old ones may then time out at the server
            if connection.open:
                try:
                    return await self._ask(connection, idle, whole, timeout)
                except ConnectionError:
                    if connection.heard:
                        raise
                    break  # the server had closed it, unseen while the loop stood still
        return await self._ask(await self._connect(address), idle, whole, timeout)

    async def _ask(
        self, connection: "_Connection", idle: "list[_Connection]", whole: bytes, timeout: float
    ) -> Answer:
        try:
            return await connection.ask(whole, timeout)
        finally:
            if connection.reusable:
                idle.append(connection)
            else:  # an answer that is under way must not meet another request
                connection.abort()

    async def _connect(self, address: Address) -> "_Connection":
        if address.tls and self._tls is None:
            self._tls = ssl.create_default_context()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await asyncio.get_running_loop().create_connection(
                    _Connection, address.host, address.port, ssl=self._tls if address.tls else None
                )
        except TimeoutError:
            raise ConnectionError(f"no connection within {CONNECT_SECONDS:g} s") from None
        return connection

    def close(self) -> None:
        for idle in self._idle.values():
            for connection in idle:
                connection.abort()
        self._idle.clear()


class _Connection(asyncio.Protocol):
    """httptools calls the `on_` methods while it is fed."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[Answer] | None = None
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._headers_done = self._unasked = False
        self._size = 0
        self.open = self.reusable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream transport is needed")
        self._transport = transport
        self.open = True

    @property
    def heard(self) -> bool:
        """Whether a byte came since the last request."""
        return self._size > 0

    async def ask(self, content: bytes, timeout: float) -> Answer:
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._body, self._headers_done = {}, [], False
        self.reusable = False
        self._size = 0
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._answer = answer
        self._transport.write(content)
        timer = self._loop.call_later(timeout, self._fail, TimeoutError("no answer in time"))
        try:
            return await answer
        finally:
            timer.cancel()
            self._answer = None

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():  # nobody asked
            self.abort()
            return
        self._size += len(data)
        if self._size > LARGEST:
            self._fail(ValueError(f"an answer of more than {LARGEST >> 20} MiB"))
            self.abort()
            return
        try:
            self._parser.feed_data(data)
            if self._unasked:
                self.abort()
        except httptools.HttpParserError as error:
            self._fail(ValueError(f"not HTTP: {data[:60]!r} ({error})"))

    def on_message_begin(self) -> None:
        self._unasked = self._answer is None or self._answer.done()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._unasked:
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._headers_done = self._headers_done or self._parser.get_status_code() >= 200

    def on_body(self, body: bytes) -> None:
        if not self._unasked:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._unasked:
            return
        if not self._headers_done:  # 1xx: the answer itself is still to come
            self._headers = {}
            return
        self.reusable = self.open and self._parser.should_keep_alive()
        self._finish()

    def connection_lost(self, error: Exception | None) -> None:
        self.open = self.reusable = False
        sized = b"content-length" in self._headers or b"transfer-encoding" in self._headers
        if self._headers_done and not sized:  # then the end of the stream ends the body
            self._finish()
        self._fail(error or ConnectionError("the connection was closed before the answer's end"))

    def _finish(self) -> None:
        if self._answer and not self._answer.done():
            status = self._parser.get_status_code()
            self._answer.set_result(Answer(status, self._headers, b"".join(self._body)))

    def _fail(self, error: Exception) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(error)

    def abort(self) -> None:
        if self.open:
            self.open = self.reusable = False
            self._transport.abort()
