//! Every route, and who may call it.

mod engines;

use remora_service::{Access, Role, Routes, ServiceName, Services};
use utoipa_axum::routes;

use crate::state::AppState;

/// The routes with their state.
pub(crate) fn routes(state: AppState) -> Routes {
    let readers = Services::of(&[ServiceName::Gateway, ServiceName::AdapterManager, ServiceName::Dashboard]);
    let read = Access::role(Role::Use, readers);
    let change = Access::role(Role::Operate, Services::of(&[ServiceName::Dashboard]));
    Routes::new("The engine registry, and the supervisor of local engines.")
        .route(read, routes!(engines::list))
        .route(read, routes!(engines::get))
        .route(read, routes!(engines::events))
        .route(change, routes!(engines::restart))
        .with_state(state)
}
