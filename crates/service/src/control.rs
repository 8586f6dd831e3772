//! The control socket: a Unix socket, mode 0600, through which the process's own user asks how it is and stops it.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use remora_types::status::ProcessStatus;
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};

use crate::error::ApiError;
use crate::lifecycle::Stop;
use crate::listener::bind_unix;

/// Folders that control sockets live in: the first that can be written is used, all are searched.
///
/// `/var/tmp` first, since it is not emptied while a server runs.
pub const SOCKET_FOLDERS: [&str; 2] = ["/var/tmp", "/tmp"];

/// A control socket that could not be made.
#[derive(Debug, Error)]
pub enum ControlError {
    /// A process answers there.
    #[error("{} is answered by a running process; stop it with `remora ctl shutdown`", .0.display())]
    Live(PathBuf),
    /// The file belongs to another user, or cannot be made.
    #[error("cannot make the control socket {}", path.display())]
    Io {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A bound control socket; its file goes when it is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: OwnedPath,
}

/// A socket file that is removed when its owner is gone, unless another process has replaced it.
#[derive(Debug)]
pub(crate) struct OwnedPath {
    path: PathBuf,
    inode: Option<u64>,
}

impl Drop for OwnedPath {
    fn drop(&mut self) {
        if self.inode.is_some() && inode(&self.path) == self.inode {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> Option<u64> {
    std::fs::symlink_metadata(path).ok().map(|m| m.ino())
}

impl ControlSocket {
    /// Binds `remora-<process>-<port>.sock` in the first of [`SOCKET_FOLDERS`] that can be written.
    pub async fn bind(process: &str, port: u16) -> Result<Self, ControlError> {
        let name = format!("remora-{process}-{port}.sock");
        let mut failed = None;
        for folder in SOCKET_FOLDERS {
            match Self::bind_at(&Path::new(folder).join(&name)).await {
                Err(ControlError::Io { path, source }) => failed = Some(ControlError::Io { path, source }),
                decided => return decided,
            }
        }
        Err(failed.expect("there is at least one folder"))
    }

    /// Binds this path: a stale socket is replaced, a live one is an error, any other file is left alone.
    pub async fn bind_at(path: &Path) -> Result<Self, ControlError> {
        if UnixStream::connect(path).await.is_ok() {
            return Err(ControlError::Live(path.to_owned()));
        }
        let io = |source| ControlError::Io { path: path.to_owned(), source };
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => return Err(io(io::ErrorKind::AlreadyExists.into())),
            _ => {}
        }
        let listener = bind_unix(path, 0o600).map_err(io)?;
        Ok(Self { listener, path: OwnedPath { path: path.to_owned(), inode: inode(path) } })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path.path
    }

    pub(crate) fn into_parts(self) -> (UnixListener, OwnedPath) {
        (self.listener, self.path)
    }
}

/// Tells how the whole process is.
pub(crate) type Report = Arc<dyn Fn() -> ProcessStatus + Send + Sync>;

#[derive(Clone)]
struct ControlState {
    report: Report,
    stop: Stop,
}

/// `GET /status` and `POST /shutdown`. No identity: the socket's mode is the check.
pub(crate) fn router(report: Report, stop: Stop) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/shutdown", post(shutdown))
        .fallback(|| async {
            ApiError::not_found("no_such_route", "a control socket has GET /status and POST /shutdown")
        })
        .with_state(ControlState { report, stop })
}

async fn status(State(state): State<ControlState>) -> Json<ProcessStatus> {
    Json((state.report)())
}

/// Answers before the stop: the caller learns that it was heard.
async fn shutdown(State(state): State<ControlState>) -> StatusCode {
    tracing::info!("asked to stop through the control socket");
    state.stop.request();
    StatusCode::ACCEPTED
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_a_live_one_is_an_error_and_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("remora-x-1.sock");
        let live = ControlSocket::bind_at(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(ControlSocket::bind_at(&path).await, Err(ControlError::Live(_))));

        let (listener, owned) = live.into_parts();
        drop(listener);
        let next = ControlSocket::bind_at(&path).await.unwrap();
        drop(owned);
        assert!(path.exists(), "the old owner must not remove the new owner's socket");
        drop(next);
        assert!(!path.exists());

        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(ControlSocket::bind_at(&path).await, Err(ControlError::Io { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }
}
