"""Turns dialogues into batches of token ids in which only the assistant's answers count."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import torch
from transformers import PreTrainedTokenizerFast

import tokenizer as bpe
from dialogues import Dialogue

LONGEST = 2048
POOL = 256


@dataclass(frozen=True)
class Sample:
    """One dialogue as tokens; `answers` are the half-open ranges of the answers, end mark included."""

    ids: list[int]
    answers: list[tuple[int, int]]
    kinds: list[str]


@dataclass(frozen=True)
class Batch:
    """Padded samples. `targets` is true where the token belongs to an answer."""

    ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor


class Encoder:
    """Renders dialogues through the chat template and finds the answers in the tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast):
        self.tokenizer = tokenizer
        self.opening = tokenizer.encode("<|im_start|>assistant\n")

    def sample(self, dialogue: Dialogue) -> Sample:
        text = bpe.render(self.tokenizer, dialogue)
        ids = self.tokenizer.encode(text, verbose=False)
        return Sample(ids, list(self.answers(ids)), dialogue.kinds)

    def answers(self, ids: list[int]) -> Iterator[tuple[int, int]]:
        """Ranges from behind each assistant header to the end mark that follows it."""
        width = len(self.opening)
        for index in range(len(ids)):
            if ids[index] == bpe.START and ids[index : index + width] == self.opening:
                begin = index + width
                yield begin, ids.index(bpe.END, begin) + 1


def stretched_positions(rng: Random, ids: list[int]) -> list[int]:
    """Positions with one jump between two turns, half of the time.

    Most dialogues are far shorter than the context. The jump lets the model meet every distance up to the whole
    context at the price of a short dialogue, so that long system prompts and tool lists do not throw it off.
    """
    positions = list(range(len(ids)))
    turns = [index for index, token in enumerate(ids) if token == bpe.START and index > 0]
    if turns and len(ids) < LONGEST and rng.random() < 0.5:
        cut, jump = rng.choice(turns), rng.randint(0, LONGEST - len(ids))
        positions[cut:] = [position + jump for position in positions[cut:]]
    return positions


def collate(samples: list[Sample], positions: list[list[int]]) -> Batch:
    """Pads on the right; attention is causal, so what stands before never sees the padding."""
    width = max(len(sample.ids) for sample in samples)
    ids = torch.full((len(samples), width), bpe.PAD)
    places = torch.zeros((len(samples), width), dtype=torch.long)
    targets = torch.zeros((len(samples), width), dtype=torch.bool)
    for row, (sample, place) in enumerate(zip(samples, positions, strict=True)):
        length = len(sample.ids)
        ids[row, :length] = torch.tensor(sample.ids)
        places[row, :length] = torch.tensor(place)
        for begin, end in sample.answers:
            targets[row, begin:end] = True
    return Batch(ids, places, targets)


def by_length(samples: list[Sample], tokens: int) -> Iterator[list[Sample]]:
    """Groups samples of like length so that each group, padded, has at most `tokens` tokens."""
    group: list[Sample] = []
    for sample in sorted(samples, key=lambda sample: len(sample.ids)):
        if group and len(sample.ids) * (len(group) + 1) > tokens:
            yield group
            group = []
        group.append(sample)
    if group:
        yield group


def endless(encoder: Encoder, make: Callable[[Random], Dialogue], seed: int, tokens: int, longest: int = LONGEST) -> Iterator[Batch]:
    """Batches of about `tokens` tokens from dialogues that never come twice, none longer than `longest`."""
    rng = Random(seed)
    while True:
        samples = [encoder.sample(make(rng)) for _ in range(POOL)]
        groups = list(by_length([sample for sample in samples if len(sample.ids) <= longest], tokens))
        rng.shuffle(groups)
        for group in groups:
            yield collate(group, [stretched_positions(rng, sample.ids) for sample in group])
