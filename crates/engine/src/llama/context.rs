//! Working memory over a model: several sequences, decoded together.
#![expect(unsafe_code, reason = "loading adapters is only safe on the thread that computes")]

use std::collections::HashMap;

use clap::ValueEnum;
use llama_cpp_2::DecodeError;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::{KvCacheType, LlamaContextParams};
use llama_cpp_2::llama_batch::LlamaBatch;
use remora_gguf::TensorType;

use super::adapter::{Adapter, AdapterLoadError};
use super::model::{LoadError, Model, backend};
use super::vocabulary::{Token, to_llama};

/// One loading of an adapter. What was computed under one is never right under another, not even of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AdapterId(pub(crate) u64);

/// llama.cpp's own limit on sequences.
pub(crate) const MAX_SLOTS: u32 = 256;

/// llama.cpp gives every sequence room in steps of this many tokens.
pub(crate) const CONTEXT_STEP: u32 = 256;

/// Tokens that llama.cpp computes at once; longer steps are several of these.
pub(crate) const MICRO_BATCH: u32 = 512;

/// How much a context holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContextSize {
    /// Sequences at the same time; 1 to [`MAX_SLOTS`].
    pub(crate) slots: u32,
    /// Tokens of each.
    pub(crate) tokens_per_slot: u32,
    /// Most tokens in one step.
    pub(crate) batch: u32,
}

/// How a context computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Computing {
    /// Threads for steps of a token or two for each sequence.
    pub(crate) threads: u32,
    /// Threads for longer steps.
    pub(crate) batch_threads: u32,
    /// How keys and values are kept.
    pub(crate) kv_type: KvType,
}

impl Computing {
    /// Computing with this many threads.
    #[cfg(test)]
    pub(crate) fn with(threads: u32) -> Self {
        Self { threads, batch_threads: threads, kv_type: KvType::F16 }
    }
}

/// How the keys and values of past tokens are kept; those that llama.cpp's own server allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum KvType {
    /// Four bytes a number.
    #[value(name = "f32")]
    F32,
    /// Two bytes a number.
    #[default]
    #[value(name = "f16")]
    F16,
    /// Two bytes a number, less exact and of wider range.
    #[value(name = "bf16")]
    Bf16,
    /// A little over one byte a number; hardly to be told from F16.
    #[value(name = "q8_0")]
    Q8_0,
    /// Six bits a number.
    #[value(name = "q5_1")]
    Q5_1,
    /// Five and a half bits a number.
    #[value(name = "q5_0")]
    Q5_0,
    /// Five bits a number.
    #[value(name = "q4_1")]
    Q4_1,
    /// Four and a half bits a number; answers suffer.
    #[value(name = "q4_0")]
    Q4_0,
    /// Four and a half bits a number, on a curve.
    #[value(name = "iq4_nl")]
    Iq4Nl,
}

impl KvType {
    fn to_llama(self) -> KvCacheType {
        match self {
            Self::F32 => KvCacheType::F32,
            Self::F16 => KvCacheType::F16,
            Self::Bf16 => KvCacheType::BF16,
            Self::Q8_0 => KvCacheType::Q8_0,
            Self::Q5_1 => KvCacheType::Q5_1,
            Self::Q5_0 => KvCacheType::Q5_0,
            Self::Q4_1 => KvCacheType::Q4_1,
            Self::Q4_0 => KvCacheType::Q4_0,
            Self::Iq4Nl => KvCacheType::IQ4_NL,
        }
    }

    /// The same as a type of tensors, which has a size.
    pub(crate) fn as_tensor(self) -> TensorType {
        let number = match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Bf16 => 30,
            Self::Q8_0 => 8,
            Self::Q5_1 => 7,
            Self::Q5_0 => 6,
            Self::Q4_1 => 3,
            Self::Q4_0 => 2,
            Self::Iq4Nl => 20,
        };
        TensorType::from_number(number).expect("every type of a cache is one of tensors")
    }
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
    #[error("adapter {0:?} is not loaded")]
    NoAdapter(AdapterId),
    #[error("llama.cpp gave no vector")]
    NoVector,
    #[error("llama.cpp could not compute the step")]
    Decode(#[source] DecodeError),
}

/// Sequences over a model, and the adapters that can be computed with. Each sequence has its own part of the memory, so
/// a long one never takes another's room.
pub(crate) struct Context<'model> {
    inner: LlamaContext<'model>,
    model: &'model Model,
    adapters: HashMap<AdapterId, Adapter>,
    /// The one that `inner` computes with.
    active: Option<AdapterId>,
    batch: LlamaBatch<'static>,
    size: ContextSize,
    vocabulary: usize,
    /// Which rows of the last step have scores.
    scored: Vec<bool>,
}

impl<'model> Context<'model> {
    /// Allocates the memory; all of it, at once.
    pub(crate) fn new(model: &'model Model, size: ContextSize, computing: Computing) -> Result<Self, LoadError> {
        let no_room = |reason: String| LoadError::NoRoom { slots: size.slots, tokens: size.tokens_per_slot, reason };
        let tokens = size
            .tokens_per_slot
            .checked_next_multiple_of(CONTEXT_STEP)
            .and_then(|tokens| tokens.checked_mul(size.slots))
            .and_then(std::num::NonZeroU32::new)
            .filter(|_| (1..=MAX_SLOTS).contains(&size.slots))
            .ok_or_else(|| no_room("more than llama.cpp can count".into()))?;
        let threads = |count: u32| i32::try_from(count.max(1)).unwrap_or(i32::MAX);
        let kv_type = computing.kv_type.to_llama();
        let params = LlamaContextParams::default()
            .with_n_ctx(Some(tokens))
            .with_n_seq_max(size.slots)
            .with_n_batch(size.batch)
            .with_n_ubatch(size.batch.min(MICRO_BATCH))
            .with_kv_unified(false)
            .with_n_threads(threads(computing.threads))
            .with_n_threads_batch(threads(computing.batch_threads))
            // Quantized values need flash attention, which llama.cpp then turns on by itself.
            .with_type_k(kv_type)
            .with_type_v(kv_type)
            .with_no_perf(true);
        super::log::start_recording();
        let inner = model
            .inner()
            .new_context(backend()?, params)
            .map_err(|error| no_room(super::log::first_error().unwrap_or_else(|| error.to_string())))?;
        // llama.cpp lowers the limit for small contexts, and a step over it aborts the process.
        let size = ContextSize { batch: size.batch.min(inner.n_batch()), ..size };
        let batch = LlamaBatch::new(size.batch as usize, 1);
        let vocabulary = model.vocabulary().len();
        let (adapters, scored) = (HashMap::new(), Vec::new());
        Ok(Self { inner, model, adapters, active: None, batch, size, vocabulary, scored })
    }

    /// Most rows in one step.
    pub(crate) fn batch(&self) -> usize {
        self.size.batch as usize
    }

    /// Loads an adapter from the content of a GGUF file that this program made; others can abort the process.
    pub(crate) fn load_adapter(&mut self, id: AdapterId, gguf: &[u8]) -> Result<(), AdapterLoadError> {
        // SAFETY: the adapter lives in `self`, which borrows the model and drops the adapters first. `self` is the only
        // context of this model, it is used by one thread at a time, and nothing else loads adapters.
        let adapter = unsafe { Adapter::load(self.model.inner(), gguf) }?;
        self.adapters.insert(id, adapter);
        Ok(())
    }

    /// Frees an adapter.
    pub(crate) fn free_adapter(&mut self, id: AdapterId) {
        if self.active == Some(id) {
            self.activate(None).expect("no adapter at all is always there");
        }
        self.adapters.remove(&id);
    }

    fn activate(&mut self, wanted: Option<AdapterId>) -> Result<(), ContextError> {
        if self.active == wanted {
            return Ok(());
        }
        if let Some(id) = wanted {
            self.adapters.get_mut(&id).ok_or(ContextError::NoAdapter(id))?.apply(&mut self.inner);
        } else {
            let active = self.active.and_then(|id| self.adapters.get_mut(&id));
            active.expect("the adapter in effect is loaded").remove(&mut self.inner);
        }
        self.active = wanted;
        Ok(())
    }

    /// Computes one step, all of it with the same adapter or none. After an error the sequences in it hold an unknown
    /// part of their rows: clear them.
    pub(crate) fn decode(&mut self, rows: &[Row], adapter: Option<AdapterId>) -> Result<(), ContextError> {
        self.scored.clear();
        self.activate(adapter)?;
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

    /// Forgets a sequence but for its first tokens. False when this kind of memory cannot: then all of it has to go.
    pub(crate) fn cut(&mut self, slot: u32, keep: u32) -> bool {
        slot < self.size.slots && matches!(self.inner.clear_kv_cache_seq(Some(slot), Some(keep), None), Ok(true))
    }

    /// Makes a sequence the same as another.
    pub(crate) fn copy(&mut self, from: u32, to: u32) {
        self.clear(to);
        if from != to && from < self.size.slots && to < self.size.slots {
            let [from, to] = [from, to].map(|slot| i32::try_from(slot).expect("slots are few"));
            // Always whole: sequences have memory of their own here, of which llama.cpp aborts rather than copy a part.
            self.inner.copy_kv_cache_seq(from, to, None, None).expect("no position is given");
        }
    }

    /// Forgets a sequence.
    pub(crate) fn clear(&mut self, slot: u32) {
        if slot < self.size.slots {
            // Removing a whole sequence never fails, and the conversion cannot: slots are few.
            let _ = self.inner.clear_kv_cache_seq(Some(slot), None, None);
        }
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        // In this order: no adapter in effect is ever freed, nor one that the context would still look at.
        for id in self.adapters.keys().copied().collect::<Vec<_>>() {
            self.free_adapter(id);
        }
    }
}
