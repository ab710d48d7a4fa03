"""What one request's troubles add up to: how long it pauses, and when it is given up."""

import random

from inference.client import Kind, Trouble
from inference.endpoint import Endpoint

TRIES = 6
"""How often one request is asked of endpoints that answer others meanwhile."""
PAUSE, LONGEST_PAUSE = 0.25, 20.0


class Retries:
    """Of one request, from the first trouble on. Times are of the endpoints' clock."""

    def __init__(self, first: float, patience: float, jitter: random.Random) -> None:
        """`first`: when the request was asked first; `patience` in seconds."""
        self.count = 0
        self.away: dict[str, float] = {}
        """Endpoints that asked this request to stay away, and until when."""
        self._tries = 0.0
        self._first = self._failed = first
        self._patience, self._jitter = patience, jitter

    def add(self, endpoint: Endpoint, trouble: Trouble, began: float, now: float) -> float:
        """Seconds to pause."""
        self.count += 1
        self._tries += self._weight(endpoint, trouble, began)
        self._failed = now
        pause = self._pause(trouble.wait)
        if trouble.kind is Kind.BUSY:
            self.away[endpoint.url] = now + pause
        return pause

    def _weight(self, endpoint: Endpoint, trouble: Trouble, began: float) -> float:
        """What a trouble counts against the request itself: nothing for a push-back, less than
        a try while the endpoint does not answer others either, so that an outage of a minute
        costs no row. A broken connection counts only where the endpoint was there since the
        trouble before, so that it can be this request that breaks it."""
        if trouble.kind is Kind.BUSY:
            return 0.0
        if trouble.kind is Kind.BROKEN and endpoint.last_seen <= self._failed:
            return 0.0
        if endpoint.last_success > began:
            return 1.0
        return 0.5 if endpoint.last_success > self._first else 0.25

    def _pause(self, asked: float | None) -> float:
        """What Retry-After asks for is kept, with a jitter so that not all come back at once."""
        if asked is not None:
            return min(asked, self._patience) + self._jitter.random() * 0.1
        longest = min(PAUSE * 2.0 ** min(self.count - 1, 10), LONGEST_PAUSE)
        return longest * (0.5 + self._jitter.random() / 2)

    def hopeless(self, trouble: Trouble, last_success: float, now: float) -> bool:
        """`last_success`: of any endpoint. A limited one that serves others will serve this
        one too; where none has served any for `patience`, it will not."""
        if self._tries >= TRIES:
            return True
        since = max(self._first, last_success)
        return trouble.kind is Kind.BUSY and now - since > self._patience
