"""Small models of each family that adapters can be loaded for, with random weights, as transformers keeps them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import vocabularies
from vocabularies import Vocabulary

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
RANK, ALPHA = 4, 8
# Four heads share two keys. Where a family says how wide a head is, it is not what the others would take.
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}

# By the name of the part: how much larger what comes out is than what goes in.
MATRIX_GAINS = {"o_proj": 1.0, "down_proj": 4.0}
# The last norm spreads the scores over a dozen or two; those of queries and keys make attention choose.
NORM_GAINS = {"norm": 3.0, "q_norm": 2.0, "k_norm": 2.0}
# Its embeddings are larger, and what a layer adds passes a norm of its own.
GEMMA_NORM_GAINS = NORM_GAINS | {"post_attention_layernorm": 8.0, "post_feedforward_layernorm": 16.0}


@dataclass(frozen=True)
class Family:
    vocabulary: Callable[[], Vocabulary]
    model: type[PreTrainedModel]
    config: Callable[..., PretrainedConfig]
    tied: bool


def gemma_3(**shape: object) -> Gemma3TextConfig:
    """One layer that sees a window and one that sees all; prompts in tests are longer than the window."""
    return Gemma3TextConfig(
        **shape,
        head_dim=32,
        query_pre_attn_scalar=32,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention"],
    )


FAMILIES = {
    "llama": Family(vocabularies.llama_3, LlamaForCausalLM, LlamaConfig, tied=False),
    "qwen2": Family(vocabularies.qwen_2, Qwen2ForCausalLM, Qwen2Config, tied=False),
    "qwen3": Family(vocabularies.qwen_2, Qwen3ForCausalLM, lambda **shape: Qwen3Config(**shape, head_dim=32), tied=True),
    "gemma3": Family(vocabularies.gemma_3, Gemma3ForCausalLM, gemma_3, tied=True),
}


def make(name: str, folder: Path) -> Vocabulary:
    """Writes `model/` and `adapter/`, the same at every run."""
    family = FAMILIES[name]
    vocabulary = family.vocabulary()
    torch.manual_seed(1 + list(FAMILIES).index(name))
    model = family.model(_config(family, vocabulary)).to(torch.float32).eval()
    with torch.no_grad():
        _scatter(model, name)
    model.save_pretrained(folder / "model")
    _tokenizer(vocabulary).save_pretrained(folder / "model")
    _save_adapter(model, folder / "adapter")
    return vocabulary


def _config(family: Family, vocabulary: Vocabulary) -> PretrainedConfig:
    def number(token: str | None) -> int | None:
        return None if token is None else vocabulary.bpe.token_to_id(token)

    return family.config(
        **SHAPE,
        vocab_size=vocabulary.bpe.get_vocab_size(),
        tie_word_embeddings=family.tied,
        bos_token_id=number(vocabulary.begin),
        eos_token_id=number(vocabulary.end),
        pad_token_id=number(vocabulary.pad),
    )


def _scatter(model: PreTrainedModel, name: str) -> None:
    """Random weights with which every layer matters, and the best next token is clearly ahead of the second.

    What layers add outweighs the embedding, else a model whose scores come from the same matrix repeats its last token.
    Norms and biases are off their usual values, so that none can be forgotten unnoticed.
    """
    for key, weight in model.named_parameters():
        kind = key.split(".")[-2]
        if kind in {"embed_tokens", "lm_head"}:
            weight.normal_(std=0.5)
        elif weight.ndim == 2:
            weight.normal_(std=MATRIX_GAINS.get(kind, 1.5) * weight.shape[1] ** -0.5)
        elif key.endswith("bias"):
            weight.normal_(std=0.5)
        else:
            gains = GEMMA_NORM_GAINS if name == "gemma3" else NORM_GAINS
            # Gemma keeps how far a norm is from one.
            weight.normal_(std=0.2).add_(gains.get(kind, 1.0) - (name == "gemma3"))


def _tokenizer(vocabulary: Vocabulary) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=vocabulary.bpe,
        bos_token=vocabulary.begin,
        eos_token=vocabulary.end,
        pad_token=vocabulary.pad,
        chat_template=vocabulary.chat_template,
        clean_up_tokenization_spaces=False,
    )


def _save_adapter(model: PreTrainedModel, folder: Path) -> None:
    """An adapter that changes what the model says, on every matrix that one can have."""
    config = LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=ALPHA, target_modules=TARGETS, init_lora_weights=False)
    adapted = get_peft_model(model, config)
    with torch.no_grad():
        for key, weight in adapted.named_parameters():
            if "lora_A" in key:
                weight.normal_(std=weight.shape[1] ** -0.5)
            elif "lora_B" in key:
                weight.normal_(std=0.25)
    adapted.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
