//! A model service elsewhere: Anthropic's, or one that speaks `OpenAI`'s dialect.
//!
//! Certificates are checked against the machine's own list (`SSL_CERT_FILE` names another). `HTTPS_PROXY`,
//! `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` are honoured; the proxy is asked for a tunnel, so it sees no request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::{Client, ResponseFuture};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use thiserror::Error;

use super::{Pattern, Reason};
use crate::body::Pieces;
use crate::metrics::{Outcome, RemoteMeter};
use crate::upstream::{Answer, EventStyle, Patience, Track, UpstreamError, drop_hop_headers, open_events};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// What a client that says no version means.
const OLDEST_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// What a remote may see of a client's headers: never its keys, cookies or identity. No `accept-encoding`: an answer may
/// have to be put behind what was begun here.
const PASSED: [HeaderName; 5] =
    [CONTENT_TYPE, ACCEPT, USER_AGENT, ANTHROPIC_VERSION, HeaderName::from_static("anthropic-beta")];

/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(30);

/// What a remote speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemoteKind {
    /// Anthropic's Messages, and its chat completions for clients of `OpenAI`'s dialect.
    Anthropic,
    /// `OpenAI`'s chat completions.
    Openai,
}

/// A remote, with its connections.
pub(crate) struct Remote {
    name: String,
    kind: RemoteKind,
    base: String,
    host: HeaderValue,
    plain_key: HeaderValue,
    bearer_key: HeaderValue,
    models: Vec<(Pattern, String)>,
    default_model: Option<String>,
    client: RemoteClient,
}

enum RemoteClient {
    Direct(Client<HttpsConnector<HttpConnector>, Pieces>),
    Tunnelled(Client<HttpsConnector<Tunnel<HttpConnector>>, Pieces>),
}

/// Connections that cannot be made.
#[derive(Debug, Error)]
pub enum NoConnector {
    /// There are no certificates to check others by.
    #[error("this machine has no CA certificates; install ca-certificates, or name a file in SSL_CERT_FILE")]
    Certificates(#[source] std::io::Error),
}

/// A request on its way to a remote.
pub(crate) struct Outgoing<'a> {
    /// Path and query.
    pub(crate) target: &'a str,
    /// The client's headers.
    pub(crate) headers: &'a HeaderMap,
    /// The body, with the remote's model in it.
    pub(crate) body: Pieces,
    /// How an event stream says that it broke off.
    pub(crate) events: EventStyle,
}

impl Remote {
    /// A remote at this address, without a key or models yet.
    pub(super) fn new(
        name: String,
        kind: RemoteKind,
        base: String,
        connect_timeout: Duration,
    ) -> Result<Self, NoConnector> {
        let uri: Uri = base.parse().expect("the address was checked");
        let authority = uri.authority().expect("the address was checked").as_str();
        let host = HeaderValue::from_str(authority).expect("an authority is a legal header value");
        let secure = uri.scheme_str() == Some("https");
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(connect_timeout));
        tcp.enforce_http(false);
        let client = match Matcher::from_env().intercept(&uri) {
            None => RemoteClient::Direct(client(tls(tcp, secure)?)),
            Some(proxy) => {
                let tunnel = Tunnel::new(proxy.uri().clone(), tcp);
                let tunnel = match proxy.basic_auth() {
                    Some(auth) => tunnel.with_auth(auth.clone()),
                    None => tunnel,
                };
                RemoteClient::Tunnelled(client(tls(tunnel, secure)?))
            }
        };
        let no_key = HeaderValue::from_static("");
        Ok(Self {
            name,
            kind,
            base,
            host,
            plain_key: no_key.clone(),
            bearer_key: no_key,
            models: Vec::new(),
            default_model: None,
            client,
        })
    }

    pub(super) fn with_key(self, plain_key: HeaderValue, bearer_key: HeaderValue) -> Self {
        Self { plain_key, bearer_key, ..self }
    }

    pub(super) fn with_models(self, models: Vec<(Pattern, String)>, default_model: Option<String>) -> Self {
        Self { models, default_model, ..self }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What it speaks.
    pub(crate) fn kind(&self) -> RemoteKind {
        self.kind
    }

    /// What to ask it for in place of a model that is called all this; `None` where it has nothing like it.
    pub(super) fn model_for(&self, names: &[&str], reason: Reason) -> Option<String> {
        let listed = names.iter().find_map(|name| {
            let (_, model) = self.models.iter().find(|(pattern, _)| pattern.matches(name))?;
            Some(if model == "*" { (*name).to_owned() } else { model.clone() })
        });
        listed.or_else(|| self.default_model.clone().filter(|_| reason != Reason::ModelMap))
    }

    /// Sends a request, and gives the answer as it comes: errors too are the client's to read.
    pub(crate) async fn send(
        &self,
        request: Outgoing<'_>,
        meter: RemoteMeter,
        patience: Patience,
    ) -> Result<Response, UpstreamError> {
        let mut tracked =
            Tracked { remote: self.name.clone(), meter, outcome: Outcome::Cancelled, when_whole: Outcome::Ok };
        let uri = format!("{}{}", self.base, request.target).parse().expect("a path behind an address is one");
        let headers = self.headers(&request);
        let mut outgoing = Request::new(request.body);
        *outgoing.method_mut() = Method::POST;
        *outgoing.uri_mut() = uri;
        *outgoing.headers_mut() = headers;
        let response = match tokio::time::timeout(patience.first_byte, self.client.request(outgoing)).await {
            Ok(Ok(response)) => response,
            Ok(Err(source)) if source.is_connect() => {
                tracked.settle(Outcome::Unreachable);
                return Err(UpstreamError::Unreachable { engine: self.name.clone(), source });
            }
            Ok(Err(source)) => {
                tracked.settle(Outcome::Broken);
                return Err(UpstreamError::BrokeOff { engine: self.name.clone(), source: source.into() });
            }
            Err(_) => {
                tracked.settle(Outcome::Timeout);
                return Err(UpstreamError::Slow { engine: self.name.clone(), after: patience.first_byte });
            }
        };
        let (mut head, body) = response.into_parts();
        tracked.when_whole = Outcome::of(head.status);
        drop_hop_headers(&mut head.headers);
        let events = open_events(&head.headers, request.events);
        let mut answer = Response::new(Body::new(Answer::new(body, tracked, events, patience.silence)));
        *answer.status_mut() = head.status;
        *answer.headers_mut() = head.headers;
        Ok(answer)
    }

    fn headers(&self, request: &Outgoing<'_>) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(HOST, self.host.clone());
        for name in PASSED {
            for value in request.headers.get_all(&name) {
                headers.append(name.clone(), value.clone());
            }
        }
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        if request.events == EventStyle::Messages {
            headers.insert(X_API_KEY, self.plain_key.clone());
            headers.entry(ANTHROPIC_VERSION).or_insert(OLDEST_VERSION);
        } else {
            headers.insert(AUTHORIZATION, self.bearer_key.clone());
        }
        headers
    }
}

impl RemoteClient {
    fn request(&self, request: Request<Pieces>) -> ResponseFuture {
        match self {
            Self::Direct(client) => client.request(request),
            Self::Tunnelled(client) => client.request(request),
        }
    }
}

/// TLS where the address wants it; where it does not, no certificates are needed.
fn tls<C>(connector: C, secure: bool) -> Result<HttpsConnector<C>, NoConnector> {
    let provider = rustls::crypto::ring::default_provider();
    let builder = HttpsConnectorBuilder::new();
    let builder = if secure {
        builder.with_provider_and_native_roots(provider).map_err(NoConnector::Certificates)?
    } else {
        let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions();
        let config = config.expect("ring has ciphers for every version of TLS");
        builder.with_tls_config(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
    };
    Ok(builder.https_or_http().enable_http1().wrap_connector(connector))
}

fn client<C>(connector: C) -> Client<C, Pieces>
where
    C: hyper_util::client::legacy::connect::Connect + Clone,
{
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).set_host(false);
    builder.build(connector)
}

/// What becomes of a remote's answer.
struct Tracked {
    remote: String,
    meter: RemoteMeter,
    outcome: Outcome,
    when_whole: Outcome,
}

impl Track for Tracked {
    fn complete(&mut self) {
        self.outcome = self.when_whole;
    }

    fn settle(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    fn report(&self, why: &(dyn std::error::Error + 'static)) {
        tracing::warn!(remote = self.remote, error = why, "an answer broke off");
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.meter.count(self.outcome);
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.base)
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
