"""Builds over one OUT take turns at what only one of them may do at a time."""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

Turn = Callable[[str], AbstractContextManager[None]]
"""Given a name, a context that one build at a time is in."""
_turns: list[Turn] = []
"""The one of a build that shares its folder; none otherwise."""


@contextmanager
def shared(turn: Turn) -> Iterator[None]:
    """While this lasts other builds make parts of the same stages: a stage begins and ends in
    turns, and what another has finished, or is writing, is left alone."""
    _turns.append(turn)
    try:
        yield
    finally:
        _turns.pop()


def is_shared() -> bool:
    return bool(_turns)


@contextmanager
def own_turn(folder: Path) -> Iterator[None]:
    """Alone among the builds, with the folder as it is on the file server."""
    with _turns[-1](f"{folder.name}.turn") if _turns else nullcontext():
        look_anew(folder)
        yield


def look_anew(folder: Path) -> None:
    """A network file system remembers for up to a minute which files there are and how old;
    where something is opened it asks the server."""
    if _turns:
        with contextlib.suppress(OSError):
            os.close(os.open(folder, os.O_RDONLY))
