//! Section `[gateway.fallback]`.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Uri};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use thiserror::Error;

use super::remote::{NoConnector, Remote, RemoteKind};
use super::{Fallback, Pattern, Reason, Rule};
use crate::secret::{InvalidSecret, secret};

/// Anthropic's API.
const ANTHROPIC: &str = "https://api.anthropic.com";

/// What the remote is called that `ANTHROPIC_API_KEY` makes.
const CLAUDE: &str = "claude";

/// What stands for local models there.
const CLAUDE_MODEL: &str = "claude-sonnet-4-5";

/// The rules where the settings give none.
const USUAL: [Reason; 5] =
    [Reason::ModelMap, Reason::Crisis, Reason::NotReady, Reason::QueueFull, Reason::ContextTooLong];

/// Section `[gateway.fallback]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FallbackConfig {
    /// False keeps every request here, whatever else is set.
    pub enabled: bool,
    /// Where requests may go. Without any, `ANTHROPIC_API_KEY` in the environment makes one that is called `claude`.
    pub remotes: Vec<RemoteConfig>,
    /// When they go there, the first that matches first; else for every reason, to the first remote that can.
    pub rules: Vec<RuleConfig>,
}

/// One of `[[gateway.fallback.remotes]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteConfig {
    /// Its name in rules, logs, metrics and `x-remora-route`.
    pub name: String,
    /// What it speaks.
    pub kind: RemoteKind,
    /// Where it is, with or without `/v1`; Anthropic's own address where it is left out for `kind = "anthropic"`.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Its key.
    #[serde(default)]
    pub api_key: Option<SecretString>,
    /// A file that holds the key.
    #[serde(default)]
    pub api_key_file: Option<PathBuf>,
    /// Its models by the names that clients use; `claude-*` stands for all that begin so, and `*` as a model for the
    /// name as it was asked for.
    #[serde(default)]
    pub models: BTreeMap<String, String>,
    /// What stands for every other model, for all reasons but `model_map`.
    #[serde(default)]
    pub default_model: Option<String>,
}

/// One of `[[gateway.fallback.rules]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// The reason.
    pub when: Reason,
    /// The remote; every one, in their order, where it is left out.
    #[serde(default)]
    pub remote: Option<String>,
    /// The models that it is about, as clients ask for them or by their own names; all where it is left out.
    #[serde(default)]
    pub models: Vec<String>,
    /// With `not_ready`: leaves at once instead of waiting for the engine first.
    #[serde(default)]
    pub before_hold: bool,
}

/// A fallback that cannot be used.
#[derive(Debug, Error)]
pub enum InvalidFallback {
    /// A name that no header can hold.
    #[error("{0:?} is no name for a remote: use letters, digits, - and _, and not \"local\"")]
    Name(String),
    /// Two remotes with one name.
    #[error("there are two remotes called {0}")]
    TwoRemotes(String),
    /// An address that is none.
    #[error("remote {remote}: {url:?} is no address; use https://host or http://host:port")]
    Url {
        /// The remote.
        remote: String,
        /// The address.
        url: String,
    },
    /// A remote without an address.
    #[error("remote {0} has no base_url")]
    NoUrl(String),
    /// A remote without a key.
    #[error("remote {0} has neither api_key nor api_key_file")]
    NoKey(String),
    /// A key that cannot be used.
    #[error(transparent)]
    Key(#[from] InvalidSecret),
    /// A rule about a remote that there is not.
    #[error("a rule names the remote {0}, which is not there")]
    UnknownRemote(String),
    /// The machine's certificates cannot be read.
    #[error("cannot make connections to remote {remote}")]
    Connector {
        /// The remote.
        remote: String,
        /// Why not.
        #[source]
        source: NoConnector,
    },
}

impl Default for FallbackConfig {
    fn default() -> Self {
        Self { enabled: true, remotes: Vec::new(), rules: Vec::new() }
    }
}

impl FallbackConfig {
    /// The fallback of these settings; off where there is nowhere to go. `anthropic_key` is `ANTHROPIC_API_KEY`.
    pub(crate) fn resolve(
        &self,
        anthropic_key: Option<SecretString>,
        connect_timeout: Duration,
    ) -> Result<Fallback, InvalidFallback> {
        let mut names = HashSet::new();
        let mut remotes = Vec::new();
        let from_environment = anthropic_key.filter(|key| !key.expose_secret().trim().is_empty()).map(claude);
        let listed = if self.remotes.is_empty() { from_environment.as_slice() } else { &self.remotes };
        for remote in listed {
            if !names.insert(&remote.name) {
                return Err(InvalidFallback::TwoRemotes(remote.name.clone()));
            }
            remotes.push(Arc::new(remote.resolve(connect_timeout)?));
        }
        let named = |rule: &RuleConfig| match &rule.remote {
            None => Ok(remotes.clone()),
            Some(name) => {
                let remote = remotes.iter().find(|remote| remote.name() == name);
                remote.map(|remote| vec![remote.clone()]).ok_or_else(|| InvalidFallback::UnknownRemote(name.clone()))
            }
        };
        let mut rules = Vec::new();
        for rule in &self.rules {
            rules.push(Rule {
                when: rule.when,
                models: rule.models.iter().map(|model| Pattern::new(model)).collect(),
                remotes: named(rule)?,
                before_hold: rule.before_hold,
            });
        }
        if !self.enabled || remotes.is_empty() {
            return Ok(Fallback::default());
        }
        if rules.is_empty() {
            let usual = |when| Rule { when, models: Vec::new(), remotes: remotes.clone(), before_hold: false };
            rules.extend(USUAL.map(usual));
        }
        Ok(Fallback { rules })
    }
}

/// The remote that a key in the environment makes.
fn claude(key: SecretString) -> RemoteConfig {
    RemoteConfig {
        name: CLAUDE.to_owned(),
        kind: RemoteKind::Anthropic,
        base_url: None,
        api_key: Some(key),
        api_key_file: None,
        models: BTreeMap::from([("claude-*".to_owned(), "*".to_owned())]),
        default_model: Some(CLAUDE_MODEL.to_owned()),
    }
}

impl RemoteConfig {
    fn resolve(&self, connect_timeout: Duration) -> Result<Remote, InvalidFallback> {
        let name = &self.name;
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || name == "local" || !name.bytes().all(legal) {
            return Err(InvalidFallback::Name(name.clone()));
        }
        let url = match (&self.base_url, self.kind) {
            (Some(url), _) => url,
            (None, RemoteKind::Anthropic) => ANTHROPIC,
            (None, RemoteKind::Openai) => return Err(InvalidFallback::NoUrl(name.clone())),
        };
        let base = base(url).ok_or_else(|| InvalidFallback::Url { remote: name.clone(), url: url.to_owned() })?;
        let key = secret(&format!("remote {name}"), self.api_key.as_ref(), self.api_key_file.as_deref())?;
        let key = key.ok_or_else(|| InvalidFallback::NoKey(name.clone()))?;
        let header = |text: String| {
            let mut value =
                HeaderValue::try_from(text).map_err(|_| InvalidSecret::Unusable(format!("remote {name}")))?;
            value.set_sensitive(true);
            Ok::<_, InvalidSecret>(value)
        };
        let key = key.expose_secret();
        let models = self.models.iter().map(|(pattern, model)| (Pattern::new(pattern), model.clone())).collect();
        let remote = Remote::new(name.clone(), self.kind, base, connect_timeout);
        let remote = remote.map_err(|source| InvalidFallback::Connector { remote: name.clone(), source })?;
        Ok(remote
            .with_key(header(key.to_owned())?, header(format!("Bearer {key}"))?)
            .with_models(models, self.default_model.clone()))
    }
}

/// An address without what stands behind its host: a trailing `/v1` and slashes.
fn base(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let known = matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none();
    let authority = uri.authority().filter(|authority| known && !authority.as_str().contains('@'))?;
    let path = uri.path().trim_end_matches('/');
    let path = path.strip_suffix("/v1").unwrap_or(path).trim_end_matches('/');
    Some(format!("{}://{authority}{path}", uri.scheme_str()?))
}
