//! Section `[gateway.crisis]`.

use serde::Deserialize;
use thiserror::Error;

use super::Crisis;
use super::patterns::PATTERNS;

/// Names no country's telephone number: nobody here knows where the reader is.
const MESSAGE: &str = "It sounds as if you may be going through something very hard, or that someone may be in danger. \
    If a life is in danger right now, please call your local emergency number. You do not have to go through this \
    alone: at https://findahelpline.com you find free, confidential help in your country, by phone, chat or text. If \
    you can, tell someone near you how you feel.";

/// Section `[gateway.crisis]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrisisConfig {
    /// Whether messages are looked at; where it is left out, as long as requests may leave (`gateway.fallback`).
    pub enabled: Option<bool>,
    /// Further expressions to look for, in the syntax of Rust's `regex`; letters' case does not count, and accents are
    /// taken off before.
    pub patterns: Vec<String>,
    /// Whether the built-in list is looked for too.
    pub builtin: bool,
    /// What is answered where the request must not leave, in place of the built-in text.
    pub message: Option<String>,
}

/// Patterns that cannot be used.
#[derive(Debug, Error)]
#[error("a pattern cannot be used: {0}")]
pub struct InvalidCrisis(#[from] regex::Error);

impl Default for CrisisConfig {
    fn default() -> Self {
        Self { enabled: None, patterns: Vec::new(), builtin: true, message: None }
    }
}

impl CrisisConfig {
    /// What to look for; `None` is nothing. `fallback` says whether requests may leave.
    pub(crate) fn resolve(&self, fallback: bool) -> Result<Option<Crisis>, InvalidCrisis> {
        let builtin = PATTERNS.iter().copied().filter(|_| self.builtin).map(str::to_owned);
        let patterns: Vec<String> = self.patterns.iter().cloned().chain(builtin).collect();
        let message = self.message.clone().unwrap_or_else(|| MESSAGE.to_owned());
        let crisis = Crisis::new(&patterns, message)?;
        Ok(Some(crisis).filter(|_| self.enabled.unwrap_or(fallback)))
    }
}
