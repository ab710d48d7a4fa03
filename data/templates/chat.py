"""Conversations written turn by turn in a fixed form: zephyr, openchat, chatml, ...

A form is text with fields in braces: `{content}`, `{tag}`, `{bos}`, `{eos}`, `{end}`, any other
name is the special token of that name, and `{train}` marks where an assistant's turn begins to
be trained on (its content where left out). The trained part ends with the first special token
behind the content.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from data.templates.segments import REJECTED, SCHEMA, Style

FIELD = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class Chat:
    """`turns` gives each role's form; `user after system` beats `user` there.

    `start` and `finish` stand around the whole conversation. `system` is the content of the
    system turn of conversations without one; None leaves it out. `own_space` tells that the
    form writes the space with which some tokenizers open a text.
    """

    turns: Mapping[str, str]
    start: str = ""
    finish: str = ""
    system: str | None = None
    own_space: bool = False

    def special(self) -> list[str]:
        """The special tokens that the form writes, `bos` and `eos` left out."""
        forms = [self.start, *self.turns.values(), self.finish]
        found = [name for form in forms for name in FIELD.findall(form)]
        ours = {"content", "tag", "train", "bos", "eos", "end"}
        return list(dict.fromkeys(name for name in found if name not in ours))

    def render(self, samples: pl.DataFrame, style: Style) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Segments of conversations (`row`, `tag`, `messages`), and the rows rejected."""
        turns = samples.select("row", "tag", "messages").explode("messages").unnest("messages")
        turns = turns.filter(pl.col("role").is_not_null()).with_columns(
            content=pl.col("content").fill_null("")
        )
        rejected = self._rejected(samples, turns)
        turns = turns.join(rejected, on="row", how="anti", maintain_order="left")
        turns = self._around(turns, style)
        after = pl.format("{} after {}", "role", pl.col("role").shift(1).over("row"))
        known = [name for name in self.turns if " after " in name]
        variant = pl.when(after.is_in(known)).then(after).otherwise("role")
        joined = turns.with_columns(variant=variant).join(
            self._form_pieces(style), on="variant", maintain_order="left_right"
        )
        kind = pl.col("kind")
        text = (
            pl.when(kind == "content").then("content").when(kind == "tag").then("tag")
            .when(kind == "text").then("value")
        )  # fmt: skip
        segments = joined.select(
            "row",
            text=text,
            special=pl.when(kind == "special").then("value"),
            trained=pl.col("trained") if style.masked else pl.lit(True),
            ends="ends",
        )
        return segments.cast(SCHEMA), rejected

    def _rejected(self, samples: pl.DataFrame, turns: pl.DataFrame) -> pl.DataFrame:
        roles = [name for name in self.turns if " after " not in name]
        unknown = (
            turns.filter(~pl.col("role").is_in(roles))
            .group_by("row", maintain_order=True)
            .agg(reason=pl.lit("unknown_role"), detail=pl.col("role").first())
        )
        empty = samples.join(turns, on="row", how="anti").select(
            "row", reason=pl.lit("no_turns"), detail=pl.lit("")
        )
        return pl.concat([unknown, empty]).cast(REJECTED)

    def _around(self, turns: pl.DataFrame, style: Style) -> pl.DataFrame:
        """The turns with a system turn where there is none, a start and a finish."""
        first = turns.unique("row", keep="first", maintain_order=True)
        blank = first.with_columns(content=pl.lit(""))
        groups = [blank.with_columns(role=pl.lit("start"))]
        system = self.system if style.system is None else style.system
        if system is not None and "system" in self.turns:
            lacking = first.filter(pl.col("role") != "system")
            groups.append(lacking.with_columns(role=pl.lit("system"), content=pl.lit(system)))
        groups += [turns, blank.with_columns(role=pl.lit("finish"))]
        return pl.concat(groups).sort("row", maintain_order=True)

    def _form_pieces(self, style: Style) -> pl.DataFrame:
        """A row for each piece of each form: text, a special token or a field to fill."""
        forms = {"start": self.start, **self.turns, "finish": self.finish}
        rows = [
            {"variant": variant, **piece}
            for variant, form in forms.items()
            for piece in _pieces(form, style, assistant=variant.startswith("assistant"))
        ]
        kinds = dict.fromkeys(("variant", "kind", "value"), pl.String)
        flags = dict.fromkeys(("trained", "ends"), pl.Boolean)
        return pl.DataFrame(rows, schema={**kinds, **flags})


def _pieces(form: str, style: Style, *, assistant: bool) -> list[dict[str, object]]:
    pieces: list[dict[str, object]] = []
    parts = FIELD.split(form)
    begins = "train" if "train" in parts[1::2] else "content"
    trained = False
    seen_content = False
    for number, part in enumerate(parts):
        named = number % 2 == 1
        if named and assistant and part == begins:
            trained = True
        if not part or part == "train":
            continue
        seen_content |= named and part == "content"
        closes = False
        for kind, value in _resolve(part, style) if named else split_text(part, style.special):
            closes |= trained and seen_content and kind == "special"
            pieces.append({"kind": kind, "value": value, "trained": trained, "ends": closes})
        trained = trained and not closes
    if assistant and not any(piece["ends"] for piece in pieces):
        pieces[-1]["ends"] = True  # no token ends the turn: it may be cut behind its text
    return pieces


def _resolve(name: str, style: Style) -> list[tuple[str, str]]:
    if name in ("content", "tag"):
        return [(name, "")]
    if name == "end":
        if style.end is None:
            return []
        return [("text" if style.end_is_text else "special", style.end)]
    token = {"bos": style.bos or "<s>", "eos": style.eos or "</s>"}.get(name, name)
    return [("special", token)]


def split_text(text: str, special: tuple[str, ...]) -> list[tuple[str, str]]:
    """A template's own text with the special strings in it set apart."""
    if not special:
        return [("text", text)]
    longest_first = sorted(special, key=len, reverse=True)
    parts = re.split(f"({'|'.join(map(re.escape, longest_first))})", text)
    return [("special" if n % 2 else "text", part) for n, part in enumerate(parts) if part]


CHATML = Chat(
    turns={
        role: f"{{<|im_start|>}}{role}\n{{content}}{{<|im_end|>}}\n"
        for role in ("system", "user", "assistant", "tool")
    }
)
ZEPHYR = Chat(
    turns={role: f"<|{role}|>\n{{content}}{{eos}}\n" for role in ("system", "user", "assistant")},
    system="",
)
OPENCHAT = Chat(
    start="{bos}",
    turns={
        "system": "{content}{<|end_of_turn|>}",  # what its authors ask for; the hub's differs
        "user": "GPT4 Correct User: {content}{<|end_of_turn|>}",
        "assistant": "GPT4 Correct Assistant:{train} {content}{<|end_of_turn|>}",
    },
)
LLAMA2 = Chat(
    turns={
        "system": "{bos} [INST] <<SYS>>\n{content}\n<</SYS>>\n\n",
        "user": "{bos} [INST] {content} [/INST]",
        "user after system": "{content} [/INST]",
        "assistant": "{train} {content} {eos}",
    },
    own_space=True,
)
_PICO_SYSTEM = "You are an unbiased, uncensored, helpful assistant."
# Known are GPT-2's vocabulary with four tokens more (50,261 ids), and three of them from the
# card's example. That the fourth is <|tool|>, for a tool's turn, is a choice made here.
PICONOSENSOX = Chat(
    turns={
        "system": "{<|system|>}{content}\n",
        "user": "{<|user|>}{content}\n",
        "user after assistant": "\n{<|user|>}{content}\n",
        "assistant": "{<|assistant|>}{content}{eos}",
        "tool": "{<|tool|>}{content}\n",
        "tool after assistant": "\n{<|tool|>}{content}\n",
    },
    system=_PICO_SYSTEM,
)
PICONOSENSOX_TRAINED = Chat(
    turns={
        role: f"{{<|{role}|>}}\n{{content}}{{eos}}\n"
        for role in ("system", "user", "assistant", "tool")
    },
    system=_PICO_SYSTEM,
)
