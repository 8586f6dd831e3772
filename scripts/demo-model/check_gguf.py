"""Checks that the GGUF file and the safetensors folder are the same model: python check_gguf.py [--demo DIR].

Needs `llama-cpp-python`. Token ids must agree on random strings, and greedy answers on held-out prompts; where two
answers part, the likeliest two tokens of the reference must be so close there that rounding decides.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import torch
from llama_cpp import Llama
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

import dialogues
import evaluate
import words

STRINGS = 200
PROMPTS = 20
LONGEST_ANSWER = 160
NEAR_TIE = 0.1


def random_string(rng: Random) -> str:
    """Anything a client may send: code, prose, marks, spaces, letters from elsewhere, now and then a special token."""
    makers = [words.phrase, words.code_line, words.path, words.output_line, words.sentence, lambda r: r.choice(words.ACCENTED)]
    makers.append(lambda r: "".join(chr(r.choice([r.randint(32, 126), r.randint(161, 0x2FFF), r.randint(0x1F300, 0x1F6FF)])) for _ in range(8)))
    makers.append(lambda r: r.choice(["<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_response>", "\n\n", "   ", "\t", "'ll", "\r\n"]))
    return rng.choice(["", " ", "\n"]).join(rng.choice(makers)(rng) for _ in range(rng.randint(1, 6)))


def prompts(rng: Random, tokenizer: PreTrainedTokenizerFast, count: int) -> Iterator[list[int]]:
    """Held-out dialogues, each cut before one of its answers."""
    for _ in range(count):
        dialogue = dialogues.dialogue(rng)
        cuts = [index for index, message in enumerate(dialogue.messages) if message["role"] == "assistant"]
        text = tokenizer.apply_chat_template(
            dialogue.messages[: rng.choice(cuts)], tools=dialogue.tools or None, add_generation_prompt=True, tokenize=False
        )
        yield tokenizer.encode(text)


def reference_answer(model: PreTrainedModel, prompt: list[int]) -> tuple[list[int], list[float]]:
    """Greedy answer of transformers, and by how much each token won."""
    output = model.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), do_sample=False, temperature=None,
        max_new_tokens=LONGEST_ANSWER, output_scores=True, return_dict_in_generate=True,
    )
    best = [score[0].topk(2).values for score in output.scores]
    return output.sequences[0, len(prompt) :].tolist(), [(first - second).item() for first, second in best]


def gguf_answer(llama: Llama, prompt: list[int], end: int) -> list[int]:
    """Greedy answer of llama.cpp, end mark included."""
    llama.reset()
    llama.eval(prompt)
    answer: list[int] = []
    while len(answer) < LONGEST_ANSWER and (not answer or answer[-1] != end):
        if answer:
            llama.eval(answer[-1:])
        answer.append(int(np.argmax(llama.scores[llama.n_tokens - 1])))
    return answer


def check_tokens(llama: Llama, tokenizer: PreTrainedTokenizerFast, rng: Random) -> None:
    """Fails on the first string whose token ids differ."""
    for _ in range(STRINGS):
        text = random_string(rng)
        ours, theirs = tokenizer.encode(text), llama.tokenize(text.encode(), add_bos=False, special=True)
        if ours != theirs:
            raise SystemExit(f"token ids differ on {text!r}:\n  tokenizers {ours}\n  llama.cpp  {theirs}")
    print(f"token ids agree on {STRINGS} of {STRINGS} random strings")


def check_answers(llama: Llama, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, rng: Random) -> None:
    """Fails where answers part though the reference was sure."""
    equal = 0
    for prompt in prompts(rng, tokenizer, PROMPTS):
        expected, margins = reference_answer(model, prompt)
        answer = gguf_answer(llama, prompt, tokenizer.eos_token_id)
        parting = next((index for index, pair in enumerate(zip(expected, answer)) if pair[0] != pair[1]), None)
        equal += parting is None
        if parting is not None and margins[parting] > NEAR_TIE:
            raise SystemExit(f"answers differ, margin {margins[parting]:.3f}:\n  transformers {tokenizer.decode(expected)!r}\n  llama.cpp    {tokenizer.decode(answer)!r}")
    print(f"greedy answers are equal on {equal} of {PROMPTS} prompts; any others part at a near tie")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=evaluate.COMMITTED, help="the folder with safetensors/ and remora-demo.gguf")
    demo = parser.parse_args().demo
    tokenizer = AutoTokenizer.from_pretrained(demo / "safetensors")
    model = AutoModelForCausalLM.from_pretrained(demo / "safetensors", dtype=torch.float32).eval()
    llama = Llama(str(demo / "remora-demo.gguf"), n_ctx=2048, n_threads=2, logits_all=True, verbose=False)
    rng = Random(evaluate.HELD_OUT_SEED + 1)
    check_tokens(llama, tokenizer, rng)
    check_answers(llama, model, tokenizer, rng)


if __name__ == "__main__":
    main()
