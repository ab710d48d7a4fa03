"""The dataset card of an output: what is in the shards, from what, under which licence."""

import json
import re
from pathlib import Path
from typing import Any

from flows.plan import Plan, Target

NON_COMMERCIAL = re.compile(r"(?i)(?:^|[^a-z])nc(?:[^a-z]|$)|non-?\s?commercial")

SOURCE_COLUMNS = ["source", "asked for", "tokens there", "tokens here", "licences"]
SPLIT_COLUMNS = ["split", "rows", "documents", "documents split", "tokens", "trained", "fill"]


def non_commercial(licences: dict[str, list[str]]) -> dict[str, list[str]]:
    """The sources with licences that forbid commercial use, and those licences."""
    found = {
        source: [licence for licence in given if NON_COMMERCIAL.search(licence)]
        for source, given in licences.items()
    }
    return {source: given for source, given in found.items() if given}


def card(plan: Plan, target: Target, funnel: list[list[str]]) -> str:
    """A dataset card with the header that `load_dataset` reads; `funnel` is its table."""
    manifest: dict[str, Any] = target.shards.manifest or {}
    licences = manifest["rendering"]["licences"]
    limited = non_commercial(licences)
    files = "\n".join(
        f"      - split: {split}\n        path: {split}-*.arrow" for split in manifest["splits"]
    )
    header, *rows = funnel
    size = manifest["sequence_length"]
    tokenizer = manifest["tokenizer"]
    return f"""---
{licence_header(manifest["licences"], limited)}
configs:
  - config_name: default
    data_files:
{files}
tags: [{"synthetic, " if any(s.name in target.sources for s in plan.generated) else ""}shardmill]
---
# {plan.recipe.name}: {target.name}
{_warning(limited)}
Packed training rows of {size} tokens, made by shardmill from the recipe `{plan.recipe.name}`
(seed {plan.recipe.seed}).{_model(plan)}
{_origins(plan, target)}
{markdown_table(SPLIT_COLUMNS, _splits(manifest))}

{markdown_table(SOURCE_COLUMNS, _sources(manifest))}

Template {manifest["template"]}, loss on {manifest["loss"]} tokens, packed by
{manifest["packing"]}. Tokenizer {tokenizer["name"]} ({tokenizer["vocabulary"]:,} ids, in
tokenizer.json beside the shards); id {tokenizer["padding"]} fills the end of a row.
{_rendering(manifest["rendering"])}
| column | is |
|---|---|
| input_ids | {size} ids |
| seq_lengths | length of each fragment in the row; padding is the last one; they add up to {size} |
| n_tokens | ids that are not padding |
{_span_line(manifest)}| doc_ids | the sample each fragment is of |
| doc_offsets | the fragment's first token in its document |
| source_ids | index into `sources` of manifest.json: {json.dumps(manifest["sources"])} |

```python
import polars as pl
rows = pl.scan_ipc("train-*.arrow").select("input_ids", "seq_lengths").collect()
```

## Funnel
{markdown_table(header, rows)}
"""


def _model(plan: Plan) -> str:
    return f" Generated text is by {plan.served.name}." if plan.served else ""


def _origins(plan: Plan, target: Target) -> str:
    """Where each source that is read comes from."""
    lines = []
    for source in plan.read:
        if source.name in target.sources:
            read = source.settings
            about = [
                read.name,
                read.data_dir,
                f"split {read.split}" if read.hub else "",
                read.revision,
            ]
            place = read.hub or f"the file {Path(read.file or '').name}"
            if read.stands_for:
                place = f"a shipped sample of {read.stands_for} ({place}), not the set itself"
            shown = ", ".join(part for part in about if part)
            lines.append([source.name, place, shown, read.licence])
    if not lines:
        return ""
    return "\n" + markdown_table(["source", "read from", "of it", "licence"], lines) + "\n"


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _splits(manifest: dict[str, Any]) -> list[list[str]]:
    counted = ("rows", "documents", "documents_split", "tokens", "trained")
    return [
        [name, *(f"{split[column]:,}" for column in counted), f"{split['fill']:.2%}"]
        for name, split in manifest["splits"].items()
    ]


def _sources(manifest: dict[str, Any]) -> list[list[str]]:
    lines = []
    for name, mix in manifest["mix"].items():
        unit = next(unit for unit in ("repeat", "tokens", "share") if unit in mix)
        licences = manifest["rendering"]["licences"].get(name, [])
        asked = f"{unit} {mix[unit] or 0:,g}"
        lines.append(
            [name, asked, f"{mix['available']:,}", f"{mix['tokens']:,}", ", ".join(licences)]
        )
    return lines


def _rendering(found: dict[str, Any]) -> str:
    """What became of conversations that did not fit their row or template; empty for texts."""
    said = [f"{count:,} samples were left out ({why})" for why, count in found["dropped"].items()]
    if found["conversations_cut"] or found["conversations_too_long"]:
        said.append(
            f"{found['conversations_cut']:,} conversations were cut at a turn and "
            f"{found['conversations_too_long']:,} left out for their length "
            f"({found['tokens_cut']:,} tokens)"
        )
    if found["disagreements"]:
        said.append(
            f"in {found['disagreements']:,} conversations text and its turns, tokenized in one, "
            "give other ids"
        )
    return f"\n{'; '.join(said)}.\n" if said else ""


def _span_line(manifest: dict[str, Any]) -> str:
    if "loss_spans" not in manifest["columns"]:
        return ""
    return "| loss_spans | start and end of each trained span in the row, pair after pair |\n"


def licence_header(licences: list[str], limited: dict[str, list[str]]) -> str:
    """The header's licence: the only one; a non-commercial one rules all; else `other`."""
    strict = sorted({licence for given in limited.values() for licence in given})
    chosen = strict or licences
    if len(chosen) == 1:
        return f"license: {json.dumps(chosen[0])}"
    return f"license: other\nlicense_name: {json.dumps(' and '.join(chosen) or 'unknown')}"


def _warning(limited: dict[str, list[str]]) -> str:
    if not limited:
        return ""
    named = "; ".join(f"{source} is {', '.join(given)}" for source, given in limited.items())
    return f"\n**Not for commercial use**, as a whole: {named}.\n"
