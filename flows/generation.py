"""The completions stage: what is recorded is reused, the rest is asked, parts follow.

All sources of a level go through one pool without a barrier between them. A part is written
when its last completion is durable, sorted as its prompts are, so its bytes do not depend on
the order of arrival.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from data.errors import BudgetReached, EngineError, ShardmillError
from flows.completing import Division, Part, load_part, rows_of_earlier
from flows.engine import bound_connections, follow, given_endpoints, launched_fleet, open_client
from flows.exchange import Exchange
from flows.interrupts import interrupted, interruptible
from flows.plan import Plan, Source
from flows.progress import EVERY, Live, Progress, Share, Shares
from flows.samples import parse_reply
from inference.account import Account, Price, total
from inference.client import Client, Request
from inference.endpoint import Endpoint, trouble
from inference.pool import Pool
from inference.record import Completion, Record
from prompts import Refusal


class Generation:
    """A context for the time of a build: servers are launched at the first need and stay."""

    def __init__(self, plan: Plan, progress: Progress) -> None:
        self._plan, self._progress = plan, progress
        self._runner = asyncio.Runner()
        self._stack = contextlib.AsyncExitStack()
        self._client: Client | None = None
        self._endpoints: list[Endpoint] = []
        self._account: Account | None = None
        self._pool: Pool | None = None
        self._division: Division | None = None
        self._interrupts = 0
        self._lost: set[int] = set()
        self._failed = self._tried = self._tried_failed = 0

    def __enter__(self) -> "Generation":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._runner.run(self._stack.aclose())
        finally:
            self._runner.close()

    def complete(self, sources: Sequence[Source]) -> None:
        """Fill the completions stage of each source.

        Raises EngineError where no server answers or too many rows fail, BudgetReached, or
        Interrupted; what has arrived until then is kept.
        """
        waiting = [source for source in sources if not source.completions.done]
        if not waiting:
            return
        try:
            self._runner.run(self._complete(waiting))
        except* ShardmillError as group:
            first: BaseException = group
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            raise first from None

    async def _complete(self, sources: Sequence[Source]) -> None:
        progress = self._progress
        self._failed = self._tried = self._tried_failed = 0
        if self._plan.leases:
            self._plan.leases.departed()  # who goes from here on leaves what the record may lack
        with interruptible(self._interrupt), Record(self._plan.out / "completions") as record:
            if record.damaged:
                progress.say(f"{record.damaged} torn lines of the record are passed over")
            division = Division(self._plan.leases, progress)
            # nothing to find: the first request need not wait for the keys of all rows
            known = record if len(record) else None
            shares, said = Shares(), time.monotonic()
            for source in sources:
                share = shares[source.name] = Share(source.settings.kind)
                source.completions.begin()
                for index in range(source.prompts.count()):
                    rows, left = self._look_up(source, index, known)
                    share.add(rows, rows - left)
                    if left:
                        division.add(source, index, left)
                    if time.monotonic() - said > EVERY:
                        said = time.monotonic()
                        progress.say(f"completions: {shares.looked_up}")
                    await asyncio.sleep(0)  # lets an interrupt in
            progress.say(f"completions: {shares.told}")
            if shares.missing:
                await self._ask(record, division, shares)
        failed = self._failed + division.failed_elsewhere
        problem = self._too_many(failed, shares.wanted)
        if problem:
            raise problem
        account = self._account
        for source in sources:
            facts = account.summary(source.name) if account else {}
            source.completions.finish(account=facts)

    def _look_up(self, source: Source, index: int, record: Record | None) -> tuple[int, int]:
        """The rows of a part and how many of them have to be asked; written where none has."""
        rows, lost = rows_of_earlier(source, index)
        if rows and not lost:
            return rows, 0
        self._lost |= lost
        if record is None:
            rows = source.prompts.read(index).num_rows
            return rows, rows
        part = load_part(source, index, self._plan.model, record)
        if not part.missing:
            part.write()
        return len(part.rows), part.missing

    async def _ask(self, record: Record, division: Division, shares: Shares) -> None:
        progress, engine = self._progress, self._plan.recipe.engine
        account = await self._open()
        if self._client is None:
            raise RuntimeError("the client is not open")
        pool = self._pool = Pool(
            self._endpoints,
            self._client,
            record,
            account,
            patience=engine.patience_seconds,
            say=progress.say,
        )
        self._division = division
        pool.more_may_come = engine.endpoints_from is not None
        pool.check, pool.may_ask, pool.tick = self._check, self._may_ask, progress.tick
        problem = self._check()
        if problem:
            raise problem
        earlier = total(account)
        live = Live(
            lambda: pool.in_flight, lambda: total(account).retries, lambda: trouble(pool.endpoints)
        )
        progress.start(shares, live)

        def requests() -> Iterator[Request]:
            for source, index in division.mine(record):
                part = load_part(source, index, self._plan.model, record)
                if not part.missing:
                    division.write(part)
                # what begins alike goes together, for the servers' prefix caches
                for exchange in sorted(part.rows, key=lambda row: str(row.messages)):
                    if not exchange.done:
                        yield _request(part, exchange)

        roster = asyncio.create_task(follow(self._plan, self._client, pool, progress))
        try:
            while division.left:
                await pool.run(requests(), self._arrived)
                await division.rest()
        finally:
            roster.cancel()
            progress.stop()
            self._pool = self._division = None
            division.leave()
            account.save()
            sums, rate = total(account).plus(earlier, -1), progress.rate
            progress.say(
                f"generated {sums.requests} completions, {sums.completion_tokens} tokens at "
                f"{rate:.0f} tokens/s, {sums.retries} retries, {sums.errors} failed rows"
            )

    def _arrived(self, request: Request, completion: Completion) -> list[Request]:
        part, exchange = request.label
        exchange.feed(completion)
        if not exchange.done:
            return [_request(part, exchange)]
        _, refusal = parse_reply(part.source, exchange.prompt, exchange.row())
        tokens, taken = completion.completion_tokens, not isinstance(refusal, Refusal)
        self._progress.arrived(part.source.name, tokens, accepted=taken)
        failed = completion.error is not None and exchange.completions[-1] is completion
        self._failed += failed
        if exchange.prompt["id"] not in self._lost:
            self._tried += 1
            self._tried_failed += failed
        part.missing -= 1
        if not part.missing and self._division:
            self._division.write(part)
        return []

    def _check(self) -> ShardmillError | None:
        """Whether the budget is used up or too many rows fail."""
        if self._account is None:
            return None
        engine = self._plan.recipe.engine
        if over := self._account.over(engine.budget.model_dump(exclude={"requests"})):
            return _used_up(over)
        if self._tried < engine.min_requests:
            return None
        return self._too_many(self._tried_failed, self._tried)

    def _too_many(self, failed: int, rows: int) -> EngineError | None:
        """While asking, of the rows of this run that no earlier run lost; at the end, of all."""
        share = self._plan.recipe.engine.max_error_share
        if failed <= share * rows:
            return None
        return EngineError(
            f"{failed} of {rows} rows failed, more than max_error_share {share:g}",
            where=", ".join(endpoint.url for endpoint in self._endpoints),
            fix="see the servers' logs, or raise engine.max_error_share",
        )

    def _may_ask(self) -> ShardmillError | None:
        """Counts a request in before it goes out, so that their number is never overshot."""
        account, leases = self._account, self._plan.leases
        if account is None:
            return None
        if leases and (lost := leases.lost()):
            return lost
        if over := account.over({"requests": self._plan.recipe.engine.budget.requests}):
            return _used_up(over)
        account.asked += 1
        return None

    async def _open(self) -> Account:
        """Client, account and endpoints, made at the first need."""
        if self._account is not None:
            return self._account
        plan, engine = self._plan, self._plan.recipe.engine
        account = Account(plan.out / "completions", Price(**engine.price.model_dump()))
        if over := account.over(engine.budget.model_dump()):  # before a server is launched
            raise _used_up(over)
        self._client = await self._stack.enter_async_context(open_client(plan))
        self._endpoints = await given_endpoints(plan, self._client, self._progress)
        fleet = await launched_fleet(plan, self._progress)
        if fleet:
            await self._stack.enter_async_context(fleet)
            fleet.watch(self._client)
            self._endpoints += fleet.endpoints
            self._progress.say("vLLM is ready")
        bound_connections(self._endpoints, self._progress)
        account.begin(fleet.gpus if fleet else 0)
        self._account = account
        return account

    def _interrupt(self) -> bool:
        """Whether what is in flight may arrive: the first time, where something can be."""
        self._interrupts += 1
        if self._interrupts > 1 or self._pool is None:
            return False
        self._progress.say("interrupted: waiting for what is in flight; again to stop now")
        self._pool.stop(interrupted())
        return True


def _used_up(over: str) -> BudgetReached:
    return BudgetReached(
        f"the budget is used up: {over}",
        fix="what arrived is kept: raise engine.budget and run the same command",
    )


def _request(part: Part, exchange: Exchange) -> Request:
    key, body = exchange.ask()
    label: Any = (part, exchange)
    return Request(key, body, part.source.name, label)
