//! `GET /agents` and `GET /bundles/…`: what bundles there are, and whole bundles.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Method};
use remora_service::{ApiError, ApiPath};
use remora_types::AgentName;
use remora_types::agents::{BundleDetail, BundleList};
use remora_types::error::ErrorBody;

use super::files::changing;
use super::respond::respond;
use crate::folder::ArchiveError;
use crate::state::AppState;

/// Every bundle: a directory with a `bundle.yaml`. What is wrong with one stands in its `faults`.
#[utoipa::path(method(get, head), path = "/agents", tag = "bundles",
    responses((status = 200, body = BundleList), (status = 304, description = "The caller has it already")))]
pub(super) async fn list(
    State(state): State<AppState>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let snapshot = state.folder.current();
    respond(snapshot.list(), &method, &headers).await.map_err(ApiError::internal)
}

/// One bundle, with everything that its `bundle.yaml` says.
#[utoipa::path(method(get, head), path = "/bundles/{name}", tag = "bundles",
    params(("name" = String, Path, description = "The bundle's folder")),
    responses(
        (status = 200, body = BundleDetail),
        (status = 304, description = "The caller has it already"),
        (status = 404, description = "There is no such bundle", body = ErrorBody),
    ))]
pub(super) async fn bundle(
    State(state): State<AppState>,
    ApiPath(name): ApiPath<AgentName>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let snapshot = state.folder.current();
    let entry = snapshot.bundle(&name).ok_or_else(|| no_such_bundle(&name))?;
    respond(&entry.detail, &method, &headers).await.map_err(ApiError::internal)
}

/// A bundle's files as a `tar.gz`, files at its root. Its `ETag` is the bundle's digest, and equal digests mean equal
/// bytes.
#[utoipa::path(method(get, head), path = "/bundles/{name}/archive.tar.gz", tag = "bundles",
    params(("name" = String, Path, description = "The bundle's folder")),
    responses(
        (status = 200, description = "The archive", content_type = "application/gzip"),
        (status = 206, description = "The range", content_type = "application/gzip"),
        (status = 304, description = "The caller has it already"),
        (status = 404, description = "There is no such bundle", body = ErrorBody),
        (status = 412, description = "It is none of the versions in If-Match", body = ErrorBody),
        (status = 422, description = "It is too large for an archive", body = ErrorBody),
        (status = 503, description = "It is being rewritten just now", body = ErrorBody),
    ))]
pub(super) async fn archive(
    State(state): State<AppState>,
    ApiPath(name): ApiPath<AgentName>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let archive = state.folder.archive(|snapshot| snapshot.bundle(&name).map(|entry| entry.packing.clone())).await;
    let resource = archive.map_err(archive_failed)?.ok_or_else(|| no_such_bundle(&name))?;
    respond(&resource, &method, &headers).await.map_err(ApiError::internal)
}

/// Why there is no archive.
pub(super) fn archive_failed(error: ArchiveError) -> ApiError {
    match error {
        ArchiveError::TooLarge(too_large) => {
            ApiError::invalid("archive_too_large", format!("{too_large}; fetch its files one by one from /agents"))
        }
        ArchiveError::Unreadable(source) => changing(source),
    }
}

fn no_such_bundle(name: &AgentName) -> ApiError {
    ApiError::not_found("no_such_bundle", format!("there is no bundle {name}; GET /agents lists what there is"))
}
