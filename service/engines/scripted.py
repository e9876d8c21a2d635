"""An engine without a model: it says what a script tells it to, token by token, the same every time.

For tests, for cases that a model can't be made to produce, and for developing a client on a machine without one. It
honours limits, stop strings, stop tokens and log probabilities as vLLM does; it knows nothing and enforces nothing.
"""

import asyncio
import hashlib
import math
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle

from prometheus_client.metrics_core import Metric
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from service.api.models import Model, ModelCapabilities, ModelState, ModelType
from service.api.response_format import ResponseFormatType
from service.api.sampling import TokenLogProbs
from service.api.score import ScoreType
from service.api.tools import ToolPromptFormat
from service.decoding.plan import ModelBounds
from service.engines.adapters.config import host_names
from service.engines.base import (
    NO_ADAPTERS,
    Adapter,
    AdapterHost,
    Capacity,
    Engine,
    Finish,
    FinishReason,
    GenerationRequest,
    GenerationStep,
)
from service.engines.limits import embedding_limits, language_limits, scoring_limits
from service.engines.logprobs import Candidate, position
from service.errors import EngineFailed, InternalError
from service.images.decoding import Picture
from service.prompts.pairs import Pair, PairTokenizer
from service.prompts.renderer import Renderer
from service.prompts.task_prefixes import TaskPrefixes
from service.prompts.tokenizer import PreparedImages, Prompt, Segment
from service.prompts.tokenizer import Tokenizer as PromptTokenizer
from service.settings import LimitSettings, ModelSettings, Settings

CONTEXT_LENGTH = 4096
MAX_LOGPROBS = 20
CAPACITY = Capacity(requests=256, tokens=1_000_000)
DIMENSION = 64
END_OF_TURN = "<|im_end|>"
IMAGE = "<|image|>"
TOKENS_OF_IMAGE = 16
IMAGES = 999
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DEFAULT_REPLY = "The quick brown fox jumps over the lazy dog."


@dataclass(frozen=True, slots=True)
class Reply:
    """What to say: text, told byte by byte as a byte-level tokenizer does.

    `step_s` passes before each token. After `fail_after` tokens the engine fails; None is never.
    """

    text: str = DEFAULT_REPLY
    step_s: float = 0.0
    fail_after: int | None = None


Script = Callable[[str], Reply]
"""From the prompt, as text, to the reply."""


def build(model: ModelSettings, settings: Settings) -> Engine:
    """The engine for one model of `settings`; its script says always the same."""
    limits = model.limits_within(settings.limits)
    if model.type is ModelType.LLM:
        return ScriptedLanguageEngine(model.id, limits, adapters=scripted_host(model))
    if model.type is ModelType.SCORING:
        return ScriptedScoringEngine(model.id, limits)
    return ScriptedEmbeddingEngine(model.id, limits)


def scripted_host(model: ModelSettings) -> AdapterHost:
    """As if there were a model of two layers."""
    if not model.max_adapters:
        return NO_ADAPTERS
    names = ("self_attn.q_proj", "self_attn.v_proj")
    modules = {f"model.layers.{layer}.{name}": (16, 8) for layer in range(2) for name in names}
    return AdapterHost(model.max_adapters, model.max_lora_rank, host_names(model.path, model.id), modules)


def byte_tokenizer(
    chat_template: str = CHAT_TEMPLATE,
    special: Sequence[str] = (),
    added: Sequence[str] = (),
    *,
    separates_pairs: bool = False,
) -> PromptTokenizer:
    """One token per byte, and two control tokens: small enough to be made on the spot.

    More can be had: `special` ones, which leave no trace in texts, and those that are merely `added`, which do.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    # In words, of which the library keeps the last thousands: taken as one word, it would keep whole texts.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ("<|im_start|>", END_OF_TURN, *special)
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in specials])
    tokenizer.add_tokens([AddedToken(name, special=False, normalized=False) for name in added])
    if separates_pairs:
        end = (END_OF_TURN, tokenizer.token_to_id(END_OF_TURN))
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {END_OF_TURN}", pair=f"$A {END_OF_TURN} $B:1 {END_OF_TURN}:1", special_tokens=[end]
        )
    return PromptTokenizer(
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            eos_token=END_OF_TURN,
            chat_template=chat_template,
            model_input_names=["input_ids", "token_type_ids"] if separates_pairs else ["input_ids"],
        )
    )


def _renderer(*, reads_images: bool) -> Renderer:
    image = IMAGE if reads_images else None
    return Renderer(byte_tokenizer(special=(image,) if image else ()), image_placeholder=image)


@dataclass(slots=True)
class _Scripted:
    """What both kinds have in common: nothing to load, and a death on command."""

    identifier: str
    limits: LimitSettings
    ready: bool = False
    failed: asyncio.Event = field(default_factory=asyncio.Event)
    cache_usage: float = 0.0
    waiting_for: Sequence[str] = ()
    capacity: Capacity = field(default=CAPACITY)
    model: Model = field(init=False)

    async def start(self) -> None:
        self.ready = True
        self.failed.clear()
        self.model = self.model.model_copy(update={"state": ModelState.READY})

    def own_metrics(self) -> Iterable[Metric]:
        return ()

    async def warm_up(self) -> None: ...

    async def wait_for_failure(self) -> None:
        await self.failed.wait()

    async def stop(self) -> None:
        self.ready = False

    def die(self) -> None:
        """As if the engine's process had been killed."""
        self.ready = False
        self.failed.set()


class ScriptedLanguageEngine(_Scripted):
    """Says what its script says. See engines.base.LanguageEngine."""

    model_type = ModelType.LLM

    def __init__(
        self,
        identifier: str,
        limits: LimitSettings,
        script: Script = lambda _: Reply(),
        *,
        reads_images: bool = False,
        renderer: Renderer | None = None,
        adapters: AdapterHost = NO_ADAPTERS,
    ) -> None:
        """`renderer` is that of another model than the plain one which an engine has by itself."""
        super().__init__(identifier, limits)
        self.script = script
        self.adapter_host = adapters
        self.adapters: set[Adapter] = set()
        self.running = 0
        self.renderer = renderer or _renderer(reads_images=reads_images)
        reasoning = self.renderer.reasoning
        self.bounds = ModelBounds(CONTEXT_LENGTH, self.renderer.tokenizer.vocabulary_size, MAX_LOGPROBS)
        self.model = Model(
            identifier=identifier,
            provider_resource_id="scripted",
            provider_id="scripted",
            model_type=ModelType.LLM,
            state=ModelState.LOADING,
            metadata={"context_length": CONTEXT_LENGTH},
            capabilities=ModelCapabilities(
                images=reads_images,
                chat=True,
                response_formats=tuple(ResponseFormatType),
                tool_prompt_formats=tuple(ToolPromptFormat),
                reasoning=reasoning is not None,
                reasoning_switch=reasoning is not None and reasoning.switch is not None,
            ),
            limits=language_limits(
                limits, CONTEXT_LENGTH, MAX_LOGPROBS, images=IMAGES if reads_images else 0, adapters=adapters
            ),
        )

    async def start(self) -> None:
        self.adapters = set()
        await super().start()

    def has_adapter(self, adapter: Adapter) -> bool:
        return self.ready and adapter in self.adapters

    async def load_adapter(self, adapter: Adapter) -> None:
        if not self.ready:
            raise EngineFailed("The engine is not running.", retry_after_s=1.0)
        self.adapters.add(adapter)

    async def unload_adapter(self, adapter: Adapter) -> None:
        self.adapters.discard(adapter)

    async def with_images(self, prompt: Prompt, pictures: Sequence[Picture], cache_owner: str) -> Prompt:
        """The same number of tokens for each, whatever it shows."""
        image = self.renderer.tokenizer.control_tokens[IMAGE]
        if prompt.token_ids.count(image) != len(pictures):
            raise InternalError("The prompt has another number of images.")
        ids = [each for token in prompt.token_ids for each in [token] * (TOKENS_OF_IMAGE if token == image else 1)]
        return replace(prompt, token_ids=ids, images=PreparedImages())

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationStep, None]:
        reply = self.script(request.prompt.text)
        if request.adapter:
            if not self.has_adapter(request.adapter):
                raise EngineFailed("The engine has lost the adapter.", retry_after_s=1.0)
            reply = replace(reply, text=f"As {request.adapter.name.partition('@')[0]}: {reply.text}")
        self.running += 1
        try:
            if request.incremental:
                async for step in self._steps(request, reply):
                    yield step
            else:
                yield await self._joined(request, reply)
        finally:
            self.running -= 1

    async def _joined(self, request: GenerationRequest, reply: Reply) -> GenerationStep:
        steps: list[GenerationStep] = []
        try:
            async for step in self._steps(request, reply):
                steps.append(step)  # noqa: PERF401
        except BaseException:
            request.unseen(len(steps))
            raise
        return _joined(steps)

    async def _steps(self, request: GenerationRequest, reply: Reply) -> AsyncGenerator[GenerationStep, None]:
        speech = _Speech(self.renderer.tokenizer, request)
        # Over and over, for as long as min_tokens doesn't let it end.
        for number, token_id in enumerate(cycle(self._token_ids(reply.text))):
            if number == reply.fail_after:
                raise EngineFailed("The engine was told to fail.", retry_after_s=1.0)
            await asyncio.sleep(reply.step_s)
            step = speech.say(token_id)
            yield step
            if step.finish:
                return

    def _token_ids(self, text: str) -> list[int]:
        tokenizer = self.renderer.tokenizer
        end: int = tokenizer.pretrained.eos_token_id
        return [*tokenizer.encode([Segment(text, trusted=True)]).token_ids, end]


class _Speech:
    """The state of one reply: what was said, what is held back, when it ends."""

    def __init__(self, tokenizer: PromptTokenizer, request: GenerationRequest) -> None:
        self._tokenizer = tokenizer
        self._visible = tokenizer.token_bytes if request.show_control_tokens else tokenizer.visible_bytes
        self._plan = request.plan
        self._end: int = tokenizer.pretrained.eos_token_id
        self._said = b""
        self._said_before_stops = 0
        self._delivered = 0
        self._tokens = 0

    def say(self, token_id: int) -> GenerationStep:
        self._tokens += 1
        finish = self._finish_by_token(token_id)
        if finish is None:
            self._said += self._visible(token_id)
            finish = self._finish_by_text()
        return GenerationStep(
            text=self._new_text(finish),
            tokens=1,
            logprobs=self._logprobs(token_id),
            finish=finish,
            token_ids=(token_id,),
        )

    def _finish_by_token(self, token_id: int) -> Finish | None:
        ends = token_id == self._end or token_id in self._plan.stop_token_ids
        if ends and self._tokens > self._plan.min_tokens:
            return Finish(FinishReason.STOP, stop_token=None if token_id == self._end else token_id)
        return None

    def _finish_by_text(self) -> Finish | None:
        if self._tokens <= self._plan.min_tokens:
            self._said_before_stops = len(self._said)
        found = {stop: place for stop in self._plan.stop if (place := self._place_of(stop.encode())) >= 0}
        if found:
            return Finish(FinishReason.STOP, min(found, key=found.__getitem__))
        if self._tokens >= self._plan.max_tokens:
            return Finish(FinishReason.LENGTH)
        return None

    def _place_of(self, stop: bytes) -> int:
        """Where a stop string stands that ends behind the first min_tokens, or -1."""
        return self._said.find(stop, max(0, self._said_before_stops - len(stop) + 1))

    def _new_text(self, finish: Finish | None) -> str:
        """What may be shown now: whole characters, and nothing that may become a stop string."""
        text = self._said.decode(errors="ignore")
        if finish and finish.stop_string:
            text = text[: text.index(finish.stop_string, self._delivered)]
        elif not finish:
            text = text[: max(0, len(text) - max((len(stop) - 1 for stop in self._plan.stop), default=0))]
        new = text[self._delivered :]
        self._delivered += len(new)
        return new

    def _logprobs(self, token_id: int) -> tuple[TokenLogProbs, ...]:
        top_k = self._plan.logprobs
        if top_k is None:
            return ()
        others = [i for i in range(top_k + 1) if i != token_id]
        ids = [token_id, *others[:top_k]]
        candidates = [Candidate(i, math.log(0.5 ** (rank + 1)), rank + 1) for rank, i in enumerate(ids)]
        return (position(self._tokenizer, token_id, candidates, top_k),)


def _joined(steps: Sequence[GenerationStep]) -> GenerationStep:
    return GenerationStep(
        text="".join(step.text for step in steps),
        tokens=sum(step.tokens for step in steps),
        logprobs=[position for step in steps for position in step.logprobs],
        finish=steps[-1].finish,
        token_ids=[token_id for step in steps for token_id in step.token_ids],
    )


class ScriptedEmbeddingEngine(_Scripted):
    """Vectors of length 1 that depend on the tokens and on nothing else. See engines.base.EmbeddingEngine."""

    model_type = ModelType.EMBEDDING

    def __init__(self, identifier: str, limits: LimitSettings, task_prefixes: TaskPrefixes | None = None) -> None:
        super().__init__(identifier, limits)
        self.tokenizer = byte_tokenizer()
        self.task_prefixes = task_prefixes or TaskPrefixes({})
        self.model = Model(
            identifier=identifier,
            provider_resource_id="scripted",
            provider_id="scripted",
            model_type=ModelType.EMBEDDING,
            state=ModelState.LOADING,
            metadata={"context_length": CONTEXT_LENGTH, "embedding_dimension": DIMENSION},
            embedding_dimension=DIMENSION,
            capabilities=ModelCapabilities(
                output_dimension=True,
                embedding_task_types=tuple(self.task_prefixes.by_task),
                score_types=(ScoreType.COSINE,),
            ),
            limits=embedding_limits(limits, CONTEXT_LENGTH),
        )

    async def embed(self, request_id: str, token_ids: Sequence[int], dimension: int | None) -> Sequence[float]:
        values = list(_noise(token_ids, dimension or DIMENSION))
        length = math.sqrt(sum(value * value for value in values))
        return [value / length for value in values]


class ScriptedScoringEngine(_Scripted):
    """Logits by how many tokens of the two texts are the same. See engines.base.ScoringEngine."""

    model_type = ModelType.SCORING

    def __init__(self, identifier: str, limits: LimitSettings) -> None:
        super().__init__(identifier, limits)
        self.tokenizer = byte_tokenizer(separates_pairs=True)
        self.pairs = PairTokenizer(self.tokenizer)
        self.model = Model(
            identifier=identifier,
            provider_resource_id="scripted",
            provider_id="scripted",
            model_type=ModelType.SCORING,
            state=ModelState.LOADING,
            metadata={"context_length": CONTEXT_LENGTH},
            capabilities=ModelCapabilities(score_types=(ScoreType.CROSS_ENCODER,)),
            limits=scoring_limits(limits, CONTEXT_LENGTH),
        )

    async def score(self, request_id: str, pair: Pair) -> float:
        assert pair.second_type_from is not None
        query, document = pair.token_ids[: pair.second_type_from], pair.token_ids[pair.second_type_from :]
        return float(len(set(query) & set(document)) - 3)


def _noise(token_ids: Sequence[int], count: int) -> Iterator[float]:
    for index in range(count):
        digest = hashlib.blake2b(f"{index}:{token_ids}".encode(), digest_size=4).digest()
        yield int.from_bytes(digest, "big") / 2**31 - 1
