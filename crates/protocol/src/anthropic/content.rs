//! What a turn of a request is made of.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::{Map, Value};

/// Text, or blocks in order. Null is no blocks, an object is one block.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Blocks in order.
    Blocks(Vec<Block>),
}

impl Default for Content {
    fn default() -> Self {
        Self::Blocks(Vec::new())
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a string or a list of content blocks")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Content, E> {
        Ok(Content::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Content, E> {
        Ok(Content::Text(text))
    }

    fn visit_unit<E: Error>(self) -> Result<Content, E> {
        Ok(Content::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content, A::Error> {
        let mut blocks = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(1024));
        while let Some(block) = seq.next_element()? {
            blocks.push(block);
        }
        Ok(Content::Blocks(blocks))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Content, A::Error> {
        Ok(Content::Blocks(vec![Block::deserialize(MapAccessDeserializer::new(map))?]))
    }
}

/// One block of content, discerned by its `type`.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// `text`.
    Text(String),
    /// `image`.
    Image(ImageSource),
    /// `document`.
    Document(Document),
    /// `tool_use`: a call that the assistant made.
    ToolUse(ToolUse),
    /// `tool_result`: what a call returned.
    ToolResult(ToolResult),
    /// `thinking`: the assistant's thinking in plain words.
    Thinking(String),
    /// `redacted_thinking`: thinking that only Anthropic can read.
    RedactedThinking,
    /// `tool_reference`: the name of a tool that a search found.
    ToolReference(String),
    /// A type that is not known here.
    Other {
        /// Its type; empty when it has none.
        kind: String,
        /// Everything else.
        fields: Map<String, Value>,
    },
}

/// Where a picture is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// In the request.
    Base64 {
        /// `image/png` and so on.
        media_type: String,
        /// Its bytes in base64.
        data: String,
    },
    /// On the web.
    Url(String),
    /// Somewhere that only Anthropic reaches; the source's type.
    Other(String),
}

/// A document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its title.
    pub title: Option<String>,
    /// What the client says about it.
    pub context: Option<String>,
    /// What it holds.
    pub source: DocumentSource,
}

/// What a document holds.
#[derive(Debug, Clone, PartialEq)]
pub enum DocumentSource {
    /// Plain text.
    Text(String),
    /// Blocks.
    Content(Content),
    /// A PDF or something that only Anthropic reaches; the source's type.
    Other(String),
}

/// A call that the assistant made.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolUse {
    /// Ties the result to the call.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its arguments; an object.
    pub input: Value,
}

/// What a call returned.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult {
    /// The call.
    pub tool_use_id: String,
    /// What it returned.
    pub content: Content,
    /// Whether it failed.
    pub is_error: bool,
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Fields(Map::deserialize(deserializer)?).block()
    }
}

/// A block's fields. Read whole before its type is known: the type may stand last.
struct Fields(Map<String, Value>);

impl Fields {
    fn block<E: Error>(mut self) -> Result<Block, E> {
        let kind = self.optional("type").unwrap_or_default();
        Ok(match kind.as_str() {
            "text" => Block::Text(self.required("text")?),
            "image" => Block::Image(self.image_source()),
            "document" => Block::Document(Document {
                title: self.optional("title"),
                context: self.optional("context"),
                source: self.document_source()?,
            }),
            "tool_use" => Block::ToolUse(ToolUse {
                id: self.required("id")?,
                name: self.required("name")?,
                input: self.take("input").unwrap_or_else(|| Value::Object(Map::new())),
            }),
            "tool_result" => Block::ToolResult(ToolResult {
                tool_use_id: self.required("tool_use_id")?,
                content: self.content("content")?,
                is_error: self.take("is_error").is_some_and(|flag| flag == Value::Bool(true)),
            }),
            "thinking" => Block::Thinking(self.optional("thinking").unwrap_or_default()),
            "redacted_thinking" => Block::RedactedThinking,
            "tool_reference" => {
                Block::ToolReference(self.optional("tool_name").or_else(|| self.optional("name")).unwrap_or_default())
            }
            _ => Block::Other { kind, fields: self.0 },
        })
    }

    /// A field that is there and not null.
    fn take(&mut self, field: &str) -> Option<Value> {
        self.0.get_mut(field).map(Value::take).filter(|value| !value.is_null())
    }

    fn optional(&mut self, field: &str) -> Option<String> {
        match self.0.get_mut(field) {
            Some(Value::String(text)) => Some(std::mem::take(text)),
            _ => None,
        }
    }

    fn required<E: Error>(&mut self, field: &'static str) -> Result<String, E> {
        match self.take(field) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(E::custom(format_args!("{field}: Input should be a valid string"))),
            None => Err(E::missing_field(field)),
        }
    }

    fn content<E: Error>(&mut self, field: &str) -> Result<Content, E> {
        self.take(field).map_or_else(|| Ok(Content::default()), |value| de_value(value))
    }

    fn source(&mut self) -> (String, Self) {
        let mut source = match self.take("source") {
            Some(Value::Object(fields)) => Self(fields),
            _ => Self(Map::new()),
        };
        (source.optional("type").unwrap_or_default(), source)
    }

    fn image_source(&mut self) -> ImageSource {
        let (kind, mut source) = self.source();
        match (kind.as_str(), source.optional("data"), source.optional("url")) {
            ("base64" | "", Some(data), _) => ImageSource::Base64 {
                media_type: source.optional("media_type").unwrap_or_else(|| "image/jpeg".to_owned()),
                data,
            },
            ("url" | "", _, Some(url)) => ImageSource::Url(url),
            _ => ImageSource::Other(kind),
        }
    }

    fn document_source<E: Error>(&mut self) -> Result<DocumentSource, E> {
        let (kind, mut source) = self.source();
        Ok(match (kind.as_str(), source.optional("data")) {
            ("text", Some(text)) => DocumentSource::Text(text),
            ("content", _) => DocumentSource::Content(source.content("content")?),
            _ => DocumentSource::Other(kind),
        })
    }
}

fn de_value<E: Error, T: de::DeserializeOwned>(value: Value) -> Result<T, E> {
    serde_json::from_value(value).map_err(E::custom)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn block(value: Value) -> Block {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_type_may_stand_last() {
        assert_eq!(block(json!({"text": "a", "cache_control": {}, "type": "text"})), Block::Text("a".into()));
    }

    #[test]
    fn unknown_types_keep_their_fields_whatever_they_hold() {
        for value in [json!({"type": "wibble", "text": 1, "source": [], "content": 2.5}), json!({}), json!({"type": 3})]
        {
            assert!(matches!(block(value), Block::Other { .. }));
        }
    }

    #[test]
    fn sources_are_told_apart() {
        let image = |source: Value| match block(json!({"type": "image", "source": source})) {
            Block::Image(source) => source,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            image(json!({"type": "base64", "media_type": "image/png", "data": "AA=="})),
            ImageSource::Base64 { media_type: "image/png".into(), data: "AA==".into() }
        );
        assert_eq!(image(json!({"type": "url", "url": "https://a/b"})), ImageSource::Url("https://a/b".into()));
        assert_eq!(image(json!({"type": "file", "file_id": "f"})), ImageSource::Other("file".into()));
        assert_eq!(image(json!("odd")), ImageSource::Other(String::new()));
    }

    #[test]
    fn what_a_known_block_needs_is_asked_for() {
        let refusal = |value: Value| serde_json::from_value::<Block>(value).unwrap_err().to_string();
        assert_eq!(refusal(json!({"type": "text"})), "missing field `text`");
        assert_eq!(refusal(json!({"type": "text", "text": 5})), "text: Input should be a valid string");
        assert_eq!(refusal(json!({"type": "tool_use", "id": "a"})), "missing field `name`");
    }
}
