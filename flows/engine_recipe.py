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
    tokens_per_second: float | None = Field(None, gt=0)
    """Completion tokens that one GPU gives, for estimates."""
    licence: str = "unknown"
    """The licence that the model's output carries."""

    @property
    def launches(self) -> Launch | None:
        """What is launched: what is asked for, or one server where no endpoint is given."""
        return self.launch or (None if self.endpoints else Launch.model_validate({}))
