//! What a service and a process say about themselves.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// `GET /health`: the process turns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Always `ok`.
    pub status: String,
}

/// `GET /ready`: whether the service can serve, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Whether requests would succeed now.
    pub ready: bool,
    /// What is missing; empty when ready.
    pub reasons: Vec<String>,
}

/// `GET /status` of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServiceStatus {
    /// The service's name, for example `gateway`.
    pub name: String,
    /// Version of Remora.
    pub version: String,
    /// Where it listens: `127.0.0.1:8000` or `unix:/path`.
    pub listen: String,
    /// When it started, RFC 3339, UTC.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// Seconds since then.
    pub uptime_s: u64,
    /// Requests answered since the start, this one not counted.
    pub requests_processed: u64,
    /// Requests being answered now, this one included.
    pub requests_in_flight: u64,
    /// Whether it can serve.
    pub ready: bool,
    /// What is missing; empty when ready.
    pub reasons: Vec<String>,
    /// What the service adds about itself.
    pub details: Value,
}

/// `GET /status` on a control socket: one process with all its services.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProcessStatus {
    /// The process's name, for example `up`.
    pub name: String,
    /// Version of Remora.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Every service it runs.
    pub services: Vec<ServiceStatus>,
}
