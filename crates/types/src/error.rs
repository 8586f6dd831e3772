//! The one error body of Remora's own APIs; `OpenAI`'s shape, so that every client already knows it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `{"error": {…}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// The failure.
    pub error: ErrorDetail,
}

/// What failed, on what, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail {
    /// For people: what happened and what to do next. Causes are logged, never sent.
    pub message: String,
    /// The class of failure, for example `invalid_request_error`.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// For programs: a stable `snake_case` word on our own APIs, the HTTP status as a number where vLLM sends one.
    pub code: Option<ErrorCode>,
    /// The part of the request at fault, where one is.
    pub param: Option<String>,
}

/// A stable word, or vLLM's number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ErrorCode {
    /// A `snake_case` word.
    Word(Cow<'static, str>),
    /// The HTTP status.
    Number(u16),
}
