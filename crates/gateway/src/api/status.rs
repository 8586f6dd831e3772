//! Why a request waits.

use axum::Json;
use axum::extract::State;
use remora_types::gateway::GatewayStatus;

use crate::state::GatewayState;

/// Each engine's state, since when and why, its models, slots and load; and how many requests wait for one.
#[utoipa::path(get, path = "/v1/status", tag = "models", responses((status = 200, body = GatewayStatus)))]
pub(super) async fn status(State(state): State<GatewayState>) -> Json<GatewayStatus> {
    let waiting = u64::try_from(state.metrics().held().get()).unwrap_or_default();
    Json(GatewayStatus { engines: state.directory().loads(), waiting })
}
