"""From the recipe's engine block to endpoints: given ones, launched ones, or both."""

import asyncio
import os
from collections.abc import Sequence

from data.errors import EngineError
from flows.plan import Plan
from flows.progress import Progress
from inference.client import Client, version_hint
from inference.endpoint import Endpoint
from inference.limits import RESERVED, allow_connections
from inference.models import engine_python, prepare
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
    endpoints = [Endpoint(url.rstrip("/"), engine.concurrency) for url in engine.endpoints]
    problems = await asyncio.gather(*(_problem(plan, client, one) for one in endpoints))
    found = [problem for problem in problems if problem]
    if found and len(found) == len(endpoints) and engine.launches is None:
        raise found[0]
    for problem in found:
        progress.say(f"{problem.where}: {problem.what}; the build goes on without it")
    return endpoints


async def _problem(plan: Plan, client: Client, endpoint: Endpoint) -> EngineError | None:
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
