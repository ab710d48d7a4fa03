"""`shardmill export`: which shards go where, in which format."""

from pathlib import Path

from rich.console import Console

from data.errors import RecipeError
from data.export import export_shards, load_exporter
from data.places import shown
from data.store import open_out, open_path
from flows.inspection import find_outputs

screen = Console(emoji=False, highlight=False, soft_wrap=True)


def export(path: Path, /, *, to: str, out: Path | None = None) -> None:
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
    """
    load_exporter(to)
    path = open_path(path)
    folders = find_outputs(path)
    if out is not None and len(folders) > 1:
        names = ", ".join(folder.name for folder in folders)
        raise RecipeError(f"--out takes one output and {path} has {names}", fix="name one's folder")
    for folder in folders:
        target = (
            open_out(out) if out else folder.resolve().parent.parent / "exports" / folder.name / to
        )
        state = "exported" if export_shards(folder, to, target) else "nothing to do"
        screen.print(f"{state}: {shown(target)}", markup=False)
