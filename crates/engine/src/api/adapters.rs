//! vLLM's `POST /v1/load_lora_adapter` and `POST /v1/unload_lora_adapter`.
//!
//! Success is a line of plain text without a content type, as vLLM's is. Where vLLM says 500 and means that the adapter
//! is no good ("Call to `add_lora` method failed"), this says 400 in the same words: nothing is wrong with the engine.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use remora_protocol::openai::{ErrorBody, RequestBody};
use remora_service::ApiError;
use serde::Deserialize;
use serde::de::IgnoredAny;
use utoipa::ToSchema;

use super::error::stopped;
use super::extract::VllmJson;
use super::state::ApiState;
use crate::scheduler::AdaptersError;

/// An adapter to be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
pub(super) struct LoadAdapter {
    /// What requests are to call it by.
    lora_name: String,
    /// Where the engine finds it: a folder in PEFT's form, or a GGUF file.
    lora_path: String,
    /// Takes the place of a loaded adapter of this name.
    #[serde(default)]
    load_inplace: bool,
    /// For mixtures of experts in vLLM; of no meaning here.
    #[serde(default, rename = "is_3d_lora_weight")]
    _is_3d_lora_weight: bool,
}

impl RequestBody for LoadAdapter {
    type Inlined = IgnoredAny;
}

/// An adapter to be unloaded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
pub(super) struct UnloadAdapter {
    /// What requests call it by.
    lora_name: String,
    /// vLLM's number of the adapter, which it does not look at either.
    #[serde(default, rename = "lora_int_id")]
    _lora_int_id: Option<i64>,
}

impl RequestBody for UnloadAdapter {
    type Inlined = IgnoredAny;
}

/// Loads an adapter. Its files are read to the end before this answers, and never again.
#[utoipa::path(post, path = "/v1/load_lora_adapter", tag = "adapters", request_body = LoadAdapter,
    responses((status = 200, body = String), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 503, body = ErrorBody)))]
pub(super) async fn load(
    State(state): State<ApiState>,
    VllmJson(asked): VllmJson<LoadAdapter>,
) -> Result<Response, ApiError> {
    let LoadAdapter { lora_name: name, lora_path: path, load_inplace, .. } = asked;
    if name.is_empty() || path.is_empty() {
        return Err(bad_input("Both 'lora_name' and 'lora_path' must be provided."));
    }
    state.loaded()?;
    state.adapters.load(&name, &path, load_inplace).await?;
    Ok(success(format!("Success: LoRA adapter '{name}' added successfully.")))
}

/// Unloads an adapter. New requests do not find it from now on; those that have it are answered to the end, and this
/// answers when the last one is and the memory is free.
#[utoipa::path(post, path = "/v1/unload_lora_adapter", tag = "adapters", request_body = UnloadAdapter,
    responses((status = 200, body = String), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 503, body = ErrorBody)))]
pub(super) async fn unload(
    State(state): State<ApiState>,
    VllmJson(asked): VllmJson<UnloadAdapter>,
) -> Result<Response, ApiError> {
    let name = asked.lora_name;
    if name.is_empty() {
        return Err(bad_input("'lora_name' needs to be provided to unload a LoRA adapter."));
    }
    state.loaded()?;
    state.adapters.unload(&name).await?;
    Ok(success(format!("Success: LoRA adapter '{name}' removed successfully.")))
}

fn success(text: String) -> Response {
    Response::new(Body::from(text))
}

fn bad_input(message: impl Into<String>) -> ApiError {
    ApiError::bad_request("invalid_adapter_request", message).with_kind("InvalidUserInput")
}

impl From<AdaptersError> for ApiError {
    fn from(error: AdaptersError) -> Self {
        let message = error.to_string();
        match error {
            AdaptersError::NameTaken(_) | AdaptersError::IsBaseModel(_) => bad_input(message),
            AdaptersError::Unknown(_) | AdaptersError::NotFound { .. } => {
                Self::not_found("adapter_not_found", message).with_kind("NotFoundError")
            }
            AdaptersError::Unusable(_) | AdaptersError::Refused(_) | AdaptersError::Full(_) => {
                Self::bad_request("adapter_refused", message).with_kind("BadRequestError")
            }
            AdaptersError::Stopped => stopped(),
            AdaptersError::Broken(source) => Self::internal(source),
        }
    }
}
