"""The recipe's engine block: the model, its servers and how they are asked."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

HUGE = 1_000_000_000


class Block(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False
    )


class Sampling(Block):
    """vLLM's sampling parameters; all of them are part of a completion's identity."""

    temperature: float = Field(0.8, ge=0)
    """0 takes the likeliest token."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Least probability that the tokens to draw from have together."""
    top_k: int = Field(-1, ge=-1, le=HUGE)
    """How many of the likeliest tokens are drawn from; -1 for all."""
    min_p: float = Field(0.0, ge=0, le=1)
    """Least probability of a token, as a share of the likeliest one's."""
    repetition_penalty: float = Field(1.0, gt=0)
    """Above 1 makes tokens rarer that came before, those of the prompt too."""
    presence_penalty: float = 0.0
    """Taken from each token that the reply holds."""
    frequency_penalty: float = 0.0
    """Taken from each token for every time that the reply holds it."""
    max_tokens: int = Field(1024, ge=1, le=HUGE)
    """Tokens after which a reply is cut."""
    stop: tuple[str, ...] = ()
    """Texts at which a reply ends."""


class SamplingChange(Block):
    """What one source samples otherwise than `engine.sampling`; its keys mean the same."""

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
    """The first server's port; a free one if left out."""
    max_model_len: int = Field(2048, ge=16)
    """Tokens of a prompt and its reply together."""
    startup_seconds: float = Field(600, gt=0, le=HUGE)
    """How long a server may take until it answers."""
    args: tuple[str, ...] = ()
    """Further flags of vLLM's API server."""


class Budget(Block):
    """Limits on what all builds under one OUT spend together; the build stops there."""

    requests: int | None = Field(None, ge=0)
    """Requests, exactly."""
    tokens: int | None = Field(None, ge=0)
    """Prompt and completion tokens."""
    money: float | None = Field(None, ge=0)
    """As `engine.price` counts it."""
    hours: float | None = Field(None, ge=0)
    """Hours of asking."""


class Prices(Block):
    """Money for a million tokens and for an hour of a launched GPU, in any one currency."""

    prompt: float = Field(0.0, ge=0)
    """Of a million prompt tokens."""
    completion: float = Field(0.0, ge=0)
    """Of a million completion tokens."""
    gpu_hour: float = Field(0.0, ge=0)
    """Of an hour of a launched GPU."""


class Engine(Block):
    model: str
    """A hub id, a local folder, a packaged model, or the name that the endpoints serve."""
    revision: str | None = None
    """The hub model's commit or tag."""
    endpoints: tuple[str, ...] = ()
    """Base URLs of servers that run already, ending in /v1; with `launch` beside it, launched
    ones are used too."""
    endpoints_from: str | None = None
    """More of them, in a list that is read again while completions are asked for, so that servers
    come and go: a file with an URL a line, or `prefect:NAME` for a Prefect variable."""
    launch: Launch | None = None
    """Start servers here; where no endpoints are given they are started in any case."""
    sampling: Sampling = Field(default_factory=lambda: Sampling.model_validate({}))
    """How tokens are drawn; a source may differ with a `sampling` of its own."""
    concurrency: int = Field(256, ge=1, le=1_000_000)
    """Requests in flight at each endpoint at most; fewer while more would not be faster."""
    patience_seconds: float = Field(300, gt=0)
    """How long all endpoints may stay away before the build stops."""
    max_error_share: float = Field(0.1, ge=0, le=1)
    """Share of rows that servers refuse or fail on, over which the build stops."""
    min_requests: int = Field(50, ge=1)
    """Requests before that share counts."""
    budget: Budget = Field(default_factory=lambda: Budget.model_validate({}))
    """Limits of what is spent."""
    price: Prices = Field(default_factory=lambda: Prices.model_validate({}))
    """What tokens and hours cost."""
    deterministic: bool = False
    """Batch-invariant kernels where the GPU has them: a reply then depends on its request."""
    timeout_seconds: float = Field(600, gt=0, le=HUGE)
    """How long one request may take."""
    tokens_per_second: float | None = Field(None, gt=0)
    """Completion tokens that one GPU gives, for estimates."""
    licence: str = "unknown"
    """The licence that the model's output carries."""

    @property
    def launches(self) -> Launch | None:
        """What is launched: what is asked for, or one server where no endpoint is given."""
        given = self.endpoints or self.endpoints_from
        return self.launch or (None if given else Launch.model_validate({}))
