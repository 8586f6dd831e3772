//! Slows whoever guesses keys.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong guesses that cost nothing: a key pasted badly, a client that retries.
const FREE: u32 = 5;

/// How long the first wrong guess beyond those shuts a source out; it doubles with each further one.
const FIRST: Duration = Duration::from_secs(1);

/// The longest a source is shut out.
const LONGEST: Duration = Duration::from_mins(5);

/// When the wrong guesses of a source are forgotten.
const MEMORY: Duration = Duration::from_mins(10);

/// Most sources that are remembered; the oldest go first.
const SOURCES: usize = 4096;

/// Wrong guesses by source.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    sources: Mutex<HashMap<IpAddr, Guesses>>,
}

#[derive(Debug)]
struct Guesses {
    wrong: u32,
    last: Instant,
    shut_until: Option<Instant>,
}

impl Throttle {
    /// Whether this source may guess now, or how long it has to wait.
    pub(crate) fn check(&self, source: IpAddr) -> Result<(), Duration> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let left =
            sources.get(&of(source)).and_then(|guesses| guesses.shut_until?.checked_duration_since(Instant::now()));
        left.map_or(Ok(()), Err)
    }

    /// Remembers a wrong guess.
    pub(crate) fn wrong(&self, source: IpAddr) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if sources.len() >= SOURCES {
            sources.retain(|_, guesses| now.duration_since(guesses.last) < MEMORY);
        }
        if sources.len() >= SOURCES
            && let Some(oldest) = sources.iter().min_by_key(|(_, guesses)| guesses.last).map(|(source, _)| *source)
        {
            sources.remove(&oldest);
        }
        let guesses = sources.entry(of(source)).or_insert(Guesses { wrong: 0, last: now, shut_until: None });
        if now.duration_since(guesses.last) > MEMORY {
            guesses.wrong = 0;
        }
        guesses.wrong += 1;
        guesses.last = now;
        if let Some(beyond) = guesses.wrong.checked_sub(FREE + 1) {
            guesses.shut_until = Some(now + (FIRST * 2_u32.saturating_pow(beyond.min(16))).min(LONGEST));
        }
    }
}

/// What counts as one source: an IPv4 address, or the network that one IPv6 customer has.
fn of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_wrong_guesses_are_free_and_the_next_cost_ever_more() {
        let (throttle, source) = (Throttle::default(), "10.0.0.1".parse().unwrap());
        for _ in 0..FREE {
            throttle.wrong(source);
            assert!(throttle.check(source).is_ok());
        }
        throttle.wrong(source);
        let first = throttle.check(source).unwrap_err();
        throttle.wrong(source);
        let second = throttle.check(source).unwrap_err();
        assert!(first <= FIRST && second > first && second <= FIRST * 2, "{first:?} {second:?}");
        for _ in 0..40 {
            throttle.wrong(source);
        }
        assert!(throttle.check(source).unwrap_err() <= LONGEST);
        assert!(throttle.check("10.0.0.2".parse().unwrap()).is_ok());
    }

    #[test]
    fn one_ipv6_network_is_one_source_and_memory_is_bounded() {
        let throttle = Throttle::default();
        for host in 0..=FREE {
            throttle.wrong(format!("fd00::{host:x}").parse().unwrap());
        }
        assert!(throttle.check("fd00::beef".parse().unwrap()).is_err());
        for n in 0..u32::try_from(SOURCES).unwrap() + 100 {
            throttle.wrong(IpAddr::V4(n.into()));
        }
        assert_eq!(throttle.sources.lock().unwrap().len(), SOURCES);
    }
}
