"""One request to one endpoint: a completion, the row's own error, or trouble that may pass."""

import asyncio
import email.utils
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import aiohttp
import orjson

from inference.record import Completion

ROW_ERRORS = (400, 404, 413, 422)
BUSY = (429, 503)


@dataclass(frozen=True)
class Request:
    """`body` is what the endpoint gets, without the model; `label` is the caller's."""

    key: str
    body: Mapping[str, Any]
    source: str = ""
    label: Any = None


class Kind(Enum):
    BUSY = "busy"
    """The endpoint pushes back: 429, 503."""
    SLOW = "slow"
    """No answer in time."""
    BROKEN = "broken"
    """The connection: refused, cut."""
    FAULTY = "faulty"
    """An answer that is none: 500, invalid JSON."""


@dataclass(frozen=True)
class Trouble:
    """`wait`: seconds that the endpoint asked for (Retry-After), None where it did not."""

    kind: Kind
    words: str
    wait: float | None = None


class Client:
    """Connections to all endpoints, reused; a context."""

    def __init__(self, model: str, *, timeout: float, api_key: str | None = None) -> None:
        self._model = model
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=10)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Client":
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60), timeout=self._timeout
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._session:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is not entered")
        return self._session

    async def ask(self, url: str, request: Request) -> Completion | Trouble:
        content = orjson.dumps({**request.body, "model": self._model})
        try:
            async with self.session.post(
                f"{url}/chat/completions", data=content, headers=self._headers
            ) as answer:
                reply = await answer.read()
                status, asked = answer.status, answer.headers.get("Retry-After")
        except TimeoutError:
            return Trouble(Kind.SLOW, "no answer in time")
        except (aiohttp.ClientError, OSError) as error:
            return Trouble(Kind.BROKEN, words(error))
        if status == 200:
            try:
                return read_completion(request.key, reply)
            except ValueError as error:
                return Trouble(Kind.FAULTY, str(error))
        problem = f"{status}: {said(reply)}"
        if status in ROW_ERRORS:
            return Completion(request.key, "", "error", 0, 0, problem)
        if status in BUSY:
            return Trouble(Kind.BUSY, problem, seconds_asked(asked))
        return Trouble(Kind.FAULTY, problem, seconds_asked(asked))

    async def served(self, url: str) -> list[str]:
        """The models an endpoint lists. Raises ValueError where it is no such endpoint."""
        try:
            async with (
                asyncio.timeout(10),
                self.session.get(f"{url}/models", headers=self._headers) as answer,
            ):
                listed = orjson.loads(await answer.read())
            return [str(entry["id"]) for entry in listed["data"]]
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(words(error)) from error


def read_completion(key: str, reply: bytes) -> Completion:
    """Raises ValueError where the body is not a chat completion."""
    try:
        answer = orjson.loads(reply)
        choice, usage = answer["choices"][0], answer.get("usage") or {}
        return Completion(
            key,
            str(choice["message"]["content"] or ""),
            str(choice.get("finish_reason") or "unknown"),
            int(usage.get("prompt_tokens") or 0),
            int(usage.get("completion_tokens") or 0),
        )
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"not a chat completion: {reply[:200]!r}") from error


def said(reply: bytes) -> str:
    """The server's own words of an error body, at most 500 characters."""
    try:
        body = orjson.loads(reply)
    except ValueError:
        return reply[:500].decode("utf-8", "replace")
    inner = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(inner, dict):
        inner = inner.get("message", inner)
    return str(inner)[:500]


def seconds_asked(header: str | None) -> float | None:
    """Retry-After in seconds, from a number or a date."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


def words(error: BaseException) -> str:
    return str(error) or type(error).__name__
