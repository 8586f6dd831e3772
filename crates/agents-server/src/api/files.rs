//! `GET /agents/{path}`: the files themselves.

use std::borrow::Cow;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use percent_encoding::percent_decode_str;
use remora_service::ApiError;
use remora_types::error::ErrorBody;

use super::respond::respond;
use crate::state::AppState;

/// How often a file that changes under our hands is looked at anew.
const ATTEMPTS: usize = 3;

/// A file, byte for byte. Its `ETag` is its SHA-256; `If-None-Match`, `If-Match`, `Range` and `If-Range` are
/// understood. Dotfiles and whatever a link finds outside of the folder do not exist.
#[utoipa::path(method(get, head), path = "/agents/{*path}", tag = "files",
    params(
        ("path" = String, Path, description = "Relative to the agents folder, `lint/bundle.yaml` say"),
        ("if-none-match" = Option<String>, Header, description = "Entity tags that need not be sent again"),
        ("range" = Option<String>, Header, description = "One range of bytes"),
    ),
    responses(
        (status = 200, description = "The file", content_type = "*/*"),
        (status = 206, description = "The range", content_type = "*/*"),
        (status = 304, description = "The caller has it already"),
        (status = 404, description = "There is no such file", body = ErrorBody),
        (status = 412, description = "It is none of the versions in If-Match", body = ErrorBody),
        (status = 416, description = "The range begins behind its end", body = ErrorBody),
        (status = 503, description = "It is being rewritten just now", body = ErrorBody),
    ))]
pub(super) async fn file(State(state): State<AppState>, request: Request) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    let path = decoded(parts.uri.path().strip_prefix("/agents/").unwrap_or_default());
    for attempt in 1.. {
        let snapshot = state.folder.current();
        let resource = path.as_deref().and_then(|path| snapshot.file(path)).ok_or_else(no_such_file)?;
        match respond(resource, &parts.method, &parts.headers).await {
            Ok(response) => return Ok(response),
            Err(error) if attempt == ATTEMPTS => return Err(changing(error)),
            Err(_) => state.folder.rescan().await,
        }
    }
    unreachable!("the last attempt returns")
}

/// A request's path without its percent signs; `None` where that is no text.
fn decoded(path: &str) -> Option<Cow<'_, str>> {
    if path.contains('%') { percent_decode_str(path).decode_utf8().ok() } else { Some(Cow::Borrowed(path)) }
}

fn no_such_file() -> ApiError {
    ApiError::not_found("no_such_file", "there is no such file; GET /agents lists the bundles and their files")
}

/// A body on disk that is never the same twice.
pub(super) fn changing(error: std::io::Error) -> ApiError {
    let message = "this is being rewritten just now; try again in a moment";
    ApiError::unavailable("changing", message, Duration::from_secs(1)).with_source(error)
}
