//! What the committed API documents say about who may call what.

use remora_e2e::repository;
use remora_types::identity::{Role, ServiceName};
use serde_json::Value;

/// A route of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    pub(crate) path: String,
    pub(crate) method: String,
    pub(crate) needs: Needs,
    pub(crate) services: Vec<ServiceName>,
}

/// What it asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Needs {
    Nothing,
    Identity,
    Role(Role),
}

impl Route {
    /// Its path with something harmless for each parameter.
    pub(crate) fn example(&self) -> String {
        let parts = self.path.split('/').map(|part| if part.starts_with('{') { "placeholder" } else { part });
        parts.collect::<Vec<_>>().join("/")
    }
}

/// The routes that the committed document of a service states.
pub(crate) fn committed(service: &str) -> Vec<Route> {
    let file = repository().join("crates").join(service).join("openapi.json");
    let document = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    of_document(&document).unwrap_or_else(|problem| {
        panic!("{problem} in {}; made anew by: UPDATE_OPENAPI=1 scripts/test -E 'test(openapi)'", file.display())
    })
}

/// The routes of a document, sorted.
pub(crate) fn of_document(document: &Value) -> Result<Vec<Route>, String> {
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().ok_or("there are no paths")? {
        for (method, operation) in item.as_object().ok_or("a path has no operations")? {
            let method = method.to_uppercase();
            let unstated = |what| format!("{method} {path} does not state {what}");
            let needs = match operation["x-remora-access"].as_str() {
                Some("public") => Needs::Nothing,
                Some("known") => Needs::Identity,
                Some(role) => Needs::Role(role.parse().map_err(|_| unstated("a role that there is"))?),
                None => return Err(unstated("its access")),
            };
            let services = serde_json::from_value(operation["x-remora-services"].clone());
            let services = services.map_err(|_| unstated("its services"))?;
            routes.push(Route { path: path.clone(), method, needs, services });
        }
    }
    routes.sort();
    Ok(routes)
}
