//! Checked names.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What may stand unencoded in a path segment: RFC 3986's unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A text that is not a name of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not a valid {kind}: {rule}")]
pub struct InvalidName {
    /// What the text was meant to be, as a person would call it.
    pub kind: &'static str,
    /// The text, cut to 80 characters.
    pub text: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

impl InvalidName {
    fn new(kind: &'static str, text: &str, rule: &'static str) -> Self {
        Self { kind, text: text.chars().take(80).collect(), rule }
    }
}

/// A text as one percent-encoded segment of a URL's path.
#[must_use]
pub fn path_segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schema(value_type = String)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The name as one percent-encoded segment of a URL's path.
            #[must_use]
            pub fn path_segment(&self) -> String {
                path_segment(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                $check($kind, text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                $check($kind, &text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        // Maps keyed by a name can be asked with a plain `&str`.
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// The name of an agent: its folder's name under `agents/`.
    ///
    /// 1 to 64 ASCII letters, digits, `-`, `_` and `.`, starting with a letter or digit; so it is always one harmless
    /// path segment and never a hidden file.
    AgentName, "agent name", check_slug
}

name! {
    /// What a key is for, in one word, for example `cline`. Same characters as [`AgentName`].
    KeyName, "key name", check_slug
}

name! {
    /// The id of an engine in the registry, for example `slot-0`. Same characters as [`AgentName`].
    EngineId, "engine id", check_slug
}

name! {
    /// What clients write in `model`: a model (`Qwen/Qwen3-0.6B`, a GGUF file's stem), an adapter, `agent/NAME` or an
    /// alias.
    ///
    /// 1 to 256 bytes without control characters and without white space at its ends. Slashes are allowed, so in a
    /// path it is one percent-encoded segment ([`ModelId::path_segment`]).
    ModelId, "model id", check_model_id
}

fn check_slug(kind: &'static str, text: &str) -> Result<(), InvalidName> {
    const RULE: &str = "use 1 to 64 letters, digits, '-', '_' or '.', starting with a letter or digit";
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if text.len() <= 64 && starts_well && text.chars().all(legal) {
        Ok(())
    } else {
        Err(InvalidName::new(kind, text, RULE))
    }
}

fn check_model_id(kind: &'static str, text: &str) -> Result<(), InvalidName> {
    const RULE: &str = "use 1 to 256 bytes without control characters and without white space at the ends";
    let fits = (1..=256).contains(&text.len());
    if fits && text.trim() == text && !text.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(InvalidName::new(kind, text, RULE))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn agent_names_are_single_harmless_segments() {
        for good in ["lint", "article_section", "code-agent", "v1.2", "9lives"] {
            assert!(good.parse::<AgentName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".git", "a/b", "a\\b", "a b", "é", "-x", &"x".repeat(65)] {
            assert!(bad.parse::<AgentName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn model_ids_allow_slashes_and_encode_as_one_segment() {
        let id: ModelId = "Qwen/Qwen3-0.6B".parse().unwrap();
        assert_eq!(id.path_segment(), "Qwen%2FQwen3-0.6B");
        for bad in ["", " x", "x ", "a\nb", &"x".repeat(257)] {
            assert!(bad.parse::<ModelId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn deserialising_checks_the_name() {
        assert!(serde_json::from_str::<AgentName>("\"lint\"").is_ok());
        let error = serde_json::from_str::<AgentName>("\"../etc\"").unwrap_err().to_string();
        assert!(error.contains("not a valid agent name"), "{error}");
    }

    proptest! {
        #[test]
        fn any_accepted_agent_name_survives_a_path(text in "\\PC{0,80}") {
            if let Ok(name) = text.parse::<AgentName>() {
                prop_assert_eq!(name.path_segment(), text);
            }
        }
    }
}
