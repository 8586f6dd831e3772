//! How much memory a model's work takes beside its weights, from the sizes in its header.
//!
//! Formulas are llama.cpp's (`llama-kv-cache.cpp`, `llama-memory-recurrent.cpp`, `llama-hparams.cpp`), on the safe side
//! where a layer may be of several kinds: a layer with a sliding window counts as one that sees everything, which is
//! also what llama.cpp gives it unless told otherwise, and every layer of a mixed model as recurrent too.

use crate::{Header, TensorType, Value};

/// Bytes of a number that is computed with.
const F32_BYTES: u64 = 4;

/// What of a model decides how much memory it works in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Layers.
    pub layers: u64,
    /// The longest context it was trained on, in tokens.
    pub trained_context: u64,
    /// Tokens of its vocabulary.
    pub vocabulary: u64,
    /// Numbers that all layers keep of a token, as keys.
    pub keys: u64,
    /// The same, as values.
    pub values: u64,
    /// Bytes of recurrent state that a sequence has, however long it is.
    pub state_bytes: u64,
    /// Numbers that stand at the same time for each token of a step, without the scores.
    pub widest: u64,
}

impl Shape {
    /// The shape of a model; none where the header does not tell it.
    pub fn of(header: &Header) -> Option<Self> {
        let architecture = header.architecture();
        let key = |key: &str| format!("{architecture}.{key}");
        let number = |name: &str| header.number(&key(name));
        let layers = number("block_count").filter(|&layers| layers <= 1024)?;
        let embedding = number("embedding_length")?;
        let heads = PerLayer::of(header, &key("attention.head_count"), layers);
        let key_heads = match header.get(&key("attention.head_count_kv")) {
            Some(_) => PerLayer::of(header, &key("attention.head_count_kv"), layers),
            None => heads,
        };
        let head = |name: &str| {
            let default = embedding / heads.most.max(1);
            let full = number(&format!("attention.{name}")).unwrap_or(default);
            full.max(number(&format!("attention.{name}_swa")).unwrap_or(0))
        };
        let (key_length, value_length) = (head("key_length"), head("value_length"));
        let feed_forward = PerLayer::of(header, &key("feed_forward_length"), layers).most;
        let experts = number("expert_feed_forward_length").unwrap_or(0);
        let experts = experts.saturating_mul(PerLayer::of(header, &key("expert_used_count"), layers).most);
        let attention = heads.most.saturating_mul(key_length.max(value_length));
        let widest = [
            (embedding, 8),
            (feed_forward.max(experts), 3),
            (attention, 4),
            (number("ssm.inner_size").unwrap_or(0), 4),
        ]
        .into_iter()
        .fold(0u64, |sum, (size, times)| sum.saturating_add(size.saturating_mul(times)));
        Some(Self {
            layers,
            trained_context: number("context_length").unwrap_or(0),
            vocabulary: vocabulary(header),
            keys: key_heads.sum.saturating_mul(key_length),
            values: key_heads.sum.saturating_mul(value_length),
            state_bytes: layers.saturating_mul(recurrent_numbers(&number, embedding)).saturating_mul(F32_BYTES),
            widest,
        })
    }

    /// What a number of tokens takes in the KV cache, over all sequences.
    pub fn cache_bytes(&self, tokens: u64, kind: TensorType) -> u64 {
        let (block, bytes) = kind.block();
        // Every layer's part of a token is stored in whole blocks.
        let of = |numbers: u64| {
            let layer = numbers.div_ceil(self.layers.max(1)).div_ceil(block).saturating_mul(bytes);
            layer.saturating_mul(self.layers).saturating_mul(tokens)
        };
        of(self.keys).saturating_add(of(self.values))
    }

    /// What a step of this many tokens works in, with `scored` of them asking for scores, in a context of this length.
    /// An estimate: llama.cpp plans it anew for every model and reuses what it can.
    pub fn compute_bytes(&self, tokens: u64, scored: u64, context: u64) -> u64 {
        let numbers = self.widest.saturating_add(self.vocabulary).saturating_add(context);
        let scores = scored.saturating_mul(self.vocabulary);
        numbers.saturating_mul(tokens).saturating_add(scores).saturating_mul(F32_BYTES)
    }
}

/// A number that may differ from layer to layer.
#[derive(Debug, Clone, Copy)]
struct PerLayer {
    sum: u64,
    most: u64,
}

impl PerLayer {
    fn of(header: &Header, key: &str, layers: u64) -> Self {
        let Some(value) = header.get(key) else { return Self { sum: 0, most: 0 } };
        if let Some(numbers) = value.as_array().and_then(|array| array.numbers.as_ref()) {
            let numbers = numbers.iter().map(|&number| u64::try_from(number).unwrap_or(0));
            return Self { sum: numbers.clone().fold(0, u64::saturating_add), most: numbers.max().unwrap_or(0) };
        }
        let most = value.as_u64().unwrap_or(0);
        Self { sum: most.saturating_mul(layers), most }
    }
}

fn vocabulary(header: &Header) -> u64 {
    let tokens = header.get("tokenizer.ggml.tokens").and_then(Value::as_array);
    tokens.map_or(0, |tokens| tokens.count)
}

/// Numbers of recurrent state in a layer: of Mamba and what is built like it, and of RWKV.
fn recurrent_numbers(number: &impl Fn(&str) -> Option<u64>, embedding: u64) -> u64 {
    let of = |name: &str| number(name).unwrap_or(0);
    let (inner, state, groups) = (of("ssm.inner_size"), of("ssm.state_size"), of("ssm.group_count"));
    let rolling = groups.saturating_mul(state).saturating_mul(2).saturating_add(inner);
    let mamba = of("ssm.conv_kernel").saturating_mul(rolling).saturating_add(inner.saturating_mul(state));
    let rwkv = embedding.saturating_mul(of("wkv.head_size").saturating_add(of("token_shift_count")));
    mamba.saturating_add(rwkv)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Array, ValueType};

    fn header(keys: &[(&str, Value)]) -> Header {
        let metadata: BTreeMap<_, _> = keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        Header { version: 3, metadata, tensors: Vec::new(), data: 0, file_bytes: 0 }
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    fn numbers(numbers: &[i64]) -> Value {
        let count = numbers.len() as u64;
        Value::Array(Array { items: ValueType::I32, count, numbers: Some(numbers.into()), place: 0 })
    }

    #[test]
    fn a_cache_is_layers_times_heads_times_their_length() {
        // Qwen3-0.6B: its own head length, which is not the embedding's share.
        let shape = Shape::of(&header(&[
            ("general.architecture", text("qwen3")),
            ("qwen3.block_count", Value::U32(28)),
            ("qwen3.context_length", Value::U32(40960)),
            ("qwen3.embedding_length", Value::U32(1024)),
            ("qwen3.feed_forward_length", Value::U32(3072)),
            ("qwen3.attention.head_count", Value::U32(16)),
            ("qwen3.attention.head_count_kv", Value::U32(8)),
            ("qwen3.attention.key_length", Value::U32(128)),
            ("qwen3.attention.value_length", Value::U32(128)),
        ]))
        .unwrap();
        // llama.cpp says 448 MiB for 4096 tokens in F16.
        assert_eq!(shape.cache_bytes(4096, TensorType::F16), 448 << 20);
        assert_eq!(shape.cache_bytes(4096, TensorType::from_number(8).unwrap()), 238 << 20);
        assert_eq!((shape.state_bytes, shape.trained_context), (0, 40960));
    }

    #[test]
    fn layers_may_differ_and_may_be_recurrent() {
        let keys = [
            ("general.architecture", text("granitehybrid")),
            ("granitehybrid.block_count", Value::U32(4)),
            ("granitehybrid.embedding_length", Value::U32(512)),
            ("granitehybrid.attention.head_count", Value::U32(8)),
            ("granitehybrid.attention.head_count_kv", numbers(&[0, 0, 0, 2])),
            ("granitehybrid.ssm.conv_kernel", Value::U32(4)),
            ("granitehybrid.ssm.inner_size", Value::U32(1024)),
            ("granitehybrid.ssm.state_size", Value::U32(128)),
            ("granitehybrid.ssm.group_count", Value::U32(1)),
        ];
        let shape = Shape::of(&header(&keys)).unwrap();
        assert_eq!(shape.keys, 2 * 64);
        assert_eq!(shape.state_bytes, 4 * 4 * (4 * (1024 + 256) + 1024 * 128));
    }

    #[test]
    fn what_is_not_told_is_not_guessed_and_absurd_sizes_do_not_wrap() {
        assert_eq!(Shape::of(&header(&[("general.architecture", text("x"))])), None);
        let shape = Shape::of(&header(&[
            ("general.architecture", text("x")),
            ("x.block_count", Value::U32(1000)),
            ("x.embedding_length", Value::U64(u64::MAX)),
            ("x.attention.head_count", Value::U64(u64::MAX)),
        ]))
        .unwrap();
        assert_eq!(shape.cache_bytes(u64::MAX, TensorType::F32), u64::MAX);
        assert_eq!(shape.compute_bytes(u64::MAX, 1, 1), u64::MAX);
    }
}
