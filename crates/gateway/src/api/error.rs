//! What the domain's failures are to a client.
//!
//! | status | code | when |
//! | --- | --- | --- |
//! | 400 | `malformed_json`, `invalid_body`, `unreadable_body` | the body is not a JSON object with one model |
//! | 400 | `unsupported_by_engine` | the model's engine has no such endpoint; another try will not help |
//! | 400 | `unsupported_content` | the settings say that the model takes no images, or no tools |
//! | 403 | `model_not_allowed` | the caller's key names other models |
//! | 404 | `model_not_found` | no engine has it |
//! | 408 | `request_timeout` | the body stopped arriving |
//! | 413 | `body_too_large` | |
//! | 429 | `rate_limit_exceeded` | the key has used up its tokens of this minute; with `Retry-After` |
//! | 429 | `queue_full` | every engine is busy and as many requests wait as may; with `Retry-After` |
//! | 502 | `upstream_failed`, `upstream_unauthorized` | the engine broke off before it answered, or refuses our key |
//! | 503 | `model_not_ready`, `no_engine`, `upstream_unreachable`, `engine_resting` | with `Retry-After` |
//! | 503 | `queue_timeout` | no engine had room in time; with `Retry-After` |
//! | 504 | `upstream_timeout` | the engine did not begin to answer |

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use remora_service::ApiError;
use remora_types::ModelId;
use remora_types::engines::EngineState;

use crate::body::{CollectError, NotAnObject};
use crate::directory::{DrawError, LookupError, Offer};
use crate::fallback::Reason;
use crate::models::Unfit;
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
    ModelNotAllowed {
        caller: String,
        model: ModelId,
    },
    OutOfTokens(Duration),
    /// Every engine that could take it has as much as it may. Never told to a client: it waits in line.
    Busy(Vec<Arc<Offer>>),
    QueueFull {
        model: ModelId,
    },
    /// The model cannot take what the request holds.
    Unfit {
        model: ModelId,
        what: Unfit,
    },
    WaitedTooLong {
        model: ModelId,
        waited: Duration,
    },
}

impl Failure {
    /// Whether the same request may succeed in a moment, and can be sent again: no byte of an answer came back.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Lookup(error) => error.may_pass(),
            Self::Busy(_)
            | Self::Upstream(
                UpstreamError::Unreachable { .. } | UpstreamError::BrokeOff { .. } | UpstreamError::NotReady { .. },
            ) => true,
            _ => false,
        }
    }

    /// Why the request may be answered elsewhere, if that would help.
    pub(super) fn reason(&self) -> Option<Reason> {
        match self {
            Self::Lookup(LookupError::UnknownModel { .. }) => Some(Reason::ModelMap),
            Self::Lookup(LookupError::Unsupported { .. })
            | Self::Upstream(UpstreamError::Slow { .. } | UpstreamError::KeyRefused { .. })
            | Self::Collect(_)
            | Self::Body(_)
            | Self::ModelNotAllowed { .. }
            | Self::Unfit { .. }
            | Self::OutOfTokens(_) => None,
            Self::Lookup(_)
            | Self::Upstream(
                UpstreamError::Unreachable { .. } | UpstreamError::BrokeOff { .. } | UpstreamError::NotReady { .. },
            ) => Some(Reason::NotReady),
            Self::Busy(_) | Self::QueueFull { .. } | Self::WaitedTooLong { .. } => Some(Reason::QueueFull),
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

impl From<DrawError> for Failure {
    fn from(error: DrawError) -> Self {
        match error {
            DrawError::Lookup(error) => Self::Lookup(error),
            DrawError::Busy(offers) => Self::Busy(offers),
        }
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
            Failure::Busy(offers) => Self::from(Failure::QueueFull { model: offers[0].model().clone() }),
            Failure::QueueFull { model } => {
                let message = format!("every engine of `{model}` is busy, and as many requests wait as may");
                Self::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", message).with_retry_after(LATER)
            }
            Failure::Unfit { model, what: Unfit::Images } => {
                let message = format!("`{model}` sees no images; leave them out, or ask a model that does");
                Self::bad_request("unsupported_content", message).with_param("messages")
            }
            Failure::Unfit { model, what: Unfit::Tools } => {
                let message = format!("`{model}` cannot call tools; leave them out, or ask a model that can");
                Self::bad_request("unsupported_content", message).with_param("tools")
            }
            Failure::WaitedTooLong { model, waited } => {
                let waited = waited.as_secs_f64();
                let message = format!("no engine of `{model}` had room within {waited:.1} s");
                Self::unavailable("queue_timeout", message, LATER)
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
            Self::Resting { after, .. } => ApiError::unavailable("engine_resting", message, after).with_param("model"),
            Self::Unsupported { .. } => ApiError::bad_request("unsupported_by_engine", message).with_param("model"),
        }
    }
}

impl IntoApi for UpstreamError {
    fn into_api(self) -> ApiError {
        let message = self.to_string();
        let error = match &self {
            Self::Unreachable { .. } => ApiError::unavailable("upstream_unreachable", message, SOON),
            Self::NotReady { .. } => ApiError::unavailable("upstream_not_ready", message, SOON),
            Self::BrokeOff { .. } => {
                ApiError::new(StatusCode::BAD_GATEWAY, "upstream_failed", message).with_retry_after(SOON)
            }
            Self::Slow { .. } => ApiError::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", message),
            Self::KeyRefused { .. } => ApiError::new(StatusCode::BAD_GATEWAY, "upstream_unauthorized", message),
        };
        match self {
            Self::Unreachable { source, .. } => error.with_source(source),
            Self::BrokeOff { source, .. } => error.with_source(source),
            Self::NotReady { .. } | Self::Slow { .. } | Self::KeyRefused { .. } => error,
        }
    }
}

fn back_in(state: EngineState) -> Duration {
    match state {
        EngineState::Initializing | EngineState::Downloading | EngineState::Loading => LATER,
        EngineState::Ready | EngineState::Failed | EngineState::Stopped => SOON,
    }
}
