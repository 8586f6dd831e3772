//! The one task that keeps the table current.
//!
//! It looks at the whole folder when the file system says that something changed, and every second in any case: events
//! get lost (full queues, folders that are deleted and made again, file systems that send none). A look costs one
//! `stat` per file, and only what differs is read.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use remora_service::{Stop, TaskResult};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinError;
use tokio::time::{Instant, sleep, timeout_at};

use super::Scanner;
use super::snapshot::Snapshot;
use super::table::Table;
use crate::config::WatchMode;

/// Quiet time that ends a burst of events.
const QUIET: Duration = Duration::from_millis(30);

/// Longest wait for quiet: a `git checkout` of many files may take longer than a reader of one wants to wait.
const LONGEST_BURST: Duration = Duration::from_millis(300);

impl Scanner {
    /// Keeps the folder's table current until the process closes.
    pub async fn run(mut self, stop: Stop) -> TaskResult {
        let (event, mut events) = mpsc::channel(1);
        let mut watching = Watching::new(event, self.config.watch);
        // Between the first look and the first watch, something may have changed.
        (self, watching) = look(self, watching).await?;
        loop {
            let mut askers: Vec<oneshot::Sender<()>> = Vec::new();
            tokio::select! {
                () = stop.closing() => return Ok(()),
                () = sleep(self.config.poll_interval()) => {}
                Some(()) = events.recv() => settle(&mut events).await,
                Some(asker) = self.rescans.recv() => askers.push(asker),
            }
            // Whoever asks from here on is answered by the next look.
            while let Ok(asker) = self.rescans.try_recv() {
                askers.push(asker);
            }
            (self, watching) = look(self, watching).await?;
            for asker in askers {
                let _ = asker.send(());
            }
        }
    }

    /// One look at the folder. Blocking.
    fn look(&mut self) {
        let table = Table::scan(&self.config.root, self.config.limits, &self.table);
        if !table.serves_as(&self.table) {
            let previous = self.folder.current.load_full();
            let snapshot = Snapshot::of(&table, Some(&previous), &self.folder.archives);
            let (files, bundles, faulty) = snapshot.counts();
            tracing::info!(revision = snapshot.revision, files, bundles, faulty, "the agents folder has changed");
            self.folder.publish(Arc::new(snapshot));
        }
        self.table = table;
    }
}

/// Sees to it that the folder is watched, then looks: whatever changes after the look is an event.
async fn look(mut scanner: Scanner, mut watching: Watching) -> Result<(Scanner, Watching), JoinError> {
    let look = move || {
        watching.follow(&scanner.config.root);
        scanner.look();
        (scanner, watching)
    };
    tokio::task::spawn_blocking(look).await
}

/// Waits until events have been quiet for a moment.
async fn settle(events: &mut mpsc::Receiver<()>) {
    let last = Instant::now() + LONGEST_BURST;
    while let Ok(Some(())) = timeout_at(last.min(Instant::now() + QUIET), events.recv()).await {}
}

/// The file system's events for one incarnation of the folder.
struct Watching {
    event: mpsc::Sender<()>,
    watcher: Option<RecommendedWatcher>,
    /// Device and inode of the watched folder: a folder made anew under the old name is another one.
    root: Option<(u64, u64)>,
    gave_up: bool,
}

impl Watching {
    fn new(event: mpsc::Sender<()>, mode: WatchMode) -> Self {
        Self { event, watcher: None, root: None, gave_up: mode == WatchMode::Poll }
    }

    /// Watches this folder, if it is not the one already watched. Blocking.
    fn follow(&mut self, root: &Path) {
        let now = identity(root).ok();
        if self.gave_up || now == self.root {
            return;
        }
        self.watcher = None;
        self.root = now;
        if now.is_none() {
            return;
        }
        match self.watch(root) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => {
                tracing::warn!(folder = %root.display(), %error, "no file system events; changes are found by looking");
                self.gave_up = true;
            }
        }
    }

    fn watch(&self, root: &Path) -> notify::Result<RecommendedWatcher> {
        let event = self.event.clone();
        let mut watcher = notify::recommended_watcher(move |seen: notify::Result<notify::Event>| {
            // A full channel already says that there is something to look at; an error may hide anything.
            if seen.map_or(true, |seen| changes_something(seen.kind)) {
                let _ = event.try_send(());
            }
        })?;
        watcher.watch(root, RecursiveMode::Recursive)?;
        Ok(watcher)
    }
}

/// Reading is an event too, and our own would keep us busy for ever.
fn changes_something(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

fn identity(folder: &Path) -> io::Result<(u64, u64)> {
    let metadata = folder.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}
