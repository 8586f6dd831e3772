//! Every route. Wire types come from `remora-protocol`; what they mean is decided in [`crate::request`].

mod adapters;
mod answer;
mod chat;
mod completions;
mod embeddings;
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

use axum::middleware::from_fn_with_state;
use remora_service::{Access, Role, Routes, Services};
use utoipa_axum::router::UtoipaMethodRouterExt;
use utoipa_axum::routes;

pub(crate) use error::vllm_dialect;
pub(crate) use state::ApiState;

/// vLLM's routes.
pub(crate) fn routes(state: ApiState) -> Routes {
    // An engine speaks to whoever reaches it, as vLLM does; it listens where only the gateway does.
    let usable = Access::role(Role::Use, Services::NONE);
    let generates = from_fn_with_state(state.clone(), embeddings::generates);
    let embeds = from_fn_with_state(state.clone(), embeddings::embeds);
    Routes::new("llama.cpp behind vLLM's HTTP API.")
        .route(usable, routes!(chat::chat_completions).layer(generates.clone()))
        .route(usable, routes!(completions::completions).layer(generates.clone()))
        .route(usable, routes!(responses::responses).layer(generates.clone()))
        .route(usable, routes!(embeddings::embeddings).layer(embeds))
        .route(usable, routes!(models::models))
        .route(usable, routes!(models::model))
        .route(usable, routes!(adapters::load).layer(generates.clone()))
        .route(usable, routes!(adapters::unload).layer(generates))
        .route(usable, routes!(tokenize::tokenize))
        .route(usable, routes!(tokenize::detokenize))
        .route(Access::PUBLIC, routes!(probes::health))
        .route(Access::PUBLIC, routes!(probes::ready))
        .route(usable, routes!(probes::version))
        .route(usable, routes!(probes::metrics))
        .with_state(state)
}
