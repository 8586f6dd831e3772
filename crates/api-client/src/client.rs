//! Addresses, errors and event streams, shared by every module.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eventsource_stream::{Event, EventStreamError, Eventsource};
use futures::{Stream, StreamExt};
use http::{HeaderName, HeaderValue, StatusCode};
use remora_types::engines::EngineAddress;
use remora_types::error::ErrorBody;
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use url::Url;

/// Time for a connection to be made. Short: everything is on this machine or this tailnet.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for a whole plain request; event streams and downloads have none.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest silence on an event stream: servers send a comment every 15 s.
const STREAM_SILENCE: Duration = Duration::from_mins(1);

/// How much of an unexpected answer is quoted.
const QUOTE: usize = 300;

/// A server's address and the connections to it; cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    base: Base,
    http: reqwest::Client,
    credential: Credential,
}

/// What a client shows of itself with each request: made anew each time, since a service's token lives for a minute.
#[derive(Clone, Default)]
struct Credential(Option<Arc<MakeHeader>>);

type MakeHeader = dyn Fn() -> Option<(HeaderName, HeaderValue)> + Send + Sync;

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Credential(…)" } else { "no credential" })
    }
}

#[derive(Debug, Clone)]
enum Base {
    Tcp(Url),
    Unix(PathBuf),
}

/// A text that is not a server's address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a server's address: use http://host:port or unix:/path")]
pub struct InvalidServer(String);

/// A call that did not succeed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("nothing answers at {server}")]
    Unreachable {
        /// The address.
        server: String,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
    /// No answer in time.
    #[error("{server} did not answer in time")]
    Timeout {
        /// The address.
        server: String,
    },
    /// The server refused, and said why.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// The stable code, where the body had one.
        code: Option<String>,
        /// The server's own words.
        message: String,
    },
    /// An answer that is not what the API promises.
    #[error("{server} gave an answer that is not Remora's: {reason}")]
    Unexpected {
        /// The address.
        server: String,
        /// What was wrong with it.
        reason: String,
    },
    /// A connection that broke in mid-answer.
    #[error("the connection to {server} broke")]
    Broken {
        /// The address.
        server: String,
        /// How.
        #[source]
        source: reqwest::Error,
    },
}

impl ClientError {
    /// Whether the server is not there at all, as opposed to unwilling.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// The HTTP status of a refusal.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl Client {
    /// A client for `http://host:port[/prefix]` or `unix:/path`.
    pub fn new(server: &str) -> Result<Self, InvalidServer> {
        let invalid = || InvalidServer(server.to_owned());
        if let Some(path) = server.strip_prefix("unix:") {
            let path = Path::new(path.strip_prefix("//").unwrap_or(path));
            return if path.is_absolute() { Ok(Self::unix(path)) } else { Err(invalid()) };
        }
        // People leave the scheme out; `host:port` alone would parse as one.
        let text = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
        let url = Url::parse(&text).map_err(|_| invalid())?;
        if url.scheme() != "http" || url.host().is_none() || url.query().is_some() {
            return Err(invalid());
        }
        Ok(Self { base: Base::Tcp(url), http: build(reqwest::Client::builder()), credential: Credential::default() })
    }

    /// A client for a Unix socket.
    pub fn unix(path: &Path) -> Self {
        let http = build(reqwest::Client::builder().unix_socket(path));
        Self { base: Base::Unix(path.to_owned()), http, credential: Credential::default() }
    }

    /// A client for an engine's address.
    pub fn engine(address: &EngineAddress) -> Result<Self, InvalidServer> {
        match address {
            EngineAddress::Unix(path) => Ok(Self::unix(path)),
            EngineAddress::Tcp { .. } => Self::new(&address.to_string()),
        }
    }

    /// The same client, showing this header with every request: a service's token, or a person's key.
    #[must_use]
    pub fn with_credential(
        mut self,
        credential: impl Fn() -> Option<(HeaderName, HeaderValue)> + Send + Sync + 'static,
    ) -> Self {
        self.credential = Credential(Some(Arc::new(credential)));
        self
    }

    /// The same client, showing a key (`rmr_…`) with every request.
    #[must_use]
    pub fn with_key(self, key: &str) -> Self {
        let value = HeaderValue::try_from(format!("Bearer {key}")).ok().map(|mut value| {
            value.set_sensitive(true);
            (http::header::AUTHORIZATION, value)
        });
        self.with_credential(move || value.clone())
    }

    /// The address, as a person would write it.
    pub fn server(&self) -> String {
        match &self.base {
            Base::Tcp(url) => url.as_str().trim_end_matches('/').to_owned(),
            Base::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// `GET` a JSON answer. `path` starts with a slash; names in it are encoded by the caller (`path_segment`).
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let response = self.send(self.request(Method::GET, path).timeout(REQUEST_TIMEOUT)).await?;
        self.json(response).await
    }

    /// `POST` a JSON body, for a JSON answer.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let request = self.request(Method::POST, path).timeout(REQUEST_TIMEOUT).json(body);
        let response = self.send(request).await?;
        self.json(response).await
    }

    /// A request without a body, for a JSON answer.
    pub async fn call<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, ClientError> {
        let response = self.send(self.request(method, path).timeout(REQUEST_TIMEOUT)).await?;
        self.json(response).await
    }

    /// A request to a path of this server, for calls with needs of their own.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = match &self.base {
            Base::Tcp(url) => format!("{}{path}", url.as_str().trim_end_matches('/')),
            Base::Unix(_) => format!("http://localhost{path}"),
        };
        let request = self.http.request(method, url);
        match self.credential.0.as_ref().and_then(|credential| credential()) {
            Some((name, value)) => request.header(name, value),
            None => request,
        }
    }

    /// Sends a request; any status but 2xx is a [`ClientError::Refused`] with the server's words.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = self.send_any(request).await?;
        let status = response.status();
        if status.is_success() {
            Ok(response)
        } else {
            Err(refusal(status, &response.bytes().await.unwrap_or_default()))
        }
    }

    /// Sends a request and takes any status for an answer.
    pub async fn send_any(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        request.send().await.map_err(|e| self.failed(e))
    }

    /// Follows an event stream: the `data` of each event, parsed. Ends when the server ends it, or with an error.
    pub async fn events<T: DeserializeOwned + 'static>(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<T, ClientError>> + Send + use<T>, ClientError> {
        let response =
            self.send(self.request(Method::GET, path).header(http::header::ACCEPT, "text/event-stream")).await?;
        let client = self.clone();
        let events = response.bytes_stream().eventsource();
        Ok(events.map(move |event| client.event(event)))
    }

    /// The data of one event.
    pub(crate) fn event<T: DeserializeOwned>(
        &self,
        event: Result<Event, EventStreamError<reqwest::Error>>,
    ) -> Result<T, ClientError> {
        let event = event.map_err(|error| match error {
            EventStreamError::Transport(source) => self.failed(source),
            other => self.unexpected(other.to_string()),
        })?;
        serde_json::from_str(&event.data).map_err(|e| self.unexpected(format!("event {:?}: {e}", event.event)))
    }

    pub(crate) async fn json<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        let body = response.bytes().await.map_err(|e| self.failed(e))?;
        serde_json::from_slice(&body).map_err(|e| self.unexpected(format!("{e} in {:?}", quote(&body))))
    }

    /// Sorts a transport error.
    pub(crate) fn failed(&self, source: reqwest::Error) -> ClientError {
        let server = self.server();
        if source.is_connect() {
            ClientError::Unreachable { server, source }
        } else if source.is_timeout() {
            ClientError::Timeout { server }
        } else {
            ClientError::Broken { server, source }
        }
    }

    pub(crate) fn unexpected(&self, reason: String) -> ClientError {
        ClientError::Unexpected { server: self.server(), reason }
    }
}

fn build(builder: reqwest::ClientBuilder) -> reqwest::Client {
    let builder = builder.connect_timeout(CONNECT_TIMEOUT).read_timeout(STREAM_SILENCE);
    // A proxy of the environment has no business between services of one machine.
    builder.no_proxy().build().expect("no TLS, no proxy: nothing in this client can fail to build")
}

/// A refusal in the server's words: our error body, vLLM's, or whatever text there is.
fn refusal(status: StatusCode, body: &Bytes) -> ClientError {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(ErrorBody { error }) => {
            let code = error.code.map(|code| match code {
                remora_types::error::ErrorCode::Word(word) => word.into_owned(),
                remora_types::error::ErrorCode::Number(number) => number.to_string(),
            });
            ClientError::Refused { status, code, message: error.message }
        }
        Err(_) => ClientError::Refused { status, code: None, message: format!("{status}: {}", quote(body)) },
    }
}

fn quote(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(QUOTE)]).trim().to_owned()
}
