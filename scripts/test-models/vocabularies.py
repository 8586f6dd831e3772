"""Tokenizers as each family has them, learnt from a page of text: small, but cut, merged and marked like the real ones."""

import json
from dataclasses import dataclass, field

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXT = """\
The server reads src/main.rs, lib.rs and Cargo.toml; then it waits for 127.0.0.1:8000 to answer with "hello".
What is the weather in Lisbon today? It's 21 degrees, and they'll have rain tomorrow: don't forget an umbrella!
def add(a, b):\n    return a + b  # 3 + 4 == 7\n\nfor each in range(1000):\n    print(f"{each:>4} {each * each}")\n
{"name": "read", "arguments": {"path": "docs/engine.md", "lines": [1, 20], "quiet": true, "limit": null}}
Größe, café, naïve, señor; привет мир; 日本 東京; 안녕. We've counted 1, 2, 3, 10, 42, 365 and 65536 stars at night.
A model, an adapter and a token walk into a bar. The bartender says: what will you have? The token says: nothing, thanks.
"""
MERGES = 200

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Digits one by one, and nothing else is different.
QWEN_2 = LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")
UNDERLINE = "▁"


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer, and what a GGUF file has to say of it."""

    bpe: Tokenizer
    # llama.cpp's names for the kind of tokenizer and for the way text is cut before it.
    kind: str
    cut: str
    special: list[str]
    begin: str | None
    end: str
    pad: str
    chat_template: str
    # Bytes that are tokens of their own, by Gemma's names.
    bytes: list[str] = field(default_factory=list)


def llama_3() -> Vocabulary:
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    bpe = _byte_level(LLAMA_3, special, whole_words_first=True)
    bpe.post_processor = processors.TemplateProcessing(single=f"{special[0]} $A", special_tokens=[(special[0], 0)])
    template = (
        "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
        "{{ message.content | trim }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    )
    return Vocabulary(bpe, "gpt2", "llama-bpe", special, special[0], "<|eot_id|>", "<|end_of_text|>", template)


def qwen_2() -> Vocabulary:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    bpe = _byte_level(QWEN_2, special, whole_words_first=False)
    template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return Vocabulary(bpe, "gpt2", "qwen2", special, None, "<|im_end|>", "<|endoftext|>", template)


def gemma_3() -> Vocabulary:
    """SentencePiece's way: no cuts at all, spaces as underlines, unknown characters as bytes."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    in_bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    learning = Tokenizer(models.BPE())
    learning.normalizer = normalizers.Replace(" ", UNDERLINE)
    learning.pre_tokenizer = pre_tokenizers.Split(UNDERLINE, "merged_with_next")
    size = len(special) + len(in_bytes) + len(set(TEXT)) + MERGES
    _learn(learning, size, special + in_bytes, alphabet=[])
    learnt = json.loads(learning.to_str())["model"]
    merges = [tuple(merge) for merge in learnt["merges"]]
    bpe = Tokenizer(models.BPE(learnt["vocab"], merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    bpe.normalizer = normalizers.Replace(" ", UNDERLINE)
    bpe.decoder = decoders.Sequence([decoders.Replace(UNDERLINE, " "), decoders.ByteFallback(), decoders.Fuse()])
    bpe.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    _mark(bpe, special)
    template = (
        "{{ bos_token }}{% for message in messages %}<start_of_turn>"
        "{{ 'model' if message.role == 'assistant' else message.role }}\n{{ message.content | trim }}<end_of_turn>\n"
        "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    )
    return Vocabulary(bpe, "llama", "default", special, "<bos>", "<end_of_turn>", "<pad>", template, in_bytes)


def _byte_level(cut: str, special: list[str], whole_words_first: bool) -> Tokenizer:
    """The kind that GPT-2 began. Llama 3 looks for whole words in the vocabulary before it merges anything."""
    bpe = Tokenizer(models.BPE(ignore_merges=whole_words_first))
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(cut), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    _learn(bpe, len(special) + len(alphabet) + MERGES, special, alphabet)
    _mark(bpe, special)
    return bpe


def _learn(bpe: Tokenizer, size: int, special: list[str], alphabet: list[str]) -> None:
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator([TEXT], trainer)


def _mark(bpe: Tokenizer, special: list[str]) -> None:
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
