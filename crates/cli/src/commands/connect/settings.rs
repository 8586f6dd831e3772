//! Settings as values, and as the text that a person pastes.
//!
//! What is printed is the value merged into an empty file: pasting it and `--write` cannot differ.

use serde_json::{Map, Value, json};

use super::merge::{self, MergeError};

/// What a program has to be told.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Settings {
    /// Fields of a JSON file, in which there may be comments.
    Json(Map<String, Value>),
    /// Fields of a TOML file.
    Toml(Map<String, Value>),
    /// Entries of the list `models` in a YAML file.
    Yaml {
        /// What such a file begins with.
        head: &'static str,
        entries: Vec<Map<String, Value>>,
    },
    /// Environment variables; values are words of a shell.
    Shell(Vec<(String, String)>),
    /// Fields to fill in by hand.
    Steps(Vec<(&'static str, String)>),
}

impl Settings {
    /// A file's text with the settings in it; `None` where they belong into no file.
    pub(super) fn merge(&self, existing: &str) -> Option<Result<String, MergeError>> {
        match self {
            Self::Json(wanted) => Some(merge::json::merge(existing, wanted)),
            Self::Toml(wanted) => Some(merge::toml::merge(existing, wanted)),
            Self::Yaml { head, entries } => Some(merge::yaml::merge(existing, head, entries)),
            Self::Shell(_) | Self::Steps(_) => None,
        }
    }

    /// A file's data, as far as it can be read.
    pub(super) fn data(&self, text: &str) -> Option<Value> {
        match self {
            Self::Json(_) => merge::json::data(text),
            Self::Toml(_) => merge::toml::data(text),
            Self::Yaml { .. } => merge::yaml::data(text),
            Self::Shell(_) | Self::Steps(_) => None,
        }
    }

    /// What to paste, or to do.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Shell(variables) => lines(variables.iter().map(|(name, value)| format!("export {name}={value}"))),
            Self::Steps(steps) => {
                let width = steps.iter().map(|(label, _)| label.len()).max().unwrap_or_default();
                lines(steps.iter().map(|(label, value)| format!("{label:width$}  {value}")))
            }
            Self::Json(_) | Self::Toml(_) | Self::Yaml { .. } => {
                self.merge("").and_then(Result::ok).expect("an empty file takes any settings")
            }
        }
    }

    /// For scripts.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Json(fields) | Self::Toml(fields) => fields.clone().into(),
            Self::Yaml { entries, .. } => json!({"models": entries}),
            Self::Shell(variables) => variables.iter().map(|(n, v)| (n.clone(), Value::from(v.as_str()))).collect(),
            Self::Steps(steps) => steps.iter().map(|(n, v)| ((*n).to_owned(), Value::from(v.as_str()))).collect(),
        }
    }
}

/// One a line.
fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.flat_map(|line| [line, "\n".to_owned()]).collect()
}
