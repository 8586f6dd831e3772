//! What the gateway tells about itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engines::Engine;

/// `GET /v1/status`: why a request waits, if it does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayStatus {
    /// Every engine, in the registry's order.
    pub engines: Vec<EngineLoad>,
    /// Requests that wait for an engine to be ready.
    pub waiting: u64,
    /// Requests that wait for room at an engine that is ready.
    pub queued: u64,
}

/// An engine and how busy the gateway keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EngineLoad {
    /// The engine as the registry knows it.
    #[serde(flatten)]
    pub engine: Engine,
    /// Requests that it has not answered whole: those it computes and those in its own queue.
    pub in_flight: u64,
    /// How many of those there may be; null where there is no limit.
    pub limit: Option<u32>,
    /// Requests that wait in the gateway and would go to this engine; one that may go to several counts at each.
    pub queued: u64,
    /// Whether it is being left alone because it failed again and again.
    pub circuit: Circuit,
}

/// Whether an engine is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Circuit {
    /// Whether it is.
    pub state: CircuitState,
    /// Its failures in a row.
    pub failures: u32,
    /// When it is asked again, where it is left alone.
    pub retry_in_ms: Option<u64>,
}

/// Whether an engine is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CircuitState {
    /// It is.
    Closed,
    /// It failed again and again, and is left alone for a while.
    Open,
    /// The next request, or the one just sent, finds out how it is.
    HalfOpen,
}

/// One of `GET /api/providers`, as Tailscale's `aperture-cli` reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Provider {
    /// `remora`.
    pub id: String,
    /// For people.
    pub name: String,
    /// For people.
    pub description: String,
    /// Every model, adapter and alias.
    pub models: Vec<String>,
    /// Which APIs clients may use.
    pub compatibility: Compatibility,
}

/// Which APIs clients may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Compatibility {
    /// `POST /v1/chat/completions`
    pub openai_chat: bool,
    /// `POST /v1/responses`; whether any engine that is ready has it.
    pub openai_responses: bool,
    /// `POST /v1/messages`
    pub anthropic_messages: bool,
}
