//! What is counted: per model and engine, with names that engines serve and never names that clients send.
//!
//! Handles are looked up when the directory changes, not per request.

use http::StatusCode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use remora_service::Metrics;
use remora_types::{EngineId, ModelId};

use crate::usage::Counters;

/// Upper bounds of the first-byte buckets, in seconds: from a cached embedding to a long prompt in a long queue.
const BUCKETS: [f64; 14] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

/// How a request that was given to an engine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Outcome {
    /// Answered whole, with a status below 400.
    Ok,
    /// Answered with 4xx.
    ClientError,
    /// Answered with 5xx, or with a refusal of the gateway's own key.
    ServerError,
    /// The engine could not be connected to.
    Unreachable,
    /// The engine broke off.
    Broken,
    /// The engine was silent for too long.
    Timeout,
    /// The client went away.
    Cancelled,
}

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Ok,
        Self::ClientError,
        Self::ServerError,
        Self::Unreachable,
        Self::Broken,
        Self::Timeout,
        Self::Cancelled,
    ];

    /// The outcome of an answer with this status, once it is whole.
    #[must_use]
    pub(crate) fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            500.. => Self::ServerError,
            400..=499 => Self::ClientError,
            _ => Self::Ok,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    model: String,
    engine: String,
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfferLabels {
    model: String,
    engine: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AccountLabels {
    caller: String,
    model: String,
}

/// What kind of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum TokenKind {
    Prompt,
    Cached,
    Completion,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    caller: String,
    model: String,
    kind: TokenKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EngineLabels {
    engine: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    code: String,
}

/// The gateway's own metrics.
#[derive(Debug, Clone)]
pub(crate) struct GatewayMetrics {
    requests: Family<OutcomeLabels, Counter>,
    first_byte: Family<OfferLabels, Histogram, fn() -> Histogram>,
    first_token: Family<OfferLabels, Histogram, fn() -> Histogram>,
    between_tokens: Family<OfferLabels, Histogram, fn() -> Histogram>,
    by_caller: Family<AccountLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    in_flight: Family<EngineLabels, Gauge>,
    ready: Family<EngineLabels, Gauge>,
    refused: Family<RefusalLabels, Counter>,
    held: Gauge,
}

/// The handles of one model on one engine.
#[derive(Debug)]
pub(crate) struct Meter {
    outcomes: [Counter; Outcome::ALL.len()],
    pub(crate) first_byte: Histogram,
    pub(crate) pace: Pace,
    pub(crate) in_flight: Gauge,
}

/// How fast streamed answers come, in seconds.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    /// Until the first piece.
    pub(crate) first: Histogram,
    /// Between two pieces.
    pub(crate) between: Histogram,
}

impl GatewayMetrics {
    /// Adds them to a service's registry.
    #[must_use]
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let own = Self {
            requests: Family::default(),
            first_byte: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            first_token: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            between_tokens: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            by_caller: Family::default(),
            tokens: Family::default(),
            in_flight: Family::default(),
            ready: Family::default(),
            refused: Family::default(),
            held: Gauge::default(),
        };
        metrics.register(|registry| {
            registry.register(
                "remora_gateway_requests",
                "Requests given to an engine, by model, engine and how they ended",
                own.requests.clone(),
            );
            registry.register(
                "remora_gateway_first_byte_seconds",
                "Time from a request's arrival to its engine's first byte, by model and engine",
                own.first_byte.clone(),
            );
            registry.register(
                "remora_gateway_time_to_first_token_seconds",
                "Time from a request's arrival to the first piece of a streamed answer, by model and engine",
                own.first_token.clone(),
            );
            registry.register(
                "remora_gateway_inter_token_seconds",
                "Time between two pieces of a streamed answer, by model and engine",
                own.between_tokens.clone(),
            );
            registry.register(
                "remora_gateway_answers",
                "Answers that an engine began, by caller and model",
                own.by_caller.clone(),
            );
            registry.register(
                "remora_gateway_tokens",
                "Tokens, by caller, model and kind; cached ones are prompt tokens too",
                own.tokens.clone(),
            );
            registry.register(
                "remora_gateway_requests_in_flight",
                "Requests that an engine has not answered whole",
                own.in_flight.clone(),
            );
            registry.register("remora_gateway_engine_ready", "1 while an engine is ready", own.ready.clone());
            registry.register(
                "remora_gateway_refused",
                "Requests that no engine was asked to answer, by the error's code",
                own.refused.clone(),
            );
            registry.register(
                "remora_gateway_requests_held",
                "Requests that wait for an engine to be ready",
                own.held.clone(),
            );
        });
        own
    }

    /// The handles of a model on an engine.
    pub(crate) fn meter(&self, model: &ModelId, engine: &EngineId) -> Meter {
        let labels = OfferLabels { model: model.to_string(), engine: engine.to_string() };
        let counter = |outcome| {
            let OfferLabels { model, engine } = labels.clone();
            self.requests.get_or_create(&OutcomeLabels { model, engine, outcome }).clone()
        };
        Meter {
            outcomes: Outcome::ALL.map(counter),
            first_byte: self.first_byte.get_or_create(&labels).clone(),
            pace: Pace {
                first: self.first_token.get_or_create(&labels).clone(),
                between: self.between_tokens.get_or_create(&labels).clone(),
            },
            in_flight: self.in_flight(engine),
        }
    }

    /// The handles of a caller's account for a model. Callers are those that identity knows, so they are few.
    pub(crate) fn counters(&self, caller: &str, model: &ModelId) -> Counters {
        let (caller, model) = (caller.to_owned(), model.to_string());
        let tokens = |kind| {
            let labels = TokenLabels { caller: caller.clone(), model: model.clone(), kind };
            self.tokens.get_or_create(&labels).clone()
        };
        Counters {
            prompt: tokens(TokenKind::Prompt),
            cached: tokens(TokenKind::Cached),
            completion: tokens(TokenKind::Completion),
            requests: self.by_caller.get_or_create(&AccountLabels { caller, model }).clone(),
        }
    }

    /// How many requests an engine is answering; the same gauge for as long as the process lives.
    pub(crate) fn in_flight(&self, engine: &EngineId) -> Gauge {
        self.in_flight.get_or_create(&EngineLabels { engine: engine.to_string() }).clone()
    }

    /// Notes whether an engine is ready; `None` when it has left.
    pub(crate) fn set_ready(&self, engine: &EngineId, ready: Option<bool>) {
        let labels = EngineLabels { engine: engine.to_string() };
        match ready {
            Some(ready) => drop(self.ready.get_or_create(&labels).set(i64::from(ready))),
            None => drop(self.ready.remove(&labels)),
        }
    }

    /// How many requests wait for an engine.
    pub(crate) fn held(&self) -> Gauge {
        self.held.clone()
    }

    /// Counts a request that was refused here. Codes are our own words, so there are few.
    pub(crate) fn refused(&self, code: &str) {
        self.refused.get_or_create(&RefusalLabels { code: code.to_owned() }).inc();
    }
}

impl Meter {
    pub(crate) fn count(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].inc();
    }
}
