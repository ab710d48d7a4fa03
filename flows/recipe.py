"""The recipe: one YAML file to frozen models; unknown keys are refused with the nearest name."""

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from data.errors import RecipeError, nearest

T = TypeVar("T", bound=BaseModel)
NAME = r"^[a-z0-9][a-z0-9_-]*$"


class Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Sampling(Block):
    """vLLM's sampling parameters; all of them are part of a completion's identity."""

    temperature: float = Field(0.8, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)
    top_k: int = Field(-1, ge=-1)
    min_p: float = Field(0.0, ge=0, le=1)
    repetition_penalty: float = Field(1.0, gt=0)
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    max_tokens: int = Field(1024, ge=1)
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
    max_tokens: int | None = Field(None, ge=1)
    stop: tuple[str, ...] | None = None


class Launch(Block):
    """Servers that the build starts here."""

    gpus: Literal["auto", "cpu"] = "auto"
    python: str | None = None
    """The interpreter of vLLM's environment; SHARDMILL_VLLM_PYTHON or .venv-vllm otherwise."""
    port: int | None = Field(None, ge=1, le=65535)
    max_model_len: int = Field(2048, ge=16)
    startup_seconds: float = Field(600, gt=0)
    args: tuple[str, ...] = ()
    """Further flags of vLLM's API server."""


class Engine(Block):
    model: str
    revision: str | None = None
    endpoints: tuple[str, ...] = ()
    """Base URLs of servers that run already, ending in /v1; none are launched then."""
    launch: Launch = Field(default_factory=lambda: Launch.model_validate({}))
    sampling: Sampling = Field(default_factory=lambda: Sampling.model_validate({}))
    concurrency: int = Field(64, ge=1)
    """Requests in flight at each endpoint."""
    timeout_seconds: float = Field(600, gt=0)
    licence: str = "unknown"
    """The licence that the model's output carries."""


class Seeds(Block):
    file: str


class Generate(Block):
    kind: str
    seeds: Seeds
    samples: int = Field(ge=1)
    knobs: dict[str, Any] = {}
    vary: dict[str, dict[str, float] | tuple[str, ...]] = {}
    """A knob and the values that its rows draw: a list (equal shares) or value: share."""
    sampling: SamplingChange = Field(default_factory=lambda: SamplingChange.model_validate({}))

    def shares(self) -> dict[str, dict[str, float]]:
        return {
            knob: values if isinstance(values, dict) else dict.fromkeys(values, 1.0)
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


class Mix(Block):
    repeat: float = Field(1.0, ge=0)
    """How often each document of the source counts; a fraction takes a seeded part."""


class Output(Block):
    tokenizer: str = "gpt2"
    sequence_length: int = Field(1024, ge=2, le=1 << 20)
    render: Render = Render()
    mix: dict[str, Mix] = {}
    """Which sources go in; all of them, once each, where the mix is left out."""
    validation: float = Field(0.0, ge=0, lt=1)
    rows_per_shard: int = Field(65_536, ge=1)


class Recipe(Block):
    name: str = Field(pattern=NAME)
    seed: int = Field(0, ge=0)
    engine: Engine
    generate: dict[str, Generate] = Field(min_length=1)
    curate: tuple[CurationStep, ...] = ()
    outputs: dict[str, Output] = Field(min_length=1)
    part_rows: int = Field(1000, ge=1)
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
