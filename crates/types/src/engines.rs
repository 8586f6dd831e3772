//! The engine registry's words: what an engine is, where it is, what it can do.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::openapi::{RefOr, schema::Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::{EngineId, ModelId};

/// `GET /engines`, and each event of `GET /engines/events`: always the whole list, since it is short and a reader that
/// missed an event is then right again with the next.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EngineList {
    /// Grows with every change of the list.
    pub revision: u64,
    /// Every engine, by slot, then id.
    pub engines: Vec<Engine>,
}

/// One engine: an address that speaks vLLM's HTTP API, or a part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Engine {
    /// Its id in the registry.
    pub id: EngineId,
    /// Where it answers.
    pub address: EngineAddress,
    /// The slot it fills, where the registry gave it one.
    pub slot: Option<u16>,
    /// What it is doing.
    pub state: EngineState,
    /// Since when it has been in that state, RFC 3339, UTC.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Why, where there is something to say: how far loading is, what failed.
    pub detail: Option<String>,
    /// Grows with every restart of the engine, also across restarts of the registry; what was loaded into an older
    /// generation is gone.
    pub generation: u64,
    /// What it serves: base models (`parent` is null) and adapters. While it is not ready, what it served last.
    pub models: Vec<EngineModel>,
    /// What it can hold, as far as it says.
    pub limits: EngineLimits,
    /// What it can do.
    pub capabilities: Capabilities,
}

/// What an engine is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EngineState {
    /// Known, not yet heard from.
    Initializing,
    /// Its model is being fetched.
    Downloading,
    /// It runs, its model is not ready.
    Loading,
    /// It answers.
    Ready,
    /// It does not answer; `detail` says why. A supervised engine is being restarted.
    Failed,
    /// Stopped on purpose.
    Stopped,
}

impl fmt::Display for EngineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initializing => "initializing",
            Self::Downloading => "downloading",
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        })
    }
}

/// A model or adapter that an engine serves, from its `/v1/models`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EngineModel {
    /// The name to ask for.
    pub id: ModelId,
    /// Where it was loaded from, as the engine says it.
    pub root: Option<String>,
    /// An adapter's base model.
    pub parent: Option<String>,
    /// Longest prompt and answer together, in tokens.
    pub max_model_len: Option<u32>,
}

/// What an engine can hold; null where it does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EngineLimits {
    /// Longest prompt and answer together, in tokens.
    pub context: Option<u32>,
    /// Requests computed at the same time.
    pub slots: Option<u32>,
    /// Adapters active in one batch.
    pub max_loras: Option<u32>,
    /// Adapters held in memory.
    pub max_cpu_loras: Option<u32>,
    /// Highest adapter rank.
    pub max_lora_rank: Option<u32>,
}

/// Something an engine may or may not be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// `POST /v1/chat/completions`
    Chat,
    /// `POST /v1/completions`
    Completions,
    /// `POST /v1/embeddings`
    Embeddings,
    /// `POST /v1/responses`
    Responses,
    /// `POST /tokenize` and `/detokenize` in vLLM's shape
    Tokenize,
    /// `POST /v1/load_lora_adapter` and `/v1/unload_lora_adapter`
    LoadAdapters,
    /// `GET /metrics` with vLLM's names
    Metrics,
}

impl Capability {
    /// Every capability of the engine contract.
    pub const ALL: [Self; 7] = [
        Self::Chat,
        Self::Completions,
        Self::Embeddings,
        Self::Responses,
        Self::Tokenize,
        Self::LoadAdapters,
        Self::Metrics,
    ];
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Responses => "responses",
            Self::Tokenize => "tokenize",
            Self::LoadAdapters => "load_adapters",
            Self::Metrics => "metrics",
        })
    }
}

/// The set of what an engine can do, found by asking it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Capabilities(pub BTreeSet<Capability>);

impl Capabilities {
    /// Whether the engine can do this.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.0.contains(&capability)
    }

    /// What the engine lacks of the whole contract.
    pub fn missing(&self) -> impl Iterator<Item = Capability> + '_ {
        Capability::ALL.into_iter().filter(|c| !self.has(*c))
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        Self(capabilities.into_iter().collect())
    }
}

/// Where an engine answers: `http://host:port[/prefix]` or `unix:/path/to.sock`.
///
/// A trailing `/v1`, which most clients want in a base URL, is dropped, so that both spellings work.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum EngineAddress {
    /// Plain HTTP over TCP.
    Tcp {
        /// `host:port`
        authority: String,
        /// What stands before `/v1/…` in every path: empty, or `/prefix`.
        prefix: String,
    },
    /// HTTP over a Unix socket.
    Unix(PathBuf),
}

// On the wire it is a string; the derive for an enum cannot say so.
impl PartialSchema for EngineAddress {
    fn schema() -> RefOr<Schema> {
        String::schema()
    }
}

impl ToSchema for EngineAddress {}

/// A text that is not an engine's address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not an engine address: {rule}")]
pub struct InvalidAddress {
    text: String,
    rule: &'static str,
}

impl EngineAddress {
    /// An engine on this machine's TCP port.
    #[must_use]
    pub fn loopback(port: u16) -> Self {
        Self::Tcp { authority: format!("127.0.0.1:{port}"), prefix: String::new() }
    }

    /// The socket's path, for an engine on a Unix socket.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        match self {
            Self::Tcp { .. } => None,
            Self::Unix(path) => Some(path),
        }
    }

    /// The URL of a path on this engine; over a Unix socket the host is only a placeholder.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        match self {
            Self::Tcp { authority, prefix } => format!("http://{authority}{prefix}{path}"),
            Self::Unix(_) => format!("http://localhost{path}"),
        }
    }
}

impl FromStr for EngineAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let fail = |rule| InvalidAddress { text: text.chars().take(200).collect(), rule };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = Path::new(path.strip_prefix("//").unwrap_or(path));
            return if path.is_absolute() {
                Ok(Self::Unix(path.to_owned()))
            } else {
                Err(fail("after 'unix:' comes an absolute path"))
            };
        }
        let uri: http::Uri = text.parse().map_err(|_| fail("use http://host:port or unix:/path"))?;
        match (uri.scheme_str(), uri.authority()) {
            (Some("https"), _) => Err(fail("engines are reached over plain http or a Unix socket, not https")),
            (Some("http"), Some(authority)) if uri.query().is_none() && !authority.as_str().contains('@') => {
                let prefix = uri.path().trim_end_matches('/');
                let prefix = prefix.strip_suffix("/v1").unwrap_or(prefix).trim_end_matches('/').to_owned();
                Ok(Self::Tcp { authority: authority.to_string(), prefix })
            }
            _ => Err(fail("use http://host:port or unix:/path")),
        }
    }
}

impl TryFrom<String> for EngineAddress {
    type Error = InvalidAddress;

    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        text.parse()
    }
}

impl From<EngineAddress> for String {
    fn from(address: EngineAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { authority, prefix } => write!(f, "http://{authority}{prefix}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_take_the_spellings_people_use() {
        let url = |text: &str| text.parse::<EngineAddress>().unwrap().url("/v1/models");
        assert_eq!(url("http://127.0.0.1:8104"), "http://127.0.0.1:8104/v1/models");
        assert_eq!(url("http://127.0.0.1:11434/v1/"), "http://127.0.0.1:11434/v1/models");
        assert_eq!(url("http://box/openai/v1"), "http://box/openai/v1/models");
        assert_eq!(url("unix:/run/slot-0.sock"), "http://localhost/v1/models");
        let socket: EngineAddress = "unix:///run/slot-0.sock".parse().unwrap();
        assert_eq!(socket.to_string(), "unix:/run/slot-0.sock");
    }

    #[test]
    fn bad_addresses_say_what_to_write() {
        for bad in ["", "8000", "localhost:8000", "https://x", "unix:x.sock", "http://u:p@h", "http://h?q", "ftp://h"] {
            assert!(bad.parse::<EngineAddress>().is_err(), "{bad}");
        }
        assert_eq!(
            "https://x".parse::<EngineAddress>().unwrap_err().to_string(),
            "\"https://x\" is not an engine address: engines are reached over plain http or a Unix socket, not https"
        );
    }

    #[test]
    fn missing_capabilities_are_named() {
        let has: Capabilities = [Capability::Chat, Capability::Completions].into_iter().collect();
        let missing: Vec<String> = has.missing().map(|c| c.to_string()).collect();
        assert_eq!(missing, ["embeddings", "responses", "tokenize", "load_adapters", "metrics"]);
    }
}
