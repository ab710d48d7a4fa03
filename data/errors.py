"""Every error that shardmill raises on purpose.

    ShardmillError            exit 1   something failed; what is done is kept
    |-- RecipeError           exit 2   the recipe or the command is wrong; nothing was run
    |-- SourceError           exit 2   seeds or a corpus cannot be read or lack a column
    |-- EngineError           exit 1   no server, or it refuses to answer
    |-- BudgetReached         exit 1   engine.budget is used up; raise it to go on
    |-- OutputError           exit 1   OUT cannot be written: rights, disk full, taken
    |-- StoreError            exit 1   an object store cannot be reached or refuses
    |-- DamagedPart           exit 1   a file differs from the checksum in its manifest
    `-- Interrupted           exit 130 Ctrl-C; the same command resumes

An error is one line: what is wrong, where, and what to do.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path


class ShardmillError(Exception):
    """Base of the tree; `str()` gives the one line that a user reads."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        parts = (f"{where}: " if where else "", what, f"; {fix}" if fix else "")
        super().__init__("".join(parts))

    def __reduce__(self) -> tuple[object, ...]:
        return (_restore, (type(self), dict(self.__dict__), str(self)))


def _restore(cls: type[ShardmillError], state: dict[str, object], line: str) -> ShardmillError:
    error = cls.__new__(cls)
    Exception.__init__(error, line)
    error.__dict__.update(state)
    return error


class RecipeError(ShardmillError):
    exit_code = 2


class SourceError(ShardmillError):
    exit_code = 2


class EngineError(ShardmillError):
    pass


class BudgetReached(ShardmillError):
    pass


class OutputError(ShardmillError):
    pass


class StoreError(ShardmillError):
    pass


class DamagedPart(ShardmillError):
    """`path` names the file, so that the build can drop it and make it again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            "differs from the checksum in its manifest", where=str(path), fix="run the build again"
        )


class Interrupted(ShardmillError):
    exit_code = 130


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint such as "did you mean 'samples'?", or the list of what is known."""
    options = sorted(known)
    close = difflib.get_close_matches(word, options, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(options)}" if options else "none are known"
