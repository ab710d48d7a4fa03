"""The samples that a filter for duplicates took for one: who stayed, and how alike they are."""

from typing import Any

import polars as pl

from data.errors import DamagedPart
from data.schema import show_id
from flows.lookup import find
from flows.stored import StoredStage


def cluster(stage: StoredStage, id: int, figures: dict[str, Any] | None) -> dict[str, Any] | None:
    """`kept`, the member that stays, and the other `members`, each with its similarity to the
    sample where the two were compared; None where the sample has no duplicate."""
    own = show_id(id)
    pairs = _pairs(stage)
    similar: dict[str, float | None] = {}
    if pairs is not None:
        joined, new = {own}, {own}
        while new:
            near = pairs.filter(pl.col("id").is_in(list(new)) | pl.col("other").is_in(list(new)))
            found = near.collect()
            for row in found.iter_rows(named=True):
                if own in (row["id"], row["other"]):
                    other = row["other"] if row["id"] == own else row["id"]
                    similar[other] = row["similarity"]
            new = {*found["id"], *found["other"]} - joined
            joined |= new
        similar = {member: similar.get(member) for member in joined - {own}}
    kept = str(figures["kept"]) if figures and "kept" in figures else own
    if pairs is None:
        similar = {member: None for member in _fallen(stage, kept) if member != own}
    if kept != own:
        similar.setdefault(kept, (figures or {}).get("similarity"))
    if not similar:
        return None
    members = [
        {"id": member, "similarity": share, "kept": member == kept}
        for member, share in sorted(
            similar.items(), key=lambda item: (-(item[1] if item[1] is not None else -1), item[0])
        )
    ]
    return {"kept": kept, "members": members}


def _pairs(stage: StoredStage) -> pl.LazyFrame | None:
    """`id`, `other` as hex digits and `similarity`, where the filter compared pairs."""
    files = stage.files("pairs")
    return pl.scan_parquet(files, glob=False) if files else None


def _fallen(stage: StoredStage, kept: str) -> list[str]:
    """The ids whose verdict names `kept`."""
    places = find(stage, [(int(kept, 16),) * 2], column="kept")["part"].unique().sort()
    files = [file for part in places if (file := stage.file(part))]
    if not files:
        return []
    names = pl.col("figures").str.json_path_match("$.kept") == kept
    try:
        found = pl.scan_parquet(files, glob=False).filter(names).select("id").collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DamagedPart(files[0]) from error
    return [show_id(id) for id in found["id"]]
