//! Connections to one engine.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::InvalidUri;
use http::{HeaderValue, Request, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use remora_types::engines::EngineAddress;
use thread_local::ThreadLocal;
use tokio::net::UnixStream;

use crate::body::Pieces;
use crate::endpoint::Endpoint;

/// How long an unused connection is kept. Uvicorn (vLLM), Node and cpp-httplib (llama-server) close theirs after 5 s,
/// and a request that meets the closing is lost without anybody's fault; so ours are gone before.
const IDLE: Duration = Duration::from_secs(4);

/// Most unused connections that a thread keeps to one engine.
const IDLE_CONNECTIONS: usize = 256;

/// What the pool knows an engine by. It hashes this byte by byte several times a request, and there is one pool for each
/// engine, so the shortest name does.
const POOL_KEY: &str = "http://e";

/// An engine as the gateway reaches it: its connections, and what every request to it has in common.
///
/// It lives as long as the engine runs at that address: a restarted engine gets a new one, so that no request meets a
/// connection of its predecessor.
#[derive(Debug)]
pub(crate) struct Upstream {
    // One for each thread that answers connections: a request and its answer then never wait for another thread to wake.
    clients: ThreadLocal<AnyClient>,
    connector: AnyConnector,
    uris: [Uri; Endpoint::ALL.len()],
    host: HeaderValue,
    authorization: Option<HeaderValue>,
}

#[derive(Debug)]
enum AnyClient {
    Tcp(Client<TcpConnector, Pieces>),
    Unix(Client<UnixConnector, Pieces>),
}

#[derive(Debug, Clone)]
enum AnyConnector {
    Tcp(TcpConnector),
    Unix(UnixConnector),
}

impl AnyClient {
    /// A client without connections yet.
    fn new(connector: AnyConnector) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .set_host(false);
        match connector {
            AnyConnector::Tcp(connector) => Self::Tcp(builder.build(connector)),
            AnyConnector::Unix(connector) => Self::Unix(builder.build(connector)),
        }
    }
}

impl Upstream {
    /// An engine at `address`, which wants this `Authorization` header if any. Connects when first asked.
    pub(crate) fn new(
        address: &EngineAddress,
        authorization: Option<HeaderValue>,
        connect_timeout: Duration,
    ) -> Result<Self, InvalidUri> {
        let target: Uri = address.url("/").parse()?;
        let prefix = target.path().trim_end_matches('/');
        let uri = |endpoint: Endpoint| format!("{POOL_KEY}{prefix}{}", endpoint.path()).parse::<Uri>();
        let uris = Endpoint::ALL.into_iter().map(uri).collect::<Result<Vec<_>, _>>()?;
        let uris = uris.try_into().expect("one for each endpoint");
        let authority = target.authority().map_or("localhost", |authority| authority.as_str());
        let host = HeaderValue::from_str(authority).expect("an authority is a legal header value");
        let connector = match address {
            EngineAddress::Tcp { .. } => {
                let mut http = HttpConnector::new();
                http.set_nodelay(true);
                http.set_connect_timeout(Some(connect_timeout));
                AnyConnector::Tcp(TcpConnector { target, http })
            }
            EngineAddress::Unix(path) => {
                AnyConnector::Unix(UnixConnector { path: path.as_path().into(), timeout: connect_timeout })
            }
        };
        Ok(Self { clients: ThreadLocal::new(), connector, uris, host, authorization })
    }

    /// Where an endpoint is on this engine.
    pub(super) fn uri(&self, endpoint: Endpoint) -> Uri {
        self.uris[endpoint as usize].clone()
    }

    /// What `Host` says.
    pub(super) fn host(&self) -> HeaderValue {
        self.host.clone()
    }

    /// What `Authorization` says, for an engine that wants a key.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        self.authorization.clone()
    }

    /// Sends a request. Dropping the future, or the answer's body later, closes the connection.
    pub(super) fn send(&self, request: Request<Pieces>) -> ResponseFuture {
        match self.clients.get_or(|| AnyClient::new(self.connector.clone())) {
            AnyClient::Tcp(client) => client.request(request),
            AnyClient::Unix(client) => client.request(request),
        }
    }
}

/// Connects to one address, whatever the URI says.
#[derive(Debug, Clone)]
struct TcpConnector {
    target: Uri,
    http: HttpConnector,
}

impl tower::Service<Uri> for TcpConnector {
    type Response = <HttpConnector as tower::Service<Uri>>::Response;
    type Error = <HttpConnector as tower::Service<Uri>>::Error;
    type Future = <HttpConnector as tower::Service<Uri>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.http.poll_ready(context)
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        self.http.call(self.target.clone())
    }
}

/// Connects to one Unix socket, whatever the URI says.
#[derive(Debug, Clone)]
struct UnixConnector {
    path: Arc<Path>,
    timeout: Duration,
}

impl tower::Service<Uri> for UnixConnector {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (path, timeout) = (self.path.clone(), self.timeout);
        Box::pin(async move {
            // A full backlog makes a Unix socket's connect wait, as a lost packet does TCP's.
            let connected = tokio::time::timeout(timeout, UnixStream::connect(&path)).await;
            connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map(TokioIo::new)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_listed_paths_have_an_address() {
        let engine = |address: &str| Upstream::new(&address.parse().unwrap(), None, Duration::from_secs(1)).unwrap();
        let prefixed = engine("http://box:9/openai/v1");
        assert_eq!(prefixed.uri(Endpoint::ChatCompletions).path(), "/openai/v1/chat/completions");
        assert_eq!(prefixed.uri(Endpoint::Tokenize).path(), "/openai/tokenize");
        assert_eq!(prefixed.host(), "box:9");
        assert_eq!(engine("unix:/run/e.sock").host(), "localhost");
    }
}
