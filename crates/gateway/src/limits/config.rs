//! Section `[gateway.limits]`.

use std::collections::BTreeMap;
use std::time::Duration;

use remora_types::EngineId;
use remora_types::engines::EngineLimits;
use serde::Deserialize;

/// Section `[gateway.limits]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Requests that an engine is given at a time, by its id. An engine that is not named here gets as many as it has
    /// slots and `engine_queue` more, or any number where it does not tell its slots.
    pub concurrency: BTreeMap<EngineId, u32>,
    /// Requests beyond an engine's slots that wait inside it, so that a slot is never idle between two.
    pub engine_queue: u32,
    /// How many requests wait here for an engine with room; more are refused with 429.
    pub max_waiting: usize,
    /// How long each of them waits, in milliseconds.
    pub wait_ms: u64,
    /// How much longer a request of the next lower class has to have waited to go first, in milliseconds.
    pub aging_ms: u64,
    /// After so many failures in a row an engine is left alone for a while; 0 never does that.
    pub breaker_failures: u32,
    /// How long at first, in milliseconds; each further failure doubles it.
    pub breaker_rest_ms: u64,
    /// And at most, in milliseconds.
    pub breaker_longest_rest_ms: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            concurrency: BTreeMap::new(),
            engine_queue: 4,
            max_waiting: 1024,
            wait_ms: 600_000,
            aging_ms: 30_000,
            breaker_failures: 5,
            breaker_rest_ms: 1_000,
            breaker_longest_rest_ms: 30_000,
        }
    }
}

impl LimitsConfig {
    /// How many requests this engine is given at a time; `None` is any number.
    pub(crate) fn of(&self, engine: &EngineId, says: &EngineLimits) -> Option<u32> {
        let own = self.concurrency.get(engine).copied();
        own.or_else(|| says.slots.map(|slots| slots.saturating_add(self.engine_queue)))
    }

    pub(crate) fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms)
    }
}
