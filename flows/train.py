"""`shardmill train`: a small model over finished shards, to see what they are worth."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from data.errors import RecipeError
from flows.console import make_console
from flows.inspection import find_outputs
from flows.train_comparison import compare_runs
from flows.train_process import do_runs
from flows.train_results import summarize
from flows.training import SIZES, Kind, Options, plan_run

screen = make_console()
Prompt = Annotated[tuple[str, ...], Parameter(name="--prompt", negative=(), consume_multiple=False)]


def train(
    *paths: Path,
    output: str | None = None,
    model: Kind | None = None,
    size: str = "tiny",
    layers: int | None = None,
    heads: int | None = None,
    width: int | None = None,
    steps: int = 300,
    batch_rows: int = 8,
    learning_rate: float = 2e-3,
    seed: int = 0,
    from_: Annotated[Path | None, Parameter(name="--from")] = None,
    prompt: Prompt = (),
    temperature: float = 0.0,
    out: Path | None = None,
    fresh: Annotated[bool, Parameter(negative=())] = False,
    compare: Annotated[bool, Parameter(negative=())] = False,
    text: Path | None = None,
) -> None:
    """Train a small model on finished shards: its loss, and what it writes before and after.

    Example: shardmill train runs/demo --size nano --steps 100

    Example: shardmill train runs/a runs/b --compare

    Needs torch and transformers: `make train-env`. It runs on the CPU. The same command goes on
    from the last checkpoint.

    Parameters
    ----------
    paths
        A build's folder, or the shards of one output; with --compare two or more of them.
    output
        Which output of the build, where it has several.
    model
        gpt2 or llama.
    size
        nano (2 layers, 2 heads, width 32), tiny (4, 4, 128) or small (6, 6, 384).
    layers
        In place of the size's, as heads and width.
    heads
        Attention heads; they divide the width.
    width
        Of the embeddings.
    steps
        Optimizer steps.
    batch_rows
        Rows a step; all rows where there are fewer.
    learning_rate
        The highest one; it rises for a twentieth of the steps and falls as a cosine.
    seed
        Decides the weights and the order of rows.
    from_
        A checkpoint, or the folder of a run: its model is trained further.
    prompt
        What the samples begin with, for a chat output a user's turn. May be given often; the
        beginnings of documents if left out.
    temperature
        Of the samples; at 0 the likeliest token is taken.
    out
        The folder of the run; OUT/train/OUTPUT-MODEL if left out.
    fresh
        Remove an earlier run in that folder.
    compare
        Train the same model on each build and tell its loss on what each one holds out, at
        most 256 rows.
    text
        With --compare also the loss on this text file.
    """
    if not paths:
        raise RecipeError("give the folder of a build, such as runs/demo")
    if (len(paths) > 1) != compare:
        raise RecipeError("several builds go with --compare, and --compare with several builds")
    if (text is not None and not compare) or (out is not None and compare):
        raise RecipeError("--text goes with --compare, --out does not")
    if size not in SIZES:
        raise RecipeError(f"no size {size!r}", fix=f"sizes are {', '.join(SIZES)}")
    if min(steps, batch_rows) < 1 or learning_rate <= 0 or seed < 0 or temperature < 0:
        raise RecipeError(
            "--steps and --batch-rows are at least 1, --learning-rate is above 0, --seed and "
            "--temperature are not negative"
        )
    named = {"layers": layers, "heads": heads, "width": width}
    own = {name: value for name, value in named.items() if value is not None}
    if own and from_ is not None:
        raise RecipeError(f"--from brings its own {', '.join(own)}")
    sizes = dict(zip(named, SIZES[size], strict=True)) | own
    options = Options(
        model, sizes, steps, batch_rows, learning_rate, seed, from_, prompt, temperature
    )
    shards = [_output(path, output) for path in paths]
    if len(set(shards)) < len(shards):
        raise RecipeError("--compare needs different builds")
    runs = [plan_run(folder, options, out, fresh=fresh) for folder in shards]
    if compare:
        compare_runs([str(path) for path in paths], runs, text, screen)
    else:
        do_runs(runs, screen)
        summarize(runs[0], screen)


def _output(path: Path, output: str | None) -> Path:
    """The shards' folder. Raises RecipeError where it is not clear which one is meant."""
    found = {folder.name: folder for folder in find_outputs(path)}
    if output is None and len(found) == 1:
        return next(iter(found.values()))
    if output not in found:
        names = ", ".join(found)
        raise RecipeError(
            f"has no output {output!r}" if output else f"has the outputs {names}",
            where=str(path),
            fix=f"choose with --output: {names}",
        )
    return found[output]
