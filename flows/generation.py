"""The completions stage: what is recorded is reused, the rest is asked, parts follow.

All sources go through one pool without a barrier between them. A part is written when its
last completion is durable, sorted as its prompts are, so its bytes do not depend on the order
of arrival.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from data import schema
from data.errors import ShardmillError
from flows.plan import Plan, Source
from flows.progress import Progress
from flows.stages import parse_reply
from inference.models import engine_python, prepare
from inference.pool import Pool, Request
from inference.record import Completion, Record
from inference.server import free_port, has_gpu, refuse_taken, vllm_server
from prompts import Refusal


@dataclass
class _Part:
    """A part under way: its prompts, their keys, and the completions so far by key."""

    source: Source
    index: int
    prompts: list[dict[str, Any]]
    keys: list[str]
    found: dict[str, Completion] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        return len(self.keys) - len(self.found)

    def write(self) -> None:
        rows = [
            {"id": prompt["id"], **vars(self.found[key])}
            for prompt, key in zip(self.prompts, self.keys, strict=True)
        ]
        table = pa.Table.from_pylist(rows, schema=schema.COMPLETIONS)
        self.source.completions.write(self.index, table)


def complete(plan: Plan, progress: Progress) -> None:
    """Fill the completions stage of every source. Raises EngineError where no server answers;
    what has arrived until then is kept."""
    try:
        asyncio.run(_complete(plan, progress))
    except* ShardmillError as group:
        first = group.exceptions[0]
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


async def _complete(plan: Plan, progress: Progress) -> None:
    sources = [source for source in plan.sources if not source.completions.done]
    if not sources:
        return
    with Record(plan.out / "completions") as record:
        if record.damaged:
            progress.say(f"{record.damaged} torn lines in the completion record are asked again")
        open_parts: list[tuple[Source, int]] = []
        wanted = missing = 0
        for source in sources:
            source.completions.begin()
            for index in range(source.prompts.count()):
                if source.completions.has(index):
                    wanted += source.prompts.read(index).num_rows
                    continue
                part = _load(plan, source, index, record)
                wanted += len(part.keys)
                missing += part.missing
                if part.missing:
                    open_parts.append((source, index))
                else:
                    part.write()
        progress.say(f"completions: {wanted} wanted, {wanted - missing} reused, {missing} to ask")
        if missing:
            await _ask(plan, record, open_parts, wanted, missing, progress)
    for source in sources:
        source.completions.finish()


async def _ask(
    plan: Plan,
    record: Record,
    open_parts: list[tuple[Source, int]],
    wanted: int,
    missing: int,
    progress: Progress,
) -> None:
    async with _endpoints(plan, progress) as endpoints:
        engine = plan.recipe.engine
        pool = Pool(
            endpoints,
            plan.model.name,
            concurrency=engine.concurrency,
            timeout=engine.timeout_seconds,
            api_key=os.environ.get("SHARDMILL_API_KEY"),
        )
        await pool.check()
        progress.start(wanted, wanted - missing, lambda: pool.in_flight)

        def requests() -> Iterator[Request]:
            for source, index in open_parts:
                part = _load(plan, source, index, record)
                for prompt, key in zip(part.prompts, part.keys, strict=True):
                    if key not in part.found:
                        yield Request(key, _body(source, prompt), (part, prompt))

        def arrived(request: Request, completion: Completion) -> None:
            part, prompt = request.label
            part.found[request.key] = completion
            _, refusal = parse_reply(part.source, prompt, vars(completion))
            progress.arrived(completion.completion_tokens, not isinstance(refusal, Refusal))
            if not part.missing:
                part.write()

        try:
            await pool.run(requests(), record, arrived)
        finally:
            progress.stop()
        account = pool.account
        progress.say(
            f"generated {account.requests} completions, {account.completion_tokens} tokens at "
            f"{progress.rate:.0f} tokens/s, {account.retries} retries, "
            f"{account.errors} refused by the server"
        )


@asynccontextmanager
async def _endpoints(plan: Plan, progress: Progress) -> AsyncIterator[list[str]]:
    """The given endpoints, or those of a server started for the time of the context."""
    engine = plan.recipe.engine
    if engine.endpoints:
        yield list(engine.endpoints)
        return
    launch = engine.launch
    python = engine_python(launch.python)
    progress.say(f"preparing {plan.model.name}")
    await asyncio.to_thread(prepare, plan.model, python)
    port = launch.port or free_port()
    refuse_taken(port)
    log = plan.out / "logs" / "vllm-0.log"
    gpu = launch.gpus == "auto" and has_gpu()
    progress.say(f"starting vLLM on {'the GPU' if gpu else 'the CPU'}, port {port}, log in {log}")
    server = vllm_server(
        python,
        plan.model.path,
        plan.model.name,
        port,
        log,
        gpu=gpu,
        max_model_len=launch.max_model_len,
        patience=launch.startup_seconds,
        extra=launch.args,
    )
    try:
        server.start()
        await asyncio.to_thread(server.wait)
        progress.say("vLLM is ready")
        yield [f"http://127.0.0.1:{port}/v1"]
    finally:
        server.stop()


def _load(plan: Plan, source: Source, index: int, record: Record) -> _Part:
    prompts = source.prompts.read(index).to_pylist()
    keys = [_key(plan, source, prompt) for prompt in prompts]
    part = _Part(source, index, prompts, keys)
    for key in keys:
        completion = record.get(key)
        if completion:
            part.found[key] = completion
    return part


def _key(plan: Plan, source: Source, prompt: dict[str, Any]) -> str:
    """Everything that can change the reply, and nothing else: not where it is asked."""
    asked = {"model": plan.model.name, "revision": plan.model.revision}
    return schema.fingerprint({**asked, **_body(source, prompt)}, digits=32)


def _body(source: Source, prompt: dict[str, Any]) -> dict[str, Any]:
    sampling = json.loads(source.sampling.model_dump_json())
    return {"messages": prompt["messages"], "seed": prompt["id"] & 0x7FFFFFFF, **sampling}
