//! How far loading is: told to whoever asks, and to the log when it takes long.

use std::time::{Duration, Instant};

/// Loading that is over by then is not worth a line.
const QUIET: Duration = Duration::from_secs(1);
/// The log is told in steps of this size.
const STEP: f32 = 0.1;

/// Passes on how much of a model is in; only growth, and not every little.
#[derive(Debug)]
pub(crate) struct Progress {
    started: Instant,
    told: f32,
    logged: f32,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), told: 0.0, logged: 0.0 }
    }

    /// Takes in the share that is in, 0 to 1, and gives it back where it is news.
    pub(crate) fn heard(&mut self, share: f32) -> Option<f32> {
        if self.started.elapsed() > QUIET && share - self.logged >= STEP {
            self.logged = share;
            tracing::info!("the model is being loaded: {:.0} %", f64::from(share) * 100.0);
        }
        let news = share - self.told >= 0.01;
        news.then(|| {
            self.told = share.min(1.0);
            self.told
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_growth_that_shows_is_told() {
        let mut progress = Progress::new();
        let told: Vec<_> = [0.0, 0.005, 0.02, 0.021, f32::NAN, 0.5, 0.4, 1.5].map(|share| progress.heard(share)).into();
        assert_eq!(told, [None, None, Some(0.02), None, None, Some(0.5), None, Some(1.0)]);
    }
}
