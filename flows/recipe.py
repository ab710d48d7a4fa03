"""The recipe: one YAML file to frozen models; unknown keys are refused with the nearest name."""

import json
from typing import Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from data.errors import RecipeError, nearest
from data.mixing import Amount
from data.tokenization import WORDS
from flows.corpus_recipe import Corpus, Reading
from flows.engine_recipe import HUGE, Block, Engine, SamplingChange

T = TypeVar("T", bound=BaseModel)
NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"


class Seeds(Reading):
    """Where a source's seeds come from: a file, a hub set, or another source of the recipe."""

    from_: str | None = Field(None, alias="from")
    """What that source kept: its seeds' columns, `text` and `from_id`; of a corpus its samples'
    columns."""
    as_: Literal["rows", "lines", "documents", "outline"] | None = Field(None, alias="as")
    """A seed is a row (of a text file a line, of a folder's text files each), or, of an outline,
    a unit; the suffix says where this does not."""
    columns: dict[str, str] = Field(default_factory=dict)
    """seed's column: source's column, which may be a path such as messages.0.content. Where it is
    given, no other column is read."""
    first: int | dict[str, int] | None = None
    """Characters to keep of `text`, or of each column named, cut between words."""

    @model_validator(mode="after")
    def _one(self) -> "Seeds":
        if sum(place is not None for place in (self.file, self.hub, self.from_)) != 1:
            raise ValueError("name either a file or a hub set or, with from, another source")
        if self.from_ is not None and self.sample is not None:
            raise ValueError("sample belongs to a file or a hub set")
        if any(size < 1 for size in self.cuts.values()):
            raise ValueError("first must be above 0")
        return self

    @property
    def cuts(self) -> dict[str, int]:
        return {"text": self.first} if isinstance(self.first, int) else self.first or {}

    @property
    def form(self) -> str | None:
        return {"outline": "trees", "rows": None}.get(self.as_ or "rows", self.as_)

    @property
    def shown(self) -> str:
        return self.file or (f"hub set {self.hub}" if self.hub else f"samples of {self.from_}")


class Generate(Block):
    kind: str
    """A name of `shardmill list kinds`."""
    seeds: Seeds
    """What prompts are made from."""
    samples: int = Field(ge=1, le=10 * HUGE)
    """How many are asked for."""
    knobs: dict[str, Any] = Field(default_factory=dict)
    """The kind's knobs, the same for all rows."""
    vary: dict[str, Any] = Field(default_factory=dict)
    """Knobs that differ from row to row, see flows/draws.py: lists, shares, {file: ...}, and
    under `cross` knobs that are drawn together."""
    per_prompt: int = Field(1, ge=1, le=HUGE)
    """How often one prompt may be asked, each time with another request seed."""
    on_length: Literal["keep", "reject", "continue"] = "keep"
    """What becomes of a reply that is cut at max_tokens."""
    continuations: int = Field(2, ge=1)
    """How often `continue` asks for more of one reply."""
    sampling: SamplingChange = Field(default_factory=lambda: SamplingChange.model_validate({}))
    """Other sampling parameters than the engine's."""
    expect_tokens: float | None = Field(None, gt=0)
    """Completion tokens of a sample on average, for estimates."""


class CurationStep(Block):
    filter: str
    """A name of `shardmill list filters`."""
    knobs: dict[str, Any] = Field(default_factory=dict)
    """The filter's knobs."""
    only: tuple[str, ...] = ()
    """Sources or tags that the filter judges; all where empty."""
    except_: tuple[str, ...] = Field((), alias="except")
    """Sources or tags that the filter leaves alone."""


class Render(Block):
    template: str = "plain"
    """A name of `shardmill list templates`, or the path of a Jinja file."""
    loss: Literal["all", "assistant"] | None = None
    """What is trained on; assistant where a chat template is named and nothing is said."""
    end_of_text: Literal["token", "text", "none"] | None = None
    """What ends a text: the tokenizer's token (where it has one), `<eot>` as text, nothing."""
    system: str | None = None
    """The system text of conversations without one, in place of the template's own."""
    special: tuple[str, ...] = ()
    """Strings of the template that become special tokens."""
    too_long: Literal["cut", "drop"] = "cut"
    """Conversations over sequence_length end at an earlier turn, or are left out."""


class Mix(Block):
    """How much of a source; at most one unit, `repeat: 1` where none is named."""

    repeat: float | None = Field(None, ge=0, le=1000)
    """How often each document counts; of a fraction a seeded part of them."""
    tokens: int | None = Field(None, ge=1, le=10**15)
    """Training tokens, reached with the last document."""
    share: float | None = Field(None, gt=0, le=1)
    """Share of the output's training tokens."""
    max_repeat: float = Field(1.0, gt=0, le=1000)
    """How often tokens or share may use a document."""
    cap: bool = False
    """Take what there is where tokens or share want more."""

    @model_validator(mode="after")
    def _one(self) -> "Mix":
        units = [unit for unit in ("repeat", "tokens", "share") if getattr(self, unit) is not None]
        if len(units) > 1:
            raise ValueError(f"takes one unit, not {' and '.join(units)}")
        if units in ([], ["repeat"]) and (self.cap or self.max_repeat != 1.0):
            raise ValueError("cap and max_repeat go with tokens or share")
        return self

    @property
    def amount(self) -> Amount:
        if self.tokens is not None:
            return Amount("tokens", self.tokens, self.max_repeat, self.cap)
        if self.share is not None:
            return Amount("share", self.share, self.max_repeat, self.cap)
        return Amount("repeat", 1.0 if self.repeat is None else self.repeat)


class Output(Block):
    tokenizer: str = "gpt2"
    """A name of `shardmill list tokenizers`, a path, a hub id, or `{words: [...]}`."""
    sequence_length: int = Field(1024, ge=2, le=1 << 20)
    """Ids of a row."""
    render: Render = Render()
    """How samples become text and special tokens."""
    mix: dict[str, Mix] = Field(default_factory=dict)
    """Which sources go in; all of them but judges, once each, where the mix is left out."""
    pack: Literal["best_fit", "concat"] = "best_fit"
    """Whole documents side by side, or one stream cut into rows."""
    validation: float = Field(0.0, ge=0, lt=1)
    """Share of documents that is held out, by a hash of each."""
    rows_per_shard: int = Field(65_536, ge=1, le=HUGE)
    """Rows of a file."""

    @field_validator("tokenizer", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        if isinstance(value, dict) and set(value) == {"words"}:
            return WORDS + json.dumps(value["words"])
        return value

    @model_validator(mode="after")
    def _shares(self) -> "Output":
        shares = [mix.share for mix in self.mix.values() if mix.share is not None]
        if shares and len(shares) == len(self.mix) and abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"the mix's shares add up to {sum(shares):g}, not to 1")
        if shares and len(shares) < len(self.mix) and sum(shares) >= 1:
            raise ValueError("the mix's shares leave nothing for the sources without one")
        return self


class Recipe(Block):
    name: str = Field(pattern=NAME)
    """Names the build's folder."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Every random choice follows from it."""
    engine_: Engine | None = Field(None, alias="engine")
    """May be left out where nothing is generated."""
    generate: dict[str, Generate] = Field(default_factory=dict)
    """Sources that a model writes, by name."""
    corpora: dict[str, Corpus] = Field(default_factory=dict)
    """Sources that are read, by name."""
    curate: tuple[CurationStep, ...] = ()
    """Filters, in order."""
    outputs: dict[str, Output] = Field(min_length=1)
    """Sets of shards, by name; each has all that is kept."""
    part_rows: int = Field(1000, ge=1, le=HUGE)
    """Rows of a part: the unit of work and of resuming; the shards do not depend on it."""

    @model_validator(mode="before")
    @classmethod
    def _steps(cls, data: Any) -> Any:
        """`- length: {min_tokens: 9, only: [Math]}` to a step."""
        if isinstance(data, dict) and isinstance(data.get("curate"), list):
            data = {**data, "curate": [_step(entry) for entry in data["curate"]]}
        return data

    @property
    def engine(self) -> Engine:
        """Raises RecipeError where the recipe has none."""
        if self.engine_ is None:
            raise RecipeError("engine is missing", fix="name the model that generates")
        return self.engine_

    @property
    def names(self) -> list[str]:
        """All sources, generated ones first."""
        return [*self.generate, *self.corpora]


def _step(entry: Any) -> Any:
    if isinstance(entry, str):
        return {"filter": entry}
    if isinstance(entry, dict) and len(entry) == 1:
        ((name, knobs),) = entry.items()
        if knobs is not None and not isinstance(knobs, dict):
            raise ValueError(f"{name} takes a mapping of knobs, not {knobs!r}")
        knobs = dict(knobs or {})
        scope = {key: knobs.pop(key) for key in ("only", "except") if key in knobs}
        return {"filter": name, "knobs": knobs, **scope}
    return entry


def make_knobs(cls: type[T], knobs: dict[str, Any], name: str) -> T:
    """A kind or filter with its knobs set. Raises RecipeError for a wrong one."""
    try:
        return cls.model_validate(knobs)
    except ValidationError as error:
        first = error.errors()[0]
        knob = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            raise RecipeError(
                f"{name} has no knob {knob!r}", fix=nearest(knob, cls.model_fields)
            ) from None
        raise RecipeError(f"{name}.{knob}: {first['msg']}") from None
