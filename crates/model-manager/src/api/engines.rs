//! `/engines`: the list, one engine, the changes, a restart.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::Event;
use axum::{Extension, Json};
use futures::StreamExt;
use http::StatusCode;
use remora_service::{ApiError, ApiPath, Caller, sse};
use remora_types::EngineId;
use remora_types::engines::{Engine, EngineList};
use remora_types::error::ErrorBody;
use serde_json::json;
use tokio_stream::wrappers::WatchStream;

use crate::state::AppState;
use crate::supervisor::RestartError;

/// Every engine, with its state.
#[utoipa::path(get, path = "/engines", tag = "engines", responses((status = 200, body = EngineList)))]
pub(crate) async fn list(State(state): State<AppState>) -> Json<Arc<EngineList>> {
    Json(state.registry.list())
}

/// One engine.
#[utoipa::path(get, path = "/engines/{id}", tag = "engines", params(("id" = EngineId, Path, description = "As in the list")),
    responses((status = 200, body = Engine), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(state): State<AppState>,
    ApiPath(id): ApiPath<EngineId>,
) -> Result<Json<Engine>, ApiError> {
    state.registry.get(&id).map(Json).ok_or_else(|| unknown(&id))
}

/// The whole list at once and after each change, as server-sent events named `engines`.
#[utoipa::path(get, path = "/engines/events", tag = "engines",
    responses((status = 200, body = EngineList, content_type = "text/event-stream")))]
pub(crate) async fn events(State(state): State<AppState>) -> impl IntoResponse {
    let lists = WatchStream::new(state.registry.subscribe());
    let events = lists.map(|list| Event::default().event("engines").json_data(&*list).expect("a list is plain data"));
    sse::until_stop(&state.stop, events)
}

/// Stops a supervised engine and starts it again; answers when this has begun.
#[utoipa::path(post, path = "/engines/{id}/restart", tag = "engines",
    params(("id" = EngineId, Path, description = "As in the list")),
    responses((status = 202, body = Engine), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 503, body = ErrorBody)))]
pub(crate) async fn restart(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    ApiPath(id): ApiPath<EngineId>,
) -> Result<(StatusCode, Json<Engine>), ApiError> {
    let engine = state.registry.get(&id).ok_or_else(|| unknown(&id))?;
    state.supervisor.restart(&id)?;
    state.audit.record(&caller, "engine.restart", id.as_str(), json!({})).await;
    Ok((StatusCode::ACCEPTED, Json(engine)))
}

fn unknown(id: &EngineId) -> ApiError {
    ApiError::not_found("engine_not_found", format!("there is no engine {id}; GET /engines lists them"))
}

impl From<RestartError> for ApiError {
    fn from(error: RestartError) -> Self {
        match error {
            RestartError::Adopted { .. } => Self::conflict("engine_not_supervised", error.to_string()),
            RestartError::Stopping => Self::unavailable("stopping", error.to_string(), Duration::from_secs(5)),
        }
    }
}
