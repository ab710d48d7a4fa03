"""From the recipe's engine block to endpoints: given ones, launched ones, or both."""

import asyncio
import os
from collections.abc import Sequence

from data.errors import EngineError, ShardmillError
from flows.plan import Plan
from flows.progress import Progress
from flows.roster import listed, pause
from inference.client import Client, version_hint
from inference.endpoint import Endpoint
from inference.limits import RESERVED, allow_connections
from inference.models import engine_python, prepare
from inference.pool import Pool
from inference.supervisor import Fleet, Launch, visible_gpus, vllm_fleet


def open_client(plan: Plan) -> Client:
    """The key comes from the environment alone, so that no recipe or log holds it."""
    return Client(
        plan.model.name,
        timeout=plan.recipe.engine.timeout_seconds,
        api_key=os.environ.get("SHARDMILL_API_KEY"),
    )


async def given_endpoints(plan: Plan, client: Client, progress: Progress) -> list[Endpoint]:
    """One that does not answer is set aside and probed, one without the model is left out.
    Raises EngineError where none is usable and none is launched."""
    engine = plan.recipe.engine
    urls = given = [url.rstrip("/") for url in engine.endpoints]
    if engine.endpoints_from:
        urls = given + await asyncio.to_thread(listed, engine.endpoints_from)
        if not urls and engine.launches is None:
            seconds = f"{engine.patience_seconds:g} s"
            progress.say(f"{engine.endpoints_from} names no endpoint; waiting {seconds} for one")
    endpoints = [Endpoint(url, engine.concurrency) for url in dict.fromkeys(urls)]
    for endpoint in endpoints[len(set(given)) :]:
        endpoint.listed = True
    problems = await asyncio.gather(*(examine(plan, client, one) for one in endpoints))
    found = [problem for problem in problems if problem]
    alone = engine.launches is None and engine.endpoints_from is None
    if found and len(found) == len(endpoints) and alone:
        raise found[0]
    for problem in found:
        progress.say(f"{problem.where}: {problem.what}; the build goes on without it")
    return endpoints


async def examine(plan: Plan, client: Client, endpoint: Endpoint) -> EngineError | None:
    """Whether it answers and serves the model, and under which name; what is wrong otherwise."""
    try:
        served = await client.served(endpoint.url)
    except ValueError as error:
        endpoint.up, endpoint.words = False, str(error)
        hint = version_hint(endpoint.url) if str(error).startswith("404") else ""
        return EngineError(
            f"does not answer as an OpenAI-compatible server ({error})",
            where=endpoint.url,
            fix=hint or "start it, or leave engine.endpoints out to launch one here",
        )
    if plan.model.name not in served and plan.model.path in served:
        endpoint.model = plan.model.path  # vLLM's own name for a folder it was given
    elif plan.model.name not in served:
        endpoint.gone = True
        endpoint.words = f"serves {', '.join(served) or 'nothing'}, not {plan.model.name}"
        return EngineError(
            endpoint.words, where=endpoint.url, fix="name the served model in engine.model"
        )
    return None


async def follow(plan: Plan, client: Client, pool: Pool, progress: Progress) -> None:
    """Have the pool ask those that are listed, as long as this runs."""
    engine = plan.recipe.engine
    place = engine.endpoints_from
    if place is None:
        return
    # of an earlier level: what was dropped then is to be asked again where it comes back
    known = {one.url for one in pool.endpoints if not (one.listed and one.gone)}
    fixed = {one.url for one in pool.endpoints if not one.listed}
    trouble, before = "", known - fixed
    while True:
        await asyncio.sleep(pause(place))
        try:
            urls = set(await asyncio.to_thread(listed, place))
        except ShardmillError as error:
            if str(error) != trouble:
                progress.say(f"{error}; the endpoints stay as they are")
            trouble = str(error)
            continue
        trouble = ""
        if urls != before:  # the file may be half-written: what two looks agree on counts
            before = urls
            continue
        for url in sorted(known - urls - fixed):
            pool.remove(url)
            progress.say(f"{url} is no longer listed")
        for url in sorted(urls - known):
            endpoint = Endpoint(url, engine.concurrency, listed=True)
            problem = await examine(plan, client, endpoint)
            pool.add(endpoint)
            bound_connections(pool.endpoints, progress)
            progress.say(f"{url}: {problem.what}" if problem else f"{url} joins")
        known = urls | fixed


def bound_connections(endpoints: Sequence[Endpoint], progress: Progress) -> None:
    """No more requests in flight than files may be open."""
    wanted = sum(endpoint.ceiling for endpoint in endpoints)
    fit = allow_connections(wanted)
    if fit < wanted:
        each = max(1, fit // len(endpoints))
        progress.say(
            f"this process may open {fit + RESERVED} files: {each} requests in flight at each "
            "endpoint; `ulimit -n` raises it"
        )
        for endpoint in endpoints:
            endpoint.ceiling = min(endpoint.ceiling, each)
            endpoint.limit = min(endpoint.limit, float(endpoint.ceiling))


async def launched_fleet(plan: Plan, progress: Progress) -> Fleet | None:
    """The servers to start here, not started; None where the recipe launches none."""
    engine = plan.recipe.engine
    settings = engine.launches
    if settings is None:
        return None
    python = engine_python(settings.python)
    progress.say(f"preparing {plan.model.name}")
    await asyncio.to_thread(prepare, plan.model, python)
    gpus: tuple[int | str, ...] = ()
    if settings.gpus != "cpu":
        gpus = visible_gpus() if settings.gpus == "auto" else settings.gpus
    if engine.deterministic and not gpus:
        progress.say("engine.deterministic: vLLM has no batch-invariant kernels on a CPU")
    launch = Launch(
        python=python,
        gpus=gpus,
        tensor_parallel=settings.tensor_parallel,
        port=settings.port,
        max_model_len=settings.max_model_len,
        patience=settings.startup_seconds,
        max_restarts=settings.max_restarts,
        deterministic=engine.deterministic,
        args=settings.args,
    )
    logs = plan.out / "logs"
    return vllm_fleet(launch, plan.model, logs, ceiling=engine.concurrency, say=progress.say)
