"""`shardmill export`: which shards go where, in which format."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from data.errors import RecipeError
from data.export import export_shards, load_exporter
from data.places import shown
from data.store import open_out, open_path
from flows.console import make_console
from flows.inspection import find_outputs

screen = make_console()


def export(
    path: Path,
    /,
    *,
    to: str,
    out: Path | None = None,
    runner: Literal["threads", "ray"] = "threads",
    address: Annotated[str | None, Parameter(show_default=False)] = None,
) -> None:
    """Write finished shards as nanogpt, megatron, datatrove, mds or hf, whole or not at all.

    Example: shardmill export runs/demo --to nanogpt

    Parameters
    ----------
    path
        A build's folder, or the shards of one output (runs/demo/shards/pretrain).
    to
        The format; see `shardmill list exporters`.
    out
        The folder to make; OUT/exports/OUTPUT/FORMAT if left out.
    runner
        Where it is written: here, or each output on a node of a Ray cluster.
    address
        The Ray cluster, as for `shardmill run`.
    """
    load_exporter(to)
    path = open_path(path)
    folders = find_outputs(path)
    if out is not None and len(folders) > 1:
        names = ", ".join(folder.name for folder in folders)
        raise RecipeError(f"--out takes one output and {path} has {names}", fix="name one's folder")
    targets = [
        open_out(out) if out else folder.resolve().parent.parent / "exports" / folder.name / to
        for folder in folders
    ]
    if runner == "ray":
        from flows.calling import run_flow
        from flows.ray_address import find_cluster

        find_cluster(address)
        given: dict[str, Any] = {"folders": [str(folder.resolve()) for folder in folders], "to": to}
        given |= {"targets": [str(target.resolve()) for target in targets], "ray_address": address}
        run_flow(folders[0].resolve().parent.parent, given, "flows.export_flow:export")
        for target in targets:
            screen.print(f"exported: {shown(target)}", markup=False)
        return
    for folder, target in zip(folders, targets, strict=True):
        state = "exported" if export_shards(folder, to, target) else "nothing to do"
        screen.print(f"{state}: {shown(target)}", markup=False)
