//! Anthropic's error body, and engines' failures in its words.

mod overflow;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::openai::BodyError;

/// `{"type": "error", "error": {…}}`, as an answer and as an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AnthropicErrorBody)]
pub struct ErrorBody {
    /// `error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The failure.
    pub error: ErrorDetail,
    /// `req_…`; the same as the `request-id` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AnthropicErrorDetail)]
pub struct ErrorDetail {
    /// What kind of failure.
    #[serde(rename = "type")]
    pub kind: ErrorKind,
    /// For people; clients read it too where a conversation is too long.
    pub message: String,
}

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum ErrorKind {
    /// 400: the request is wrong.
    #[serde(rename = "invalid_request_error")]
    InvalidRequest,
    /// 401: no key, or a wrong one.
    #[serde(rename = "authentication_error")]
    Authentication,
    /// 402: nothing left to pay with.
    #[serde(rename = "billing_error")]
    Billing,
    /// 403: not allowed.
    #[serde(rename = "permission_error")]
    Permission,
    /// 404: no such model or route.
    #[serde(rename = "not_found_error")]
    NotFound,
    /// 413: more bytes than are taken.
    #[serde(rename = "request_too_large")]
    TooLarge,
    /// 429: too many requests.
    #[serde(rename = "rate_limit_error")]
    RateLimit,
    /// 500: something failed here or in the engine.
    #[serde(rename = "api_error")]
    Api,
    /// 504: the engine took too long.
    #[serde(rename = "timeout_error")]
    Timeout,
    /// 529: nothing free at the moment; come again.
    #[serde(rename = "overloaded_error")]
    Overloaded,
}

impl ErrorKind {
    /// The status that goes with it.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Authentication => 401,
            Self::Billing => 402,
            Self::Permission => 403,
            Self::NotFound => 404,
            Self::TooLarge => 413,
            Self::RateLimit => 429,
            Self::Api => 500,
            Self::Timeout => 504,
            Self::Overloaded => 529,
        }
    }

    /// The kind that goes with a status. 503 is `overloaded_error`: Anthropic has no other word for "not now".
    #[must_use]
    pub fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Authentication,
            402 => Self::Billing,
            403 => Self::Permission,
            404 => Self::NotFound,
            413 => Self::TooLarge,
            429 => Self::RateLimit,
            408 | 504 => Self::Timeout,
            503 | 529 => Self::Overloaded,
            400..500 => Self::InvalidRequest,
            _ => Self::Api,
        }
    }
}

/// A failure, ready to be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The HTTP status.
    pub status: u16,
    /// What kind of failure.
    pub kind: ErrorKind,
    /// For people.
    pub message: String,
}

impl Failure {
    /// A failure with the status of its kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { status: kind.status(), kind, message: message.into() }
    }

    /// A failure of this status. 503 becomes 529, which clients know to come back from; 422 becomes 400.
    pub fn of_status(status: u16, message: impl Into<String>) -> Self {
        let kind = ErrorKind::of_status(status);
        let status = match status {
            503 | 422 => kind.status(),
            400.. => status,
            _ => kind.status(),
        };
        Self { status, kind, message: message.into() }
    }

    /// An engine's refusal: its status and body, of which `message` is kept. A conversation that is too long is told
    /// in the words that clients act on (`prompt is too long: N tokens > M maximum`); `input_tokens` is how long it
    /// is where the caller knows, since vLLM stops counting at its limit.
    pub fn of_engine(status: u16, body: &[u8], input_tokens: Option<u64>) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        Self::of_value(status, &body, input_tokens)
    }

    /// Whether it says that the conversation is too long for the model, in the words that clients act on.
    #[must_use]
    pub fn is_overflow(&self) -> bool {
        overflow::is_reworded(&self.message)
    }

    /// Whether it says so without the prompt's length, because the engine did not tell it.
    #[must_use]
    pub fn is_uncounted_overflow(&self) -> bool {
        overflow::is_uncounted(&self.message)
    }

    /// A request body that could not be read.
    pub(super) fn of_body(error: &BodyError) -> Self {
        let message = match (error.fault, error.place.strip_prefix("body.")) {
            ("json_invalid", _) => {
                let why = error.message.strip_prefix("JSON decode error: ").unwrap_or(&error.message);
                format!("The request body is not valid JSON: {why}")
            }
            ("missing", None) => "The request body is empty".to_owned(),
            (_, Some(place)) => format!("{place}: {}", error.message),
            (_, None) => error.message.clone(),
        };
        Self::new(ErrorKind::InvalidRequest, message)
    }

    /// An error in place of an event or an answer: the status stands in its body, if anywhere.
    pub(super) fn of_event(body: &[u8], input_tokens: Option<u64>) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let detail = detail(&body);
        let code = detail["code"].as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400);
        let status = code.or_else(|| status_of_type(detail["type"].as_str()?)).unwrap_or(500);
        Self::of_value(status, &body, input_tokens)
    }

    fn of_value(status: u16, body: &Value, input_tokens: Option<u64>) -> Self {
        let detail = detail(body);
        let said = [detail["message"].as_str(), detail["detail"].as_str(), detail.as_str()];
        let said = said.into_iter().flatten().find(|text| !text.trim().is_empty());
        if (400..500).contains(&status)
            && let Some(message) = overflow::reworded(said.unwrap_or_default(), detail, input_tokens)
        {
            return Self::new(ErrorKind::InvalidRequest, message);
        }
        match said {
            Some(message) => Self::of_status(status, message),
            None => Self::of_status(status, format!("The engine answered with status {status} and did not say why.")),
        }
    }

    pub(super) fn unreadable() -> Self {
        Self::new(ErrorKind::Api, "The engine sent something that is no answer.")
    }

    pub(super) fn given_up() -> Self {
        Self::new(ErrorKind::Api, "The engine gave up its answer.")
    }

    pub(super) fn cut_off() -> Self {
        Self::new(ErrorKind::Api, "The engine's answer was cut off before its end.")
    }

    pub(super) fn too_large() -> Self {
        Self::new(ErrorKind::Api, "The engine sent more than can be held.")
    }

    /// The body. Clients show `request_id` to people.
    #[must_use]
    pub fn body(&self, request_id: Option<&str>) -> ErrorBody {
        ErrorBody {
            kind: "error".to_owned(),
            error: ErrorDetail { kind: self.kind, message: self.message.clone() },
            request_id: request_id.map(str::to_owned),
        }
    }
}

/// Where the details stand: under `error`, or beside it on older vLLM.
fn detail(body: &Value) -> &Value {
    body.get("error").filter(|error| !error.is_null()).unwrap_or(body)
}

/// The status that an error without one means.
fn status_of_type(kind: &str) -> Option<u16> {
    Some(match kind {
        "BadRequestError" | "Bad Request" | "invalid_request_error" | "exceed_context_size_error" => 400,
        "AuthenticationError" | "authentication_error" => 401,
        "PermissionDeniedError" | "permission_error" => 403,
        "NotFoundError" | "not_found_error" => 404,
        "RateLimitError" | "rate_limit_error" => 429,
        "unavailable_error" | "overloaded_error" | "ServiceUnavailableError" => 503,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(status: u16, body: &Value) -> (u16, ErrorKind, String) {
        let Failure { status, kind, message } = Failure::of_engine(status, body.to_string().as_bytes(), None);
        (status, kind, message)
    }

    #[test]
    fn statuses_become_kinds() {
        let kinds = [
            (400, 400, "invalid_request_error"),
            (401, 401, "authentication_error"),
            (402, 402, "billing_error"),
            (403, 403, "permission_error"),
            (404, 404, "not_found_error"),
            (409, 409, "invalid_request_error"),
            (413, 413, "request_too_large"),
            (422, 400, "invalid_request_error"),
            (429, 429, "rate_limit_error"),
            (500, 500, "api_error"),
            (502, 502, "api_error"),
            (503, 529, "overloaded_error"),
            (504, 504, "timeout_error"),
            (529, 529, "overloaded_error"),
            (302, 500, "api_error"),
        ];
        for (status, answered, kind) in kinds {
            let failure = Failure::of_status(status, "why");
            assert_eq!(failure.status, answered, "{status}");
            assert_eq!(serde_json::to_value(failure.kind).unwrap(), kind, "{status}");
        }
    }

    #[test]
    fn the_engines_message_is_kept_wherever_it_stands() {
        let invalid = ErrorKind::InvalidRequest;
        assert_eq!(
            told(400, &json!({"error": {"message": "no", "type": "BadRequestError", "param": null, "code": 400}})),
            (400, invalid, "no".into())
        );
        assert_eq!(told(400, &json!({"object": "error", "message": "old", "code": 400})), (400, invalid, "old".into()));
        assert_eq!(told(404, &json!({"detail": "Not Found"})), (404, ErrorKind::NotFound, "Not Found".into()));
        assert_eq!(told(500, &json!({"error": "plain"})), (500, ErrorKind::Api, "plain".into()));
        let silent = Failure::of_engine(502, b"<html>", None);
        assert_eq!(silent.message, "The engine answered with status 502 and did not say why.");
    }

    #[test]
    fn an_event_says_its_status_itself() {
        let told = |body: &str| Failure::of_event(body.as_bytes(), None).kind;
        assert_eq!(told(r#"{"error": {"message": "m", "code": 404}}"#), ErrorKind::NotFound);
        assert_eq!(told(r#"{"error": {"message": "m", "type": "RateLimitError"}}"#), ErrorKind::RateLimit);
        assert_eq!(told(r#"{"error": {"message": "m", "code": "engine_lost"}}"#), ErrorKind::Api);
        assert_eq!(told(r#"{"error": "m"}"#), ErrorKind::Api);
    }

    #[test]
    fn the_body_has_anthropics_shape() {
        let body = Failure::new(ErrorKind::Overloaded, "later").body(Some("req_1"));
        let expected = json!({
            "type": "error", "error": {"type": "overloaded_error", "message": "later"}, "request_id": "req_1",
        });
        assert_eq!(serde_json::to_value(body).unwrap(), expected);
    }
}
