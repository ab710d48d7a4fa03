"""Verdicts of a judge: JSON with a reason first, then what follows from it."""

import json
from typing import Any

from prompts import Refusal

MIN_REASON = 3
"""Words of a reason at least: a verdict without one is not read."""


def verdict_schema(column: str, values: list[Any]) -> dict[str, Any]:
    """A reason, then one of `values` under `column`: reasons that come after a score excuse it."""
    return {
        "type": "object",
        "properties": {
            "reason": {"type": "string", "minLength": 10, "maxLength": 300},
            column: {"enum": values},
        },
        "required": ["reason", column],
        "additionalProperties": False,
    }


def read_verdict(reply: str, column: str, values: list[Any]) -> dict[str, Any] | Refusal:
    """The verdict; one that cannot be read is refused, never counted as the lowest score."""
    try:
        verdict = json.loads(reply)
        reason, value = str(verdict["reason"]).strip(), verdict[column]
    except (ValueError, TypeError, KeyError) as error:
        return Refusal("unreadable_verdict", f"{type(error).__name__}: {reply[:200]}")
    if isinstance(value, bool) or value not in values:
        return Refusal("unreadable_verdict", f"{column} is {value!r}")
    if len(reason.split()) < MIN_REASON:
        return Refusal("no_reason", reason)
    return {"reason": reason, column: value}
