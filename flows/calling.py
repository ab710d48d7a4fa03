"""Where a build's flow runs: reporting to the Prefect server that is set, or to one of its own."""

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from data.errors import ShardmillError


def api_url() -> str | None:
    """Where Prefect's server is, from the environment or the user's profile."""
    if "PREFECT_API_URL" in os.environ:
        return os.environ["PREFECT_API_URL"]
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    configured = (home / "profiles.toml", *map(Path, ("prefect.toml", ".env", "pyproject.toml")))
    texts = [path.read_text(errors="replace") for path in configured if path.is_file()]
    if not any("api" in text.lower() for text in texts):
        return None  # so that a build with nothing to do need not import Prefect: 2 seconds
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


def run_flow(out: Path, given: dict[str, Any], flow: str = "flows.build:build") -> None:
    """A flow over OUT as a run in this process. Raises what the flow raises."""
    for name in ("NO_PROXY", "no_proxy"):  # loopback is not asked through a proxy
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1,localhost")))
    if api_url():
        _call_flow(flow, {**given, "out": str(out)})
        return
    from flows.local_prefect import local_prefect

    server, url = local_prefect(out)
    server.start()
    os.environ["PREFECT_API_URL"] = url
    try:
        import_module(flow.partition(":")[0])  # a second of work while the server starts
        server.wait()
        _call_flow(flow, {**given, "out": str(out)})
    finally:
        os.environ.pop("PREFECT_API_URL")
        server.stop()


def _call_flow(flow: str, given: dict[str, Any]) -> None:
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    module, _, name = flow.partition(":")
    function = getattr(import_module(module), name)
    try:
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            state = function(**given, return_state=True)
    except RuntimeError as error:
        if "API" not in str(error):
            raise
        raise ShardmillError(
            f"Prefect's server does not answer ({str(error).partition(chr(10))[0]})",
            where=api_url() or "",
            fix="start it, or unset PREFECT_API_URL",
        ) from error
    if not state.is_completed():
        failure = state.result(raise_on_failure=False)
        if isinstance(failure, BaseException):
            raise failure
        raise ShardmillError(state.message or f"the flow run ended as {state.name}")
