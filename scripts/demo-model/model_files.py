"""Writes the model in the form that vLLM and transformers read."""

import copy
import json
from pathlib import Path

import torch
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import tokenizer as bpe

# A toy's second choice is nearly always wrong, so servers that take their defaults from here stay close to greedy.
TEMPERATURE = 0.1


def amend(path: Path, **changes) -> None:
    """Sets keys of a JSON file, which may not exist yet."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(content | changes, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Saves weights in half precision, configuration and tokenizer.

    The template and the special tokens are also written where older readers look for them.
    """
    half = copy.deepcopy(model).to(torch.float16)
    half.generation_config = GenerationConfig(
        do_sample=True, temperature=TEMPERATURE, eos_token_id=[bpe.END, bpe.PAD], pad_token_id=bpe.PAD
    )
    half.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    amend(folder / "config.json", torch_dtype="float16")
    amend(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast", add_bos_token=False, chat_template=bpe.TEMPLATE)
    amend(folder / "special_tokens_map.json", eos_token=bpe.SPECIAL[bpe.END], pad_token=bpe.SPECIAL[bpe.PAD])
