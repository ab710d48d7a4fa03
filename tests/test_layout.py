"""The shape of the project: who imports whom, what is installed, what a file may be called."""

import ast
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from data import ROOT

PACKAGES = {
    "data": set(),
    "inference": {"data"},
    "prompts": {"data"},
    "filters": {"data"},
    "flows": {"data", "inference", "prompts", "filters"},
}
FILES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_in_one_direction(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    ours = (imported(path) & set(PACKAGES)) - {package}
    assert ours <= PACKAGES[package]
    assert package == "flows" or "prefect" not in imported(path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_hides_a_module_of_the_standard_library(path: Path) -> None:
    """flows/ may come first on sys.path in a Prefect worker."""
    if path.parent.name == "flows":
        assert path.stem == "__init__" or path.stem not in sys.stdlib_module_names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_of_a_readable_size(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def test_no_stray_package_lies_in_site_packages() -> None:
    site = Path(sysconfig.get_paths()["purelib"])
    assert not [name for name in (*PACKAGES, "tests") if (site / name).exists()]


def test_the_packages_that_are_imported_are_this_checkouts() -> None:
    for name in PACKAGES:
        shown = subprocess.run(
            [sys.executable, "-c", f"import {name}; print({name}.__file__)"],
            cwd="/",
            capture_output=True,
            text=True,
            check=True,
        )
        assert Path(shown.stdout.strip()) == ROOT / name / "__init__.py"


def test_data_is_not_ignored_and_a_wheel_carries_seeds_and_recipes() -> None:
    ignored = (ROOT / ".gitignore").read_text().split()
    assert not {"data", "data/", "/data"} & set(ignored)
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert set(built["targets"]["wheel"]["packages"]) == set(PACKAGES)


def test_every_pinned_version_is_exact() -> None:
    for name in ("constraints.txt", "constraints-engine.txt"):
        lines = (ROOT / name).read_text().splitlines()
        assert len(lines) > 50
        assert all("==" in line for line in lines)


def test_help_answers_without_importing_prefect() -> None:
    script = (
        "import sys\nfrom flows.cli import app\n"
        "app(['--help'], exit_on_error=False)\n"
        "assert 'prefect' not in sys.modules and 'polars' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, cwd=ROOT)
