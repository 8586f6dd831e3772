//! The endpoints that every service has.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use axum::{Json, Router};
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use remora_types::error::ErrorBody;
use remora_types::identity::{AuditList, Role, RotatedCredential, ServiceName, WhoAmI};
use remora_types::status::{Health, Readiness, ServiceStatus};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa::openapi::OpenApi;
use utoipa_axum::routes;

use crate::access::{Access, Caller, Services};
use crate::docs_page;
use crate::error::ApiError;
use crate::extract::ApiQuery;
use crate::guard::Loan;
use crate::identity::Identity;
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
    identity: Identity,
    documents: Arc<std::sync::OnceLock<Documents>>,
}

struct Documents {
    openapi: Bytes,
    page: String,
}

/// Adds the endpoints to a service's routes; gives its router and the whole API document.
pub(crate) fn add(routes: Routes, which: Builtin, vital_signs: &VitalSigns, identity: &Identity) -> (Router, OpenApi) {
    let state =
        BuiltinState { vital_signs: vital_signs.clone(), identity: identity.clone(), documents: Arc::default() };
    let told = Access::role(Role::Use, Services::ALL);
    let mut own = Routes::<BuiltinState>::new("")
        .route(told, routes!(status))
        .route(told, routes!(openapi))
        .route(told, routes!(docs));
    if which == Builtin::All {
        let dashboard = Services::of(&[ServiceName::Dashboard]);
        own = own
            .route(Access::PUBLIC, routes!(health))
            .route(Access::PUBLIC, routes!(ready))
            .route(told, routes!(metrics))
            .route(Access::anybody_known(Services::ALL), routes!(whoami))
            .route(Access::role(Role::Admin, dashboard), routes!(audit))
            .route(Access::role(Role::Admin, Services::NONE), routes!(rotate_credential));
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

/// Who this service takes the caller for, and why it grants what it grants.
#[utoipa::path(get, path = "/whoami", tag = "service",
    responses((status = 200, body = WhoAmI), (status = 401, body = ErrorBody)))]
async fn whoami(
    State(state): State<BuiltinState>,
    Extension(caller): Extension<Caller>,
    Extension(loan): Extension<Arc<Loan>>,
) -> Json<WhoAmI> {
    Json(WhoAmI {
        service: state.vital_signs.name.to_owned(),
        peer: loan.connection.peer.to_string(),
        caller: caller.info().clone(),
        via: caller.via(),
    })
}

/// Which rows of the record to give.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditQuery {
    /// Only rows with a lower id, for the next page.
    before: Option<i64>,
    /// Most rows to give, 1 to 1000; 100 where absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Who changed what, the newest first.
#[utoipa::path(get, path = "/audit", tag = "service", params(AuditQuery),
    responses((status = 200, body = AuditList), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
async fn audit(
    State(state): State<BuiltinState>,
    ApiQuery(query): ApiQuery<AuditQuery>,
) -> Result<Json<AuditList>, ApiError> {
    let limit = query.limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        let message = format!("limit is {limit}; it can be 1 to 1000");
        return Err(ApiError::bad_request("invalid_limit", message).with_param("limit"));
    }
    Ok(Json(AuditList { rows: state.identity.audit().rows(query.before, limit).await? }))
}

/// Gives the service a new credential; the old one is believed for two more minutes.
#[utoipa::path(post, path = "/credential/rotate", tag = "service",
    responses((status = 200, body = RotatedCredential), (status = 403, body = ErrorBody), (status = 409, body = ErrorBody)))]
async fn rotate_credential(
    State(state): State<BuiltinState>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<RotatedCredential>, ApiError> {
    let identity = state.identity.clone();
    let rotated = tokio::task::spawn_blocking(move || identity.rotate()).await.map_err(ApiError::internal)?;
    let none = || ApiError::conflict("no_credential", "this service runs without a credential");
    let (service, key_id) = rotated.ok_or_else(none)?.map_err(ApiError::internal)?;
    let details = serde_json::json!({"key_id": key_id});
    state.identity.audit().record(&caller, "credential.rotate", service.as_str(), details).await;
    Ok(Json(RotatedCredential { service, key_id }))
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
