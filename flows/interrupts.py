"""Ctrl-C and SIGTERM while a loop runs: handled in the loop, and as before afterwards."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

from data.errors import Interrupted

NUMBERS = (signal.SIGINT, signal.SIGTERM)


def interrupted() -> Interrupted:
    return Interrupted("interrupted", fix="what arrived is kept, the same command resumes")


@contextlib.contextmanager
def interruptible(interrupt: Callable[[], bool]) -> Iterator[None]:
    """Each signal calls `interrupt`; where it gives False, the task ends with Interrupted. Outside
    the main thread the handlers of the flow's caller stay."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    cancelled = False

    def handle() -> None:
        nonlocal cancelled
        if not interrupt() and task:
            cancelled = True
            task.cancel()

    before = {number: signal.getsignal(number) for number in NUMBERS}
    try:
        for number in NUMBERS:
            loop.add_signal_handler(number, handle)
    except (ValueError, RuntimeError):
        yield
        return
    try:
        yield
    except asyncio.CancelledError:
        if cancelled:
            raise interrupted() from None
        raise
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler or signal.SIG_DFL)
