//! Every route.

mod bundles;
mod events;
mod files;
mod respond;
mod skills;

use remora_service::{Access, Role, Routes, ServiceName, Services};
use utoipa_axum::routes;

use crate::state::AppState;

/// The routes of the agents server.
pub fn routes(state: AppState) -> Routes {
    let read = Access::role(Role::Use, Services::of(&[ServiceName::AgentRunner, ServiceName::Dashboard]));
    Routes::new("The agents folder: bundles, their files and archives, and word of every change.")
        .route(read, routes!(files::file))
        .route(read, routes!(bundles::list))
        .route(read, routes!(bundles::bundle))
        .route(read, routes!(bundles::archive))
        .route(read, routes!(events::events))
        .route(read, routes!(skills::index))
        .route(read, routes!(skills::archive))
        .with_state(state)
}
