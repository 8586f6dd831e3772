"""Greedy answers of the engine against those of transformers, on the same weights, with and without an adapter.

usage: equality.py JSON, a list of {"name", "url", "model", "adapter"}: the model in transformers' form, the adapter in PEFT's.

Arithmetic differs in the last digits from program to program and from batch to batch, so texts are compared up to the first
step at which the best two tokens are close: from there on, each may rightly go its own way.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import requests
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

STEPS = 40
CLOSE = 0.1
# Scores that say nothing would let anything pass.
LEAST_COMPARED = 8

STORY = "The server reads lib.rs, then it waits for 127.0.0.1:8000; it's 21 degrees, and 日本 café números 365. "
CHATS = [
    [{"role": "user", "content": "hello"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is the weather in Lisbon today?"}],
    [
        {"role": "user", "content": "read src/main.rs"},
        {"role": "assistant", "content": "fn main() {\n    println!(\"größe\");\n}"},
        {"role": "user", "content": "привет 🚀, and\tthen?\r\n\n  Say it   twice!"},
    ],
    # Longer than the sliding window and than one step of the engine.
    [{"role": "user", "content": STORY * 9}],
]
# Composed characters only: Qwen's tokenizer composes them first, llama.cpp's does not.
TEXTS = ["", " ", "Hello, world", "  two  spaces\n\n\nlines\t", "don't we've I'LL 12345 3.14", "日本 🚀 \u200b ½", STORY]


@dataclass(frozen=True)
class Greedy:
    """What the reference says, as far as it is sure of it."""

    prompt: list[int]
    tokens: list[int]


def reference(model, prompt):
    """Greedy tokens up to the first that was close."""
    tokens, seen, cache = [], torch.tensor([prompt]), None
    with torch.inference_mode():
        while len(tokens) < STEPS:
            out = model(input_ids=seen, past_key_values=cache, use_cache=True)
            best = out.logits[0, -1].float().topk(2)
            if best.values[0] - best.values[1] < CLOSE:
                break
            tokens.append(int(best.indices[0]))
            seen, cache = best.indices[:1].reshape(1, 1), out.past_key_values
    return Greedy(prompt, tokens)


class Engine:
    """The engine under test, by the name of a model or an adapter."""

    def __init__(self, url):
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False

    def post(self, path, body):
        answer = self.session.post(self.url + path, json=body, timeout=120)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:500]}"
        return answer

    def tokens(self, **body):
        return self.post("/tokenize", body).json()["tokens"]

    def answer(self, model, messages):
        body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": STEPS, "ignore_eos": True}
        return self.post("/v1/chat/completions", body | {"return_token_ids": True}).json()["choices"][0]["token_ids"]


def same_tokens(name, engine, tokenizer):
    """Prompts and texts are the same tokens on both sides."""
    for text in TEXTS:
        # A prompt has to have one token at least.
        if ids := tokenizer(text)["input_ids"]:
            assert engine.tokens(prompt=text) == ids, f"{name}: {text!r} is {engine.tokens(prompt=text)}, not {ids}"
    prompts = [tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False) for chat in CHATS]
    for chat, ids in zip(CHATS, prompts, strict=True):
        seen = engine.tokens(messages=chat)
        assert seen == ids, f"{name}: a chat's prompt is {tokenizer.decode(seen)!r}, not {tokenizer.decode(ids)!r}"
    return prompts


def check(name, expected, answers):
    """How many tokens were the same; fails at the first that is not."""
    for chat, greedy, answer in zip(CHATS, expected, answers, strict=True):
        sure = len(greedy.tokens)
        assert answer[:sure] == greedy.tokens, (
            f"{name}: after {len(greedy.prompt)} tokens of prompt ({chat[-1]['content'][:30]!r}) come\n"
            f"{answer[:sure]}, not\n{greedy.tokens}"
        )
    compared = sum(len(greedy.tokens) for greedy in expected)
    assert compared >= LEAST_COMPARED * len(CHATS), f"{name}: only {compared} tokens could be compared"
    return compared


def main(cases):
    torch.set_num_threads(1)
    for case in cases:
        name, engine = case["name"], Engine(case["url"])
        tokenizer = AutoTokenizer.from_pretrained(case["model"])
        model = AutoModelForCausalLM.from_pretrained(case["model"], dtype=torch.float32).eval()
        prompts = same_tokens(name, engine, tokenizer)
        expected = {name: [reference(model, prompt) for prompt in prompts]}
        adapted = PeftModel.from_pretrained(model, case["adapter"]).eval()
        expected["adapter"] = [reference(adapted, prompt) for prompt in prompts]
        assert expected["adapter"] != expected[name], f"{name}: the adapter changes nothing"
        engine.post("/v1/load_lora_adapter", {"lora_name": "adapter", "lora_path": case["adapter"]})
        # One after the other, then all at once: both kinds in one step, over prompts that are known by then.
        alone = {model: [engine.answer(model, chat) for chat in CHATS] for model in expected}
        compared = {model: check(f"{name}, {model} alone", expected[model], alone[model]) for model in expected}
        with ThreadPoolExecutor(2 * len(CHATS)) as pool:
            busy = {model: [pool.submit(engine.answer, model, chat) for chat in CHATS] for model in expected}
        for model in expected:
            check(f"{name}, {model} among others", expected[model], [each.result() for each in busy[model]])
        print(f"ok {name}: {compared[name]} tokens, {compared['adapter']} with its adapter", flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
