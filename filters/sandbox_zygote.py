"""The process that runs programs for filters/sandbox.py: warm imports, one fork a program.

It never runs a program itself, so that none can influence another; each child confines itself
before it compiles its program. No site-packages, an empty environment, a fixed hash seed.

A message is eight bytes of length and JSON, both ways. First come the limits, then programs.
"""

import doctest
import gc
import importlib
import json
import os
import random
import resource
import select
import shutil
import signal
import struct
import sys
import tempfile
import types
import warnings
from typing import Any, NoReturn

from filters.audit import READABLE, watch
from filters.confinement import confine_calls, confine_files, forbid_new_rights

WARM = (
    *("asyncio", "bisect", "collections", "copy", "csv", "dataclasses", "datetime", "decimal"),
    *("enum", "fractions", "functools", "hashlib", "heapq", "itertools", "math", "operator"),
    *("re", "statistics", "string", "textwrap", "threading", "time", "typing"),
)
"""What generated programs like to import: it costs once here."""

_POLL = 0.05
"""Seconds."""


def main() -> None:
    limits = _receive()
    for name in WARM:
        importlib.import_module(name)
    gc.freeze()
    while (program := _receive()) is not None:
        _send(_run(program, limits))


def _run(program: dict[str, Any], limits: dict[str, int]) -> dict[str, str]:
    """Run a program in a child and a folder of its own; the reason it failed for, or ""."""
    folder = tempfile.mkdtemp(prefix="shardmill-")
    reads, writes = os.pipe()
    token = os.urandom(8).hex()
    pid = os.fork()
    if not pid:
        try:
            _child(program, limits, os.path.realpath(folder), writes, token)
        finally:
            os._exit(1)
    os.close(writes)
    watched = os.pidfd_open(pid)
    idle = 0.0
    while idle < limits["idle_seconds"] and not select.select([watched], [], [], _POLL)[0]:
        idle += _POLL * _is_idle(pid)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    in_time = idle < limits["idle_seconds"]
    said = b""
    while chunk := os.read(reads, 1 << 16):
        said += chunk
    os.close(reads)
    os.close(watched)
    shutil.rmtree(folder, ignore_errors=True)
    return _verdict(said, token.encode(), status, in_time)


def _is_idle(pid: int) -> bool:
    """Whether it sleeps or waits. One that gets no processor is not idle: a busy machine fails
    no program."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] not in (b"R", b"D")


def _verdict(said: bytes, token: bytes, status: int, in_time: bool) -> dict[str, str]:
    _, marked, message = said.rpartition(token)
    if marked:
        reason, _, detail = message.decode("utf-8", "replace").partition("\n")
        return {"reason": reason, "detail": detail}
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if not in_time or ended_by == signal.SIGXCPU:
        return {"reason": "timed_out", "detail": ""}
    if ended_by == signal.SIGSYS:
        return {"reason": "starts_process", "detail": "stopped by seccomp"}
    if ended_by:
        return {"reason": "crashed", "detail": signal.Signals(ended_by).name}
    return {"reason": "exits", "detail": "ended before its last line"}


def _child(
    program: dict[str, Any], limits: dict[str, int], folder: str, pipe: int, token: str
) -> NoReturn:
    write, leave = os.write, os._exit

    def end(reason: str, detail: str = "") -> NoReturn:
        write(pipe, f"{token}{reason}\n{detail[:500]}".encode("utf-8", "replace"))
        leave(0)

    out_of_memory = f"{token}out_of_memory\n".encode()
    try:
        _settle(folder, pipe)
        _limit(limits)
        forbid_new_rights()
        guarded = confine_files(folder, READABLE)
        confine_calls(may_write=guarded)
    except OSError as error:
        end("not_confined", str(error))
    for name in [name for name in sys.modules if name.partition(".")[0] in ("ctypes", "_ctypes")]:
        del sys.modules[name]
    sys.addaudithook(watch(folder, limits["files"], end))
    try:
        reason, detail = _execute(program)
    except MemoryError:
        write(pipe, out_of_memory)
        leave(0)
    end(reason, detail)


def _settle(folder: str, pipe: int) -> None:
    """An empty folder, closed input, no output, none of the zygote's files."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.closerange(3, pipe)
    os.closerange(pipe + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # type: ignore[misc] # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # type: ignore[misc] # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", encoding="utf-8", closefd=False)  # type: ignore[misc] # noqa: SIM115
    os.chdir(folder)
    os.environ.update(HOME=folder, TMPDIR=folder)
    tempfile.tempdir = folder
    random.seed(0)


def _limit(limits: dict[str, int]) -> None:
    memory, size = limits["memory_mb"] << 20, limits["file_mb"] << 20
    seconds = limits["seconds"]
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _execute(program: dict[str, Any]) -> tuple[str, str]:
    """The program's code, its functions named test..., and its doctests where asked for."""
    module = types.ModuleType("sample")
    sys.modules["sample"] = module
    place: Any = None
    try:
        warnings.simplefilter("ignore")
        for place in program["code"]:
            code = compile(place, "sample", "exec", dont_inherit=True)
            exec(code, module.__dict__)  # noqa: S102
        place = None
        for name, found in list(vars(module).items()):
            if name.startswith("test") and _is_own(found) and not found.__code__.co_argcount:
                found()
        if program["doctests"]:
            _run_doctests(module, program["texts"])
    except MemoryError:
        raise
    except doctest.DocTestFailure as failure:
        example = f"{failure.example.source.strip()} gives {failure.got.strip()}"
        return "failed_doctest", f"{example}, not {failure.example.want.strip()}"
    except _Malformed as malformed:
        return "failed_doctest", str(malformed)
    except doctest.UnexpectedException as unexpected:
        return _named(unexpected.exc_info[1], unexpected.example.source.strip())
    except BaseException as error:  # noqa: BLE001
        return _named(error, _line(error, place))
    return "", ""


class _Malformed(Exception):
    """Examples that cannot be read."""


def _is_own(found: Any) -> bool:
    return isinstance(found, types.FunctionType) and found.__module__ == "sample"


def _run_doctests(module: types.ModuleType, texts: list[str]) -> None:
    runner = doctest.DebugRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    parse = doctest.DocTestParser().get_doctest
    try:
        tests = doctest.DocTestFinder().find(module, "sample")
        tests += [parse(text, vars(module), "text", None, 0) for text in texts]
    except ValueError as error:
        raise _Malformed(str(error)) from None
    for test in tests:
        runner.run(test, out=lambda text: None)


def _named(error: BaseException | None, where: str) -> tuple[str, str]:
    shown = f"{type(error).__name__}: {error}"[:300]
    if isinstance(error, MemoryError):
        raise error
    if isinstance(error, AssertionError):
        return "failed_assert", f"{where} {error}".strip()
    if isinstance(error, SystemExit):
        return "exits", where
    if isinstance(error, OSError) and error.errno == 27:
        return "file_too_large", where
    return "raises", f"{shown} in {where}" if where else shown


def _line(error: BaseException, code: str | None) -> str:
    """The line of the program's own that an error passed last."""
    trace, number = error.__traceback__, 0
    while trace:
        if trace.tb_frame.f_code.co_filename == "sample":
            number = trace.tb_lineno
        trace = trace.tb_next
    lines = (code or "").splitlines()
    return lines[number - 1].strip() if 0 < number <= len(lines) else ""


def _receive() -> Any:
    """The next message; None where the other side has closed."""
    head = _exactly(8)
    return json.loads(_exactly(struct.unpack("=Q", head)[0])) if head else None


def _exactly(size: int) -> bytes:
    found = b""
    while len(found) < size:
        chunk = os.read(0, size - len(found))
        if not chunk:
            return b""
        found += chunk
    return found


def _send(message: Any) -> None:
    body = json.dumps(message).encode()
    body = struct.pack("=Q", len(body)) + body
    while body := body[os.write(1, body) :]:
        pass
