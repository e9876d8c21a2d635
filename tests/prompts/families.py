"""Small models of the families that are served most: a tokenizer trained on a few lines, and a chat template."""

import json
from collections.abc import Sequence
from functools import cache

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tests.prompts.small_tokenizers import SPACE, loaded

TEXT = [
    "The quick brown fox jumps over the lazy dog, and then it does so again.",
    "user system assistant tool function name arguments parameters description type object string required",
    '{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}\n\n[1, 22, 333] <a href="x">y</a>',
    "Zürich, 東京: it is 20 degrees; what is the weather like?\n\tHello, world! Hello.",
]

# Each is written for these tests, after the manner of its family.
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN = (
    "{% if tools %}<|im_start|>system\nYou may call these functions:\n<tools>"
    "{% for t in tools %}\n{{ t | tojson }}{% endfor %}\n</tools>\n"
    "in this manner: <tool_call>\n{}\n</tool_call><|im_end|>\n"
    "{% endif %}{% for m in messages %}"
    "{% if m.role == 'tool' %}<|im_start|>user\n<tool_response>\n{{ m.content }}\n</tool_response><|im_end|>\n"
    "{% else %}{% set said = m.content %}"
    "{% if m.role == 'assistant' and '</think>' in said %}"
    "{% set said = said.split('</think>')[-1].lstrip('\\n') %}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ said }}"
    "{% for c in m.tool_calls or [] %}\n<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}'
    "<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA_3 = (
    "<|begin_of_text|>{% if tools %}<|start_header_id|>system<|end_header_id|>\n\nEnvironment: ipython\n"
    "{% for t in tools %}{{ t | tojson(indent=4) }}\n\n{% endfor %}<|eot_id|>{% endif %}"
    "{% for m in messages %}"
    "{% if m.role == 'tool' %}<|start_header_id|>ipython<|end_header_id|>\n\n{{ m.content | tojson }}<|eot_id|>"
    "{% else %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}"
    '{% for c in m.tool_calls or [] %}<|python_tag|>{"name": "{{ c.function.name }}", '
    '"parameters": {{ c.function.arguments | tojson }}}{% endfor %}'
    "{{ '<|eom_id|>' if m.tool_calls else '<|eot_id|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
MISTRAL = (
    "<s>{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% if m.tool_calls %}[TOOL_CALLS] [{% for c in m.tool_calls %}"
    '{"name": {{ c.function.name | tojson }}, "arguments": {{ c.function.arguments | tojson }}, "id": "{{ c.id }}"}'
    "{% endfor %}]{% endif %} {{ m.content | trim }}</s>"
    "{% elif m.role == 'tool' %}[TOOL_RESULTS] {{ m.content }}[/TOOL_RESULTS]"
    "{% else %}[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}"
)
GEMMA = (
    "<bos>{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('There is no system role') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
PHI = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
XML = (
    "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}"
    "<tool_call>\n</tool_call><|im_end|>{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for c in m.tool_calls or [] %}"
    "<{{ c.function.name }}>{% for k, v in c.function.arguments.items() %}<{{ k }}>{{ v }}</{{ k }}>{% endfor %}"
    "</{{ c.function.name }}>{% endfor %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)

END_OF_THOUGHTS, ONLY_ALONE = "</think>", "<|word|>"
QWEN_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>")
QWEN_ADDED = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", END_OF_THOUGHTS)
LLAMA_SPECIAL = (
    *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
    *("<|eot_id|>", "<|eom_id|>", "<|python_tag|>", "<|reserved_special_token_12|>"),
)
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LLAMA_SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def special(*tokens: str) -> list[AddedToken]:
    return [AddedToken(token, special=True, normalized=False) for token in tokens]


def chatml() -> Tokenizer:
    """Byte-level BPE, as SmolLM2."""
    return _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), special(*QWEN_SPECIAL))


def qwen() -> Tokenizer:
    """The same with tokens that are added, but not special."""
    added = [AddedToken(token, special=False, normalized=False) for token in QWEN_ADDED]
    tokenizer = _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), [*special(*QWEN_SPECIAL), *added])
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def llama_3() -> Tokenizer:
    split = pre_tokenizers.Split(Regex(LLAMA_SPLIT), behavior="isolated")
    pre = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer = _byte_level(pre, special(*LLAMA_SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A",
        special_tokens=[("<|begin_of_text|>", tokenizer.token_to_id("<|begin_of_text|>"))],
    )
    return tokenizer


def phi() -> Tokenizer:
    """Its control tokens take in the blanks behind them."""
    names = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>")
    added = [AddedToken(name, special=True, normalized=False, rstrip=True) for name in names]
    mask = AddedToken("<mask>", special=True, normalized=False, lstrip=True)
    word = AddedToken(ONLY_ALONE, special=True, normalized=False, single_word=True)
    return _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), [*added, mask, word])


def mistral() -> Tokenizer:
    """Sentencepiece BPE with bytes for what has no piece; a blank in front of the first word."""
    names = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]")
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=[*special(*names), *BYTES], show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    return _with_added(_with_ordinary_bytes(tokenizer), special(*names))


def gemma() -> Tokenizer:
    """Unigram; some of its control tokens are matched in normalised text, and all are in the vocabulary."""
    names = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" ", SPACE)])
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.UnigramTrainer(
        vocab_size=400,
        special_tokens=[*names, *BYTES],
        unk_token="<unk>",
        initial_alphabet=[chr(code) for code in range(33, 127)],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    normalized = [AddedToken(name, special=False, normalized=True) for name in (*names[4:], "<table>")]
    return _with_added(_with_ordinary_bytes(tokenizer), [*special(*names[:4]), *normalized])


def bert() -> Tokenizer:
    """WordPiece in lower case."""
    names = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special(*names), show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


CHATTING = {
    "chatml": (chatml, CHATML),
    "qwen": (qwen, QWEN),
    "llama 3": (llama_3, LLAMA_3),
    "mistral": (mistral, MISTRAL),
    "gemma": (gemma, GEMMA),
    "phi": (phi, PHI),
    "xml": (qwen, XML),
}


@cache
def chatting(family: str) -> PreTrainedTokenizerFast:
    make, template = CHATTING[family]
    return loaded(make(), chat_template=template)


def _byte_level(pre_tokenizer: pre_tokenizers.PreTokenizer, added: Sequence[AddedToken]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    return _with_added(tokenizer, added)


def _with_ordinary_bytes(tokenizer: Tokenizer) -> Tokenizer:
    """A trainer keeps pieces for bytes only as special tokens."""
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = []
    state["model"]["byte_fallback"] = True
    return Tokenizer.from_str(json.dumps(state))


def _with_added(tokenizer: Tokenizer, added: Sequence[AddedToken]) -> Tokenizer:
    for token in added:
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    return tokenizer
