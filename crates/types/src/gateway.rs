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
}

/// An engine and how busy the gateway keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EngineLoad {
    /// The engine as the registry knows it.
    #[serde(flatten)]
    pub engine: Engine,
    /// Requests that it has not answered whole: those it computes and those in its own queue.
    pub in_flight: u64,
}
