"""The process in which small models are trained, and what it says while it works.

torch lives in an environment of its own: flows/trainer.py runs there and is told ids, sizes and
folders as JSON.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from data import ROOT
from data.errors import Interrupted, ShardmillError
from data.leases import lock
from flows.checkpoints import commit
from flows.progress import EVERY, clock
from flows.training import Job, Run, trainer_python

LOG = "trainer.log"


def do_runs(runs: list[Run], screen: Console, then: list[Job] | None = None) -> list[Job]:
    """Train what is not finished, then do the other jobs; gives what those found."""
    with ExitStack() as locks:
        for run in runs:
            locks.enter_context(lock(run.folder))
            run.begin()
            if run.done:
                screen.print(f"finished before: {run.folder}", markup=False)
        jobs = [run.job for run in runs if not run.done] + (then or [])
        return _run_jobs(jobs, screen) if jobs else []


def _run_jobs(jobs: list[Job], screen: Console) -> list[Job]:
    """Do the jobs in one process; gives the events of evaluations.

    Raises ShardmillError with the trainer's last words, Interrupted after Ctrl-C.
    """
    folder = Path(jobs[0]["folder"])
    commit(folder / "jobs.json", jobs)
    # appended, so that packages of the trainer's environment come first
    start = f"import runpy, sys; sys.path.append({str(ROOT)!r}); "
    start += "runpy.run_module('flows.trainer', run_name='__main__')"
    offline = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "TOKENIZERS_PARALLELISM": "false"}
    found: list[Job] = []
    words = [str(trainer_python()), "-P", "-c", start, str(folder / "jobs.json")]
    environment = {**os.environ, **offline}
    with (
        open(folder / LOG, "w") as log,
        subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        ) as process,
    ):
        try:
            with _line(screen) as show:
                found = [event for event in _events(process) if not show(jobs, event)]
            code = process.wait()
        except KeyboardInterrupt:
            _stop(process)
            code = Interrupted.exit_code
        finally:
            if process.poll() is None:
                process.kill()
    if code == Interrupted.exit_code:
        raise Interrupted("interrupted", fix="what is done is kept, the same command resumes")
    if code:
        raise ShardmillError(_last_words(found, folder / LOG, code))
    return found


def _stop(process: "subprocess.Popen[str]") -> None:
    """Let the step end and its checkpoint be written; a second Ctrl-C kills."""
    process.terminate()
    try:
        process.communicate()
    except KeyboardInterrupt:
        process.kill()


def _events(process: "subprocess.Popen[str]") -> Iterator[dict[str, Any]]:
    if process.stdout is not None:
        for line in process.stdout:
            yield json.loads(line)


def _last_words(found: list[dict[str, Any]], log: Path, code: int) -> str:
    said = [event["error"] for event in found if "error" in event]
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    last = said or ([f"killed by signal {-code}"] if code < 0 else lines[-1:]) or [f"exit {code}"]
    return f"the training stopped: {last[0]}; all it said is in {log}, the same command resumes"


@contextmanager
def _line(screen: Console) -> Iterator[Any]:
    """A line that is kept fresh on a terminal, and said now and then elsewhere. What it gives
    takes the jobs and an event, and tells whether it was one of progress."""
    status = screen.status("starting torch") if screen.is_terminal else None
    said, begun = -EVERY, time.monotonic()
    first = 0
    job: Job = {}

    def show(jobs: list[Job], event: dict[str, Any]) -> bool:
        nonlocal said, begun, first, job
        if "job" in event:
            job = next(j for j in jobs if j["folder"] == event["job"])
            said, begun, first = -EVERY, time.monotonic(), 0
        elif "resumed" in event:
            first = event["resumed"]
            screen.print(f"resuming at step {first}")
        elif "step" in event:
            line = _shown(event, job["steps"], first, time.monotonic() - begun)
            if status:
                status.update(line)
            elif time.monotonic() - said >= EVERY or event["step"] == job["steps"]:
                said = time.monotonic()
                screen.print(line, markup=False)
        else:
            return False
        return True

    if status is None:
        yield show
        return
    with status:
        yield show


def _shown(event: dict[str, Any], steps: int, first: int, seconds: float) -> str:
    step = event["step"]
    left = (steps - step) * seconds / max(1, step - first)
    held = f"  validation {event['validation']:.3f}" if event["validation"] is not None else ""
    return (
        f"train {step}/{steps} ({step / steps:.0%})  loss {event['loss']:.3f}{held}  "
        f"{event['rate']:,.0f} tokens/s  ETA {clock(left)}"
    )
