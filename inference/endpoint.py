"""One endpoint as the pool sees it: how much it takes at once, and whether it is there.

The limit climbs while throughput climbs with it, holds when it no longer does, and drops by
the share of requests that were pushed back (429, 503, time-out). A few push-backs are noise: a
fixed cut for each would starve the endpoint. Failures in a row set the endpoint aside, and while
it does nothing but push back it is left alone for as long as it asks.
"""

import time
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

FIRST_LIMIT = 64.0
WINDOW = 0.25
"""Seconds that a window of measurement lasts at least."""
NOISE = 0.1
"""Share of push-backs in a window that is borne without slowing down."""
FAILURES = 3
"""Failures in a row after which an endpoint is set aside, push-backs after which it rests."""
REST, LONGEST_REST = 0.25, 5.0
"""Seconds of the first rest and of the longest where the endpoint names none."""
RISE = 1.04


@dataclass
class Endpoint:
    """`ceiling` bounds the limit. Times are of one monotonic clock, in seconds."""

    url: str
    ceiling: int
    limit: float = 0.0
    in_flight: int = 0
    up: bool = True
    gone: bool = False
    """Will not come back: its server was given up, or it refuses all requests."""
    listed: bool = False
    """Named by a list outside of the recipe, and so no longer asked when that drops it."""
    failures: int = 0
    last_success: float = float("-inf")
    last_seen: float = float("-inf")
    """When it last answered anything: a request, a push-back, a probe."""
    words: str = ""
    """Of its last trouble."""
    model: str | None = None
    """Its name for the model, where that is not the recipe's."""
    not_before: float = 0.0
    """Until then it rests."""
    _busy: int = field(default=0, repr=False)
    _rests: int = field(default=0, repr=False)
    _since: float = field(default=-1.0, repr=False)
    _done: int = field(default=0, repr=False)
    _tokens: int = field(default=0, repr=False)
    _pushed_back: int = field(default=0, repr=False)
    _full: bool = field(default=False, repr=False)
    _best: float = field(default=0.0, repr=False)
    _quiet: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        self.limit = min(float(self.ceiling), self.limit or FIRST_LIMIT)

    @property
    def room(self) -> int:
        return int(self.limit) - self.in_flight if self.there else 0

    @property
    def there(self) -> bool:
        if not self.up or self.gone:
            return False
        return not self.not_before or time.monotonic() >= self.not_before

    def begin(self, now: float) -> None:
        self.in_flight += 1
        if self._since < 0:
            self._since = now
        self._full = self._full or self.in_flight >= int(self.limit)

    def end(self) -> None:
        self.in_flight -= 1

    def succeeded(self, tokens: int, now: float) -> None:
        self.failures = self._busy = self._rests = 0
        self.last_success = self.last_seen = now
        self._done += 1
        self._tokens += tokens
        self._measure(now)

    def pushed_back(self, now: float) -> None:
        self._pushed_back += 1
        self._measure(now)

    def rest(self, began: float, now: float, asked: float | None) -> float:
        """Note a push-back of a request that `began` then. Gives the seconds that the endpoint
        now rests, 0 where it does not: few push-backs between successes are noise."""
        self.last_seen = now
        self._busy += 1
        if self._busy < FAILURES:
            return 0.0
        if began >= self.not_before:  # not one more answer to the volley before the rest
            self._rests += 1
        own = min(REST * 2.0 ** min(self._rests - 1, 10), LONGEST_REST)
        until = now + max(asked or 0.0, own)
        if until <= self.not_before:
            return 0.0
        self.not_before = until
        return until - now

    def failed(self) -> bool:
        """Count a failure; True where it sets the endpoint aside."""
        self.failures += 1
        if self.up and self.failures >= FAILURES:
            self.up = False
            return True
        return False

    def set_aside(self) -> None:
        self.up = False

    def take_back(self) -> None:
        """Begin carefully: half of what it took before."""
        self.up, self.failures = True, 0
        self.limit = max(1.0, self.limit / 2)
        self._best, self._since = 0.0, -1.0
        self._done = self._tokens = self._pushed_back = 0

    def _measure(self, now: float) -> None:
        """Close the window once it is long enough and half of the limit has come back."""
        asked = self._done + self._pushed_back
        seconds = now - self._since
        if seconds < WINDOW or asked < self.limit / 2:
            return
        rate = self._tokens / seconds
        share = self._pushed_back / asked
        if share > NOISE:
            self.limit = max(1.0, self.limit * (1 - min(0.5, share)))
            self._best = rate
        elif self._full:
            self._climb(rate)
        self._since, self._done, self._tokens, self._pushed_back = now, 0, 0, 0
        self._full = self.in_flight >= int(self.limit)

    def _climb(self, rate: float) -> None:
        self._quiet += 1
        if rate > self._best * RISE:
            self._best, self._quiet = rate, 0
            self.limit = min(float(self.ceiling), self.limit * 2)
        elif self._quiet >= 8:  # the load may have changed: look again, from a lower mark
            self._best, self._quiet = rate * 0.98, 0
            self.limit = min(float(self.ceiling), self.limit * 1.1 + 1)


def freest(endpoints: Sequence[Endpoint], away: Container[str]) -> Endpoint | None:
    """The one with most room whose URL is not `away`; None where no other has any."""
    best, room = None, 0
    for endpoint in endpoints:
        if endpoint.room > room and endpoint.url not in away:
            best, room = endpoint, endpoint.room
    return best


def trouble(endpoints: Sequence[Endpoint]) -> str:
    """Which are away, and the last words of one; empty where all are there."""
    away = [endpoint for endpoint in endpoints if not endpoint.there]
    if not away:
        return "" if endpoints else "no endpoint is there"
    last = away[-1]
    return f"{len(away)} of {len(endpoints)} endpoints away: {last.url}: {last.words}"
