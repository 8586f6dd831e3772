//! The one error of every handler, and the dialects it is told in.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use remora_types::error::{ErrorBody, ErrorCode, ErrorDetail};

use crate::lifecycle::BoxError;

/// A failure on its way to the caller.
///
/// `message` is for the caller: what happened, on what, and what to do next. `source` is for the log only. The frame
/// around every service logs it once and renders it in the path's [`Dialect`].
#[derive(Debug, Clone)]
pub struct ApiError {
    status: StatusCode,
    code: Cow<'static, str>,
    kind: Option<Cow<'static, str>>,
    // Boxed: the error travels in every `Result`.
    message: Box<str>,
    param: Option<Box<str>>,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// Renders a failure for one family of paths: our own, `OpenAI`'s, vLLM's, Anthropic's. Gets the failure and the
/// request's id.
pub type Dialect = fn(&ApiError, request_id: &str) -> Response;

impl ApiError {
    /// A failure with its status, its stable `snake_case` code, and what the caller should read.
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            kind: None,
            message: message.into().into(),
            param: None,
            retry_after: None,
            source: None,
        }
    }

    /// 400: malformed.
    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 404: absent.
    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 409: conflicting state.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 422: understood but invalid.
    pub fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }

    /// 503: not ready; the caller may try again after this long.
    pub fn unavailable(code: &'static str, message: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message).with_retry_after(retry_after)
    }

    /// 500: our bug. The caller learns only that; the cause goes to the log.
    pub fn internal(source: impl Into<BoxError>) -> Self {
        let message = "something went wrong inside Remora; its log has the cause under this request id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message).with_source(source)
    }

    /// Adds the part of the request at fault.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into().into());
        self
    }

    /// Replaces the class of failure (`type`), which otherwise follows from the status.
    #[must_use]
    pub fn with_kind(mut self, kind: impl Into<Cow<'static, str>>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Adds a `Retry-After` header, rounded up to whole seconds.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Adds the cause, for the log.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable word for programs.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What the caller reads.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The part of the request at fault.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }

    /// The class of failure: as set, else `OpenAI`'s word for the status.
    #[must_use]
    pub fn kind(&self) -> Cow<'static, str> {
        self.kind.clone().unwrap_or(Cow::Borrowed(match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        }))
    }

    /// The class of failure that was set, if one was.
    #[must_use]
    pub fn explicit_kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// Writes the failure to the log: our faults as errors with their causes, callers' as debug.
    pub(crate) fn log(&self) {
        let (status, code) = (self.status.as_u16(), self.code());
        let cause = self.source.as_deref().map(chain).unwrap_or_default();
        if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(status, code, cause, "{}", self.message);
        } else if self.status.is_server_error() {
            tracing::warn!(status, code, cause, "{}", self.message);
        } else {
            tracing::debug!(status, code, cause, "{}", self.message);
        }
    }

    /// Puts `Retry-After` on a rendered answer.
    pub(crate) fn decorate(&self, response: &mut Response) {
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
    }
}

/// A cause and its causes, in one line.
fn chain(error: &(dyn StdError + Send + Sync + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Our own dialect: [`ErrorBody`] with a word as its code.
pub fn remora_body(error: &ApiError, _: &str) -> Response {
    let body = ErrorBody {
        error: ErrorDetail {
            message: error.message.to_string(),
            kind: error.kind(),
            code: Some(ErrorCode::Word(error.code.clone())),
            param: error.param.as_deref().map(str::to_owned),
        },
    };
    (error.status, axum::Json(body)).into_response()
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for ApiError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}

impl IntoResponse for ApiError {
    /// Leaves the failure in the answer's extensions: the frame, which knows the path, renders it.
    fn into_response(self) -> Response {
        let mut response = remora_body(&self, "");
        response.extensions_mut().insert(self);
        response
    }
}
