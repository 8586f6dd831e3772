//! Waiting on a condition, with a limit; the alternative to sleeping a guess.

use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use tokio::time::{sleep, timeout};

/// Time between two checks.
const INTERVAL: Duration = Duration::from_millis(5);

/// Waits until `check` is true. Panics after `limit`, naming the caller's line.
#[track_caller]
pub fn wait_until(limit: Duration, mut check: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    wait_for(limit, async move || check().await.then_some(()))
}

/// Waits until `check` gives a value, and gives it. Panics after `limit`, naming the caller's line.
#[track_caller]
pub fn wait_for<T>(limit: Duration, mut check: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let checks = async {
            loop {
                if let Some(value) = check().await {
                    return value;
                }
                sleep(INTERVAL).await;
            }
        };
        let outcome = timeout(limit, checks).await;
        outcome.unwrap_or_else(|_| panic!("what {caller} waits for did not happen within {limit:?}"))
    }
}
