//! Watches one engine: when to look, and what the looks add up to.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use remora_types::engines::EngineModel;
use tokio::time::{Instant, sleep_until};

use super::{EngineClient, Facts, Probe};

/// A look at `/metrics`, for a restart that happened between two looks, is taken once in so many looks.
const START_CHECK: u32 = 5;

/// Bad answers in a row after which an engine counts as failed.
const FAILURES: u32 = 3;

/// Longest time between two looks at an engine that is not ready.
const SLOWEST: Duration = Duration::from_secs(1);

/// How often to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// While the engine is not ready, at first; the interval then grows with the wait (a twentieth of it, at most one
    /// second), so that readiness is seen at once after a short start and cheaply after a long one.
    pub starting: Duration,
    /// While it is ready.
    pub ready: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { starting: Duration::from_millis(50), ready: Duration::from_secs(2) }
    }
}

/// What the watch knows after a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighting {
    /// Nothing has answered since the watch began, or too little to judge.
    Waiting {
        /// What the look found instead.
        detail: String,
    },
    /// It says that it loads.
    Loading {
        /// Its own words.
        detail: String,
    },
    /// It answers.
    Ready(Seen),
    /// It was ready and is away, or it answers badly.
    Failed {
        /// What the look found instead.
        detail: String,
    },
}

/// An engine that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it serves now.
    pub models: Vec<EngineModel>,
    /// What it can do and hold.
    pub facts: Facts,
    /// Grows with every restart that could be noticed: the engine was away and came back, or says that its process
    /// started later. Begins at the process's start where that is known, else now, in milliseconds since 1970; so it
    /// grows from one watch to the next too.
    pub generation: u64,
}

/// Looks at one engine again and again.
#[derive(Debug)]
pub struct EngineWatch {
    engine: EngineClient,
    pace: Pace,
    phase: Phase,
    /// Bad answers in a row.
    failures: u32,
    /// As it was when last ready.
    last: Option<Seen>,
    next_look: Instant,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Away { since: Instant },
    Ready { looks: u32 },
}

impl EngineWatch {
    /// A watch that has not looked yet; its first look is immediate.
    #[must_use]
    pub fn new(engine: EngineClient, pace: Pace) -> Self {
        let now = Instant::now();
        Self { engine, pace, phase: Phase::Away { since: now }, failures: 0, last: None, next_look: now }
    }

    /// Waits until the next look is due, looks, and tells what is known then. Dropping the future costs that look only.
    pub async fn next(&mut self) -> Sighting {
        sleep_until(self.next_look).await;
        let probe = self.engine.probe().await;
        self.failures = if let Probe::Failed { .. } = probe { self.failures.saturating_add(1) } else { 0 };
        let sighting = match probe {
            Probe::Ready { models } => self.answered(models).await,
            Probe::Failed { detail } => self.misbehaved(detail),
            Probe::Loading { detail } => {
                self.lose();
                Sighting::Loading { detail }
            }
            Probe::Unreachable { detail } => {
                self.lose();
                self.away(detail)
            }
        };
        self.next_look = Instant::now() + self.interval();
        sighting
    }

    fn interval(&self) -> Duration {
        match self.phase {
            Phase::Away { since } => (since.elapsed() / 20).clamp(self.pace.starting.min(SLOWEST), SLOWEST),
            // A doubt is settled quickly.
            Phase::Ready { .. } if self.failures > 0 => (self.pace.ready / 4).min(SLOWEST),
            Phase::Ready { .. } => self.pace.ready,
        }
    }

    fn lose(&mut self) {
        if let Phase::Ready { .. } = self.phase {
            self.phase = Phase::Away { since: Instant::now() };
        }
    }

    fn away(&self, detail: String) -> Sighting {
        if self.last.is_some() { Sighting::Failed { detail } } else { Sighting::Waiting { detail } }
    }

    /// One bad answer proves nothing, some in a row do.
    fn misbehaved(&mut self, detail: String) -> Sighting {
        match (self.phase, &self.last) {
            (Phase::Ready { .. }, Some(last)) if self.failures < FAILURES => Sighting::Ready(last.clone()),
            (Phase::Away { .. }, None) if self.failures < FAILURES => Sighting::Waiting { detail },
            _ => {
                self.lose();
                Sighting::Failed { detail }
            }
        }
    }

    async fn answered(&mut self, models: Vec<EngineModel>) -> Sighting {
        let known = match (self.phase, &self.last) {
            (Phase::Ready { looks }, Some(last)) if !self.has_restarted(looks, last).await => Some(last),
            _ => None,
        };
        let seen = match known {
            Some(last) => Seen { models, ..last.clone() },
            None => match self.engine.facts(&models).await {
                Ok(facts) => Seen { generation: generation(self.last.as_ref(), &facts), models, facts },
                Err(error) => {
                    self.lose();
                    return self.away(error.to_string());
                }
            },
        };
        let looks = if let Phase::Ready { looks } = self.phase { looks.wrapping_add(1) } else { 1 };
        self.phase = Phase::Ready { looks };
        self.last = Some(seen.clone());
        Sighting::Ready(seen)
    }

    /// Whether an engine that looked ready at both looks was restarted between them.
    async fn has_restarted(&self, looks: u32, last: &Seen) -> bool {
        let Some(before) = last.facts.started_unix_ms.filter(|_| looks.is_multiple_of(START_CHECK)) else {
            return false;
        };
        matches!(self.engine.started_unix_ms().await, Ok(Some(now)) if now != before)
    }
}

/// The generation of an engine that has just become ready.
fn generation(last: Option<&Seen>, facts: &Facts) -> u64 {
    let began = facts.started_unix_ms.unwrap_or_else(now_unix_ms);
    match last {
        None => began,
        // The same process: it was only silent for a while, and has lost nothing.
        Some(last) if facts.started_unix_ms.is_some() && facts.started_unix_ms == last.facts.started_unix_ms => {
            last.generation
        }
        Some(last) => began.max(last.generation + 1),
    }
}

fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(generation: u64, started_unix_ms: Option<u64>) -> Seen {
        let facts = Facts { started_unix_ms, ..Facts::default() };
        Seen { models: Vec::new(), facts, generation }
    }

    #[test]
    fn a_generation_grows_unless_it_is_the_same_process() {
        let started = |s| Facts { started_unix_ms: s, ..Facts::default() };
        assert_eq!(generation(None, &started(Some(100))), 100);
        assert_eq!(generation(Some(&seen(100, Some(100))), &started(Some(100))), 100);
        assert_eq!(generation(Some(&seen(100, Some(100))), &started(Some(160))), 160);
        assert!(generation(Some(&seen(100, None)), &started(None)) > 1_700_000_000_000, "the time of return");
        let future = u64::MAX / 2;
        assert_eq!(generation(Some(&seen(future, None)), &started(None)), future + 1);
    }
}
