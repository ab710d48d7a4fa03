"""One request to one endpoint: a completion, the row's own error, or trouble that may pass."""

import email.utils
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson

from inference.http import Answer, Connections
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
    """Asks endpoints for completions of `model`; a context."""

    def __init__(self, model: str, *, timeout: float, api_key: str | None = None) -> None:
        self._model, self._timeout = model, timeout
        self._head = b"Content-Type: application/json\r\n"
        if api_key:
            self._head += f"Authorization: Bearer {api_key}\r\n".encode()
        self._connections = Connections()

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *error: object) -> None:
        self._connections.close()

    async def ask(
        self, url: str, request: Request, model: str | None = None
    ) -> Completion | Trouble:
        """`model` is the name under which this endpoint serves it, where that is another."""
        content = orjson.dumps({**request.body, "model": model or self._model})
        try:
            answer = await self._connections.ask(
                "POST", f"{url}/chat/completions", self._head, content, self._timeout
            )
        except TimeoutError as error:
            return Trouble(Kind.SLOW, words(error))
        except OSError as error:
            return Trouble(Kind.BROKEN, words(error))
        except ValueError as error:
            return Trouble(Kind.FAULTY, words(error))
        if answer.status == 200:
            try:
                return read_completion(request.key, answer.body)
            except ValueError as error:
                return Trouble(Kind.FAULTY, str(error))
        return _judge(request, answer)

    async def served(self, url: str) -> list[str]:
        """The models an endpoint lists. Raises ValueError where it is no such endpoint."""
        try:
            answer = await self._connections.ask("GET", f"{url}/models", self._head, b"", 10)
            if answer.status != 200:
                raise ValueError(f"{answer.status}: {said(answer.body)}")
            return [str(entry["id"]) for entry in orjson.loads(answer.body)["data"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(words(error)) from error


def _judge(request: Request, answer: Answer) -> Completion | Trouble:
    """What an answer that is no completion says of its row or its endpoint."""
    status = answer.status
    problem = f"{status}: {said(answer.body)}"
    asked = answer.headers.get(b"retry-after", b"").decode("latin-1")
    if status in ROW_ERRORS:
        return Completion(request.key, "", "error", 0, 0, problem)
    if 300 <= status < 400:
        place = answer.headers.get(b"location", b"").decode("latin-1")
        return Trouble(Kind.REFUSED, f"{status}: moved to {place or 'another address'}")
    if status in REFUSED:
        return Trouble(Kind.REFUSED, problem)
    if status in BUSY:
        return Trouble(Kind.BUSY, problem, seconds_asked(asked))
    return Trouble(Kind.FAULTY, problem, seconds_asked(asked))


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


def seconds_asked(header: str) -> float | None:
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


def version_hint(url: str) -> str:
    """What to do where an address is not found, empty for one of the usual form."""
    return "" if url.rstrip("/").endswith("/v1") else "an address commonly ends in /v1"


def words(error: BaseException) -> str:
    return str(error) or type(error).__name__
