"""What the sandbox stops, and by which name. Each deed is tried for real."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from filters import confinement
from filters.sandbox import Limits, Outcome, Program, problem, run_programs

pytestmark = pytest.mark.skipif(
    bool(confinement.supported()), reason="generated programs are run on Linux only"
)

LIMITS = Limits(seconds=1, idle_seconds=1, memory_mb=256, file_mb=1, files=8)


def run(*codes: str) -> list[Outcome]:
    return run_programs([Program((textwrap.dedent(code),)) for code in codes], LIMITS)


DEEDS: Mapping[str, tuple[str, str]] = {
    "an endless loop": ("timed_out", "while True: pass"),
    "a long sleep": ("timed_out", "import time\ntime.sleep(100)"),
    "a fork bomb": ("starts_process", "import os\nwhile True:\n    os.fork()"),
    "a fork bomb that goes round Python's names": (
        "starts_process",
        """
        import _posixsubprocess, os
        while True:
            try:
                _posixsubprocess.fork_exec(
                    [b"/bin/true"], [b"/bin/true"], True, (), None, None, -1, -1, -1, -1, -1, -1,
                    *os.pipe(), False, False, -1, None, None, None, -1, None, False)
            except Exception:
                pass
        """,
    ),
    "a command": ("starts_process", "import subprocess\nsubprocess.run(['true'])"),
    "a pool of processes": (
        "starts_process",
        "import multiprocessing\nmultiprocessing.get_context('fork').Process(target=print).start()",
    ),
    "10 GB at once": ("out_of_memory", "x = bytearray(10 << 30)"),
    "10 GB bit by bit": ("out_of_memory", "x = []\nwhile True: x.append(bytearray(1 << 20))"),
    "a file outside": ("file_outside", "open('/tmp/shardmill-escaped', 'w')"),
    "a file above": ("file_outside", "open('../shardmill-escaped', 'w')"),
    "a file outside, quietly": (
        "file_outside",
        """
        import os
        try:
            os.open("/tmp/shardmill-escaped", os.O_CREAT | os.O_WRONLY)
        except BaseException:
            pass
        """,
    ),
    "removing a file outside": ("file_outside", "import os\nos.remove('/etc/shardmill-no-file')"),
    "moving a file out": (
        "file_outside",
        "import os\nopen('a', 'w').close()\nos.rename('a', '/tmp/shardmill-escaped')",
    ),
    "reading a file outside": ("file_outside", "print(open('/etc/passwd').read())"),
    "a link that leads out": ("file_outside", "import os\nos.symlink('/tmp', 'way')"),
    "a large file": ("file_too_large", "open('a', 'wb').write(bytes(2 << 20))"),
    "many files": ("too_many_files", "for n in range(100): open(str(n), 'w').close()"),
    "a socket": ("network", "import socket\nsocket.socket()"),
    "a socket, quietly": (
        "network",
        "import _socket\ntry: _socket.socket(2, 1)\nexcept BaseException: pass",
    ),
    "a page from the net": (
        "network",
        "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9')",
    ),
    "native code": ("native_code", "import ctypes\nctypes.CDLL(None).getpid()"),
    "a signal to another process": ("signals_process", "import os\nos.kill(os.getppid(), 0)"),
    "more rights": (
        "raises",
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))",
    ),
    "leaving before its asserts": ("exits", "import os\nos._exit(0)\nassert False"),
    "leaving in the usual way": ("exits", "import sys\nsys.exit(0)"),
    "claiming success": (
        "exits",
        "import os\nfor n in range(3, 64):\n    try: os.write(n, b'\\n')\n"
        "    except OSError: pass\nos._exit(0)",
    ),
    "a wrong assert": ("failed_assert", "def f(x): return x\nassert f(1) == 2"),
    "a test function": ("failed_assert", "def test_f():\n    assert 1 == 2"),
    "an error": ("raises", "[][0]"),
    "asking": ("raises", "input()"),
}


def test_each_deed_is_stopped_and_named() -> None:
    outcomes = run(*(code for _, code in DEEDS.values()))
    found = {name: outcome.reason for name, outcome in zip(DEEDS, outcomes, strict=True)}
    assert found == {name: reason for name, (reason, _) in DEEDS.items()}
    assert not Path("/tmp/shardmill-escaped").exists()


def test_what_programs_usually_do_is_let_through() -> None:
    outcomes = run(
        "assert 1 + 1 == 2",
        "print('much ' * 1_000_000)",
        """
        import asyncio
        async def later():
            await asyncio.sleep(0.01)
            return 3
        assert asyncio.run(later()) == 3
        """,
        """
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(abs, [-1, -2])) == [1, 2]
        """,
        """
        import os, pathlib, tempfile
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "a")
            path.write_text("hello")
            assert path.read_text() == "hello"
        assert os.listdir() == []
        """,
        "import sqlite3, json, csv, unittest, zoneinfo\nzoneinfo.ZoneInfo('UTC')",
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\nassert A(1) == A(1)",
        "try:\n    x = bytearray(10 << 30)\nexcept MemoryError:\n    pass",
        "for n in range(100): open('a', 'w').close()",
        "def test_two(given):\n    assert False",
        "def test_f():\n    assert True",
    )
    assert [outcome for outcome in outcomes if outcome.reason] == []


def test_no_program_sees_another_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDMILL_API_KEY", "secret")
    spoil = """
    import builtins, os, random, sys
    builtins.len = None
    sys.path[:] = []
    open("left", "w").close()
    random.seed(7)
    assert "secret" not in str(os.environ)
    """
    clean = """
    import os
    assert len("abc") == 3
    assert os.listdir() == []
    """
    draws = "import random\nassert random.random() == {}\nassert hash('a') == {}"
    first = run(spoil, *[clean] * 3)
    assert [outcome.reason for outcome in first] == [None] * 4
    shown = [run(draws.format(0, 0))[0].detail for _ in range(2)]
    assert shown[0] == shown[1]


def test_outcomes_stand_in_the_order_of_the_programs() -> None:
    outcomes = run(*("pass" if number % 3 else "assert False" for number in range(24)))
    assert [outcome.reason for outcome in outcomes] == ["failed_assert", None, None] * 8


def test_doctests_are_run_where_asked_for() -> None:
    code = 'def double(x):\n    """\n    >>> double(2)\n    {}\n    """\n    return 2 * x'
    right, wrong = (code.format(value) for value in (4, 5))
    programs = [
        Program((right,), doctests=True),
        Program((wrong,), doctests=True),
        Program((wrong,)),
        Program((right,), texts=("So\n\n>>> double(3)\n7\n",), doctests=True),
        Program(('def f():\n    """\n    >>> f()\n  1\n    """',), doctests=True),
    ]
    found = [outcome.reason for outcome in run_programs(programs, LIMITS)]
    assert found == [None, "failed_doctest", None, "failed_doctest", "failed_doctest"]


KERNEL_ONLY = """
import os, socket, sys, types
package = types.ModuleType("filters")
package.__path__ = [sys.argv[1]]
sys.modules["filters"] = package
from filters.confinement import confine_calls, confine_files, forbid_new_rights
landlock = sys.argv[3] == "landlock"
forbid_new_rights()
if landlock and not confine_files(sys.argv[2], [sys.prefix, sys.base_prefix, "/lib", "/usr/lib"]):
    print("no landlock")
    sys.exit()
confine_calls(landlock)
def deed(name, act):
    try:
        act()
        print(name, "done")
    except OSError as error:
        print(name, error.errno)
inside, outside = sys.argv[2] + "/a", sys.argv[4]
deed("socket", socket.socket)
deed("signal", lambda: os.kill(os.getppid(), 0))
deed("own signal", lambda: os.kill(os.getpid(), 0))
deed("inside", lambda: open(inside, "w").close())
deed("outside", lambda: open(outside, "w").close())
deed("append", lambda: open(outside, "a").close())
deed("remove", lambda: os.remove(outside))
deed("truncate", lambda: os.truncate(outside, 0))
deed("mode", lambda: os.chmod(outside, 0o777))
deed("read", lambda: open(outside).read())
deed("link", lambda: os.link(outside, inside + "2"))
deed("through a link", lambda: open(sys.argv[2] + "/way/outside", "w"))
deed("trace", lambda: open("/proc/1/mem").read(1))
sys.stdout.flush()
os.fork()
print("forked")
"""


@pytest.mark.parametrize("mode", ["landlock", "seccomp alone"])
def test_the_kernel_refuses_without_any_hook_of_pythons(tmp_path: Path, mode: str) -> None:
    folder, outside = tmp_path / "own", tmp_path / "outside"
    folder.mkdir()
    outside.write_text("kept")
    (folder / "way").symlink_to(tmp_path)
    filters = Path(confinement.__file__).parent
    command = [sys.executable, "-S", "-c", KERNEL_ONLY, str(filters), str(folder), mode]
    result = subprocess.run(
        [*command, str(outside)], capture_output=True, text=True, check=False, timeout=60
    )
    if "no landlock" in result.stdout:
        pytest.skip("this kernel has no Landlock")
    assert "forked" not in result.stdout
    found = dict(line.rsplit(" ", 1) for line in result.stdout.splitlines())
    guarded = mode == "landlock"
    assert found.pop("own signal") == "done"
    assert found.pop("inside") == ("done" if guarded else "1")
    assert found.pop("read") == ("13" if guarded else "done")
    found.pop("trace")
    assert set(found.values()) <= {"1", "13", "18"}
    assert len(found) == 9, result.stderr
    assert result.returncode == -31  # SIGSYS
    assert outside.read_text() == "kept"
    assert oct(os.stat(outside).st_mode)[-3:] != "777"


def test_nothing_is_run_where_nothing_guards(monkeypatch: pytest.MonkeyPatch) -> None:
    assert problem() == ""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "Linux" in confinement.supported()
