//! Which models there are.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::header::CONTENT_TYPE;
use remora_protocol::openai::{ModelCard, ModelList};
use remora_service::{ApiError, ApiPath, Caller};
use remora_types::error::ErrorBody;

use super::error::IntoApi;
use crate::state::GatewayState;

/// Every model and adapter of every engine, each once, then aliases (`root` says of what).
#[utoipa::path(get, path = "/v1/models", tag = "models", responses((status = 200, body = ModelList)))]
pub(super) async fn list(State(state): State<GatewayState>, Extension(caller): Extension<Caller>) -> Response {
    let table = state.directory().table();
    if caller.info().models.is_some() {
        return Json(table.list(|model| caller.may_ask(model))).into_response();
    }
    ([(CONTENT_TYPE, "application/json")], table.rendered()).into_response()
}

/// One of them. The name may stand as one percent-encoded segment or with its slashes bare.
#[utoipa::path(get, path = "/v1/models/{*name}", tag = "models", params(("name" = String, Path)),
    responses((status = 200, body = ModelCard), (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(super) async fn get(
    State(state): State<GatewayState>,
    Extension(caller): Extension<Caller>,
    ApiPath(name): ApiPath<String>,
) -> Result<Json<ModelCard>, ApiError> {
    let table = state.directory().table();
    let visible = |card: &&ModelCard| card.id.parse().is_ok_and(|id| caller.may_ask(&id));
    table.card(&name).filter(visible).cloned().map(Json).ok_or_else(|| table.unknown(&name, None).into_api())
}
