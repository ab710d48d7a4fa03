"""A chat template of the user's own: a Jinja file in the form that transformers knows.

It sees `messages`, `bos_token`, `eos_token` and `add_generation_prompt`, in a sandbox. What is
trained follows from rendering each conversation up to each of its turns: the text that an
assistant's turn adds behind its generation prompt, up to the last special token in it.
"""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from data.errors import RecipeError
from data.templates.segments import REJECTED, SCHEMA, Rendered, Style, documents

GUARDS = [chr(code) for code in range(0xFDD0, 0xFDF0)]
"""Characters that no text should hold: one is put into special strings of a content, so that
they are told from the template's own."""

Segment = tuple[int, str | None, str | None, bool, bool]


class Refused(Exception):
    """Why a conversation cannot be rendered; becomes a rejected row."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(reason)


class _Generation(Extension):
    """`{% generation %}`, transformers' mark around what is trained, changes no text."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise(message: str) -> None:
    raise TemplateError(message)


class UserFile:
    """One file, parsed once. Raises RecipeError where it is no template."""

    def __init__(self, path: Path) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )
        environment.globals["raise_exception"] = _raise
        try:
            self._template = environment.from_string(path.read_text(encoding="utf-8"))
        except TemplateSyntaxError as error:
            where = f"{path}:{error.lineno}"
            raise RecipeError(f"is no Jinja template ({error.message})", where=where) from error
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"cannot be read ({error})", where=str(path)) from error

    def __call__(self, samples: pl.DataFrame, style: Style) -> Rendered:
        """A Jinja file of your own, for conversations; texts stay as they are."""
        texts = samples.filter(pl.col("messages").is_null())
        chats = samples.filter(pl.col("messages").is_not_null())
        made: list[Segment] = []
        rejected = []
        for row, messages in chats.select("row", "messages").iter_rows():
            try:
                made += self._segments(row, messages, style)
            except Refused as error:
                rejected.append((row, error.reason, error.detail))
        segments = pl.concat(
            [
                documents(texts["row"], texts["text"].fill_null(""), style),
                pl.DataFrame(made, schema=SCHEMA, orient="row"),
            ]
        )
        return Rendered(
            segments.sort("row", maintain_order=True),
            pl.DataFrame(rejected, schema=REJECTED, orient="row"),
            chats["row"],
        )

    def _segments(self, row: int, messages: list[dict[str, str]], style: Style) -> list[Segment]:
        special = [token for token in (*style.special, style.bos, style.eos) if token]
        marks = re.compile("|".join(map(re.escape, sorted(set(special), key=len, reverse=True))))
        if not messages:
            raise Refused("no_turns")
        turns, guard = _guarded(messages, marks)
        if style.system is not None and turns[0]["role"] != "system":
            turns = [{"role": "system", "content": style.system}, *turns]
        whole = self._write(turns, style)
        spans = list(self._trained(turns, whole, marks, style))
        return list(_cut(row, whole, marks, guard, spans, masked=style.masked))

    def _write(self, messages: list[dict[str, str]], style: Style, *, prompt: bool = False) -> str:
        try:
            return self._template.render(
                messages=messages,
                add_generation_prompt=prompt,
                bos_token=style.bos or "",
                eos_token=style.eos or "",
            )
        except Exception as error:
            raise Refused("template_refused", f"{type(error).__name__}: {error}"[:300]) from error

    def _trained(
        self, turns: list[dict[str, str]], whole: str, marks: re.Pattern[str], style: Style
    ) -> Iterator[tuple[int, int]]:
        """Start and end in `whole` of what each assistant's turn adds."""
        for number, turn in enumerate(turns):
            if turn["role"] != "assistant":
                continue
            start = self._write(turns[:number], style, prompt=True) if number else ""
            end = self._write(turns[: number + 1], style)
            if not end.startswith(start):
                raise Refused("prompt_is_no_prefix", f"turn {number}")
            if not whole.startswith(end):
                raise Refused("rewrites_earlier_turns", f"turn {number}")
            closing = [found.end() for found in marks.finditer(end, len(start))]
            if closing:
                yield len(start), closing[-1]
            elif style.masked:
                raise Refused("no_end_of_turn", f"turn {number}")
            else:
                yield len(start), len(end)


def _guarded(
    messages: list[dict[str, str]], marks: re.Pattern[str]
) -> tuple[list[dict[str, str]], str]:
    """Contents with a guard inside each special string, and that guard."""
    contents = [str(message.get("content") or "") for message in messages]
    guard = next((g for g in GUARDS if not any(g in content for content in contents)), None)
    if guard is None:
        raise Refused("holds_every_noncharacter")
    turns: list[dict[str, str]] = [
        {
            "role": str(message["role"]),
            "content": marks.sub(lambda found: f"{found[0][0]}{guard}{found[0][1:]}", content),
        }
        for message, content in zip(messages, contents, strict=True)
    ]
    return turns, guard


def _cut(
    row: int,
    whole: str,
    marks: re.Pattern[str],
    guard: str,
    spans: list[tuple[int, int]],
    *,
    masked: bool,
) -> Iterator[Segment]:
    """`whole` cut at special tokens and, where the loss is masked, at the borders of spans."""
    borders = {0, len(whole), *(place for span in spans for place in span)}
    found: dict[int, int] = {match.start(): match.end() for match in marks.finditer(whole)}
    borders |= {place for pair in found.items() for place in pair}
    ends = {end for _, end in spans}
    places = sorted(borders)
    for start, end in itertools.pairwise(places):
        inside = not masked or any(a <= start and end <= b for a, b in spans)
        piece = whole[start:end]
        if found.get(start) == end:
            yield row, None, piece, inside, end in ends
        else:
            yield row, piece.replace(guard, ""), None, inside, end in ends
