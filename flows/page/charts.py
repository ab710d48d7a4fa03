"""Pictures as inline SVG, drawn by Vega without a browser, a network or a script in the page.

Colours are the page's CSS variables, so that a picture follows light and dark. Each is drawn
twice, for a page and for a phone: what is only scaled cannot be read there.
"""

from typing import Any

from markupsafe import Markup

WIDE, NARROW = 920, 320
"""Width in CSS pixels."""
COLOURS = 8
"""--s1 to --s8 in the style sheet."""

Spec = dict[str, Any]

_SI = "abs(datum.value) < 1 ? format(datum.value, '~g') : format(datum.value, '~s')"
"""12k for 12,000, 0 without a unit, and 0.5 where ~s has 500m."""

_CONFIG: Spec = {
    "font": "Liberation Sans",
    "aria": False,
    "view": {"stroke": None},
    "axis": {
        "aria": False,
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 150,
        "gridOpacity": 1,
    },
    "mark": {"aria": False},
}


def draw(spec: Spec, label: str) -> Markup:
    """The picture for wide and narrow pages, told to a screen reader as `label`; the figures
    are in a table beside it."""
    import vl_convert  # a second of work, which only a page that is written has to pay

    drawn = []
    for name, width in (("wide", WIDE), ("narrow", NARROW)):
        whole = {
            "background": None,
            "padding": 2,
            "width": width,
            "autosize": {"type": "fit-x", "contains": "padding"},
            "config": _CONFIG,
            **spec,
        }
        svg = vl_convert.vegalite_to_svg(whole, vl_version="6.4", allowed_base_urls=[])
        head = Markup('<svg class="{}" role="img" aria-label="{}" ').format(name, label)
        # marks' clip paths are numbered anew in each picture
        drawn.append(head + Markup(svg.removeprefix("<svg ").replace('class="marks" ', "", 1)))  # noqa: S704
    return Markup("").join(drawn)


def funnel(stages: list[dict[str, Any]], unit: str, sources: list[str], label: str) -> Markup:
    """What is left after each stage, one bar each, in the colours of the sources."""
    values = [
        {"stage": f"{n}", "name": stage["name"], "source": f"{sources.index(source)}", "left": left}
        for n, stage in enumerate(stages)
        for source, left in folded(stage["by_source"][unit], sources).items()
    ]
    names = [stage["name"] for stage in stages]
    spec = {
        "data": {"values": values},
        "height": {"step": 26},
        "mark": {"type": "bar", "height": 18},
        "encoding": {
            "y": {
                "field": "stage",
                "type": "ordinal",
                "sort": [f"{n}" for n in range(len(stages))],
                "axis": {
                    "title": None,
                    "domain": False,
                    "ticks": False,
                    "labelPadding": 8,
                    "labelColor": "var(--ink)",
                    "labelExpr": f"{_names(names)}[datum.value]",
                    # Vega measures another font than the page's
                    "minExtent": 10 + 7.5 * max(map(len, names)),
                },
            },
            "x": {
                "field": "left",
                "type": "quantitative",
                "stack": "zero",
                "axis": {
                    "title": None,
                    "labelExpr": _SI,
                    "labelOverlap": True,
                    "labelSeparation": 10,
                    "tickCount": 5,
                    "domain": False,
                },
            },
            "color": {
                "field": "source",
                "type": "nominal",
                "legend": None,
                "scale": {
                    "domain": [f"{n}" for n in range(len(sources))],
                    "range": [f"var(--s{n + 1})" for n in range(len(sources))],
                },
            },
            "order": {"field": "source", "type": "ordinal"},
        },
    }
    return draw(spec, label)


def _names(names: list[str]) -> str:
    """A list for a Vega expression; only letters, digits and marks of no meaning there."""
    clean = ["".join(c if c.isalnum() or c in "_- " else " " for c in name) for name in names]
    return "[" + ",".join(f"'{name}'" for name in clean) + "]"


def folded(by_source: dict[str, int], sources: list[str]) -> dict[str, int]:
    """Counts of the sources that have a colour; the last of `sources` stands for the rest."""
    found = dict.fromkeys(sources, 0)
    for name, count in by_source.items():
        found[name if name in found else sources[-1]] += count
    return found


def coloured(sizes: dict[str, int]) -> list[str]:
    """The sources as they are coloured: all in their order, or the largest and `others`."""
    if len(sizes) <= COLOURS:
        return list(sizes)
    largest = sorted(sizes, key=lambda name: -sizes[name])[: COLOURS - 1]
    return [*(name for name in sizes if name in largest), "others"]


def bars(
    values: list[dict[str, Any]],
    layers: list[tuple[str, str]],
    x_title: str,
    y_title: str,
    label: str,
    *,
    log: bool = False,
    percent: bool = False,
) -> Markup:
    """Bars from `from` to `to`, a layer a column: its name and its colour."""
    span = [values[0]["from"], values[-1]["to"]]
    axis: Spec = {"title": x_title, "grid": False, "format": ","}
    if log:
        axis["values"] = [2**n for n in range(0, 40, 1) if span[0] <= 2**n <= span[1]]
        axis["labelOverlap"] = True
    if percent:
        axis["labelExpr"] = "datum.value + ' %'"
    scale = {"type": "log", "base": 2} if log else {"type": "linear", "zero": False}
    top = max(1, *(row[name] for row in values for name, _ in layers))
    return draw(
        {
            "data": {"values": values},
            "height": 180,
            "layer": [
                {
                    "mark": {"type": "rect", "color": colour, "strokeWidth": 0},
                    "encoding": {
                        "x": {
                            "field": "from",
                            "type": "quantitative",
                            "axis": axis,
                            "scale": {**scale, "domain": span, "nice": False},
                        },
                        "x2": {"field": "to"},
                        "y": {
                            "field": name,
                            "type": "quantitative",
                            "axis": {
                                "title": y_title,
                                "labelExpr": _SI,
                                "tickCount": 4,
                                "domain": False,
                                "ticks": False,
                            },
                            "scale": {"domain": [0, top]},
                        },
                        "y2": {"datum": 0},
                    },
                }
                for name, colour in layers
            ],
        },
        label,
    )
