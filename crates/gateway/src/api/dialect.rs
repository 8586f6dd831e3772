//! Failures in `OpenAI`'s own words.

use std::borrow::Cow;

use axum::Json;
use axum::response::{IntoResponse, Response};
use remora_service::ApiError;
use remora_types::error::{ErrorBody, ErrorCode, ErrorDetail};

/// Where the paths that imitate `OpenAI` and vLLM begin.
pub(crate) const IMITATED: [&str; 3] = ["/v1", "/tokenize", "/detokenize"];

/// Renders a failure as `OpenAI` does: its clients read `type`, `code` and `param`.
pub(crate) fn openai(error: &ApiError, _: &str) -> Response {
    let code = match error.code() {
        // The base's words for what OpenAI calls otherwise.
        "no_such_route" => Cow::Borrowed("unknown_url"),
        "method_not_allowed" => Cow::Borrowed("method_not_supported"),
        "no_identity" => Cow::Borrowed("invalid_api_key"),
        own => Cow::Owned(own.to_owned()),
    };
    let detail = ErrorDetail {
        message: error.message().to_owned(),
        kind: error.kind(),
        code: Some(ErrorCode::Word(code)),
        param: error.param().map(str::to_owned),
    };
    (error.status(), Json(ErrorBody { error: detail })).into_response()
}
