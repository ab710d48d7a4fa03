"""The recipe: one YAML file to frozen models; unknown keys are refused with the nearest name."""

import json
from typing import Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from data.errors import RecipeError, nearest
from data.mixing import Amount
from data.tokenization import WORDS

T = TypeVar("T", bound=BaseModel)
NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
HUGE = 1_000_000_000


class Block(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False
    )


class Sampling(Block):
    """vLLM's sampling parameters; all of them are part of a completion's identity."""

    temperature: float = Field(0.8, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)
    top_k: int = Field(-1, ge=-1, le=HUGE)
    min_p: float = Field(0.0, ge=0, le=1)
    repetition_penalty: float = Field(1.0, gt=0)
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    max_tokens: int = Field(1024, ge=1, le=HUGE)
    stop: tuple[str, ...] = ()


class SamplingChange(Block):
    """What one source samples otherwise than `engine.sampling`."""

    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0)
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_tokens: int | None = Field(None, ge=1, le=HUGE)
    stop: tuple[str, ...] | None = None


class Launch(Block):
    """Servers that the build starts here."""

    gpus: Literal["auto", "cpu"] | tuple[int, ...] = "auto"
    """One server for each; all that there are, the CPU where there is none."""
    tensor_parallel: int = Field(1, ge=1)
    """GPUs that share one server."""
    max_restarts: int = Field(3, ge=0)
    """How often each server is restarted when it dies or hangs."""
    python: str | None = None
    """The interpreter of vLLM's environment; SHARDMILL_VLLM_PYTHON or .venv-vllm otherwise."""
    port: int | None = Field(None, ge=1, le=65535)
    max_model_len: int = Field(2048, ge=16)
    startup_seconds: float = Field(600, gt=0, le=HUGE)
    args: tuple[str, ...] = ()
    """Further flags of vLLM's API server."""


class Budget(Block):
    """Limits on what all builds under one OUT spend together; the build stops there."""

    requests: int | None = Field(None, ge=0)
    tokens: int | None = Field(None, ge=0)
    money: float | None = Field(None, ge=0)
    hours: float | None = Field(None, ge=0)


class Prices(Block):
    """Money for a million tokens and for an hour of a launched GPU, in any one currency."""

    prompt: float = Field(0.0, ge=0)
    completion: float = Field(0.0, ge=0)
    gpu_hour: float = Field(0.0, ge=0)


class Engine(Block):
    model: str
    revision: str | None = None
    endpoints: tuple[str, ...] = ()
    """Base URLs of servers that run already, ending in /v1; with `launch` beside it, launched
    ones are used too."""
    launch: Launch | None = None
    sampling: Sampling = Field(default_factory=lambda: Sampling.model_validate({}))
    concurrency: int = Field(256, ge=1, le=1_000_000)
    """Requests in flight at each endpoint at most; fewer while more would not be faster."""
    patience_seconds: float = Field(300, gt=0)
    """How long all endpoints may stay away before the build stops."""
    max_error_share: float = Field(0.1, ge=0, le=1)
    """Share of rows that servers refuse or fail on, over which the build stops."""
    min_requests: int = Field(50, ge=1)
    """Requests before that share counts."""
    budget: Budget = Field(default_factory=lambda: Budget.model_validate({}))
    price: Prices = Field(default_factory=lambda: Prices.model_validate({}))
    deterministic: bool = False
    """Batch-invariant kernels where the GPU has them: a reply then depends on its request."""
    timeout_seconds: float = Field(600, gt=0, le=HUGE)
    licence: str = "unknown"
    """The licence that the model's output carries."""

    @property
    def launches(self) -> Launch | None:
        """What is launched: what is asked for, or one server where no endpoint is given."""
        return self.launch or (None if self.endpoints else Launch.model_validate({}))


class Seeds(Block):
    """A JSON Lines file, or the samples of another source of the recipe."""

    file: str | None = None
    from_: str | None = Field(None, alias="from")

    @model_validator(mode="after")
    def _one(self) -> "Seeds":
        if (self.file is None) == (self.from_ is None):
            raise ValueError("name either a file or, with from, another source")
        return self


class Generate(Block):
    kind: str
    seeds: Seeds
    samples: int = Field(ge=1, le=10 * HUGE)
    knobs: dict[str, Any] = {}
    vary: dict[str, dict[str | int | float, float] | tuple[str | int | float, ...]] = {}
    """A knob and the values that its rows draw: a list (equal shares) or value: share."""
    on_length: Literal["keep", "reject", "continue"] = "keep"
    """What becomes of a reply that is cut at max_tokens."""
    continuations: int = Field(2, ge=1)
    """How often `continue` asks for more of one reply."""
    sampling: SamplingChange = Field(default_factory=lambda: SamplingChange.model_validate({}))

    def shares(self) -> dict[str, dict[str, float]]:
        """Of each knob's values, written as JSON."""
        return {
            knob: {
                json.dumps(value): share
                for value, share in (
                    values.items()
                    if isinstance(values, dict)
                    else dict.fromkeys(values, 1.0).items()
                )
            }
            for knob, values in self.vary.items()
        }


class CurationStep(Block):
    filter: str
    knobs: dict[str, Any] = {}
    only: tuple[str, ...] = ()
    """Sources or tags that the filter judges; all where empty."""
    except_: tuple[str, ...] = Field((), alias="except")


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
    render: Render = Render()
    mix: dict[str, Mix] = {}
    """Which sources go in; all of them, once each, where the mix is left out."""
    pack: Literal["best_fit", "concat"] = "best_fit"
    """Whole documents side by side, or one stream cut into rows."""
    validation: float = Field(0.0, ge=0, lt=1)
    rows_per_shard: int = Field(65_536, ge=1, le=HUGE)

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
    seed: int = Field(0, ge=0, lt=2**63)
    engine: Engine
    generate: dict[str, Generate] = Field(min_length=1, max_length=256)
    curate: tuple[CurationStep, ...] = ()
    outputs: dict[str, Output] = Field(min_length=1)
    part_rows: int = Field(1000, ge=1, le=HUGE)
    """Rows of a part: the unit of work and of resuming; the shards do not depend on it."""

    @model_validator(mode="before")
    @classmethod
    def _steps(cls, data: Any) -> Any:
        """`- length: {min_tokens: 9, only: [Math]}` to a step."""
        if isinstance(data, dict) and isinstance(data.get("curate"), list):
            data = {**data, "curate": [_step(entry) for entry in data["curate"]]}
        return data


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
