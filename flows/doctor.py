"""`shardmill doctor`: what this machine has, what each recipe lacks, and how to mend it."""

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from data import ROOT
from data.errors import ShardmillError
from flows.console import make_console

screen = make_console()
PATIENCE = 3.0
"""Seconds for one answer over the network."""
SPACE = 5e9
"""Bytes that should be free: the environments and a small build."""
PROBE = "import importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in %r), sep=', ')"


@dataclass(frozen=True)
class Check:
    """`state` is ok, lacks, or note: something that only some builds need."""

    name: str
    state: str
    found: str
    fix: str = ""


def doctor(
    out: Path = Path("runs"),
    /,
    *,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Look at environments, models, tokenizers, servers, hub, Prefect and disk; exit 1 where a
    shipped recipe could not run, with the command that mends it.

    Example: shardmill doctor

    Parameters
    ----------
    out
        Where builds go, for the space that is left there.
    json_
        Print one JSON object.
    """
    checks = list(_machine(out))
    with ThreadPoolExecutor(8) as threads:
        checks += threads.map(lambda check: check(), (_hub, _prefect, *_engines()))
    checks += _tokenizers()
    checks += _recipes()
    lacking = [check for check in checks if check.state == "lacks"]
    if json_:
        print(json.dumps({"checks": [asdict(check) for check in checks]}, indent=1))  # noqa: T201
    else:
        widest = max(len(check.name) for check in checks)
        for check in checks:
            mend = f"; {check.fix}" if check.fix else ""
            line = f"{check.state:<5}  {check.name:<{widest}}  {check.found}{mend}"
            style = {"ok": None, "lacks": "red", "note": "yellow"}[check.state]
            screen.print(line, style=style, markup=False)
    if lacking:
        names = ", ".join(check.name for check in lacking)
        raise ShardmillError(f"{len(lacking)} of {len(checks)} checks fail: {names}")


def _machine(out: Path) -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", "ok", version)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    yield Check("machine", "ok", f"{os.cpu_count()} cores, {memory:.0f} GB of memory")
    from inference.supervisor import visible_gpus

    gpus = visible_gpus()
    found = f"{len(gpus)}" if gpus else "none: vLLM runs on the CPU"
    yield Check("GPUs", "ok" if gpus else "note", found)
    at = out.resolve()
    while not at.exists():
        at = at.parent
    free = shutil.disk_usage(at).free
    enough = free >= SPACE
    fix = "" if enough else "free some, or give another --out"
    yield Check("disk", "ok" if enough else "lacks", f"{free / 1e9:.0f} GB free", fix)


def _engines() -> list[Callable[[], Check]]:
    return [
        lambda: _environment("engine", ".venv-vllm", ("torch", "transformers"), "make engine"),
        lambda: _environment("trainer", ".venv-train", ("torch", "transformers"), "make train-env"),
    ]


def _environment(name: str, folder: str, packages: tuple[str, ...], fix: str) -> Check:
    given = os.environ.get("SHARDMILL_VLLM_PYTHON") if name == "engine" else None
    python = Path(given) if given else ROOT / folder / "bin" / "python"
    lacking = "lacks" if name == "engine" else "note"
    if not python.is_file():
        return Check(name, lacking, f"{python} is missing", f"run `{fix}`")
    asked = subprocess.run(
        [str(python), "-c", PROBE % (packages,)], capture_output=True, text=True, check=False
    )
    if asked.returncode:
        return Check(name, lacking, f"{python} has no {' or '.join(packages)}", f"run `{fix}`")
    return Check(name, "ok", asked.stdout.strip())


def _hub() -> Check:
    import httpx

    from data.hub import switched_off

    if switched_off():
        return Check("hub", "note", "switched off in the environment", "builds need --offline")
    place = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        httpx.head(place, timeout=PATIENCE)
    except httpx.HTTPError as error:
        found = f"out of reach ({type(error).__name__})"
        return Check("hub", "note", found, "recipes that read hub sets need --offline")
    token = "with" if os.environ.get("HF_TOKEN") else "without"
    return Check("hub", "ok", f"answers; {token} HF_TOKEN")


def _prefect() -> Check:
    from flows.calling import api_url

    url = api_url()
    if not url:
        return Check("Prefect", "ok", "no server configured: `shardmill run` starts its own")
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=PATIENCE):
            return Check("Prefect", "ok", f"{url} answers")
    except (urllib.error.URLError, OSError, ValueError) as error:
        fix = "start it with `prefect server start`, or unset PREFECT_API_URL"
        return Check("Prefect", "lacks", f"{url} does not answer ({error})", fix)


def _tokenizers() -> Iterator[Check]:
    from data.tokenization import PACKAGED, load_tokenizer

    for name in PACKAGED:
        try:
            size = load_tokenizer(name).vocabulary
        except ShardmillError as error:
            yield Check(f"tokenizer {name}", "note", error.what, error.fix)
        else:
            yield Check(f"tokenizer {name}", "ok", f"{size:,} ids")


def _recipes() -> Iterator[Check]:
    """Whether each shipped recipe stands, and what it needs beyond the pipeline itself."""
    from flows.datasets_needed import reachable
    from flows.loading import list_recipes
    from flows.plan import plan_build

    for name in list_recipes():
        try:
            plan = plan_build(name, check=False)
            lacks = _lacks(plan.model.path) if plan.generated else ""
            away = [set_ for set_, state in reachable(plan).items() if state != "reachable"]
        except ShardmillError as error:
            yield Check(f"recipe {name}", "lacks", error.what, error.fix)
            continue
        if away:
            fix = f"`shardmill run {name} --offline` reads the shipped samples"
            yield Check(f"recipe {name}", "note", f"cannot read {', '.join(away)}", fix)
        else:
            yield Check(f"recipe {name}", "note" if lacks else "ok", lacks or "can run")


def _lacks(path: str) -> str:
    if not path.startswith("/") or (Path(path) / "config.json").is_file():
        return ""
    return "its model is not converted yet: `make model`, or the first build does it"
