"""The recipe's corpora, and what seeds have in common with them: rows of files and hub sets."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from data.errors import SourceError
from data.mapping import DEFAULTS, Mapped, Scalar
from flows.engine_recipe import HUGE, Block


class Reading(Block):
    """Rows of a file or a hub set."""

    file: str | None = None
    """JSON (Lines), CSV, Parquet, Arrow or text, .gz or .zst too; a folder of them; a glob. Here,
    or in a bucket: s3://bucket/folder."""
    hub: str | None = None
    """A dataset of the hub, or a folder laid out as one, read as a stream."""
    name: str | None = None
    """The hub set's configuration."""
    data_dir: str | None = None
    """The folder of the hub set that is read, where it has no configurations."""
    split: str = "train"
    """The hub set's split; train finds train_sft too."""
    revision: str | None = None
    """The hub set's commit or tag; without it a set that changes is not read again."""
    where: dict[str, Scalar | tuple[Scalar, ...]] = Field(default_factory=dict)
    """path: value or values; other rows are passed over."""
    where_not: dict[str, Scalar | tuple[Scalar, ...]] = Field(default_factory=dict)
    """path: value or values; rows that have one are passed over."""
    limit: int | None = Field(None, ge=1, le=10 * HUGE)
    """Rows to take at most."""
    bad_rows: Literal["stop", "skip"] = "stop"
    """A row that cannot be read or lacks a column stops the build, or is counted."""
    sample: str | None = None
    """A small file of such rows, which is read in place of all with --offline."""
    _stands_for: str | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _hub_only(self) -> Self:
        if self.hub is None and (
            self.name or self.data_dir or self.revision or "split" in self.model_fields_set
        ):
            raise ValueError("name, data_dir, split and revision belong to a hub set")
        return self

    @property
    def wheres(self) -> dict[str, dict[str, tuple[Scalar, ...]]]:
        """`where` and `where_not` with lists of values; left out where empty."""
        return {
            key: {
                path: value if isinstance(value, tuple) else (value,)
                for path, value in getattr(self, key).items()
            }
            for key in ("where", "where_not")
            if getattr(self, key)
        }

    def offline(self) -> Self:
        """The rows of the sample. What lies in a file or a folder needs no sample."""
        if self.sample is None:
            return self
        gone = {"hub": None, **dict.fromkeys(("name", "data_dir", "revision")), "split": "train"}
        sampled = self.model_copy(update={**gone, "file": self.sample})
        sampled._stands_for = self.hub or self.file
        return sampled

    @property
    def stands_for(self) -> str | None:
        """Of a shipped sample: the set in whose place it is read."""
        return self._stands_for

    @property
    def form(self) -> str | None:
        """How the files are read, where not as their suffixes say."""
        return None

    @property
    def far(self) -> bool:
        """Whether reading needs a network, or its cache."""
        return self.hub is not None and not Path(self.hub).is_dir()


class Expect(Block):
    """What the whole set holds, for estimates."""

    rows: int | None = Field(None, ge=1)
    """Rows of the set."""
    tokens: int | None = Field(None, ge=1)
    """Tokens of the set."""


class Corpus(Reading):
    """Documents or conversations that are read, not generated."""

    as_: Literal["text", "messages", "notebook"] = Field("text", alias="as")
    """A row is a text, a conversation, or a Jupyter notebook that becomes a script."""
    columns: dict[str, str] = Field(default_factory=dict)
    """sample's column: the row's column, a path such as messages.0.content, or a text with
    columns in braces. text; or messages, or system, user, assistant; besides topic, format,
    audience, seed_text, prompt, licence."""
    meta: tuple[str, ...] = ()
    """The row's columns that the sample's meta keeps."""
    tag: str | None = Field(None, min_length=1, max_length=64)
    """What templates write before it: Math, Code, Textbook, ..."""
    licence: str = "unknown"
    """The licence of the documents; the card tells it."""
    expect: Expect = Field(default_factory=lambda: Expect.model_validate({}))
    """What the whole set holds, where it is not read to the end."""

    @model_validator(mode="after")
    def _mappable(self) -> Self:
        if (self.file is None) == (self.hub is None):
            raise ValueError("name either a file or a hub set")
        try:
            self.mapped.check()
        except SourceError as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def mapped(self) -> Mapped:
        columns = self.columns
        if not columns.keys() & {"text", "messages", "user", "assistant"}:
            columns = {**DEFAULTS[self.as_], **columns}
        return Mapped(self.as_, columns, self.meta, **self.wheres)

    @property
    def shown(self) -> str:
        return self.file or f"hub set {self.hub}"

    def scaled(self, scale: float) -> "Corpus":
        """Its limit, or what it is expected to hold, times `scale`."""
        rows = self.limit or (self.expect.rows if scale < 1 else None)
        return self.model_copy(update={"limit": rows and max(1, round(rows * scale))})

    def identity(self) -> dict[str, Any]:
        """The settings that its samples follow from, but for the files' contents."""
        left_out = {"file", "sample", "expect"}
        return self.model_dump(mode="json", exclude=left_out, exclude_defaults=True)
