"""Helpers of the tests that build: run a recipe in this process, compare what came out."""

import hashlib
from pathlib import Path

from flows.build import run_stages
from flows.plan import Plan, plan_build
from flows.progress import Progress
from flows.stages import Runner, run_parts


class Notes(Progress):
    """Keeps the lines in place of printing them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        super().__init__(log=self.lines.append)


def build(
    recipe: str | Path,
    out: Path,
    *changes: str,
    notes: Notes | None = None,
    run: Runner = run_parts,
) -> Plan:
    plan = plan_build(str(recipe), out, changes)
    run_stages(plan, notes or Notes(), run)
    return plan


def digests(folder: Path) -> dict[str, str]:
    """sha256 of each file below; logs and indexes, which a whole build alone makes, left out."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "logs" not in path.parts and path.suffix != ".ipc"
    }


def parts(plan: Plan) -> dict[str, str]:
    """sha256 of every completion and sample part and of the shards, not of manifests, which
    also hold times."""
    found = digests(plan.out / "shards")
    for source in plan.generated:
        for stage in (source.completions, source.samples):
            found |= {f"{stage.name}/{k}": v for k, v in digests(stage.folder).items()}
    return {name: value for name, value in found.items() if not name.endswith("manifest.json")}
