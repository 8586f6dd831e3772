//! vLLM's error body, and what a body that cannot be read is answered with.

use std::borrow::Cow;
use std::fmt::Write;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_path_to_error::Segment;
use utoipa::ToSchema;

/// `{"error": {…}}`, as an answer and as an event in a stream that failed midway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// The failure.
    pub error: ErrorDetail,
}

impl ErrorBody {
    /// A failure of this class and status.
    pub fn new(status: u16, kind: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { error: ErrorDetail { message: message.into(), kind: kind.into(), param: None, code: status } }
    }
}

/// What failed. The keys stand in vLLM's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail {
    /// For people.
    pub message: String,
    /// `BadRequestError`, `NotFoundError`, `InternalServerError`; `Bad Request` for a body of the wrong shape.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// The part of the request at fault.
    pub param: Option<String>,
    /// The HTTP status.
    pub code: u16,
}

/// Why a request body is refused before anything looks at what it asks. Displays as vLLM's message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("1 validation error:\n  {{'type': '{fault}', 'loc': '{place}', 'msg': '{message}'}}")]
pub struct BodyError {
    /// Pydantic's word for the fault: `json_invalid`, `missing`, `too_long`.
    pub fault: &'static str,
    /// Where: `body.messages.0.role`.
    pub place: String,
    /// What is wrong with it.
    pub message: String,
}

impl BodyError {
    /// A fault at this place, which begins with `body`.
    pub fn new(fault: &'static str, place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { fault, place: place.into(), message: message.into() }
    }

    /// Something that has to be there.
    pub fn missing(place: impl Into<String>) -> Self {
        Self::new("missing", place, "Field required")
    }
}

/// A body that [`parse_body`] reads.
pub trait RequestBody: DeserializeOwned {
    /// The part whose fields stand among the body's own (`#[serde(flatten)]`). Serde forgets where in such a part a
    /// fault is, so it is read once more, alone, to find out.
    type Inlined: DeserializeOwned;
}

/// Reads a request body, and says where it is wrong.
pub fn parse_body<T: RequestBody>(body: &[u8]) -> Result<T, BodyError> {
    if body.trim_ascii().is_empty() {
        return Err(BodyError::missing("body"));
    }
    parse(body).map_err(|error| match parse::<T::Inlined>(body) {
        Err(inner) if error.place == "body" && inner.place != "body" => inner,
        _ => error,
    })
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| if error.inner().is_data() { misshapen(&error) } else { malformed(body, error.inner()) })?;
    deserializer.end().map_err(|error| malformed(body, &error))?;
    Ok(value)
}

/// JSON of the wrong shape.
fn misshapen(error: &serde_path_to_error::Error<serde_json::Error>) -> BodyError {
    let mut place = "body".to_owned();
    for segment in error.path() {
        match segment {
            Segment::Seq { index } => write!(place, ".{index}"),
            Segment::Map { key } => write!(place, ".{key}"),
            Segment::Enum { .. } | Segment::Unknown => Ok(()),
        }
        .expect("a String takes everything");
    }
    let message = without_value(error.inner().to_string());
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    match missing {
        Some(field) => BodyError::missing(format!("{place}.{field}")),
        None => BodyError::new("type_error", place, message),
    }
}

/// Serde repeats a text of the wrong type whole. It may be a prompt, and messages go to logs.
fn without_value(message: String) -> String {
    match (message.find(": string \""), message.rfind("\", expected")) {
        (Some(start), Some(end)) => format!("{}{}", &message[..start + ": string".len()], &message[end + 1..]),
        _ => message,
    }
}

/// Text that is not JSON; the place is the offset in bytes, as vLLM counts it.
fn malformed(body: &[u8], error: &serde_json::Error) -> BodyError {
    let before: usize =
        body.split_inclusive(|&byte| byte == b'\n').take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    let offset = before + error.column().saturating_sub(1);
    BodyError::new("json_invalid", format!("body.{offset}"), format!("JSON decode error: {error}"))
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;
    use crate::openai::{ChatRequest, CompletionRequest};

    fn refusal<T: RequestBody + fmt::Debug>(body: &str) -> BodyError {
        parse_body::<T>(body.as_bytes()).unwrap_err()
    }

    #[test]
    fn text_that_is_not_json_says_where() {
        let error = refusal::<ChatRequest>("{\"model\": \"m\",\n oops}");
        assert_eq!((error.fault, error.place.as_str()), ("json_invalid", "body.16"));
        assert!(error.to_string().starts_with("1 validation error:\n  {'type': 'json_invalid', 'loc': 'body.16'"));
        assert_eq!(refusal::<ChatRequest>("\n").place, "body");
        assert_eq!(refusal::<ChatRequest>("{\"messages\": []} trailing").fault, "json_invalid");
    }

    #[test]
    fn a_missing_field_is_named() {
        let error = refusal::<ChatRequest>("{}");
        assert_eq!((error.fault, error.place.as_str()), ("missing", "body.messages"));
        let error = refusal::<ChatRequest>(r#"{"messages": [{"content": "hi"}]}"#);
        assert_eq!((error.fault, error.place.as_str()), ("missing", "body.messages.0.role"));
    }

    #[test]
    fn a_wrong_type_is_placed() {
        let error = refusal::<ChatRequest>(r#"{"messages": [], "stream": "yes"}"#);
        assert_eq!((error.fault, error.place.as_str()), ("type_error", "body.stream"));
        let error = refusal::<ChatRequest>(r#"{"messages": [], "temperature": "warm"}"#);
        assert_eq!((error.fault, error.place.as_str()), ("type_error", "body.temperature"));
        assert_eq!(error.message, "invalid type: string, expected f64 at line 1 column 38");
        assert_eq!(refusal::<CompletionRequest>("[1]").place, "body");
    }

    #[test]
    fn unknown_fields_and_nulls_are_accepted() {
        let body = r#"{"messages": [{"role": "user", "content": null}], "temperature": null, "wibble": {"a": 1}}"#;
        let request: ChatRequest = parse_body(body.as_bytes()).unwrap();
        assert_eq!(request.sampling.temperature, None);
    }

    proptest::proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse_body::<ChatRequest>(&body);
        }
    }
}
