"""Ask endpoints for completions: as many at once as they bear, retrying what may pass.

There is no barrier: each request is its own task, and a failed one costs its row alone. What
may pass is tried again elsewhere after a growing, jittered pause; an endpoint that fails is
set aside, probed, and taken back; its requests move to the others.
"""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from data.errors import EngineError, ShardmillError
from inference.account import Account, Tally
from inference.client import Client, Kind, Request, Trouble
from inference.endpoint import Endpoint
from inference.record import Completion, Record

TRIES = 6
"""How often one request is asked of endpoints that answer others meanwhile."""
PAUSE, LONGEST_PAUSE = 0.25, 20.0
PROBE = 0.5
SAVE_EVERY = 10.0

Arrived = Callable[[Request, Completion], "Iterable[Request]"]
"""Called once a completion is durable; gives the requests that follow from it."""


class Pool:
    """Endpoints that serve `model`. `stop` may be called at any time, from the loop's thread."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        client: Client,
        record: Record,
        account: Account,
        *,
        patience: float = 300.0,
    ) -> None:
        """`patience`: seconds to bear with all endpoints away, or with a request that none
        takes."""
        self.endpoints = list(endpoints)
        self.account = account
        self._client, self._record, self._patience = client, record, patience
        self._jitter = random.Random()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._outstanding = 0
        self._drained, self._stopped = asyncio.Event(), asyncio.Event()
        self.stopping: ShardmillError | None = None
        self.check: Callable[[], ShardmillError | None] = lambda: None
        """Asked after each completion; an error it gives stops the pool, drained."""

    @property
    def in_flight(self) -> int:
        return sum(endpoint.in_flight for endpoint in self.endpoints)

    def stop(self, reason: ShardmillError) -> None:
        """Ask nothing more; what is in flight may arrive."""
        self.stopping = self.stopping or reason
        self._stopped.set()
        self._wake_all()

    async def run(self, requests: Iterable[Request], arrived: Arrived) -> None:
        """Until every request and what follows from it has arrived. Raises the reason given to
        `stop` once what was in flight is there, or EngineError where all endpoints stay away."""
        asked = iter(requests)
        async with asyncio.TaskGroup() as group:
            keepers = [group.create_task(self._probe(endpoint)) for endpoint in self.endpoints]
            keepers.append(group.create_task(self._watch()))
            for request in asked:
                if not await self._room():
                    break
                self._launch(group, request, arrived)
            while self._outstanding:
                self._drained.clear()
                await self._drained.wait()
            for keeper in keepers:
                keeper.cancel()
        if self.stopping:
            raise self.stopping

    def _launch(self, group: asyncio.TaskGroup, request: Request, arrived: Arrived) -> None:
        self._outstanding += 1
        group.create_task(self._follow(request, arrived))

    async def _follow(self, request: Request, arrived: Arrived) -> None:
        """A request, and those that follow from its completion, one after the other."""
        try:
            todo = [request]
            while todo:
                request = todo.pop()
                completion = await self._complete(request)
                if completion is None:
                    return
                todo += arrived(request, completion)
                problem = self.check() if not self.stopping else None
                if problem:
                    self.stop(problem)
        finally:
            self._outstanding -= 1
            if not self._outstanding:
                self._drained.set()
            self._wake()

    async def _complete(self, request: Request) -> Completion | None:
        """The durable completion; None where the pool stops before it was asked for."""
        tally = self.account.tally(request.source)
        first, tries, attempt = time.monotonic(), 0.0, 0
        while True:
            endpoint = await self._take()
            if endpoint is None:
                return None
            began = time.monotonic()
            endpoint.begin(began)
            try:
                result = await self._client.ask(endpoint.url, request)
            finally:
                endpoint.end()
                self._wake()
            now = time.monotonic()
            if isinstance(result, Completion):
                endpoint.succeeded(result.completion_tokens + 1, now)
                break
            if result.kind is Kind.REFUSED:
                self.stop(EngineError(f"refuses requests ({result.words})", where=endpoint.url))
                return None
            tries += self._blame(endpoint, result, first, began)
            attempt += 1
            tally.retries += 1
            if tries >= TRIES or (result.kind is Kind.BUSY and now - first > self._patience):
                words = f"given up after {attempt} tries: {result.words}"
                result = Completion(request.key, "", "error", 0, 0, words)
                break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause(attempt, result.wait)):
                    await self._stopped.wait()
        if result.error is None:
            await self._record.append(result)
        tally.add(result, now - began)
        return result

    def _blame(self, endpoint: Endpoint, trouble: Trouble, first: float, began: float) -> float:
        """Tell the endpoint, and give what counts against the request itself: nothing for a
        push-back or a broken connection, and less than a try while the endpoint does not
        answer others either, so that an outage of a minute costs no row."""
        if trouble.kind in (Kind.BUSY, Kind.SLOW):
            endpoint.pushed_back(time.monotonic())
        if trouble.kind is Kind.BUSY:
            return 0.0
        endpoint.failed()
        if trouble.kind is Kind.BROKEN:
            return 0.0
        if endpoint.last_success > began:
            return 1.0
        return 0.5 if endpoint.last_success > first else 0.25

    def _pause(self, attempt: int, asked: float | None) -> float:
        """Seconds; what Retry-After asks for is kept, with a jitter so that not all come back
        at once."""
        if asked is not None:
            return min(asked, self._patience) + self._jitter.random() * 0.1
        longest = min(PAUSE * 2.0 ** min(attempt - 1, 10), LONGEST_PAUSE)
        return longest * (0.5 + self._jitter.random() / 2)

    async def _room(self) -> bool:
        """Wait until another request may be under way; False where the pool stops. Requests
        that pause before another try are bounded too, so that they cannot pile up."""
        while not self.stopping:
            capacity = sum(int(endpoint.limit) for endpoint in self.endpoints)
            waiting = self._outstanding - self.in_flight
            if waiting < capacity and any(endpoint.room > 0 for endpoint in self.endpoints):
                return True
            await self._sleep_until_woken()
        return False

    async def _take(self) -> Endpoint | None:
        """The freest endpoint with room, once there is one; None where the pool stops."""
        while not self.stopping:
            best = max(self.endpoints, key=lambda endpoint: endpoint.room)
            if best.room > 0:
                return best
            await self._sleep_until_woken()
        return None

    async def _sleep_until_woken(self) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._waiting.append(woken)
        await woken

    def _wake(self, count: int = 2) -> None:
        """Two for each that ends: the limit may have grown, and one may be the reader."""
        while count and self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                count -= 1

    def _wake_all(self) -> None:
        self._wake(len(self._waiting))

    async def _probe(self, endpoint: Endpoint) -> None:
        """Take the endpoint back when it answers again."""
        pause = PROBE
        while True:
            await asyncio.sleep(pause)
            if endpoint.up or endpoint.gone:
                pause = PROBE
                continue
            try:
                await self._client.served(endpoint.url)
            except ValueError:
                pause = min(pause * 1.5, 5.0)
                continue
            endpoint.take_back()
            self._wake_all()

    async def _watch(self) -> None:
        """Give up when no endpoint is there for too long; save the account now and then."""
        last_up = last_saved = time.monotonic()
        while True:
            await asyncio.sleep(PROBE)
            now = time.monotonic()
            if any(endpoint.up and not endpoint.gone for endpoint in self.endpoints):
                last_up = now
            if all(e.gone for e in self.endpoints) or now - last_up > self._patience:
                self.stop(
                    EngineError(
                        f"no endpoint has answered for {now - last_up:.0f} s",
                        where=", ".join(endpoint.url for endpoint in self.endpoints),
                        fix="all that arrived is kept: mend the servers, run the same command",
                    )
                )
            self._wake_all()
            if now - last_saved > SAVE_EVERY:
                last_saved = now
                await asyncio.to_thread(self.account.save)


def total(account: Account) -> Tally:
    """All sources together."""
    whole = Tally()
    for tally in account.tallies.values():
        whole.requests += tally.requests
        whole.retries += tally.retries
        whole.errors += tally.errors
        whole.prompt_tokens += tally.prompt_tokens
        whole.completion_tokens += tally.completion_tokens
    return whole
