//! tailscaled's local API, as far as identity needs it: who is at an address, and who we are.
//!
//! Shapes and status codes are those of `ipn/localapi` and `client/tailscale/apitype` (Tailscale 1.80 and later). The
//! published crate leaves out `CapMap`, where grants arrive.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

/// tailscaled answers from memory; one that takes longer is in trouble.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Largest answer, in bytes. A status lists every peer of the tailnet.
const ANSWER_LIMIT: usize = 16 << 20;

/// Questions at a time; more wait, so that a flood of new connections does not become one of sockets.
const AT_A_TIME: usize = 32;

/// tailscaled could not be asked.
#[derive(Debug, Error)]
pub(crate) enum LocalApiError {
    #[error("cannot connect to tailscaled at {}", path.display())]
    Unreachable { path: PathBuf, source: io::Error },
    #[error("tailscaled broke off")]
    Broken(#[source] hyper::Error),
    #[error("tailscaled did not answer within {} s", TIMEOUT.as_secs())]
    Slow,
    #[error("tailscaled answered with {0}")]
    Refused(StatusCode),
    #[error("tailscaled's answer cannot be read")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// tailscaled, behind its socket. Each question has a connection of its own, so that a restart of tailscaled is nothing
/// special.
#[derive(Debug)]
pub(crate) struct LocalApi {
    socket: PathBuf,
    permits: Semaphore,
}

/// `GET /localapi/v0/whois`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct WhoIs {
    pub(crate) node: Node,
    pub(crate) user_profile: UserProfile,
    #[serde(default)]
    pub(crate) cap_map: Option<HashMap<String, Option<Vec<Value>>>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Node {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) tags: Option<Vec<String>>,
    /// The user who shared this node with our tailnet; 0 or absent for our own nodes.
    #[serde(default)]
    pub(crate) sharer: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UserProfile {
    #[serde(rename = "ID")]
    pub(crate) id: u64,
    #[serde(default)]
    pub(crate) login_name: String,
}

/// `GET /localapi/v0/status?peers=false`, as far as it is about this node.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Status {
    #[serde(rename = "Self")]
    pub(crate) own: Option<OwnNode>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct OwnNode {
    #[serde(default, rename = "UserID")]
    pub(crate) user_id: u64,
    #[serde(default)]
    pub(crate) tags: Option<Vec<String>>,
}

impl LocalApi {
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), permits: Semaphore::new(AT_A_TIME) }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Who is at `address`: `ip` or, for a TCP connection that is open now, `ip:port`, which also works in userspace
    /// mode. `None`: nobody of the tailnet.
    pub(crate) async fn whois(&self, address: &str) -> Result<Option<WhoIs>, LocalApiError> {
        self.get(&format!("/localapi/v0/whois?proto=tcp&addr={address}")).await
    }

    /// This node.
    pub(crate) async fn status(&self) -> Result<Status, LocalApiError> {
        self.get("/localapi/v0/status?peers=false").await?.ok_or(LocalApiError::Refused(StatusCode::NOT_FOUND))
    }

    /// A JSON answer; `None` for 404.
    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, LocalApiError> {
        tokio::time::timeout(TIMEOUT, async {
            let _permit = self.permits.acquire().await;
            let stream = UnixStream::connect(&self.socket)
                .await
                .map_err(|source| LocalApiError::Unreachable { path: self.socket.clone(), source })?;
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(LocalApiError::Broken)?;
            // Any `Origin` or `Referer` would be refused, and so is any other host.
            let request = Request::get(path).header(HOST, "local-tailscaled.sock").body(Empty::<Bytes>::new());
            let request = request.map_err(|e| LocalApiError::Unreadable(e.into()))?;
            let answer = async {
                let response = sender.send_request(request).await.map_err(LocalApiError::Broken)?;
                let status = response.status();
                if status == StatusCode::NOT_FOUND {
                    return Ok(None);
                }
                if status != StatusCode::OK {
                    return Err(LocalApiError::Refused(status));
                }
                let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
                let body = body.map_err(LocalApiError::Unreadable)?.to_bytes();
                serde_json::from_slice(&body).map(Some).map_err(|e| LocalApiError::Unreadable(e.into()))
            };
            tokio::select! {
                answer = answer => answer,
                // It ends only when the sender is gone or the socket breaks; then the answer has the better error.
                Err(error) = connection => Err(LocalApiError::Broken(error)),
            }
        })
        .await
        .unwrap_or(Err(LocalApiError::Slow))
    }
}
