"""Templates for text: plain, and nanophi's tags."""

import polars as pl

from data.templates.chat import Chat
from data.templates.segments import REJECTED, SCHEMA, Rendered, Style, documents

NO_ROWS = pl.Series("row", [], pl.UInt32)

_METHARME = Chat(
    start="[{tag}] ",
    turns={
        "system": "<|system|>{content}",
        "user": "<|user|>{content}",
        "assistant": "<|model|>{content}",
    },
    finish="{end}",
)
_EXCERPT = Chat(
    start="[Excerpt] ",
    turns={
        "system": "{content}\n\n",
        "user": "{content}",
        "user after assistant": "\n\n{content}",
        "assistant": " [Response] {content}",
    },
    finish="{end}",
)
_QUESTIONS = {
    "system": "{content}\n\n",
    "user": "**Question:** {content}",
    "user after assistant": "\n\n**Question:** {content}",
    "assistant": "\n**Answer:** {content}",
}
_FORMS = {
    "Roleplay": _METHARME,
    "Excerpt": _EXCERPT,
    "tagged": Chat(start="[{tag}] ", turns=_QUESTIONS, finish="{end}"),
    "untagged": Chat(turns=_QUESTIONS, finish="{end}"),
}


def plain(samples: pl.DataFrame, style: Style) -> Rendered:
    """The text; of a conversation the contents of its turns, a blank line between."""
    turns = pl.col("messages").list.eval(pl.element().struct.field("content")).list.join("\n\n")
    texts = samples.select(pl.coalesce("text", turns).fill_null("").alias("text"))["text"]
    return Rendered(documents(samples["row"], texts, style), REJECTED.to_frame(), NO_ROWS)


def nanophi(samples: pl.DataFrame, style: Style) -> Rendered:
    """`[Tag] ` before a text; conversations as roleplay, as excerpt and response, or as
    questions and answers, by their tag."""
    tag = pl.format("[{}] ", "tag").fill_null("")
    texts = samples.filter(pl.col("messages").is_null()).select(
        "row", text=tag + pl.col("text").fill_null("")
    )
    segments = [documents(texts["row"], texts["text"], style)]
    rejected = []
    chats = samples.filter(pl.col("messages").is_not_null())
    forms = pl.col("tag").replace_strict(
        {name: name for name in ("Roleplay", "Excerpt")}, default=pl.lit("tagged")
    )
    chats = chats.with_columns(form=pl.when(pl.col("tag").is_null()).then(pl.lit("untagged"))
                               .otherwise(forms))  # fmt: skip
    for name, form in _FORMS.items():
        made, refused = form.render(chats.filter(pl.col("form") == name), style)
        segments.append(made)
        rejected.append(refused)
    return Rendered(
        pl.concat(segments).cast(SCHEMA).sort("row", maintain_order=True),
        pl.concat(rejected),
        chats["row"],
    )
