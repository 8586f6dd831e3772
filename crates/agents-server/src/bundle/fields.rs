//! Taking known keys out of a mapping; what is left over is unknown.

use serde_json::{Map, Value};

use super::findings::{Findings, quoted};
use super::yaml::kind;

/// The keys of one mapping of `bundle.yaml` that nobody has taken yet.
pub(super) struct Fields {
    left: Map<String, Value>,
    /// The mapping's own path with a dot at its end: `model.`, or nothing at the top.
    prefix: String,
}

impl Fields {
    pub(super) fn new(fields: Map<String, Value>, prefix: impl Into<String>) -> Self {
        Self { left: fields, prefix: prefix.into() }
    }

    /// A value of any kind; an explicit null counts as absent.
    pub(super) fn any(&mut self, key: &str) -> Option<Value> {
        self.left.shift_remove(key).filter(|v| !v.is_null())
    }

    /// Text; numbers and booleans are taken as they print.
    pub(super) fn text(&mut self, key: &str, findings: &mut Findings) -> Option<String> {
        match self.any(key)? {
            Value::String(text) => Some(text),
            scalar @ (Value::Number(_) | Value::Bool(_)) => Some(scalar.to_string()),
            other => self.wrong(key, "text", &other, findings),
        }
    }

    /// Text that is not only white space.
    pub(super) fn filled_text(&mut self, key: &str, findings: &mut Findings) -> Option<String> {
        self.text(key, findings).filter(|t| !t.trim().is_empty())
    }

    pub(super) fn flag(&mut self, key: &str, findings: &mut Findings) -> Option<bool> {
        match self.any(key)? {
            Value::Bool(flag) => Some(flag),
            other => self.wrong(key, "true or false", &other, findings),
        }
    }

    /// A whole number, at least 1.
    pub(super) fn count(&mut self, key: &str, findings: &mut Findings) -> Option<u32> {
        let value = self.any(key)?;
        match value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0) {
            Some(count) => Some(count),
            None => self.wrong(key, "a whole number above 0", &value, findings),
        }
    }

    pub(super) fn list(&mut self, key: &str, findings: &mut Findings) -> Option<Vec<Value>> {
        match self.any(key)? {
            Value::Array(list) => Some(list),
            other => self.wrong(key, "a list", &other, findings),
        }
    }

    /// The keys of a mapping inside this one.
    pub(super) fn nested(&mut self, key: &str, findings: &mut Findings) -> Option<Self> {
        match self.any(key)? {
            Value::Object(fields) => Some(Self::new(fields, format!("{}{key}.", self.prefix))),
            other => self.wrong(key, "a mapping", &other, findings),
        }
    }

    /// A mapping inside this one, whole.
    pub(super) fn mapping(&mut self, key: &str, findings: &mut Findings) -> Option<Map<String, Value>> {
        self.nested(key, findings).map(|nested| nested.left)
    }

    /// The keys that nobody has taken, for a mapping whose keys are free.
    pub(super) fn keys(&self) -> Vec<String> {
        self.left.keys().cloned().collect()
    }

    /// Warns of every key that nobody took.
    pub(super) fn finish(self, findings: &mut Findings) {
        for key in self.left.keys() {
            let message = format!("unknown key {}{}: nothing reads it", self.prefix, quoted(key));
            findings.warn("unknown_key", message);
        }
    }

    fn wrong<T>(&self, key: &str, wanted: &str, found: &Value, findings: &mut Findings) -> Option<T> {
        findings.fault("wrong_type", format!("{}{key} must be {wanted}, not {}", self.prefix, kind(found)));
        None
    }
}
