//! The endpoints that every service has.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use axum::{Json, Router};
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use remora_types::error::ErrorBody;
use remora_types::status::{Health, Readiness, ServiceStatus};
use utoipa::openapi::OpenApi;
use utoipa_axum::routes;

use crate::access::{Access, Role};
use crate::docs_page;
use crate::routes::Routes;
use crate::service::VitalSigns;

/// Which of the endpoints a service takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builtin {
    /// All of them.
    All,
    /// Only `/status`, `/openapi.json` and `/docs`; the probes are the service's own.
    Documents,
}

#[derive(Clone)]
struct BuiltinState {
    vital_signs: VitalSigns,
    documents: Arc<std::sync::OnceLock<Documents>>,
}

struct Documents {
    openapi: Bytes,
    page: String,
}

/// Adds the endpoints to a service's routes; gives its router and the whole API document.
pub(crate) fn add(routes: Routes, which: Builtin, vital_signs: &VitalSigns) -> (Router, OpenApi) {
    let state = BuiltinState { vital_signs: vital_signs.clone(), documents: Arc::default() };
    let mut own = Routes::<BuiltinState>::new("")
        .route(Access::role(Role::Use), routes!(status))
        .route(Access::role(Role::Use), routes!(openapi))
        .route(Access::role(Role::Use), routes!(docs));
    if which == Builtin::All {
        own = own
            .route(Access::Public, routes!(health))
            .route(Access::Public, routes!(ready))
            .route(Access::role(Role::Use), routes!(metrics));
    }
    let documents = state.documents.clone();
    let (router, api) = routes.merge(own.with_state(state)).split();
    let rendered = Documents {
        openapi: serde_json::to_vec(&api).expect("an API document is plain data").into(),
        page: docs_page::render(&api),
    };
    // The handlers were made before the document they serve could be whole.
    let _ = documents.set(rendered);
    (router, api)
}

/// The process turns.
#[utoipa::path(get, path = "/health", tag = "service", responses((status = 200, body = Health)))]
async fn health() -> Json<Health> {
    Json(Health { status: "ok".into() })
}

/// Whether requests would succeed now; 503 with the reasons while they would not.
#[utoipa::path(get, path = "/ready", tag = "service",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
async fn ready(State(state): State<BuiltinState>) -> Response {
    let reasons = state.vital_signs.reasons();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready: reasons.is_empty(), reasons })).into_response()
}

/// Name, version, uptime, requests, and what the service adds.
#[utoipa::path(get, path = "/status", tag = "service",
    responses((status = 200, body = ServiceStatus), (status = 401, body = ErrorBody)))]
async fn status(State(state): State<BuiltinState>) -> Json<ServiceStatus> {
    Json(state.vital_signs.status())
}

/// Prometheus metrics.
#[utoipa::path(get, path = "/metrics", tag = "service", responses((status = 200, body = String)))]
async fn metrics(State(state): State<BuiltinState>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], state.vital_signs.metrics.render()).into_response()
}

/// This API as an OpenAPI document.
#[utoipa::path(get, path = "/openapi.json", tag = "service", responses((status = 200, body = serde_json::Value)))]
async fn openapi(State(state): State<BuiltinState>) -> Response {
    let body = state.documents.get().map(|d| d.openapi.clone()).unwrap_or_default();
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// This API as a page for people.
#[utoipa::path(get, path = "/docs", tag = "service", responses((status = 200, body = String, content_type = "text/html")))]
async fn docs(State(state): State<BuiltinState>) -> Html<String> {
    Html(state.documents.get().map(|d| d.page.clone()).unwrap_or_default())
}
