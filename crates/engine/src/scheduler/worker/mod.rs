//! The engine's thread: one loop over the slots.
//!
//! A step admits what waits, in order of arrival, into free slots; plans one token of every answer that is being
//! generated and as much of the prompts as fits into one batch; computes it, one adapter after the other; and chooses,
//! for every row that asked, the next token. Nothing is shared with other threads but the channels, so nothing is ever
//! locked across a decode.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use remora_protocol::openai::FinishReason;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use super::adapters::HeldAdapter;
use super::embedding::EmbedJob;
use super::prefix::{self, Choice, Held};
use super::request::{GenerateError, GenerateRequest};
use super::running::{Job, Running};
use crate::llama::{AdapterId, AdapterLoadError, Context, ContextError, ContextSize, Row, Vocabulary};
use crate::metrics::{Answered, Metrics};
use crate::sampling::Scratch;

/// What computes; llama.cpp, or a stand-in that fails on demand.
pub(super) trait Decoder {
    /// Most rows of one step.
    fn batch(&self) -> usize;
    /// Computes a step under one adapter, or none; after a failure its sequences must be cleared.
    fn decode(&mut self, rows: &[Row], adapter: Option<AdapterId>) -> Result<(), ContextError>;
    /// The scores after a row of the last step that asked for them.
    fn scores(&self, row: usize) -> &[f32];
    /// Forgets a sequence.
    fn clear(&mut self, slot: u32);
    /// Forgets a sequence but for its first tokens; false when it has to go whole.
    fn cut(&mut self, slot: u32, keep: u32) -> bool;
    /// Makes a sequence the same as another.
    fn copy(&mut self, from: u32, to: u32);
    /// Loads an adapter.
    fn load_adapter(&mut self, id: AdapterId, gguf: &[u8]) -> Result<(), AdapterLoadError>;
    /// Frees an adapter, if it is loaded.
    fn free_adapter(&mut self, id: AdapterId);
}

impl Decoder for Context<'_> {
    fn batch(&self) -> usize {
        self.batch()
    }

    fn decode(&mut self, rows: &[Row], adapter: Option<AdapterId>) -> Result<(), ContextError> {
        self.decode(rows, adapter)
    }

    fn scores(&self, row: usize) -> &[f32] {
        self.scores(row)
    }

    fn clear(&mut self, slot: u32) {
        self.clear(slot);
    }

    fn cut(&mut self, slot: u32, keep: u32) -> bool {
        self.cut(slot, keep)
    }

    fn copy(&mut self, from: u32, to: u32) {
        self.copy(from, to);
    }

    fn load_adapter(&mut self, id: AdapterId, gguf: &[u8]) -> Result<(), AdapterLoadError> {
        self.load_adapter(id, gguf)
    }

    fn free_adapter(&mut self, id: AdapterId) {
        self.free_adapter(id);
    }
}

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    /// Generate the answers of a request.
    Generate(Vec<Job>),
    /// Make vectors of texts, where the model is made for it.
    Embed(Box<EmbedJob>),
    /// Load an adapter, which is handed back when it is in.
    Load { adapter: HeldAdapter, gguf: Vec<u8>, answer: oneshot::Sender<Result<HeldAdapter, AdapterLoadError>> },
    /// Free an adapter that nobody holds any more, and then drop the sender.
    Free(AdapterId, Option<oneshot::Sender<()>>),
}

/// What ties the loop to the rest of the process.
pub(super) struct Links {
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
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
    /// What the memory of each slot holds.
    held: Vec<Held>,
    /// Counts admissions and releases.
    clock: u64,
    /// The adapter of the last batch; the next step begins with it, which saves a change.
    adapter: Option<AdapterId>,
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
            held: vec![Held::default(); size.slots as usize],
            clock: 0,
            adapter: None,
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

    /// Takes in what was asked; sleeps while there is nothing to do. False when all is done.
    fn receive(&mut self) -> bool {
        loop {
            match self.links.commands.try_recv() {
                Ok(command) => self.obey(command),
                Err(TryRecvError::Disconnected) => return self.is_busy(),
                Err(TryRecvError::Empty) if self.is_busy() => return true,
                Err(TryRecvError::Empty) => match self.links.commands.blocking_recv() {
                    Some(command) => self.obey(command),
                    None => return false,
                },
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Generate(jobs) => self.queue.extend(jobs),
            // Its route keeps it away from a model that generates; unheard, it ends as if the engine had stopped.
            Command::Embed(job) => {
                self.links.waiting.fetch_sub(1, Ordering::Relaxed);
                drop(job);
            }
            Command::Load { adapter, gguf, answer } => {
                let loaded = self.decoder.load_adapter(adapter.id(), &gguf).map(|()| adapter);
                // Whoever asked may be gone; the adapter, dropped unheard, then asks to be freed.
                let _ = answer.send(loaded);
            }
            Command::Free(id, freed) => {
                for slot in 0..self.held.len() {
                    if self.held[slot].adapter == Some(id) {
                        self.forget(slot);
                    }
                }
                self.decoder.free_adapter(id);
                drop(freed);
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
        let mut place = 0;
        // There are no more free slots than that, so nobody further back can get one now.
        while let Some(job) = self.queue.get(place).filter(|_| place < self.slots.len()) {
            let slots: Vec<_> = self.held.iter().zip(&self.slots).map(|(held, slot)| (held, slot.is_none())).collect();
            let Some(choice) = prefix::choose(&slots, &job.request.prompt, job.request.adapter_id()) else { return };
            if self.is_being_computed(&job.request, choice.keep) {
                place += 1;
                continue;
            }
            let Some(job) = self.queue.remove(place) else { return };
            self.links.waiting.fetch_sub(1, Ordering::Relaxed);
            let known = self.make_room(choice, job.request.adapter_id());
            job.request.cached.set(known);
            let now = Instant::now();
            self.links.metrics.admitted(job.request.prompt.len(), known, now - job.arrived);
            self.slots[choice.slot] = Some(Running::new(job, known, now));
            self.order.push(number(choice.slot));
        }
    }

    /// Whether much more of a prompt than is known is being computed for another request. It waits for that and takes a
    /// copy: so the prompt of a request for several answers, and one that several clients send, is computed once.
    fn is_being_computed(&self, request: &GenerateRequest, known: usize) -> bool {
        self.slots.iter().flatten().any(|running| {
            !running.is_decoding()
                && running.adapter() == request.adapter_id()
                && prefix::common(&running.request.prompt, &request.prompt) >= known + prefix::WORTH_A_COPY
        })
    }

    /// Prepares a slot's memory for a request, and tells how many of the prompt's tokens are in it.
    fn make_room(&mut self, choice: Choice, adapter: Option<AdapterId>) -> usize {
        let Choice { slot, copy_of, keep } = choice;
        if let Some(from) = copy_of {
            self.decoder.copy(number(from), number(slot));
            self.held[slot].tokens = self.held[from].tokens.clone();
        }
        let excess = self.held[slot].tokens.len() > keep;
        if excess && !(keep > 0 && self.decoder.cut(number(slot), number(keep))) {
            self.forget(slot);
        }
        self.clock += 1;
        let held = &mut self.held[slot];
        held.tokens.truncate(keep);
        (held.adapter, held.used) = (adapter, self.clock);
        held.tokens.len()
    }

    fn step(&mut self) {
        self.plan();
        let rows = std::mem::take(&mut self.rows);
        let mut rest = rows.as_slice();
        while let Some(first) = rest.first() {
            let adapter = self.adapter_of(first);
            let count = rest.iter().take_while(|row| self.adapter_of(row) == adapter).count();
            let (batch, others) = rest.split_at(count);
            self.compute(batch, adapter);
            rest = others;
        }
        self.rows = rows;
    }

    /// Computes rows of one adapter, and chooses what follows them.
    fn compute(&mut self, rows: &[Row], adapter: Option<AdapterId>) {
        self.adapter = adapter;
        if let Err(error) = self.decoder.decode(rows, adapter) {
            tracing::error!(error = &error as &dyn std::error::Error, rows = rows.len(), "a step failed");
            self.fail(rows);
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a step has few rows")]
        self.links.metrics.iteration_tokens.observe(rows.len() as f64);
        for row in rows {
            self.held[row.slot as usize].tokens.push(row.token);
        }
        for (index, row) in rows.iter().enumerate() {
            if row.scores {
                self.advance(index, row.slot as usize);
            }
        }
    }

    fn adapter_of(&self, row: &Row) -> Option<AdapterId> {
        self.slots[row.slot as usize].as_ref().and_then(Running::adapter)
    }

    /// Plans a step: a token of every answer first, so that no long prompt delays them, then prompts. All of it fits
    /// one batch. The rows of an adapter stand together, and among them those of a slot, in the slots' order: llama.cpp
    /// computes sequences at once only where the number of each follows that of the one before.
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
        }
        let mut rows = std::mem::take(&mut self.rows);
        rows.sort_by_key(|row| {
            let adapter = self.adapter_of(row);
            (adapter != self.adapter, adapter, row.slot)
        });
        self.rows = rows;
    }

    /// Chooses and sends the token after a row of the last batch.
    fn advance(&mut self, row: usize, slot: usize) {
        let Some(running) = self.slots[slot].as_mut() else { return };
        let Some(delta) = running.advance(self.decoder.scores(row), self.vocabulary, &mut self.scratch) else {
            tracing::error!("the model gave no usable scores");
            running.deltas.send(Err(GenerateError::Failed));
            self.release(slot);
            return;
        };
        let now = Instant::now();
        self.links.metrics.token(running.times.arrived, running.times.last_token, now);
        running.times.first_token.get_or_insert(now);
        running.times.last_token = Some(now);
        let reason = delta.finish.as_ref().map(|finish| finish.reason);
        // A client that is gone is found by `reap` before the next step.
        running.deltas.send(Ok(delta));
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

    /// Takes the request out of a slot, whose memory stays for the next one that begins alike.
    fn release(&mut self, slot: usize) {
        self.slots[slot] = None;
        self.order.retain(|&other| other as usize != slot);
        self.clock += 1;
        self.held[slot].used = self.clock;
    }

    /// Empties the memory of a slot.
    fn forget(&mut self, slot: usize) {
        self.decoder.clear(number(slot));
        self.held[slot] = Held::default();
    }

    /// Ends every answer of a batch with a failure; what its slots hold is not known any more.
    fn fail(&mut self, rows: &[Row]) {
        for slot in rows.iter().map(|row| row.slot as usize) {
            if let Some(running) = &self.slots[slot] {
                running.deltas.send(Err(GenerateError::Failed));
                self.release(slot);
                self.forget(slot);
            }
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
        let running = self.slots.iter().flatten().filter_map(|running| running.request.adapter_name());
        let waiting = self.queue.iter().filter_map(|job| job.request.adapter_name());
        self.links.metrics.adapters(running.collect(), waiting.collect());
    }
}

/// A slot or a length as llama.cpp counts them.
fn number(index: usize) -> u32 {
    u32::try_from(index).expect("slots are few, and a slot holds few tokens")
}

#[cfg(test)]
mod tests;
