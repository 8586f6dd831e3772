"""Writes a model of transformers' as one GGUF file, in full precision."""

import json
from pathlib import Path

import gguf
import numpy as np
from gguf import GGUFWriter, LlamaFileType, TokenType
from safetensors.numpy import load_file
from vocabularies import Vocabulary

ARCHITECTURES = {name: getattr(gguf.MODEL_ARCH, name.upper()) for name in ("llama", "qwen2", "qwen3", "gemma3")}


def export(name: str, folder: Path, vocabulary: Vocabulary, file: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    writer = GGUFWriter(file, name)
    writer.add_name(f"test-{name}")
    writer.add_file_type(LlamaFileType.ALL_F32)
    _add_shape(writer, name, config)
    _add_vocabulary(writer, vocabulary)
    _add_weights(writer, name, load_file(folder / "model.safetensors"), config)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: GGUFWriter, name: str, config: dict) -> None:
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    rope = config["rope_parameters"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    if name == "gemma3":
        writer.add_rope_freq_base(rope["full_attention"]["rope_theta"])
        writer.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
        writer.add_sliding_window(config["sliding_window"])
        writer.add_sliding_window_pattern([kind == "sliding_attention" for kind in config["layer_types"]])
    else:
        writer.add_rope_freq_base(rope["rope_theta"])


def _add_vocabulary(writer: GGUFWriter, vocabulary: Vocabulary) -> None:
    """Tokens in the order of their ids. SentencePiece's kind has a score for each, the byte-level kind its merges."""
    learnt = json.loads(vocabulary.bpe.to_str())["model"]
    tokens = sorted(vocabulary.bpe.get_vocab(), key=vocabulary.bpe.get_vocab().__getitem__)
    kinds = dict.fromkeys(vocabulary.special, TokenType.CONTROL) | dict.fromkeys(vocabulary.bytes, TokenType.BYTE)
    writer.add_tokenizer_model(vocabulary.kind)
    writer.add_tokenizer_pre(vocabulary.cut)
    writer.add_token_list(tokens)
    writer.add_token_types([kinds.get(token, TokenType.NORMAL) for token in tokens])
    merges = [tuple(merge) for merge in learnt["merges"]]
    if vocabulary.kind == "llama":
        # What is learnt first joins first.
        ranks = {"".join(merge): rank for rank, merge in reversed(list(enumerate(merges)))}
        writer.add_token_scores([-float(ranks.get(token, len(merges))) for token in tokens])
        writer.add_unk_token_id(vocabulary.bpe.token_to_id("<unk>"))
        writer.add_add_space_prefix(False)
    else:
        writer.add_token_merges([" ".join(merge) for merge in merges])
    number = vocabulary.bpe.token_to_id
    writer.add_eos_token_id(number(vocabulary.end))
    writer.add_pad_token_id(number(vocabulary.pad))
    # A model without a mark for the beginning has the key all the same, and the next one keeps it out of every prompt.
    writer.add_bos_token_id(number(vocabulary.begin or vocabulary.pad))
    writer.add_add_bos_token(vocabulary.begin is not None)
    writer.add_chat_template(vocabulary.chat_template)


def _add_weights(writer: GGUFWriter, name: str, weights: dict[str, np.ndarray], config: dict) -> None:
    names = gguf.get_tensor_name_map(ARCHITECTURES[name], config["num_hidden_layers"])
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for key, weight in weights.items():
        kind = key.split(".")[-2]
        if name == "llama" and kind in heads:
            weight = interleaved(weight, heads[kind])
        if name == "gemma3" and kind.endswith("norm"):
            # llama.cpp multiplies by what Gemma adds one to.
            weight = weight + 1.0
        found = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise ValueError(f"no GGUF name for the tensor {key}")
        writer.add_tensor(found, weight.astype(np.float32))


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Reorders the rows of a query or key projection.

    transformers rotates the first half of a head against its second half, llama.cpp (for `llama` alone) rotates
    neighbours: row `j * d/2 + i` of a head becomes row `2 * i + j`.
    """
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
