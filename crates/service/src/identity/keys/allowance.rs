//! What a key's limits leave for this minute.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The limits of one key in one service: buckets that fill up evenly within a minute.
#[derive(Debug, Default)]
pub struct Allowance {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    per_minute: f64,
    /// How much is left, and since when. Below zero after an answer that took more than there was.
    level: Mutex<(f64, Instant)>,
}

impl Allowance {
    /// Full buckets; `None` where the key has no limits.
    pub(crate) fn new(requests_per_minute: Option<u32>, tokens_per_minute: Option<u32>) -> Option<Self> {
        let (requests, tokens) = (requests_per_minute.map(Bucket::full), tokens_per_minute.map(Bucket::full));
        (requests.is_some() || tokens.is_some()).then_some(Self { requests, tokens })
    }

    /// Takes one request, or says how long until there is one.
    pub(crate) fn take_request(&self) -> Result<(), Duration> {
        self.requests.as_ref().map_or(Ok(()), |bucket| bucket.take(1.0))
    }

    /// Whether tokens are limited, so that somebody should count them.
    #[must_use]
    pub fn counts_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// Whether any token is left, or how long until there is one.
    pub fn has_tokens(&self) -> Result<(), Duration> {
        self.tokens.as_ref().map_or(Ok(()), |bucket| bucket.take(0.0))
    }

    /// Takes tokens that were used; the next request waits until they are made up for.
    pub fn spend_tokens(&self, count: u64) {
        if let Some(bucket) = &self.tokens {
            bucket.spend(count);
        }
    }
}

impl Bucket {
    fn full(per_minute: u32) -> Self {
        let per_minute = f64::from(per_minute.max(1));
        Self { per_minute, level: Mutex::new((per_minute, Instant::now())) }
    }

    fn level<T>(&self, act: impl FnOnce(&mut f64) -> T) -> T {
        let mut state = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let (level, since) = &mut *state;
        let now = Instant::now();
        *level = (*level + now.duration_since(*since).as_secs_f64() / 60.0 * self.per_minute).min(self.per_minute);
        *since = now;
        act(level)
    }

    /// Takes an amount; zero asks only whether there is at least one.
    fn take(&self, amount: f64) -> Result<(), Duration> {
        self.level(|level| {
            if *level >= 1.0 {
                *level -= amount;
                Ok(())
            } else {
                Err(Duration::from_secs_f64((1.0 - *level) * 60.0 / self.per_minute))
            }
        })
    }

    fn spend(&self, count: u64) {
        #[expect(clippy::cast_precision_loss, reason = "nobody spends 2^53 tokens in a minute")]
        self.level(|level| *level -= count as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_run_out_and_come_back() {
        let allowance = Allowance::new(Some(2), None).unwrap();
        assert!(allowance.take_request().is_ok() && allowance.take_request().is_ok());
        let wait = allowance.take_request().unwrap_err();
        assert!(wait > Duration::from_secs(20) && wait <= Duration::from_secs(30), "{wait:?}");
        assert!(!allowance.counts_tokens() && allowance.has_tokens().is_ok());
    }

    #[test]
    fn an_answer_that_took_too_much_is_made_up_for() {
        let allowance = Allowance::new(None, Some(60)).unwrap();
        assert!(allowance.has_tokens().is_ok() && allowance.take_request().is_ok());
        allowance.spend_tokens(120);
        let wait = allowance.has_tokens().unwrap_err();
        assert!(wait > Duration::from_secs(58) && wait <= Duration::from_secs(61), "{wait:?}");
    }

    #[test]
    fn no_limits_no_allowance() {
        assert!(Allowance::new(None, None).is_none());
    }
}
