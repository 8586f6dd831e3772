//! `GET /v1/models`.

use axum::Json;
use axum::extract::State;
use remora_protocol::openai::{ErrorBody, ModelCard, ModelList, ModelPermission};
use remora_service::{ApiError, ApiPath};

use super::answer::{random_id, unix_seconds};
use super::error::not_found_model;
use super::state::ApiState;
use crate::scheduler::ListedAdapter;

/// The model, under each of its names, and every adapter.
#[utoipa::path(get, path = "/v1/models", tag = "models",
    responses((status = 200, body = ModelList), (status = 503, body = ErrorBody)))]
pub(super) async fn models(State(state): State<ApiState>) -> Result<Json<ModelList>, ApiError> {
    Ok(Json(ModelList::new(cards(&state)?)))
}

/// One model or adapter by its name, which may have slashes in it.
#[utoipa::path(get, path = "/v1/models/{*model}", tag = "models", params(("model", description = "The model's name")),
    responses((status = 200, body = ModelCard), (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(super) async fn model(
    State(state): State<ApiState>,
    ApiPath(asked): ApiPath<String>,
) -> Result<Json<ModelCard>, ApiError> {
    let card = cards(&state)?.into_iter().find(|card| card.id == asked);
    card.map(Json).ok_or_else(|| not_found_model(&asked, &state.names))
}

fn cards(state: &ApiState) -> Result<Vec<ModelCard>, ApiError> {
    let limit = state.loaded()?.max_model_len;
    let models = state.names.iter().map(|name| ModelCard { max_model_len: Some(limit), ..card(name, &state.root) });
    let adapters = state
        .adapters
        .list()
        .into_iter()
        .map(|ListedAdapter { name, path }| ModelCard { parent: Some(state.name().to_owned()), ..card(&name, &path) });
    Ok(models.chain(adapters).collect())
}

fn card(name: &str, root: &str) -> ModelCard {
    let created = unix_seconds();
    ModelCard {
        id: name.to_owned(),
        object: "model".to_owned(),
        created,
        owned_by: "remora".to_owned(),
        root: Some(root.to_owned()),
        parent: None,
        max_model_len: None,
        permission: vec![ModelPermission { id: random_id("modelperm-"), created, ..ModelPermission::default() }],
    }
}
