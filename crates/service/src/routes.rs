//! Routes that state who may call them.

use axum::Router;
use remora_types::identity::ServiceName;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Info, OpenApi, PathItem, Paths};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::access::Access;
use crate::guard::Guard;

/// The extension of an operation in the API document that says who may call it.
const ACCESS_EXTENSION: &str = "x-remora-access";

/// The one that says which services may call it.
const SERVICES_EXTENSION: &str = "x-remora-services";

/// A service's routes. There is no way to add one without its documentation and its [`Access`].
#[derive(Clone)]
pub struct Routes<S = ()> {
    inner: OpenApiRouter<S>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// No routes yet; the text describes the service in its API document.
    #[must_use]
    pub fn new(description: &str) -> Self {
        let mut info = Info::new("Remora", crate::VERSION);
        info.description = Some(description.to_owned());
        Self { inner: OpenApiRouter::with_openapi(OpenApi::new(info, Paths::new())) }
    }

    /// Adds what `utoipa_axum::routes!(handler, …)` made, callable as `access` says.
    #[must_use]
    pub fn route(mut self, access: Access, routes: UtoipaMethodRouter<S>) -> Self {
        let (schemas, mut paths, methods) = routes;
        for operation in paths.paths.values_mut().flat_map(operations_mut) {
            let services: Vec<_> = access.services().iter().map(ServiceName::as_str).collect();
            let stated = Extensions::builder().add(ACCESS_EXTENSION, access.as_str()).add(SERVICES_EXTENSION, services);
            let stated = stated.build();
            operation.extensions.get_or_insert_default().merge(stated);
        }
        let template = paths.paths.keys().next().cloned().unwrap_or_default();
        let guarded = methods.route_layer(Guard::new(access, &template));
        self.inner = self.inner.routes((schemas, paths, guarded));
        self
    }

    /// Adds another set of routes.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.inner = self.inner.merge(other.inner);
        self
    }

    /// Wraps every route added so far; for limits, timeouts and compression, set per router with tower-http.
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: tower::Layer<axum::routing::Route> + Clone + Send + Sync + 'static,
        L::Service: tower::Service<axum::extract::Request> + Clone + Send + Sync + 'static,
        <L::Service as tower::Service<axum::extract::Request>>::Response: axum::response::IntoResponse + 'static,
        <L::Service as tower::Service<axum::extract::Request>>::Error: Into<std::convert::Infallible> + 'static,
        <L::Service as tower::Service<axum::extract::Request>>::Future: Send + 'static,
    {
        self.inner = self.inner.layer(layer);
        self
    }

    /// Gives the handlers their state.
    #[must_use]
    pub fn with_state(self, state: S) -> Routes<()> {
        Routes { inner: self.inner.with_state(state) }
    }
}

impl Routes<()> {
    pub(crate) fn split(self) -> (Router, OpenApi) {
        let (router, mut api) = self.inner.split_for_parts();
        // `{*rest}` is the router's way to say that a parameter takes the rest of the path; OpenAPI has no word for it.
        api.paths.paths = api.paths.paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
        (router, api)
    }
}

/// A route, as the API document states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatedRoute {
    /// `GET`, …
    pub method: &'static str,
    /// The path, with its parameters in braces.
    pub path: String,
    /// `public`, `known` or a role; `None` where the document does not say, which only one not made by [`Routes`] can.
    pub access: Option<String>,
    /// The services that may call it; `None` as for `access`.
    pub services: Option<Vec<String>>,
}

/// Every route of an API document.
pub fn every_route(api: &OpenApi) -> impl Iterator<Item = StatedRoute> {
    api.paths.paths.iter().flat_map(|(path, item)| {
        operations(item).into_iter().map(move |(method, operation)| {
            let stated = |name| operation.extensions.as_ref().and_then(|e| e.get(name)).cloned();
            StatedRoute {
                method,
                path: path.clone(),
                access: stated(ACCESS_EXTENSION).and_then(|value| serde_json::from_value(value).ok()),
                services: stated(SERVICES_EXTENSION).and_then(|value| serde_json::from_value(value).ok()),
            }
        })
    })
}

pub(crate) fn operations(item: &PathItem) -> Vec<(&'static str, &Operation)> {
    let all = [
        ("GET", &item.get),
        ("HEAD", &item.head),
        ("POST", &item.post),
        ("PUT", &item.put),
        ("PATCH", &item.patch),
        ("DELETE", &item.delete),
        ("OPTIONS", &item.options),
        ("TRACE", &item.trace),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?))).collect()
}

fn operations_mut(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let all = [
        &mut item.get,
        &mut item.head,
        &mut item.post,
        &mut item.put,
        &mut item.patch,
        &mut item.delete,
        &mut item.options,
        &mut item.trace,
    ];
    all.into_iter().flatten()
}
