//! Which models there are, in the shape of whoever asks: `anthropic-version` is sent by every client of Anthropic's API,
//! and by no other.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::HeaderMap;
use http::header::{CONTENT_TYPE, VARY};
use remora_protocol::anthropic;
use remora_protocol::openai::{ModelCard, ModelList};
use remora_service::{ApiError, ApiPath, Caller, RequestId};
use remora_types::error::ErrorBody;

use super::error::IntoApi;
use crate::state::GatewayState;

const ANTHROPIC_VERSION: &str = "anthropic-version";

/// Every model and adapter of every engine, each once, then aliases (`root` says of what). In Anthropic's shape, on one
/// page, where the request has an `anthropic-version`.
#[utoipa::path(get, path = "/v1/models", tag = "models",
    params(("anthropic-version" = Option<String>, Header, description = "Asks for Anthropic's shape")),
    responses((status = 200, body = ModelList)))]
pub(super) async fn list(
    State(state): State<GatewayState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Response {
    let table = state.directory.table();
    if headers.contains_key(ANTHROPIC_VERSION) {
        let models = table.list(|model| caller.may_ask(model)).data;
        let models = anthropic::ModelList::new(models.iter().map(anthropic::ModelInfo::from).collect());
        return ([(VARY, ANTHROPIC_VERSION)], Json(models)).into_response();
    }
    if caller.info().models.is_some() {
        let list = table.render(&table.list(|model| caller.may_ask(model)));
        return ([(CONTENT_TYPE, "application/json")], list).into_response();
    }
    ([(CONTENT_TYPE, "application/json")], table.rendered()).into_response()
}

/// One of them, in the shape of whoever asks. The name may stand as one percent-encoded segment or with its slashes
/// bare.
#[utoipa::path(get, path = "/v1/models/{*name}", tag = "models",
    params(("name" = String, Path),
        ("anthropic-version" = Option<String>, Header, description = "Asks for Anthropic's shape")),
    responses((status = 200, body = ModelCard), (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(super) async fn get(
    State(state): State<GatewayState>,
    Extension(caller): Extension<Caller>,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    ApiPath(name): ApiPath<String>,
) -> Result<Response, ApiError> {
    let table = state.directory.table();
    let visible = |card: &&ModelCard| card.id.parse().is_ok_and(|id| caller.may_ask(&id));
    let card = table.card(&name).filter(visible).ok_or_else(|| table.unknown(&name, None).into_api());
    if !headers.contains_key(ANTHROPIC_VERSION) {
        return card.cloned().map(|card| Json(card).into_response());
    }
    Ok(match card {
        Ok(card) => Json(anthropic::ModelInfo::from(card)).into_response(),
        Err(error) => super::anthropic(&error, id.as_str()),
    })
}
