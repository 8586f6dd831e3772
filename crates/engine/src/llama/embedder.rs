//! Working memory over an embedding model: several inputs in, a vector for each out, and nothing stays.

use std::num::NonZeroU32;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::{LlamaContextParams, LlamaPoolingType};
use llama_cpp_2::llama_batch::LlamaBatch;

use super::context::{CONTEXT_STEP, Computing, ContextError, ContextSize, MICRO_BATCH};
use super::model::{LoadError, Model, backend};
use super::vocabulary::{Token, to_llama};

/// How the vectors of an input's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// Their mean.
    Mean,
    /// The first one's.
    First,
    /// The last one's.
    Last,
}

/// What an embedding model is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EmbeddingKind {
    pub(crate) pooling: Pooling,
    /// Whether a token sees only those before it.
    pub(crate) causal: bool,
}

impl EmbeddingKind {
    /// Whether llama.cpp is asked for the last tokens only. It would compute the scores of all others for nothing, which
    /// takes gigabytes with a large vocabulary, and would want every input in one piece.
    pub(crate) fn takes_last(self) -> bool {
        self.causal && self.pooling == Pooling::Last
    }

    /// Tokens that llama.cpp computes at once, of a step of so many.
    pub(crate) fn micro_batch(self, batch: u32) -> u32 {
        if self.takes_last() { batch.min(MICRO_BATCH) } else { batch }
    }
}

/// Turns inputs into vectors.
pub(crate) struct Embedder<'model> {
    inner: LlamaContext<'model>,
    kind: EmbeddingKind,
    batch: LlamaBatch<'static>,
    size: ContextSize,
    vocabulary: usize,
}

impl<'model> Embedder<'model> {
    /// Allocates the memory. `size.batch` is how many tokens all inputs of a step may have together, at least as many
    /// as one may have.
    pub(crate) fn new(
        model: &'model Model,
        kind: EmbeddingKind,
        size: ContextSize,
        computing: Computing,
    ) -> Result<Self, LoadError> {
        let no_room = |reason: String| LoadError::NoRoom { slots: size.slots, tokens: size.tokens_per_slot, reason };
        let tokens = size.batch.checked_next_multiple_of(CONTEXT_STEP).and_then(NonZeroU32::new);
        let tokens = tokens.ok_or_else(|| no_room("more than llama.cpp can count".into()))?;
        let threads = i32::try_from(computing.batch_threads.max(1)).unwrap_or(i32::MAX);
        let pooling = match kind.pooling {
            _ if kind.takes_last() => LlamaPoolingType::None,
            Pooling::Mean => LlamaPoolingType::Mean,
            Pooling::First => LlamaPoolingType::Cls,
            Pooling::Last => LlamaPoolingType::Last,
        };
        let params = LlamaContextParams::default()
            .with_embeddings(true)
            .with_pooling_type(pooling)
            .with_n_ctx(Some(tokens))
            .with_n_seq_max(size.slots)
            .with_n_batch(size.batch)
            .with_n_ubatch(kind.micro_batch(size.batch))
            // Inputs share the memory: a step has few long ones or many short ones.
            .with_kv_unified(true)
            .with_n_threads(threads)
            .with_n_threads_batch(threads)
            .with_no_perf(true);
        super::log::start_recording();
        let inner = model
            .inner()
            .new_context(backend()?, params)
            .map_err(|error| no_room(super::log::first_error().unwrap_or_else(|| error.to_string())))?;
        let size = ContextSize { batch: size.batch.min(inner.n_batch()), ..size };
        let batch = LlamaBatch::new(size.batch as usize, 1);
        Ok(Self { inner, kind, batch, size, vocabulary: model.vocabulary().len() })
    }

    /// Inputs and tokens that fit one step.
    pub(crate) fn size(&self) -> ContextSize {
        self.size
    }

    /// The vectors of some inputs, each of length 1. Together they fit a step, and none is empty.
    pub(crate) fn embed(&mut self, inputs: &[&[Token]]) -> Result<Vec<Vec<f32>>, ContextError> {
        let rows = self.fill(inputs)?;
        let computed = self.inner.decode(&mut self.batch).map_err(ContextError::Decode);
        let vectors =
            computed.and_then(|()| rows.iter().zip(0..).map(|(&row, input)| self.vector(row, input)).collect());
        self.inner.clear_kv_cache();
        vectors
    }

    /// Fills the batch, and gives the last row of each input.
    fn fill(&mut self, inputs: &[&[Token]]) -> Result<Vec<i32>, ContextError> {
        self.batch.clear();
        let total: usize = inputs.iter().map(|input| input.len()).sum();
        if inputs.is_empty() || inputs.len() > self.size.slots as usize || total > self.size.batch as usize {
            return Err(ContextError::BadLength(total));
        }
        let mut ends = Vec::with_capacity(inputs.len());
        for (input, slot) in inputs.iter().zip(0..) {
            if input.is_empty() || input.len() > self.size.tokens_per_slot as usize {
                return Err(ContextError::BadLength(input.len()));
            }
            for ((&token, position), left) in input.iter().zip(0..).zip((0..input.len()).rev()) {
                if token as usize >= self.vocabulary {
                    return Err(ContextError::BadRow(self.batch.n_tokens().unsigned_abs() as usize));
                }
                let wanted = left == 0 || !self.kind.takes_last();
                self.batch.add(to_llama(token), position, &[slot], wanted).expect("the batch holds `batch` rows");
            }
            ends.push(self.batch.n_tokens() - 1);
        }
        Ok(ends)
    }

    fn vector(&self, row: i32, input: i32) -> Result<Vec<f32>, ContextError> {
        let vector = if self.kind.takes_last() {
            self.inner.embeddings_ith(row).ok()
        } else {
            self.inner.embeddings_seq_ith(input).ok()
        };
        let vector = vector.ok_or(ContextError::NoVector)?;
        let length = vector.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        if !length.is_normal() {
            return Err(ContextError::NoVector);
        }
        #[expect(clippy::cast_possible_truncation, reason = "the quotient is at most 1")]
        Ok(vector.iter().map(|&value| (f64::from(value) / length) as f32).collect())
    }
}
