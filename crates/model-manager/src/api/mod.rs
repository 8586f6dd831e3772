//! Every route, and who may call it.

mod engines;

use remora_service::{Access, Role, Routes};
use utoipa_axum::routes;

use crate::state::AppState;

/// The routes with their state.
pub(crate) fn routes(state: AppState) -> Routes {
    Routes::new("The engine registry, and the supervisor of local engines.")
        .route(Access::role(Role::Use), routes!(engines::list))
        .route(Access::role(Role::Use), routes!(engines::get))
        .route(Access::role(Role::Use), routes!(engines::events))
        .route(Access::role(Role::Operate), routes!(engines::restart))
        .with_state(state)
}
