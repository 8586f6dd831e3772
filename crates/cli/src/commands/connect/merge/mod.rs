//! Putting settings into a file that somebody else wrote.
//!
//! Pure functions from a text to a text. Whatever the settings do not name stays as it was, comments and blanks
//! included; a text that cannot be read, or whose shape leaves no place for the settings, is refused. Each result is
//! read again and compared with what was meant before anybody sees it. A value that is there already is not touched,
//! so that merging twice is merging once.

pub(super) mod json;
pub(super) mod toml;
pub(super) mod yaml;

use serde_json::{Map, Value};
use thiserror::Error;

/// Why a file is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum MergeError {
    /// It is not what its name says. The text is never quoted: it may hold keys.
    #[error("it is not valid {format}: {reason}")]
    Unreadable { format: &'static str, reason: String },
    /// Something else is where the settings belong.
    #[error("`{0}` is not a table of settings there")]
    Occupied(String),
    /// The format allows it, this program cannot edit it.
    #[error("{0}")]
    Unsupported(&'static str),
}

/// What a value should become, as plain data.
fn overlay(base: &mut Value, wanted: &Map<String, Value>) {
    if !base.is_object() {
        *base = Value::Object(Map::new());
    }
    let Value::Object(fields) = base else { return };
    for (name, value) in wanted {
        match value {
            Value::Object(inner) => overlay(fields.entry(name.as_str()).or_insert(Value::Null), inner),
            plain => drop(fields.insert(name.clone(), plain.clone())),
        }
    }
}

/// `a.b`, for messages.
fn path_to(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
