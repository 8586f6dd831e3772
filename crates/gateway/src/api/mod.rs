//! Every route.

mod away;
mod dialect;
mod error;
mod inference;
mod keys;
mod message_events;
mod messages;
mod meter;
mod models;
mod providers;
mod question;
mod status;
mod usage;

use remora_service::{Access, Role, Routes, ServiceName, Services};
use utoipa_axum::routes;

use crate::state::GatewayState;

pub(crate) use dialect::{IMITATED, openai};
pub(crate) use messages::anthropic;

/// The paths of `OpenAI`'s API, and vLLM's two beside it. What is not listed here does not reach an engine.
pub(crate) fn routes() -> Routes<GatewayState> {
    let usable = Access::role(Role::Use, Services::of(&[ServiceName::AgentRunner, ServiceName::Dashboard]));
    let administrable = Access::role(Role::Admin, Services::of(&[ServiceName::Dashboard]));
    Routes::new("The front door: OpenAI's API over every engine.")
        .route(usable, routes!(inference::chat_completions))
        .route(usable, routes!(inference::completions))
        .route(usable, routes!(inference::embeddings))
        .route(usable, routes!(inference::responses))
        .route(usable, routes!(inference::tokenize))
        .route(usable, routes!(inference::detokenize))
        .route(usable, routes!(models::list))
        .route(usable, routes!(models::get))
        .route(usable, routes!(messages::messages))
        .route(usable, routes!(messages::stream))
        .route(usable, routes!(messages::count_tokens))
        .route(usable, routes!(messages::root))
        .route(usable, routes!(messages::hello))
        .route(usable, routes!(status::status))
        .route(usable, routes!(usage::usage))
        .route(usable, routes!(providers::list))
        .route(administrable, routes!(keys::create, keys::list))
        .route(administrable, routes!(keys::revoke))
}
