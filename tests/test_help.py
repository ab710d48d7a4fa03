"""`shardmill --help`: every command says what it does, at once."""

import importlib
import inspect
import subprocess
import sys

import pytest

from data import ROOT
from flows.cli import app

LATER = ("preview", "inspect", "explain", "diff", "gc", "export")


def test_every_command_has_a_summary_and_nothing_heavy_is_imported() -> None:
    script = (
        "import sys\nfrom flows.cli import app\n"
        "app(['--help'], exit_on_error=False)\n"
        "heavy = {'prefect', 'polars', 'pyarrow', 'numpy', 'pydantic', 'numba'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    environment = {"COLUMNS": "200", "PATH": ""}
    shown = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    listed = [line.strip("│ ") for line in shown.stdout.splitlines() if line.startswith("│")]
    summaries = dict(line.partition(" ")[::2] for line in listed)
    for command in app:
        if not command.startswith("-"):
            assert len(summaries[command].split()) > 3, command


@pytest.mark.parametrize("command", LATER)
def test_the_help_of_a_command_is_its_docstring_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    function = app[command].default_command
    assert function is not None
    module = importlib.import_module(function.__module__)
    text = inspect.getdoc(getattr(module, command)) or ""
    app([command, "--help"], exit_on_error=False)
    shown = capsys.readouterr().out
    assert text.partition("\n")[0].split()[:5] == shown.split("\n\n")[1].split()[:5]
    assert f"Example: shardmill {command} " in shown
