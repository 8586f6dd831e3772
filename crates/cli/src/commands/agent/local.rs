//! A pulled bundle's folder: what came from the server, and what is the user's own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use remora_agents_server::bundle::sha256;
use remora_types::AgentName;
use remora_types::agents::{BundleFile, Digest};
use serde::{Deserialize, Serialize};

/// What was pulled last, kept in the bundle's folder. A dotfile, so no server ever serves it.
pub(super) const MANIFEST: &str = ".remora-manifest.json";

/// The content of [`MANIFEST`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PulledManifest {
    pub(super) name: AgentName,
    /// Where it came from.
    pub(super) server: String,
    pub(super) version: Option<String>,
    pub(super) digest: Digest,
    pub(super) pulled_at: Timestamp,
    /// As the server had them, not as they may be now.
    pub(super) files: Vec<BundleFile>,
}

/// A file that stays through a pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Kept {
    pub(super) path: String,
    pub(super) reason: KeptBecause,
    /// Whether the server has another version of it, which was not taken.
    pub(super) hides_server_version: bool,
}

/// Why a file is the user's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeptBecause {
    /// No pull brought it.
    Added,
    /// It was changed since the last pull.
    Changed,
}

/// A bundle's folder as it is on disk.
#[derive(Debug, Default)]
pub(super) struct Local {
    pub(super) manifest: Option<PulledManifest>,
    /// Every file and link but the manifest, relative to the folder.
    entries: BTreeSet<PathBuf>,
}

impl Local {
    /// Reads the folder; a missing one is empty. A manifest that cannot be understood counts as none, so that every
    /// file is taken for the user's own.
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        let mut local = Self::default();
        if folder.symlink_metadata().is_err() {
            return Ok(local);
        }
        collect(folder, Path::new(""), &mut local.entries)?;
        if local.entries.remove(Path::new(MANIFEST)) {
            let text = fs::read(folder.join(MANIFEST))?;
            local.manifest = serde_json::from_slice(&text).ok();
        }
        Ok(local)
    }

    /// Whether this very version was pulled, and none of its files is gone.
    pub(super) fn has(&self, digest: Digest) -> bool {
        let complete = |m: &PulledManifest| m.files.iter().all(|f| self.entries.contains(Path::new(&f.path)));
        self.manifest.as_ref().is_some_and(|m| m.digest == digest && complete(m))
    }

    /// Which files stay when `new` files come: the user's own, and those the user changed.
    pub(super) fn kept(&self, folder: &Path, new: &[BundleFile]) -> io::Result<Vec<Kept>> {
        let pulled = self.manifest.iter().flat_map(|m| &m.files);
        let pulled: BTreeMap<&Path, &BundleFile> = pulled.map(|f| (Path::new(&f.path), f)).collect();
        let new: BTreeMap<&Path, &BundleFile> = new.iter().map(|f| (Path::new(&f.path), f)).collect();
        let mut kept = Vec::new();
        for entry in &self.entries {
            let path = folder.join(entry);
            let is_link = path.symlink_metadata()?.is_symlink();
            let content = if is_link { None } else { Some(sha256(&fs::read(&path)?)) };
            let same_as = |file: Option<&&BundleFile>| file.is_some_and(|f| Some(f.sha256) == content);
            let before = pulled.get(entry.as_path());
            if same_as(before) || same_as(new.get(entry.as_path())) {
                continue;
            }
            kept.push(Kept {
                path: entry.to_string_lossy().into_owned(),
                reason: if before.is_some() { KeptBecause::Changed } else { KeptBecause::Added },
                hides_server_version: new.contains_key(entry.as_path()),
            });
        }
        Ok(kept)
    }
}

/// Every file and link below a folder. Links are not followed: they are the user's own, and stay as they are.
fn collect(folder: &Path, prefix: &Path, entries: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder.join(prefix))? {
        let entry = entry?;
        let path = prefix.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(folder, &path, entries)?;
        } else if kind.is_file() || kind.is_symlink() {
            entries.insert(path);
        }
    }
    Ok(())
}

/// Writes one file below `folder`, with its folders, synced.
pub(super) fn write(folder: &Path, path: &str, bytes: &[u8], executable: bool) -> io::Result<()> {
    let path = make_room(folder, Path::new(path))?;
    let mut file = fs::File::create_new(&path)?;
    io::Write::write_all(&mut file, bytes)?;
    file.set_permissions(fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
    file.sync_all()
}

/// Copies a kept file or link from one folder to another, over what is there.
pub(super) fn copy(from: &Path, to: &Path, path: &str) -> io::Result<()> {
    let (source, target) = (from.join(path), make_room(to, Path::new(path))?);
    let _ = fs::remove_file(&target);
    if source.symlink_metadata()?.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(&source)?, &target)
    } else {
        fs::copy(&source, &target)?;
        fs::File::open(&target)?.sync_all()
    }
}

/// Makes the folders that `path` needs. A kept file where the server now has a folder, or the other way round, is an
/// error.
fn make_room(folder: &Path, path: &Path) -> io::Result<PathBuf> {
    let full = folder.join(path);
    if let Some(parent) = full.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(full)
}
