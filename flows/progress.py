"""What a build says while it works: live on a terminal, plain lines elsewhere.

Generation is shown by flows/generation_view.py; every other stage by its parts.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.live import Live as Screen
from rich.text import Text

from flows.console import make_console
from flows.generation_view import GenerationView, Live, Share, Shares, clock
from flows.stages import Counted, Runner, Work

__all__ = ["EVERY", "Live", "Progress", "Share", "Shares", "clock"]
EVERY = 5.0
"""Seconds between two plain lines, at first: a line comes when a twentieth of the time so far
has passed, and once a minute at least."""
SELDOM = 60.0
WORTH_TELLING = 1.0
"""Seconds from which on a terminal is told that a stage is done; a log is told of each."""

Sink = Callable[[str, float, str], None]
"""Gets a stage's name, the share done and the line, as often as a plain line would come: a
Prefect artifact."""


class Parts:
    """How many of a stage's parts are made; `told` once a line or an artifact said so."""

    def __init__(self, name: str, parts: int) -> None:
        self.name, self._parts, self._done = name, parts, 0
        self._started = time.monotonic()
        self.told = False

    def add(self) -> None:
        self._done = min(self._done + 1, self._parts)

    def count(self, done: int, of: int) -> None:
        """What the stage's one part is made of."""
        self._done, self._parts = done, of

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    @property
    def share(self) -> float:
        return self._done / self._parts

    def line(self) -> str:
        left = (self._parts - self._done) * self.seconds / self._done if self._done else None
        eta = "?" if left is None else clock(left)
        return f"{self.name} {self._done:,}/{self._parts:,} parts ({self.share:.0%})  ETA {eta}"

    def summary(self) -> str:
        parts = "1 part" if self._parts == 1 else f"{self._parts:,} parts"
        return f"{self.name}: {parts} in {self.seconds:.1f} s"

    def __rich__(self) -> Text:
        return Text(self.line())


class Progress:
    """`say` prints a line; between `start` and `stop` generation is kept in sight, within a
    runner of `watching` the parts of a stage."""

    def __init__(
        self,
        console: Console | None = None,
        sink: Sink | None = None,
        log: Callable[[str], None] | None = None,
    ) -> None:
        """`log` takes the lines in place of the console."""
        self.console = console or make_console(stderr=True)
        self._sink, self._log = sink, log
        self._screen: Screen | None = None
        self._view: GenerationView | None = None
        self._parts: Parts | None = None
        self._started = self._last = 0.0
        self._counting = threading.Lock()

    def __reduce__(self) -> tuple[type["Progress"], tuple[()]]:
        """Sent with a part's work to another process, it shows nothing there."""
        return Progress, ()

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

    def start(self, shares: Shares, live: Live) -> None:
        """Completions of these sources are asked for from now on."""
        self._view = GenerationView(shares, live)
        self._show_live(self._view)

    def arrived(self, source: str, tokens: int, *, accepted: bool) -> None:
        view = self._view
        if view is None:
            return
        view.arrived(source, tokens, accepted=accepted)
        if view.finished:
            self._tell("generate", view.share, view.line())

    def made_elsewhere(self, source: str, rows: int) -> None:
        """Completions that another build over the same OUT has brought."""
        if self._view:
            self._view.made_elsewhere(source, rows)

    def tick(self) -> None:
        """Called now and then, whether something arrived or not."""
        if self._view:
            self._view.tick()
            if self._due():
                self._tell("generate", self._view.share, self._view.line())

    @property
    def rate(self) -> float:
        """Completion tokens a second since `start`."""
        return self._view.mean_rate if self._view else 0.0

    def stop(self) -> None:
        if self._screen:
            self._screen.stop()
            self._screen = None

    def watching(self, run: Runner) -> Runner:
        """The runner, with the parts that it has made in sight and a line for each stage."""

        def watched(name: str, work: Work, indices: Sequence[int]) -> None:
            if not indices:
                return

            def made() -> None:
                with self._counting:
                    parts.add()
                    self._tell_parts()

            with self._seen(Parts(name, len(indices))) as parts:
                run(name, Counted(work, made), indices)
            if self._log or parts.seconds >= WORTH_TELLING:
                self.say(parts.summary())
            if parts.told and self._sink:
                self._sink(name, 1.0, parts.summary())

        return watched

    def within(self, done: int, of: int) -> None:
        """Within a stage of one part: how far that is."""
        with self._counting:
            if self._parts:
                self._parts.count(done, of)
                self._tell_parts()

    def _tell_parts(self) -> None:
        parts = self._parts
        if parts and parts.share < 1 and self._due():
            parts.told = True
            self._tell(parts.name, parts.share, parts.line())

    @contextmanager
    def _seen(self, parts: Parts) -> Iterator[Parts]:
        self._parts = parts
        self._show_live(parts)
        try:
            yield parts
        finally:
            self._parts = None
            self.stop()

    def _show_live(self, shown: GenerationView | Parts) -> None:
        self._started = self._last = time.monotonic()
        if self.console.is_terminal and not self._log:
            self._screen = Screen(shown, console=self.console, refresh_per_second=4, transient=True)
            self._screen.start()

    def _due(self) -> bool:
        now = time.monotonic()
        return now - self._last >= min(SELDOM, max(EVERY, (now - self._started) / 20))

    def _tell(self, stage: str, share: float, line: str) -> None:
        self._last = time.monotonic()
        if not self._screen:
            self.say(line)
        if self._sink:
            self._sink(stage, share, line)
