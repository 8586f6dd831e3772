//! What one caller asked of one model.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use remora_types::gateway::UsageSums;

/// Tokens of an answer, told by its engine or estimated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) prompt: u64,
    /// How much of the prompt was in the engine's memory already.
    pub(crate) cached: u64,
    pub(crate) completion: u64,
    /// The engine told nothing: taken from lengths.
    pub(crate) estimated: bool,
}

/// How an answer ended, as far as accounts go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Whole,
    /// A status of 400 or more.
    Error,
    /// The client went away, or the engine broke off.
    CutShort,
}

/// Counted without a lock; what is not yet in the file is taken out of it now and then.
#[derive(Debug)]
pub(crate) struct Account {
    pub(super) caller: String,
    pub(super) model: String,
    pending: Pending,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Pending {
    requests: AtomicU64,
    errors: AtomicU64,
    cancelled: AtomicU64,
    estimated: AtomicU64,
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    completion_tokens: AtomicU64,
    duration_ms: AtomicU64,
}

/// The same for `/metrics`, since the start.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) requests: Counter,
    pub(crate) prompt: Counter,
    pub(crate) cached: Counter,
    pub(crate) completion: Counter,
}

impl Account {
    pub(super) fn new(caller: String, model: String, counters: Counters) -> Self {
        Self { caller, model, pending: Pending::default(), counters }
    }

    /// Adds an answer that has ended.
    pub(crate) fn add(&self, tokens: Tokens, ending: Ending, took: Duration) {
        let counters = &self.counters;
        counters.requests.inc();
        counters.prompt.inc_by(tokens.prompt);
        counters.cached.inc_by(tokens.cached);
        counters.completion.inc_by(tokens.completion);
        let add = |sum: &AtomicU64, amount: u64| {
            sum.fetch_add(amount, Ordering::Relaxed);
        };
        let pending = &self.pending;
        add(&pending.requests, 1);
        add(&pending.errors, u64::from(ending == Ending::Error));
        add(&pending.cancelled, u64::from(ending == Ending::CutShort));
        add(&pending.estimated, u64::from(tokens.estimated));
        add(&pending.prompt_tokens, tokens.prompt);
        add(&pending.cached_tokens, tokens.cached);
        add(&pending.completion_tokens, tokens.completion);
        add(&pending.duration_ms, u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    }

    /// Takes out what was added since the last time.
    pub(super) fn take(&self) -> UsageSums {
        let take = |sum: &AtomicU64| sum.swap(0, Ordering::Relaxed);
        let pending = &self.pending;
        UsageSums {
            requests: take(&pending.requests),
            errors: take(&pending.errors),
            cancelled: take(&pending.cancelled),
            estimated: take(&pending.estimated),
            prompt_tokens: take(&pending.prompt_tokens),
            cached_tokens: take(&pending.cached_tokens),
            completion_tokens: take(&pending.completion_tokens),
            duration_ms: take(&pending.duration_ms),
        }
    }
}
