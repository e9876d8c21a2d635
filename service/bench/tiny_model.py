"""A random model of two layers: an engine so fast that what a front-end costs can be seen.

python -m service.bench.tiny_model TOKENIZER_OF FOLDER
"""

import subprocess
import sys
from pathlib import Path

LAYERS, WIDTH, HEADS, CONTEXT = 2, 64, 2, 4096


def make_tiny_model(tokenizer_of: Path, folder: Path) -> Path:
    """Writes it to `folder`, with the tokenizer of another model.

    In a process of its own: what torch takes of the memory would be missing to the engines.
    """
    subprocess.run([sys.executable, "-m", __name__, str(tokenizer_of), str(folder)], check=True, capture_output=True)
    return folder


def _write(tokenizer_of: str, folder: str) -> None:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    _write(*sys.argv[1:])
