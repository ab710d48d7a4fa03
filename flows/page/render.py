"""The page as one file: the template with its style, its script and its pictures in it."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from flows.page import charts
from flows.page.facts import Facts

FOLDER = Path(__file__).parent
CUT = 1000
"""Characters of any one string that is shown; texts are cut shorter before."""

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Controls, marks of direction and what else has an effect but no shape. Joiners stay: scripts
and emoji need them."""


def visible(text: str) -> str:
    """The text with what cannot be seen named in its place, such as ⟨U+202E⟩."""
    text = text.replace("\r\n", "\n")
    return _UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def _finalize(value: Any) -> Any:
    """Every string that the template prints passes here, and then through escaping."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return visible(value if len(value) <= CUT else f"{value[:CUT]} …")


def render(facts: Facts, mark: str) -> str:
    """The page; `mark` is a meta element that says what it was made of."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        finalize=_finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "n": lambda value: f"{value:,.0f}",
        "percent": _percent,
        "clock": _clock,
        "href": lambda path: "../" + quote(path),
        "si": _si,
        "merge": lambda of, other: of | other,
        "whole": lambda text: Markup.escape(visible(text)),
    }
    style, script = ((FOLDER / name).read_text("utf-8") for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return environment.get_template("page.html").render(
        facts=facts,
        mark=Markup(mark),  # noqa: S704 - a hash
        policy=policy,
        style=Markup(style),  # noqa: S704 - files of the package
        script=Markup(script),  # noqa: S704
        pictures=_pictures(facts),
        coloured=_coloured(facts),
    )


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _percent(value: float) -> str:
    return f"{value:.1%}" if 0 < value < 0.1 or 0.99 <= value < 1 else f"{value:.0%}"


def _si(value: float) -> str:
    """Three digits and a unit of thousands: 12,345 is 12.3k."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def _clock(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def _coloured(facts: Facts) -> list[str]:
    return charts.coloured(facts["stages"][0]["by_source"]["tokens"])


def _pictures(facts: Facts) -> dict[str, Any]:
    """Each by its name in the template; what there is nothing of has none."""
    stages, sources = facts["stages"], _coloured(facts)
    totals = facts["totals"]
    told = f"Of {totals['asked']:,} samples {totals['kept']:,} are kept."
    made: dict[str, Any] = {
        "rows": charts.funnel(stages, "rows", sources, f"Samples left after each stage. {told}"),
        "tokens": charts.funnel(stages, "tokens", sources, "Tokens left after each stage."),
    }
    if facts["lengths"]:
        layers = [("before", "var(--faint)"), ("after", "var(--s1)")]
        made["lengths"] = charts.bars(
            facts["lengths"],
            layers,
            "GPT-2 tokens of a sample",
            "samples",
            "Samples by length, before and after curation.",
            log=True,
        )
    if steps := facts["generation"]["steps"]:
        made["throughput"] = charts.bars(
            steps,
            [("rate", "var(--s1)")],
            "minutes of generation",
            "tokens a second",
            "Completion tokens a second over the time of generation.",
        )
    for output in facts["outputs"]:
        if not output["splits"]["train"]["rows"]:
            continue
        name, layer = output["name"], [("rows", "var(--s1)")]
        made[f"fill {name}"] = charts.bars(
            output["fill"], layer, "full", "rows", f"Rows of {name} by their fill.", percent=True
        )
        held = [row | {"to": row["to"] + 1} for row in output["documents"]]
        made[f"documents {name}"] = charts.bars(
            held,
            layer,
            "documents in a row",
            "rows",
            f"Rows of {name} by the documents they hold.",
        )
    return made
