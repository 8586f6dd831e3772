//! YAML within bounds: depth, size and alias expansion are limited, so that no file can exhaust the server.

use serde::Deserialize;
use serde_json::{Map, Value};

/// Largest YAML document, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// Deepest nesting; real bundles need five.
const MAX_DEPTH: usize = 48;

/// Most nodes, also counting what aliases expand to.
const MAX_NODES: usize = 20_000;

/// YAML that is not read.
#[derive(Debug)]
pub(super) struct YamlError {
    pub(super) message: String,
    pub(super) line: Option<u64>,
}

/// A document whose top is a mapping.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) fields: Map<String, Value>,
    /// `version` as it is written: as a number, `1.10` would become 1.1.
    pub(super) version: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct AsWritten {
    #[serde(default)]
    version: Option<String>,
}

/// Parses a document; an empty one is an empty mapping.
pub(super) fn mapping(bytes: &[u8]) -> Result<Document, YamlError> {
    let refuse = |message: String| YamlError { message, line: None };
    if bytes.len() > MAX_BYTES {
        return Err(refuse(format!("{} bytes are more than the {MAX_BYTES} that are read", bytes.len())));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| refuse(format!("not UTF-8: {e}")))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match serde_saphyr::from_str_with_options::<Value>(text, options()).map_err(|e| explain(&e))? {
        Value::Object(fields) => {
            let as_written: AsWritten = serde_saphyr::from_str_with_options(text, options()).unwrap_or_default();
            Ok(Document { fields, version: as_written.version })
        }
        Value::Null => Ok(Document { fields: Map::new(), version: None }),
        other => Err(refuse(format!("the top of the file is {}, not a mapping of keys to values", kind(&other)))),
    }
}

/// A JSON value's kind, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            max_documents: 1,
            max_total_scalar_bytes: MAX_BYTES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_NODES,
            max_replay_stack_depth: MAX_DEPTH,
        },
    }
}

fn explain(error: &serde_saphyr::Error) -> YamlError {
    let line = error.location().map(|l| l.line()).filter(|line| *line > 0);
    let message = error.to_string();
    YamlError { message: super::findings::quoted(message.lines().next().unwrap_or_default()).into_owned(), line }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    #[test]
    fn a_version_keeps_its_digits() {
        let document = mapping(b"name: x\nversion: 1.10\nother: {version: 2}").unwrap();
        assert_eq!(document.version.as_deref(), Some("1.10"));
        assert_eq!(mapping(b"version: '3'").unwrap().version.as_deref(), Some("3"));
        assert_eq!(mapping(b"version: [1]").unwrap().version, None);
    }

    #[test]
    fn what_is_no_mapping_is_refused_with_its_place() {
        let error = mapping(b"name: x\nbad: [1,\nmore: }").unwrap_err();
        assert!(error.line.is_some_and(|l| l >= 2), "{error:?}");
        assert!(mapping(b"- a\n- b").unwrap_err().message.contains("a list"));
        assert!(mapping(b"name: x\nname: y").unwrap_err().message.contains("name"), "duplicate keys");
        assert!(mapping(&[0xff, 0xfe]).unwrap_err().message.contains("UTF-8"));
        assert!(mapping(b"").unwrap().fields.is_empty());
    }

    #[test]
    fn bombs_are_refused() {
        let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            let _ = writeln!(laughs, "a{i}: &a{i} [{}]", vec![format!("*a{}", i - 1); 9].join(", "));
        }
        assert!(mapping(laughs.as_bytes()).is_err());
        let deep = format!("a: {}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(mapping(deep.as_bytes()).is_err());
        assert!(mapping(format!("a:\n{}", "- ".repeat(100_000)).as_bytes()).is_err());
        assert!(mapping(format!("a: {}", "x".repeat(MAX_BYTES)).as_bytes()).is_err());
        assert!(mapping(format!("a: [{}]", "1,".repeat(100_000)).as_bytes()).is_err());
    }
}
