"""What generation has cost: per source for reports, over all builds of an OUT for the budget."""

import json
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.parts import write_file
from inference.record import Completion
from inference.timeline import Timeline

SAMPLE = 10_000
"""Latencies kept a source, so that memory stays flat; later ones replace earlier ones."""


SUMMED = ("requests", "retries", "errors", "prompt_tokens", "completion_tokens", "money")


@dataclass
class Tally:
    """One source's share of a run; latency in seconds, sorted when it is asked for."""

    requests: int = 0
    retries: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latencies: list[float] = field(default_factory=list)

    def plus(self, other: "Tally", sign: int = 1) -> "Tally":
        """Of the counts alone; with sign -1 the difference."""
        return Tally(
            self.requests + sign * other.requests,
            self.retries + sign * other.retries,
            self.errors + sign * other.errors,
            self.prompt_tokens + sign * other.prompt_tokens,
            self.completion_tokens + sign * other.completion_tokens,
        )

    def add(self, completion: Completion, seconds: float) -> None:
        self.requests += 1
        self.errors += completion.error is not None
        self.prompt_tokens += completion.prompt_tokens
        self.completion_tokens += completion.completion_tokens
        if len(self.latencies) < SAMPLE:
            self.latencies.append(seconds)
        else:
            self.latencies[self.requests % SAMPLE] = seconds


@dataclass(frozen=True)
class Price:
    """Money for a million tokens, and for an hour of one launched GPU."""

    prompt: float = 0.0
    completion: float = 0.0
    gpu_hour: float = 0.0


@dataclass(frozen=True)
class Spent:
    """What the limits of a budget are held against."""

    requests: int = 0
    tokens: int = 0
    money: float = 0.0
    hours: float = 0.0

    def plus(self, other: "Spent") -> "Spent":
        return Spent(
            self.requests + other.requests,
            self.tokens + other.tokens,
            self.money + other.money,
            self.hours + other.hours,
        )


class Account:
    """Of one run. `before` is what other runs under the same folder spent, as of the last `save`
    where they still go on."""

    def __init__(self, folder: Path, price: Price) -> None:
        self._price, self._gpus = price, 0
        number = len(list(folder.glob("account-*.json")))
        # others may begin at the same time on other machines
        self._path = folder / f"account-{number:06d}-{secrets.token_hex(4)}.json"
        self._read_others()
        self.tallies: dict[str, Tally] = {}
        self.timeline = Timeline()
        self.asked = 0
        """Requests let out, answered or not."""
        self.started = time.monotonic()
        self._writing = threading.Lock()

    def _read_others(self) -> None:
        before = Spent()
        all_sums: dict[str, dict[str, float]] = {}
        for path in sorted(self._path.parent.glob("account-*.json")):
            if path == self._path:
                continue
            kept = json.loads(path.read_bytes())
            before = before.plus(Spent(**kept["spent"]))
            for source, facts in kept["sources"].items():
                sums = all_sums.setdefault(source, dict.fromkeys(SUMMED, 0))
                for name in SUMMED:
                    sums[name] += facts[name]
        self.before, self._sums = before, all_sums

    def begin(self, gpus: int) -> None:
        """The servers are there: time counts from here, for `gpus` launched GPUs."""
        self._gpus, self.started = gpus, time.monotonic()

    def tally(self, source: str) -> Tally:
        return self.tallies.setdefault(source, Tally())

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def spent(self) -> Spent:
        """Of this run alone."""
        hours = self.seconds / 3600
        requests = prompt = completion = 0
        for tally in self.tallies.values():
            requests += tally.requests
            prompt += tally.prompt_tokens
            completion += tally.completion_tokens
        money = prompt / 1e6 * self._price.prompt + completion / 1e6 * self._price.completion
        money += hours * self._gpus * self._price.gpu_hour
        return Spent(requests, prompt + completion, money, hours)

    def over(self, budget: Mapping[str, float | None]) -> str | None:
        """The first limit that all runs together have reached, in words. Requests count from
        when they are let out."""
        so_far = self.before.plus(self.spent())
        requests = self.before.requests + self.asked
        for name, limit in budget.items():
            used = requests if name == "requests" else getattr(so_far, name)
            if limit is not None and used >= limit:
                return f"{name}: {used:,.4g} of {limit:,.4g}"
        return None

    def summary(self, source: str) -> dict[str, Any]:
        """For the manifest, the terminal and the Prefect table: this run's figures, and under
        `all_runs` the sums with earlier runs under the same folder."""
        tally = self.tally(source)
        late = np.array(tally.latencies or [0.0])
        tokens = tally.completion_tokens
        money = tally.prompt_tokens / 1e6 * self._price.prompt
        money += tokens / 1e6 * self._price.completion
        facts = {
            "requests": tally.requests,
            "retries": tally.retries,
            "errors": tally.errors,
            "prompt_tokens": tally.prompt_tokens,
            "completion_tokens": tokens,
            "latency_p50": round(float(np.quantile(late, 0.5)), 3),
            "latency_p99": round(float(np.quantile(late, 0.99)), 3),
            "tokens_per_second": round(tokens / self.seconds, 1) if self.seconds else 0.0,
            "money": round(money, 6),
        }
        before = self._sums.get(source, dict.fromkeys(SUMMED, 0))
        return facts | {"all_runs": {name: before[name] + facts[name] for name in SUMMED}}

    def save(self) -> None:
        """So that a later run knows what this one spent; called now and then, and at the end."""
        with self._writing:  # a later call has the later figures
            content: dict[str, Any] = {"spent": vars(self.spent()), "sources": {}}
            timeline = {"seconds": self.timeline.seconds, "steps": list(self.timeline.steps)}
            content |= {"seconds": round(self.seconds, 3), "timeline": timeline}
            content["sources"] = {name: self.summary(name) for name in list(self.tallies)}
            write_file(self._path, json.dumps(content, indent=1).encode())
            self._read_others()


def total(account: Account) -> Tally:
    """All sources together."""
    whole = Tally()
    for tally in account.tallies.values():
        whole = whole.plus(tally)
    return whole
