"""Trains the LoRA adapter `adapter-pirate` on the finished demo model: python train_adapter.py [--model DIR] [--out DIR].

Takes about five minutes on two CPU cores.
"""

import argparse
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

import batches
import evaluate
import pirate
import train
from model_files import amend

LEARNING_RATE = 2e-3
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def with_adapter(folder: Path) -> PeftModel:
    """The demo model, frozen, with an adapter that does nothing yet."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules=TARGETS, lora_dropout=0.0, bias="none")
    return get_peft_model(model, config)


def save(model: PeftModel, folder: Path) -> None:
    """Saves what vLLM wants: weights and configuration, named after the base model and in a stable order."""
    model.half().save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    amend(folder / "adapter_config.json", base_model_name_or_path="remora-demo", target_modules=TARGETS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=evaluate.COMMITTED / "safetensors")
    parser.add_argument("--out", type=Path, default=evaluate.COMMITTED / "adapter-pirate")
    parser.add_argument("--steps", type=int, default=220)
    parser.add_argument("--seed", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    set_seed(arguments.seed)
    encoder = batches.Encoder(AutoTokenizer.from_pretrained(arguments.model))
    model = with_adapter(arguments.model)
    data = batches.endless(encoder, pirate.dialogue, arguments.seed, train.TOKENS_PER_BATCH)
    for _ in train.steps_of(model, data, arguments.steps, LEARNING_RATE):
        pass
    samples = evaluate.held_out(encoder, pirate.dialogue, 300)
    print(f"\n{len(samples)} held-out dialogues\n\n{evaluate.examine(model, samples).table()}")
    save(model, arguments.out)


if __name__ == "__main__":
    main()
