//! What a request begins with.
//!
//! That is what stays the same while a conversation grows: everything up to and including the first turn of the user.
//! Hashing so many leading bytes instead would give a short conversation another beginning with every turn. Claude
//! Code's billing line is no trouble: the translation takes it out before anything is routed.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::de::{Deserialize, DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Most bytes that are hashed.
const MOST: usize = 4 << 10;

/// Bytes of a plain prompt that are hashed: it grows at its end, and short ones are not worth remembering.
const OF_PROMPT: usize = 512;

/// Hashes the beginning of a request: `conversation` is the JSON of its `messages`, `prompt` or `input`.
pub(crate) fn beginning(model: &str, conversation: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    model.hash(&mut hasher);
    if conversation.starts_with(b"[") {
        let mut turns = Turns { hasher: &mut hasher, left: MOST };
        // It stops in the middle, which the parser calls an error.
        let _ = turns.deserialize(&mut serde_json::Deserializer::from_slice(conversation));
    } else {
        hasher.write(&conversation[..conversation.len().min(OF_PROMPT)]);
    }
    hasher.finish()
}

/// Hashes turns up to the user's first.
struct Turns<'a> {
    hasher: &'a mut DefaultHasher,
    left: usize,
}

impl Turns<'_> {
    /// Takes a turn in; whether the next belongs to the beginning too.
    fn take(&mut self, turn: &RawValue) -> bool {
        #[derive(serde::Deserialize)]
        struct Role<'a> {
            #[serde(borrow)]
            role: Option<std::borrow::Cow<'a, str>>,
        }
        let text = turn.get();
        let taken = &text.as_bytes()[..text.len().min(self.left)];
        self.hasher.write(taken);
        self.left -= taken.len();
        let role = serde_json::from_str(text).map(|Role { role }| role);
        self.left > 0 && role.is_ok_and(|role| role.as_deref() != Some("user"))
    }
}

impl<'de> DeserializeSeed<'de> for &mut Turns<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for &mut Turns<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("turns")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut turns: A) -> Result<(), A::Error> {
        struct Turn<'a>(&'a RawValue);
        impl<'de> Deserialize<'de> for Turn<'de> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <&RawValue>::deserialize(deserializer).map(Self)
            }
        }
        while let Some(Turn(turn)) = turns.next_element()? {
            if !self.take(turn) {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSTEM: &str = r#"{"role":"system","content":"Be brief."}"#;
    const FIRST: &str = r#"{"role":"user","content":"hello"}"#;

    fn of(conversation: &str) -> u64 {
        beginning("m", conversation.as_bytes())
    }

    #[test]
    fn it_stays_while_a_conversation_grows() {
        let first = of(&format!("[{SYSTEM},{FIRST}]"));
        let later =
            format!(r#"[{SYSTEM},{FIRST},{{"role":"assistant","content":"hi"}},{{"role":"user","content":"x"}}]"#);
        assert_eq!(of(&later), first);
        for other in [format!("[{SYSTEM}]"), format!("[{FIRST}]"), format!("[{FIRST},{SYSTEM}]"), "[]".to_owned()] {
            assert_ne!(of(&other), first, "{other}");
        }
        assert_ne!(beginning("other", later.as_bytes()), first);
    }

    #[test]
    fn long_beginnings_are_cut() {
        let long = |end: &str| format!(r#"[{{"role":"system","content":"{}{end}"}}]"#, "x".repeat(MOST));
        assert_eq!(of(&long("a")), of(&long("b")));
        let prompt = |end: &str| format!("\"{}{end}\"", "x".repeat(OF_PROMPT));
        assert_eq!(of(&prompt("a")), of(&prompt("b")));
        assert_ne!(of("\"a\""), of("\"b\""));
    }

    #[test]
    fn whatever_comes_is_no_trouble() {
        for odd in ["", "[", "[1,", "[{\"role\":3}]", "null", "{\"role\":\"user\"}", "[[[["] {
            of(odd);
        }
    }
}
