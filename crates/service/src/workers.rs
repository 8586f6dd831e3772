//! Threads that each answer a share of the connections from beginning to end.
//!
//! The shared runtime moves a task to whichever thread is idle. Where a request waits for another connection, an
//! engine's, that makes threads wake each other all the time: the gateway answers a fifth more requests, each for a
//! sixth less CPU time, when a connection stays on the thread that got it ([`crate::Service::per_core`]). Where nothing
//! is waited for it is a loss: agents-server takes 6 % more CPU time, since each thread finds less to do per wake-up.
//!
//! Connections are handed out here rather than with `SO_REUSEPORT`, since the kernel spreads them by a hash and leaves
//! some threads with twice as many as others.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// A thread for each core, each with a runtime of its own. They end when the last of this is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Workers {
    pool: Arc<Pool>,
}

#[derive(Debug)]
struct Pool {
    workers: Vec<Worker>,
    // Dropped before the threads are waited for.
    end: Option<DropGuard>,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Workers {
    /// Starts a thread for each core that this process may use.
    pub(crate) fn start() -> io::Result<Self> {
        let end = CancellationToken::new();
        let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers = (0..count).map(|index| Worker::start(index, end.clone())).collect::<io::Result<_>>()?;
        Ok(Self { pool: Arc::new(Pool { workers, end: Some(end.drop_guard()) }) })
    }

    /// Runs the work of a connection on the thread that has fewest.
    pub(crate) fn spawn(&self, tracker: &TaskTracker, connection: impl Future<Output = ()> + Send + 'static) {
        let Some(worker) = self.pool.workers.iter().min_by_key(|worker| worker.connections.load(Ordering::Relaxed))
        else {
            return;
        };
        let counted = Counted::enter(worker.connections.clone());
        let work = async move {
            let _counted = counted;
            connection.await;
        };
        tracker.spawn_on(work, &worker.runtime);
    }
}

impl Worker {
    fn start(index: usize, end: CancellationToken) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let run = move || {
            runtime.block_on(end.cancelled());
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(run)?;
        Ok(Self { runtime: handle, connections: Arc::default(), thread: Some(thread) })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        drop(self.end.take());
        for thread in self.workers.iter_mut().filter_map(|worker| worker.thread.take()) {
            // A panic there was a task's, and tasks report their own.
            let _ = thread.join();
        }
    }
}

/// Counts a connection as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn enter(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_are_spread_evenly_and_end_with_their_work() {
        let workers = Workers::start().unwrap();
        let (tracker, end) = (TaskTracker::new(), CancellationToken::new());
        let per_worker = 3;
        for _ in 0..workers.pool.workers.len() * per_worker {
            let end = end.clone();
            workers.spawn(&tracker, async move { end.cancelled().await });
        }
        let loads = || workers.pool.workers.iter().map(|w| w.connections.load(Ordering::Relaxed)).collect::<Vec<_>>();
        assert!(loads().iter().all(|load| *load == per_worker), "{:?}", loads());
        end.cancel();
        tracker.close();
        tracker.wait().await;
        assert!(loads().iter().all(|load| *load == 0), "{:?}", loads());
    }
}
