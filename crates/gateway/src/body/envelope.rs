//! What decides about a JSON body: its `model`, whether it streams, and where its conversation stands. Found in one pass
//! without building anything; the model is replaced without touching another byte.
//!
//! The whole body's syntax is checked on the way (0.35 ms per MB of escaped prose), so a body that is not JSON is
//! refused here rather than by whichever engine would have got it. Rejected: lazy search, which saves that only when
//! `model` comes first, and `memmem`, which finds `"model"` inside prompts too.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use thiserror::Error;

use super::Pieces;

/// A body that no engine could answer.
#[derive(Debug, Error)]
pub(crate) enum NotAnObject {
    /// It is empty.
    #[error("the request body is empty; send a JSON object")]
    Empty,
    /// It is not JSON.
    #[error("the request body is not JSON: {0}")]
    Syntax(#[source] serde_json::Error),
    /// It is JSON of another kind, or has `model` or its messages twice: engines disagree about which of the two counts.
    #[error("the request body is not a JSON object with one model: {0}")]
    Shape(#[source] serde_json::Error),
    /// `model` is neither a string nor null.
    #[error("model is not a string")]
    Kind,
}

/// What a body says that decides where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope<'a> {
    name: Option<Cow<'a, str>>,
    place: Place,
    streams: bool,
    conversation: Option<Range<usize>>,
}

/// Where a name stands, or would stand.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// The value's bytes, quotes included.
    Value(Range<usize>),
    /// There is no `model`; one would go here, right behind the opening brace.
    Missing { at: usize, alone: bool },
}

#[derive(Deserialize)]
struct Keys<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stream: Option<&'a RawValue>,
    #[serde(borrow, default)]
    messages: Option<&'a RawValue>,
    #[serde(borrow, default)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
}

/// A value, null included: `Option` alone would take null for absent, and a second `model` would be put beside it.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Envelope<'a> {
    /// Reads a body. An escaped name (`"\u0067pt"`) is the name it spells.
    pub(crate) fn of(body: &'a [u8]) -> Result<Self, NotAnObject> {
        let keys: Keys<'a> = match serde_json::from_slice(body) {
            Ok(keys) => keys,
            Err(_) if body.trim_ascii().is_empty() => return Err(NotAnObject::Empty),
            Err(error) if error.is_data() => return Err(NotAnObject::Shape(error)),
            Err(error) => return Err(NotAnObject::Syntax(error)),
        };
        // A derived struct also reads an array, field by field.
        let opening = body.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or_default();
        if body[opening] != b'{' {
            return Err(NotAnObject::Shape(serde::de::Error::custom("expected an object")));
        }
        let place_of = |value: &RawValue| {
            let start = value.get().as_ptr().addr() - body.as_ptr().addr();
            start..start + value.get().len()
        };
        let streams = keys.stream.is_some_and(|value| value.get() == "true");
        let conversation = keys.messages.or(keys.prompt).or(keys.input).map(place_of);
        let Some(value) = keys.model else {
            let rest = body[opening + 1..].trim_ascii_start();
            let place = Place::Missing { at: opening + 1, alone: rest.starts_with(b"}") };
            return Ok(Self { name: None, place, streams, conversation });
        };
        let place = Place::Value(place_of(value));
        if value.get() == "null" {
            return Ok(Self { name: None, place, streams, conversation });
        }
        let Text(name) = serde_json::from_str(value.get()).map_err(|_| NotAnObject::Kind)?;
        Ok(Self { name: Some(name), place, streams, conversation })
    }

    /// The same without the body that it was read from.
    pub(crate) fn into_owned(self) -> Envelope<'static> {
        Envelope { name: self.name.map(|name| Cow::Owned(name.into_owned())), ..self }
    }

    /// The name, where there is one.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether the answer is to be an event stream.
    pub(crate) fn streams(&self) -> bool {
        self.streams
    }

    /// The JSON of `messages`, `prompt` or `input`, in the body that it was read from.
    pub(crate) fn conversation<'b>(&self, body: &'b [u8]) -> Option<&'b [u8]> {
        body.get(self.conversation.clone()?)
    }

    /// The body with this name in place of what it says; every other byte stays.
    pub(crate) fn replaced(&self, body: &Bytes, name: &str) -> Pieces {
        let quoted = serde_json::to_string(name).expect("a string is JSON");
        match &self.place {
            Place::Value(range) => Pieces::new([body.slice(..range.start), quoted.into(), body.slice(range.end..)]),
            Place::Missing { at, alone } => {
                let comma = if *alone { "" } else { "," };
                let field = format!("\"model\":{quoted}{comma}");
                Pieces::new([body.slice(..*at), field.into(), body.slice(*at..)])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn name(body: &str) -> Option<String> {
        Envelope::of(body.as_bytes()).unwrap().name().map(str::to_owned)
    }

    fn replaced(body: &str, by: &str) -> String {
        let bytes = Bytes::copy_from_slice(body.as_bytes());
        let pieces = Envelope::of(&bytes).unwrap().replaced(&bytes, by);
        String::from_utf8(pieces.concat()).unwrap()
    }

    #[test]
    fn the_name_is_found_wherever_it_stands() {
        assert_eq!(name(r#"{"model":"m"}"#).as_deref(), Some("m"));
        assert_eq!(name(" {\n\"a\" : {\"model\":\"inner\"} , \"model\" :\t\"m\" }\n").as_deref(), Some("m"));
        assert_eq!(name(r#"{"prompt":"\"model\":\"x\"","mod\u0065l":"\u0067pt\/4"}"#).as_deref(), Some("gpt/4"));
        assert_eq!(name(r#"{"model":"größe"}"#).as_deref(), Some("größe"));
        assert_eq!(name(r#"{"model":null}"#), None);
        assert_eq!(name("{}"), None);
    }

    #[test]
    fn what_else_decides_is_read_on_the_way() {
        let read = |body: &str| {
            let envelope = Envelope::of(body.as_bytes()).unwrap().into_owned();
            let conversation = envelope.conversation(body.as_bytes()).map(|c| String::from_utf8(c.to_vec()).unwrap());
            (envelope.streams(), conversation)
        };
        assert_eq!(read(r#"{"stream": true, "messages": [ 1 ], "prompt": 2}"#), (true, Some("[ 1 ]".into())));
        assert_eq!(read(r#"{"stream": "true", "prompt" : "p"}"#), (false, Some("\"p\"".into())));
        assert_eq!(read(r#"{"stream": null, "input":["i"]}"#), (false, Some("[\"i\"]".into())));
        assert_eq!(read("{}"), (false, None));
    }

    #[test]
    fn only_the_name_is_replaced() {
        assert_eq!(
            replaced("{ \"model\" : \"old\" ,\"x\":1.50e3}\n", "a\"b"),
            "{ \"model\" : \"a\\\"b\" ,\"x\":1.50e3}\n"
        );
        assert_eq!(replaced(r#"{"x":1,"model":null}"#, "m"), r#"{"x":1,"model":"m"}"#);
        assert_eq!(replaced(" { }", "m"), " {\"model\":\"m\" }");
        assert_eq!(replaced(r#"{"x":1}"#, "m"), r#"{"model":"m","x":1}"#);
    }

    #[test]
    fn what_is_not_an_object_with_one_model_is_refused() {
        let refused = |body: &str| Envelope::of(body.as_bytes()).unwrap_err();
        for body in ["{", "{\"model\":\"m\"} x", "model=m", "\u{feff}{}", "{\"a\":01}", "{'model':'m'}"] {
            assert!(matches!(refused(body), NotAnObject::Syntax(_)), "{body}");
        }
        for body in ["[\"m\"]", "\"m\"", "3", "null", r#"{"model":"a","model":"b"}"#, r#"{"model":null,"model":"b"}"#] {
            assert!(matches!(refused(body), NotAnObject::Shape(_)), "{body}");
        }
        for body in [r#"{"model":3}"#, r#"{"model":["m"]}"#, r#"{"model":{"x":1}}"#] {
            assert!(matches!(refused(body), NotAnObject::Kind), "{body}");
        }
        for body in ["", " \n"] {
            assert!(matches!(refused(body), NotAnObject::Empty), "{body:?}");
        }
    }

    #[test]
    fn deep_nesting_is_no_stack_overflow() {
        let body = format!("{{\"x\":{}{}}}", "[".repeat(1 << 20), "]".repeat(1 << 20));
        let _ = Envelope::of(body.as_bytes());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            Just(json!("\"model\":\"x\"")),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key(), inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    fn key() -> impl Strategy<Value = String> {
        prop_oneof![Just("model".to_owned()), "\\PC{0,8}".prop_map(String::from)]
    }

    proptest! {
        #[test]
        fn a_replaced_body_differs_in_its_model_alone(
            fields in prop::collection::vec((key(), any_json()), 0..6),
            model in prop_oneof![Just(None), Just(Some(Value::Null)), "\\PC{0,20}".prop_map(|m| Some(m.into()))],
            by in "\\PC{0,20}",
            spaced in any::<bool>(),
        ) {
            let mut object: Map<String, Value> = fields.into_iter().filter(|(key, _)| key != "model").collect();
            let name = model.as_ref().and_then(|m| m.as_str().map(str::to_owned));
            if let Some(model) = model {
                object.insert("model".into(), model);
            }
            let body = if spaced { serde_json::to_vec_pretty(&object) } else { serde_json::to_vec(&object) }.unwrap();
            let body = Bytes::from(body);
            let field = Envelope::of(&body).unwrap();
            prop_assert_eq!(field.name(), name.as_deref());
            let replaced: Map<String, Value> = serde_json::from_slice(&field.replaced(&body, &by).concat()).unwrap();
            object.insert("model".into(), by.into());
            prop_assert!(replaced == object);
        }

        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let body = Bytes::from(body);
            if let Ok(field) = Envelope::of(&body) {
                field.replaced(&body, "m");
            }
        }
    }
}
