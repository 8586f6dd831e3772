//! What supervisors and dashboards ask.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use remora_protocol::openai::{ErrorBody, VersionResponse};
use remora_types::status::Readiness;
use serde::Serialize;
use utoipa::ToSchema;

use super::state::ApiState;
use crate::scheduler::EngineState;

/// Why an engine is not healthy yet, or any more.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct Unhealthy {
    /// `loading`, `failed` or `stopped`.
    status: &'static str,
    /// How much of the model is in, 0 to 1.
    progress: Option<f32>,
    /// For people.
    pub(super) message: String,
}

/// Whether the model is loaded: 200 without a body, as vLLM answers, else 503 with how far it is.
#[utoipa::path(get, path = "/health", tag = "probes", responses((status = 200), (status = 503, body = Unhealthy)))]
pub(super) async fn health(State(state): State<ApiState>) -> Response {
    match unhealthy(&state) {
        None => StatusCode::OK.into_response(),
        Some(body) => (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], Json(body)).into_response(),
    }
}

/// The same in the words of Remora's services.
#[utoipa::path(get, path = "/ready", tag = "probes",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
pub(super) async fn ready(State(state): State<ApiState>) -> Response {
    let reasons = state.reasons();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready: reasons.is_empty(), reasons })).into_response()
}

/// The engine's version.
#[utoipa::path(get, path = "/version", tag = "probes",
    responses((status = 200, body = VersionResponse), (status = 401, body = ErrorBody)))]
pub(super) async fn version() -> Json<VersionResponse> {
    Json(VersionResponse { version: remora_service::VERSION.to_owned() })
}

/// Prometheus metrics under vLLM's names.
#[utoipa::path(get, path = "/metrics", tag = "probes", responses((status = 200, body = String)))]
pub(super) async fn metrics(State(state): State<ApiState>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], state.metrics.render()).into_response()
}

/// What keeps the engine from answering, if something does.
pub(super) fn unhealthy(state: &ApiState) -> Option<Unhealthy> {
    let body = |status, progress, message| Some(Unhealthy { status, progress, message });
    match state.engine.state() {
        EngineState::Ready(_) => None,
        EngineState::Loading(part) => {
            let message = format!("the model is being loaded ({:.0} %)", f64::from(part) * 100.0);
            body("loading", Some(part), message)
        }
        EngineState::Failed(why) => body("failed", None, why.to_string()),
        EngineState::Stopped => body("stopped", None, "the engine has stopped".into()),
    }
}
