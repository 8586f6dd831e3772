//! Keys: made, listed and revoked here, and read by every service.

use axum::extract::State;
use axum::{Extension, Json};
use http::StatusCode;
use remora_service::identity::{KeyStore, KeyStoreError};
use remora_service::{ApiError, ApiJson, ApiPath, Caller};
use remora_types::error::ErrorBody;
use remora_types::identity::{CreatedKey, KeyInfo, KeyList, NewKey};
use serde_json::json;

use super::error::IntoApi;
use crate::state::GatewayState;

/// Makes a key. The answer is the only time that it is shown.
#[utoipa::path(post, path = "/keys", tag = "keys", request_body = NewKey,
    responses((status = 201, body = CreatedKey), (status = 400, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(super) async fn create(
    State(state): State<GatewayState>,
    Extension(caller): Extension<Caller>,
    ApiJson(new): ApiJson<NewKey>,
) -> Result<(StatusCode, Json<CreatedKey>), ApiError> {
    let key = store(&state)?.create(new, caller.who().to_string()).await.map_err(IntoApi::into_api)?;
    let details = json!({
        "id": key.info.id, "role": key.info.role, "models": key.info.models, "expires_at": key.info.expires_at,
        "requests_per_minute": key.info.requests_per_minute, "tokens_per_minute": key.info.tokens_per_minute,
    });
    state.audit.record(&caller, "key.create", key.info.name.as_str(), details).await;
    Ok((StatusCode::CREATED, Json(key)))
}

/// Every key without its secret, the newest first.
#[utoipa::path(get, path = "/keys", tag = "keys", responses((status = 200, body = KeyList)))]
pub(super) async fn list(State(state): State<GatewayState>) -> Result<Json<KeyList>, ApiError> {
    Ok(Json(KeyList { keys: store(&state)?.list().await.map_err(IntoApi::into_api)? }))
}

/// Ends a key, by its name or id, within a second everywhere. One that has ended already stays as it was.
#[utoipa::path(delete, path = "/keys/{key}", tag = "keys", params(("key" = String, Path, description = "Name or id")),
    responses((status = 200, body = KeyInfo), (status = 404, body = ErrorBody)))]
pub(super) async fn revoke(
    State(state): State<GatewayState>,
    Extension(caller): Extension<Caller>,
    ApiPath(key): ApiPath<String>,
) -> Result<Json<KeyInfo>, ApiError> {
    let info = store(&state)?.revoke(&key).await.map_err(IntoApi::into_api)?;
    state.audit.record(&caller, "key.revoke", info.name.as_str(), json!({"id": info.id})).await;
    Ok(Json(info))
}

fn store(state: &GatewayState) -> Result<&KeyStore, ApiError> {
    let none = || ApiError::conflict("no_keys", "this gateway runs without keys");
    state.keys.as_ref().ok_or_else(none)
}

impl IntoApi for KeyStoreError {
    fn into_api(self) -> ApiError {
        let message = self.to_string();
        match self {
            Self::NameTaken(_) => ApiError::conflict("key_name_taken", message).with_param("name"),
            Self::Unknown(_) => ApiError::not_found("key_not_found", message),
            Self::Expired => ApiError::bad_request("invalid_expiry", message).with_param("expires_at"),
            Self::Open(source) => ApiError::internal(source),
            Self::Storage(source) => ApiError::internal(source),
            Self::Randomness => ApiError::internal(message),
        }
    }
}
