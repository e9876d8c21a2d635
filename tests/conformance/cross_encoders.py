"""Small cross-encoders with random heads, made on the spot: nonsense, and the same nonsense each time."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
# Else all logits would be nearly the same.
HEAD_SCALE = 20


def make_bert(folder: Path, minilm: str) -> None:
    """MiniLM's weights, and BERT's token types."""
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(minilm, num_labels=1, torch_dtype=torch.float32)
    _save(model, model.classifier, folder)
    AutoTokenizer.from_pretrained(minilm).save_pretrained(folder)


def make_roberta(folder: Path) -> None:
    """One token a byte, no token types, positions from 2 on."""
    torch.manual_seed(2)
    tokenizer = byte_tokenizer()
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=130,
        type_vocab_size=1,
        num_labels=1,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        initializer_range=0.2,
    )
    model = RobertaForSequenceClassification(config)
    _save(model, model.classifier.out_proj, folder)
    tokenizer.save_pretrained(folder)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={sign: i for i, sign in enumerate(alphabet)}, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=128,
        model_input_names=["input_ids", "attention_mask"],
    )


def _save(model: torch.nn.Module, head: torch.nn.Linear, folder: Path) -> None:
    with torch.no_grad():
        head.weight.normal_(std=0.02 * HEAD_SCALE)
    model.save_pretrained(folder)  # type: ignore[operator]


def logits(folder: Path, pairs: list[tuple[str, str]], limit: int) -> list[float]:
    """What transformers makes of pairs, one by one and cut as it cuts them."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    found = []
    with torch.no_grad():
        for query, document in pairs:
            encoded = tokenizer(query, document, truncation="longest_first", max_length=limit, return_tensors="pt")
            found.append(float(model(**encoded).logits[0, 0]))
    return found
