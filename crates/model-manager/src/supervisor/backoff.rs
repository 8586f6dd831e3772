//! How long to rest before an engine that died is started again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// An engine that lived so long did not die of its start.
const LONG_LIFE: Duration = Duration::from_secs(30);

/// Rests between restarts: none before the first, then 100 ms, doubling to 10 s; from the beginning again after 30 s of
/// life.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    rest: Duration,
}

impl Backoff {
    /// The rest after a life of this length.
    pub(super) fn after(&mut self, lived: Duration) -> Duration {
        if lived >= LONG_LIFE {
            self.reset();
        }
        let rest = self.rest;
        self.rest = (rest * 2).clamp(FIRST, LONGEST);
        rest
    }

    /// Forgets earlier deaths.
    pub(super) fn reset(&mut self) {
        self.rest = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_up_to_the_longest_and_begin_again_after_a_long_life() {
        let mut backoff = Backoff::default();
        let rests: Vec<u128> = (0..10).map(|_| backoff.after(Duration::from_secs(1)).as_millis()).collect();
        assert_eq!(rests, [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(backoff.after(LONG_LIFE), Duration::ZERO);
        assert_eq!(backoff.after(Duration::ZERO), FIRST);
    }
}
