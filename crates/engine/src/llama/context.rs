//! Working memory over a model: several sequences, decoded together.

use llama_cpp_2::DecodeError;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_batch::LlamaBatch;

use super::model::{LoadError, Model, backend};
use super::vocabulary::{Token, to_llama};

/// llama.cpp's own limit on sequences.
pub(crate) const MAX_SLOTS: u32 = 256;

/// llama.cpp gives every sequence room in steps of this many tokens.
const CONTEXT_STEP: u32 = 256;

/// How much a context holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContextSize {
    /// Sequences at the same time; 1 to [`MAX_SLOTS`].
    pub(crate) slots: u32,
    /// Tokens of each.
    pub(crate) tokens_per_slot: u32,
    /// Most tokens in one step.
    pub(crate) batch: u32,
    /// Threads that compute.
    pub(crate) threads: u32,
}

/// One token to be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) token: Token,
    /// Its place in its sequence.
    pub(crate) position: u32,
    /// Its sequence.
    pub(crate) slot: u32,
    /// Whether the scores of what may follow it are wanted.
    pub(crate) scores: bool,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ContextError {
    #[error("row {0} of the step is out of range")]
    BadRow(usize),
    #[error("a step of {0} rows")]
    BadLength(usize),
    #[error("llama.cpp could not compute the step")]
    Decode(#[source] DecodeError),
}

/// Sequences over a model. Each has its own part of the memory, so a long one never takes another's room.
pub(crate) struct Context<'model> {
    inner: LlamaContext<'model>,
    batch: LlamaBatch<'static>,
    size: ContextSize,
    vocabulary: usize,
    /// Which rows of the last step have scores.
    scored: Vec<bool>,
}

impl<'model> Context<'model> {
    /// Allocates the memory; all of it, at once.
    pub(crate) fn new(model: &'model Model, size: ContextSize) -> Result<Self, LoadError> {
        let no_room = |reason: String| LoadError::NoRoom { slots: size.slots, tokens: size.tokens_per_slot, reason };
        let tokens = size
            .tokens_per_slot
            .checked_next_multiple_of(CONTEXT_STEP)
            .and_then(|tokens| tokens.checked_mul(size.slots))
            .and_then(std::num::NonZeroU32::new)
            .filter(|_| (1..=MAX_SLOTS).contains(&size.slots))
            .ok_or_else(|| no_room("more than llama.cpp can count".into()))?;
        let threads = i32::try_from(size.threads.max(1)).unwrap_or(i32::MAX);
        let params = LlamaContextParams::default()
            .with_n_ctx(Some(tokens))
            .with_n_seq_max(size.slots)
            .with_n_batch(size.batch)
            .with_n_ubatch(size.batch.min(512))
            .with_kv_unified(false)
            .with_n_threads(threads)
            .with_n_threads_batch(threads)
            .with_no_perf(true);
        super::log::start_recording();
        let inner = model
            .inner()
            .new_context(backend()?, params)
            .map_err(|error| no_room(super::log::first_error().unwrap_or_else(|| error.to_string())))?;
        // llama.cpp lowers the limit for small contexts, and a step over it aborts the process.
        let size = ContextSize { batch: size.batch.min(inner.n_batch()), ..size };
        let batch = LlamaBatch::new(size.batch as usize, 1);
        Ok(Self { inner, batch, size, vocabulary: model.vocabulary().len(), scored: Vec::new() })
    }

    /// Most rows in one step.
    pub(crate) fn batch(&self) -> usize {
        self.size.batch as usize
    }

    /// Computes one step. After an error the sequences in it hold an unknown part of their rows: clear them.
    pub(crate) fn decode(&mut self, rows: &[Row]) -> Result<(), ContextError> {
        self.scored.clear();
        if rows.is_empty() || rows.len() > self.size.batch as usize {
            return Err(ContextError::BadLength(rows.len()));
        }
        self.batch.clear();
        for (index, row) in rows.iter().enumerate() {
            let known = (row.token as usize) < self.vocabulary
                && row.slot < self.size.slots
                && row.position < self.size.tokens_per_slot;
            let (Ok(position), Ok(slot), true) = (i32::try_from(row.position), i32::try_from(row.slot), known) else {
                return Err(ContextError::BadRow(index));
            };
            self.batch.add(to_llama(row.token), position, &[slot], row.scores).expect("the batch holds `batch` rows");
        }
        self.inner.decode(&mut self.batch).map_err(ContextError::Decode)?;
        self.scored.extend(rows.iter().map(|row| row.scores));
        Ok(())
    }

    /// What may follow a row of the last step: one score per token of the vocabulary. The row must have asked.
    pub(crate) fn scores(&self, row: usize) -> &[f32] {
        assert!(self.scored.get(row) == Some(&true), "row {row} of the last step has no scores");
        self.inner.get_logits_ith(i32::try_from(row).expect("a step has few rows"))
    }

    /// Forgets a sequence.
    pub(crate) fn clear(&mut self, slot: u32) {
        if slot < self.size.slots {
            // Removing a whole sequence never fails, and the conversion cannot: slots are few.
            let _ = self.inner.clear_kv_cache_seq(Some(slot), None, None);
        }
    }
}
