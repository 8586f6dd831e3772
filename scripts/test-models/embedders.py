"""Writes two tiny embedding models with random weights, and what transformers computes with them.

    python scripts/test-models/embedders.py

`tiny-bert.gguf` looks both ways and takes the mean (as BGE, E5 and their like do); `tiny-qwen3.gguf` looks back and
takes the last token (as Qwen3-Embedding does). `embeddings.json` holds texts, their tokens and their vectors. All of it
lies in crates/engine/tests/models, and the engine's tests compare with it.
"""

import json
from pathlib import Path

import gguf
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, Qwen3Config, Qwen3Model

FOLDER = Path(__file__).resolve().parents[2] / "crates/engine/tests/models"
TEXTS = [
    "hello world",
    "the cat sat on the mat",
    "A model server, for one machine!",
    "the cat sat on the mat, and the dog sat on the cat: 123",
]
WORDS = "the cat sat on mat and dog a model server for one machine hello".split()


def vectors(model, tokens, pool):
    with torch.no_grad():
        hidden = model(input_ids=torch.tensor([tokens])).last_hidden_state[0]
    vector = pool(hidden)
    return (vector / vector.norm()).tolist()


def randomize(model):
    """Weights that tell inputs apart; the usual initialization is too small for that."""
    generator = torch.Generator().manual_seed(7)
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        norm = "norm" in name.lower()
        weight.data = 1 + 0.1 * noise if norm and name.endswith("weight") else (0.1 if weight.dim() == 1 else 0.25) * noise
    return model.eval()


def write(path, arch, config, tensors, tokenizer):
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name(path.stem)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    tokenizer(writer)
    for name, tensor in tensors:
        writer.add_tensor(name, tensor.detach().float().numpy())
    return writer


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def bert():
    letters = "abcdefghijklmnopqrstuvwxyz0123456789,.!:"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters, *(f"##{letter}" for letter in letters)]
    pieces = list(dict.fromkeys(pieces))
    tokenizer = Tokenizer(models.WordPiece({piece: id for id, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64,
    )
    model = randomize(BertModel(config, add_pooling_layer=False))

    def tokens(writer):
        writer.add_layer_norm_eps(config.layer_norm_eps)
        writer.add_causal_attention(False)
        writer.add_pooling_type(gguf.PoolingType.MEAN)
        writer.add_tokenizer_model("bert")
        # As llama.cpp wants them: what begins a word is marked, not what goes on.
        special = [piece.startswith("[") for piece in pieces]
        texts = [
            piece if is_special else piece[2:] if piece.startswith("##") else f"\u2581{piece}"
            for piece, is_special in zip(pieces, special)
        ]
        writer.add_token_list(texts)
        writer.add_token_types([gguf.TokenType.CONTROL if it else gguf.TokenType.NORMAL for it in special])
        writer.add_token_type_count(2)
        writer.add_pad_token_id(0)
        writer.add_unk_token_id(1)
        writer.add_bos_token_id(2)
        writer.add_sep_token_id(3)
        writer.add_mask_token_id(4)

    names = {
        "embeddings.word_embeddings": "token_embd", "embeddings.token_type_embeddings": "token_types",
        "embeddings.position_embeddings": "position_embd", "embeddings.LayerNorm": "token_embd_norm",
        "attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
        "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
        "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm",
    }
    finish(write(FOLDER / "tiny-bert.gguf", "bert", config, renamed(model, names, "encoder.layer."), tokens))
    return model, lambda text: tokenizer.encode(text).ids, lambda hidden: hidden.mean(0)


def qwen3():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("h", "e"), ("Ġ", "t"), ("Ġt", "he"), ("a", "t"), ("c", "at")]
    pieces = [*alphabet, *(a + b for a, b in merges), "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    end = len(pieces) - 3
    tokenizer = Tokenizer(models.BPE({piece: id for id, piece in enumerate(pieces)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    config = Qwen3Config(
        vocab_size=len(pieces), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=32, intermediate_size=64, max_position_embeddings=1024, rms_norm_eps=1e-6, tie_word_embeddings=True,
    )
    model = randomize(Qwen3Model(config))

    def tokens(writer):
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
        writer.add_pooling_type(gguf.PoolingType.LAST)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("qwen2")
        writer.add_token_list(pieces)
        writer.add_token_types([gguf.TokenType.NORMAL] * end + [gguf.TokenType.CONTROL] * 3)
        writer.add_token_merges([f"{a} {b}" for a, b in merges])
        writer.add_eos_token_id(end)
        writer.add_add_bos_token(False)
        writer.add_add_eos_token(True)

    names = {
        "embed_tokens": "token_embd", "norm": "output_norm", "input_layernorm": "attn_norm",
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
        "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    finish(write(FOLDER / "tiny-qwen3.gguf", "qwen3", config, renamed(model, names, "layers."), tokens))
    return model, lambda text: [*tokenizer.encode(text).ids, end], lambda hidden: hidden[-1]


def renamed(model, names, layers):
    """The model's tensors under llama.cpp's names."""
    for name, tensor in model.named_parameters():
        stem, kind = name.rsplit(".", 1)
        prefix = ""
        if stem.startswith(layers):
            layer, stem = stem.removeprefix(layers).split(".", 1)
            prefix = f"blk.{layer}."
        yield f"{prefix}{names[stem]}.{kind}", tensor


def main():
    FOLDER.mkdir(exist_ok=True)
    expected = {}
    for name, (model, encode, pool) in {"tiny-bert": bert(), "tiny-qwen3": qwen3()}.items():
        expected[name] = []
        for text in TEXTS:
            tokens = encode(text)
            vector = [round(number, 6) for number in vectors(model, tokens, pool)]
            expected[name].append({"text": text, "tokens": tokens, "vector": vector})
    rows = lambda entries: ",\n".join(json.dumps(entry) for entry in entries)
    models = (f'"{name}": [\n{rows(entries)}\n]' for name, entries in expected.items())
    (FOLDER / "embeddings.json").write_text("{" + ",\n".join(models) + "}\n")


if __name__ == "__main__":
    main()
