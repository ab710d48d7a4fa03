"""Draws funnel.svg: what became of each source's samples in a finished build.

python docs/funnel.py OUT docs/funnel.svg
"""

import sys
from pathlib import Path
from xml.sax.saxutils import escape

import polars as pl

WIDTH, LEFT, RIGHT, ROW = 780, 96, 130, 28
COLOURS = ("#2f7d5b", "#b8c4d0", "#e0a458", "#c8553d", "#7b6d8d", "#5b8db8", "#d9a5b3", "#8d99ae")
"""Of kept samples first; the filters follow in their order."""


def count(out: Path) -> tuple[pl.DataFrame, list[str]]:
    """A row a source, a column for `kept` and for each filter that rejected something."""
    funnel = pl.read_csv(out / "funnel.csv").filter(pl.col("stage") != "asked")
    fate = pl.coalesce("filter", "stage")
    stages = funnel.select(stage="stage", fate=fate).unique(maintain_order=True)
    later = stages.filter(pl.col("fate") != "kept")
    # "2 length" comes behind "1 ...", and parsing before both
    order = later.with_columns(at=pl.col("stage").str.extract(r"^(\d+)").cast(pl.Int64))
    filters = order.sort("at", nulls_last=False)["fate"].unique(maintain_order=True).to_list()
    table = funnel.with_columns(fate=fate).pivot(
        "fate", index="source", values="rows", aggregate_function="sum"
    )
    return table.fill_null(0), ["kept", *filters]


def draw(table: pl.DataFrame, fates: list[str]) -> str:
    span, most = WIDTH - LEFT - RIGHT, max(table.select(pl.sum_horizontal(fates)).to_series())
    colours = dict(zip(fates, COLOURS, strict=False))
    lines = []
    x, y = 12.0, 20
    for fate in fates:
        size = 30 + 7.4 * len(fate)
        if x + size > WIDTH:
            x, y = 12.0, y + 22
        lines.append(f'<rect x="{x:.0f}" y="{y - 11}" width="13" height="13" '
                     f'fill="{colours[fate]}"/>')  # fmt: skip
        lines.append(f'<text x="{x + 18:.0f}" y="{y}" fill="#222222">{escape(fate)}</text>')
        x += size
    for number, row in enumerate(table.to_dicts()):
        top, at = y + 20 + ROW * number, float(LEFT)
        middle, asked = top + 16, sum(row[fate] for fate in fates)
        lines.append(f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end" '
                     f'fill="#222222">{escape(row["source"])}</text>')  # fmt: skip
        for fate in fates:
            wide = span * row[fate] / most
            if wide:
                lines.append(f'<rect x="{at:.1f}" y="{top}" width="{wide:.1f}" height="22" '
                             f'fill="{colours[fate]}"/>')  # fmt: skip
            at += wide
        lines.append(f'<text x="{at + 8:.0f}" y="{middle}" fill="#222222">'
                     f"{row['kept']:,} of {asked:,} kept</text>")  # fmt: skip
    height = y + 20 + ROW * len(table) + 4
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="13" role="img">',
        "<title>What became of each source's samples</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    return "\n".join([*head, *lines, "</svg>", ""])


if __name__ == "__main__":
    table, fates = count(Path(sys.argv[1]))
    Path(sys.argv[2]).write_text(draw(table, fates), encoding="utf-8")
