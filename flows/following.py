"""`shardmill run --deployment`: have a worker build, and follow the run from here."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rich.console import Console
from rich.markup import escape

from data.errors import Interrupted, RecipeError, ShardmillError, nearest
from flows.calling import api_url

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import DeploymentResponse

EVERY = 1.0
PATIENCE = 10.0
"""Seconds after which a run that no worker has taken is told of."""
PAGE = 200
"""Log lines asked for at a time; the server's own limit."""


def run_deployment(
    name: str, parameters: Mapping[str, Any], screen: Console, *, cancel_on_interrupt: bool
) -> None:
    """Trigger FLOW/DEPLOYMENT with these parameters, what is not among them as the deployment
    has it, and print its states and log lines until it ends.

    Raises RecipeError for an unknown deployment or parameters that it refuses, ShardmillError
    where the run does not complete, Interrupted where Ctrl-C ends the following.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    url = api_url()
    if not url:
        raise RecipeError(
            "--deployment needs a Prefect server", fix="set PREFECT_API_URL, see the README"
        )
    with (
        _answering(url),
        temporary_settings({PREFECT_API_URL: url}),  # Prefect may have been imported before
        get_client(sync_client=True) as client,
    ):
        deployment = _find(client, name)
        run = _trigger(client, deployment, name, parameters)
        screen.print(f"flow run {run.id} of {name}: {_page(url, run.id)}", markup=False)
        following = Following(client, run.id, deployment.work_pool_name, screen)
        try:
            following.until_end()
        except KeyboardInterrupt:
            if not cancel_on_interrupt:
                raise Interrupted(
                    f"no longer following; flow run {run.id} goes on",
                    fix=f"`prefect flow-run watch {run.id}` follows it, "
                    f"`prefect flow-run cancel {run.id}` cancels it",
                ) from None
            _cancel(client, run.id)
            screen.print("cancelling: what is in flight may arrive")
            following.until_end()
    _conclude(following.run, screen, asked=cancel_on_interrupt)


@contextmanager
def _answering(url: str) -> Iterator[None]:
    import httpx

    try:
        yield
    except httpx.TransportError as error:
        raise ShardmillError(
            f"Prefect's server does not answer ({error or type(error).__name__})",
            where=url,
            fix="a run that was started goes on: start the server, or mend PREFECT_API_URL",
        ) from error


def _find(client: "SyncPrefectClient", name: str) -> "DeploymentResponse":
    from prefect.exceptions import ObjectNotFound

    if name.count("/") == 1:
        try:
            return client.read_deployment_by_name(name)
        except ObjectNotFound:
            pass
    flows = {flow.id: flow.name for flow in client.read_flows()}
    known = [f"{flows.get(d.flow_id)}/{d.name}" for d in client.read_deployments()]
    raise RecipeError(
        f"no deployment {name!r}",
        where=str(client.api_url),
        fix=nearest(name, known) if known else "`prefect --no-prompt deploy --all` makes ours",
    )


def _trigger(
    client: "SyncPrefectClient",
    deployment: "DeploymentResponse",
    name: str,
    parameters: Mapping[str, Any],
) -> "FlowRun":
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        return client.create_flow_run_from_deployment(deployment.id, parameters=dict(parameters))
    except PrefectHTTPStatusError as error:
        detail = error.response.json().get("detail", error.response.text)
        raise RecipeError(f"refuses the parameters: {detail}", where=name) from error


def _page(url: str, run: UUID) -> str:
    """Where the UI shows the run."""
    return f"{url.rstrip('/').removesuffix('/api')}/runs/flow-run/{run}"


def _cancel(client: "SyncPrefectClient", run: UUID) -> None:
    from prefect.states import Cancelling

    client.set_flow_run_state(run, Cancelling())


class Following:
    """The states and log lines of a run, printed as they come; `run` as it was last read."""

    def __init__(
        self, client: "SyncPrefectClient", id: UUID, pool: str | None, screen: Console
    ) -> None:
        self._client, self._id, self._pool, self._screen = client, id, pool, screen
        self._lines, self._state = 0, ""
        self._started, self._told = time.monotonic(), False
        self.run = client.read_flow_run(id)

    def until_end(self) -> None:
        while True:
            self.run = self._client.read_flow_run(self._id)
            self._print_state()
            self._print_lines()
            if self.run.state is not None and self.run.state.is_final():
                self._last_lines()
                return
            time.sleep(EVERY)

    def _print_state(self) -> None:
        state = self.run.state
        if state is None:
            return
        if state.name and state.name != self._state:
            self._state = state.name
            self._screen.print(f"{self.run.name}: {state.name}", style="bold", markup=False)
        waited = time.monotonic() - self._started
        if state.is_scheduled() and waited > PATIENCE and not self._told and self._pool:
            self._told = True
            self._screen.print(
                f"no worker has taken it yet; `prefect worker start --pool {self._pool}` starts one"
            )

    def _print_lines(self) -> int:
        from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
        from prefect.client.schemas.sorting import LogSort

        lines = self._client.read_logs(
            LogFilter(flow_run_id=LogFilterFlowRunId(any_=[self._id])),
            limit=PAGE,
            offset=self._lines,
            sort=LogSort.TIMESTAMP_ASC,
        )
        for line in lines:
            level = f"{logging.getLevelName(line.level)} " if line.level > logging.INFO else ""
            style = "yellow" if level else None
            when = line.timestamp.astimezone()
            self._screen.print(f"{when:%H:%M:%S} {level}{escape(line.message)}", style=style)
        self._lines += len(lines)
        return len(lines)

    def _last_lines(self) -> None:
        """Workers send their log every second or two: the last lines come after the state."""
        quiet = 0
        while quiet < 2:
            quiet = 0 if self._print_lines() else quiet + 1
            time.sleep(EVERY)


def _conclude(run: "FlowRun", screen: Console, *, asked: bool) -> None:
    state = run.state
    if state is None or state.is_completed():
        seconds = run.total_run_time.total_seconds()
        screen.print(f"{run.name} is done in {seconds:.0f} s", markup=False)
        return
    if state.is_cancelled() and asked:
        raise Interrupted(f"{run.name} is cancelled", fix="the same command resumes")
    message = (state.message or "").strip().partition("\n")[0]
    raise ShardmillError(
        f"the flow run ended as {state.name}" + (f" ({message})" if message else ""),
        where=run.name,
        fix="what is done is kept: the same command, or a retry in Prefect's UI, resumes",
    )
