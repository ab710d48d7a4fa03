"""From a sample to the text that is tokenized. `TEMPLATES` maps a name to its function.

A template sees a polars frame of samples and gives one string a row; the end-of-text id is
appended behind each by the tokenize stage.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import polars as pl


def plain(samples: pl.DataFrame) -> pl.Series:
    """The text; of a conversation the contents of its turns, a blank line between."""
    turns = pl.col("messages").list.eval(pl.element().struct.field("content")).list.join("\n\n")
    return samples.select(pl.coalesce("text", turns).alias("text"))["text"]


def nanophi(samples: pl.DataFrame) -> pl.Series:
    """`[Tag] ` before the text of a tagged sample, untagged ones as plain."""
    tag = pl.format("[{}] ", "tag").fill_null("")
    return samples.select(text=tag + pl.lit(plain(samples)))["text"]


def template_source() -> str:
    """sha256 of this file: tokens made with other templates are other tokens."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


TEMPLATES: dict[str, Callable[[pl.DataFrame], pl.Series]] = {"plain": plain, "nanophi": nanophi}
