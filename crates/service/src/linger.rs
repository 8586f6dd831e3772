//! Reading on after a refusal.

use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

/// How long a body that is refused for its size is still read, and the longest pause in it.
const LINGER: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(250);

/// Reads a refused body for a while without keeping anything.
///
/// A client that is still sending when its connection is closed sees a reset, and some (on macOS and Windows all) then
/// never read the answer that says why.
pub async fn discard(mut body: Body) {
    let end = Instant::now() + LINGER;
    while Instant::now() < end {
        match timeout_at(end.min(Instant::now() + PAUSE), body.frame()).await {
            Ok(Some(Ok(_))) => {}
            _ => return,
        }
    }
}
