"""Examines the demo model on dialogues that it has not seen, and prints a Markdown table.

    python evaluate.py [--model DIR] [--adapter DIR] [--dialogues N]

An answer counts only if it is right to the last character. It is not generated token by token: greedy decoding gives
the right answer exactly if, with the right answer as input, every token of it is the likeliest one after those before
it. One forward pass over a whole dialogue therefore examines all of its answers.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

import batches
import dialogues
import pirate

COMMITTED = Path(__file__).parents[2] / "crates/engine/models/demo"
HELD_OUT_SEED = 1_000_003
TOKENS = 6000


@dataclass(frozen=True)
class Score:
    """Right answers and all answers, per kind."""

    right: Counter
    total: Counter

    def rate(self) -> float:
        return self.right.total() / self.total.total()

    def table(self) -> str:
        """A Markdown table, one line per kind and the sum."""
        rows = [(kind, self.right[kind], self.total[kind]) for kind in sorted(self.total)]
        rows.append(("**all**", self.right.total(), self.total.total()))
        lines = [f"| {kind} | {total} | {100 * right / total:.1f} % |" for kind, right, total in rows]
        return "\n".join(["| kind of answer | answers | exactly right |", "| --- | ---: | ---: |", *lines])


@torch.inference_mode()
def examine(model: PreTrainedModel, samples: Iterable[batches.Sample]) -> Score:
    """Counts the answers that greedy decoding would get right to the last token."""
    score = Score(Counter(), Counter())
    for group in batches.by_length(list(samples), TOKENS):
        batch = batches.collate(group, [list(range(len(sample.ids))) for sample in group])
        guesses = model(input_ids=batch.ids, attention_mask=torch.ones_like(batch.ids)).logits.argmax(-1)
        for row, sample in zip(guesses.tolist(), group, strict=True):
            for kind, (begin, end) in zip(sample.kinds, sample.answers, strict=True):
                score.total[kind] += 1
                score.right[kind] += row[begin - 1 : end - 1] == sample.ids[begin:end]
    return score


def held_out(encoder: batches.Encoder, make: Callable[[Random], dialogues.Dialogue], count: int) -> list[batches.Sample]:
    """The examination: dialogues from a seed that training never uses."""
    rng = Random(HELD_OUT_SEED)
    samples = [encoder.sample(make(rng)) for _ in range(count)]
    return [sample for sample in samples if len(sample.ids) <= batches.LONGEST]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=COMMITTED / "safetensors")
    parser.add_argument("--adapter", type=Path, help="a PEFT adapter, examined on its own way of answering")
    parser.add_argument("--dialogues", type=int, default=2000)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    encoder = batches.Encoder(AutoTokenizer.from_pretrained(arguments.model))
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    make = dialogues.dialogue
    if arguments.adapter:
        from peft import PeftModel

        model, make = PeftModel.from_pretrained(model, arguments.adapter).eval(), pirate.dialogue
    samples = held_out(encoder, make, arguments.dialogues)
    print(f"{len(samples)} held-out dialogues\n\n{examine(model, samples).table()}")


if __name__ == "__main__":
    main()
