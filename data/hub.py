"""Rows of a dataset of the hub, or of a local folder laid out as one, streamed."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from data.errors import SourceError
from data.rows import Row

ALIASES = ("{}_sft", "{}_gen", "{}_prefs")
"""Names under which sets keep what others call `train` and `test`."""
BATCH_ROWS = 1024
STOPS = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")


def read_hub(
    name: str,
    config: str | None = None,
    split: str = "train",
    revision: str | None = None,
    data_dir: str | None = None,
) -> Iterator[tuple[int, Row]]:
    """Each row with its number; raises as `read_hub_tables` does."""
    number = 0
    for table in read_hub_tables(name, config, split, revision, data_dir):
        for row in table.to_pylist():
            number += 1
            yield number, row


def read_hub_tables(
    name: str,
    config: str | None = None,
    split: str = "train",
    revision: str | None = None,
    data_dir: str | None = None,
) -> Iterator[pa.Table]:
    """The rows in tables of BATCH_ROWS. Raises SourceError for a set that is missing, gated,
    without the configuration or split, or out of reach."""
    import datasets  # 1.5 seconds, for hub sets alone

    offline = switched_off()
    datasets.disable_progress_bars()
    quiet()
    try:
        found: Any = datasets.load_dataset(
            name,
            config,
            data_dir=data_dir,
            revision=revision,
            streaming=Path(name).is_dir() or not offline,
        )
        rows = found[find_split(list(found), split)]
        yield from rows.with_format("arrow").iter(batch_size=BATCH_ROWS)
    except SourceError as error:
        raise SourceError(error.what, where=f"hub set {name}", fix=error.fix) from None
    except Exception as error:
        raise _explained(error, name, offline) from error


def quiet() -> None:
    """Of the hub's libraries, once imported: what they retry in vain is told by our one line."""
    for name in ("datasets", "huggingface_hub", "httpx", "urllib3", "fsspec"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def switched_off() -> bool:
    """Whether the environment says that the hub is not to be asked."""
    return any(os.environ.get(key, "").lower() in ("1", "true", "yes", "on") for key in STOPS)


def find_split(there: list[str], wanted: str) -> str:
    """The split `wanted`, or the one that is its other name. Raises SourceError for neither."""
    plain = wanted
    for alias in ALIASES:
        plain = plain.removesuffix(alias[2:])
    for name in (wanted, plain, *(alias.format(plain) for alias in ALIASES)):
        if name in there:
            return name
    raise SourceError(f"has no split {wanted!r}", fix=f"it has {', '.join(there)}")


def _explained(error: Exception, name: str, offline: bool) -> SourceError:
    """The libraries below raise a dozen types for the same few things: their words tell."""
    kinds = {cls.__name__ for cls in type(error).__mro__}
    text = " ".join(str(error).split())
    where = f"hub set {name}"
    if "gated" in text.lower() or "GatedRepoError" in kinds:
        fix = "accept its terms on the hub, then set HF_TOKEN"
        return SourceError("is gated", where=where, fix=fix)
    if offline and not Path(name).is_dir():
        fix = "unset HF_HUB_OFFLINE and HF_DATASETS_OFFLINE, or give a file"
        return SourceError("is not in the cache, and the hub is switched off", where=where, fix=fix)
    if ("onfig" in text and "missing" in text) or "BuilderConfig" in text:
        fix = f"give its configuration as seeds.name: {text[:200]}"
        return SourceError("has several configurations", where=where, fix=fix)
    if kinds & {"DatasetNotFoundError", "RepositoryNotFoundError", "FileNotFoundError"}:
        return SourceError(
            "does not exist or is private",
            where=where,
            fix="check its name; HF_TOKEN gives access to a private one",
        )
    if kinds & {"OSError", "ConnectionError", "HTTPError", "TransportError"}:
        fix = "check the network and HF_ENDPOINT, or give a file"
        return SourceError(f"is out of reach ({text[:120]})", where=where, fix=fix)
    return SourceError(f"cannot be read ({type(error).__name__}: {text[:200]})", where=where)
