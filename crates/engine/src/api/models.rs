//! `GET /v1/models`.

use axum::Json;
use axum::extract::State;
use remora_protocol::openai::{ErrorBody, ModelCard, ModelList, ModelPermission};
use remora_service::{ApiError, ApiPath};

use super::answer::{random_id, unix_seconds};
use super::error::not_found_model;
use super::state::ApiState;

/// The model, under each of its names.
#[utoipa::path(get, path = "/v1/models", tag = "models",
    responses((status = 200, body = ModelList), (status = 503, body = ErrorBody)))]
pub(super) async fn models(State(state): State<ApiState>) -> Result<Json<ModelList>, ApiError> {
    let limit = state.loaded()?.max_model_len;
    Ok(Json(ModelList::new(state.names.iter().map(|name| card(name, &state.root, limit)).collect())))
}

/// One model by its name, which may have slashes in it.
#[utoipa::path(get, path = "/v1/models/{*model}", tag = "models", params(("model", description = "The model's name")),
    responses((status = 200, body = ModelCard), (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(super) async fn model(
    State(state): State<ApiState>,
    ApiPath(asked): ApiPath<String>,
) -> Result<Json<ModelCard>, ApiError> {
    let limit = state.loaded()?.max_model_len;
    match state.names.iter().find(|name| **name == asked) {
        Some(name) => Ok(Json(card(name, &state.root, limit))),
        None => Err(not_found_model(&asked, &state.names)),
    }
}

fn card(name: &str, root: &str, max_model_len: u32) -> ModelCard {
    let created = unix_seconds();
    ModelCard {
        id: name.to_owned(),
        object: "model".to_owned(),
        created,
        owned_by: "remora".to_owned(),
        root: Some(root.to_owned()),
        parent: None,
        max_model_len: Some(max_model_len),
        permission: vec![ModelPermission { id: random_id("modelperm-"), created, ..ModelPermission::default() }],
    }
}
