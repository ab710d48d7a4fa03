"""What a user should hear of a source that was read, though nothing is wrong with its rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from data.mapping import Scalar
from data.sources import passed_over
from flows.corpus_recipe import Reading


class Absent:
    """The paths of `where` and `where_not` that no row has had yet. A path whose values include
    null asks for rows without it."""

    def __init__(self, source: str, wheres: Mapping[str, Mapping[str, Sequence[Scalar]]]) -> None:
        self._source, self._rows = source, 0
        self._named = {
            path: key
            for key, values_of in wheres.items()
            for path, values in values_of.items()
            if None not in values
        }

    @property
    def paths(self) -> list[str]:
        return list(self._named)

    def saw(self, rows: int, present: Iterable[str]) -> None:
        """`present`: paths at which one of so many more rows has a value."""
        self._rows += rows
        for path in present:
            del self._named[path]

    def lines(self) -> list[str]:
        return [
            f"{self._source}: none of the {self._rows:,} rows read has {path!r}, which {key} names"
            for path, key in self._named.items()
            if self._rows
        ]


def files_passed_over(source: str, settings: Reading) -> Iterator[str]:
    """One line at most."""
    if settings.file is not None and (line := passed_over(settings.file, settings.form)):
        yield f"{source}: {line}"
