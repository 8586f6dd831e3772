//! Sending requests to a model service elsewhere, where the settings allow that.
//!
//! Nothing leaves this machine unless a rule says so: the rules are read from the top, the first that names the reason
//! decides, and `never` ends the reading. A request with the header `x-remora-local-only` is not even looked at.

mod config;
mod history;
mod remote;

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelValue;
use serde::Deserialize;

pub use config::{FallbackConfig, InvalidFallback, RemoteConfig, RuleConfig};
pub(crate) use history::without_local_thinking;
pub use remote::RemoteKind;
pub(crate) use remote::{Outgoing, Remote};

/// Why a request leaves, or a rule that keeps it here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, EncodeLabelValue)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No engine that has the model is ready.
    NotReady,
    /// Every engine is busy, and too many requests wait or this one has waited too long.
    QueueFull,
    /// The conversation is longer than the model's context.
    ContextTooLong,
    /// The last message speaks of harm to oneself or of danger to life.
    Crisis,
    /// No engine has the model, and a remote's own list of models names it.
    ModelMap,
    /// None: what this rule matches stays here.
    Never,
}

/// Where requests may go, and why.
#[derive(Debug, Default)]
pub(crate) struct Fallback {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    when: Reason,
    models: Vec<Pattern>,
    /// The one named, else all, in their order.
    remotes: Vec<Arc<Remote>>,
    before_hold: bool,
}

/// A model's name, or the beginning of one with `*` behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    Exactly(String),
    Beginning(String),
}

/// A place that a request may go to.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    pub(crate) remote: Arc<Remote>,
    /// The model to ask there.
    pub(crate) model: String,
}

impl Reason {
    /// As it stands in settings, logs and headers.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NotReady => "not_ready",
            Self::QueueFull => "queue_full",
            Self::ContextTooLong => "context_too_long",
            Self::Crisis => "crisis",
            Self::ModelMap => "model_map",
            Self::Never => "never",
        }
    }
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(beginning) => Self::Beginning(beginning.to_owned()),
            None => Self::Exactly(text.to_owned()),
        }
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exactly(exactly) => exactly == name,
            Self::Beginning(beginning) => name.starts_with(beginning),
        }
    }
}

impl Fallback {
    /// Whether any request can leave.
    pub(crate) fn is_off(&self) -> bool {
        self.rules.iter().all(|rule| rule.when == Reason::Never)
    }

    /// Says in the log that requests may leave, and where to.
    pub(crate) fn announce(&self) {
        for rule in self.rules.iter().filter(|rule| rule.when != Reason::Never) {
            let to: Vec<String> = rule.remotes.iter().map(ToString::to_string).collect();
            let (when, to) = (rule.when.as_str(), to.join(", "));
            tracing::warn!(when, to, "requests may leave this machine");
        }
    }

    /// Where a request may go for this reason, the best first. `names` are all that its model is called: as it was
    /// asked for, and by its own name.
    pub(crate) fn destinations(&self, reason: Reason, names: &[&str]) -> Vec<Destination> {
        let mut found = Vec::new();
        for rule in self.ruling(names) {
            if rule.when == reason {
                let to = |remote: &Arc<Remote>| {
                    let model = remote.model_for(names, reason)?;
                    Some(Destination { remote: remote.clone(), model })
                };
                found.extend(rule.remotes.iter().filter_map(to));
            }
        }
        found
    }

    /// Whether a request whose engine is not ready leaves at once, not only when waiting did not help.
    pub(crate) fn leaves_before_hold(&self, names: &[&str]) -> bool {
        self.ruling(names).any(|rule| rule.when == Reason::NotReady && rule.before_hold)
    }

    /// The rules for a model, up to the first that keeps it here.
    fn ruling<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = &'a Rule> {
        let speaks_of = |rule: &&Rule| {
            rule.models.is_empty() || rule.models.iter().any(|model| names.iter().any(|name| model.matches(name)))
        };
        self.rules.iter().filter(speaks_of).take_while(|rule| rule.when != Reason::Never)
    }
}
