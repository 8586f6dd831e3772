//! Unpacking an archive from a server that is not trusted: bounded, plain files only, and exactly those that were
//! announced.

use std::collections::BTreeMap;
use std::io::{self, Read};

use flate2::read::GzDecoder;
use remora_agents_server::bundle::{digest, inside, sha256};
use remora_types::AgentName;
use remora_types::agents::{Bundle, BundleFile};
use thiserror::Error;

/// Most files of a bundle.
const MAX_FILES: usize = 5000;

/// Most bytes of all its files together.
pub(super) const MAX_BYTES: u64 = 256 << 20;

/// Why what a server sent is not taken.
#[derive(Debug, Error)]
pub(super) enum Unfit {
    #[error("the bundle is larger than the {MAX_FILES} files or {MAX_BYTES} bytes that are taken")]
    TooLarge,
    #[error("the bundle is another one: {0}")]
    WrongName(AgentName),
    #[error("the bundle's digest is not that of its files")]
    WrongDigest,
    #[error("the bundle has a file at {0:?}, which is no plain path inside of it")]
    BadPath(String),
    #[error("the archive holds {0:?}, which is no plain file")]
    NotAFile(String),
    #[error("the archive holds {0:?}, which the bundle does not list, or lists only once")]
    Unannounced(String),
    #[error("{0} is not what the bundle says: its SHA-256 differs")]
    WrongContent(String),
    #[error("the archive lacks {0}")]
    Missing(String),
    #[error("the archive cannot be read")]
    Broken(#[source] io::Error),
}

/// Checks that a bundle is the one that was asked for, that it is not too large, and that what it says fits together.
pub(super) fn check(bundle: &Bundle, name: &AgentName) -> Result<(), Unfit> {
    if bundle.name != *name {
        return Err(Unfit::WrongName(bundle.name.clone()));
    }
    let mut size: u64 = 0;
    for file in &bundle.files {
        if inside(&file.path).ok().as_deref() != Some(&file.path) {
            return Err(Unfit::BadPath(file.path.clone()));
        }
        size = size.saturating_add(file.size_bytes);
    }
    if bundle.files.len() > MAX_FILES || size > MAX_BYTES {
        return Err(Unfit::TooLarge);
    }
    if digest(&bundle.files) == bundle.digest { Ok(()) } else { Err(Unfit::WrongDigest) }
}

/// The files of an archive, each checked against the list of a bundle that [`check`] has passed; nothing less, nothing
/// more.
pub(super) fn unpack(archive: &[u8], bundle: &Bundle) -> Result<BTreeMap<String, Vec<u8>>, Unfit> {
    let mut announced: BTreeMap<&str, &BundleFile> = bundle.files.iter().map(|f| (f.path.as_str(), f)).collect();
    // Headers and padding take at most 2 KiB a file; with them, a bomb ends soon after its announced size.
    let announced_bytes: u64 = bundle.files.iter().map(|f| f.size_bytes).sum();
    let limit = announced_bytes + 2048 * (bundle.files.len() as u64 + 2);
    let mut tar = tar::Archive::new(GzDecoder::new(archive).take(limit));
    let mut files = BTreeMap::new();
    for entry in tar.entries().map_err(Unfit::Broken)? {
        let mut entry = entry.map_err(Unfit::Broken)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(Unfit::NotAFile(path));
        }
        let Some(file) = announced.remove(path.as_str()) else { return Err(Unfit::Unannounced(path)) };
        let mut bytes = Vec::new();
        (&mut entry).take(file.size_bytes + 1).read_to_end(&mut bytes).map_err(Unfit::Broken)?;
        if sha256(&bytes) != file.sha256 {
            return Err(Unfit::WrongContent(path));
        }
        files.insert(path, bytes);
    }
    match announced.into_keys().next() {
        Some(path) => Err(Unfit::Missing(path.to_owned())),
        None => Ok(files),
    }
}
