//! The agents folder: found, read and hashed by one task, served from an immutable table.
//!
//! Rejected: opening the file for every request (`tower-http`'s `ServeDir`). It costs a trip to the blocking pool per
//! open and read, a quarter of the speed, and an `ETag` computed at another moment than the bytes are read.

mod archive;
mod disk;
mod media_type;
mod resource;
mod snapshot;
mod store;
mod table;
mod walk;
mod watch;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch as channel};

use crate::bundle::{self, Content, Contents, Reading};
use crate::config::{Config, Limits};

pub use archive::{ArchiveError, Archives, TooLarge};
pub use disk::OnDisk;
pub use resource::{Body, Resource};
pub use snapshot::{BundleEntry, Snapshot};

use table::Table;

/// The folder as it is now.
#[derive(Debug)]
pub struct Folder {
    current: ArcSwap<Snapshot>,
    changes: channel::Sender<Arc<Snapshot>>,
    rescans: mpsc::Sender<oneshot::Sender<()>>,
    archives: Archives,
}

/// The other half of a [`Folder`]: what its one writing task owns.
#[derive(Debug)]
pub struct Scanner {
    folder: Arc<Folder>,
    config: Config,
    table: Table,
    rescans: mpsc::Receiver<oneshot::Sender<()>>,
}

impl Folder {
    /// Reads the folder once; the scanner's task keeps it current. Blocking.
    #[must_use]
    pub fn open(config: Config) -> (Arc<Self>, Scanner) {
        let table = Table::scan(&config.root, config.limits, &Table::default());
        let archives = Archives::new(config.limits);
        let snapshot = Arc::new(Snapshot::of(&table, None, &archives));
        let (changes, _) = channel::channel(snapshot.clone());
        let (ask, rescans) = mpsc::channel(64);
        let folder = Arc::new(Self { current: ArcSwap::new(snapshot), changes, rescans: ask, archives });
        let scanner = Scanner { folder: folder.clone(), config, table, rescans };
        (folder, scanner)
    }

    /// The table, for the time of one look-up.
    pub fn current(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// Every new table from now on, beginning with the present one. Tables that nobody has read are passed over.
    pub fn changes(&self) -> channel::Receiver<Arc<Snapshot>> {
        self.changes.subscribe()
    }

    /// Archives, made on demand and kept for a while.
    pub fn archives(&self) -> &Archives {
        &self.archives
    }

    /// Completes when the folder has been read anew; at once where the scanner is gone.
    pub async fn rescan(&self) {
        let (done, seen) = oneshot::channel();
        if self.rescans.send(done).await.is_ok() {
            let _ = seen.await;
        }
    }

    fn publish(&self, snapshot: Arc<Snapshot>) {
        self.current.store(snapshot.clone());
        self.changes.send_replace(snapshot);
    }
}

/// Reads the one bundle in a folder on disk, with the very code that serves it. Blocking.
///
/// Fails only if the folder cannot be read at all.
pub fn read_bundle(folder: &std::path::Path, limits: Limits) -> std::io::Result<Reading> {
    let name = folder.canonicalize()?.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    std::fs::read_dir(folder)?;
    let table = Table::scan(folder, limits, &Table::default());
    let mut reading = bundle::read(&name, &table.contents(""));
    reading.warnings.extend(table.skipped);
    if let Err(invalid) = name.parse::<remora_types::AgentName>() {
        reading.faults.push(snapshot::bad_name(&name, &invalid));
    }
    Ok(reading)
}

impl Table {
    /// The files below a folder of the table (`""` or `NAME/`), as a reader of bundles sees them.
    fn contents(&self, prefix: &str) -> Contents<'_> {
        let below = self.below(prefix);
        below
            .map(|(path, row)| {
                let bytes = row.file.held().map(AsRef::as_ref);
                (&path[prefix.len()..], Content { bytes, executable: row.file.executable() })
            })
            .collect()
    }
}
