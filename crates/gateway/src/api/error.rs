//! What the domain's failures are to a client.
//!
//! | status | code | when |
//! | --- | --- | --- |
//! | 400 | `malformed_json`, `invalid_body`, `unreadable_body` | the body is not a JSON object with one model |
//! | 400 | `unsupported_by_engine` | the model's engine has no such endpoint; another try will not help |
//! | 403 | `model_not_allowed` | the caller's key names other models |
//! | 404 | `model_not_found` | no engine has it |
//! | 408 | `request_timeout` | the body stopped arriving |
//! | 413 | `body_too_large` | |
//! | 429 | `rate_limit_exceeded` | the key has used up its tokens of this minute; with `Retry-After` |
//! | 502 | `upstream_failed`, `upstream_unauthorized` | the engine broke off before it answered, or refuses our key |
//! | 503 | `model_not_ready`, `no_engine`, `upstream_unreachable` | with `Retry-After` |
//! | 504 | `upstream_timeout` | the engine did not begin to answer |

use std::time::Duration;

use http::StatusCode;
use remora_service::ApiError;
use remora_types::ModelId;
use remora_types::engines::EngineState;

use crate::body::{CollectError, NotAnObject};
use crate::directory::LookupError;
use crate::upstream::UpstreamError;

/// When to try again where an engine may be back at any moment.
const SOON: Duration = Duration::from_secs(2);

/// When to try again where something is being loaded or fetched.
const LATER: Duration = Duration::from_secs(5);

/// A failure of any step of a request.
#[derive(Debug)]
pub(super) enum Failure {
    Collect(CollectError),
    Body(NotAnObject),
    Lookup(LookupError),
    Upstream(UpstreamError),
    ModelNotAllowed { caller: String, model: ModelId },
    OutOfTokens(Duration),
}

impl Failure {
    /// Whether the same request may succeed in a moment, and can be sent again: no byte of an answer came back.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Lookup(error) => error.may_pass(),
            Self::Upstream(UpstreamError::Unreachable { .. } | UpstreamError::BrokeOff { .. }) => true,
            _ => false,
        }
    }

    /// Whether an engine was asked at all.
    pub(super) fn is_refusal(&self) -> bool {
        !matches!(self, Self::Upstream(_))
    }
}

impl From<CollectError> for Failure {
    fn from(error: CollectError) -> Self {
        Self::Collect(error)
    }
}

impl From<NotAnObject> for Failure {
    fn from(error: NotAnObject) -> Self {
        Self::Body(error)
    }
}

impl From<LookupError> for Failure {
    fn from(error: LookupError) -> Self {
        Self::Lookup(error)
    }
}

impl From<UpstreamError> for Failure {
    fn from(error: UpstreamError) -> Self {
        Self::Upstream(error)
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Collect(error) => error.into_api(),
            Failure::Body(error) => error.into_api(),
            Failure::Lookup(error) => error.into_api(),
            Failure::Upstream(error) => error.into_api(),
            Failure::ModelNotAllowed { caller, model } => {
                let message = format!("the {caller} may not ask {model}; GET /v1/models lists what it may");
                Self::new(StatusCode::FORBIDDEN, "model_not_allowed", message).with_param("model")
            }
            Failure::OutOfTokens(wait) => {
                let message = "the key has used up its tokens of this minute";
                Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", message).with_retry_after(wait)
            }
        }
    }
}

/// A domain failure as the client gets it.
pub(super) trait IntoApi {
    fn into_api(self) -> ApiError;
}

impl IntoApi for CollectError {
    fn into_api(self) -> ApiError {
        let message = self.to_string();
        match self {
            Self::TooLarge { .. } => ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message),
            Self::Stalled => ApiError::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", message),
            Self::Unreadable(source) => ApiError::bad_request("unreadable_body", message).with_source(source),
        }
    }
}

impl IntoApi for NotAnObject {
    fn into_api(self) -> ApiError {
        let message = self.to_string();
        match self {
            Self::Empty | Self::Syntax(_) => ApiError::bad_request("malformed_json", message),
            Self::Shape(_) => ApiError::bad_request("invalid_body", message),
            Self::Kind => ApiError::bad_request("invalid_body", message).with_param("model"),
        }
    }
}

impl IntoApi for LookupError {
    fn into_api(self) -> ApiError {
        let message = self.to_string();
        match self {
            Self::Unheard(_) | Self::NoEngine => ApiError::unavailable("no_engine", message, LATER),
            Self::UnknownModel { .. } => ApiError::not_found("model_not_found", message).with_param("model"),
            Self::NotYetKnown { state, .. } | Self::NotReady { state, .. } => {
                ApiError::unavailable("model_not_ready", message, back_in(state)).with_param("model")
            }
            Self::Unsupported { .. } => ApiError::bad_request("unsupported_by_engine", message).with_param("model"),
        }
    }
}

impl IntoApi for UpstreamError {
    fn into_api(self) -> ApiError {
        let message = self.to_string();
        let error = match &self {
            Self::Unreachable { .. } => ApiError::unavailable("upstream_unreachable", message, SOON),
            Self::BrokeOff { .. } => {
                ApiError::new(StatusCode::BAD_GATEWAY, "upstream_failed", message).with_retry_after(SOON)
            }
            Self::Slow { .. } => ApiError::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", message),
            Self::KeyRefused { .. } => ApiError::new(StatusCode::BAD_GATEWAY, "upstream_unauthorized", message),
        };
        match self {
            Self::Unreachable { source, .. } | Self::BrokeOff { source, .. } => error.with_source(source),
            Self::Slow { .. } | Self::KeyRefused { .. } => error,
        }
    }
}

fn back_in(state: EngineState) -> Duration {
    match state {
        EngineState::Initializing | EngineState::Downloading | EngineState::Loading => LATER,
        EngineState::Ready | EngineState::Failed | EngineState::Stopped => SOON,
    }
}
