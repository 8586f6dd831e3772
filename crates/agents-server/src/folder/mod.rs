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
use tokio::sync::{Semaphore, mpsc, oneshot, watch as channel};

use crate::bundle::{self, Content, Contents, Reading};
use crate::config::{Config, Limits};

use archive::Archives;
pub use archive::{ArchiveError, Packing, TooLarge};
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
    /// Permits to make archives, which costs memory and time.
    packers: Semaphore,
}

/// Archives made at the same time.
const PACKERS: usize = 2;

/// How often an archive is tried whose files change after they were listed.
const ATTEMPTS: usize = 3;

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
        let packers = Semaphore::new(PACKERS);
        let folder = Arc::new(Self { current: ArcSwap::new(snapshot), changes, rescans: ask, archives, packers });
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

    /// The archive of what `find` picks from the table, made if it is not at hand; `None` where it picks nothing.
    pub async fn archive(
        self: &Arc<Self>,
        find: impl Fn(&Snapshot) -> Option<Arc<Packing>>,
    ) -> Result<Option<Arc<Resource>>, ArchiveError> {
        for attempt in 1.. {
            let Some(packing) = find(&self.current()) else { return Ok(None) };
            if let Some(kept) = self.archives.kept(&packing.tag) {
                return Ok(Some(kept));
            }
            let _permit = self.packers.acquire().await.expect("the semaphore is never closed");
            let folder = self.clone();
            let made = tokio::task::spawn_blocking(move || folder.archives.get(&packing)).await;
            match made.unwrap_or_else(|panic| Err(ArchiveError::Unreadable(std::io::Error::other(panic)))) {
                Err(ArchiveError::Unreadable(_)) if attempt < ATTEMPTS => self.rescan().await,
                decided => return decided.map(Some),
            }
        }
        unreachable!("the last attempt returns")
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
    // `.` has no name of its own; a link's own name is the one that counts.
    let named = if folder.file_name().is_some() { folder.to_owned() } else { folder.canonicalize()? };
    let name = named.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
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
