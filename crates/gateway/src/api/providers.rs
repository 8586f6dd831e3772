//! What Tailscale's launcher, `aperture-cli`, asks for before it sets up Claude Code, Codex and others. It once read
//! `GET /api/providers`, and now reads the same from fields of `GET /v1/models`; both are served.

use axum::extract::State;
use axum::{Extension, Json};
use remora_service::Caller;
use remora_types::gateway::{Compatibility, Provider};

use crate::directory::DESCRIPTION;
use crate::state::GatewayState;

/// The one provider there is: this gateway, with every model that the caller may ask.
#[utoipa::path(get, path = "/api/providers", tag = "models", responses((status = 200, body = Vec<Provider>)))]
pub(super) async fn list(
    State(state): State<GatewayState>,
    Extension(caller): Extension<Caller>,
) -> Json<Vec<Provider>> {
    let table = state.directory.table();
    let models = table.list(|model| caller.may_ask(model)).data.into_iter().map(|card| card.id).collect();
    Json(vec![Provider {
        id: "remora".to_owned(),
        name: "Remora".to_owned(),
        description: DESCRIPTION.to_owned(),
        models,
        compatibility: Compatibility {
            openai_chat: true,
            openai_responses: table.has_responses(),
            anthropic_messages: true,
        },
    }])
}
