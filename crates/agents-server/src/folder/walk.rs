//! Finding the files that may be served.

use std::fs::{Metadata, ReadDir};
use std::io;
use std::path::{Path, PathBuf};

use remora_types::agents::Finding;

use super::store::Identity;
use crate::config::Limits;

/// A file that may be served, not yet read.
#[derive(Debug)]
pub(super) struct Found {
    /// Relative to the root, with `/` between segments; no segment is empty or begins with a dot.
    pub(super) path: String,
    /// Where its bytes are: relative to the root, free of links.
    pub(super) location: PathBuf,
    pub(super) identity: Identity,
}

/// Everything below a root.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// The root without links on the way; `None` where there is none.
    pub(super) root: Option<PathBuf>,
    /// In no particular order.
    pub(super) files: Vec<Found>,
    pub(super) skipped: Vec<Finding>,
}

/// Most skipped entries that are told about.
const MAX_SKIPPED: usize = 50;

/// Walks the folder. What cannot be read is skipped and told; a missing root is an empty folder.
pub(super) fn walk(root: &Path, limits: Limits) -> Walk {
    let Ok(root) = root.canonicalize() else { return Walk::default() };
    let mut walker = Walker { limits, seen: 0, walk: Walk::default(), chain: vec![root.clone()], root };
    let root = walker.root.clone();
    walker.directory(&root, "");
    walker.walk.root = Some(root);
    walker.walk
}

struct Walker {
    root: PathBuf,
    limits: Limits,
    seen: usize,
    walk: Walk,
    /// The directories we are in, free of links: a link to one of them would never end.
    chain: Vec<PathBuf>,
}

impl Walker {
    fn directory(&mut self, location: &Path, prefix: &str) {
        let names = match std::fs::read_dir(location).and_then(names) {
            Ok(names) => names,
            Err(error) => return self.skip("unreadable", prefix, &format!("the directory cannot be read: {error}")),
        };
        for name in names {
            let Some(name) = servable(&name) else {
                let lossy = name.to_string_lossy();
                if !lossy.starts_with('.') {
                    self.skip("unservable_name", &format!("{prefix}{lossy}"), "its name cannot stand in a URL's path");
                }
                continue;
            };
            self.seen += 1;
            if self.seen > self.limits.entries {
                if self.seen == self.limits.entries + 1 {
                    self.skip("too_many_entries", prefix, "from here on, more entries than limits.entries allows");
                }
                return;
            }
            self.entry(&location.join(name), format!("{prefix}{name}"));
        }
    }

    fn entry(&mut self, location: &Path, path: String) {
        let (location, metadata) = match self.resolve(location) {
            Ok(Some(resolved)) => resolved,
            Ok(None) => return self.skip("link_outside", &path, "a link that leads outside of the folder"),
            // Gone since the directory was read, or a dangling link.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.skip("unreadable", &path, &format!("it cannot be read: {error}")),
        };
        if metadata.is_dir() {
            if self.chain.len() > self.limits.depth || self.chain.contains(&location) {
                return self.skip("too_deep", &path, "deeper than limits.depth allows, or a link in a circle");
            }
            self.chain.push(location.clone());
            self.directory(&location, &format!("{path}/"));
            self.chain.pop();
        } else if metadata.is_file() {
            let relative = location.strip_prefix(&self.root).expect("resolved below the root").to_owned();
            self.walk.files.push(Found { path, location: relative, identity: Identity::of(&metadata) });
        }
        // Sockets, pipes and devices do not exist.
    }

    /// Where an entry really is, if that is inside the root and no dotfile; links are followed.
    fn resolve(&self, location: &Path) -> io::Result<Option<(PathBuf, Metadata)>> {
        let metadata = location.symlink_metadata()?;
        if !metadata.is_symlink() {
            return Ok(Some((location.to_owned(), metadata)));
        }
        let target = location.canonicalize()?;
        let Ok(inside) = target.strip_prefix(&self.root) else { return Ok(None) };
        if inside.components().any(|c| servable(c.as_os_str()).is_none()) {
            return Ok(None);
        }
        let metadata = target.symlink_metadata()?;
        Ok(Some((target, metadata)))
    }

    fn skip(&mut self, code: &'static str, path: &str, why: &str) {
        if self.walk.skipped.len() < MAX_SKIPPED {
            let path = path.trim_end_matches('/').to_owned();
            let message = format!("{} is not served: {why}", if path.is_empty() { "something" } else { &path });
            self.walk.skipped.push(Finding { code: code.into(), message, path: Some(path), line: None });
        }
    }
}

/// Entries by name, so that a limit cuts at the same place every time.
fn names(entries: ReadDir) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// A name that can be one segment of a URL's path: text, no dotfile, no backslash, no control characters.
fn servable(name: &std::ffi::OsStr) -> Option<&str> {
    name.to_str().filter(|n| !n.starts_with('.') && !n.contains('\\') && !n.chars().any(char::is_control))
}
