"""Pairs are joined and cut as transformers does it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from service.engines.scripted import byte_tokenizer
from service.prompts.pairs import PairTokenizer
from service.prompts.tokenizer import Tokenizer

WORDS = ["[CLS]", "[SEP]", "[PAD]", "[UNK]", *"abcdefgh"]
SPECIAL = [("[CLS]", 0), ("[SEP]", 1)]
BERT = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=SPECIAL
)
ROBERTA = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] [SEP] $B [SEP]", special_tokens=SPECIAL
)
WITH_TYPES = ["input_ids", "token_type_ids", "attention_mask"]
WITHOUT = ["input_ids", "attention_mask"]


def pretrained(processor: Any, inputs: list[str]) -> PreTrainedTokenizerFast:
    fast = FastTokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    fast.post_processor = processor
    return PreTrainedTokenizerFast(
        tokenizer_object=fast, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", model_input_names=inputs
    )


FAMILIES = {"bert": (BERT, WITH_TYPES), "roberta": (ROBERTA, WITHOUT)}
MODELS = {name: pretrained(*parts) for name, parts in FAMILIES.items()}
TOKENIZERS = {name: Tokenizer(model) for name, model in MODELS.items()}
words = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=12).map(" ".join)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["left", "right"])
@given(query=words, document=words, limit=st.integers(5, 30))
def test_they_are_those_of_transformers(family: str, side: str, query: str, document: str, limit: int) -> None:
    tokenizer, model = TOKENIZERS[family], MODELS[family]
    model.truncation_side = side
    expected = model(query, document, truncation="longest_first", max_length=limit)
    ids = [tokenizer.encode_untrusted(text).token_ids for text in (query, document)]
    pair = PairTokenizer(tokenizer).joined(ids[0], ids[1], limit, from_start=side == "left")
    assert pair.token_ids == expected["input_ids"]
    assert pair.original_tokens == len(model(query, document)["input_ids"])
    types = expected.get("token_type_ids")
    if types is None:
        assert pair.second_type_from is None
    else:
        assert pair.second_type_from == types.index(1)


def test_texts_that_spell_control_tokens_do_not_end_a_pair() -> None:
    ids = TOKENIZERS["bert"].encode_untrusted("a [SEP] b").token_ids
    assert WORDS.index("[SEP]") not in ids


def test_a_tokenizer_that_knows_no_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing between a query and a document"):
        PairTokenizer(byte_tokenizer())


def test_types_of_another_kind_are_refused() -> None:
    processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A:1 [SEP] $B:0 [SEP]", special_tokens=SPECIAL
    )
    with pytest.raises(ValueError, match="types that this server doesn't know"):
        PairTokenizer(Tokenizer(pretrained(processor, WITH_TYPES)))
