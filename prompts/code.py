"""A Python function written to its signature and task."""

import re
from collections.abc import Mapping
from typing import ClassVar

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._reply import declines
from prompts._text import python_blocks

_NAME = re.compile(r"\bdef\s+(\w+)")
SEED = {"signature": "def twice(x: int) -> int:", "task": "Return x times two."}


class Code(TaskKind):
    """A Python function written to its signature and task."""

    NEEDS: ClassVar[Mapping[str, type]] = {"signature": str, "task": str}
    TAG: ClassVar[str | None] = "Code"

    def messages(self, seed: Seed) -> list[Message]:
        return user(
            f"Write a Python function with this signature:\n\n{seed['signature']}\n\n"
            f"{seed['task']}\n\n"
            "Give the function a docstring with one example call, add a comment where a step is "
            "not obvious, and use only the standard library. Reply with one Python code block."
        )

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        if declines(reply):
            return Refusal("model_declined")
        blocks = python_blocks(reply)
        if not blocks:
            return Refusal("no_code_block")
        wanted = _NAME.search(str(seed["signature"]))
        for block in blocks:
            if wanted and wanted[1] in _NAME.findall(block):
                return Draft(block)
        return Refusal("other_function", f"{wanted[1] if wanted else 'it'} is not defined")

    def topic(self, seed: Seed) -> str:
        return str(seed.get("area", ""))

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply="Here you are:\n```python\ndef twice(x: int) -> int:\n    return 2 * x\n```\nBye",
            text="def twice(x: int) -> int:\n    return 2 * x",
        ),
        Example(
            seed=SEED,
            reply="```\nimport math\n\ndef twice(x):\n    return x + x\n```",
            text="import math\n\ndef twice(x):\n    return x + x",
        ),
        Example(seed=SEED, reply="def twice(x): return 2 * x", refused="no_code_block"),
        Example(
            seed=SEED,
            reply="```python\ndef double(x):\n    return 2 * x\n```",
            refused="other_function",
        ),
    )
