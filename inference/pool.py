"""Ask endpoints for completions: many at once, retrying what may pass, keeping what arrived.

A refusal of one request (400, 404, 413, 422) is that row's error and is kept as such. What may
pass (429, 5xx, a cut connection, a time-out) is tried again with growing, jittered pauses; when
the tries are used up the build stops, and the rest of what arrived is on disk.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from data.errors import EngineError
from inference.record import Completion, Record

TRIES = 6
ROW_ERRORS = (400, 404, 413, 422)
WAIT_AT_MOST = 30.0


@dataclass(frozen=True)
class Request:
    """`body` is what the endpoint gets, without the model; `label` is the caller's."""

    key: str
    body: Mapping[str, Any]
    label: Any = None


@dataclass
class Account:
    """What a run of the pool did, for progress and the manifest."""

    requests: int = 0
    retries: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    started: float = field(default_factory=time.monotonic)


class Pool:
    """`concurrency` requests in flight at each endpoint; `model` is the name they serve."""

    def __init__(
        self,
        endpoints: Sequence[str],
        model: str,
        *,
        concurrency: int,
        timeout: float,
        api_key: str | None = None,
    ) -> None:
        self._endpoints = [url.rstrip("/") for url in endpoints]
        self._model, self._concurrency, self._timeout = model, concurrency, timeout
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self.account = Account()
        self._in_flight = [0] * len(self._endpoints)
        self._jitter = random.Random()

    @property
    def in_flight(self) -> int:
        return sum(self._in_flight)

    async def check(self) -> None:
        """Ask each endpoint what it serves. Raises EngineError where it is not the model."""
        async with self._session() as session:
            for url in self._endpoints:
                try:
                    async with session.get(f"{url}/models") as answer:
                        listed = orjson.loads(await answer.read())
                    served = [entry["id"] for entry in listed["data"]]
                except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as e:
                    raise EngineError(
                        f"does not answer as an OpenAI-compatible server ({_words(e)})",
                        where=url,
                        fix="start it, or leave engine.endpoints out to launch one here",
                    ) from e
                if self._model not in served:
                    raise EngineError(
                        f"serves {', '.join(served) or 'nothing'}, not {self._model}",
                        where=url,
                        fix="name the served model in engine.model",
                    )

    async def run(
        self,
        requests: Iterable[Request],
        record: Record,
        arrived: Callable[[Request, Completion], None],
    ) -> None:
        """Ask for every request; `arrived` is called once a completion is durable."""
        room = asyncio.Semaphore(self._concurrency * len(self._endpoints))
        async with self._session() as session, asyncio.TaskGroup() as group:
            async for request in _paced(requests, room):
                group.create_task(self._one(session, request, record, arrived, room))

    async def _one(
        self,
        session: aiohttp.ClientSession,
        request: Request,
        record: Record,
        arrived: Callable[[Request, Completion], None],
        room: asyncio.Semaphore,
    ) -> None:
        try:
            completion = await self._ask(session, request)
            await record.append(completion)
        finally:
            room.release()
        self.account.requests += 1
        self.account.prompt_tokens += completion.prompt_tokens
        self.account.completion_tokens += completion.completion_tokens
        self.account.errors += completion.error is not None
        arrived(request, completion)

    async def _ask(self, session: aiohttp.ClientSession, request: Request) -> Completion:
        content = orjson.dumps({**request.body, "model": self._model})
        for attempt in range(TRIES):
            chosen = min(range(len(self._endpoints)), key=self._in_flight.__getitem__)
            self._in_flight[chosen] += 1
            url = f"{self._endpoints[chosen]}/chat/completions"
            asked_to_wait = None
            try:
                async with session.post(url, data=content, headers=self._headers) as answer:
                    reply = await answer.read()
                    if answer.status == 200:
                        return _completion(request.key, reply)
                    problem = f"{answer.status}: {_said(reply)}"
                    if answer.status in ROW_ERRORS:
                        return Completion(request.key, "", "error", 0, 0, problem)
                    asked_to_wait = answer.headers.get("Retry-After")
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                problem = _words(error)
            finally:
                self._in_flight[chosen] -= 1
            if attempt + 1 < TRIES:
                self.account.retries += 1
                await asyncio.sleep(self._pause(attempt, asked_to_wait))
        raise EngineError(
            f"still fails after {TRIES} tries ({problem})",
            where=self._endpoints[chosen],
            fix="all that arrived is kept: mend the server and run the same command",
        )

    def _pause(self, attempt: int, asked: str | None) -> float:
        if asked and asked.isdigit():
            return min(float(asked), WAIT_AT_MOST) + self._jitter.random() * 0.1
        longest = min(0.5 * 2.0**attempt, WAIT_AT_MOST)
        return longest * (0.5 + self._jitter.random() / 2)

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=10),
        )


async def _paced(requests: Iterable[Request], room: asyncio.Semaphore) -> AsyncIterator[Request]:
    """The next request once there is room for it, so that prompts are read as needed."""
    for request in requests:
        await room.acquire()
        yield request


def _completion(key: str, reply: bytes) -> Completion:
    """Raises ValueError where the body is not a chat completion."""
    try:
        answer = orjson.loads(reply)
        choice, usage = answer["choices"][0], answer["usage"]
        return Completion(
            key,
            choice["message"]["content"] or "",
            choice["finish_reason"] or "unknown",
            int(usage["prompt_tokens"]),
            int(usage["completion_tokens"]),
        )
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"not a chat completion: {reply[:200]!r}") from error


def _said(reply: bytes) -> str:
    """The server's own words of an error body."""
    try:
        body = orjson.loads(reply)
    except ValueError:
        return reply[:300].decode("utf-8", "replace")
    if isinstance(body, dict):
        inner = body.get("error", body)
        if isinstance(inner, dict):
            return str(inner.get("message", inner))[:500]
        return str(inner)[:500]
    return str(body)[:300]


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
