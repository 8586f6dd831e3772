//! Leaves an engine alone that fails again and again.
//!
//! The directory's looks find out about a dead engine too, but every few seconds only, and a sick engine may answer
//! them and still fail every request. Closed, a breaker costs a request one load of a flag.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use remora_types::gateway::{Circuit, CircuitState};
use tokio::time::Instant;

use super::LimitsConfig;

/// The breaker of one engine.
#[derive(Debug)]
pub(crate) struct Breaker {
    engine: String,
    most_failures: u32,
    first_rest: Duration,
    longest_rest: Duration,
    /// In a row.
    failures: AtomicU32,
    open: AtomicBool,
    rest: Mutex<Rest>,
    /// 1 while it is not closed.
    opened: Gauge,
    openings: Counter,
}

#[derive(Debug)]
struct Rest {
    until: Instant,
    length: Duration,
    /// Whether a request is out that finds out how the engine is.
    probing: bool,
}

/// Leave to ask an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// As always.
    Plain,
    /// The one request that finds out whether the engine is well again.
    Probe,
}

impl Breaker {
    /// A closed one.
    pub(crate) fn new(engine: String, config: &LimitsConfig, opened: Gauge, openings: Counter) -> Self {
        let first_rest = Duration::from_millis(config.breaker_rest_ms);
        Self {
            engine,
            most_failures: config.breaker_failures,
            first_rest,
            longest_rest: Duration::from_millis(config.breaker_longest_rest_ms).max(first_rest),
            failures: AtomicU32::new(0),
            open: AtomicBool::new(false),
            rest: Mutex::new(Rest { until: Instant::now(), length: first_rest, probing: false }),
            opened,
            openings,
        }
    }

    /// Whether a request may be sent now.
    pub(super) fn leave(&self) -> Option<Leave> {
        if !self.is_open() {
            return Some(Leave::Plain);
        }
        let mut rest = self.rest();
        if !self.is_open() {
            return Some(Leave::Plain);
        }
        if rest.probing || Instant::now() < rest.until {
            return None;
        }
        rest.probing = true;
        Some(Leave::Probe)
    }

    /// How long the engine is still left alone; `None` where it may be asked.
    pub(crate) fn resting(&self) -> Option<Duration> {
        if !self.is_open() {
            return None;
        }
        let rest = self.rest();
        let left = rest.until.saturating_duration_since(Instant::now());
        (rest.probing || !left.is_zero()).then_some(left)
    }

    /// The engine answered.
    pub(super) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.is_open() {
            self.close();
        }
    }

    /// The engine failed a request that it was given with this leave.
    pub(super) fn failed(&self, leave: Leave) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let mut rest = self.rest();
        let length = match (self.is_open(), leave) {
            (false, _) if self.most_failures > 0 && failures >= self.most_failures => self.first_rest,
            (true, Leave::Probe) => (rest.length * 2).min(self.longest_rest),
            // Below the threshold, or a request from before it opened.
            _ => return,
        };
        *rest = Rest { until: Instant::now() + length, length, probing: false };
        if !self.open.swap(true, Ordering::Release) {
            self.opened.set(1);
            self.openings.inc();
            let (engine, rest_ms) = (&self.engine, length.as_millis());
            tracing::warn!(%engine, failures, rest_ms, "the engine fails again and again; it is left alone for a while");
        }
    }

    /// A request ended without saying anything about the engine.
    pub(super) fn untold(&self, leave: Leave) {
        if leave == Leave::Probe {
            self.rest().probing = false;
        }
    }

    /// Forgets the past: the engine is another process, or well by its own word.
    pub(crate) fn close(&self) {
        let mut rest = self.rest();
        self.failures.store(0, Ordering::Relaxed);
        rest.probing = false;
        if self.open.swap(false, Ordering::Release) {
            self.opened.set(0);
            tracing::info!(engine = %self.engine, "the engine is asked again");
        }
    }

    /// For people.
    pub(crate) fn report(&self) -> Circuit {
        let failures = self.failures.load(Ordering::Relaxed);
        let (state, retry_in_ms) = match (self.is_open(), self.resting()) {
            (false, _) => (CircuitState::Closed, None),
            (true, Some(left)) if !left.is_zero() => (CircuitState::Open, u64::try_from(left.as_millis()).ok()),
            (true, _) => (CircuitState::HalfOpen, None),
        };
        Circuit { state, failures, retry_in_ms }
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker(failures: u32) -> Breaker {
        let config = LimitsConfig {
            breaker_failures: failures,
            breaker_rest_ms: 1_000,
            breaker_longest_rest_ms: 3_000,
            ..LimitsConfig::default()
        };
        Breaker::new("e".to_owned(), &config, Gauge::default(), Counter::default())
    }

    fn rests(breaker: &Breaker) -> u128 {
        breaker.resting().unwrap_or_default().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_only() {
        let breaker = breaker(3);
        for _ in 0..5 {
            breaker.failed(Leave::Plain);
            breaker.failed(Leave::Plain);
            breaker.succeeded();
        }
        assert_eq!(breaker.leave(), Some(Leave::Plain));
        for _ in 0..3 {
            breaker.failed(Leave::Plain);
        }
        assert_eq!((breaker.leave(), rests(&breaker)), (None, 1_000));
        assert_eq!(breaker.opened.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_at_a_time_decides() {
        let breaker = breaker(1);
        breaker.failed(Leave::Plain);
        for rest in [1_000, 2_000, 3_000, 3_000] {
            assert_eq!(rests(&breaker), rest);
            tokio::time::advance(Duration::from_millis(rest.try_into().unwrap())).await;
            assert_eq!((breaker.leave(), breaker.leave()), (Some(Leave::Probe), None));
            // Requests from before it opened say nothing new.
            breaker.failed(Leave::Plain);
            assert_eq!(breaker.report().state, CircuitState::HalfOpen);
            breaker.failed(Leave::Probe);
        }
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(breaker.leave(), Some(Leave::Probe));
        breaker.untold(Leave::Probe);
        assert_eq!(breaker.leave(), Some(Leave::Probe), "a client that left is no verdict");
        breaker.succeeded();
        assert_eq!((breaker.leave(), breaker.report().state), (Some(Leave::Plain), CircuitState::Closed));
        assert_eq!((breaker.opened.get(), breaker.openings.get()), (0, 1));
    }

    #[tokio::test]
    async fn it_can_be_turned_off() {
        let breaker = breaker(0);
        for _ in 0..100 {
            breaker.failed(Leave::Plain);
        }
        assert_eq!(breaker.leave(), Some(Leave::Plain));
    }
}
