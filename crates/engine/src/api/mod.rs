//! Every route. Wire types come from `remora-protocol`; what they mean is decided in [`crate::request`].

mod adapters;
mod answer;
mod chat;
mod completions;
mod error;
mod extract;
mod logprobs;
mod models;
mod probes;
mod reply;
mod responses;
mod state;
mod stream;
mod tokenize;

use remora_service::{Access, Role, Routes, Services};
use utoipa_axum::routes;

pub(crate) use error::vllm_dialect;
pub(crate) use state::ApiState;

/// vLLM's routes.
pub(crate) fn routes(state: ApiState) -> Routes {
    // An engine speaks to whoever reaches it, as vLLM does; it listens where only the gateway does.
    let usable = Access::role(Role::Use, Services::NONE);
    Routes::new("llama.cpp behind vLLM's HTTP API.")
        .route(usable, routes!(chat::chat_completions))
        .route(usable, routes!(completions::completions))
        .route(usable, routes!(responses::responses))
        .route(usable, routes!(models::models))
        .route(usable, routes!(models::model))
        .route(usable, routes!(adapters::load))
        .route(usable, routes!(adapters::unload))
        .route(usable, routes!(tokenize::tokenize))
        .route(usable, routes!(tokenize::detokenize))
        .route(Access::PUBLIC, routes!(probes::health))
        .route(Access::PUBLIC, routes!(probes::ready))
        .route(usable, routes!(probes::version))
        .route(usable, routes!(probes::metrics))
        .with_state(state)
}
