"""Writes the model as one GGUF file for llama.cpp."""

import argparse
import json
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, LlamaFileType, TokenType
from safetensors.numpy import load_file

# llama.cpp's name for the pre-tokeniser that tokenizer.py uses.
PRE_TOKENIZER = "gpt-2"

LAYER_TENSORS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    """`model.layers.3.mlp.up_proj.weight` is `blk.3.ffn_up.weight`."""
    match name.split("."):
        case ["model", "embed_tokens", "weight"]:
            return "token_embd.weight"
        case ["model", "norm", "weight"]:
            return "output_norm.weight"
        case ["model", "layers", layer, *part, "weight"]:
            return f"blk.{layer}.{LAYER_TENSORS['.'.join(part)]}.weight"
    raise ValueError(f"no GGUF name for the tensor {name}")


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Reorders the rows of a query or key projection.

    transformers rotates the first half of a head against its second half, llama.cpp (for this architecture) rotates
    neighbours: row `j * d/2 + i` of a head becomes row `2 * i + j`.
    """
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def add_architecture(writer: GGUFWriter, config: dict) -> None:
    """The shape of the network."""
    heads = config["num_attention_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(LlamaFileType.MOSTLY_F16)


def add_tokenizer(writer: GGUFWriter, tokenizer: dict, config: dict, template: str) -> None:
    """Tokens in the order of their ids, merges, special tokens and chat template."""
    ids = dict(tokenizer["model"]["vocab"])
    kinds = dict.fromkeys(ids, TokenType.NORMAL)
    for token in tokenizer["added_tokens"]:
        ids[token["content"]] = token["id"]
        kinds[token["content"]] = TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED
    tokens = sorted(ids, key=ids.__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list(tokens)
    writer.add_token_types([kinds[token] for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    # There is no beginning mark; llama.cpp wants the key all the same, and the next one keeps it out of every prompt.
    writer.add_bos_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(template)


def add_weights(writer: GGUFWriter, weights: dict[str, np.ndarray], config: dict) -> None:
    """Matrices in F16, norms in F32."""
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for name, weight in weights.items():
        part = name.split(".")[-2]
        if part in heads:
            weight = interleaved(weight, heads[part])
        writer.add_tensor(gguf_name(name), weight.astype(np.float32 if weight.ndim == 1 else np.float16))


def export(folder: Path, file: Path) -> None:
    """Converts a folder in safetensors form."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    sampling = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    writer = GGUFWriter(file, "llama")
    writer.add_name("remora-demo")
    writer.add_description("A toy that shows Remora at work. Not a language model to rely on.")
    writer.add_license("MIT OR Apache-2.0")
    writer.add_sampling_temp(sampling["temperature"])
    add_architecture(writer, config)
    add_tokenizer(writer, tokenizer, config, (folder / "chat_template.jinja").read_text(encoding="utf-8"))
    add_weights(writer, load_file(folder / "model.safetensors"), config)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    demo = Path(__file__).parents[2] / "crates/engine/models/demo"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=demo / "safetensors", help="the model in safetensors form")
    parser.add_argument("file", type=Path, nargs="?", default=demo / "remora-demo.gguf", help="the GGUF file to write")
    arguments = parser.parse_args()
    export(arguments.folder, arguments.file)


if __name__ == "__main__":
    main()
