"""Models that think, after the manner of the families that are served most, and what each of them writes.

The outputs are written for these tests as such models write them: thoughts, marks, blanks, answers and calls.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from service.engines.base import GenerationRequest, GenerationStep
from service.engines.scripted import Reply, ScriptedLanguageEngine, byte_tokenizer
from service.prompts.renderer import PromptStyle, Renderer
from service.settings import LimitSettings

LLM = "llm"
LIMITS = LimitSettings()
FAILS_AFTER = 3
HEAD = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
ASSISTANT = "{% if add_generation_prompt %}<|im_start|>assistant\n"
DEEPSEEK_R1 = (
    "{% for m in messages %}{% set said = m.content %}{% if m.role == 'assistant' and '</think>' in said %}"
    "{% set said = said.split('</think>')[-1] %}{% endif %}<|im_start|>{{ m.role }}\n{{ said }}<|im_end|>\n"
    "{% endfor %}" + ASSISTANT + "<think>\n{% endif %}"
)
QWEN_3 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and m.reasoning_content %}"
    "<think>\n{{ m.reasoning_content.strip('\\n') }}\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    + ASSISTANT
    + "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
QWQ = HEAD + ASSISTANT + "<think>\n{% endif %}{# </think> #}"
MAGISTRAL = (
    "<|im_start|>system\nDraft your thoughts first: [THINK]like this[/THINK]then answer.<|im_end|>\n"
    + HEAD
    + ASSISTANT
    + "{% endif %}"
)
GLM_4_5 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}"
    "{% if m.role == 'assistant' and m.reasoning_content %}\n<think>{{ m.reasoning_content.strip() }}</think>"
    "{% endif %}{{ '\n' + m.content }}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant"
    "{% if enable_thinking is defined and not enable_thinking %}\n<think></think>{% endif %}{% endif %}"
)
SEED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content %}"
    "<seed:think>{{ m.reasoning_content }}</seed:think>{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    + ASSISTANT
    + "{% endif %}"
)
GRANITE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    + ASSISTANT
    + "{% if thinking is defined and thinking %}<think>{% else %}<think></think>{% endif %}{% endif %}"
)
THINK, SQUARE, SEED_MARKS = ("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<seed:think>", "</seed:think>")


@dataclass(frozen=True)
class Family:
    """A family of models, by its template; `recorded` is all that a model of it generates, marks included."""

    name: str
    template: str
    marks: tuple[str, str]
    recorded: str
    thoughts: str
    answer: str
    others: tuple[str, ...] = ()
    """Control tokens that its parser looks for besides."""
    special: bool = False
    """Whether its marks leave no trace in texts."""
    parser: str = ""
    """vLLM's for it."""
    enabled: bool | None = None
    """What the thinking has to be switched to."""

    def renderer(self) -> Renderer:
        marks = (*self.marks, *self.others)
        kind = {"special" if self.special else "added": marks}
        return Renderer(byte_tokenizer(self.template, **kind), PromptStyle(model_name=self.name))


R1 = Family(
    "DeepSeek-R1",
    DEEPSEEK_R1,
    THINK,
    "Okay, so I need 12 à 11.\n12 à 10 is 120, and 12 more is 132.\n</think>\n\n12 à 11 = **132**.",
    "Okay, so I need 12 à 11.\n12 à 10 is 120, and 12 more is 132.\n",
    "12 à 11 = **132**.",
    parser="deepseek_r1",
)
QWEN = Family(
    "Qwen3",
    QWEN_3,
    THINK,
    "<think>\nThe user greets me in 中文. I answer so, too. 🙂\n</think>\n\n你好。",
    "\nThe user greets me in 中文. I answer so, too. 🙂\n",
    "你好。",
    parser="qwen3",
)
FAMILIES = [
    R1,
    QWEN,
    Family(
        "QwQ",
        QWQ,
        THINK,
        'Hmm. He asks for JSON. {"a": 1} would do; wait, "a" is "2"?\nNo.\n</think>\n\n{"a": 2}',
        'Hmm. He asks for JSON. {"a": 1} would do; wait, "a" is "2"?\nNo.\n',
        '{"a": 2}',
        parser="deepseek_r1",
    ),
    Family(
        "Magistral",
        MAGISTRAL,
        SQUARE,
        "[THINK]Let me count the r's: st-r-awbe-r-r-y. Three.[/THINK]There are 3.",
        "Let me count the r's: st-r-awbe-r-r-y. Three.",
        "There are 3.",
        others=("[TOOL_CALLS]",),
        special=True,
        parser="mistral",
    ),
    Family(
        "GLM-4.5",
        GLM_4_5,
        THINK,
        "\n<think>The capital of France.\nParis, of course.</think>\nParis.",
        "The capital of France.\nParis, of course.",
        "Paris.",
        parser="glm45",
    ),
    Family(
        "Seed-OSS",
        SEED,
        SEED_MARKS,
        "<seed:think>Got it, let's see. 7 is prime.</seed:think>Yes, 7 is prime.",
        "Got it, let's see. 7 is prime.",
        "Yes, 7 is prime.",
        special=True,
        parser="seed_oss",
    ),
    Family(
        "Granite",
        GRANITE,
        THINK,
        "I should be brief.</think>Yes.",
        "I should be brief.",
        "Yes.",
        parser="granite_thinking_parser",
        enabled=True,
    ),
]


class Recording(ScriptedLanguageEngine):
    """Says what was recorded of a model, from where the prompt has led it; keeps what it was asked for."""

    def __init__(
        self, family: Family, recorded: str | None = None, step_s: float = 0.0, fails_in: int | None = None
    ) -> None:
        """In the generation `fails_in`, of all so far, it fails after FAILS_AFTER tokens."""
        self._family = family
        self._recorded = family.recorded if recorded is None else recorded
        self._step_s = step_s
        self._fails_in = fails_in
        super().__init__(LLM, LIMITS, self._said, renderer=family.renderer())
        self.asked: list[GenerationRequest] = []

    def _said(self, prompt: str) -> Reply:
        """A prompt that ends behind the thoughts is followed by the answer alone."""
        end = self._family.marks[1]
        behind = not self.asked[-1].request_id.endswith("-thoughts") and prompt.rstrip().endswith(end)
        text = self._recorded.rpartition(end)[2].lstrip("\n") if behind else self._recorded
        fails = self._fails_in == len(self.asked) - 1
        return Reply(text, self._step_s, FAILS_AFTER if fails else None)

    def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationStep, None]:
        self.asked.append(request)
        return super().generate(request)
