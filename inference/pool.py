"""Ask endpoints for completions: as many at once as they bear, retrying what may pass.

There is no barrier: each request is its own task, and a failed one costs its row alone. What
may pass is tried again elsewhere after a growing, jittered pause, a push-back at once; an
endpoint that fails is set aside, probed, and taken back; its requests move to the others.
"""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from data.errors import EngineError, ShardmillError
from inference.account import Account
from inference.client import Client, Kind, Request, Trouble, version_hint
from inference.endpoint import Endpoint, freest
from inference.record import Completion, Record
from inference.retries import Retries

PROBE = 0.5
SAVE_EVERY = 1.0
"""Seconds of spending that a kill may leave out of the account."""
WORTH_SAYING = 5.0
"""Seconds of rest from which an endpoint's push-back is told."""

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
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """`patience`: seconds to bear with all endpoints away, or with a request that none
        takes while they take no other either. `say` is told what becomes of endpoints."""
        self.endpoints = list(endpoints)
        self.account = account
        self._client, self._record, self._patience = client, record, patience
        self._say = say
        self._jitter = random.Random()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._outstanding = 0
        self._drained, self._stopped = asyncio.Event(), asyncio.Event()
        self.stopping: ShardmillError | None = None
        self.check: Callable[[], ShardmillError | None] = lambda: None
        """Asked after each completion and twice a second; an error it gives stops the pool,
        drained."""
        self.may_ask: Callable[[], ShardmillError | None] = lambda: None
        """Asked once a request before it goes out; an error it gives keeps it and all later
        ones back, while those that are under way are followed to their end."""
        self.tick: Callable[[], None] = lambda: None
        """Called twice a second."""
        self.more_may_come = False
        """Whether endpoints join at any time, so that none being left is no end but a wait."""
        self._group: asyncio.TaskGroup | None = None
        self._keepers: list[asyncio.Task[None]] = []
        self._ending: ShardmillError | None = None

    @property
    def in_flight(self) -> int:
        return sum(endpoint.in_flight for endpoint in self.endpoints)

    def stop(self, reason: ShardmillError) -> None:
        """Ask nothing more; what is in flight may arrive."""
        self.stopping = self.stopping or reason
        self._stopped.set()
        self._wake_all()

    def add(self, endpoint: Endpoint) -> None:
        """From the loop's thread, between the start and the end of `run`."""
        self.endpoints.append(endpoint)
        if self._group:
            self._keepers.append(self._group.create_task(self._probe(endpoint)))
        self._wake_all()

    def remove(self, url: str) -> None:
        """Ask it nothing more; what is in flight there may arrive."""
        for endpoint in self.endpoints:
            if endpoint.url == url:
                endpoint.gone = True
        self.endpoints[:] = [endpoint for endpoint in self.endpoints if endpoint.url != url]
        self._wake_all()

    async def run(self, requests: Iterable[Request], arrived: Arrived) -> None:
        """Until every request and what follows from it has arrived. Raises the reason given to
        `stop`, or by `may_ask`, once what was in flight is there, or EngineError where all
        endpoints stay away or refuse."""
        asked = iter(requests)
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._keepers = [group.create_task(self._watch())]
            for endpoint in self.endpoints:
                self._keepers.append(group.create_task(self._probe(endpoint)))
            for request in asked:
                if not await self._room():
                    break
                self._launch(group, request, arrived)
            while self._outstanding:
                self._drained.clear()
                await self._drained.wait()
            for keeper in self._keepers:
                keeper.cancel()
            self._group = None  # who is added from now on is probed by the next run
        if reason := self.stopping or self._ending:
            raise reason

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
        self._ending = self._ending or self.may_ask()
        if self._ending:
            return None
        tally = self.account.tally(request.source)
        first = time.monotonic()
        retries: Retries | None = None
        while True:
            endpoint = await self._take(retries.away if retries else {})
            if endpoint is None:
                return None
            began = time.monotonic()
            endpoint.begin(began)
            try:
                result = await self._client.ask(endpoint.url, request, endpoint.model)
            finally:
                endpoint.end()
                self._wake()
            now = time.monotonic()
            if isinstance(result, Completion):
                endpoint.succeeded(result.completion_tokens + 1, now)
                break
            tally.retries += 1
            retries = retries or Retries(first, self._patience, self._jitter)
            pause = retries.add(endpoint, result, began, now)
            self._blame(endpoint, result, began, now)
            last_success = max(one.last_success for one in (endpoint, *self.endpoints))
            if retries.hopeless(result, last_success, now):
                words = f"given up after {retries.count} tries: {result.words}"
                result = Completion(request.key, "", "error", 0, 0, words)
                break
            if result.kind not in (Kind.BUSY, Kind.REFUSED):
                await self._rest(pause)
        if result.error is None:
            await self._record.append(result)
        tally.add(result, now - began)
        self.account.timeline.add(self.account.seconds, result.completion_tokens)
        return result

    def _blame(self, endpoint: Endpoint, trouble: Trouble, began: float, now: float) -> None:
        endpoint.words = trouble.words
        if trouble.kind is Kind.REFUSED:
            self._give_up(endpoint)
            return
        if trouble.kind in (Kind.BUSY, Kind.SLOW):
            endpoint.pushed_back(now)
        if trouble.kind is Kind.BUSY:
            asked = None if trouble.wait is None else min(trouble.wait, self._patience)
            rest = endpoint.rest(began, now, asked)
            if rest:
                asyncio.get_running_loop().call_later(rest, self._wake_all)
            if rest >= WORTH_SAYING:
                self._say(f"{endpoint.url} rests for {rest:.0f} s ({trouble.words})")
        elif endpoint.failed():
            self._say(f"{endpoint.url} is set aside ({trouble.words})")

    def _give_up(self, endpoint: Endpoint) -> None:
        """It takes none of our requests; that is the build's end where no other is left."""
        if not endpoint.gone:
            endpoint.gone = True
            self._say(f"{endpoint.url} refuses requests ({endpoint.words}) and is left out")
        if not self.more_may_come and all(other.gone for other in self.endpoints):
            refuses = f"refuses requests ({endpoint.words})"
            self.stop(EngineError(refuses, where=endpoint.url, fix=version_hint(endpoint.url)))

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()

    async def _room(self) -> bool:
        """Wait until another request may be under way; False where the pool stops. Requests
        that pause before another try are bounded too, so that they cannot pile up."""
        while not self.stopping and not self._ending:
            capacity = sum(int(endpoint.limit) for endpoint in self.endpoints)
            waiting = self._outstanding - self.in_flight
            if waiting < capacity and any(endpoint.room > 0 for endpoint in self.endpoints):
                return True
            await self._sleep_until_woken()
        return False

    async def _take(self, away: dict[str, float]) -> Endpoint | None:
        """The freest endpoint with room that is not `away` for the request, once there is one;
        None where the pool stops."""
        while not self.stopping:
            if away:
                now = time.monotonic()
                away = {url: until for url, until in away.items() if until > now}
            best = freest(self.endpoints, away)
            if best:
                return best
            if away:  # not in the queue, where it would take a turn that it cannot use
                await self._rest(min(min(away.values()) - now, PROBE))
            else:
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
        while endpoint in self.endpoints:
            await asyncio.sleep(pause)
            if endpoint.up or endpoint.gone:
                pause = PROBE
                continue
            try:
                await self._client.served(endpoint.url)
            except ValueError as error:
                endpoint.words = str(error)
                pause = min(pause * 1.5, 5.0)
                continue
            endpoint.last_seen = time.monotonic()
            endpoint.take_back()
            self._say(f"{endpoint.url} is back")
            self._wake_all()

    async def _watch(self) -> None:
        """Give up when no endpoint is there for too long; save the account now and then."""
        last_up, last_saved = time.monotonic(), float("-inf")
        while True:
            now = time.monotonic()
            if now - last_saved > SAVE_EVERY:
                last_saved = now
                await asyncio.to_thread(self.account.save)
            await asyncio.sleep(PROBE)
            self.tick()
            problem = self.check()
            if problem:
                self.stop(problem)
            now = time.monotonic()
            if any(endpoint.up and not endpoint.gone for endpoint in self.endpoints):
                last_up = now
            last_up = max([last_up, *(endpoint.last_seen for endpoint in self.endpoints)])
            none_left = not self.more_may_come and all(e.gone for e in self.endpoints)
            if none_left or now - last_up > self._patience:
                self.stop(
                    EngineError(
                        f"no endpoint has answered for {now - last_up:.0f} s",
                        where=", ".join(endpoint.url for endpoint in self.endpoints),
                        fix="all that arrived is kept: mend the servers, run the same command",
                    )
                )
            self._wake_all()
