"""The samples that a filter for duplicates found alike: who stays, and how alike they are."""

from typing import Any

import polars as pl

from data.errors import DamagedPart
from data.schema import show_id
from flows.lookup import find, one_row, rows_of
from flows.stored import StoredStage


def cluster(stage: StoredStage, id: int, figures: dict[str, Any] | None) -> dict[str, Any] | None:
    """`kept`, the member for which the sample fell or itself, and the other `members`, each with
    whether this filter kept it and its similarity to the sample where the two were compared;
    None where none is alike. All of a cluster are members, through however many others."""
    own = show_id(id)
    similar: dict[str, float | None] = dict.fromkeys(_together(stage, id))
    similar |= _compared(stage, own)
    kept = str(figures["kept"]) if figures and "kept" in figures else own
    similar.setdefault(kept, (figures or {}).get("similarity"))
    similar.pop(own, None)
    if not similar:
        return None
    numbers = [int(member, 16) for member in similar]
    fallen = {show_id(number) for number in find(stage, [(n, n) for n in numbers])["id"]}
    members = [
        {"id": member, "similarity": share, "kept": member not in fallen}
        for member, share in sorted(
            similar.items(), key=lambda item: (-(item[1] if item[1] is not None else -1), item[0])
        )
    ]
    return {"kept": kept, "members": members}


def _together(stage: StoredStage, id: int) -> list[str]:
    """All samples of the one's cluster."""
    for file in stage.files("clusters"):
        if row := one_row(file, id):
            together = rows_of(file, int(str(row["cluster"])), "cluster")
            return [show_id(int(str(each["id"]))) for each in together]
    return []


def _compared(stage: StoredStage, own: str) -> dict[str, float | None]:
    """What the sample was compared with, references too, and how alike it is."""
    files = stage.files("pairs")
    if not files:
        return {}
    pairs = pl.scan_parquet(files, glob=False)
    try:
        found = pairs.filter((pl.col("id") == own) | (pl.col("other") == own)).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DamagedPart(files[0]) from error
    return {
        b if a == own else a: share
        for a, b, share in found.select("id", "other", "similarity").iter_rows()
    }
