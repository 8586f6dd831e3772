//! Failures in vLLM's dialect: `{"error": {"message", "type", "param", "code"}}`, the code being the status.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use remora_protocol::openai::{ErrorBody, ErrorDetail};
use remora_service::ApiError;

use super::state::RETRY_AFTER;
use crate::request::RequestError;
use crate::scheduler::{EmbedError, GenerateError, SubmitError};

/// Renders a failure. A class that was not named is the status' own phrase, as vLLM names what its framework refuses.
pub(crate) fn vllm_dialect(error: &ApiError, _: &str) -> Response {
    let status = error.status();
    let kind = error.explicit_kind().map_or_else(
        || match status {
            StatusCode::INTERNAL_SERVER_ERROR => "InternalServerError".to_owned(),
            other => other.canonical_reason().unwrap_or("Error").to_owned(),
        },
        str::to_owned,
    );
    let error = ErrorDetail {
        message: error.message().to_owned(),
        kind: kind.into(),
        param: error.param().map(str::to_owned),
        code: status.as_u16(),
    };
    (status, Json(ErrorBody { error })).into_response()
}

/// The event that ends a stream which failed midway.
pub(super) fn stream_error(error: &GenerateError) -> ErrorBody {
    ErrorBody::new(500, "InternalServerError", error.to_string())
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        let message = error.to_string();
        match error {
            RequestError::Body(body) => {
                Self::bad_request("invalid_body", message).with_kind("Bad Request").with_param(body.place)
            }
            RequestError::Invalid(invalid) => {
                let error = Self::bad_request("invalid_parameter", message).with_kind("BadRequestError");
                match invalid.param {
                    Some(param) => error.with_param(param),
                    None => error,
                }
            }
            RequestError::Missing(missing) => Self::not_found("response_not_found", message)
                .with_kind("invalid_request_error")
                .with_param(missing.param),
            RequestError::Template(_) => Self::bad_request("invalid_messages", message).with_kind("BadRequestError"),
        }
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::QueueFull(_) => {
                let message = format!("The engine is busy: {error}. Try again in a moment.");
                Self::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", message)
                    .with_kind("RateLimitError")
                    .with_retry_after(RETRY_AFTER)
            }
            SubmitError::TooMany { .. } => {
                let message = format!("Too many answers: {error} (--max-queue).");
                Self::bad_request("too_many_answers", message).with_kind("BadRequestError").with_param("n")
            }
            SubmitError::Stopped => stopped(),
        }
    }
}

impl From<GenerateError> for ApiError {
    fn from(error: GenerateError) -> Self {
        match error {
            GenerateError::Failed => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "engine_failed", error.to_string())
                .with_kind("InternalServerError"),
            GenerateError::Stopped => stopped(),
        }
    }
}

impl From<EmbedError> for ApiError {
    fn from(error: EmbedError) -> Self {
        match error {
            EmbedError::Submit(error) => error.into(),
            EmbedError::Failed(error) => error.into(),
        }
    }
}

/// The model is not in yet.
pub(super) fn loading(part: f32) -> ApiError {
    let message = format!("The model is still being loaded ({:.0} %).", f64::from(part) * 100.0);
    ApiError::unavailable("model_loading", message, RETRY_AFTER).with_kind("ServiceUnavailableError")
}

/// The engine's thread is gone, and the process is about to be.
pub(super) fn stopped() -> ApiError {
    ApiError::unavailable("engine_stopped", "The engine has stopped.", RETRY_AFTER).with_kind("ServiceUnavailableError")
}

/// A model that is not served here.
pub(super) fn not_found_model(asked: &str, names: &[String]) -> ApiError {
    let message = format!("The model `{asked}` does not exist. Valid aliases: {}.", names.join(", "));
    ApiError::not_found("model_not_found", message).with_kind("NotFoundError").with_param("model")
}
