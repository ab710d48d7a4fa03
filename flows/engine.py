"""From the recipe's engine block to endpoints: given ones, launched ones, or both."""

import asyncio
import os

from data.errors import EngineError
from flows.plan import Plan
from flows.progress import Progress
from inference.client import Client
from inference.endpoint import Endpoint
from inference.models import engine_python, prepare
from inference.supervisor import Fleet, Launch, visible_gpus, vllm_fleet


def open_client(plan: Plan) -> Client:
    """The key comes from the environment alone, so that no recipe or log holds it."""
    return Client(
        plan.model.name,
        timeout=plan.recipe.engine.timeout_seconds,
        api_key=os.environ.get("SHARDMILL_API_KEY"),
    )


async def given_endpoints(plan: Plan, client: Client) -> list[Endpoint]:
    """Raises EngineError where one does not answer or does not serve the model."""
    engine = plan.recipe.engine
    for url in engine.endpoints:
        try:
            served = await client.served(url.rstrip("/"))
        except ValueError as error:
            raise EngineError(
                f"does not answer as an OpenAI-compatible server ({error})",
                where=url,
                fix="start it, or leave engine.endpoints out to launch one here",
            ) from error
        if plan.model.name not in served:
            raise EngineError(
                f"serves {', '.join(served) or 'nothing'}, not {plan.model.name}",
                where=url,
                fix="name the served model in engine.model",
            )
    return [Endpoint(url.rstrip("/"), engine.concurrency) for url in engine.endpoints]


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
