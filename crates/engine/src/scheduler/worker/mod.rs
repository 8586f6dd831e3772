//! The engine's thread: one loop over the slots.
//!
//! A step admits what waits, in order of arrival, into free slots; puts one token of every answer that is being
//! generated and as much of the prompts as fits into one batch; computes it; and chooses, for every row that asked,
//! the next token. Nothing is shared with other threads but the channels, so nothing is ever locked across a decode.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use remora_protocol::openai::FinishReason;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::request::GenerateError;
use super::running::{Job, Running};
use crate::llama::{Context, ContextError, ContextSize, Row, Vocabulary};
use crate::metrics::{Answered, Metrics};
use crate::sampling::Scratch;

/// What computes; llama.cpp, or a stand-in that fails on demand.
pub(super) trait Decoder {
    /// Most rows of one step.
    fn batch(&self) -> usize;
    /// Computes a step; after a failure its sequences must be cleared.
    fn decode(&mut self, rows: &[Row]) -> Result<(), ContextError>;
    /// The scores after a row of the last step that asked for them.
    fn scores(&self, row: usize) -> &[f32];
    /// Forgets a sequence.
    fn clear(&mut self, slot: u32);
}

impl Decoder for Context<'_> {
    fn batch(&self) -> usize {
        self.batch()
    }

    fn decode(&mut self, rows: &[Row]) -> Result<(), ContextError> {
        self.decode(rows)
    }

    fn scores(&self, row: usize) -> &[f32] {
        self.scores(row)
    }

    fn clear(&mut self, slot: u32) {
        self.clear(slot);
    }
}

/// What ties the loop to the rest of the process.
pub(super) struct Links {
    pub(super) jobs: mpsc::UnboundedReceiver<Job>,
    /// How many requests wait; those who submit count up.
    pub(super) waiting: Arc<AtomicUsize>,
    /// Set when unfinished answers are to be given up.
    pub(super) abandon: Arc<AtomicBool>,
    pub(super) metrics: Arc<Metrics>,
}

/// The loop's state.
pub(super) struct Worker<'a, D> {
    decoder: D,
    vocabulary: &'a Vocabulary,
    links: Links,
    queue: VecDeque<Job>,
    slots: Vec<Option<Running>>,
    /// Slots in order of admission, for prefilling the oldest first.
    order: Vec<u32>,
    context_tokens: usize,
    rows: Vec<Row>,
    scratch: Scratch,
}

impl<'a, D: Decoder> Worker<'a, D> {
    pub(super) fn new(decoder: D, vocabulary: &'a Vocabulary, size: ContextSize, links: Links) -> Self {
        Self {
            decoder,
            vocabulary,
            links,
            queue: VecDeque::new(),
            slots: std::iter::repeat_with(|| None).take(size.slots as usize).collect(),
            order: Vec::new(),
            context_tokens: size.slots as usize * size.tokens_per_slot as usize,
            rows: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    /// Works until nobody can submit any more and every answer is out, or is to be given up.
    pub(super) fn run(mut self) {
        while self.receive() && !self.links.abandon.load(Ordering::Relaxed) {
            self.reap();
            self.admit();
            self.report();
            self.step();
            // Before it may sleep, too.
            self.report();
        }
    }

    /// Takes in what was submitted; sleeps while there is nothing to do. False when all is done.
    fn receive(&mut self) -> bool {
        loop {
            match self.links.jobs.try_recv() {
                Ok(job) => self.queue.push_back(job),
                Err(TryRecvError::Disconnected) => return self.is_busy(),
                Err(TryRecvError::Empty) if self.is_busy() => return true,
                Err(TryRecvError::Empty) => match self.links.jobs.blocking_recv() {
                    Some(job) => self.queue.push_back(job),
                    None => return false,
                },
            }
        }
    }

    fn is_busy(&self) -> bool {
        !self.queue.is_empty() || !self.order.is_empty()
    }

    /// Lets go of requests whose clients are gone, in slots and in the queue.
    fn reap(&mut self) {
        for slot in 0..self.slots.len() {
            if self.slots[slot].as_ref().is_some_and(|running| running.deltas.is_closed()) {
                self.release(slot);
            }
        }
        let before = self.queue.len();
        self.queue.retain(|job| !job.deltas.is_closed());
        self.links.waiting.fetch_sub(before - self.queue.len(), Ordering::Relaxed);
    }

    /// Gives free slots to those who wait longest.
    fn admit(&mut self) {
        for (slot, place) in (0..).zip(&mut self.slots) {
            if place.is_some() {
                continue;
            }
            let Some(job) = self.queue.pop_front() else { return };
            self.links.waiting.fetch_sub(1, Ordering::Relaxed);
            let now = Instant::now();
            self.links.metrics.queue_seconds.observe((now - job.arrived).as_secs_f64());
            *place = Some(Running::new(job, now));
            self.order.push(slot);
        }
    }

    fn step(&mut self) {
        self.plan();
        if self.rows.is_empty() {
            return;
        }
        if let Err(error) = self.decoder.decode(&self.rows) {
            tracing::error!(error = &error as &dyn std::error::Error, rows = self.rows.len(), "a step failed");
            self.fail_all();
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a step has few rows")]
        self.links.metrics.iteration_tokens.observe(self.rows.len() as f64);
        for index in 0..self.rows.len() {
            if self.rows[index].scores {
                self.advance(index);
            }
        }
    }

    /// Fills the batch: a token of every answer first, so that no long prompt delays them, then prompts.
    fn plan(&mut self) {
        self.rows.clear();
        for &slot in &self.order {
            if let Some(running) = self.slots[slot as usize].as_ref().filter(|running| running.is_decoding()) {
                self.rows.push(Row { token: running.last, position: running.position(), slot, scores: true });
            }
        }
        for &slot in &self.order {
            let Some(running) = self.slots[slot as usize].as_mut() else { continue };
            let prompt = &running.request.prompt;
            let room = self.decoder.batch().saturating_sub(self.rows.len());
            let chunk = running.prefilled..prompt.len().min(running.prefilled + room);
            for place in chunk.clone() {
                let position = u32::try_from(place).expect("a prompt fits the context");
                let scores = place + 1 == prompt.len();
                self.rows.push(Row { token: prompt[place], position, slot, scores });
            }
            running.prefilled = chunk.end.max(running.prefilled);
            self.links.metrics.prompt_tokens.inc_by(chunk.len() as u64);
        }
    }

    /// Chooses and sends the token after a row.
    fn advance(&mut self, row: usize) {
        let slot = self.rows[row].slot as usize;
        let Some(running) = self.slots[slot].as_mut() else { return };
        let Some(delta) = running.advance(self.decoder.scores(row), self.vocabulary, &mut self.scratch) else {
            tracing::error!("the model gave no usable scores");
            let _ = running.deltas.send(Err(GenerateError::Failed));
            self.release(slot);
            return;
        };
        let now = Instant::now();
        self.links.metrics.token(running.times.arrived, running.times.last_token, now);
        running.times.first_token.get_or_insert(now);
        running.times.last_token = Some(now);
        let reason = delta.finish.as_ref().map(|finish| finish.reason);
        // A client that is gone is found by `reap` before the next step.
        let _ = running.deltas.send(Ok(delta));
        if let Some(reason) = reason {
            self.finished(slot, reason);
        }
    }

    fn finished(&mut self, slot: usize, reason: FinishReason) {
        if let Some(running) = &self.slots[slot] {
            let times = running.times;
            self.links.metrics.answered(&Answered {
                reason,
                prompt_tokens: running.request.prompt.len(),
                generated_tokens: running.generated,
                max_tokens: running.request.max_tokens,
                arrived: times.arrived,
                admitted: times.admitted,
                first_token: times.first_token.unwrap_or(times.admitted),
                finished: times.last_token.unwrap_or(times.admitted),
            });
        }
        self.release(slot);
    }

    /// Empties a slot.
    fn release(&mut self, slot: usize) {
        self.slots[slot] = None;
        self.order.retain(|&other| other as usize != slot);
        self.decoder.clear(u32::try_from(slot).expect("slots are few"));
    }

    /// Ends every running answer with a failure; those who wait may have better luck.
    fn fail_all(&mut self) {
        for slot in std::mem::take(&mut self.order) {
            if let Some(running) = self.slots[slot as usize].take() {
                let _ = running.deltas.send(Err(GenerateError::Failed));
            }
            self.decoder.clear(slot);
        }
    }

    /// Keeps the gauges true.
    fn report(&self) {
        let used: usize = self
            .slots
            .iter()
            .flatten()
            .map(|running| running.prefilled + running.generated.saturating_sub(1) as usize)
            .sum();
        #[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
        let share = used as f64 / self.context_tokens as f64;
        self.links.metrics.occupancy(self.order.len(), self.queue.len(), share);
    }
}

#[cfg(test)]
mod tests;
