//! The way in to one engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use prometheus_client::metrics::gauge::Gauge;

use super::breaker::{Breaker, Leave};
use super::queue::Queue;

/// What `limit` is where there is none.
const UNLIMITED: u32 = u32::MAX;

/// Lets so many requests to an engine at a time. It outlives the engine's restarts.
#[derive(Debug)]
pub(crate) struct Gate {
    limit: AtomicU32,
    inside: AtomicU32,
    /// Requests of the queue that would take a place here.
    pub(super) waiting: AtomicU32,
    breaker: Breaker,
    queue: Arc<Queue>,
    in_flight: Gauge,
}

/// A place at an engine, until it is dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    gate: Arc<Gate>,
    leave: Leave,
    told: bool,
}

impl Gate {
    /// A gate without a limit. Whom it has no room for waits in `queue`.
    pub(crate) fn new(breaker: Breaker, queue: Arc<Queue>, in_flight: Gauge) -> Self {
        let (inside, waiting) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { limit: AtomicU32::new(UNLIMITED), inside, waiting, breaker, queue, in_flight }
    }

    /// Sets the limit; `None` is none.
    pub(crate) fn set_limit(self: &Arc<Self>, limit: Option<u32>) {
        let limit = limit.unwrap_or(UNLIMITED);
        if self.limit.swap(limit, Ordering::SeqCst) < limit && self.waiting() > 0 {
            self.queue.let_in(self);
        }
    }

    /// Requests that the engine has not answered whole.
    pub(crate) fn inside(&self) -> u32 {
        self.inside.load(Ordering::Relaxed)
    }

    /// How many there may be.
    pub(crate) fn limit(&self) -> Option<u32> {
        Some(self.limit.load(Ordering::Relaxed)).filter(|limit| *limit != UNLIMITED)
    }

    /// Requests of the queue that would take a place here.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::SeqCst)
    }

    pub(crate) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// A place for a request that has just come, if nobody waits for one.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Admission> {
        if self.waiting() > 0 { None } else { self.admit() }
    }

    /// A place.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Admission> {
        let limit = self.limit.load(Ordering::SeqCst);
        let room = |inside| (inside < limit).then_some(inside + 1);
        self.inside.fetch_update(Ordering::SeqCst, Ordering::SeqCst, room).ok()?;
        let Some(leave) = self.breaker.leave() else {
            self.inside.fetch_sub(1, Ordering::SeqCst);
            return None;
        };
        self.in_flight.inc();
        Some(Admission { gate: self.clone(), leave, told: false })
    }
}

impl Admission {
    /// Whether this is a place at that gate.
    pub(crate) fn is_at(&self, gate: &Arc<Gate>) -> bool {
        Arc::ptr_eq(&self.gate, gate)
    }

    /// The engine answered.
    pub(crate) fn succeeded(&mut self) {
        self.told = true;
        self.gate.breaker.succeeded();
    }

    /// The engine failed.
    pub(crate) fn failed(&mut self) {
        // A stream that breaks off is a failure, also of a probe that had begun well.
        let leave = if std::mem::replace(&mut self.told, true) { Leave::Plain } else { self.leave };
        self.gate.breaker.failed(leave);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if !self.told {
            self.gate.breaker.untold(self.leave);
        }
        self.gate.in_flight.dec();
        self.gate.inside.fetch_sub(1, Ordering::SeqCst);
        if self.gate.waiting() > 0 {
            self.gate.queue.let_in(&self.gate);
        }
    }
}
