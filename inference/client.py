"""One request to one endpoint: a completion, the row's own error, or trouble that may pass."""

import asyncio
import email.utils
import functools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import aiohttp
import orjson
from yarl import URL

from inference.record import Completion

ROW_ERRORS = (400, 413, 422)
REFUSED = (401, 403, 404)
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
    REFUSED = "refused"
    """The endpoint will take no request of ours: 401, 403, 404."""
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
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
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
                chat_address(url), data=content, headers=self._headers
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
        if status in REFUSED:
            return Trouble(Kind.REFUSED, problem)
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
                reply = await answer.read()
                if answer.status != 200:
                    raise ValueError(f"{answer.status}: {said(reply)}")
            return [str(entry["id"]) for entry in orjson.loads(reply)["data"]]
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(words(error)) from error


@functools.lru_cache(maxsize=1024)
def chat_address(url: str) -> URL:
    """Parsed once an endpoint, not once a request."""
    return URL(f"{url}/chat/completions")


def read_completion(key: str, reply: bytes) -> Completion:
    """Raises ValueError where the body is not a chat completion."""
    try:
        answer = _loads(reply)
        choice, usage = answer["choices"][0], answer.get("usage") or {}
        text = choice["message"]["content"] or ""
        reason = choice.get("finish_reason") or "unknown"
        counts = [usage.get(name) or 0 for name in ("prompt_tokens", "completion_tokens")]
        if not isinstance(text, str) or not isinstance(reason, str):
            raise TypeError("text and finish_reason are strings")
        if not all(type(count) is int and 0 <= count < 2**31 for count in counts):
            raise TypeError("token counts are numbers from 0")
        return Completion(key, text, reason, counts[0], counts[1])
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"not a chat completion: {reply[:200]!r}") from error


def _loads(reply: bytes) -> Any:
    """Lone surrogates, which no UTF-8 file can hold, become the replacement character."""
    try:
        return orjson.loads(reply)
    except ValueError:
        text = json.dumps(json.loads(reply), ensure_ascii=False)
        return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


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
