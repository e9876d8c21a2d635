"""What an engine is: something that turns token ids into text, a vector or a score."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from prometheus_client.metrics_core import Metric

from service.api.models import Model, ModelType
from service.api.sampling import TokenLogProbs
from service.decoding.constraint import Constraint
from service.decoding.plan import ModelBounds, SamplingPlan
from service.images.decoding import Picture
from service.prompts.pairs import Pair, PairTokenizer
from service.prompts.renderer import Renderer
from service.prompts.task_prefixes import TaskPrefixes
from service.prompts.tokenizer import Prompt, Tokenizer


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter that an engine can load.

    `name` is another one for other contents: by it an engine tells apart what it has computed with each.
    """

    name: str
    folder: Path


@dataclass(frozen=True, slots=True)
class AdapterHost:
    """What a model takes of adapters: none without `most`.

    `names` are those by which adapters may call it, in lower case. `modules` has the numbers that go in and come out of
    each that can be changed; None where nobody knows them.
    """

    most: int = 0
    rank: int = 0
    names: frozenset[str] = frozenset()
    modules: Mapping[str, tuple[int, int]] | None = None


NO_ADAPTERS = AdapterHost()


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One text to generate.

    `incremental` asks for steps as they come rather than for a single last one. `show_control_tokens` asks for control
    tokens as they are spelled, where they otherwise leave no trace in the text; never for the one that ends it.
    `cache_owner` is whose earlier prompts may spare work on this one; those of others are as if they had never been.
    `unseen` is told of tokens that were generated and are in no step, when a generation is broken off. `adapter` is one
    that was loaded, and that the text is to be generated with.
    """

    request_id: str
    prompt: Prompt
    plan: SamplingPlan
    constraint: Constraint | None
    incremental: bool
    show_control_tokens: bool = False
    cache_owner: str = ""
    unseen: Callable[[int], None] = lambda tokens: None
    adapter: Adapter | None = None


class FinishReason(StrEnum):
    STOP = "stop"
    """A stop token, a stop string, or the end that the constraint left."""
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of a generation.

    `stop_string` is the one of the request's that ended it, if one did; `stop_token` the token, where it isn't the one
    that ends every answer of the model.
    """

    reason: FinishReason
    stop_string: str | None = None
    stop_token: int | None = None


@dataclass(frozen=True, slots=True)
class GenerationStep:
    """What a generation brought since the last step: one or more tokens.

    `text` is whole characters and may lag behind the tokens; `token_ids` are these, a stop token included; `logprobs`
    has one entry per token, or is empty. The first step, also when it is the only one, tells how the prompt was served:
    prompt tokens from the cache, and seconds from the submission to the beginning of the work and to the first token.
    Exactly the last one has `finish`.
    """

    text: str
    tokens: int
    logprobs: Sequence[TokenLogProbs] = ()
    cached_tokens: int = 0
    queued_s: float = 0.0
    first_token_s: float = 0.0
    finish: Finish | None = None
    token_ids: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Capacity:
    """What an engine works on at a time, at most."""

    requests: int
    tokens: int


class Engine(Protocol):
    """What the life cycle of the server does with an engine of any kind."""

    @property
    def identifier(self) -> str:
        """The name that requests use; known before the model is loaded."""
        ...

    @property
    def model_type(self) -> ModelType: ...

    @property
    def ready(self) -> bool:
        """Whether the engine is loaded and alive."""
        ...

    @property
    def model(self) -> Model:
        """What the engine serves. Only once it was loaded."""
        ...

    @property
    def waiting_for(self) -> Sequence[str]:
        """Parts of the model that a start waits for: those of other machines, which somebody has to start there."""
        ...

    def own_metrics(self) -> Iterable[Metric]:
        """What the library counts that the engine is made of, each family with samples of this engine."""
        ...

    @property
    def cache_usage(self) -> float:
        """The share of its cache that is in use, 0 to 1."""
        ...

    @property
    def capacity(self) -> Capacity:
        """Only once the model was loaded."""
        ...

    async def start(self) -> None:
        """Loads the model. Raises EngineFailed; then the model's state is FAILED."""
        ...

    async def warm_up(self) -> None:
        """Runs the model once. Raises EngineFailed."""
        ...

    async def wait_for_failure(self) -> None:
        """Returns when a loaded engine has died. Never returns after `stop`."""
        ...

    async def stop(self) -> None:
        """Ends the engine and all of its processes. Safe to call at any time, also twice."""
        ...


class LanguageEngine(Engine, Protocol):
    """Runs one language model."""

    @property
    def bounds(self) -> ModelBounds: ...

    @property
    def renderer(self) -> Renderer: ...

    async def with_images(self, prompt: Prompt, pictures: Sequence[Picture], cache_owner: str) -> Prompt:
        """The prompt with its images in their places, ready to generate from, also more than once.

        Only for a model whose capabilities tell of images. Raises RequestErrors for images that the model can't read.
        """
        ...

    @property
    def adapter_host(self) -> AdapterHost:
        """Only once the model was loaded."""
        ...

    def has_adapter(self, adapter: Adapter) -> bool:
        """Whether it is loaded. None is any longer once the engine was started again."""
        ...

    async def load_adapter(self, adapter: Adapter) -> None:
        """Raises ModelNotLoadable, and EngineFailed when the engine dies."""
        ...

    async def unload_adapter(self, adapter: Adapter) -> None:
        """Frees what it holds, if it is loaded. No request may be using it."""
        ...

    def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationStep, None]:
        """Generates. Closing the generator frees the engine.

        Raises EngineFailed when the engine dies, and RequestErrors for what only the engine can know to be wrong.
        """
        ...


class ScoringEngine(Engine, Protocol):
    """Runs one cross-encoder."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def pairs(self) -> PairTokenizer: ...

    async def score(self, request_id: str, pair: Pair) -> float:
        """The logit of a pair that is tokenised already."""
        ...


class EmbeddingEngine(Engine, Protocol):
    """Runs one embedding model."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def task_prefixes(self) -> TaskPrefixes: ...

    async def embed(self, request_id: str, token_ids: Sequence[int], dimension: int | None) -> Sequence[float]:
        """The vector of a text that is tokenised already, special tokens included."""
        ...
