//! vLLM's error body, and what a body that cannot be read is answered with.

use std::borrow::Cow;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
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
pub struct BodyError {
    /// Pydantic's word for the fault: `json_invalid`, `missing`, `value_error`.
    pub fault: &'static str,
    /// Where: `body.messages`.
    pub place: String,
    /// What is wrong with it.
    pub message: String,
}

impl BodyError {
    /// A value that is well-formed and wrong; `field` is a path below the body.
    pub fn value(field: &str, message: impl Into<String>) -> Self {
        Self { fault: "value_error", place: format!("body.{field}"), message: message.into() }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "1 validation error:\n  {{'type': '{}', 'loc': '{}', 'msg': '{}'}}",
            self.fault, self.place, self.message
        )
    }
}

/// Reads a request body, and says where it is wrong.
pub fn parse_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let parsed = serde_path_to_error::deserialize(&mut deserializer);
    match parsed {
        Ok(value) => match deserializer.end() {
            Ok(()) => Ok(value),
            Err(error) => Err(malformed(body, &error)),
        },
        Err(error) if error.inner().is_data() => {
            let message = error.inner().to_string();
            let at = error.path().to_string();
            let place =
                if at == "." { "body".to_owned() } else { format!("body.{}", at.replace('[', ".").replace(']', "")) };
            match missing_field(&message) {
                Some(field) => Err(BodyError {
                    fault: "missing",
                    place: format!("{place}.{field}"),
                    message: "Field required".into(),
                }),
                None => Err(BodyError { fault: "value_error", place, message }),
            }
        }
        Err(error) => Err(malformed(body, error.inner())),
    }
}

/// Text that is not JSON; the place is the offset in bytes, as vLLM counts it.
fn malformed(body: &[u8], error: &serde_json::Error) -> BodyError {
    let before: usize =
        body.split_inclusive(|&byte| byte == b'\n').take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    let offset = before + error.column().saturating_sub(1);
    BodyError { fault: "json_invalid", place: format!("body.{offset}"), message: format!("JSON decode error: {error}") }
}

fn missing_field(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.split('`').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::{ChatRequest, CompletionRequest};

    fn refusal<T: DeserializeOwned + fmt::Debug>(body: &str) -> BodyError {
        parse_body::<T>(body.as_bytes()).unwrap_err()
    }

    #[test]
    fn text_that_is_not_json_says_where() {
        let error = refusal::<ChatRequest>("{\"model\": \"m\",\n oops}");
        assert_eq!((error.fault, error.place.as_str()), ("json_invalid", "body.16"));
        assert!(error.to_string().starts_with("1 validation error:\n  {'type': 'json_invalid', 'loc': 'body.16'"));
        assert_eq!(refusal::<ChatRequest>("").fault, "json_invalid");
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
        assert_eq!((error.fault, error.place.as_str()), ("value_error", "body.stream"));
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
