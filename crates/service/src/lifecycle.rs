//! How a process stops, and what it runs beside its servers.
//!
//! A stop has two soft steps: **draining** (stop accepting, end event streams, let answers finish) and **closing**
//! (every answer is out; background work ends, children are stopped). Two, since a supervisor that stopped its engine
//! while the gateway still streams from it would break the very answers that draining waits for. Each has a hard end:
//! connections that outlive their grace period are **cut**, tasks that outlive theirs are **abandoned**.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Any error that can cross threads.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How a background task ends.
pub type TaskResult = Result<(), BoxError>;

/// Tells a task that the process is stopping, and can ask for it.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    draining: CancellationToken,
    closing: CancellationToken,
    cut: CancellationToken,
    abandon: CancellationToken,
}

impl Stop {
    /// A stop that nobody has asked for yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Completes when the process begins to stop. Event streams end here.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Completes when every answer is out. Background work ends here.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }

    pub(crate) async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// Whether the process is stopping.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Asks the process to stop.
    pub fn request(&self) {
        self.draining.cancel();
    }

    /// Drops the connections that are left.
    pub(crate) fn cut_connections(&self) {
        self.draining.cancel();
        self.cut.cancel();
    }

    pub(crate) fn close(&self) {
        self.draining.cancel();
        self.closing.cancel();
    }

    /// Drops everything that is left, tasks included.
    pub(crate) fn abandon(&self) {
        self.cut_connections();
        self.close();
        self.abandon.cancel();
    }

    /// A token that is cancelled when draining begins, for what wants one (`take_until`, child processes).
    #[must_use]
    pub fn draining_token(&self) -> CancellationToken {
        self.draining.clone()
    }
}

/// The spawned work of a process: every task is tracked, and one that dies stops the process.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    stop: Stop,
    tasks: TaskTracker,
    failure: Arc<OnceLock<String>>,
}

impl Lifecycle {
    /// A lifecycle whose stop can also be asked for through `stop`.
    #[must_use]
    pub fn new(stop: Stop) -> Self {
        Self { stop, ..Self::default() }
    }

    /// The stop that its tasks watch.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Runs background work under a name. It should end soon after [`Stop::closing`]; when it fails or panics, the
    /// process stops with a failure. Work that is done early may simply return.
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = TaskResult> + Send + 'static) {
        let (stop, failure) = (self.stop.clone(), self.failure.clone());
        self.tasks.spawn(async move {
            let outcome = tokio::select! {
                outcome = AssertUnwindSafe(work).catch_unwind() => outcome,
                () = stop.abandon.cancelled() => return,
            };
            let why = match outcome {
                Ok(Ok(())) => return,
                Ok(Err(error)) => format!("{name}: {error}"),
                Err(_) => format!("{name} panicked"),
            };
            tracing::error!(task = name, "a background task died, stopping: {why}");
            // The first failure is the one to report; later ones are usually its echoes.
            let _ = failure.set(why);
            stop.request();
        });
    }

    /// What killed the process, if something did.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Completes when every task has ended; call after closing.
    pub(crate) async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
