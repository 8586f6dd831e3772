//! What kinds of things a chat holds.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// Whether a chat holds pictures or tools.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) images: bool,
    pub(super) tools: bool,
}

#[derive(Deserialize)]
struct Chat<'a> {
    #[serde(borrow, default)]
    messages: Option<&'a RawValue>,
    #[serde(default)]
    tools: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'a, str>>,
}

impl Contents {
    /// Nothing where the body is no chat: that is for the engine to say.
    pub(super) fn of(body: &[u8]) -> Self {
        let Ok(Chat { messages, tools }) = serde_json::from_slice(body) else { return Self::default() };
        let messages = messages.and_then(|messages| serde_json::from_str::<Vec<Message<'_>>>(messages.get()).ok());
        let images = messages.into_iter().flatten().filter_map(|message| message.content).any(holds_image);
        Self { images, tools: tools.is_some_and(|tools| !tools.is_empty()) }
    }
}

fn holds_image(content: &RawValue) -> bool {
    let parts: Vec<Part<'_>> = serde_json::from_str(content.get()).unwrap_or_default();
    parts.iter().any(|part| matches!(part.kind.as_deref(), Some("image_url" | "input_image" | "image")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(body: &Value) -> (bool, bool) {
        let Contents { images, tools } = Contents::of(body.to_string().as_bytes());
        (images, tools)
    }

    #[test]
    fn images_and_tools_are_seen() {
        let image = json!([{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "data:"}}]);
        assert_eq!(of(&json!({"messages": [{"role": "user", "content": image}]})), (true, false));
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        assert_eq!(of(&json!({"messages": [{"content": "image_url"}], "tools": tools})), (false, true));
        assert_eq!(of(&json!({"messages": [{"content": null}], "tools": []})), (false, false));
        for odd in [json!(3), json!({"messages": 3}), json!({"messages": [3]}), json!({})] {
            assert_eq!(of(&odd), (false, false));
        }
    }
}
