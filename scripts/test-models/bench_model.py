"""Makes a Llama of about 100 million random parameters in Q8_0, to measure speed with: python bench_model.py FILE.

Its shape is that of the smallest models in use, its vocabulary of 32,000 begins with the demo model's, whose chat template it
has too. What it says is noise, one word after the other, at the pace of a model that means it. Wants gguf and numpy.
"""

import argparse
import json
import random
import string
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType, quants

DEMO = Path(__file__).parents[2] / "crates/engine/models/demo/safetensors"
VOCABULARY, WIDTH, LAYERS, HEADS, KEYS, INNER, CONTEXT = 32_000, 768, 12, 12, 4, 2048, 4096
HEAD = WIDTH // HEADS
SPACE = "Ġ"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    file.parent.mkdir(parents=True, exist_ok=True)
    # Under another name first: half a file must not be taken for a model.
    unfinished = file.with_suffix(".part")
    writer = GGUFWriter(unfinished, "llama")
    writer.add_name("remora-bench")
    add_shape(writer)
    add_vocabulary(writer)
    add_weights(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    unfinished.rename(file)


def add_shape(writer: GGUFWriter) -> None:
    writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEYS)
    writer.add_rope_dimension_count(HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCABULARY)


def add_vocabulary(writer: GGUFWriter) -> None:
    """The demo model's tokens, then words that nobody has said, each of them said whole."""
    tokenizer = json.loads((DEMO / "tokenizer.json").read_text(encoding="utf-8"))
    ids = dict(tokenizer["model"]["vocab"])
    kinds = dict.fromkeys(ids, TokenType.NORMAL)
    for token in tokenizer["added_tokens"]:
        ids[token["content"]] = token["id"]
        kinds[token["content"]] = TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED
    letters = random.Random(1)
    while len(ids) < VOCABULARY:
        word = SPACE + "".join(letters.choices(string.ascii_lowercase, k=letters.randint(3, 6)))
        kinds.setdefault(word, TokenType.NORMAL)
        ids.setdefault(word, len(ids))
    tokens = sorted(ids, key=ids.__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([kinds[token] for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    config = json.loads((DEMO / "config.json").read_text(encoding="utf-8"))
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_bos_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template((DEMO / "chat_template.jinja").read_text(encoding="utf-8"))


def add_weights(writer: GGUFWriter) -> None:
    randoms = np.random.default_rng(1)

    def matrix(name: str, outputs: int, inputs: int, scale: float = 1.0) -> None:
        weight = randoms.standard_normal((outputs, inputs), dtype=np.float32) * np.float32(scale * inputs**-0.5)
        kind = GGMLQuantizationType.Q8_0
        writer.add_tensor(name, quants.quantize(weight, kind), raw_dtype=kind)

    def norm(name: str) -> None:
        writer.add_tensor(name, np.ones(WIDTH, dtype=np.float32))

    # Scores come from the same matrix, as in most small models. What layers add outweighs it, else words repeat.
    matrix("token_embd.weight", VOCABULARY, WIDTH)
    norm("output_norm.weight")
    for layer in range(LAYERS):
        part = f"blk.{layer}."
        norm(f"{part}attn_norm.weight")
        matrix(f"{part}attn_q.weight", HEADS * HEAD, WIDTH)
        matrix(f"{part}attn_k.weight", KEYS * HEAD, WIDTH)
        matrix(f"{part}attn_v.weight", KEYS * HEAD, WIDTH)
        matrix(f"{part}attn_output.weight", WIDTH, HEADS * HEAD)
        norm(f"{part}ffn_norm.weight")
        matrix(f"{part}ffn_gate.weight", INNER, WIDTH)
        matrix(f"{part}ffn_up.weight", INNER, WIDTH)
        matrix(f"{part}ffn_down.weight", WIDTH, INNER)


if __name__ == "__main__":
    main()
