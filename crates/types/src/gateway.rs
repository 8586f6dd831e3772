//! What the gateway tells about itself.

use std::fmt;
use std::ops::AddAssign;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
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

/// What usage is summed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UsageGroup {
    /// A day, in UTC.
    Day,
    /// Who asked.
    Caller,
    /// Which model answered.
    Model,
}

impl UsageGroup {
    /// Every one, in the order of a row's fields.
    pub const ALL: [Self; 3] = [Self::Day, Self::Caller, Self::Model];

    /// Its name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Caller => "caller",
            Self::Model => "model",
        }
    }
}

impl fmt::Display for UsageGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word by which nothing is summed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("usage is summed by day, caller and model, not by {0:?}")]
pub struct InvalidUsageGroup(String);

impl FromStr for UsageGroup {
    type Err = InvalidUsageGroup;

    fn from_str(text: &str) -> Result<Self, InvalidUsageGroup> {
        Self::ALL.into_iter().find(|group| group.as_str() == text).ok_or_else(|| InvalidUsageGroup(text.to_owned()))
    }
}

/// `GET /v1/usage`: what was used, from one day to another, both included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageReport {
    /// The first day, as `2026-11-20`, in UTC.
    pub from: String,
    /// The last day.
    pub to: String,
    /// Whose usage this is; absent where it is everybody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// The latest day first, where days are told.
    pub rows: Vec<UsageRow>,
    /// Of all rows, also those that are not told.
    pub total: UsageSums,
    /// Whether there are more rows than were asked for.
    pub truncated: bool,
}

/// A sum; of everything that it does not name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageRow {
    /// As `2026-11-20`, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// Who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Which model answered, by its own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The sums.
    #[serde(flatten)]
    pub sums: UsageSums,
}

/// How much was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageSums {
    /// Requests that an engine began to answer.
    pub requests: u64,
    /// Those that were answered with a status of 400 or more.
    pub errors: u64,
    /// Those whose answer did not come to its end: the client went away, or the engine broke off.
    pub cancelled: u64,
    /// Those whose engine did not tell its tokens; they are estimated.
    pub estimated: u64,
    /// Tokens of prompts, cached ones included.
    pub prompt_tokens: u64,
    /// How many of them were in the engine's memory already.
    pub cached_tokens: u64,
    /// Tokens of answers.
    pub completion_tokens: u64,
    /// Time from the request to the end of its answer, summed over requests, in milliseconds.
    pub duration_ms: u64,
}

impl AddAssign for UsageSums {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.cancelled += other.cancelled;
        self.estimated += other.estimated;
        self.prompt_tokens += other.prompt_tokens;
        self.cached_tokens += other.cached_tokens;
        self.completion_tokens += other.completion_tokens;
        self.duration_ms += other.duration_ms;
    }
}
