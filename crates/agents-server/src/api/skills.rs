//! `/.well-known/agent-skills/`: directories with a `SKILL.md`, after the Agent Skills discovery RFC, version 0.2.0.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Method};
use remora_service::{ApiError, ApiPath};
use remora_types::agents::SkillIndex;
use remora_types::error::ErrorBody;

use super::bundles::archive_failed;
use super::respond::respond;
use crate::state::AppState;

/// Every skill, with its address and the digest of what lies there.
#[utoipa::path(method(get, head), path = "/.well-known/agent-skills/index.json", tag = "skills",
    responses((status = 200, body = SkillIndex), (status = 304, description = "The caller has it already")))]
pub(super) async fn index(
    State(state): State<AppState>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let snapshot = state.folder.current();
    respond(snapshot.skills(), &method, &headers).await.map_err(ApiError::internal)
}

/// A skill of several files as `NAME.tar.gz`, files at its root. Equal files mean equal bytes.
#[utoipa::path(method(get, head), path = "/.well-known/agent-skills/{archive}", tag = "skills",
    params(("archive" = String, Path, description = "`NAME.tar.gz`, as the index says")),
    responses(
        (status = 200, description = "The archive", content_type = "application/gzip"),
        (status = 304, description = "The caller has it already"),
        (status = 404, description = "There is no such skill", body = ErrorBody),
    ))]
pub(super) async fn archive(
    State(state): State<AppState>,
    ApiPath(archive): ApiPath<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let name = archive.strip_suffix(".tar.gz").ok_or_else(no_such_skill)?;
    let archive = state.folder.archive(|snapshot| snapshot.skill(name).cloned()).await;
    let resource = archive.map_err(archive_failed)?.ok_or_else(no_such_skill)?;
    respond(&resource, &method, &headers).await.map_err(ApiError::internal)
}

fn no_such_skill() -> ApiError {
    let message = "there is no such skill; GET /.well-known/agent-skills/index.json lists what there is";
    ApiError::not_found("no_such_skill", message)
}
