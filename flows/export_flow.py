"""Exports on a Ray cluster, each output a part; in this process they need no flow."""

from pathlib import Path

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Failed

from data.errors import ShardmillError
from data.export import export_shards
from flows.flow_runs import SETTINGS
from flows.on_ray import cluster
from flows.part_tasks import make_part


@flow(name="export", **SETTINGS)
def export(
    out: str, folders: list[str], to: str, targets: list[str], ray_address: str | None = None
) -> State[None] | None:
    """Finished shards in another trainer's files.

    Args:
        out: The build's folder.
        folders: The shards of each output.
        to: The format.
        targets: The folder to make for each.
        ray_address: The cluster, as HOST:PORT or ray://HOST:PORT.
    """

    def work(index: int) -> None:
        export_shards(Path(folders[index]), to, Path(targets[index]))

    try:
        with cluster(ray_address, Path(out), make_part, get_run_logger().info) as run:
            run(f"export.{to}", work, range(len(folders)))
    except ShardmillError as error:
        return Failed(message=f"{type(error).__name__}: {error}", data=error)
    return None
