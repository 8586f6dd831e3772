//! Files too large for memory: read from disk for every request, each block checked before it is sent.
//!
//! The `ETag` was computed when the file was scanned, and a file can be rewritten while it is being sent. So the scan
//! keeps a hash of every block; a block that has changed since cuts the transfer, and no reader ends up with bytes that
//! do not belong to their `ETag`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use remora_types::agents::Sha256;

use crate::bundle::sha256;

/// Bytes per block.
pub(super) const BLOCK: usize = 256 << 10;

/// A file on disk as it was when it was scanned; cheap to clone.
#[derive(Debug, Clone)]
pub struct OnDisk {
    root: Arc<Path>,
    location: Arc<Path>,
    length: u64,
    blocks: Arc<[Sha256]>,
}

impl OnDisk {
    pub(super) fn new(root: &Path, location: &Path, length: u64, blocks: Vec<Sha256>) -> Self {
        Self { root: root.into(), location: location.into(), length, blocks: blocks.into() }
    }

    /// Its length when it was scanned, in bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether it was empty when it was scanned.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The bytes `start..end`, block by block. Fails at once where the first of them have changed since the scan, and
    /// in mid-stream where later ones have.
    pub async fn read(&self, start: u64, end: u64) -> io::Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>> {
        let reader = Reader { file: None, on_disk: self.clone(), at: start, end };
        let (reader, first) = if start < end {
            let (reader, first) = reader.next().await;
            (reader, Some(first?))
        } else {
            (reader, None)
        };
        let rest = futures::stream::unfold(Some(reader), |reader| async move {
            let reader = reader.filter(|r| r.at < r.end)?;
            let (reader, block) = reader.next().await;
            Some(if block.is_ok() { (block, Some(reader)) } else { (block, None) })
        });
        Ok(futures::StreamExt::chain(futures::stream::iter(first.map(Ok)), rest))
    }

    /// The whole file, for an archive. Blocking.
    pub(super) fn read_all(&self) -> io::Result<Vec<u8>> {
        let file = super::store::open(&self.root, &self.location)?;
        let mut whole = Vec::with_capacity(usize::try_from(self.length).unwrap_or_default());
        for index in 0..self.blocks.len() {
            whole.extend_from_slice(&self.block(&file, index)?);
        }
        Ok(whole)
    }

    /// One block, checked. Blocking.
    fn block(&self, file: &File, index: usize) -> io::Result<Vec<u8>> {
        let start = index as u64 * BLOCK as u64;
        let length = (self.length - start).min(BLOCK as u64);
        let mut bytes = vec![0; usize::try_from(length).expect("at most a block")];
        file.read_exact_at(&mut bytes, start)?;
        if sha256(&bytes) == self.blocks[index] {
            Ok(bytes)
        } else {
            Err(io::Error::other("the file has changed since its ETag was computed"))
        }
    }
}

struct Reader {
    file: Option<Arc<File>>,
    on_disk: OnDisk,
    at: u64,
    end: u64,
}

impl Reader {
    /// The rest of the block at `at`, read on the blocking pool.
    async fn next(mut self) -> (Self, io::Result<Bytes>) {
        let (on_disk, file, at) = (self.on_disk.clone(), self.file.take(), self.at);
        let work = tokio::task::spawn_blocking(move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(super::store::open(&on_disk.root, &on_disk.location)?),
            };
            let index = usize::try_from(at / BLOCK as u64).expect("blocks are counted in memory");
            Ok::<_, io::Error>((file.clone(), on_disk.block(&file, index)?))
        });
        let block = match work.await.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Err(error) => Err(error),
            Ok((file, block)) => {
                self.file = Some(file);
                let from = usize::try_from(self.at % BLOCK as u64).expect("less than a block");
                let wanted = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
                let to = block.len().min(from.saturating_add(wanted));
                let bytes = Bytes::from(block).slice(from..to);
                self.at += bytes.len() as u64;
                Ok(bytes)
            }
        };
        (self, block)
    }
}
