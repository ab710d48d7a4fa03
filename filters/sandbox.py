"""Run programs that nobody has read, each in a process that can do next to nothing.

What holds, on Linux with x86-64 or arm64 and without root or packages:

- by the kernel, whatever the program does: seccomp (no process but this one, no socket, no signal
  to others), Landlock (files only in an empty folder of its own; the standard library readable),
  limits on processor time, memory and file size, time it may sleep; an empty
  environment, closed input, output to nowhere, one process a program;
- by a Python audit hook (filters/audit.py), which a hostile program could get round: the names of
  the deeds, the number of files, and, on kernels before 5.13, that nothing outside is read. There
  the kernel refuses every opening for writing instead;
- not against a program that searches its own process for the means: that it says of itself that
  it ran to its end. It can pass so, and still do nothing else.

Elsewhere there is no such guard and nothing is run: `problem` says why.
"""

import contextlib
import functools
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data.errors import ShardmillError
from filters.confinement import supported

_START = """
import sys, types
package = types.ModuleType("filters")
package.__path__ = [sys.argv[1]]
sys.modules["filters"] = package
from filters.sandbox_zygote import main
main()
"""
"""The package without its __init__, which needs polars; read by filters.filter_source:
from filters.sandbox_zygote import main"""

_ENVIRONMENT = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "MALLOC_ARENA_MAX": "1"}


@dataclass(frozen=True)
class Limits:
    seconds: int = 5
    """Of processor time."""
    idle_seconds: int = 5
    """Of sleeping or waiting; a program that only gets no processor does not use them up."""
    memory_mb: int = 1024
    file_mb: int = 8
    """Of each file."""
    files: int = 32


@dataclass(frozen=True)
class Program:
    """`code`: modules run one after the other in one namespace; `doctests`: whether examples in
    docstrings and in `texts` are run too."""

    code: tuple[str, ...]
    texts: tuple[str, ...] = ()
    doctests: bool = False


@dataclass(frozen=True)
class Outcome:
    """`reason` is None where the program ran to its end; `detail` says where or what.

    timed_out, out_of_memory, starts_process, signals_process, network, file_outside,
    file_too_large, too_many_files, native_code, failed_assert, failed_doctest, raises, exits,
    crashed.
    """

    reason: str | None
    detail: str


@functools.cache
def problem() -> str:
    """Why nothing can be run here; empty where the guards stand."""
    found = supported()
    if found:
        return found
    try:
        outcome = run_programs([Program(("assert True",))])[0]
    except (OSError, ShardmillError) as error:
        return str(error)
    return "" if outcome.reason is None else f"{outcome.reason}: {outcome.detail}"


def run_programs(programs: Sequence[Program], limits: Limits | None = None) -> list[Outcome]:
    """The outcome of each program, in their order; as many at a time as there are processors."""
    outcomes: list[Outcome | None] = [None] * len(programs)
    waiting = iter(list(enumerate(programs)))
    lock = threading.Lock()
    errors: list[OSError | ShardmillError] = []

    def work() -> None:
        try:
            with _zygote(limits or Limits()) as zygote:
                while True:
                    with lock:
                        number, program = next(waiting, (None, None))
                    if number is None or program is None or errors:
                        return
                    outcomes[number] = _ask(zygote, program)
        except (OSError, ShardmillError) as error:
            errors.append(error)

    count = min(os.cpu_count() or 1, -(-len(programs) // 8))
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [outcome for outcome in outcomes if outcome]


@contextlib.contextmanager
def _zygote(limits: Limits) -> "Iterator[subprocess.Popen[bytes]]":
    folder = str(Path(__file__).resolve().parent)
    command = [sys.executable, "-S", "-s", "-P", "-B", "-c", _START, folder]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_ENVIRONMENT,
        cwd="/",
        start_new_session=True,
    ) as process:
        _write(process, asdict(limits))
        yield process


def _ask(zygote: "subprocess.Popen[bytes]", program: Program) -> Outcome:
    _write(zygote, asdict(program))
    answers = zygote.stdout
    head = answers.read(8) if answers else b""
    if answers is None or len(head) < 8:
        raise ShardmillError("the sandbox's process has ended", fix="run the command again")
    found = json.loads(answers.read(struct.unpack("=Q", head)[0]))
    if found["reason"] == "not_confined":
        raise ShardmillError(f"a program could not be confined: {found['detail']}")
    return Outcome(found["reason"] or None, found["detail"])


def _write(zygote: "subprocess.Popen[bytes]", message: Any) -> None:
    body = json.dumps(message).encode()
    if zygote.stdin:
        zygote.stdin.write(struct.pack("=Q", len(body)) + body)
        zygote.stdin.flush()
