//! `remora agent pull`: a bundle from a server into a folder.
//!
//! Downloaded whole, checked file by file, put together beside its place, then swapped in with one rename: a reader of
//! the folder sees the old bundle or the new one, and a failure at any point leaves the old one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use remora_api_client::Client;
use remora_api_client::agents::Archive;
use remora_types::AgentName;
use remora_types::agents::{Bundle, Digest, Finding};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use serde::Serialize;

use super::local::{self, Kept, KeptBecause, Local, MANIFEST, PulledManifest};
use super::show::findings;
use super::unpack::{MAX_BYTES, Unfit, check, unpack};
use crate::failure::{Exit, Failure};
use crate::output;

/// How often a bundle that changes while it is fetched is asked for anew.
const ATTEMPTS: usize = 4;

/// What a pull did.
#[derive(Debug, Serialize)]
pub(super) struct Pulled {
    pub(super) name: AgentName,
    pub(super) status: PullStatus,
    /// The bundle's folder.
    pub(super) path: PathBuf,
    pub(super) version: Option<String>,
    pub(super) digest: Digest,
    /// Files of the bundle.
    pub(super) files: usize,
    /// Local files that stayed.
    pub(super) kept: Vec<Kept>,
    /// What the server says is wrong with the bundle.
    pub(super) faults: Vec<Finding>,
}

/// Whether a pull changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PullStatus {
    /// There was no such folder before.
    Created,
    /// The folder has been replaced.
    Updated,
    /// This version was there already.
    Unchanged,
}

pub(super) async fn pull(client: &Client, name: &AgentName, dir: &Path) -> anyhow::Result<Pulled> {
    let (bundle, archive) = fetch(client, name, dir).await?;
    let (server, dir) = (client.server(), dir.to_owned());
    tokio::task::spawn_blocking(move || install(bundle, archive.as_deref(), server, &dir)).await?
}

pub(super) fn show(pulled: &Pulled) {
    let version = pulled.version.as_ref().map(|v| format!(" {v}")).unwrap_or_default();
    let done = match pulled.status {
        PullStatus::Created => "pulled",
        PullStatus::Updated => "updated",
        PullStatus::Unchanged => "already up to date",
    };
    output::line(&format!("{}{version}: {done}, {} files in {}", pulled.name, pulled.files, pulled.path.display()));
    for kept in &pulled.kept {
        let why = match kept.reason {
            KeptBecause::Added => "your own",
            KeptBecause::Changed => "changed by you",
        };
        let hides = if kept.hides_server_version { "; the server's version was not taken" } else { "" };
        output::note(&format!("kept: {} ({why}{hides})", kept.path));
    }
    findings(&pulled.faults, &[]);
}

/// The bundle and its archive, of one version; no archive where that version is there already.
async fn fetch(client: &Client, name: &AgentName, dir: &Path) -> anyhow::Result<(Bundle, Option<Vec<u8>>)> {
    for _ in 0..ATTEMPTS {
        let bundle = client.bundle(name).await?.bundle;
        check(&bundle, name).map_err(|unfit| unverified(unfit, &client.server()))?;
        let target = dir.join(name.as_str());
        if Local::read(&target).with_context(|| format!("cannot read {}", target.display()))?.has(bundle.digest) {
            return Ok((bundle, None));
        }
        // Gzip never makes much more of incompressible data than it was.
        let limit = usize::try_from(MAX_BYTES + MAX_BYTES / 8)?;
        match client.bundle_archive(name, &bundle.digest, limit).await? {
            Archive::Found(bytes) => return Ok((bundle, Some(bytes.to_vec()))),
            Archive::Changed => {}
        }
    }
    let failure = Failure::new(Exit::Failure, format!("{name} changes faster than it can be fetched"));
    Err(failure.hint("try again when nobody is editing it").into())
}

fn unverified(unfit: Unfit, server: &str) -> anyhow::Error {
    let message = format!("what {server} sent cannot be trusted; nothing was changed");
    anyhow::Error::new(unfit).context(Failure::new(Exit::Verification, message))
}

/// Puts the bundle in its place. Blocking.
fn install(bundle: Bundle, archive: Option<&[u8]>, server: String, dir: &Path) -> anyhow::Result<Pulled> {
    let files = archive.map(|archive| unpack(archive, &bundle)).transpose();
    let files = files.map_err(|unfit| unverified(unfit, &server))?;
    let target = dir.join(bundle.name.as_str());
    let (status, kept) = place(&bundle, files, server, dir)
        .with_context(|| format!("cannot put the bundle into {}", target.display()))?;
    Ok(Pulled {
        status,
        path: target,
        version: bundle.version,
        digest: bundle.digest,
        files: bundle.files.len(),
        kept,
        faults: bundle.faults,
        name: bundle.name,
    })
}

fn place(
    bundle: &Bundle,
    files: Option<BTreeMap<String, Vec<u8>>>,
    server: String,
    dir: &Path,
) -> anyhow::Result<(PullStatus, Vec<Kept>)> {
    std::fs::create_dir_all(dir)?;
    // One pull at a time per folder; the lock goes with the descriptor.
    let lock = File::open(dir)?;
    flock(&lock, FlockOperation::LockExclusive)?;

    let target = dir.join(bundle.name.as_str());
    let existing = target.symlink_metadata().ok();
    if existing.as_ref().is_some_and(|found| !found.is_dir()) {
        let failure = Failure::new(Exit::Failure, format!("{} is a link or a file, not a folder", target.display()));
        return Err(failure.hint("move it away, or choose another --dir").into());
    }
    let local = Local::read(&target)?;
    let kept = local.kept(&target, &bundle.files)?;
    let Some(files) = files.filter(|_| !local.has(bundle.digest)) else { return Ok((PullStatus::Unchanged, kept)) };

    let staging = tempfile::Builder::new().prefix(&format!(".{}-", bundle.name)).tempdir_in(dir)?;
    let staged = staging.path().join(bundle.name.as_str());
    std::fs::create_dir(&staged)?;
    let hidden = |path: &str| kept.iter().any(|k| k.path == path);
    for (path, bytes) in files.iter().filter(|(path, _)| !hidden(path)) {
        let executable = bundle.files.iter().any(|f| f.path == *path && f.executable);
        local::write(&staged, path, bytes, executable).with_context(|| format!("cannot write {path}"))?;
    }
    for kept in &kept {
        local::copy(&target, &staged, &kept.path).with_context(|| format!("cannot keep {}", kept.path))?;
    }
    let manifest = PulledManifest {
        name: bundle.name.clone(),
        server,
        version: bundle.version.clone(),
        digest: bundle.digest,
        pulled_at: Timestamp::now(),
        files: bundle.files.clone(),
    };
    local::write(&staged, MANIFEST, &serde_json::to_vec_pretty(&manifest)?, false)?;
    swap(&staged, &target, existing.is_some())?;
    lock.sync_all()?;
    Ok((if existing.is_some() { PullStatus::Updated } else { PullStatus::Created }, kept))
}

/// Puts `staged` in the place of `target`; what was there lies at `staged` afterwards.
fn swap(staged: &Path, target: &Path, exists: bool) -> io::Result<()> {
    if !exists {
        return std::fs::rename(staged, target);
    }
    match renameat_with(CWD, staged, CWD, target, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        // A file system that cannot exchange: two renames, the first undone where the second fails.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            let old = staged.with_extension("old");
            std::fs::rename(target, &old)?;
            std::fs::rename(staged, target).inspect_err(|_| {
                let _ = std::fs::rename(&old, target);
            })
        }
        Err(error) => Err(error.into()),
    }
}
