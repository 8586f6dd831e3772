//! Who is calling.
//!
//! Asked in this order, and the first that is there decides: a service's token, a key, the connection. A connection is
//! somebody by what tailscaled says about its peer; without a tailscaled socket a local connection is the person at
//! this machine. What is presented and wrong is refused, never passed over; what cannot be checked is refused too.

mod config;
mod connection;
mod credentials;
mod keys;
mod local_api;
mod policy;
mod throttle;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use remora_types::identity::ServiceName;
use serde_json::json;
use thiserror::Error;

use crate::access::Caller;
use crate::audit::Audit;
use crate::browser::BrowserRules;
use crate::durable;
use crate::error::ApiError;
use crate::lifecycle::{BoxError, Stop};
use crate::listener::Peer;

pub use config::{Everyone, IdentityConfig, Rule};
pub(crate) use connection::{Connection, Through};
pub use credentials::{CredentialError, SERVICE_HEADER, Signer};
pub use keys::{Allowance, KeyStore, KeyStoreError};
pub use policy::InvalidPolicy;

use credentials::Credentials;
use keys::KeyTable;
use local_api::{LocalApi, OwnNode};
use policy::Policy;
use throttle::Throttle;

/// The other place for a key, where Anthropic's clients put theirs.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// How long a verdict about a connection holds. The same connection is the same machine; what changes is the policy.
const FRESH: Duration = Duration::from_secs(5);

/// How long it holds what is known about this node itself.
const OWN_FRESH: Duration = Duration::from_mins(1);

/// What a caller does whose identity cannot be checked just now.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// Identity that cannot be set up.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// There is no place for keys and credentials.
    #[error("there is no place for state: set REMORA_STATE_DIR")]
    NoState,
    /// The policy is wrong.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// The service's own credential cannot be used.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The record of changes cannot be opened.
    #[error("cannot open the audit record {}", path.display())]
    Audit {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: BoxError,
    },
}

/// Establishes callers, for one service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Identity {
    shared: Arc<Shared>,
    own: Option<Own>,
}

/// What the services of a process share.
#[derive(Debug, Default)]
struct Shared {
    tailnet: Option<Tailnet>,
    keys: Option<Arc<KeyTable>>,
    throttle: Throttle,
    browsers: BrowserRules,
    config: IdentityConfig,
}

/// What one service has.
#[derive(Debug, Clone)]
struct Own {
    credentials: Arc<Credentials>,
    audit: Audit,
    name: ServiceName,
}

#[derive(Debug)]
struct Tailnet {
    api: LocalApi,
    policy: Policy,
    own: Mutex<Option<(OwnNode, Instant)>>,
}

impl Identity {
    /// Local connections are the person at this machine, and nobody else is anybody: for engines and tests.
    #[must_use]
    pub fn local() -> Self {
        Self { shared: Arc::default(), own: None }
    }

    /// What the services of one process share, by the settings.
    pub fn new(config: &IdentityConfig) -> Result<Self, IdentityError> {
        let policy = Policy::new(config)?;
        let keys = in_state(config.keys.as_deref(), "keys/keys.sqlite")?;
        let tailnet = config.tailscaled.as_deref();
        let tailnet = tailnet.map(|socket| Tailnet { api: LocalApi::new(socket), policy, own: Mutex::default() });
        let shared = Shared {
            tailnet,
            keys: Some(Arc::new(KeyTable::new(&keys))),
            throttle: Throttle::default(),
            browsers: BrowserRules::new(&config.hosts, &config.allowed_origins),
            config: config.clone(),
        };
        Ok(Self { shared: Arc::new(shared), own: None })
    }

    /// The same for one service: with its credential and its record of changes.
    pub async fn of_service(&self, name: ServiceName) -> Result<Self, IdentityError> {
        let config = &self.shared.config;
        let credentials = Credentials::open(&in_state(config.credentials.as_deref(), "credentials")?, name)?;
        let path = in_state(config.audit.as_deref(), "audit")?.join(format!("{name}.sqlite"));
        let audit = Audit::open(&path, name).await.map_err(|source| IdentityError::Audit { path, source })?;
        self.record_policy(&audit).await;
        let own = Own { credentials: Arc::new(credentials), audit, name };
        Ok(Self { shared: self.shared.clone(), own: Some(own) })
    }

    /// Writes down that the policy is another one than at the last start.
    async fn record_policy(&self, audit: &Audit) {
        let config = &self.shared.config;
        let policy = json!({
            "tailscaled": config.tailscaled, "capability": config.capability, "everyone": config.everyone,
            "admins": config.admins, "groups": config.groups, "rules": config.rules,
            "hosts": config.hosts, "allowed_origins": config.allowed_origins,
        });
        if audit.last("policy.change").await.as_ref() != Some(&policy) {
            let who = remora_types::identity::Who::Local;
            audit.record_of(&who, None, "policy.change", "[identity]", policy).await;
        }
    }

    /// The service's record of changes.
    #[must_use]
    pub fn audit(&self) -> Audit {
        self.own.as_ref().map(|own| own.audit.clone()).unwrap_or_default()
    }

    /// Signs this service's calls to another.
    #[must_use]
    pub fn signer(&self, to: ServiceName) -> Signer {
        Signer { credentials: self.own.as_ref().map(|own| own.credentials.clone()), to }
    }

    /// A new credential for this service; gives its id, or `None` where it has none.
    pub(crate) fn rotate(&self) -> Option<Result<(ServiceName, String), CredentialError>> {
        let own = self.own.as_ref()?;
        Some(own.credentials.rotate().map(|id| (own.name, id)))
    }

    /// Opens the keys for changes; `None` where there are none. For the gateway alone.
    pub async fn key_store(&self) -> Option<Result<KeyStore, KeyStoreError>> {
        let published = self.own.as_ref()?.credentials.published();
        Some(KeyStore::open(self.shared.keys.clone()?, published).await)
    }

    /// Writes down, as long as the service runs, when it saw which key.
    pub(crate) fn record_use(&self) -> Option<impl FnOnce(Stop) -> BoxFuture<'static, ()> + Send + use<>> {
        let (table, own) = (self.shared.keys.clone()?, self.own.clone()?);
        Some(move |stop| -> BoxFuture<'static, ()> {
            let folder = own.credentials.published().join(own.name.as_str());
            Box::pin(async move { keys::last_use::record(&table, folder, stop).await })
        })
    }

    /// What stops browsers.
    pub(crate) fn browsers(&self) -> &BrowserRules {
        &self.shared.browsers
    }

    /// Where Tailscale Serve may bring this service's requests.
    pub(crate) fn serve_socket(&self) -> Option<PathBuf> {
        let folder = self.shared.config.serve_folder.as_ref()?;
        Some(folder.join(format!("{}.sock", self.own.as_ref()?.name)))
    }

    /// The verdict where it is known without waiting for anybody.
    pub(crate) fn known(&self, connection: &Connection, headers: &HeaderMap) -> Option<Result<Caller, ApiError>> {
        if let Some(token) = headers.get(SERVICE_HEADER) {
            return Some(self.service_token(token));
        }
        if let Some((key, table)) = self.presented_key(headers) {
            return Some(self.judged(connection, table.known(key)?));
        }
        match (&self.shared.tailnet, connection.through, connection.peer) {
            (_, Through::Direct, Peer::Unix { uid }) => Some(unix_peer(uid)),
            (None, Through::Direct, Peer::Tcp(address)) => {
                let local = address.ip().to_canonical().is_loopback();
                Some(if local { Ok(Caller::local()) } else { Err(stranger(&connection.peer, false)) })
            }
            (Some(_), ..) => connection.verdict(headers, FRESH),
            (None, Through::Serve, _) => Some(Err(stranger(&connection.peer, false))),
        }
    }

    /// Who is at the other end of this connection, sending these headers.
    pub(crate) async fn identify(&self, connection: &Connection, headers: &HeaderMap) -> Result<Caller, ApiError> {
        if let Some(verdict) = self.known(connection, headers) {
            return verdict;
        }
        if let Some((key, table)) = self.presented_key(headers) {
            let verdict = table.check(key).await;
            return self.judged(connection, verdict);
        }
        let Some(tailnet) = &self.shared.tailnet else {
            return Err(stranger(&connection.peer, false));
        };
        let address = connection.tailnet_address(headers, tailnet.api.socket())?;
        let verdict = tailnet.caller(&address, &connection.peer).await;
        connection.remember(headers, &verdict);
        verdict
    }

    fn service_token(&self, token: &HeaderValue) -> Result<Caller, ApiError> {
        let Some(own) = &self.own else {
            let message = "this server takes no calls from services";
            return Err(ApiError::new(StatusCode::UNAUTHORIZED, "invalid_service_token", message));
        };
        own.credentials.verify(token)
    }

    /// A key of ours among the headers.
    fn presented_key<'a>(&self, headers: &'a HeaderMap) -> Option<(&'a str, &KeyTable)> {
        let table = self.shared.keys.as_deref()?;
        let bearer = headers.get(AUTHORIZATION).and_then(|value| {
            let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
        });
        let key = headers.get(API_KEY).and_then(|value| value.to_str().ok());
        bearer.into_iter().chain(key).find(|key| key.starts_with(keys::PREFIX)).map(|key| (key, table))
    }

    /// Slows down whoever presents wrong keys. A right one always passes, or anybody could lock out the others at the
    /// same address; and 256 bits are not guessed, however fast.
    fn judged(&self, connection: &Connection, verdict: Result<Caller, ApiError>) -> Result<Caller, ApiError> {
        let wrong = verdict.as_ref().is_err_and(|error| error.status() == StatusCode::UNAUTHORIZED);
        let Peer::Tcp(address) = connection.peer else { return verdict };
        if !wrong {
            return verdict;
        }
        let shut = self.shared.throttle.check(address.ip());
        self.shared.throttle.wrong(address.ip());
        shut.map_err(|wait| {
            let message = "too many wrong keys from this address";
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", message).with_retry_after(wait)
        })?;
        verdict
    }
}

impl Tailnet {
    /// The caller at an address, as tailscaled sees it.
    async fn caller(&self, address: &str, peer: &Peer) -> Result<Caller, ApiError> {
        let unavailable = |error: local_api::LocalApiError| {
            let message = "tailscaled cannot be asked who is calling";
            ApiError::unavailable("identity_unavailable", message, TRY_AGAIN).with_source(error)
        };
        let Some(whois) = self.api.whois(address).await.map_err(unavailable)? else {
            return Err(stranger(peer, true));
        };
        let own = self.own_node().await.map_err(unavailable)?;
        Ok(self.policy.caller(&whois, &own))
    }

    async fn own_node(&self) -> Result<OwnNode, local_api::LocalApiError> {
        let known = self.own.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((own, _)) = known.filter(|(_, at)| at.elapsed() < OWN_FRESH) {
            return Ok(own);
        }
        let own = self.api.status().await?.own.unwrap_or_default();
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = Some((own.clone(), Instant::now()));
        Ok(own)
    }
}

/// A path of the settings, or its usual place in the state folder.
fn in_state(set: Option<&Path>, usual: &str) -> Result<PathBuf, IdentityError> {
    let place = set.map(Path::to_owned).or_else(|| durable::state_dir().map(|state| state.join(usual)));
    place.ok_or(IdentityError::NoState)
}

/// A process of this user, or of root, on this machine.
fn unix_peer(uid: u32) -> Result<Caller, ApiError> {
    if uid == 0 || uid == rustix::process::geteuid().as_raw() {
        return Ok(Caller::behind_socket(uid));
    }
    let message = format!("user {uid} of this machine is not the one that this service runs as");
    Err(ApiError::new(StatusCode::UNAUTHORIZED, "no_identity", message))
}

fn stranger(peer: &Peer, tailnet: bool) -> ApiError {
    let who = if tailnet { "nobody that the tailnet knows" } else { "not this machine" };
    let message = format!(
        "{peer} is {who}, so a key is needed: Authorization: Bearer KEY or x-api-key: KEY; an administrator makes one \
         with `remora key create`"
    );
    ApiError::new(StatusCode::UNAUTHORIZED, "no_identity", message)
}
