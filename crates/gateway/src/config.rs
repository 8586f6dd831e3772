//! Section `[gateway]`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use prometheus_client::metrics::gauge::Gauge;
use remora_api_client::engine::EngineClient;
use remora_api_client::engines::Engines;
use remora_api_client::{Client, InvalidServer};
use remora_service::identity::Signer;
use remora_service::{Listen, durable};
use remora_types::engines::EngineAddress;
use remora_types::{EngineId, ModelId};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use thiserror::Error;

use crate::crisis::{Crisis, CrisisConfig, InvalidCrisis};
use crate::directory::{InvalidNaming, Naming, Source, StaticEngine};
use crate::fallback::{Fallback, FallbackConfig, InvalidFallback};
use crate::hold::Hold;
use crate::limits::{LimitsConfig, Priorities, PriorityRule};
use crate::models::{ModelConfig, Models};
use crate::secret::{InvalidSecret, secret};
use crate::upstream::Patience;

/// Where model-manager listens unless the settings say otherwise.
const REGISTRY: &str = "http://127.0.0.1:8004";

/// Section `[gateway]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// The engine registry (model-manager). Not together with `engines`.
    pub registry: Option<String>,
    /// Engines, where there is no model-manager. The gateway probes them itself.
    pub engines: Vec<EngineConfig>,
    /// Other names for models; an alias may stand for an alias. A model of the same name wins.
    pub aliases: BTreeMap<ModelId, ModelId>,
    /// What answers when a request names no model, or `default`; else the first ready engine's first model.
    pub default_model: Option<ModelId>,
    /// Largest request body, in bytes.
    pub body_limit_bytes: usize,
    /// Longest time for a connection to an engine, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Longest time until an engine begins to answer, its queue and the reading of the prompt included, in milliseconds.
    pub first_byte_timeout_ms: u64,
    /// How long a request waits for an engine that starts, loads or restarts, in milliseconds; 0 lets it fail at once.
    pub hold_ms: u64,
    /// How many requests wait at a time; more fail at once.
    pub max_held: usize,
    /// Longest silence in the middle of an engine's answer, in milliseconds.
    pub idle_timeout_ms: u64,
    /// Where it is kept who used how much; by default `usage.sqlite` in the state folder.
    pub usage_file: Option<PathBuf>,
    /// For how many days.
    pub usage_days: u32,
    /// How much engines are given, and when they are left alone.
    pub limits: LimitsConfig,
    /// Whose requests go first where engines have no room; the first that matches decides.
    pub priorities: Vec<PriorityRule>,
    /// What is to be known about single models, by their own names.
    pub models: BTreeMap<ModelId, ModelConfig>,
    /// Where requests go that cannot be answered here.
    pub fallback: FallbackConfig,
    /// What happens to a message that speaks of harm to oneself or of danger to life.
    pub crisis: CrisisConfig,
}

/// One of `[[gateway.engines]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// Its id in messages and metrics.
    pub id: EngineId,
    /// `http://host:port[/prefix]` or `unix:/path`.
    pub address: EngineAddress,
    /// A key that it wants as `Authorization: Bearer`. Clients' own keys are never sent to engines.
    #[serde(default)]
    pub api_key: Option<SecretString>,
    /// A file that holds the key.
    #[serde(default)]
    pub api_key_file: Option<PathBuf>,
}

/// Settings that cannot be used.
#[derive(Debug, Error)]
pub enum InvalidConfig {
    /// Two lists of engines.
    #[error("gateway.registry and gateway.engines are both set; engines come from one of them")]
    TwoSources,
    /// Two engines with one id.
    #[error("gateway.engines: there are two engines called {0}")]
    TwoEngines(EngineId),
    /// A key that cannot be used.
    #[error(transparent)]
    Key(#[from] InvalidSecret),
    /// A fallback that cannot be used.
    #[error("gateway.fallback: {0}")]
    Fallback(#[source] InvalidFallback),
    /// Patterns that cannot be used.
    #[error("gateway.crisis: {0}")]
    Crisis(#[from] InvalidCrisis),
    /// An address that is none.
    #[error(transparent)]
    Address(#[from] InvalidServer),
    /// Aliases that lead nowhere.
    #[error("gateway: {0}")]
    Naming(#[from] InvalidNaming),
    /// A limit that would refuse everything.
    #[error("gateway.{0} must be more than 0")]
    Zero(&'static str),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Listen::Tcp(([127, 0, 0, 1], 8000).into()),
            registry: None,
            engines: Vec::new(),
            aliases: BTreeMap::new(),
            default_model: None,
            body_limit_bytes: 64 << 20,
            connect_timeout_ms: 2_000,
            first_byte_timeout_ms: 600_000,
            hold_ms: 30_000,
            max_held: 256,
            idle_timeout_ms: 300_000,
            usage_file: durable::state_dir().map(|state| state.join("usage.sqlite")),
            usage_days: 400,
            limits: LimitsConfig::default(),
            priorities: Vec::new(),
            models: BTreeMap::new(),
            fallback: FallbackConfig::default(),
            crisis: CrisisConfig::default(),
        }
    }
}

impl Config {
    /// Whether the settings can be used; reads the key files too.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let limits = [
            ("body_limit_bytes", self.body_limit_bytes as u64),
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("first_byte_timeout_ms", self.first_byte_timeout_ms),
            ("idle_timeout_ms", self.idle_timeout_ms),
            ("limits.wait_ms", self.limits.wait_ms),
        ];
        if let Some((name, _)) = limits.into_iter().find(|(_, value)| *value == 0) {
            return Err(InvalidConfig::Zero(name));
        }
        self.naming()?;
        self.fallback(None)?;
        self.crisis(false)?;
        self.source(None).map(drop)
    }

    /// Where requests may go; `anthropic_key` is `ANTHROPIC_API_KEY`.
    pub(crate) fn fallback(&self, anthropic_key: Option<SecretString>) -> Result<Fallback, InvalidConfig> {
        self.fallback.resolve(anthropic_key, self.connect_timeout()).map_err(InvalidConfig::Fallback)
    }

    /// What is looked for in messages; `fallback` says whether requests may leave.
    pub(crate) fn crisis(&self, fallback: bool) -> Result<Option<Crisis>, InvalidConfig> {
        Ok(self.crisis.resolve(fallback)?)
    }

    pub(crate) fn naming(&self) -> Result<Naming, InvalidConfig> {
        Ok(Naming::new(&self.aliases, self.default_model.as_ref())?)
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience {
            first_byte: Duration::from_millis(self.first_byte_timeout_ms),
            silence: Duration::from_millis(self.idle_timeout_ms),
        }
    }

    pub(crate) fn hold(&self, waiting: Gauge) -> Hold {
        Hold::new(Duration::from_millis(self.hold_ms), self.max_held, waiting)
    }

    pub(crate) fn priorities(&self) -> Priorities {
        Priorities::new(self.priorities.clone())
    }

    pub(crate) fn models(&self) -> Models {
        Models::new(self.models.clone())
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// Who knows the engines; `signer` signs calls to model-manager.
    pub(crate) fn source(&self, signer: Option<Signer>) -> Result<Source, InvalidConfig> {
        if self.engines.is_empty() {
            let mut client = Client::new(self.registry.as_deref().unwrap_or(REGISTRY))?;
            if let Some(signer) = signer {
                client = client.with_credential(move || signer.own());
            }
            return Ok(Source::Registry { server: client.server(), client: Engines::new(client) });
        }
        if self.registry.is_some() {
            return Err(InvalidConfig::TwoSources);
        }
        for (index, engine) in self.engines.iter().enumerate() {
            if self.engines[..index].iter().any(|other| other.id == engine.id) {
                return Err(InvalidConfig::TwoEngines(engine.id.clone()));
            }
        }
        Ok(Source::Static(self.engines.iter().map(EngineConfig::resolve).collect::<Result<_, _>>()?))
    }
}

impl EngineConfig {
    fn resolve(&self) -> Result<StaticEngine, InvalidConfig> {
        let authorization = self.authorization()?;
        let mut client = EngineClient::new(&self.address)?;
        if let Some(value) = &authorization {
            client = client.with_authorization(value.clone());
        }
        Ok(StaticEngine { id: self.id.clone(), address: self.address.clone(), authorization, client })
    }

    fn authorization(&self) -> Result<Option<HeaderValue>, InvalidConfig> {
        let Some(key) = secret(self.id.as_str(), self.api_key.as_ref(), self.api_key_file.as_deref())? else {
            return Ok(None);
        };
        let value = HeaderValue::try_from(format!("Bearer {}", key.expose_secret()));
        let mut value = value.map_err(|_| InvalidSecret::Unusable(self.id.to_string()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use remora_service::config::Settings;

    use crate::fallback::Reason;

    use super::*;

    fn load(toml: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("remora.toml");
        std::fs::write(&file, toml).unwrap();
        let settings = Settings::from_parts(Some(&file), None, []).map_err(|e| e.to_string())?;
        let config: Config = settings.section("gateway").map_err(|e| e.to_string())?;
        config.validate().map_err(|e| e.to_string())?;
        Ok(config)
    }

    #[test]
    fn nothing_set_means_the_registry_on_this_machine() {
        let config = load("").unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8000");
        assert_eq!(config.source(None).unwrap().to_string(), "the engine registry at http://127.0.0.1:8004");
    }

    #[test]
    fn every_key_is_read_and_names_keep_their_dots_and_capitals() {
        let config = load(
            r#"
            [gateway]
            listen = "127.0.0.1:9000"
            default_model = "Qwen/Qwen3-0.6B"
            body_limit_bytes = 1000
            connect_timeout_ms = 1
            first_byte_timeout_ms = 2
            idle_timeout_ms = 3
            [gateway.aliases]
            "Qwen-2.5.3b" = "Qwen/Qwen3-0.6B"
            [[gateway.engines]]
            id = "gpu"
            address = "unix:/run/vllm.sock"
            [[gateway.engines]]
            id = "box"
            address = "http://box:11434/v1"
            api_key = "sk-1"
            "#,
        )
        .unwrap();
        let (alias, target) = config.aliases.first_key_value().unwrap();
        assert_eq!((alias.as_str(), target.as_str()), ("Qwen-2.5.3b", "Qwen/Qwen3-0.6B"));
        let Source::Static(engines) = config.source(None).unwrap() else { panic!("not the list") };
        assert_eq!(engines[0].authorization, None);
        assert_eq!(engines[1].authorization.as_ref().unwrap(), "Bearer sk-1");
        assert_eq!(config.patience().first_byte, Duration::from_millis(2));
        assert!(!format!("{config:?} {engines:?}").contains("sk-1"));
    }

    #[test]
    fn a_key_can_lie_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let toml =
            format!("[[gateway.engines]]\nid = 'e'\naddress = 'http://h:1'\napi_key_file = '{}'", path.display());
        assert!(load(&toml).unwrap_err().contains("cannot read the key of e"));
        std::fs::write(&path, "sk-2\n").unwrap();
        let Source::Static(engines) = load(&toml).unwrap().source(None).unwrap() else { panic!("not the list") };
        assert_eq!(engines[0].authorization.as_ref().unwrap(), "Bearer sk-2");
    }

    const REMOTE: &str = "[[gateway.fallback.remotes]]\nname = 'r'\nkind = 'openai'\nbase_url = 'http://h:1/v1/'\n";

    #[test]
    fn nothing_leaves_until_a_remote_is_set() {
        let off = |toml: &str, key: Option<&str>| load(toml).unwrap().fallback(key.map(Into::into)).unwrap().is_off();
        assert!(off("", None) && off("", Some(" ")));
        assert!(!off("", Some("sk-ant")));
        assert!(off("[gateway.fallback]\nenabled = false", Some("sk-ant")));
        assert!(!off(&format!("{REMOTE}api_key = 'k'"), None));
        assert!(off("[[gateway.fallback.rules]]\nwhen = 'never'", Some("sk-ant")));
        assert!(off("[[gateway.fallback.rules]]\nwhen = 'crisis'", None));
    }

    #[test]
    fn crisis_is_looked_for_where_requests_may_leave_or_it_is_asked_for() {
        let looks = |toml: &str, fallback| load(toml).unwrap().crisis(fallback).unwrap().is_some();
        assert!(!looks("", false) && looks("", true));
        assert!(looks("[gateway.crisis]\nenabled = true", false));
        assert!(!looks("[gateway.crisis]\nenabled = false", true));
    }

    #[test]
    fn rules_are_read_from_the_top() {
        let rules = "[[gateway.fallback.rules]]\nwhen = 'never'\nmodels = ['agent/*']\n\
                     [[gateway.fallback.rules]]\nwhen = 'not_ready'\nmodels = ['big', 'own/*']\nbefore_hold = true\n";
        let remote =
            format!("{REMOTE}api_key = 'k'\nmodels = {{ 'gpt-*' = '*', 'big' = 'gpt-5' }}\ndefault_model = 'd'\n");
        let fallback = load(&format!("{remote}{rules}")).unwrap().fallback(None).unwrap();
        let to = |reason, names: &[&str]| -> Vec<String> {
            fallback.destinations(reason, names).into_iter().map(|to| to.model).collect()
        };
        assert_eq!(to(Reason::NotReady, &["big"]), ["gpt-5"]);
        assert_eq!(to(Reason::NotReady, &["alias", "own/name"]), ["d"]);
        assert!(to(Reason::NotReady, &["other"]).is_empty() && to(Reason::Crisis, &["big"]).is_empty());
        assert!(to(Reason::NotReady, &["big", "agent/x"]).is_empty(), "by any of its names it stays here");
        assert!(fallback.leaves_before_hold(&["big"]) && !fallback.leaves_before_hold(&["agent/x"]));
        let usual = load(&remote).unwrap().fallback(None).unwrap();
        let mapped = |name| usual.destinations(Reason::ModelMap, &[name]).pop().map(|to| to.model);
        assert_eq!((mapped("gpt-9").as_deref(), mapped("other")), (Some("gpt-9"), None));
        assert!(!format!("{:?}", load(&remote).unwrap()).contains("'k'"));
    }

    #[test]
    fn mistakes_are_named() {
        let engine = "[[gateway.engines]]\nid = 'e'\naddress = 'http://h:1'\n";
        let mistakes = [
            ("[gateway]\nlisten_on = 'x'", "listen_on"),
            ("[gateway]\nidle_timeout_ms = 0", "idle_timeout_ms must be more than 0"),
            ("[gateway]\nregistry = 'ftp://x'", "ftp://x"),
            (&format!("[gateway]\nregistry = 'http://h'\n{engine}"), "both set"),
            (&format!("{engine}{engine}"), "two engines called e"),
            (&format!("{engine}api_key = 'a'\napi_key_file = 'b'"), "keep one"),
            (&format!("{engine}api_key = ''"), "the key of e is empty"),
            (&format!("{engine}port = 3"), "port"),
            ("[[gateway.engines]]\nid = 'e'\naddress = 'https://h'", "not https"),
            ("[gateway.aliases]\na = 'b'\nb = 'a'", "back to itself"),
            (REMOTE, "remote r has neither api_key nor api_key_file"),
            (&format!("{REMOTE}api_key = 'a'\n{REMOTE}api_key = 'a'"), "two remotes called r"),
            (&REMOTE.replace("'r'", "'local'"), "no name for a remote"),
            (&REMOTE.replace("http:", "ftp:"), "is no address"),
            (
                &format!("{REMOTE}api_key = 'a'\n[[gateway.fallback.rules]]\nwhen = 'crisis'\nremote = 'x'"),
                "the remote x",
            ),
            ("[gateway.crisis]\npatterns = ['(']", "gateway.crisis: a pattern cannot be used"),
            ("[gateway.limits]\nwait_ms = 0", "limits.wait_ms must be more than 0"),
        ];
        for (toml, expected) in mistakes {
            let message = load(toml).unwrap_err();
            assert!(message.contains(expected), "{toml}: {message}");
        }
    }
}
