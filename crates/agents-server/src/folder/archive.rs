//! Deterministic archives: the same files give the same bytes, on every machine.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use jiff::Timestamp;
use thiserror::Error;

use super::resource::{Body, Resource};
use super::store::{Stored, StoredFile};
use crate::config::Limits;

/// Memory for archives that are kept, in bytes.
const KEPT_BYTES: usize = 64 << 20;

/// Archives made of late; asked for by the tag of what is in them.
#[derive(Debug)]
pub(super) struct Archives {
    largest: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: usize,
    /// Oldest first.
    entries: VecDeque<(String, Arc<Resource>, usize)>,
}

/// An archive that is not made.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The files are too many bytes.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// A file cannot be read as it was listed: most likely it has changed since.
    #[error("a file cannot be read as it was listed")]
    Unreadable(#[source] io::Error),
}

/// The files of a bundle are too many bytes for an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("its files are {size} bytes, more than the {limit} that an archive may hold")]
pub struct TooLarge {
    /// Bytes of its files.
    pub size: u64,
    /// Most bytes, `limits.archive_bytes`.
    pub limit: u64,
}

/// What goes into an archive: its files by path, in byte order.
#[derive(Debug)]
pub struct Packing {
    /// Stands for the content: equal tags, equal bytes.
    pub(super) tag: String,
    pub(super) files: Vec<(String, Arc<StoredFile>)>,
    pub(super) changed_at: Timestamp,
}

impl Archives {
    pub(super) fn new(limits: Limits) -> Self {
        Self { largest: limits.archive_bytes, kept: Mutex::default() }
    }

    /// The archive, if it has been made and is still kept.
    pub(super) fn kept(&self, tag: &str) -> Option<Arc<Resource>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entries.iter().find(|(known, ..)| known == tag).map(|(_, resource, _)| resource.clone())
    }

    /// The archive, made if need be. Blocking.
    pub(super) fn get(&self, packing: &Packing) -> Result<Arc<Resource>, ArchiveError> {
        if let Some(kept) = self.kept(&packing.tag) {
            return Ok(kept);
        }
        let size = packing.files.iter().map(|(_, file)| file.size()).sum();
        if size > self.largest {
            return Err(TooLarge { size, limit: self.largest }.into());
        }
        let bytes = pack(&packing.files).map_err(ArchiveError::Unreadable)?;
        let length = bytes.len();
        let body = Body::Held(Bytes::from(bytes));
        let resource = Arc::new(Resource::new(packing.tag.clone(), "application/gzip", Some(packing.changed_at), body));
        self.keep(packing.tag.clone(), resource.clone(), length);
        Ok(resource)
    }

    fn keep(&self, tag: String, resource: Arc<Resource>, length: usize) {
        if length > KEPT_BYTES {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.entries.iter().any(|(known, ..)| *known == tag) {
            return;
        }
        kept.bytes += length;
        kept.entries.push_back((tag, resource, length));
        while kept.bytes > KEPT_BYTES {
            let Some((_, _, oldest)) = kept.entries.pop_front() else { break };
            kept.bytes -= oldest;
        }
    }
}

/// A `tar.gz` without names, times and owners in it; files at its root, modes 0644 and 0755.
fn pack(files: &[(String, Arc<StoredFile>)]) -> io::Result<Vec<u8>> {
    // 255: "unknown" operating system, whatever this one is.
    let gzip = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::default());
    let mut tar = tar::Builder::new(gzip);
    for (path, file) in files {
        let from_disk;
        let bytes: &[u8] = match &file.content {
            Stored::Held(bytes) => bytes,
            Stored::OnDisk(on_disk) => {
                from_disk = on_disk.read_all()?;
                &from_disk
            }
        };
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(bytes.len() as u64);
        header.set_mode(if file.executable() { 0o755 } else { 0o644 });
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, path, bytes)?;
    }
    let mut gzip = tar.into_inner()?;
    gzip.flush()?;
    gzip.finish()
}
