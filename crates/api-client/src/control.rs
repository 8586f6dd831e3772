//! Control sockets: finding the running processes of this user, asking how they are, stopping them.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use remora_types::status::ProcessStatus;
use reqwest::Method;

use crate::{Client, ClientError};

/// Client of one process's control socket.
#[derive(Debug, Clone)]
pub struct Control {
    path: PathBuf,
    client: Client,
}

impl Control {
    /// The process behind this socket.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), client: Client::unix(path) }
    }

    /// Every control socket in `folders` that belongs to this user; whether somebody answers is not asked.
    ///
    /// Others' sockets are passed over: in a folder that everybody can write, a stranger's socket could tell anything.
    pub fn find(folders: &[&str]) -> Vec<Self> {
        let me = rustix::process::geteuid().as_raw();
        let mut found: Vec<PathBuf> = folders
            .iter()
            .filter_map(|folder| std::fs::read_dir(folder).ok())
            .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
            .filter(|path| is_control_socket(path, me))
            .collect();
        found.sort();
        found.iter().map(|path| Self::at(path)).collect()
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the process and its services are.
    pub async fn status(&self) -> Result<ProcessStatus, ClientError> {
        self.client.get("/status").await
    }

    /// Asks the process to stop; returns when it has heard, not when it has stopped.
    pub async fn shutdown(&self) -> Result<(), ClientError> {
        self.client.send(self.client.request(Method::POST, "/shutdown")).await.map(drop)
    }
}

fn is_control_socket(path: &Path, owner: u32) -> bool {
    let named = path.file_name().and_then(|n| n.to_str());
    let named = named.and_then(|n| n.strip_prefix("remora-")).and_then(|n| n.strip_suffix(".sock")).is_some();
    named && path.symlink_metadata().is_ok_and(|m| m.file_type().is_socket() && m.uid() == owner)
}
