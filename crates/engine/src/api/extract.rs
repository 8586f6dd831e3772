//! Reading bodies, refused in vLLM's words.

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use remora_protocol::openai::{RequestBody, parse_body};
use remora_service::ApiError;

use crate::request::RequestError;

/// A JSON body. vLLM insists on the content type; this does not, since half of all hand-written curl lines forget it.
#[derive(Debug)]
pub(super) struct VllmJson<T>(pub(super) T);

impl<T: RequestBody, S: Send + Sync> FromRequest<S> for VllmJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let body = Bytes::from_request(request, state).await?;
        parse_body(&body).map(Self).map_err(|error| RequestError::from(error).into())
    }
}

/// Runs work that would hold up an async thread.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RequestError> + Send + 'static,
) -> Result<T, ApiError> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(ApiError::internal)??)
}
