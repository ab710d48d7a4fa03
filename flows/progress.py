"""What a build says while it works: a live bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

EVERY = 5.0
"""Seconds between two plain lines."""

Sink = Callable[[float, str], None]
"""Gets the share done and the line, at most once in EVERY seconds: a Prefect artifact."""


class Progress:
    """`say` prints a line; between `start` and `stop` the generation's line is kept fresh."""

    def __init__(
        self,
        console: Console | None = None,
        sink: Sink | None = None,
        log: Callable[[str], None] | None = None,
    ) -> None:
        """`log` takes the lines in place of the console."""
        self.console = console or Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._sink, self._log = sink, log
        self._live: Live | None = None
        self._last = 0.0
        self._wanted = self._reused = self._done = self._accepted = self._tokens = 0
        self._started = 0.0
        self._in_flight: Callable[[], int] = lambda: 0
        self._trouble: Callable[[], str] = lambda: ""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def say(self, line: str) -> None:
        if self._log:
            self._log(line)
        else:
            self.console.print(line, markup=False)

    def start(
        self,
        wanted: int,
        reused: int,
        in_flight: Callable[[], int],
        trouble: Callable[[], str] = lambda: "",
    ) -> None:
        """`wanted` completions in all, `reused` of them already there; `trouble` gives what the
        line says of endpoints."""
        self._wanted, self._reused = wanted, reused
        self._in_flight, self._trouble = in_flight, trouble
        self._done = self._accepted = self._tokens = 0
        self._started = self._last = time.monotonic()
        if self.console.is_terminal and not self._log:
            self._live = Live(console=self.console, refresh_per_second=4, transient=True)
            self._live.start()

    def arrived(self, tokens: int, accepted: bool) -> None:
        self._done += 1
        self._tokens += tokens
        self._accepted += accepted
        if self._done == self._wanted - self._reused:
            self._show()

    def tick(self) -> None:
        """Called now and then, whether something arrived or not."""
        if self._live:
            self._live.update(Text(self.line()))
        if time.monotonic() - self._last >= EVERY:
            self._show()

    def _show(self) -> None:
        self._last = time.monotonic()
        if not self._live:
            self.say(self.line())
        if self._sink:
            self._sink(self.share, self.line())

    @property
    def share(self) -> float:
        return (self._reused + self._done) / self._wanted if self._wanted else 1.0

    @property
    def rate(self) -> float:
        """Completion tokens a second since `start`."""
        seconds = time.monotonic() - self._started
        return self._tokens / seconds if seconds > 0 else 0.0

    def line(self) -> str:
        seconds = time.monotonic() - self._started
        left = self._wanted - self._reused - self._done
        eta = clock(left * seconds / self._done) if self._done else "?"
        share = f"{self._accepted / self._done:.0%}" if self._done else "?"
        return (
            f"generate {self._reused + self._done}/{self._wanted} ({self.share:.0%})  "
            f"{self.rate:.0f} tokens/s  in flight {self._in_flight()}  "
            f"yield {share}  ETA {eta}" + (f"  {trouble}" if (trouble := self._trouble()) else "")
        )

    def stop(self) -> None:
        if self._live:
            self._live.stop()
            self._live = None


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
