//! A small service with the habits of a real one.

use std::time::Duration;

use axum::response::sse::{Event, Sse};
use futures::{Stream, StreamExt};
use http::StatusCode;
use remora_service::{
    Access, ApiError, ApiJson, ApiPath, BoxError, Listener, Process, Role, Routes, Running, Service, ServiceName,
    Services, Stop, sse,
};
use remora_types::AgentName;
use serde::Deserialize;
use utoipa_axum::routes;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    count: u32,
}

#[utoipa::path(post, path = "/orders", responses((status = 200, body = String)))]
async fn order(ApiJson(order): ApiJson<Order>) -> String {
    order.count.to_string()
}

#[utoipa::path(get, path = "/agents/{name}", params(("name" = String, Path)), responses((status = 200, body = String)))]
async fn agent(ApiPath(name): ApiPath<AgentName>) -> String {
    name.to_string()
}

#[utoipa::path(get, path = "/panic", responses((status = 500)))]
async fn panics() {
    panic!("a secret detail")
}

#[utoipa::path(get, path = "/broken", responses((status = 500)))]
async fn broken() -> ApiError {
    ApiError::internal(std::io::Error::other("a secret detail"))
}

#[utoipa::path(get, path = "/busy", responses((status = 503)))]
async fn busy() -> ApiError {
    ApiError::unavailable("loading", "the model is loading", Duration::from_millis(1500))
}

#[utoipa::path(get, path = "/admin", responses((status = 200, body = String)))]
async fn admin() -> &'static str {
    "admin"
}

#[utoipa::path(get, path = "/events", responses((status = 200, body = String)))]
async fn events(
    axum::extract::State(stop): axum::extract::State<Stop>,
) -> Sse<impl Stream<Item = Result<Event, BoxError>>> {
    let one_then_silence =
        futures::stream::once(async { Event::default().data("\"hello\"") }).chain(futures::stream::pending());
    sse::until_stop(&stop, one_then_silence)
}

/// An answer that takes until the client lets it go on; the body never ends by itself.
#[utoipa::path(get, path = "/endless", responses((status = 200, body = String)))]
async fn endless() -> axum::body::Body {
    let chunks = futures::stream::once(async { Ok::<_, BoxError>("first") }).chain(futures::stream::pending());
    axum::body::Body::from_stream(chunks)
}

pub(crate) fn routes(stop: Stop) -> Routes {
    let open = Access::role(Role::Use, Services::of(&[ServiceName::Dashboard]));
    Routes::<Stop>::new("A service for tests.")
        .route(open, routes!(order))
        .route(open, routes!(agent))
        .route(open, routes!(panics))
        .route(open, routes!(broken))
        .route(open, routes!(busy))
        .route(open, routes!(events))
        .route(open, routes!(endless))
        .route(Access::role(Role::Admin, Services::NONE), routes!(admin))
        .with_state(stop)
}

/// The service, started, on a free port; `shape` changes it first.
pub(crate) async fn start(shape: impl FnOnce(Service) -> Service) -> (String, Running) {
    let stop = Stop::new();
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = listener.url();
    let service = shape(Service::new("sample", listener, routes(stop.clone())));
    let process =
        Process::new("sample").add(service).without_control_socket().grace(Duration::from_millis(300)).stop(stop);
    (url, process.start().await.unwrap())
}

/// An answer as a test wants it: status, one header or another, body.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

pub(crate) async fn send(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    Answer { status, headers, body: response.text().await.unwrap() }
}

pub(crate) async fn get(url: &str, path: &str) -> Answer {
    send(reqwest::Client::new().get(format!("{url}{path}"))).await
}
