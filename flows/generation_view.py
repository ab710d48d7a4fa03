"""How far generation is: counts of each source, and how a terminal or a log shows them."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

WINDOW = 10.0
"""Seconds over which the present rate is taken."""


@dataclass
class Share:
    """One source's completions: `reused` are there from earlier builds, `done` arrived in this
    one, `accepted` of them parsed."""

    kind: str
    wanted: int = 0
    reused: int = 0
    done: int = 0
    accepted: int = 0
    tokens: int = 0

    def add(self, wanted: int, reused: int) -> None:
        self.wanted += wanted
        self.reused += reused

    @property
    def there(self) -> int:
        return self.reused + self.done

    @property
    def finished(self) -> bool:
        return self.there >= self.wanted


class Shares(dict[str, Share]):
    """By the source's name, in the recipe's order."""

    @property
    def wanted(self) -> int:
        return sum(share.wanted for share in self.values())

    @property
    def reused(self) -> int:
        return sum(share.reused for share in self.values())

    @property
    def missing(self) -> int:
        return self.wanted - self.reused

    @property
    def looked_up(self) -> str:
        return f"{self.wanted} looked up, {self.missing} to ask so far"

    @property
    def told(self) -> str:
        return f"{self.wanted} wanted, {self.reused} reused, {self.missing} to ask"


@dataclass(frozen=True)
class Live:
    """What the pool tells at any moment."""

    in_flight: Callable[[], int] = lambda: 0
    retries: Callable[[], int] = lambda: 0
    trouble: Callable[[], str] = lambda: ""
    """What is wrong with endpoints; empty where nothing is."""


class GenerationView:
    """Renders as a table with a row a source and `line()` below it."""

    def __init__(
        self, shares: Shares, live: Live, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.shares = shares
        self._live, self._now = live, now
        self._started = now()
        self._samples = deque([(self._started, 0)])
        self._tokens = self._done = self._accepted = 0
        self.wanted, self.reused = shares.wanted, shares.reused

    def arrived(self, source: str, tokens: int, *, accepted: bool) -> None:
        share = self.shares[source]
        share.done += 1
        share.accepted += accepted
        share.tokens += tokens
        self._done += 1
        self._accepted += accepted
        self._tokens += tokens

    def made_elsewhere(self, source: str, rows: int) -> None:
        """They count as reused from here on."""
        self.shares[source].reused += rows
        self.reused += rows

    def tick(self) -> None:
        """Called twice a second or so: the present rate is taken between such moments."""
        now = self._now()
        self._samples.append((now, self._tokens))
        while len(self._samples) > 2 and self._samples[1][0] <= now - WINDOW:
            self._samples.popleft()

    @property
    def finished(self) -> bool:
        return self._done == self.wanted - self.reused

    @property
    def share(self) -> float:
        return (self.reused + self._done) / self.wanted if self.wanted else 1.0

    @property
    def mean_rate(self) -> float:
        """Completion tokens a second since the start."""
        return _per(self._tokens, self._now() - self._started)

    @property
    def rate(self) -> float:
        """Completion tokens a second over the last seconds, see WINDOW."""
        (then, before), (now, after) = self._samples[0], self._samples[-1]
        return _per(after - before, now - then) if now > then else self.mean_rate

    @property
    def eta(self) -> str:
        left = self.wanted - self.reused - self._done
        seconds = self._now() - self._started
        return clock(left * seconds / self._done) if self._done else "?"

    def line(self) -> str:
        trouble, retries = self._live.trouble(), self._live.retries()
        return (
            f"generate {self.reused + self._done:,}/{self.wanted:,} ({self.share:.0%})  "
            f"{self.rate:,.0f} tokens/s (mean {self.mean_rate:,.0f})  "
            f"in flight {self._live.in_flight():,}  "
            + (f"retries {retries:,}  " if retries else "")
            + f"yield {_percent(self._accepted, self._done)}  ETA {self.eta}"
            + (f"  {trouble}" if trouble else "")
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = self._shown(max(3, options.size.height - 6))
        yield self._table(shown, options.max_width)
        hidden = [share for name, share in self.shares.items() if name not in shown]
        if hidden:
            done = sum(share.finished for share in hidden)
            yield Text(f"and {len(hidden)} more sources, {done} of them done", style="dim")
        yield Text(self.line())

    def _shown(self, rows: int) -> list[str]:
        """At most so many sources in the recipe's order: those under way, then those to come,
        then those that are done."""

        def rank(name: str) -> int:
            share = self.shares[name]
            return 2 if share.finished else (0 if share.done else 1)

        chosen = set(sorted(self.shares, key=rank)[:rows])
        return [name for name in self.shares if name in chosen]

    def _table(self, names: list[str], width: int) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        wide = width >= 90
        table.add_column("source", no_wrap=True, max_width=24)
        table.add_column("kind", no_wrap=True, max_width=18)
        if wide:
            table.add_column("")
        for name in ("done", "yield", "tokens", "tokens each"):
            table.add_column(name, justify="right", no_wrap=True)
        for name in names:
            share = self.shares[name]
            bar = [ProgressBar(share.wanted or 1, share.there or 0, width=20)] if wide else []
            table.add_row(
                Text(name),
                Text(share.kind),
                *bar,
                f"{share.there:,}/{share.wanted:,}",
                _percent(share.accepted, share.done),
                f"{share.tokens:,}",
                f"{share.tokens / share.done:,.0f}" if share.done else "?",
                style="dim" if share.finished else None,
            )
        return table


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "?"


def _per(count: float, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
