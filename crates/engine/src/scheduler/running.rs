//! An answer that has a slot.

use std::time::Instant;

use remora_protocol::openai::{FinishReason, StopReason};
use tokio::sync::mpsc;

use super::request::{Delta, Finish, GenerateError, GenerateRequest, GeneratedToken, Step};
use super::text::TextAssembler;
use crate::llama::{AdapterId, Token, Vocabulary};
use crate::sampling::{Limits, Sampler, Scratch, logprobs};

/// Where an answer's steps go.
#[derive(Debug)]
pub(super) struct Deltas {
    pub(super) steps: mpsc::UnboundedSender<Step>,
    /// The answer's place among those of its request.
    pub(super) answer: usize,
}

impl Deltas {
    /// Tells a step; nobody may be there any more.
    pub(super) fn send(&self, delta: Result<Delta, GenerateError>) {
        let _ = self.steps.send((self.answer, delta));
    }

    /// Whether the client is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.steps.is_closed()
    }
}

/// A request in the queue.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: GenerateRequest,
    pub(super) deltas: Deltas,
    pub(super) arrived: Instant,
}

/// A request in a slot.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) request: GenerateRequest,
    pub(super) deltas: Deltas,
    pub(super) times: Times,
    /// How much of the prompt is computed.
    pub(super) prefilled: usize,
    /// Tokens generated so far.
    pub(super) generated: u32,
    /// The token to be computed next, once the prompt is.
    pub(super) last: Token,
    sampler: Sampler,
    text: TextAssembler,
}

/// When things happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) arrived: Instant,
    pub(super) admitted: Instant,
    pub(super) first_token: Option<Instant>,
    pub(super) last_token: Option<Instant>,
}

impl Running {
    /// A request whose first `known` tokens are in its slot already.
    pub(super) fn new(job: Job, known: usize, now: Instant) -> Self {
        let Job { request, deltas, arrived } = job;
        Self {
            sampler: Sampler::new(request.sampling.clone(), &request.prompt),
            text: TextAssembler::new(&request.stops, request.keep_stop),
            times: Times { arrived, admitted: now, first_token: None, last_token: None },
            prefilled: known,
            generated: 0,
            last: 0,
            request,
            deltas,
        }
    }

    /// What it computes with.
    pub(super) fn adapter(&self) -> Option<AdapterId> {
        self.request.adapter_id()
    }

    /// Whether its prompt is computed and it generates.
    pub(super) fn is_decoding(&self) -> bool {
        self.prefilled == self.request.prompt.len()
    }

    /// Where the next generated token stands in the sequence.
    pub(super) fn position(&self) -> u32 {
        let prompt = u32::try_from(self.request.prompt.len()).expect("a prompt fits the context");
        prompt + self.generated - 1
    }

    /// Chooses the next token and tells what it adds. None when no token can be chosen.
    pub(super) fn advance(&mut self, scores: &[f32], vocabulary: &Vocabulary, scratch: &mut Scratch) -> Option<Delta> {
        let allowed = match &mut self.request.guide {
            Some(guide) => Some(guide.allowed()?),
            None => None,
        };
        // An answer that is complete under its constraint may end before its least length.
        let complete = allowed.as_ref().is_some_and(|allowed| allowed.is_end_only(vocabulary.ends()));
        let banned = if complete { Vec::new() } else { self.banned(vocabulary) };
        let limits = Limits { banned: &banned, allowed: allowed.as_ref(), ends: vocabulary.ends() };
        let token = self.sampler.choose(scores, &limits, scratch)?;
        self.sampler.accept(token);
        if let Some(guide) = self.request.guide.as_mut().filter(|_| !vocabulary.is_end(token)) {
            guide.accept(token);
        }
        self.generated += 1;
        self.last = token;
        let logprobs = self.request.logprobs.map(|top| logprobs(scores, token, top));
        let (text, finish) = self.take_in(token, complete, vocabulary);
        Some(Delta { text, token: GeneratedToken { id: token, logprobs }, finish })
    }

    /// Tokens that may not come yet.
    fn banned(&self, vocabulary: &Vocabulary) -> Vec<Token> {
        if self.generated >= self.request.min_tokens {
            return Vec::new();
        }
        self.request.stop_tokens.iter().chain(vocabulary.ends()).copied().collect()
    }

    fn take_in(&mut self, token: Token, complete: bool, vocabulary: &Vocabulary) -> (String, Option<Finish>) {
        let stop = |stop| Some(Finish { reason: FinishReason::Stop, stop });
        let may_stop = self.generated > self.request.min_tokens;
        let ended = if vocabulary.is_end(token) && (complete || !self.request.ignore_eos) {
            stop(None)
        } else if self.request.stop_tokens.contains(&token) {
            stop(Some(StopReason::Token(token)))
        } else {
            None
        };
        let silent = self.request.skip_special && vocabulary.is_control(token) && !self.request.shown.contains(&token);
        // A token that ends the answer is part of its text only on demand.
        let bytes = if silent || (ended.is_some() && !self.request.keep_stop) { &[] } else { vocabulary.bytes(token) };
        let added = self.text.push(bytes, may_stop);
        if let Some(index) = added.stop {
            let text = self.request.stops[index].clone();
            return (added.text, stop(Some(StopReason::Text(text))));
        }
        let full = self.generated >= self.request.max_tokens;
        let finish = ended.or_else(|| full.then_some(Finish { reason: FinishReason::Length, stop: None }));
        let text = if finish.is_some() { added.text + &self.text.finish() } else { added.text };
        (text, finish)
    }
}
