//! Every route. Wire types come from `remora-protocol`; what they mean is decided in [`crate::request`].

mod answer;
mod chat;
mod completions;
mod error;
mod extract;
mod logprobs;
mod models;
mod probes;
mod state;
mod stream;
mod tokenize;

use remora_service::{Access, Role, Routes};
use utoipa_axum::routes;

pub(crate) use error::vllm_dialect;
pub(crate) use state::ApiState;

/// vLLM's routes.
pub(crate) fn routes(state: ApiState) -> Routes {
    Routes::new("llama.cpp behind vLLM's HTTP API.")
        .route(Access::role(Role::Use), routes!(chat::chat_completions))
        .route(Access::role(Role::Use), routes!(completions::completions))
        .route(Access::role(Role::Use), routes!(models::models))
        .route(Access::role(Role::Use), routes!(models::model))
        .route(Access::role(Role::Use), routes!(tokenize::tokenize))
        .route(Access::role(Role::Use), routes!(tokenize::detokenize))
        .route(Access::Public, routes!(probes::health))
        .route(Access::Public, routes!(probes::ready))
        .route(Access::role(Role::Use), routes!(probes::version))
        .route(Access::role(Role::Use), routes!(probes::metrics))
        .with_state(state)
}
