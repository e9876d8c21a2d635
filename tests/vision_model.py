"""A vision-language model of two layers and random weights: it reads images for real, and answers nonsense.

python -m tests.vision_model TOKENIZER_OF FOLDER
"""

import subprocess
import sys
from pathlib import Path

WIDTH, LAYERS, HEADS, CONTEXT = 64, 2, 2, 2048
TILE, PATCH, SHUFFLED = 64, 8, 2
TOKENS_A_TILE = (TILE // PATCH) ** 2 // SHUFFLED**2
IMAGE, AROUND, WHOLE, END = "<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"
ROWS = 2
# Of the model family's own form: the content is a list, whose items are texts and images.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role | capitalize }}: "
    "{% for item in message.content %}"
    "{% if item.type == 'text' %}{{ item.text }}{% elif item.type == 'image' %}<image>{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


def make_vision_model(tokenizer_of: Path, folder: Path) -> Path:
    """Writes it to `folder`, with the tokenizer of another model and a few tokens more.

    In a process of its own: what torch takes of the memory would be missing to the engines.
    """
    subprocess.run([sys.executable, "-m", __name__, str(tokenizer_of), str(folder)], check=True, capture_output=True)
    return folder


def _write(tokenizer_of: str, folder: str) -> None:
    import torch
    from transformers import (
        AutoTokenizer,
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
        Idefics3Processor,
    )

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    tiles = [f"<row_{row}_col_{column}>" for row in range(1, ROWS + 1) for column in range(1, ROWS + 1)]
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE, AROUND, WHOLE, END, *tiles]})
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": ROWS * TILE}, max_image_size={"longest_edge": TILE}, do_image_splitting=True
    )
    torch.manual_seed(0)
    config = Idefics3Config(
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        scale_factor=SHUFFLED,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        vision_config={
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "image_size": TILE,
            "patch_size": PATCH,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": HEADS,
            "max_position_embeddings": CONTEXT,
            "pad_token_id": tokenizer.pad_token_id,
            "initializer_range": 0.2,
            # vLLM looks for it here, and otherwise expects a table of its own for the answers.
            "tie_word_embeddings": True,
        },
    )
    Idefics3ForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(folder)
    Idefics3Processor(images, tokenizer, image_seq_len=TOKENS_A_TILE, chat_template=CHAT_TEMPLATE).save_pretrained(
        folder
    )


if __name__ == "__main__":
    _write(*sys.argv[1:])
