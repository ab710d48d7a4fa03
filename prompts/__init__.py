"""Task kinds: how a seed becomes messages and a reply becomes a sample.

A kind is one file here with one subclass of `TaskKind`; the file's name is its key in
recipes, the class's fields are its knobs, and its EXAMPLES are its tests.
"""

import functools
import hashlib
import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from data.errors import RecipeError, nearest

Seed = Mapping[str, Any]
Message = dict[str, str]


@dataclass(frozen=True)
class Draft:
    """What a reply is worth: a text, or the messages of a conversation. `meta` goes into the
    sample's `meta` column: a judge's score, what was stripped of the reply."""

    text: str = ""
    messages: tuple[Message, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Refusal:
    """Why a reply is no sample; `reason` is a short snake_case key, `detail` free text."""

    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Example:
    """A seed, a reply to its prompt, and what becomes of it: `text` or `messages`, or the reason
    it is `refused` for. `replies` are those to the follow-ups; `meta` is what the sample's has
    to hold among other things."""

    seed: Seed
    reply: str
    text: str | None = None
    messages: tuple[Message, ...] = ()
    refused: str | None = None
    replies: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    knobs: Mapping[str, Any] = field(default_factory=dict)


class TaskKind(BaseModel):
    """Subclass it in a file of its own; the docstring's first line is what `list` prints."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    NEEDS: ClassVar[Mapping[str, type]] = {}
    """Columns that a seed must have: `str` for a text, `list` for a list of texts or numbers,
    `dict` for the messages of a conversation."""
    TAG: ClassVar[str | None] = None
    """Rendered by the template, never asked of the model."""
    TRAINS: ClassVar[bool] = True
    """False for a judge: its samples are verdicts on others and go into no output."""
    EXAMPLES: ClassVar[tuple[Example, ...]] = ()

    def messages(self, seed: Seed) -> list[Message]:
        raise NotImplementedError

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        """Extract the sample from a complete, non-empty reply."""
        return Draft(reply.strip())

    def reply_schema(self) -> dict[str, Any] | None:
        """The JSON schema that a reply has to follow; it is checked before `parse`."""
        return None

    def follow_up(self, seed: Seed, turns: list[Message]) -> str | None:
        """The next message of the user's after the replies so far; None ends the exchange.
        `turns` begins with the first reply."""
        return None

    def parse_exchange(self, messages: list[Message], seed: Seed) -> Draft | Refusal:
        """Extract the sample from an exchange of several turns, the last prompt first."""
        return Draft(messages=tuple(messages))

    def format(self) -> str:
        """The `format` column; the kind's key unless a knob changes the form."""
        return type(self).__module__.rpartition(".")[2]

    def topic(self, seed: Seed) -> str:
        return str(seed[next(iter(self.NEEDS))]) if self.NEEDS else ""


def user(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def assistant(text: str) -> list[Message]:
    """An answer shown as an example: small models keep its form better than any description."""
    return [{"role": "assistant", "content": text}]


def list_kinds() -> list[str]:
    names = (found.name for found in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if not name.startswith("_"))


@functools.cache
def load_kind(name: str) -> type[TaskKind]:
    """The class in prompts/<name>.py. Raises RecipeError for an unknown name."""
    if name not in list_kinds():
        raise RecipeError(f"unknown kind {name!r}", fix=nearest(name, list_kinds()))
    module = importlib.import_module(f"{__name__}.{name}")
    for _, found in inspect.getmembers(module, inspect.isclass):
        if issubclass(found, TaskKind) and found.__module__ == module.__name__:
            return found
    raise RecipeError(f"prompts/{name}.py holds no TaskKind", fix="subclass prompts.TaskKind there")


@functools.lru_cache(maxsize=4096)
def load_row(kind: type[TaskKind], knobs: str) -> TaskKind:
    """The kind with the knobs (JSON) that a row drew."""
    return kind.model_validate_json(knobs)


@functools.cache
def kind_source(name: str) -> str:
    """sha256 of the kind's file and of what kinds share: a stage made with other code is
    another stage."""
    shared = sorted(found.name for found in pkgutil.iter_modules(__path__) if found.name[0] == "_")
    modules = [load_kind(name).__module__, __name__, *(f"{__name__}.{n}" for n in shared)]
    texts = [inspect.getsource(importlib.import_module(module)) for module in modules]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
