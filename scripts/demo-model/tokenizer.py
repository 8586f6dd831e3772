"""The byte-level BPE of the demo model.

Its pre-tokeniser is GPT-2's, which llama.cpp knows by the name `gpt-2`. The merges are learnt under a stricter split
than that: a space, a line break, a digit and the marks that paths are made of never join what they stand beside. So `src/main.rs`
is the same tokens after a space, a quote or a backtick, and copying it is copying tokens. Only the commonest words of
the fixed texts get a form with their space, to keep prompts short.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

import dialogues
import facts
import tools
import words

TEMPLATE = (Path(__file__).parent / "chat_template.jinja").read_text(encoding="utf-8")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PAD, START, END = range(3)
# Ordinary tokens, not special ones: a tool-call parser must see them in the decoded text.
MARKERS = ["<tools>", "</tools>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]
VOCABULARY = 1024
SPACED_WORDS = 48
SHORTEST_SPACED = 4
SPACE = "Ġ"
STRICT_SPLIT = r"\p{L}+|\p{N}|[*./_\-\n]| ?[^\s\p{L}\p{N}*./_\-]+|[^\S\n]+"
COPIED_WORDS = set(words.ENGLISH + words.CODE) - {"the", "you", "that", "with", "name", "tool", "call", "run", "read", "file"}


def plain_texts(rng: Random, count: int) -> list[str]:
    """Rendered dialogues, the text that the merges are learnt from."""
    tokenizer = wrap(Tokenizer(models.BPE()))
    return [render(tokenizer, dialogues.dialogue(rng)) for _ in range(count)]


def render(tokenizer: PreTrainedTokenizerFast, dialogue: dialogues.Dialogue) -> str:
    """The whole dialogue as text, by the same template that servers use."""
    return tokenizer.apply_chat_template(dialogue.messages, tools=dialogue.tools or None, tokenize=False)


def learn_merges(texts: Iterable[str], size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a BPE under the strict split."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"<\|\w+\|>|</?tool\w+>"), "removed"),
        pre_tokenizers.Split(Regex(STRICT_SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False))
    model = json.loads(bpe.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def fixed_words() -> set[str]:
    """The words of the fixed texts: template, facts and descriptions of tools."""
    answers = [answer for _, answer in facts.ALL_FACTS + facts.GREETINGS + facts.RECITALS]
    questions = [question for asked, _ in facts.ALL_FACTS + facts.GREETINGS for question in asked]
    descriptions = [text for described in (tools.DESCRIPTIONS, tools.PROPERTY_DESCRIPTIONS) for texts in described.values() for text in texts]
    return set(re.findall(r"[^\W\d_]+", " ".join([TEMPLATE, *answers, *questions, *descriptions])))


def common_words(texts: list[str], vocabulary: dict[str, int]) -> list[str]:
    """The commonest fixed words after a space that are one token already and are not among the words to be copied."""
    usable = {word for word in fixed_words() - COPIED_WORDS if word in vocabulary and len(word) >= SHORTEST_SPACED}
    counts = Counter(word for text in texts for word in re.findall(r" ([^\W\d_]+)", text) if word in usable)
    return [word for word, _ in counts.most_common(SPACED_WORDS)]


def wrap(bpe: Tokenizer) -> PreTrainedTokenizerFast:
    """The tokenizer as transformers knows it, with its chat template."""
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE,
    )


def train(seed: int, count: int = 6000) -> PreTrainedTokenizerFast:
    """Learns the tokenizer from fresh dialogues."""
    texts = plain_texts(Random(seed), count)
    vocabulary, merges = learn_merges(texts, VOCABULARY - len(MARKERS) - SPACED_WORDS)
    for word in common_words(texts, vocabulary):
        merges.append((SPACE, word))
        vocabulary[SPACE + word] = len(vocabulary)
    bpe = Tokenizer(models.BPE(vocabulary, merges))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    bpe.add_tokens([AddedToken(token, special=False, normalized=False) for token in MARKERS])
    return wrap(bpe)
