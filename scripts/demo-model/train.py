"""Makes the demo model from nothing: tokenizer, training, examination, and the files for vLLM and llama.cpp.

    python train.py [--out DIR] [--start DIR] [--steps N] [--rate R] [--seed N]

Takes about half an hour on two CPU cores. `train_adapter.py` makes the adapter afterwards.
"""

import argparse
import itertools
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast, set_seed

import batches
import dialogues
import evaluate
import export_gguf
import model_files
import tokenizer as bpe

TOKENS_PER_BATCH = 3200
LEARNING_RATE = 1.5e-3
WARM_UP = 100
SHORT = 400
SHORT_SHARE = 0.3
REPORT_EVERY = 100
EXAMINE_EVERY = 500


def new_model() -> LlamaForCausalLM:
    """An untrained Llama of about 1.8 million parameters; input and output share their embedding."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=bpe.VOCABULARY,
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=6,
            num_key_value_heads=3,
            max_position_embeddings=batches.LONGEST,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=bpe.END,
            pad_token_id=bpe.PAD,
        )
    )


def loss_on_answers(model: PreTrainedModel, batch: batches.Batch) -> torch.Tensor:
    """Mean cross entropy of the answers' tokens.

    The mask of ones says that each row is one text: without it transformers takes a jump in the positions for the
    border between two.
    """
    llama = model.get_base_model() if hasattr(model, "peft_config") else model
    with torch.autocast("cpu", torch.bfloat16):
        hidden = llama.model(input_ids=batch.ids, position_ids=batch.positions, attention_mask=torch.ones_like(batch.ids)).last_hidden_state
        wanted = batch.targets[:, 1:]
        logits = llama.lm_head(hidden[:, :-1][wanted])
    return torch.nn.functional.cross_entropy(logits.float(), batch.ids[:, 1:][wanted])


def optimizer(model: PreTrainedModel, rate: float) -> torch.optim.Optimizer:
    """AdamW over what is to be trained; norms do not decay."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [{"params": [p for p in trained if p.ndim > 1], "weight_decay": 0.1}]
    groups.append({"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0})
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=rate, betas=(0.9, 0.95), fused=True)


def cosine(step: int, steps: int) -> float:
    """Share of the learning rate: a linear rise, then half a cosine down to nothing."""
    return min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))


def steps_of(model: PreTrainedModel, data: Iterator[batches.Batch], steps: int, rate: float) -> Iterator[int]:
    """Trains step by step and yields the number of each step done, so that the caller can report."""
    adamw = optimizer(model, rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(adamw, lambda step: cosine(step, steps))
    begun, total = time.monotonic(), 0.0
    for step in range(1, steps + 1):
        loss = loss_on_answers(model, next(data))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
        schedule.step()
        adamw.zero_grad()
        total += loss.item()
        if step % REPORT_EVERY == 0:
            print(f"step {step}/{steps}  loss {total / REPORT_EVERY:.4f}  {time.monotonic() - begun:.0f} s", flush=True)
            total = 0.0
        yield step


def short_first(encoder: batches.Encoder, steps: int, seed: int) -> Iterator[batches.Batch]:
    """Short dialogues for the first part of the steps, then all.

    The skill to learn first is copying, and a short dialogue holds more to copy for its length than one that lists
    many tools.
    """
    short = batches.endless(encoder, dialogues.dialogue, seed, TOKENS_PER_BATCH, SHORT)
    full = batches.endless(encoder, dialogues.dialogue, seed + 1, TOKENS_PER_BATCH)
    return itertools.chain(itertools.islice(short, int(steps * SHORT_SHARE)), full)


def train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, data: Iterator[batches.Batch], arguments: argparse.Namespace) -> None:
    """Trains the model and saves it at every examination, so that an interruption loses little."""
    probe = evaluate.held_out(batches.Encoder(tokenizer), dialogues.dialogue, 200)
    for step in steps_of(model, data, arguments.steps, arguments.rate):
        if step % EXAMINE_EVERY == 0 or step == arguments.steps:
            print(f"step {step}: {100 * evaluate.examine(model, probe).rate():.1f} % of {len(probe)} dialogues' answers right", flush=True)
            model_files.save(model, tokenizer, arguments.out / "safetensors")
            export_gguf.export(arguments.out / "safetensors", arguments.out / "remora-demo.gguf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=evaluate.COMMITTED)
    parser.add_argument("--start", type=Path, help="go on with the model in this folder instead of starting from nothing")
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--rate", type=float, default=LEARNING_RATE)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    set_seed(arguments.seed)
    if arguments.start:
        tokenizer = AutoTokenizer.from_pretrained(arguments.start)
        model = LlamaForCausalLM.from_pretrained(arguments.start, dtype=torch.float32)
        data = batches.endless(batches.Encoder(tokenizer), dialogues.dialogue, arguments.seed, TOKENS_PER_BATCH)
    else:
        tokenizer = bpe.train(arguments.seed)
        model = new_model()
        data = short_first(batches.Encoder(tokenizer), arguments.steps, arguments.seed)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    train(model, tokenizer, data, arguments)
    samples = evaluate.held_out(batches.Encoder(tokenizer), dialogues.dialogue, 2000)
    print(f"\n{len(samples)} held-out dialogues\n\n{evaluate.examine(model, samples).table()}")


if __name__ == "__main__":
    main()
