//! What is asked of the engine's thread, and what it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use remora_protocol::openai::{FinishReason, StopReason};
use tokio::sync::mpsc;

use super::adapters::HeldAdapter;
use crate::constraint::Guide;
use crate::llama::{AdapterId, Token};
use crate::sampling::{Logprobs, SamplingParams};

/// One answer to be generated. Everything in it is checked: tokens are in the vocabulary, the prompt has at least one
/// and leaves room for `max_tokens` in the context, no stop is empty.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GenerateRequest {
    pub(crate) prompt: Vec<Token>,
    pub(crate) sampling: SamplingParams,
    /// Most tokens of the answer; at least 1.
    pub(crate) max_tokens: u32,
    /// No end and no stop before this many.
    pub(crate) min_tokens: u32,
    /// Goes on after the model's end tokens.
    pub(crate) ignore_eos: bool,
    /// Texts that end the answer.
    pub(crate) stops: Vec<String>,
    /// Keeps the stop in the answer.
    pub(crate) keep_stop: bool,
    /// Tokens that end the answer.
    pub(crate) stop_tokens: Vec<Token>,
    /// Leaves control tokens out of the text.
    pub(crate) skip_special: bool,
    /// Control tokens that are text all the same.
    pub(crate) shown: Vec<Token>,
    /// What the answer must look like.
    pub(crate) guide: Option<Guide>,
    /// Log probabilities, with this many candidates per token.
    pub(crate) logprobs: Option<usize>,
    /// What to compute with; none is the model as it is.
    pub(crate) adapter: Option<Arc<HeldAdapter>>,
    /// Told by the engine's thread.
    pub(crate) cached: CachedTokens,
}

impl GenerateRequest {
    /// The same, asked for this many times. With a seed every answer gets its own, counted up as in vLLM.
    pub(crate) fn times(self, answers: usize) -> Vec<Self> {
        let answer = |index: usize| {
            let seed = self.sampling.seed.map(|seed| seed.wrapping_add(index as u64));
            let sampling = SamplingParams { seed, ..self.sampling.clone() };
            // What the first one finds in memory is what the request did; the others find the first one's prompt.
            let cached = if index == 0 { self.cached.clone() } else { CachedTokens::default() };
            Self { sampling, cached, ..self.clone() }
        };
        (0..answers).map(answer).collect()
    }

    /// The name of what to compute with, if it is not the model as it is.
    pub(super) fn adapter_name(&self) -> Option<&str> {
        self.adapter.as_ref().map(|adapter| adapter.name())
    }

    pub(super) fn adapter_id(&self) -> Option<AdapterId> {
        self.adapter.as_ref().map(|adapter| adapter.id())
    }
}

/// How much of a prompt was in memory already: known once the answer has begun, 0 until then.
#[derive(Debug, Clone, Default)]
pub(crate) struct CachedTokens(Arc<AtomicU32>);

impl CachedTokens {
    pub(super) fn set(&self, tokens: usize) {
        // The answer's first step, sent through a channel afterwards, puts reads behind this.
        self.0.store(u32::try_from(tokens).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// How many tokens.
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl PartialEq for CachedTokens {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

/// A token of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GeneratedToken {
    pub(crate) id: Token,
    /// Present when they were asked for.
    pub(crate) logprobs: Option<Logprobs>,
}

/// Why and where an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finish {
    pub(crate) reason: FinishReason,
    pub(crate) stop: Option<StopReason>,
}

/// A step of an answer. Text may lag behind the tokens: a stop, or a character, may not be complete.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Delta {
    pub(crate) text: String,
    pub(crate) token: GeneratedToken,
    /// Set on the last one.
    pub(crate) finish: Option<Finish>,
}

/// Why an answer that had begun, or waited, broke off.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GenerateError {
    #[error("the engine failed while it computed this answer")]
    Failed,
    #[error("the engine stopped before this answer was complete")]
    Stopped,
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SubmitError {
    #[error("{0} requests wait already")]
    QueueFull(usize),
    #[error("the request asks for {asked} answers at once, and no more than {most} may wait")]
    TooMany { asked: usize, most: usize },
    #[error("the engine has stopped")]
    Stopped,
}

/// A step of one of a request's answers, with its place among them.
pub(crate) type Step = (usize, Result<Delta, GenerateError>);

/// The answers of one request, under way. Dropping it frees their slots at the next token.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(super) steps: mpsc::UnboundedReceiver<Step>,
    /// How many answers are not complete.
    open: usize,
}

impl Generation {
    /// Answers whose steps come from here.
    pub(crate) fn new(steps: mpsc::UnboundedReceiver<Step>, answers: usize) -> Self {
        Self { steps, open: answers }
    }

    /// The next step of any of them; none when all are complete. A failure of one is the failure of all, and the last
    /// that is told.
    pub(crate) async fn next(&mut self) -> Option<Result<(usize, Delta), GenerateError>> {
        if self.open == 0 {
            return None;
        }
        let (answer, step) = self.steps.recv().await.unwrap_or((0, Err(GenerateError::Stopped)));
        match &step {
            Ok(delta) => self.open -= usize::from(delta.finish.is_some()),
            Err(_) => self.open = 0,
        }
        Some(step.map(|delta| (answer, delta)))
    }
}
