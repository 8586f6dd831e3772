//! Why a request waits.

use axum::Json;
use axum::extract::State;
use remora_types::gateway::GatewayStatus;

use crate::state::GatewayState;

/// Each engine's state, since when and why, its models, load, limit and breaker; and how many requests wait.
#[utoipa::path(get, path = "/v1/status", tag = "models", responses((status = 200, body = GatewayStatus)))]
pub(super) async fn status(State(state): State<GatewayState>) -> Json<GatewayStatus> {
    let waiting = u64::try_from(state.metrics.held().get()).unwrap_or_default();
    let queued = state.directory.queue().len() as u64;
    Json(GatewayStatus { engines: state.directory.loads(), waiting, queued })
}
